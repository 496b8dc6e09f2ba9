//! What must hold of a zone's counts while it is at rest.
#![forbid(unsafe_code)]

use core::sync::atomic::Ordering::Relaxed;

use crate::addr::Pfn;
use crate::buddy::{Broken, FreeCore, Tally};
use crate::memmap::{Page, StateWord};
use crate::order::Order;
use crate::page_alloc::Zone;
use crate::sync::CurrentCpu;

impl<'m, C: FreeCore<'m>, M: CurrentCpu> Zone<'m, C, M> {
    /// Tests every invariant of the zone while no CPU allocates or frees.
    pub(in crate::page_alloc) fn validate(&self) -> Result<Tally, Broken> {
        let tally = self.core.lock().validate()?;
        let stats = self.stats();
        let in_use = tally.free + tally.isolated + tally.guard + tally.pageset + tally.allocated;
        let is_stocked = |(pfn, order): &(Pfn, Order)| {
            self.frames.map.page(*pfn).map(Page::word) == Some(StateWord::pageset(*order))
        };
        let stocked = self.pagesets.iter().flat_map(|set| set.iter().filter(is_stocked));
        let stocked: u32 = stocked.map(|(_, order)| order.pages()).sum();
        let count =
            |what, counter, found| if counter == found { Ok(()) } else { Err(Broken::Count { what, counter, found }) };
        count("managed pages", stats.managed, in_use)?;
        count("present pages", self.present, tally.reserved + in_use)?;
        count("pages in pagesets", stats.pageset, tally.pageset)?;
        count("frames in pagesets", stats.pageset, stocked)?;
        count("published free pages", self.free.load(Relaxed), tally.free)?;
        count("published free CMA pages", self.free_cma.load(Relaxed), tally.cma)?;
        Ok(tally)
    }
}
