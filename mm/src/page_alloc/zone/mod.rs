//! One zone: its free core behind a lock, its watermarks, its counters and its pagesets.
//!
//! Invariants.  1. present = reserved + managed; managed = free + isolated + guard + allocated + in pagesets.
//!              2. `free` and `free_cma` are the core's counts as they were when the lock was last dropped.
//! Not here.    Requests and frees (`blocks`), the pagesets' hits (`hits`), changes of types (`settle`).

mod blocks;
mod check;
mod hits;
mod settle;

use core::sync::atomic::Ordering::Relaxed;
use core::sync::atomic::{AtomicBool, AtomicU32};

use crate::addr::{Pfn, PfnRange};
use crate::buddy::{FreeCore, FreeCounts, FreeError, ZoneFrames};
use crate::memmap::ZoneTag;
use crate::migrate::MigrateType;
use crate::order::Order;
use crate::page_alloc::pageset::{Pageset, PagesetSize};
use crate::page_alloc::policy::ZonePolicy;
use crate::page_alloc::watermark::{Marks, Watermarks, plenty};
use crate::sync::{CurrentCpu, IrqLock, LockRank};
use crate::zone::ZoneRef;

/// A zone of the page allocator (Linux: `struct zone`).
#[derive(Debug)]
#[repr(C)]
pub struct Zone<'m, C, M: CurrentCpu> {
    // First, so that its lock's place is the zone's.
    core: IrqLock<C, M>,
    pub(super) frames: ZoneFrames<'m>,
    present: u32,
    managed: AtomicU32,
    cma: AtomicU32,
    free: AtomicU32,
    free_cma: AtomicU32,
    marks: Marks,
    /// What a first attempt that prefers this zone must leave free, so that it need not be found each time.
    least: AtomicU32,
    /// With more free largest blocks than this such an attempt gets any block.
    plenty: AtomicU32,
    /// The rings whose hits the watermark allows, as the pagesets were told.
    open: AtomicU32,
    /// With more free pages than this there is nothing to tell them.
    comfort: AtomicU32,
    /// Why there are no hits now: hooks and isolated pageblocks, counted.
    closures: AtomicU32,
    /// Pages that callers gave back past the pagesets; written under the lock. It wraps.
    freed: AtomicU32,
    /// What the policies remember of it.
    pub(super) policy: ZonePolicy,
    /// Whether a change of a pageblock's type is under way; written under the lock.
    unsettled: AtomicBool,
    /// One a CPU; until they are installed each page is handed through.
    pagesets: &'m [Pageset<'m>],
}

/// Pages that came and went since the boot; each wraps.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Traffic {
    /// Pages that callers got (Linux: `PGALLOC`).
    pub allocated: u32,
    /// Pages that callers gave back (Linux: `PGFREE`).
    pub freed: u32,
}

/// A zone's numbers at one moment, in pages.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ZoneStats {
    /// Which zone.
    pub zone: ZoneRef,
    /// First frame to one past the last, holes included.
    pub span: PfnRange,
    /// Frames that exist.
    pub present: u32,
    /// Frames that the allocator was given.
    pub managed: u32,
    /// The part of `managed` in contiguous-memory areas.
    pub cma: u32,
    /// In the free lists.
    pub counts: FreeCounts,
    /// In pagesets, all CPUs together.
    pub pageset: u32,
    /// Owned by callers: what the other counts leave of `managed`.
    pub allocated: u32,
    /// The limits.
    pub marks: Watermarks,
}

