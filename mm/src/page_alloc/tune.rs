//! The watermarks of all zones at once, from what each of them manages.
#![forbid(unsafe_code)]

use crate::buddy::FreeCore;
use crate::page_alloc::{PageAllocator, Watermarks};
use crate::sync::CurrentCpu;
use crate::zone::watermark::{self, Tunables};
use crate::zone::{PerNodeZone, ZoneRef, ZoneType};

impl<'m, M: CurrentCpu, C: FreeCore<'m>> PageAllocator<'m, M, C> {
    /// Sets the watermarks and the lowmem reserve of each zone; `movable_source` is the zone that Movable is cut from
    /// (Linux: `init_per_zone_wmark_min`).
    pub fn init_watermarks(&self, movable_source: ZoneType, tunables: &Tunables) {
        let mut managed = PerNodeZone::<u32>::default();
        for zone in self.zones() {
            let name = zone.name();
            managed[name.node.index()][name.zone.index()] = zone.stats().managed;
        }
        let lowmem = watermark::buffer_pages(&managed, &Default::default());
        let min_free = watermark::min_free_kbytes(lowmem, tunables.rules);
        let marks = watermark::set_watermarks(&managed, min_free, movable_source, tunables);
        for name in self.zones().iter().map(super::Zone::name) {
            let ZoneRef { node, zone } = name;
            let own = marks[node.index()][zone.index()];
            let lowmem_reserve = watermark::lowmem_reserve(&managed[node.index()], tunables)[zone.index()];
            self.set_watermarks(name, &Watermarks { min: own.min, low: own.low, high: own.high, lowmem_reserve });
        }
    }
}
