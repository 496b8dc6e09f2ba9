//! A CPU's stock of single pages of one zone.
//!
//! Theory.      Each migrate type has a ring of frame numbers. Pages that were just freed are warm in the cache: they
//!              are pushed to the hot end and popped from it again; the cold end is where the stock is drained. Pages
//!              at or beyond a type's *front* are not for reuse: they go to a ring of their own, and from there back to
//!              the zone. Without a core that gathers, the front is beyond every frame.
//!              `room` counts the pushes that are sure to fit. A pop does not count up again, so that a hit touches as
//!              little as can be: at 0 the pages are counted anew, and the zone is looked after.
//! Invariants.  1. Pages in all rings + `room` never exceed `high`. 2. Every frame in a ring has the state `pageset`.
//!              3. Only the owning CPU, with interrupts masked, changes a pageset; others may read its counts.
//! Picture.     slots of one type     cold -> | 7 | 3 | 9 |   |   | <- hot
//!                                          start       end
//! Not here.    Where pages come from and go to, and who sets the front (`stock`).
//! Source.      Linux 4.1: `struct per_cpu_pages`, `rmqueue_bulk`, `free_pcppages_bulk`, `setup_pageset`.

use core::sync::atomic::AtomicU32;
use core::sync::atomic::Ordering::Relaxed;

use crate::addr::Pfn;
use crate::buddy::FreeCore;
use crate::migrate::{MIGRATE_TYPES, MigrateType, PAGESET_TYPES};

/// How large a pageset may grow and how many pages it exchanges with the zone at a time.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct PagesetSize {
    /// Most pages in stock, all types together.
    pub high: u32,
    /// Pages of a refill or a drain.
    pub batch: u32,
}

impl PagesetSize {
    /// What serves until there are real ones: stocks nothing, hands each page through (Linux: `boot_pageset`).
    pub const BOOT: Self = Self { high: 0, batch: 1 };

    /// This size, as far as a pageset over `C` can have it: rings end at [`RING_SLOTS`] pages, and with more than 96 a
    /// CPU would keep too many out of the hands of a core that gathers.
    #[must_use]
    pub fn for_core<'m, C: FreeCore<'m>>(self) -> Self {
        let most = if C::GATHERS { Self { high: 96, batch: 16 } } else { Self { high: RING_SLOTS, batch: 96 } };
        Self { high: self.high.min(most.high), batch: self.batch.min(most.batch) }
    }
}

/// Which end of a ring.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Heat {
    Hot,
    Cold,
}

/// Rings with slots: one a stocked type, and the one of the pages to be returned.
const RINGS: usize = PAGESET_TYPES + 1;
/// The ring of the pages to be returned.
const RETURNS: usize = PAGESET_TYPES;
/// Slots of a ring, a power of two: with a number that the compiler knows, a position needs no check.
pub const RING_SLOTS: u32 = 256;
/// A front beyond every frame.
const NO_FRONT: u32 = u32::MAX;

/// One ring's place: `start` is the cold end, `end` one past the hot end. Both wrap.
#[derive(Debug, Default)]
struct Ring {
    start: AtomicU32,
    end: AtomicU32,
}

impl Ring {
    #[inline]
    fn len(&self) -> u32 {
        self.end.load(Relaxed).wrapping_sub(self.start.load(Relaxed))
    }
}

/// One CPU's stock of one zone. Two CPUs' never share a line of the cache.
#[derive(Debug)]
#[repr(align(64))]
pub struct Pageset<'m> {
    slots: &'m [[AtomicU32; RING_SLOTS as usize]; RINGS],
    room: AtomicU32,
    /// By migrate type, except that number [`RETURNS`] is the pages to be returned. Those that have no slots are empty
    /// for ever: with them, no type is out of range.
    rings: [Ring; MIGRATE_TYPES],
    /// By type: the first frame that is not for reuse.
    front: [AtomicU32; MIGRATE_TYPES],
    /// A bit a type: set where the zone's low watermark allows a page of it. Written under the zone's lock.
    open: AtomicU32,
    size: PagesetSize,
    /// The ring that a drain looks at next.
    turn: AtomicU32,
}

impl<'m> Pageset<'m> {
    /// How many slots a pageset needs.
    pub const SLOTS: usize = RINGS * RING_SLOTS as usize;

    /// An empty pageset over `slots`; `None` when they are fewer than [`Self::SLOTS`], when `high` is above
    /// [`RING_SLOTS`], or when the batch is 0.
    #[must_use]
    pub fn new(slots: &'m [AtomicU32], size: PagesetSize) -> Option<Self> {
        let slots = slots.as_chunks().0.first_chunk()?;
        if size.batch == 0 || size.high > RING_SLOTS {
            return None;
        }
        Some(Self {
            slots,
            room: AtomicU32::new(size.high),
            rings: Default::default(),
            front: core::array::from_fn(|_| AtomicU32::new(NO_FRONT)),
            open: AtomicU32::new(0),
            size,
            turn: AtomicU32::new(0),
        })
    }

