//! A CPU's stock of small blocks of one zone: orders 0 to 3.
//!
//! Theory.      Each order and migrate type has a ring of frame numbers. Blocks that were just freed are warm in the
//!              cache: they are pushed to the hot end and popped from it again; the cold end is where the stock is
//!              drained. Blocks at or beyond a ring's *front* are not for reuse: they go to a ring of their own, and
//!              from there back to the zone. Without a core that gathers, the front is beyond every frame.
//!              `room` counts the pages that are sure to fit. A pop does not count up again, so that a hit touches as
//!              little as can be: at 0 the pages are counted anew, and the zone is looked after. What `room` lost since
//!              are the pages that were freed, so that hits need not count them.
//!              A pageset that is closed gives hits neither types nor room, so that every block takes the long way.
//! Invariants.  1. Pages in all rings + `room` never exceed `high`, as it was at the last count. 2. Every frame in a
//!              ring has the state `pageset` of the ring's order. 3. Only the owning CPU, with interrupts masked,
//!              changes a pageset; others may read its counts, and write `open` and `closed`.
//! Picture.     slots of one ring     cold -> | 7 | 3 | 9 |   |   | <- hot
//!                                          start       end
//! Not here.    Where blocks come from and go to, and who sets the front (`stock`).
//! Source.      Linux 4.1: `struct per_cpu_pages`, `rmqueue_bulk`, `free_pcppages_bulk`, `setup_pageset`; orders above
//!              0: Linux 5.13 (`PAGE_ALLOC_COSTLY_ORDER`, `nr_pcp_alloc`).

mod rings;

pub(super) use rings::{Cold, Heat, RingIndex, open_rings};
pub use rings::{PAGESET_ORDER, RING_SLOTS};

use core::sync::atomic::AtomicU32;
use core::sync::atomic::Ordering::Relaxed;

use crate::addr::Pfn;
use crate::buddy::FreeCore;
use crate::order::Order;
use rings::{LANES, RETURNS, RINGS, Ring};

/// A front beyond every frame.
const NO_FRONT: u32 = u32::MAX;

/// How large a pageset may grow and how many pages it exchanges with the zone at a time.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct PagesetSize {
    /// Most pages in stock, all orders and types together.
    pub high: u32,
    /// Pages of a refill or a drain.
    pub batch: u32,
}

impl PagesetSize {
    /// What serves until there are real ones: stocks nothing, hands each page through (Linux: `boot_pageset`).
    pub const BOOT: Self = Self { high: 0, batch: 1 };

    /// This size, as far as a pageset over `C` can have it: rings end at [`RING_SLOTS`] blocks, and with more than 186
    /// a CPU would keep too many out of the hands of a core that gathers.
    #[must_use]
    pub fn for_core<'m, C: FreeCore<'m>>(self) -> Self {
        let most = if C::GATHERS { Self { high: 186, batch: 32 } } else { Self { high: RING_SLOTS, batch: 96 } };
        Self { high: self.high.min(most.high), batch: self.batch.min(most.batch) }
    }

    /// Blocks of `order` that a refill brings: as many pages as the batch has, rounded up to a block that can be taken
    /// whole, but two blocks at least.
    #[must_use]
    pub(super) fn refill(self, order: Order) -> u32 {
        let pages = self.batch.next_power_of_two();
        if order == Order::ZERO { pages } else { (pages >> order.log2()).max(2) }
    }

    /// Pages of a drain: a batch, but no more than a free should wait for.
    #[must_use]
    pub(super) fn drain(self) -> u32 {
        self.batch.min(DRAIN_PAGES)
    }
}

/// Most pages of a drain, which takes several holds of the lock.
const DRAIN_PAGES: u32 = 32;

/// One CPU's stock of one zone. Two CPUs' never share a line of the cache.
#[derive(Debug)]
#[repr(align(64))]
pub struct Pageset<'m> {
    slots: &'m [[AtomicU32; RING_SLOTS as usize]; RINGS],
    room: AtomicU32,
    /// A bit a ring: set where the zone's low watermark allows a hit. Written under the zone's lock.
    open: AtomicU32,
    rings: [Ring; RINGS],
    /// By ring: the first frame that is not for reuse.
    front: [AtomicU32; RINGS],
    /// [`PagesetSize::high`]; changed by a resize.
    pub(super) high: AtomicU32,
    /// [`PagesetSize::batch`].
    pub(super) batch: AtomicU32,
    /// The ring that a drain looks at next.
    turn: AtomicU32,
    /// Not 0 while no hits are allowed.
    closed: AtomicU32,
    /// `room` as it was after the last count.
    granted: AtomicU32,
    /// Pages that callers freed, up to the last count.
    freed: AtomicU32,
    /// The `high` of the last count, or [`NO_BOUND`] when there was more.
    bound: AtomicU32,
}

