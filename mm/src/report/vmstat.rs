//! Every counter by its name.

use core::fmt;

use crate::buddy::FreeCore;
use crate::page_alloc::{NumaStats, PageAllocator, Zone};
use crate::sync::CurrentCpu;
use crate::vmstat::VmEvent;
use crate::zone::ZoneType;

/// `/proc/vmstat`: a name and a number a line, sums over all zones. `more`: counters that others keep (`pgfault`).
#[derive(Debug)]
pub struct VmStat<'a, 'm, M: CurrentCpu, C> {
    /// Whose counters.
    pub zones: &'a PageAllocator<'m, M, C>,
    /// Names and numbers that follow the allocator's.
    pub more: &'a [(&'a str, u32)],
}

impl<'m, M: CurrentCpu, C: FreeCore<'m>> fmt::Display for VmStat<'_, 'm, M, C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let zones = self.zones.zones();
        let sum = |of: &dyn Fn(&Zone<'m, C, M>) -> u32| zones.iter().map(of).fold(0, u32::wrapping_add);
        let mut line = |name: &str, value: u32| writeln!(f, "{name} {value}");
        line("nr_free_pages", sum(&|zone| zone.stats().counts.free))?;
        line("nr_alloc_batch", sum(&|zone| batch(zone)))?;
        let numa = |of: fn(NumaStats) -> u32| sum(&|zone| self.zones.numa_stats(zone.name()).map_or(0, of));
        for (name, of) in NUMA {
            line(name, numa(of))?;
        }
        line("nr_free_cma", sum(&|zone| zone.stats().counts.cma))?;
        for kind in ZoneType::ALL {
            let of_kind = |zone: &Zone<'m, C, M>| if zone.name().zone == kind { zone.traffic().allocated } else { 0 };
            line(PGALLOC[kind.index()], sum(&of_kind))?;
        }
        line("pgfree", sum(&|zone| zone.traffic().freed))?;
        for event in VmEvent::ALL {
            line(event.name(), self.zones.counters().event(event))?;
        }
        self.more.iter().try_for_each(|(name, value)| writeln!(f, "{name} {value}"))
    }
}

/// `PGALLOC` by zone type.
const PGALLOC: [&str; 4] = ["pgalloc_dma", "pgalloc_normal", "pgalloc_high", "pgalloc_movable"];

/// A line's name, and which of the numbers stands there.
type NumaLine = (&'static str, fn(NumaStats) -> u32);

/// The lines on where pages were wanted.
pub(super) const NUMA: [NumaLine; 5] = [
    ("numa_hit", |numa| numa.hit),
    ("numa_miss", |numa| numa.miss),
    ("numa_foreign", |numa| numa.foreign),
    ("numa_local", |numa| numa.local),
    ("numa_other", |numa| numa.other),
];

/// A zone's fair batch, which zones that go on giving overdraw.
pub(super) fn batch<'m, M: CurrentCpu, C: FreeCore<'m>>(zone: &Zone<'m, C, M>) -> u32 {
    u32::try_from(zone.alloc_batch()).unwrap_or(0)
}
