//! What is said of a wrong use of a page: once, with all that is known of it.
//!
//! Theory.      A loop that frees one page for ever must not drown the log, so a frame is reported once, until it is
//!              looked at while something is switched on. Of many frames, the first 60 reports are printed, and then
//!              every one whose number is a power of two, so that it shows that there are more.
//! Source.      Linux 4.1: `bad_page`, `dump_page`.
#![forbid(unsafe_code)]

use core::fmt;
use core::panic::Location;
use core::sync::atomic::AtomicU32;
use core::sync::atomic::Ordering::Relaxed;

use crate::addr::Pfn;
use crate::buddy::FreeCore;
use crate::memmap::{FrameFlags, NO_FRAME, PageState};
use crate::page_alloc::PageAllocator;
use crate::sync::CurrentCpu;

/// Reports that are printed in full number; beyond them only some are (Linux allows 60 a minute).
const MANY: u32 = 60;

/// How much was reported.
#[derive(Debug)]
pub(super) struct Reports {
    /// Wrong uses that were reported, also those that were not printed.
    count: AtomicU32,
    /// The last frame that has no page, so that it too is reported once.
    last_foreign: AtomicU32,
}

impl Default for Reports {
    fn default() -> Self {
        Self { count: AtomicU32::new(0), last_foreign: AtomicU32::new(NO_FRAME) }
    }
}

/// Everything that is known of a frame, in two lines and a record (Linux: `dump_page`).
pub struct PageDump<'a, 'm, M: CurrentCpu, C> {
    allocator: &'a PageAllocator<'m, M, C>,
    pfn: Pfn,
}

impl<'m, M: CurrentCpu, C: FreeCore<'m>> fmt::Display for PageDump<'_, 'm, M, C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Some(page) = self.allocator.map.page(self.pfn) else {
            return write!(f, "page: pfn {} is in no zone", self.pfn);
        };
        let word = page.word();
        let state = self.allocator.map.state(self.pfn).unwrap_or(PageState::Hole);
        write!(
            f,
            "page: pfn {} count:{} mapcount:{} private:{:#x} owner:{} word:{:#x} flags:{:#x} ({state})",
            self.pfn,
            word.references(),
            page.mapcount(),
            page.private(),
            page.owner.load(Relaxed),
            word.raw(),
            page.flags.load(Relaxed)
        )?;
        if let Some(zone) = self.allocator.zone_tagged(page.zone()).filter(|_| !word.is_hole()) {
            let name = zone.name();
            let (node, kind) = (name.node.raw(), zone.block_type(self.pfn).name());
            write!(f, "\npage: node {node} zone {}, pageblock {kind}", name.zone.name())?;
        }
        match self.allocator.page_owner() {
            // That of a tail that is in use is of an earlier block.
            Some(records) => {
                let head = self.allocator.map.head_of(self.pfn).map(|(head, _)| head);
                let used = head.filter(|head| self.allocator.map.count(*head) > Some(0));
                write!(f, "\n{}", records.record_of(used.unwrap_or(self.pfn)))
            }
            None => Ok(()),
        }
    }
}

impl<M: CurrentCpu, C> fmt::Debug for PageDump<'_, '_, M, C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PageDump").field("pfn", &self.pfn).finish_non_exhaustive()
    }
}

impl<'m, M: CurrentCpu, C: FreeCore<'m>> PageAllocator<'m, M, C> {
    /// What is known of a frame, to be printed.
    #[must_use]
    pub fn dump_page(&self, pfn: Pfn) -> PageDump<'_, 'm, M, C> {
        PageDump { allocator: self, pfn }
    }

    /// How many wrong uses of pages were reported since the boot.
    #[must_use]
    pub fn bad_pages(&self) -> u32 {
        self.watch.reports.count.load(Relaxed)
    }

    /// Reports a wrong use of `pfn` by `caller`, if that is news (Linux: `bad_page`).
    #[cold]
    #[inline(never)]
    pub(super) fn report_bad_page(&self, pfn: Pfn, why: &dyn fmt::Display, caller: &Location<'_>) {
        let reports = &self.watch.reports;
        let is_known = match self.map.page(pfn) {
            Some(page) => page.set_flags(FrameFlags::REPORTED).contains(FrameFlags::REPORTED),
            None => reports.last_foreign.swap(pfn.raw(), Relaxed) == pfn.raw(),
        };
        if is_known {
            return;
        }
        let number = reports.count.fetch_add(1, Relaxed).wrapping_add(1);
        if number <= MANY || number.is_power_of_two() {
            log::error!("BUG: Bad page state: {why}, by {caller} (report {number})\n{}", self.dump_page(pfn));
        }
    }
}
