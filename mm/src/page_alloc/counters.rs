//! What is counted, and what follows from other numbers without being counted.
//!
//! Theory.      Pages that were allocated and freed follow from the pagesets' room ([`Zone::traffic`]), so a hit counts
//!              nothing. A hit is by definition of the preferred zone and of the CPU's own node: whatever a zone gave
//!              that was not counted as a miss was a hit. Only the walk can leave the preferred node, and counts when
//!              it does.
//! Source.      Linux 4.1: `zone_statistics`, `refresh_zone_stat_thresholds`; Linux counts calls there, this counts
//!              pages.
#![forbid(unsafe_code)]

use crate::buddy::FreeCore;
use crate::memmap::ZoneTag;
use crate::order::Order;
use crate::page_alloc::{PageAllocator, Zone};
use crate::sync::CurrentCpu;
use crate::vmstat::{Counters, CpuCounters, ZoneItem, normal_threshold};
use crate::zone::ZoneRef;

/// Where the pages that a zone gave were wanted, in pages since the boot; each wraps. Exact while the CPUs are at rest.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct NumaStats {
    /// Given to who preferred this node (Linux: `NUMA_HIT`).
    pub hit: u32,
    /// Given although another node was preferred (Linux: `NUMA_MISS`).
    pub miss: u32,
    /// Wanted from this zone, but another node gave them (Linux: `NUMA_FOREIGN`).
    pub foreign: u32,
    /// Given to a CPU of this node (Linux: `NUMA_LOCAL`).
    pub local: u32,
    /// Given to a CPU of another node (Linux: `NUMA_OTHER`).
    pub other: u32,
}

impl<'m, M: CurrentCpu, C: FreeCore<'m>> PageAllocator<'m, M, C> {
    /// The counters that are counted.
    #[must_use]
    pub fn counters(&self) -> &Counters<'m> {
        &self.counters
    }

    /// Gives each CPU a place to count in; until then all count in one.
    pub fn install_counters(&mut self, cpus: &'m [CpuCounters]) {
        self.counters.set_cpus(cpus);
        self.set_thresholds(u32::try_from(cpus.len()).unwrap_or(u32::MAX));
    }

    /// Sets each zone's threshold for `cpus` CPUs and what it manages now (Linux: `refresh_zone_stat_thresholds`).
    pub fn set_thresholds(&self, cpus: u32) {
        for zone in self.zones() {
            self.counters.set_threshold(zone.tag(), normal_threshold(zone.managed(), cpus));
        }
    }

    /// Where the zone's pages were wanted; `None` when there is no such zone.
    #[must_use]
    pub fn numa_stats(&self, zone: ZoneRef) -> Option<NumaStats> {
        let given = self.zone(zone)?.traffic().allocated;
        let [miss, foreign, other] = [ZoneItem::NumaMiss, ZoneItem::NumaForeign, ZoneItem::NumaOther]
            .map(|item| self.counters.zone(ZoneTag::from(zone), item));
        Some(NumaStats { hit: given.wrapping_sub(miss), miss, foreign, local: given.wrapping_sub(other), other })
    }

    /// Counts a block that `zone` gave, where `preferred` was wanted, unless it is a hit of the CPU's own node (Linux:
    /// `zone_statistics`).
    #[inline]
    pub(super) fn count_far(&self, zone: &Zone<'m, C, M>, preferred: ZoneRef, order: Order) {
        if self.several_nodes && (zone.name().node != preferred.node || zone.name().node != self.local) {
            self.count_miss(zone.tag(), preferred, order);
        }
    }

    #[cold]
    #[inline(never)]
    fn count_miss(&self, zone: ZoneTag, preferred: ZoneRef, order: Order) {
        let pages = order.pages().cast_signed();
        let add = |zone, item| self.counters.add::<M>(zone, item, pages);
        if zone.node() != preferred.node {
            add(zone, ZoneItem::NumaMiss);
            add(ZoneTag::from(preferred), ZoneItem::NumaForeign);
        }
        if zone.node() != self.local {
            add(zone, ZoneItem::NumaOther);
        }
    }
}
