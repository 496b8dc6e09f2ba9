//! Compaction: movable pages go from the low end of a zone to the high end, so that large blocks become free.
//!
//! Theory.      Two scanners approach each other (`scan`): for a request until it has its block; in the background
//!              (`background`) until most of the free memory lies in large blocks.
//! Not here.    When to compact for a request (`slow`).
//! Source.      Linux 4.1 mm/compaction.c: `compact_zone`, `compaction_suitable`, `compact_finished`,
//!              `defer_compaction`, `try_to_compact_pages`.
#![forbid(unsafe_code)]

mod background;
mod deferral;
mod scan;

pub(super) use background::Background;
pub use background::CompactStep;
pub(super) use deferral::Deferral;

use scan::Scanners;

use crate::addr::NodeId;
use crate::buddy::FreeCore;
use crate::gfp::GfpFlags;
use crate::memmap::ZoneTag;
use crate::migrate::MigrateType;
use crate::order::Order;
use crate::page_alloc::{PageAllocator, Zone};
use crate::sync::CurrentCpu;
use crate::zone::ZoneRef;

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

impl<'m, M: CurrentCpu, C: FreeCore<'m>> PageAllocator<'m, M, C> {
    /// Compacts the zones that a request may use, best first, until one of them has a block for it.
    ///
    /// Returns the best outcome. Context: as the request's with `WAIT`: owners are called. Linux:
    /// `try_to_compact_pages`.
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
        let mut scanners = Scanners::new(zone.frames.span);
        let outcome = loop {
            let (taken, _) = self.move_cluster(zone, &mut scanners, zone.frames.span.end);
            if has_block(zone, order) {
                break CompactOutcome::Success;
            }
            if taken == 0 && scanners.between().is_empty() {
                break CompactOutcome::Complete;
            }
        };
        self.end_scan(zone, scanners);
        if outcome == CompactOutcome::Complete && has_block(zone, order) { CompactOutcome::Success } else { outcome }
    }
}

/// Whether the zone has a free block of at least `order` that is neither lent nor isolated nor kept.
fn has_block<'m, C: FreeCore<'m>, M: CurrentCpu>(zone: &Zone<'m, C, M>, order: Order) -> bool {
    let kinds = [MigrateType::Unmovable, MigrateType::Reclaimable, MigrateType::Movable];
    Order::all()
        .filter(|larger| *larger >= order)
        .any(|larger| kinds.iter().any(|kind| zone.free_blocks(larger, *kind) > 0))
}
