//! Each zone's limits, sizes and pagesets.

use core::fmt;

use crate::addr::NodeId;
use crate::buddy::FreeCore;
use crate::page_alloc::{PageAllocator, Zone};
use crate::report::vmstat::{NUMA, batch};
use crate::sync::CurrentCpu;
use crate::zone::{ZoneRef, ZoneType};

/// `/proc/zoneinfo`, in the layout of Linux 6.1. A zone without frames prints zeros, as Linux does.
#[derive(Debug)]
pub struct ZoneInfo<'a, 'm, M: CurrentCpu, C>(pub &'a PageAllocator<'m, M, C>);

impl<'m, M: CurrentCpu, C: FreeCore<'m>> fmt::Display for ZoneInfo<'_, 'm, M, C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let nodes = (0..).map_while(NodeId::new);
        let has_zones = |node: &NodeId| self.0.zones().iter().any(|zone| zone.name().node == *node);
        for node in nodes.filter(has_zones) {
            for zone in ZoneType::ALL {
                writeln!(f, "Node {}, zone {:>8}", node.raw(), zone.name())?;
                match self.0.zone(ZoneRef { node, zone }) {
                    Some(zone) => existing(f, self.0, zone)?,
                    None => sizes(f, [0; 8], [0; 4])?,
                }
            }
        }
        Ok(())
    }
}

fn sizes(f: &mut fmt::Formatter<'_>, values: [u32; 8], protection: [u32; 4]) -> fmt::Result {
    let [free, min, low, high, spanned, present, managed, cma] = values;
    writeln!(f, "  pages free     {free}")?;
    let lines = [("min", min), ("low", low), ("high", high), ("spanned", spanned), ("present", present)];
    for (name, value) in lines.into_iter().chain([("managed", managed), ("cma", cma)]) {
        writeln!(f, "        {name:<8} {value}")?;
    }
    let [dma, normal, high, movable] = protection;
    writeln!(f, "        protection: ({dma}, {normal}, {high}, {movable})")
}

fn existing<'m, M: CurrentCpu, C: FreeCore<'m>>(
    f: &mut fmt::Formatter<'_>,
    zones: &PageAllocator<'m, M, C>,
    zone: &Zone<'m, C, M>,
) -> fmt::Result {
    let stats = zone.stats();
    let marks = stats.marks;
    let values =
        [stats.counts.free, marks.min, marks.low, marks.high, stats.span.pages(), stats.present, stats.managed];
    let [free, min, low, high, spanned, present, managed] = values;
    sizes(f, [free, min, low, high, spanned, present, managed, stats.cma], marks.lowmem_reserve)?;
    counters(f, zones, zone)?;
    writeln!(f, "  pagesets")?;
    let threshold = zones.counters().threshold(zone.tag());
    for (cpu, set) in zone.pagesets().iter().enumerate() {
        writeln!(f, "    cpu: {cpu}")?;
        let size = set.size();
        writeln!(
            f,
            "              count: {}\n              high:  {}\n              batch: {}\n  vm stats threshold: {threshold}",
            set.count(),
            size.high,
            size.batch
        )?;
    }
    writeln!(f, "  start_pfn:           {}", stats.span.start.raw())
}

/// The zone's lines of what `vmstat` sums up.
fn counters<'m, M: CurrentCpu, C: FreeCore<'m>>(
    f: &mut fmt::Formatter<'_>,
    zones: &PageAllocator<'m, M, C>,
    zone: &Zone<'m, C, M>,
) -> fmt::Result {
    let counts = zone.stats().counts;
    let mut line = |name: &str, value: u32| writeln!(f, "      {name:<12} {value}");
    line("nr_free_pages", counts.free)?;
    line("nr_alloc_batch", batch(zone))?;
    let numa = zones.numa_stats(zone.name()).unwrap_or_default();
    NUMA.iter().try_for_each(|(name, of)| line(name, of(numa)))?;
    line("nr_free_cma", counts.cma)
}
