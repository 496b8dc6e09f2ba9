//! Compaction: movable pages go from the low end of a zone to the high end, until a block of the wanted order is free.
//!
//! Theory.      Two scanners approach each other. The migrate scanner goes upward through pageblocks and takes single
//!              movable pages; the free scanner goes downward and takes free pages for them. When they meet, all that can
//!              be done has been done. A zone in which that did not help is left alone for a number of tries that
//!              doubles each time.
//! Invariants.  1. Whatever the free scanner took and nobody moved to is given back. 2. Pageblocks that are isolated are
//!              left alone, and lent ones get pages but give none.
//! Not here.    When to compact (the slow path of requests).
//! Source.      Linux 4.1 mm/compaction.c: `compact_zone`, `isolate_migratepages`, `isolate_freepages`,
//!              `compaction_suitable`, `compact_finished`, `defer_compaction`, `try_to_compact_pages`.
#![forbid(unsafe_code)]

use core::sync::atomic::AtomicU32;
use core::sync::atomic::Ordering::Relaxed;

use crate::addr::{NodeId, Pfn, PfnRange};
use crate::buddy::{FreeCore, Holder};
use crate::gfp::GfpFlags;
use crate::memmap::{PageState, StateWord, ZoneTag};
use crate::migrate::{MigrateType, pageblock_of};
use crate::order::Order;
use crate::page_alloc::{PageAllocator, Zone};
use crate::sync::CurrentCpu;
use crate::zone::ZoneRef;

/// Pages that are moved before it is looked whether it is enough (Linux: `COMPACT_CLUSTER_MAX`).
const CLUSTER: usize = 32;
/// A zone is passed over 2^6 times at most (Linux: `COMPACT_MAX_DEFER_SHIFT`).
const MAX_DEFER_SHIFT: u32 = 6;

/// How a compaction ended, the worst first (Linux: `COMPACT_SKIPPED`, …).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum CompactOutcome {
    /// There are too few free pages for it to help.
    Skipped,
    /// It failed here of late.
    Deferred,
    /// The scanners met: every page was looked at, and there is no block of the order.
    Complete,
    /// There is a block of the order.
    Success,
}

/// Tries that a zone is passed over after failures.
#[derive(Debug, Default)]
pub(super) struct Deferral {
    shift: AtomicU32,
    passed: AtomicU32,
    /// The smallest order that failed; 0 for none.
    order: AtomicU32,
}

impl Deferral {
    fn is_deferred(&self, order: Order) -> bool {
        let failed = self.order.load(Relaxed);
        if failed == 0 || u32::from(order.raw()) < failed {
            return false;
        }
        let passed = self.passed.fetch_add(1, Relaxed) + 1;
        passed < 1 << self.shift.load(Relaxed)
    }

    fn failed(&self, order: Order) {
        let shift = self.shift.load(Relaxed);
        self.shift.store((shift + 1).min(MAX_DEFER_SHIFT), Relaxed);
        self.passed.store(0, Relaxed);
        let order = u32::from(order.raw());
        let smallest = match self.order.load(Relaxed) {
            0 => order,
            known => known.min(order),
        };
        self.order.store(smallest, Relaxed);
    }

    fn succeeded(&self) {
        self.shift.store(0, Relaxed);
        self.order.store(0, Relaxed);
    }
}

/// The free scanner and what it has in hand.
struct FreeScanner {
    /// Every pageblock from here on was looked at; it begins one.
    at: Pfn,
    pages: [Pfn; CLUSTER],
    held: usize,
}