/// No `high` is as large.
const NO_BOUND: u32 = u32::MAX;

fn add(counter: &AtomicU32, pages: u32) {
    counter.store(counter.load(Relaxed).wrapping_add(pages), Relaxed);
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
        let zero = || AtomicU32::new(0);
        Some(Self {
            slots,
            room: AtomicU32::new(size.high),
            open: zero(),
            rings: Default::default(),
            front: core::array::from_fn(|_| AtomicU32::new(NO_FRONT)),
            high: AtomicU32::new(size.high),
            batch: AtomicU32::new(size.batch),
            turn: zero(),
            closed: zero(),
            granted: AtomicU32::new(size.high),
            freed: zero(),
            bound: AtomicU32::new(size.high),
        })
    }

    /// Its bounds.
    #[must_use]
    pub fn size(&self) -> PagesetSize {
        PagesetSize { high: self.high.load(Relaxed), batch: self.batch.load(Relaxed) }
    }

    /// Pages in stock; exact on its own CPU. Another CPU may see too few or too many, as it sees no two ends of rings
    /// at one moment, but never more than the rings have places.
    #[must_use]
    pub fn count(&self) -> u32 {
        self.pages(|lanes| lanes.iter().map(Ring::seen).sum())
    }

    /// Pages in all rings; those of an order have so many `blocks`.
    #[inline]
    fn pages(&self, blocks: impl Fn(&[Ring; LANES]) -> u32) -> u32 {
        let (orders, _) = self.rings.as_chunks::<LANES>();
        orders.iter().zip(0..).map(|(lanes, order)| blocks(lanes) << order).sum()
    }

    /// Blocks of an order. Not inlined: the ends of all rings at once do not fit into registers.
    #[inline(never)]
    fn blocks(lanes: &[Ring; LANES]) -> u32 {
        lanes.iter().map(Ring::len).sum()
    }

    /// Pages that wait to be returned.
    pub(super) fn returns(&self) -> u32 {
        let (orders, _) = self.rings.as_chunks::<LANES>();
        orders.iter().zip(0..).map(|(lanes, order)| lanes[RETURNS as usize].len() << order).sum()
    }

    /// Pages that callers gave to it; exact on its own CPU. It wraps. Another CPU may see those since the last count
    /// twice, or not yet: they are at most `high`.
    #[must_use]
    pub fn freed(&self) -> u32 {
        let by_hits = self.granted.load(Relaxed).wrapping_sub(self.room.load(Relaxed));
        // More was never granted: the two are of different moments.
        let by_hits = if by_hits > RING_SLOTS { 0 } else { by_hits };
        self.freed.load(Relaxed).wrapping_add(by_hits)
    }

    /// How many pages fit for sure, counted anew only if `pages` do not.
    pub(super) fn room_for(&self, pages: u32) -> u32 {
        let room = self.room.load(Relaxed);
        if room >= pages { room } else { self.recount() }
    }

    /// Takes from the room what came from the zone; a closed pageset has none.
    pub(super) fn use_room(&self, pages: u32) {
        for counter in [&self.granted, &self.room] {
            counter.store(counter.load(Relaxed).saturating_sub(pages), Relaxed);
        }
    }

    /// What a count would find that follows directly on another one, but for pages that came from the zone or went
    /// there.
    pub(super) fn recounted(&self, room: u32) {
        let granted = if self.closed.load(Relaxed) == 0 { room } else { 0 };
        self.granted.store(granted, Relaxed);
        self.room.store(granted, Relaxed);
    }

    /// Counts the stock anew; returns how many pages still fit.
    pub(super) fn recount(&self) -> u32 {
        let by_hits = self.granted.load(Relaxed).wrapping_sub(self.room.load(Relaxed));
        add(&self.freed, by_hits);
        let (pages, high) = (self.pages(Self::blocks), self.size().high);
        self.bound.store(if pages <= high { high } else { NO_BOUND }, Relaxed);
        let room = high.saturating_sub(pages);
        self.recounted(room);
        room
    }

    #[inline]
    fn slot(&self, ring: RingIndex, position: u32) -> &AtomicU32 {
        &self.slots[ring.index()][(position % RING_SLOTS) as usize]
    }

    /// Says for which rings hits are allowed, if any are.
    pub(super) fn set_open(&self, rings: u32) {
        let open = if self.closed.load(Relaxed) == 0 { rings } else { 0 };
        self.open.store(open, Relaxed);
    }

    /// Allows or forbids hits; for another CPU's pageset only from its next count on.
    pub(super) fn set_closed(&self, closed: bool) {
        self.closed.store(u32::from(closed), Relaxed);
        if closed {
            self.open.store(0, Relaxed);
        }
    }

    /// Whether a hit is allowed.
    #[inline]
    pub(super) fn is_open(&self, ring: RingIndex) -> bool {
        self.open.load(Relaxed) >> ring.0 & 1 != 0
    }

    /// Takes a block from the hot end.
    #[inline]
    pub(super) fn pop_hot(&self, ring: RingIndex) -> Option<Pfn> {
        let place = &self.rings[ring.index()];
        let end = place.end.load(Relaxed);
        if end == place.start.load(Relaxed) {
            return None;
        }
        let end = end.wrapping_sub(1);
        let pfn = self.slot(ring, end).load(Relaxed);
        place.end.store(end, Relaxed);
        Some(Pfn::new(pfn))
    }

    /// Takes a block from one end.
    pub(super) fn pop(&self, ring: RingIndex, heat: Heat) -> Option<Pfn> {
        if heat == Heat::Hot { self.pop_hot(ring) } else { self.pop_cold(ring) }
    }

    #[inline]
    fn pop_cold(&self, ring: RingIndex) -> Option<Pfn> {
        let place = &self.rings[ring.index()];
        if place.len() == 0 {
            return None;
        }
        let start = place.start.load(Relaxed);
        let pfn = self.slot(ring, start).load(Relaxed);
        place.start.store(start.wrapping_add(1), Relaxed);
        Some(Pfn::new(pfn))
    }

    /// Whether there may be no room for `pages` more because of this ring and, if the core `gathers`, that of its
    /// blocks to be returned: they have most of what the pageset may hold, and more than a drain takes. `false` when
    /// the bound has changed since the last count, or there was more: then only a count knows.
    #[inline]
    pub(super) fn fills(&self, ring: RingIndex, pages: u32, gathers: bool) -> bool {
        let returns = if gathers { self.rings[ring.returns().index()].len() } else { 0 };
        let stocked = (self.rings[ring.index()].len() + returns) << ring.order().log2();
        let size = self.size();
        let is_large = stocked > size.high / 2 && stocked > size.drain();
        let is_known = self.bound.load(Relaxed) == size.high && self.closed.load(Relaxed) == 0;
        is_large && is_known && self.room.load(Relaxed) < pages
    }

    /// Adds to the room what went to the zone; a closed pageset has none.
    #[inline]
    pub(super) fn make_room(&self, pages: u32) {
        if self.closed.load(Relaxed) == 0 {
            add(&self.granted, pages);
            add(&self.room, pages);
        }
    }

    /// Hands blocks of `wanted` pages or a little more at the cold ends, a ring's at a time, to `each`, which takes as
    /// many of them as it likes and says how many it left; returns how many pages it took. Those to be returned come
    /// first, if the core `gathers` and there are such, then one ring after the other, every time beginning with
    /// another ring. It ends when some were left.
    pub(super) fn take_coldest(&self, wanted: u32, gathers: bool, mut each: impl FnMut(Cold<'_>, Order) -> u32) -> u32 {
        let turn = self.turn.load(Relaxed);
        self.turn.store(turn.wrapping_add(1), Relaxed);
        let mut taken = 0;
        if gathers {
            for number in (RETURNS..16).step_by(LANES) {
                let (more, are_left) = self.take_ring(RingIndex(number), wanted.saturating_sub(taken), &mut each);
                taken += more;
                if are_left {
                    return taken;
                }
            }
        }
        for step in 0..16 {
            if taken >= wanted {
                break;
            }
            let (more, are_left) = self.take_ring(RingIndex(turn.wrapping_add(step) & 0xf), wanted - taken, &mut each);
            taken += more;
            if are_left {
                break;
            }
        }
        taken
    }

    /// The same from one ring, after those to be returned of its order.
    #[inline]
    pub(super) fn take_like(
        &self,
        ring: RingIndex,
        wanted: u32,
        gathers: bool,
        each: &mut impl FnMut(Cold<'_>, Order) -> u32,
    ) -> u32 {
        let (taken, are_left) = if gathers { self.take_ring(ring.returns(), wanted, each) } else { (0, false) };
        if taken < wanted && !are_left { taken + self.take_ring(ring, wanted - taken, each).0 } else { taken }
    }

    /// The same from one ring; whether some were left, too.
    #[inline]
    fn take_ring(&self, ring: RingIndex, wanted: u32, each: &mut impl FnMut(Cold<'_>, Order) -> u32) -> (u32, bool) {
        let place = &self.rings[ring.index()];
        let (start, len) = (place.start.load(Relaxed), place.len());
        if len == 0 {
            return (0, false);
        }
        let order = ring.order();
        let offered = len.min(wanted.div_ceil(order.pages()));
        let left = each(Cold { slots: &self.slots[ring.index()], next: start, left: offered }, order);
        let taken = offered - left;
        place.start.store(start.wrapping_add(taken), Relaxed);
        (taken << order.log2(), left > 0)
    }

    /// Puts a block that a caller freed where it belongs, to the hot end or among those to be returned, after `claim`
    /// took it from its owner and said which ring it came from. `false`, and nothing done, when there may be no room or
    /// the claim fails. The front counts only if the core `gathers`.
    #[inline]
    pub(super) fn push_hit(&self, pfn: Pfn, order: Order, gathers: bool, claim: impl FnOnce() -> Option<u32>) -> bool {
        // By the sign, so that the difference is what is compared: room is far below the half of a word.
        let room = self.room.load(Relaxed).wrapping_sub(order.pages());
        if room.cast_signed() < 0 {
            return false;
        }
        let Some(bits) = claim() else { return false };
        let ring = RingIndex::new(order, bits);
        let is_beyond = gathers && pfn.raw() >= self.front[ring.index()].load(Relaxed);
        let ring = if is_beyond { ring.returns() } else { ring };
        self.push_end(pfn, ring);
        self.room.store(room, Relaxed);
        true
    }

    #[inline]
    fn push_end(&self, pfn: Pfn, ring: RingIndex) {
        let place = &self.rings[ring.index()];
        let end = place.end.load(Relaxed);
        self.slot(ring, end).store(pfn.raw(), Relaxed);
        place.end.store(end.wrapping_add(1), Relaxed);
    }

    fn push_start(&self, pfn: Pfn, ring: RingIndex) {
        let place = &self.rings[ring.index()];
        let start = place.start.load(Relaxed).wrapping_sub(1);
        self.slot(ring, start).store(pfn.raw(), Relaxed);
        place.start.store(start, Relaxed);
    }

    /// Puts a block that a caller freed into its ring after a count that said there is room; the next count sees it.
    pub(super) fn push_freed(&self, pfn: Pfn, ring: RingIndex, heat: Heat, gathers: bool) {
        match heat {
            Heat::Cold => self.push_start(pfn, ring),
            Heat::Hot if gathers && self.front(ring).is_some_and(|front| pfn >= front) => {
                self.push_end(pfn, ring.returns());
            }
            Heat::Hot => self.push_end(pfn, ring),
        }
        let pages = ring.order().pages();
        match self.room.load(Relaxed).checked_sub(pages) {
            Some(room) => self.room.store(room, Relaxed),
            // It is closed: there is room, but not for hits.
            None => add(&self.freed, pages),
        }
    }

    /// Puts blocks that follow each other and came from the zone where pops from `heat` find the first of them first,
    /// after those that are there.
    #[inline]
    pub(super) fn stock(&self, first: Pfn, blocks: u32, ring: RingIndex, heat: Heat) {
        let place = &self.rings[ring.index()];
        let (slots, pages) = (&self.slots[ring.index()], ring.order().pages());
        // What is popped from the hot end last lies before what is there, the first block next to it.
        let (mut position, step) = match heat {
            Heat::Hot => (place.start.load(Relaxed).wrapping_sub(1), u32::MAX),
            Heat::Cold => (place.end.load(Relaxed), 1),
        };
        let mut frame = first.raw();
        for _ in 0..blocks {
            slots[(position % RING_SLOTS) as usize].store(frame, Relaxed);
            position = position.wrapping_add(step);
            frame = frame.wrapping_add(pages);
        }
        match heat {
            Heat::Hot => place.start.store(position.wrapping_add(1), Relaxed),
            Heat::Cold => place.end.store(position, Relaxed),
        }
    }

    /// The first frame that is not for reuse.
    pub(super) fn front(&self, ring: RingIndex) -> Option<Pfn> {
        self.front.get(ring.index()).map(|front| Pfn::new(front.load(Relaxed)))
    }

    /// Blocks of `ring` from `front` on are to be returned from now on.
    pub(super) fn set_front(&self, ring: RingIndex, front: Pfn) {
        self.front[ring.index()].store(front.raw(), Relaxed);
    }

    /// Every block in stock, for checks while its CPU is at rest.
    pub(super) fn iter(&self) -> impl Iterator<Item = (Pfn, Order)> + '_ {
        RingIndex::all().flat_map(move |ring| {
            let place = &self.rings[ring.index()];
            let end = place.end.load(Relaxed);
            let slot = move |back| Pfn::new(self.slot(ring, end.wrapping_sub(back)).load(Relaxed));
            (1..=place.len()).map(move |back| (slot(back), ring.order()))
        })
    }
}

#[cfg(test)]
mod tests;
