//! One zone: its free core behind a lock, its watermarks, its counters and its pagesets.
//!
//! Invariants.  1. present = reserved + managed; managed = free + isolated + guard + allocated + in pagesets.
//!              2. `free` and `free_cma` are the core's counts as they were when the lock was last dropped.

use core::sync::atomic::AtomicU32;
use core::sync::atomic::Ordering::Relaxed;

use crate::addr::{Pfn, PfnRange};
use crate::buddy::{Broken, FreeCore, FreeCounts, FreeError, Holder, Tally, ZoneFrames};
use crate::memmap::{StateWord, ZoneTag};
use crate::migrate::MigrateType;
use crate::order::Order;
use crate::page_alloc::pageset::{Heat, Pageset, PagesetSize};
use crate::page_alloc::policy::ZonePolicy;
use crate::page_alloc::watermark::{Attempt, Marks, Watermarks, open_types};
use crate::sync::{CurrentCpu, IrqLock};
use crate::zone::ZoneRef;

/// A zone of the page allocator (Linux: `struct zone`).
#[derive(Debug)]
pub struct Zone<'m, C, M: CurrentCpu> {
    pub(super) frames: ZoneFrames<'m>,
    present: u32,
    managed: AtomicU32,
    cma: AtomicU32,
    free: AtomicU32,
    free_cma: AtomicU32,
    marks: Marks,
    /// What a first attempt that prefers this zone must leave free, so that it need not be found each time.
    least: AtomicU32,
    /// What the policies remember of it.
    pub(super) policy: ZonePolicy,
    core: IrqLock<C, M>,
    /// One a CPU; until they are installed each page is handed through.
    pagesets: &'m [Pageset<'m>],
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
        let core = IrqLock::new(core);
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
            policy: ZonePolicy::default(),
            core,
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

    /// Uses the core under the lock and publishes its counts after.
    #[inline]
    pub(super) fn with_core<R>(&self, operate: impl FnOnce(&mut C) -> R) -> R {
        let mut core = self.core.lock();
        let result = operate(&mut core);
        self.publish(core.counts());
        result
    }

    /// Makes the core's counts known to those who read them without the lock, which the caller holds.
    #[inline]
    fn publish(&self, counts: FreeCounts) {
        self.free.store(counts.free, Relaxed);
        self.free_cma.store(counts.cma, Relaxed);
        let open = open_types(self.least.load(Relaxed), counts.free, counts.cma);
        self.pagesets.iter().for_each(|set| set.set_open(open));
    }

    /// Sets the watermarks.
    pub(super) fn set_marks(&self, marks: &Watermarks) {
        self.adjust_marks(|all| all.set(marks));
    }

    /// Changes the watermarks, and what follows from them.
    pub(super) fn adjust_marks(&self, adjust: impl FnOnce(&Marks)) {
        self.with_core(|_| {
            adjust(&self.marks);
            self.least.store(self.marks.least_free(self.tag().zone()), Relaxed);
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

    /// Whether the attempt's watermark allows a block, which there may be none of (Linux: `zone_watermark_ok`).
    pub(super) fn meets(&self, order: Order, attempt: &Attempt) -> bool {
        let core = self.core.lock();
        let counts = core.counts();
        let blocks = |order| MigrateType::ALL.iter().map(|kind| core.free_blocks(order, *kind)).sum();
        self.marks.floor(attempt).allows(order, attempt.flags, counts.free, counts.cma, blocks)
    }

    /// Gives a reserved block to the core and counts it as managed, before any other CPU runs.
    pub(super) fn hand_over(&mut self, pfn: Pfn, order: Order) -> Result<(), FreeError> {
        let core = self.core.get_mut();
        core.give(pfn, order)?;
        let counts = core.counts();
        self.publish(counts);
        *self.managed.get_mut() += order.pages();
        Ok(())
    }

    pub(super) fn reset_managed(&mut self) {
        *self.managed.get_mut() = 0;
    }

    pub(super) fn add_cma(&self, pages: u32) {
        self.cma.fetch_add(pages, Relaxed);
        self.managed.fetch_add(pages, Relaxed);
    }

    /// Allocates one block of order 1 or more if the low watermark allows it beyond doubt: there is as much in the
    /// largest blocks alone. `None` says nothing about whether there is a block.
    #[inline]
    pub(super) fn alloc_easy(&self, order: Order, kind: MigrateType) -> Option<Pfn> {
        self.with_core(|core| {
            let counts = core.counts();
            let kinds = [MigrateType::Unmovable, MigrateType::Reclaimable, MigrateType::Movable];
            let largest: u32 = kinds.iter().map(|kind| core.free_blocks(Order::LARGEST, *kind)).sum();
            let least = self.least.load(Relaxed).saturating_add(order.pages() - 1);
            let in_largest = largest << Order::LARGEST.raw();
            let is_plenty = counts.free.saturating_sub(counts.cma) > least && in_largest > least;
            if is_plenty { core.take(order, kind, Holder::Caller) } else { None }
        })
    }

    /// Allocates one block if the attempt's watermark allows it.
    pub(super) fn alloc(&self, order: Order, kind: MigrateType, heat: Heat, attempt: &Attempt) -> Option<Pfn> {
        let floor = self.marks.floor(attempt);
        if order == Order::ZERO {
            let (free, cma) = (self.free.load(Relaxed), self.free_cma.load(Relaxed));
            return floor.allows(order, attempt.flags, free, cma, |_| 0).then(|| self.alloc_one(kind, heat))?;
        }
        self.with_core(|core| {
            let counts = core.counts();
            let blocks = |order| MigrateType::ALL.iter().map(|kind| core.free_blocks(order, *kind)).sum();
            if !floor.allows(order, attempt.flags, counts.free, counts.cma, blocks) {
                return None;
            }
            core.take(order, kind, Holder::Caller)
        })
    }

    /// Tests every invariant of the zone while no CPU allocates or frees.
    pub(super) fn validate(&self) -> Result<Tally, Broken> {
        let tally = self.core.lock().validate()?;
        let stats = self.stats();
        let in_use = tally.free + tally.isolated + tally.guard + tally.pageset + tally.allocated;
        let is_stocked =
            |pfn: &Pfn| self.frames.map.page(*pfn).map(|page| page.word()) == Some(StateWord::pageset(Order::ZERO));
        let stocked = self.pagesets.iter().map(|set| set.iter().filter(is_stocked).count()).sum::<usize>();
        let count =
            |what, counter, found| if counter == found { Ok(()) } else { Err(Broken::Count { what, counter, found }) };
        count("managed pages", stats.managed, in_use)?;
        count("present pages", self.present, tally.reserved + in_use)?;
        count("pages in pagesets", stats.pageset, tally.pageset)?;
        count("frames in pagesets", stats.pageset, u32::try_from(stocked).unwrap_or(u32::MAX))?;
        count("published free pages", self.free.load(Relaxed), tally.free)?;
        count("published free CMA pages", self.free_cma.load(Relaxed), tally.cma)?;
        Ok(tally)
    }
}
