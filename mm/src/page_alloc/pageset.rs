//! A CPU's stock of single pages of one zone.
//!
//! Theory.      Each migrate type has a ring of frame numbers. Pages that were just freed are warm in the cache: they
//!              are pushed to the hot end and popped from it again; the cold end is where the stock is drained.
//! Invariants.  1. The sum over the rings never exceeds `high`. 2. Every frame in a ring has the state `pageset`.
//!              3. Only the owning CPU, with interrupts masked, changes a pageset; others may read its counts.
//! Not here.    Where pages come from and go to (`zone`).
//! Source.      Linux 4.1: `struct per_cpu_pages`, `rmqueue_bulk`, `free_pcppages_bulk`, `setup_pageset`.

use core::sync::atomic::AtomicU32;
use core::sync::atomic::Ordering::Relaxed;

use crate::addr::Pfn;
use crate::migrate::{MigrateType, PAGESET_TYPES};

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
}

/// Which end of a ring.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Heat {
    Hot,
    Cold,
}

/// One ring's place: `end` is one past the hot end, `len` pages below it lies the cold end. Both wrap.
#[derive(Debug, Default)]
struct Ring {
    end: AtomicU32,
    len: AtomicU32,
}

/// One CPU's stock of one zone.
#[derive(Debug)]
pub struct Pageset<'m> {
    /// [`PAGESET_TYPES`] rings of `mask + 1` slots.
    slots: &'m [AtomicU32],
    mask: u32,
    size: PagesetSize,
    count: AtomicU32,
    rings: [Ring; PAGESET_TYPES],
    /// The ring that a drain looks at next.
    turn: AtomicU32,
}

impl<'m> Pageset<'m> {
    /// How many slots a pageset with this `high` needs.
    #[must_use]
    pub const fn slots_for(high: u32) -> usize {
        PAGESET_TYPES * high.next_power_of_two() as usize
    }

    /// An empty pageset over `slots`; `None` when they are too few for `size`, or when the batch is 0.
    #[must_use]
    pub fn new(slots: &'m [AtomicU32], size: PagesetSize) -> Option<Self> {
        let slots = slots.get(..Self::slots_for(size.high))?;
        if size.batch == 0 {
            return None;
        }
        let mask = size.high.next_power_of_two() - 1;
        Some(Self { slots, mask, size, count: AtomicU32::new(0), rings: Default::default(), turn: AtomicU32::new(0) })
    }

    /// Its bounds.
    #[must_use]
    pub fn size(&self) -> PagesetSize {
        self.size
    }

    /// Pages in stock; exact on its own CPU.
    #[must_use]
    #[inline]
    pub fn count(&self) -> u32 {
        self.count.load(Relaxed)
    }

    /// Pages that still fit.
    #[inline]
    pub(super) fn room(&self) -> u32 {
        self.size.high.saturating_sub(self.count())
    }

    #[inline]
    fn slot(&self, kind: MigrateType, position: u32) -> Option<&AtomicU32> {
        self.slots.get(kind.index() * (self.mask as usize + 1) + (position & self.mask) as usize)
    }

    /// Takes a page of `kind` from one end.
    #[inline]
    pub(super) fn pop(&self, kind: MigrateType, heat: Heat) -> Option<Pfn> {
        let ring = self.rings.get(kind.index())?;
        let (end, len) = (ring.end.load(Relaxed), ring.len.load(Relaxed));
        let left = len.checked_sub(1)?;
        let position = match heat {
            Heat::Hot => {
                ring.end.store(end.wrapping_sub(1), Relaxed);
                end.wrapping_sub(1)
            }
            Heat::Cold => end.wrapping_sub(len),
        };
        let pfn = self.slot(kind, position)?.load(Relaxed);
        ring.len.store(left, Relaxed);
        self.count.store(self.count().wrapping_sub(1), Relaxed);
        Some(Pfn::new(pfn))
    }

