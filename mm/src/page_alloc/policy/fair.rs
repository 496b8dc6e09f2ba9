//! Fair batches over the zones of one node.
//!
//! Theory.      Each zone may give as many pages as lie between its `low` and its `high` mark, which is a measure of
//!              its size; then it is depleted, and the others have their turn. When all that could serve are depleted,
//!              they all get a new batch.
//! Source.      Linux 4.1: `NR_ALLOC_BATCH`, `ZONE_FAIR_DEPLETED`, `reset_alloc_batches`.

use core::sync::atomic::Ordering::Relaxed;

use crate::buddy::FreeCore;
use crate::order::Order;
use crate::page_alloc::policy::ZonePolicy;
use crate::page_alloc::{PageAllocator, Zone};
use crate::sync::CurrentCpu;
use crate::zone::ZoneRef;

impl ZonePolicy {
    /// Whether the zone has given its share (Linux: `ZONE_FAIR_DEPLETED`).
    pub(in crate::page_alloc) fn is_depleted(&self) -> bool {
        self.batch.load(Relaxed) <= 0
    }

    /// Counts a block that was taken.
    pub(in crate::page_alloc) fn charge(&self, order: Order) {
        let pages = i32::try_from(order.pages()).unwrap_or(i32::MAX);
        // Zones may go on giving to later passes: the count must not wrap when they do so for long.
        let _ = self.batch.fetch_update(Relaxed, Relaxed, |batch| Some(batch.saturating_sub(pages)));
    }
}

impl<'m, C: FreeCore<'m>, M: CurrentCpu> Zone<'m, C, M> {
    /// Pages that the zone may still give before it is another's turn; counted only while
    /// [`Policies::fair_zones`](crate::page_alloc::Policies::fair_zones) is on (Linux: `NR_ALLOC_BATCH`).
    #[must_use]
    pub fn alloc_batch(&self) -> i32 {
        self.policy.batch.load(Relaxed)
    }

    /// Gives the zone a new batch.
    pub(super) fn reset_batch(&self) {
        let marks = self.marks().get();
        let batch = i32::try_from(marks.high.saturating_sub(marks.low)).unwrap_or(i32::MAX);
        self.policy.batch.store(batch, Relaxed);
    }
}

impl<'m, M: CurrentCpu, C: FreeCore<'m>> PageAllocator<'m, M, C> {
    /// Gives the zones of `preferred`'s node that could stand in for it new batches (Linux: `reset_alloc_batches`).
    pub(in crate::page_alloc) fn reset_batches(&self, preferred: ZoneRef) {
        let stands_in = |zone: &&Zone<'m, C, M>| {
            let ZoneRef { node, zone } = zone.name();
            node == preferred.node && zone <= preferred.zone
        };
        self.zones().iter().filter(stands_in).for_each(Zone::reset_batch);
    }
}
