//! What is done with a block besides allocating and freeing it: zeroing, and whatever a boot argument switches on.
//!
//! Theory.      One word says what is switched on. While it is not empty, the pagesets are closed and no request is
//!              served by a hit: every block comes and goes the long way, through [`PageAllocator::prepare_new`] and
//!              [`PageAllocator::prepare_free`]. A hit asks its pageset whether the watermark allows it and whether
//!              there is room; a closed one says no to both, so all switches together cost a hit nothing. What was
//!              done to a free frame is noted in its flags, frame by frame: blocks split and merge while they are free,
//!              and frames that were freed before a switch was set are left alone.
//! Source.      Linux 4.1: `prep_new_page`, `check_new_page`, `free_pages_prepare`, `free_pages_check`.
#![forbid(unsafe_code)]

use core::panic::Location;
use core::sync::atomic::Ordering::Relaxed;

use bitflags::bitflags;

use crate::addr::Pfn;
use crate::buddy::{FreeCore, FreeError};
use crate::gfp::GfpFlags;
use crate::memmap::{FrameFlags, Page};
use crate::order::Order;
use crate::page_alloc::pageset::Heat;
use crate::page_alloc::{AllocError, PageAllocator};
use crate::sync::CurrentCpu;
use crate::trace::What;

bitflags! {
    /// What is switched on besides allocating.
    #[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
    pub struct Hooks: u32 {
        /// Every block is zeroed when it is allocated (Linux: `init_on_alloc=1`). Frames that nobody can reach are
        /// left.
        const INIT_ON_ALLOC = 1 << 0;
        /// Every block is zeroed when it is freed (Linux: `init_on_free=1`).
        const INIT_ON_FREE = 1 << 1;
        /// Every block is filled with a pattern when it is freed, and the pattern is looked for when it is allocated
        /// (Linux: `page_poison=1`). It goes before the two above, but not before `ZERO`.
        const POISON = 1 << 2;
        /// Who allocated and who freed each block is recorded (Linux: `page_owner=on`).
        const PAGE_OWNER = 1 << 3;
        /// Free blocks are unmapped (Linux: `debug_pagealloc=on`).
        const DEBUG_PAGEALLOC = 1 << 4;
        /// The shadow checker is told of every block.
        const SHADOW = 1 << 5;
        /// Pages are tested for what must not be: a new one that is in use, a freed one whose owner's word is set
        /// (Linux: `check_pages_enabled`).
        const CHECK = 1 << 6;
        /// Events are written to the ring.
        const TRACE = 1 << 7;
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

/// The pattern of free bytes (Linux: `PAGE_POISON`).
pub const PAGE_POISON: u8 = 0xaa;

impl<'m, M: CurrentCpu, C: FreeCore<'m>> PageAllocator<'m, M, C> {
    /// What is switched on.
    #[must_use]
    #[inline]
    pub fn hooks(&self) -> Hooks {
        Hooks::from_bits_retain(self.hooks.load(Relaxed))
    }

    /// Switches `hooks` on or off; other CPUs follow at the latest when their pagesets are drained. Blocks that are out
    /// already are not looked at again.
    ///
    /// While other CPUs allocate, only switching on is allowed: switching off makes free frames ordinary ones again, by
    /// a walk over the memory map.
    pub fn set_hooks(&self, hooks: Hooks, on: bool) {
        if let Some(ring) = self.watch.trace.filter(|_| hooks.contains(Hooks::TRACE)) {
            ring.set_on(on);
        }
        if !on && hooks.intersects(Hooks::POISON | Hooks::DEBUG_PAGEALLOC) {
            self.restore_free_frames(hooks);
        }
        let before =
            if on { self.hooks.fetch_or(hooks.bits(), Relaxed) } else { self.hooks.fetch_and(!hooks.bits(), Relaxed) };
        let (had, has) = (before != 0, !self.hooks().is_empty());
        if had != has {
            self.zones.iter().for_each(|zone| zone.close_hits(has));
        }
    }

    /// Undoes what was done to free frames: without the hook nobody would.
    fn restore_free_frames(&self, hooks: Hooks) {
        for pfn in self.map.span().iter() {
            let Some(page) = self.map.page(pfn) else { continue };
            if hooks.contains(Hooks::DEBUG_PAGEALLOC) {
                self.map_frame(page, pfn);
            }
            if hooks.contains(Hooks::POISON) {
                page.clear_flags(FrameFlags::POISONED);
            }
        }
    }

    /// Makes a block that was just taken ready for its owner (Linux: `prep_new_page`).
    ///
    /// # Errors
    /// [`AllocError::Unreachable`] when it cannot be zeroed; it has been given back.
    #[inline]
    #[track_caller]
    pub(super) fn prepare_new(&self, pfn: Pfn, order: Order, gfp: GfpFlags) -> Result<(), AllocError> {
        if gfp.intersects(GfpFlags::ZERO.union(GfpFlags::COMP)) || !self.hooks().is_empty() {
            return self.follow_new(pfn, order, gfp, Location::caller());
        }
        Ok(())
    }

    #[cold]
    #[inline(never)]
    fn follow_new(
        &self,
        pfn: Pfn,
        order: Order,
        gfp: GfpFlags,
        caller: &'static Location<'static>,
    ) -> Result<(), AllocError> {
        let hooks = self.hooks();
        if hooks.intersects(Hooks::POISON | Hooks::DEBUG_PAGEALLOC | Hooks::CHECK) {
            self.inspect_new(pfn, order, hooks, caller);
        }
        if let Some(shadow) = self.watch.shadow.filter(|_| hooks.contains(Hooks::SHADOW)) {
            shadow.on_alloc(pfn, order);
        }
        self.note(What::Alloc { gfp }, Some(pfn), order);
        if gfp.contains(GfpFlags::ZERO) {
            self.zero_block(pfn, order)?;
        } else if hooks.contains(Hooks::INIT_ON_ALLOC) && !hooks.contains(Hooks::POISON) {
            self.fill_block(pfn, order, 0, |_| {});
        }
        if gfp.contains(GfpFlags::COMP) && order > Order::ZERO {
            self.prepare_compound(pfn);
        }
        if let Some(records) = self.page_owner().filter(|_| hooks.contains(Hooks::PAGE_OWNER)) {
            records.allocated(pfn, order, gfp, caller);
        }
        Ok(())
    }

    /// Maps each frame of a new block again, looks for its poison, and for signs that somebody uses it still.
    fn inspect_new(&self, pfn: Pfn, order: Order, hooks: Hooks, caller: &Location<'_>) {
        let mut reported = false;
        for frame in block(pfn, order) {
            let Some(page) = self.map.page(frame) else { continue };
            self.map_frame(page, frame);
            let before = page.clear_flags(FrameFlags::POISONED | FrameFlags::REPORTED);
            if before.contains(FrameFlags::POISONED) && hooks.contains(Hooks::POISON) && !reported {
                reported = self.report_bad_poison(frame, caller);
            }
        }
        let Some(page) = self.map.page(pfn).filter(|_| hooks.contains(Hooks::CHECK)) else { return };
        if let Some(sign) = sign_of_use(page) {
            self.report_bad_page(pfn, &sign, caller);
            page.mapcount.store(u32::MAX, Relaxed);
            page.set_private(0);
            page.owner.store(0, Relaxed);
        }
    }

    /// Does what must be done to a block that was claimed and is about to be free (Linux: `free_pages_prepare`).
    ///
    /// # Errors
    /// [`FreeError`] when the block must not be freed; nothing has been done.
    #[track_caller]
    pub(super) fn prepare_free(&self, page: &Page, pfn: Pfn, order: Order, heat: Heat) -> Result<(), FreeError> {
        let caller = Location::caller();
        let hooks = self.hooks();
        let private = page.private();
        if hooks.contains(Hooks::CHECK) && private != 0 {
            return Err(FreeError::Private { pfn, private });
        }
        if let Some(records) = self.page_owner().filter(|_| hooks.contains(Hooks::PAGE_OWNER)) {
            records.freed(pfn, order, caller);
        }
        if let Some(shadow) = self.watch.shadow.filter(|_| hooks.contains(Hooks::SHADOW)) {
            shadow.on_free(pfn, order);
        }
        if hooks.contains(Hooks::POISON) {
            self.fill_block(pfn, order, PAGE_POISON, mark_poisoned);
        } else if hooks.contains(Hooks::INIT_ON_FREE) {
            self.fill_block(pfn, order, 0, |_| {});
        }
        if hooks.contains(Hooks::DEBUG_PAGEALLOC) {
            block(pfn, order).for_each(|frame| self.unmap_frame(frame));
        }
        page.clear_flags(FrameFlags::REPORTED);
        self.note(What::Free { cold: heat == Heat::Cold }, Some(pfn), order);
        Ok(())
    }

    fn unmap_frame(&self, pfn: Pfn) {
        let (Some(mapping), Some(page)) = (self.watch.mapping, self.map.page(pfn)) else { return };
        if mapping.unmap(pfn, 1) {
            page.set_flags(FrameFlags::UNMAPPED);
        }
    }

    fn map_frame(&self, page: &Page, pfn: Pfn) {
        let Some(mapping) = self.watch.mapping else { return };
        if page.clear_flags(FrameFlags::UNMAPPED).contains(FrameFlags::UNMAPPED) {
            mapping.map(pfn, 1);
        }
    }
}

fn mark_poisoned(page: &Page) {
    page.set_flags(FrameFlags::POISONED);
}

/// The frames of a block.
pub(super) fn block(pfn: Pfn, order: Order) -> impl Iterator<Item = Pfn> + Clone {
    (0..order.pages()).map(move |offset| Pfn::new(pfn.raw() | offset))
}

/// What of a page that was free until now says that somebody uses it (Linux: `check_new_page`).
fn sign_of_use(page: &Page) -> Option<&'static str> {
    if page.mapcount() != 0 {
        Some("a free page is mapped")
    } else if page.owner.load(Relaxed) != 0 {
        Some("a free page has an owner")
    } else {
        None
    }
}