impl<'m, C: FreeCore<'m>, M: CurrentCpu> Zone<'m, C, M> {
    pub(super) fn new(frames: ZoneFrames<'m>, present: u32, core: C) -> Self {
        let core = IrqLock::ranked(core, LockRank::ZONE);
        let zero = || AtomicU32::new(0);
        let (managed, cma, free, free_cma) = (zero(), zero(), zero(), zero());
        Self {
            frames,
            present,
            managed,
            cma,
            free,
            free_cma,
            marks: Marks::default(),
            least: zero(),
            plenty: zero(),
            open: zero(),
            comfort: AtomicU32::new(u32::MAX),
            closures: zero(),
            freed: zero(),
            policy: ZonePolicy::default(),
            core,
            unsettled: AtomicBool::new(false),
            pagesets: &[],
        }
    }

    /// Which zone it is.
    #[must_use]
    pub fn tag(&self) -> ZoneTag {
        self.frames.zone
    }

    /// Node and type.
    #[must_use]
    pub fn name(&self) -> ZoneRef {
        ZoneRef { node: self.tag().node(), zone: self.tag().zone() }
    }

    /// The pagesets, one a CPU; empty during boot.
    #[must_use]
    pub fn pagesets(&self) -> &'m [Pageset<'m>] {
        self.pagesets
    }

    pub(super) fn set_pagesets(&mut self, pagesets: &'m [Pageset<'m>]) {
        self.pagesets = pagesets;
        let closed = *self.closures.get_mut() > 0;
        pagesets.iter().for_each(|set| set.set_closed(closed));
        // Nothing that a pageset was told before is what these know.
        *self.open.get_mut() = 0;
        *self.comfort.get_mut() = u32::MAX;
        self.with_core(|_| {});
    }

    /// The pagesets' bounds (of CPU 0, as all are alike).
    #[must_use]
    pub fn pageset_size(&self) -> PagesetSize {
        self.pagesets.first().map_or(PagesetSize::BOOT, Pageset::size)
    }

    /// How many free blocks of `order` are on the list of `kind`.
    #[must_use]
    pub fn free_blocks(&self, order: Order, kind: MigrateType) -> u32 {
        self.core.lock().free_blocks(order, kind)
    }

    /// The type of `pfn`'s pageblock.
    #[must_use]
    pub fn block_type(&self, pfn: Pfn) -> MigrateType {
        self.frames.usemap.get(pfn)
    }

    /// Makes `kind` the type of the pageblock that holds `pfn`, and of what is free in it: for tests that rebuild a
    /// state.
    #[cfg(any(test, feature = "testing"))]
    pub fn set_block_type(&self, pfn: Pfn, kind: MigrateType) {
        self.with_core(|core| core.set_block_type(pfn, kind));
    }

    /// Its numbers now.
    #[must_use]
    pub fn stats(&self) -> ZoneStats {
        let counts = self.core.lock().counts();
        let pageset = self.pagesets.iter().map(Pageset::count).sum::<u32>();
        let managed = self.managed.load(Relaxed);
        let held = counts.free + counts.isolated + counts.guard + pageset;
        ZoneStats {
            zone: self.name(),
            span: self.frames.span,
            present: self.present,
            managed,
            cma: self.cma.load(Relaxed),
            counts,
            pageset,
            allocated: managed.saturating_sub(held),
            marks: self.marks.get(),
        }
    }

    /// Uses the core under the lock and publishes its counts after. Where a block may have been taken from another
    /// type, [`Self::settle`] follows once interrupts are as they were.
    #[inline(always)]
    pub(super) fn with_core<R>(&self, operate: impl FnOnce(&mut C) -> R) -> R {
        let mut core = self.core.lock();
        let result = operate(&mut core);
        self.unsettled.store(core.is_moving(), Relaxed);
        self.publish(&core);
        result
    }

    /// As [`Self::with_core`], for what only gives back: that begins no change of a pageblock's type.
    #[inline(always)]
    pub(super) fn give_to_core<R>(&self, operate: impl FnOnce(&mut C) -> R) -> R {
        let mut core = self.core.lock();
        let result = operate(&mut core);
        self.publish(&core);
        result
    }

    /// Pages that callers got and gave back since the boot; each wraps. Every page that was got is either out still or
    /// was given back, so one of the two need not be counted.
    #[must_use]
    pub fn traffic(&self) -> Traffic {
        let in_pagesets = self.pagesets.iter().map(Pageset::freed).fold(0, u32::wrapping_add);
        let freed = self.freed.load(Relaxed).wrapping_add(in_pagesets);
        Traffic { allocated: freed.wrapping_add(self.stats().allocated), freed }
    }

    /// Counts pages that a caller gave back without a pageset; the lock is held.
    #[inline]
    fn count_freed(&self, pages: u32) {
        self.freed.store(self.freed.load(Relaxed).wrapping_add(pages), Relaxed);
    }

    /// Sets the watermarks.
    pub(super) fn set_marks(&self, marks: &Watermarks) {
        self.adjust_marks(|all| all.set(marks));
    }

    /// Changes the watermarks, and what follows from them.
    pub(super) fn adjust_marks(&self, adjust: impl FnOnce(&Marks)) {
        self.with_core(|_| {
            adjust(&self.marks);
            let least = self.marks.least_free(self.tag().zone());
            self.least.store(least, Relaxed);
            self.plenty.store(plenty(least), Relaxed);
            self.comfort.store(u32::MAX, Relaxed);
        });
    }

    /// The watermarks.
    pub(super) fn marks(&self) -> &Marks {
        &self.marks
    }

    /// Frames that the allocator was given.
    pub(super) fn managed(&self) -> u32 {
        self.managed.load(Relaxed)
    }

    /// Gives a reserved block to the core and counts it as managed, before any other CPU runs.
    pub(super) fn hand_over(&mut self, pfn: Pfn, order: Order) -> Result<(), FreeError> {
        let core = self.core.get_mut();
        core.give(pfn, order)?;
        let counts = core.counts();
        *self.free.get_mut() = counts.free;
        *self.free_cma.get_mut() = counts.cma;
        *self.managed.get_mut() += order.pages();
        Ok(())
    }

    pub(super) fn add_cma(&self, pages: u32) {
        self.cma.fetch_add(pages, Relaxed);
        self.managed.fetch_add(pages, Relaxed);
    }
}
