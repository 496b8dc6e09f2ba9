//! The two scanners of a compaction.
//!
//! Theory.      The migrate scanner goes upward through pageblocks and takes single movable pages; the free scanner
//!              goes downward and takes free pages for them. When they meet, all that can be done has been done.
//! Invariants.  1. Whatever the free scanner took and nobody moved to is given back. 2. Pageblocks that are isolated
//!              are left alone, and lent ones get pages but give none.
//! Source.      Linux 4.1 mm/compaction.c: `isolate_migratepages_range`, `isolate_freepages`.

use crate::addr::{Pfn, PfnRange};
use crate::buddy::{FreeCore, Holder};
use crate::gfp::GfpFlags;
use crate::memmap::{PageState, StateWord};
use crate::migrate::{MigrateType, pageblock_of};
use crate::order::Order;
use crate::page_alloc::{PageAllocator, Zone};
use crate::sync::CurrentCpu;

/// Pages that are moved before it is looked whether it is enough (Linux: `COMPACT_CLUSTER_MAX`).
const CLUSTER: usize = 32;

/// Where both scanners are.
pub(super) struct Scanners {
    /// Everything below was looked at by the migrate scanner.
    pub(super) next: Pfn,
    free: FreeScanner,
}

/// The free scanner and what it has in hand.
struct FreeScanner {
    /// Everything from here on was looked at: the begin of a pageblock, or the end of the zone.
    at: Pfn,
    pages: [Pfn; CLUSTER],
    held: usize,
}

impl Scanners {
    pub(super) fn new(between: PfnRange) -> Self {
        let free = FreeScanner { at: between.end, pages: [Pfn::new(0); CLUSTER], held: 0 };
        Self { next: between.start, free }
    }

    /// What neither has looked at yet.
    pub(super) fn between(&self) -> PfnRange {
        PfnRange::new(self.next, self.free.at.max(self.next))
    }
}

impl FreeScanner {
    fn push(&mut self, pfn: Pfn) {
        if let Some(place) = self.pages.get_mut(self.held) {
            *place = pfn;
            self.held += 1;
        }
    }

    fn pop(&mut self) -> Option<Pfn> {
        self.held = self.held.checked_sub(1)?;
        self.pages.get(self.held).copied()
    }
}

