//! The machine's memory in one page of text.

use core::fmt;

use crate::buddy::FreeCore;
use crate::page_alloc::{PageAllocator, ZoneStats};
use crate::report::kib;
use crate::sync::CurrentCpu;
use crate::zone::ZoneType;

/// The lines of `/proc/meminfo` whose counters exist; values in KiB.
#[derive(Debug)]
pub struct MemInfo<'a, 'm, M: CurrentCpu, C>(pub &'a PageAllocator<'m, M, C>);

impl<'m, M: CurrentCpu, C: FreeCore<'m>> MemInfo<'_, 'm, M, C> {
    fn sum(&self, of: impl Fn(&ZoneStats) -> u32) -> u32 {
        self.0.zones().iter().map(|zone| of(&zone.stats())).sum()
    }
}

impl<'m, M: CurrentCpu, C: FreeCore<'m>> fmt::Display for MemInfo<'_, 'm, M, C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let high = |zone: &ZoneStats| zone.zone.zone == ZoneType::HighMem;
        let free = |zone: &ZoneStats| zone.counts.free + zone.pageset;
        let lines = [
            ("MemTotal:", self.sum(|zone| zone.managed)),
            ("MemFree:", self.sum(free)),
            ("HighTotal:", self.sum(|zone| if high(zone) { zone.managed } else { 0 })),
            ("HighFree:", self.sum(|zone| if high(zone) { free(zone) } else { 0 })),
            ("LowTotal:", self.sum(|zone| if high(zone) { 0 } else { zone.managed })),
            ("LowFree:", self.sum(|zone| if high(zone) { 0 } else { free(zone) })),
            ("CmaTotal:", self.sum(|zone| zone.cma)),
            ("CmaFree:", self.sum(|zone| zone.counts.cma)),
        ];
        lines.into_iter().try_for_each(|(name, pages)| writeln!(f, "{name:<16}{:>8} kB", kib(pages)))
    }
}
