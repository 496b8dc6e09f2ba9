//! What is done with a block besides allocating and freeing it: zeroing, and whatever a boot argument switches on.
//!
//! Theory.      One word says what is switched on. While it is not empty, the pagesets are closed and no request is
//!              served by a hit: every block comes and goes the long way, through [`PageAllocator::prepare_new`] and
//!              [`PageAllocator::prepare_free`]. A hit asks its pageset whether the watermark allows it and whether
//!              there is room; a closed one says no to both, so all switches together cost a hit nothing.
//! Source.      Linux 4.1: `prep_new_page`, `free_pages_prepare`.
#![forbid(unsafe_code)]

use core::sync::atomic::Ordering::Relaxed;

use bitflags::bitflags;

use crate::addr::Pfn;
use crate::buddy::FreeCore;
use crate::gfp::GfpFlags;
use crate::order::Order;
use crate::page_alloc::{AllocError, PageAllocator};
use crate::sync::CurrentCpu;

bitflags! {
    /// What is switched on besides allocating.
    #[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
    pub struct Hooks: u32 {
        /// Every block is zeroed when it is allocated (Linux: `init_on_alloc=1`).
        const INIT_ON_ALLOC = 1 << 0;
        /// Some task may not use every node (Linux: `cpusets_enabled`).
        const CPUSETS = 1 << 16;
        /// Allocations are spread over a node's zones in fair batches (Linux: `ALLOC_FAIR`).
        const FAIR_ZONES = 1 << 17;
        /// Pages that will be dirtied are spread over the zones (Linux: `zone_dirty_ok`).
        const DIRTY_SPREAD = 1 << 18;
        /// Allocations fail by chance (Linux: `fail_page_alloc=`).
        const FAIL_PAGE_ALLOC = 1 << 19;
        /// Sleeping requests in atomic context are reported (Linux: `might_sleep_if`).
        const CHECK_CONTEXT = 1 << 20;
    }
}

impl<'m, M: CurrentCpu, C: FreeCore<'m>> PageAllocator<'m, M, C> {
    /// What is switched on.
    #[must_use]
    #[inline]
    pub fn hooks(&self) -> Hooks {
        Hooks::from_bits_retain(self.hooks.load(Relaxed))
    }

    /// Switches `hooks` on or off; other CPUs follow at the latest when their pagesets are drained. Blocks that are out
    /// already are not looked at again.
    pub fn set_hooks(&self, hooks: Hooks, on: bool) {
        let before =
            if on { self.hooks.fetch_or(hooks.bits(), Relaxed) } else { self.hooks.fetch_and(!hooks.bits(), Relaxed) };
        let (had, has) = (before != 0, !self.hooks().is_empty());
        if had != has {
            self.zones.iter().for_each(|zone| zone.close_hits(has));
        }
    }

    /// Makes a block that was just taken ready for its owner (Linux: `prep_new_page`).
    ///
    /// # Errors
    /// [`AllocError::Unreachable`] when it cannot be zeroed; it has been given back.
    #[inline]
    pub(super) fn prepare_new(&self, pfn: Pfn, order: Order, gfp: GfpFlags) -> Result<(), AllocError> {
        if gfp.contains(GfpFlags::ZERO) || self.hooks().contains(Hooks::INIT_ON_ALLOC) {
            self.zero_block(pfn, order)?;
        }
        Ok(())
    }

    /// Does what must be done to a block that was claimed and is about to be free (Linux: `free_pages_prepare`).
    #[inline]
    pub(super) fn prepare_free(&self, _pfn: Pfn, _order: Order) {}
}