impl<'m, M: CurrentCpu, C: FreeCore<'m>> PageAllocator<'m, M, C> {
    /// Moves the next movable pages, a cluster at most; returns how many the migrate scanner took, and how many of them
    /// were moved. With none taken the scanners have met.
    pub(super) fn move_cluster(&self, zone: &Zone<'m, C, M>, scanners: &mut Scanners, end: Pfn) -> (usize, usize) {
        let mut moving = [Pfn::new(0); CLUSTER];
        let between = scanners.between();
        let range = PfnRange::new(between.start, between.end.min(end).max(between.start));
        let (count, after) = self.isolate_cluster(zone, range, &mut moving);
        scanners.next = after;
        let taken = moving.get(..count).unwrap_or(&[]);
        let moved = taken.iter().filter(|pfn| self.move_up(zone, **pfn, after, &mut scanners.free)).count();
        if count > 0 {
            self.drain_local();
        }
        (count, moved)
    }

    /// Gives back what the free scanner has in hand; returns what neither has looked at, for the next time.
    pub(super) fn end_scan(&self, zone: &Zone<'m, C, M>, mut scanners: Scanners) -> PfnRange {
        while let Some(pfn) = scanners.free.pop() {
            zone.with_core(|core| core.give_claimed(pfn, Order::ZERO));
            // It will do next time.
            scanners.free.at = scanners.free.at.max(pageblock_of(pfn).end.min(zone.frames.span.end));
        }
        scanners.between()
    }

    /// Takes up to a cluster of single movable pages of `range`; returns how many, and where to go on
    /// (Linux: `isolate_migratepages_range`).
    fn isolate_cluster(&self, zone: &Zone<'m, C, M>, range: PfnRange, out: &mut [Pfn; CLUSTER]) -> (usize, Pfn) {
        let (mut count, mut next) = (0, range.start);
        while range.contains(next) && count < CLUSTER {
            if matches!(zone.block_type(next), MigrateType::Isolate | MigrateType::Cma) {
                next = pageblock_of(next).end.min(range.end);
                continue;
            }
            let at = next;
            let (head, size) = self.map.head_of(at).unwrap_or((at, Order::ZERO));
            next = head.checked_add(size.pages()).unwrap_or(range.end).max(Pfn::new(at.raw() + 1));
            let is_ours = size == Order::ZERO && self.map.page(head).is_some_and(|page| page.zone() == zone.tag());
            if !is_ours || self.isolate_movable(head).is_err() {
                continue;
            }
            if let Some(place) = out.get_mut(count) {
                *place = head;
                count += 1;
            }
        }
        (count, next)
    }

    /// Moves a page that was taken for moving to one of the free scanner's; `false`: it stays where it is.
    fn move_up(&self, zone: &Zone<'m, C, M>, old: Pfn, above: Pfn, free: &mut FreeScanner) -> bool {
        if free.held == 0 {
            self.refill_scanner(zone, above, free);
        }
        let Some((new, page)) = free.pop().and_then(|new| Some((new, self.map.page(new)?))) else {
            self.putback_movable(old);
            return false;
        };
        page.set_word(StateWord::allocated(Order::ZERO, MigrateType::Movable));
        // What is done to any new page is done to this one; it is never to be zeroed, so it is never refused.
        let ready = self.prepare_new(new, Order::ZERO, GfpFlags::MOVABLE);
        if ready.is_ok() && self.move_block(old, new, Order::ZERO).is_ok() {
            self.free_own(old, Order::ZERO);
            return true;
        }
        self.putback_movable(old);
        self.free_own(new, Order::ZERO);
        false
    }

    /// Takes free pages from the highest pageblocks that were not looked at yet, down to `above`
    /// (Linux: `isolate_freepages`).
    fn refill_scanner(&self, zone: &Zone<'m, C, M>, above: Pfn, free: &mut FreeScanner) {
        let floor = above.max(zone.frames.span.start);
        while free.held == 0 && free.at > floor {
            let last = Pfn::new(free.at.raw() - 1);
            let block = pageblock_of(last);
            let block = PfnRange::new(block.start.max(floor), free.at);
            if matches!(zone.block_type(last), MigrateType::Movable | MigrateType::Cma) {
                self.take_free(zone, block, free);
            }
            if free.held < CLUSTER {
                // Nothing more to be had here.
                free.at = block.start;
            }
        }
    }

    /// Takes free pages of a part of a pageblock, until the scanner's hands are full.
    fn take_free(&self, zone: &Zone<'m, C, M>, block: PfnRange, free: &mut FreeScanner) {
        let mut next = block.start;
        while block.contains(next) && free.held < CLUSTER {
            let at = next;
            let (head, size) = self.map.head_of(at).unwrap_or((at, Order::ZERO));
            next = head.checked_add(size.pages()).unwrap_or(block.end).max(Pfn::new(at.raw() + 1));
            if head < block.start || !matches!(self.map.state(head), Some(PageState::Free(_))) {
                continue;
            }
            let Some(size) = zone.with_core(|core| core.take_at(head, Holder::Pageset)) else { continue };
            let taken = PfnRange::new(head, Pfn::new(head.raw() + size.pages()));
            let room = u32::try_from(CLUSTER - free.held).unwrap_or(0);
            let kept = PfnRange::new(head, Pfn::new(head.raw() + room.min(size.pages())));
            self.give_pieces(zone, PfnRange::new(kept.end, taken.end));
            for pfn in kept.iter() {
                if let Some(page) = self.map.page(pfn) {
                    page.set_word(StateWord::pageset(Order::ZERO));
                }
                free.push(pfn);
            }
        }
    }
}