impl<'m, M: CurrentCpu, C: FreeCore<'m>> PageAllocator<'m, M, C> {
    /// Compacts the zones that a request may use, best first, until one of them has a block for it.
    ///
    /// Returns the best outcome. Context: as the request's with `WAIT`: owners are called. Linux: `try_to_compact_pages`.
    pub fn try_to_compact_pages(&self, node: NodeId, gfp: GfpFlags, order: Order) -> CompactOutcome {
        let Ok(request) = self.request(gfp, order) else { return CompactOutcome::Skipped };
        let mut best = CompactOutcome::Skipped;
        let refs = self.zonelists.get(node.index()).map_or(&[][..], |list| list.refs());
        for zone in refs.iter().filter(|zone| zone.zone <= request.highest) {
            best = best.max(self.compact_for(*zone, order));
            if best == CompactOutcome::Success {
                break;
            }
        }
        best
    }

    /// Compacts one zone for a request, unless that failed of late.
    pub(super) fn compact_for(&self, zone: ZoneRef, order: Order) -> CompactOutcome {
        let found = self.zone(zone).zip(self.watch.deferrals.get(ZoneTag::from(zone).index()));
        let Some((zone, deferral)) = found else { return CompactOutcome::Skipped };
        if deferral.is_deferred(order) {
            return CompactOutcome::Deferred;
        }
        let outcome = self.compact_one(zone, order);
        match outcome {
            CompactOutcome::Success => deferral.succeeded(),
            CompactOutcome::Complete => deferral.failed(order),
            CompactOutcome::Skipped | CompactOutcome::Deferred => {}
        }
        outcome
    }

    /// Compacts one zone until it has a free block of `order` that anybody may have (Linux: `compact_zone`).
    pub fn compact_zone(&self, zone: ZoneTag, order: Order) -> CompactOutcome {
        self.zone_tagged(zone).map_or(CompactOutcome::Skipped, |zone| self.compact_one(zone, order))
    }

    fn compact_one(&self, zone: &Zone<'m, C, M>, order: Order) -> CompactOutcome {
        self.drain_local();
        if has_block(zone, order) {
            return CompactOutcome::Success;
        }
        // Pages to move to, and as many again that are free when they are moved (Linux: `compaction_suitable`).
        let stats = zone.stats();
        if stats.counts.free < stats.marks.low.saturating_add(2 * order.pages()) {
            return CompactOutcome::Skipped;
        }
        let span = zone.frames.span;
        let mut free = FreeScanner { at: span.end, pages: [Pfn::new(0); CLUSTER], held: 0 };
        let mut next = span.start;
        let outcome = loop {
            let mut moving = [Pfn::new(0); CLUSTER];
            let (count, after) = self.isolate_cluster(zone, PfnRange::new(next, free.at.max(next)), &mut moving);
            next = after;
            let taken = moving.get(..count).unwrap_or(&[]);
            taken.iter().for_each(|pfn| self.move_up(zone, *pfn, next, &mut free));
            if count > 0 {
                self.drain_local();
            }
            if has_block(zone, order) {
                break CompactOutcome::Success;
            }
            if count == 0 && next >= free.at {
                break CompactOutcome::Complete;
            }
        };
        while let Some(pfn) = free.pop() {
            zone.with_core(|core| core.give_claimed(pfn, Order::ZERO));
        }
        if outcome == CompactOutcome::Complete && has_block(zone, order) { CompactOutcome::Success } else { outcome }
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

    /// Moves a page that was taken for moving to one of the free scanner's, or leaves it where it is.
    fn move_up(&self, zone: &Zone<'m, C, M>, old: Pfn, above: Pfn, free: &mut FreeScanner) {
        if free.held == 0 {
            self.refill_scanner(zone, above, free);
        }
        let Some(new) = free.pop() else { return self.putback_movable(old) };
        let Some(page) = self.map.page(new) else { return self.putback_movable(old) };
        page.set_word(StateWord::allocated(Order::ZERO, MigrateType::Movable));
        // What is done to any new page is done to this one; it is never to be zeroed, so it is never refused.
        let ready = self.prepare_new(new, Order::ZERO, GfpFlags::MOVABLE);
        if ready.is_ok() && self.move_block(old, new, Order::ZERO).is_ok() {
            return self.free_own(old, Order::ZERO);
        }
        self.putback_movable(old);
        self.free_own(new, Order::ZERO);
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

/// Whether the zone has a free block of at least `order` that is neither lent nor isolated nor kept.
fn has_block<'m, C: FreeCore<'m>, M: CurrentCpu>(zone: &Zone<'m, C, M>, order: Order) -> bool {
    let kinds = [MigrateType::Unmovable, MigrateType::Reclaimable, MigrateType::Movable];
    Order::all()
        .filter(|larger| *larger >= order)
        .any(|larger| kinds.iter().any(|kind| zone.free_blocks(larger, *kind) > 0))
}