    /// Its bounds.
    #[must_use]
    pub fn size(&self) -> PagesetSize {
        self.size
    }

    /// Pages in stock; exact on its own CPU.
    #[must_use]
    pub fn count(&self) -> u32 {
        self.rings.iter().map(Ring::len).sum()
    }

    /// Pages that wait to be returned.
    pub(super) fn returns(&self) -> u32 {
        self.rings[RETURNS].len()
    }

    /// Counts the stock anew; returns how many pages still fit.
    pub(super) fn recount(&self) -> u32 {
        let room = self.size.high.saturating_sub(self.count());
        self.room.store(room, Relaxed);
        room
    }

    #[inline]
    fn slot(&self, ring: usize, position: u32) -> &AtomicU32 {
        &self.slots[ring % RINGS][(position % RING_SLOTS) as usize]
    }

    /// Says for which types hits are allowed.
    pub(super) fn set_open(&self, types: u32) {
        self.open.store(types, Relaxed);
    }

    /// Takes a page of `kind` from the hot end, if the zone's low watermark allows it.
    #[inline]
    pub(super) fn pop_allowed(&self, kind: MigrateType) -> Option<Pfn> {
        if self.open.load(Relaxed) >> kind.index() & 1 == 0 { None } else { self.pop_hot(kind) }
    }

    /// Takes a page of `kind` from the hot end.
    #[inline]
    fn pop_hot(&self, kind: MigrateType) -> Option<Pfn> {
        let ring = &self.rings[kind.index()];
        let end = ring.end.load(Relaxed);
        if end == ring.start.load(Relaxed) {
            return None;
        }
        let end = end.wrapping_sub(1);
        let pfn = self.slot(kind.index(), end).load(Relaxed);
        ring.end.store(end, Relaxed);
        Some(Pfn::new(pfn))
    }

    /// Takes a page of `kind` from one end.
    pub(super) fn pop(&self, kind: MigrateType, heat: Heat) -> Option<Pfn> {
        if heat == Heat::Hot { self.pop_hot(kind) } else { self.pop_cold(kind.index()) }
    }

    #[inline]
    fn pop_cold(&self, number: usize) -> Option<Pfn> {
        let ring = self.rings.get(number).filter(|ring| ring.len() > 0)?;
        let start = ring.start.load(Relaxed);
        let pfn = self.slot(number, start).load(Relaxed);
        ring.start.store(start.wrapping_add(1), Relaxed);
        Some(Pfn::new(pfn))
    }

    /// Takes up to `wanted` pages from the cold ends and hands each to `each`: those to be returned first, then one
    /// type after the other, every time beginning with another type.
    pub(super) fn take_coldest(&self, wanted: u32, mut each: impl FnMut(Pfn)) {
        let turn = self.turn.load(Relaxed);
        let order = match turn {
            0 => [RETURNS, 0, 1, 2],
            1 => [RETURNS, 1, 2, 0],
            _ => [RETURNS, 2, 0, 1],
        };
        self.turn.store(if turn < 2 { turn + 1 } else { 0 }, Relaxed);
        let mut left = wanted;
        for ring in order {
            while let Some(pfn) = if left > 0 { self.pop_cold(ring) } else { None } {
                each(pfn);
                left -= 1;
            }
        }
    }

    /// Puts a page of `kind` where it belongs: to the hot end, or among those to be returned. `false`, and nothing
    /// done, when there may be no room.
    pub(super) fn push_hot(&self, pfn: Pfn, kind: MigrateType, gathers: bool) -> bool {
        self.push_if(pfn, kind, gathers, || true)
    }

    /// As [`Self::push_hot`], after `claim` said that the page may be had.
    #[inline]
    pub(super) fn push_if(&self, pfn: Pfn, kind: MigrateType, gathers: bool, claim: impl FnOnce() -> bool) -> bool {
        let Some(room) = self.room.load(Relaxed).checked_sub(1) else { return false };
        if !claim() {
            return false;
        }
        let is_beyond = gathers && pfn.raw() >= self.front[kind.index()].load(Relaxed);
        let number = if is_beyond { RETURNS } else { kind.index() };
        let ring = &self.rings[number];
        let end = ring.end.load(Relaxed);
        self.slot(number, end).store(pfn.raw(), Relaxed);
        ring.end.store(end.wrapping_add(1), Relaxed);
        self.room.store(room, Relaxed);
        true
    }

    /// Puts a page of `kind` at the cold end; `false`, and nothing done, when there may be no room.
    pub(super) fn push_cold(&self, pfn: Pfn, kind: MigrateType) -> bool {
        let room = self.room.load(Relaxed);
        let Some(ring) = self.rings.get(kind.index()).filter(|_| room > 0) else { return false };
        let start = ring.start.load(Relaxed).wrapping_sub(1);
        self.slot(kind.index(), start).store(pfn.raw(), Relaxed);
        ring.start.store(start, Relaxed);
        self.room.store(room - 1, Relaxed);
        true
    }

