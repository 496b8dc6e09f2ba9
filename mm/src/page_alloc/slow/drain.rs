//! Pagesets back to the zones, of this CPU and of all.
//!
//! Source.      Linux 4.1: `drain_local_pages`, `drain_all_pages`.

use crate::buddy::FreeCore;
use crate::order::Order;
use crate::page_alloc::{PageAllocator, Pageset, Zone};
use crate::sync::{CpuId, CurrentCpu};
use crate::trace::What;

impl<'m, M: CurrentCpu, C: FreeCore<'m>> PageAllocator<'m, M, C> {
    /// Returns the pages in this CPU's pagesets to the zones (Linux: `drain_local_pages`).
    pub fn drain_local(&self) {
        self.note(What::DrainLocal, None, Order::ZERO);
        self.zones().iter().for_each(Zone::drain_local);
    }

    /// Returns the pages in all CPUs' pagesets to the zones: each CPU that has any is asked to do it itself, a batch at
    /// a time, so that its interrupts are never off for long. Without a [`CrossCall`](crate::platform::CrossCall) only
    /// this CPU's are.
    ///
    /// A CPU that uses its pagesets meanwhile may keep some pages, or be seen with none.
    /// Context: interrupts on, no lock held. Linux: `drain_all_pages`.
    pub fn drain_all(&self) {
        self.drain_local();
        let Some(cpus) = self.services().cpus else { return };
        for index in 0.. {
            let mut sets = self.zones().iter().filter_map(|zone| zone.pagesets().get(index)).peekable();
            if sets.peek().is_none() {
                return;
            }
            if sets.map(Pageset::count).sum::<u32>() > 0 {
                // A CPU that does not run keeps what it has until it does.
                let _ = cpus.run_on(CpuId::new(u32::try_from(index).unwrap_or(u32::MAX)), &|| self.drain_local());
            }
        }
    }
}