    /// Puts a page of `kind` at one end; `false`, and nothing done, when the pageset is full.
    #[inline]
    pub(super) fn push(&self, pfn: Pfn, kind: MigrateType, heat: Heat) -> bool {
        let Some(ring) = self.rings.get(kind.index()).filter(|_| self.room() > 0) else { return false };
        let (end, len) = (ring.end.load(Relaxed), ring.len.load(Relaxed));
        let position = match heat {
            Heat::Hot => {
                ring.end.store(end.wrapping_add(1), Relaxed);
                end
            }
            Heat::Cold => end.wrapping_sub(len).wrapping_sub(1),
        };
        let Some(slot) = self.slot(kind, position) else { return false };
        slot.store(pfn.raw(), Relaxed);
        ring.len.store(len + 1, Relaxed);
        self.count.store(self.count() + 1, Relaxed);
        true
    }

    /// Takes one page from a cold end, the types taking turns.
    pub(super) fn pop_coldest(&self) -> Option<Pfn> {
        let turn = self.turn.load(Relaxed);
        let kinds = [MigrateType::Unmovable, MigrateType::Reclaimable, MigrateType::Movable];
        for step in 0..PAGESET_TYPES {
            let next = (turn as usize + step) % PAGESET_TYPES;
            if let Some(pfn) = kinds.get(next).and_then(|kind| self.pop(*kind, Heat::Cold)) {
                self.turn.store(turn.wrapping_add(1) % 3, Relaxed);
                return Some(pfn);
            }
        }
        None
    }

    /// Every frame in stock, for checks while its CPU is at rest.
    pub(super) fn iter(&self) -> impl Iterator<Item = Pfn> + '_ {
        let kinds = [MigrateType::Unmovable, MigrateType::Reclaimable, MigrateType::Movable];
        kinds.into_iter().zip(&self.rings).flat_map(move |(kind, ring)| {
            let (end, len) = (ring.end.load(Relaxed), ring.len.load(Relaxed));
            (1..=len).filter_map(move |back| Some(Pfn::new(self.slot(kind, end.wrapping_sub(back))?.load(Relaxed))))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::vec::Vec;

    fn slots(high: u32) -> Vec<AtomicU32> {
        (0..Pageset::slots_for(high)).map(|_| AtomicU32::new(0)).collect()
    }

    #[test]
    fn the_hot_end_is_a_stack_and_the_cold_end_is_its_bottom() {
        let slots = slots(6);
        let set = Pageset::new(&slots, PagesetSize { high: 6, batch: 2 }).unwrap();
        for pfn in 1..=4 {
            assert!(set.push(Pfn::new(pfn), MigrateType::Movable, Heat::Hot));
        }
        assert!(set.push(Pfn::new(9), MigrateType::Movable, Heat::Cold));
        assert_eq!(set.pop(MigrateType::Movable, Heat::Hot), Some(Pfn::new(4)));
        assert_eq!(set.pop(MigrateType::Movable, Heat::Cold), Some(Pfn::new(9)));
        assert_eq!(set.pop(MigrateType::Movable, Heat::Cold), Some(Pfn::new(1)));
        assert_eq!(set.iter().collect::<Vec<_>>(), [Pfn::new(3), Pfn::new(2)]);
        assert_eq!(set.pop(MigrateType::Unmovable, Heat::Hot), None);
    }

    #[test]
    fn high_bounds_the_sum_over_the_types() {
        let slots = slots(3);
        let set = Pageset::new(&slots, PagesetSize { high: 3, batch: 1 }).unwrap();
        assert!(set.push(Pfn::new(1), MigrateType::Movable, Heat::Hot));
        assert!(set.push(Pfn::new(2), MigrateType::Unmovable, Heat::Hot));
        assert!(set.push(Pfn::new(3), MigrateType::Reclaimable, Heat::Hot));
        assert!(!set.push(Pfn::new(4), MigrateType::Movable, Heat::Hot));
        assert_eq!((set.count(), set.room()), (3, 0));
        let drained: Vec<_> = core::iter::from_fn(|| set.pop_coldest()).collect();
        assert_eq!(drained, [Pfn::new(2), Pfn::new(3), Pfn::new(1)]);
    }

    #[test]
    fn the_boot_pageset_stocks_nothing_and_too_few_slots_are_refused() {
        let slots = slots(0);
        let boot = Pageset::new(&slots, PagesetSize::BOOT).unwrap();
        assert!(!boot.push(Pfn::new(1), MigrateType::Movable, Heat::Hot));
        assert!(Pageset::new(&slots, PagesetSize { high: 186, batch: 31 }).is_none());
        assert_eq!(Pageset::slots_for(186), 3 * 256);
    }
}