    /// The first frame that is not for reuse as `kind`.
    pub(super) fn front(&self, kind: MigrateType) -> Option<Pfn> {
        self.front.get(kind.index()).map(|front| Pfn::new(front.load(Relaxed)))
    }

    /// Pages of `kind` from `front` on are to be returned from now on.
    pub(super) fn set_front(&self, kind: MigrateType, front: Pfn) {
        if let Some(place) = self.front.get(kind.index()) {
            place.store(front.raw(), Relaxed);
        }
    }

    /// Every frame in stock, for checks while its CPU is at rest.
    pub(super) fn iter(&self) -> impl Iterator<Item = Pfn> + '_ {
        self.rings.iter().enumerate().flat_map(move |(number, ring)| {
            let end = ring.end.load(Relaxed);
            (1..=ring.len()).map(move |back| Pfn::new(self.slot(number, end.wrapping_sub(back)).load(Relaxed)))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::vec::Vec;

    fn slots() -> Vec<AtomicU32> {
        (0..Pageset::SLOTS).map(|_| AtomicU32::new(0)).collect()
    }

    #[test]
    fn the_hot_end_is_a_stack_and_the_cold_end_is_its_bottom() {
        let slots = slots();
        let set = Pageset::new(&slots, PagesetSize { high: 6, batch: 2 }).unwrap();
        for pfn in 1..=4 {
            assert!(set.push_hot(Pfn::new(pfn), MigrateType::Movable, false));
        }
        assert!(set.push_cold(Pfn::new(9), MigrateType::Movable));
        assert_eq!(set.pop(MigrateType::Movable, Heat::Hot), Some(Pfn::new(4)));
        assert_eq!(set.pop(MigrateType::Movable, Heat::Cold), Some(Pfn::new(9)));
        assert_eq!(set.pop(MigrateType::Movable, Heat::Cold), Some(Pfn::new(1)));
        assert_eq!(set.iter().collect::<Vec<_>>(), [Pfn::new(3), Pfn::new(2)]);
        assert_eq!(set.pop(MigrateType::Unmovable, Heat::Hot), None);
    }

    #[test]
    fn high_bounds_the_sum_over_the_types() {
        let slots = slots();
        let set = Pageset::new(&slots, PagesetSize { high: 3, batch: 1 }).unwrap();
        assert!(set.push_hot(Pfn::new(1), MigrateType::Movable, false));
        assert!(set.push_hot(Pfn::new(2), MigrateType::Unmovable, false));
        assert!(set.push_hot(Pfn::new(3), MigrateType::Reclaimable, false));
        assert!(!set.push_hot(Pfn::new(4), MigrateType::Movable, false));
        assert_eq!((set.count(), set.recount()), (3, 0));
        let mut drained = Vec::new();
        set.take_coldest(1, |pfn| drained.push(pfn));
        set.take_coldest(9, |pfn| drained.push(pfn));
        assert_eq!(drained, [Pfn::new(2), Pfn::new(3), Pfn::new(1)]);
        assert!(!set.push_hot(Pfn::new(4), MigrateType::Movable, false));
        assert_eq!(set.recount(), 3);
        assert!(set.push_hot(Pfn::new(4), MigrateType::Movable, false));
    }

    #[test]
    fn pages_beyond_the_front_are_not_reused_but_returned_first() {
        let slots = slots();
        let set = Pageset::new(&slots, PagesetSize { high: 8, batch: 4 }).unwrap();
        set.set_front(MigrateType::Movable, Pfn::new(100));
        for pfn in [99, 100, 5] {
            assert!(set.push_hot(Pfn::new(pfn), MigrateType::Movable, true));
        }
        assert_eq!((set.count(), set.returns()), (3, 1));
        assert_eq!(set.pop_hot(MigrateType::Movable), Some(Pfn::new(5)));
        set.take_coldest(1, |pfn| assert_eq!(pfn, Pfn::new(100)));
        assert_eq!(set.pop_hot(MigrateType::Movable), Some(Pfn::new(99)));
        assert_eq!(set.pop_hot(MigrateType::Movable), None);
    }

    #[test]
    fn the_boot_pageset_stocks_nothing_and_too_few_slots_are_refused() {
        let slots = slots();
        let boot = Pageset::new(&slots, PagesetSize::BOOT).unwrap();
        assert!(!boot.push_hot(Pfn::new(1), MigrateType::Movable, false));
        assert!(Pageset::new(&slots[1..], PagesetSize::BOOT).is_none());
        assert!(Pageset::new(&slots, PagesetSize { high: 257, batch: 31 }).is_none());
        assert!(Pageset::new(&slots, PagesetSize { high: 256, batch: 0 }).is_none());
    }
}
