//! What the pagesets are told: which hits the zone's low watermark allows, and whether any are allowed at all.
//!
//! Theory.      Each time the lock is dropped the core's counts are published. While more than `comfort` pages are
//!              free, every hit is allowed, and nothing more is asked.
//! Not here.    How a pageset keeps to it (`pageset`).
#![forbid(unsafe_code)]

use core::sync::atomic::Ordering::Relaxed;

use crate::buddy::{FreeCore, FreeCounts};
use crate::page_alloc::Zone;
use crate::page_alloc::pageset::open_rings;
use crate::page_alloc::watermark::open_types;
use crate::sync::CurrentCpu;

impl<'m, C: FreeCore<'m>, M: CurrentCpu> Zone<'m, C, M> {
    /// Makes the core's counts known to those who read them without the lock, which the caller holds.
    #[inline]
    pub(super) fn publish(&self, core: &C) {
        let FreeCounts { free, cma, .. } = core.counts();
        self.free.store(free, Relaxed);
        self.free_cma.store(cma, Relaxed);
        if free <= self.comfort.load(Relaxed) {
            self.reopen(free, cma);
        }
    }

    /// Tells the pagesets which hits the low watermark allows, if that is not what they know.
    #[cold]
    #[inline(never)]
    fn reopen(&self, free: u32, cma: u32) {
        let least = self.least.load(Relaxed);
        let open = open_rings(open_types(least, free, cma));
        if open != self.open.load(Relaxed) {
            self.tell_pagesets(open);
        }
        // With more than this, of which all lent pages are a part, every hit is allowed.
        let enough = least.saturating_add(self.cma.load(Relaxed));
        self.comfort.store(if open == open_rings(u32::MAX) { enough } else { u32::MAX }, Relaxed);
    }

    #[cold]
    #[inline(never)]
    fn tell_pagesets(&self, open: u32) {
        self.open.store(open, Relaxed);
        self.pagesets.iter().for_each(|set| set.set_open(open));
    }

    /// Forbids hits, once more, or takes one prohibition back. Another CPU's hits end when its pageset is looked after
    /// next: at the latest by a drain on that CPU.
    pub(in crate::page_alloc) fn close_hits(&self, close: bool) {
        self.with_core(|_| {
            let before = self.closures.load(Relaxed);
            let now = if close { before.saturating_add(1) } else { before.saturating_sub(1) };
            self.closures.store(now, Relaxed);
            self.pagesets.iter().for_each(|set| set.set_closed(now > 0));
            self.tell_pagesets(self.open.load(Relaxed));
        });
        self.recount_local();
    }
}
