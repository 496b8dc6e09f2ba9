//! A change of a pageblock's type, done a few blocks at a time.
//!
//! Theory.      A pageblock may have half a thousand free blocks. To bring them all to another type's lists under one
//!              hold of the zone's lock would keep interrupts off for tens of thousands of instructions. So a change is
//!              begun, and then goes on in steps of bounded length, between which the lock is dropped: a pointer walks
//!              over the pageblock, and what is free behind it has the new type. Frees merge across it with care.
//! Invariants.  A core has one change at a time. A request that would begin another one meanwhile takes its block and
//!              leaves the pageblock alone.
//! Source.      Ours; Linux's `move_freepages_block` does it all at once.

use crate::addr::{Pfn, PfnRange};
use crate::buddy::ZoneFrames;
use crate::memmap::Page;
use crate::migrate::{MigrateType, PAGEBLOCK_PAGES, pageblock_of};
use crate::order::Order;
use crate::trace::What;

/// What it costs to bring a block to another list.
const MOVE: u32 = 3;

/// A change that has begun.
#[derive(Clone, Copy, Debug)]
pub(super) struct Moving {
    /// Everything free in the pageblock below it has the new type.
    next: Pfn,
    end: Pfn,
    /// The new type.
    pub(super) to: MigrateType,
    /// Free pages found.
    moved: u32,
    /// For a request that took a block of this order: the pageblock changes sides only if half of it is free.
    stolen: Option<Order>,
}

/// What a step may still cost, in looks at an entry of the map.
pub(super) struct Patience(u32);

impl Patience {
    pub(super) fn new(step: u32) -> Self {
        Self(step)
    }

    /// Whether there is enough left to list a lane, which has 16 blocks at most.
    pub(super) fn has_for_lane(&self) -> bool {
        self.0 > 10 * MOVE
    }

    /// So many blocks were brought to another list.
    pub(super) fn moved(&mut self, blocks: u32) {
        self.0 = self.0.saturating_sub(blocks * MOVE);
    }
}

impl Moving {
    /// Of the whole pageblock of `pfn`.
    pub(super) fn whole(frames: &ZoneFrames<'_>, pfn: Pfn, to: MigrateType) -> Self {
        let PfnRange { start, end } = pageblock_of(pfn).intersection(frames.span);
        Self { next: start, end, to, moved: 0, stolen: None }
    }

    /// Of what is free in the pageblock of `pfn`, of whose block of `size` a request takes `taken` pages.
    pub(super) fn steal(frames: &ZoneFrames<'_>, pfn: Pfn, size: Order, to: MigrateType, taken: u32) -> Self {
        Self { moved: taken, stolen: Some(size), ..Self::whole(frames, pfn, to) }
    }

    /// Whether it is about the pageblock of `pfn`.
    pub(super) fn is_in(&self, pfn: Pfn) -> bool {
        Pfn::new(self.end.raw().wrapping_sub(1)).raw() / PAGEBLOCK_PAGES == pfn.raw() / PAGEBLOCK_PAGES
    }

    /// The next free block: frame, entry, order.
    pub(super) fn next_free<'m>(
        &mut self,
        frames: &ZoneFrames<'m>,
        patience: &mut Patience,
    ) -> Option<(Pfn, &'m Page, Order)> {
        while self.next < self.end && patience.0 > 0 {
            patience.0 -= 1;
            let pfn = self.next;
            let page = frames.map.at(pfn);
            let word = page.word();
            let order = word.head_order().unwrap_or_default();
            self.next = pfn.checked_add(order.pages()).unwrap_or(self.end);
            if word.is_free_in(order, frames.zone) {
                self.moved += order.pages();
                return Some((pfn, page, order));
            }
        }
        None
    }

    /// The block that was found last, as another part of what is free, will be looked at again.
    pub(super) fn again(&mut self, pfn: Pfn, order: Order) {
        self.next = pfn;
        self.moved -= order.pages();
    }

    /// Free pages found so far.
    pub(super) fn pages(&self) -> u32 {
        self.moved
    }

    pub(super) fn is_done(&self) -> bool {
        self.next >= self.end
    }

    /// A frame of the pageblock.
    pub(super) fn place(&self) -> Pfn {
        Pfn::new(self.end.raw().wrapping_sub(1))
    }

    /// The end of a change that is done: one for a request is told to the trace. Returns whether the pageblock comes
    /// over with it: then half of it was free.
    pub(super) fn comes_over(&self, frames: &ZoneFrames<'_>) -> bool {
        let Some(size) = self.stolen else { return false };
        frames.note(What::Steal { to: self.to, pages: self.moved }, Some(self.place()), size);
        // It may have been isolated meanwhile, but not while a change is under way.
        self.moved >= PAGEBLOCK_PAGES / 2
    }
}
