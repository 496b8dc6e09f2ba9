//! One zone: its free core behind a lock, its watermarks, its counters and its pagesets.
//!
//! Invariants.  1. present = reserved + managed; managed = free + isolated + guard + allocated + in pagesets.
//!              2. `free` and `free_cma` are the core's counts as they were when the lock was last dropped.

use core::sync::atomic::Ordering::Relaxed;
use core::sync::atomic::{AtomicBool, AtomicU32};

use crate::addr::{Pfn, PfnRange};
use crate::buddy::{Broken, FreeCore, FreeCounts, FreeError, Holder, Tally, Wanted, ZoneFrames};
use crate::memmap::{Page, StateWord, ZoneTag};
use crate::migrate::MigrateType;
use crate::order::Order;
use crate::page_alloc::pageset::{Heat, PAGESET_ORDER, Pageset, PagesetSize, RingIndex, open_rings};
use crate::page_alloc::policy::ZonePolicy;
use crate::page_alloc::watermark::{Attempt, Marks, Watermarks, open_types, plenty};
use crate::sync::{CurrentCpu, IrqLock, LockRank};
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
    core: IrqLock<C, M>,
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

    /// Ends a change of a pageblock's type that is under way, if there is one.
    #[inline]
    pub(super) fn settle(&self) {
        if self.unsettled.load(Relaxed) {
            self.settle_now();
        }
    }

    /// As [`Self::settle`], in steps between which the lock is dropped and interrupts can come in.
    #[cold]
    #[inline(never)]
    fn settle_now(&self) {
        while self.with_core(|core| core.move_some().is_some() && core.is_moving()) {}
    }

    /// Makes the type that `to` says, told the present one, the type of `pfn`'s pageblock, and moves what is free in it
    /// to that type's lists; returns how many pages those are. `None`, and nothing changed, when `to` says none.
    pub(super) fn change_type(&self, pfn: Pfn, to: impl Fn(MigrateType) -> Option<MigrateType>) -> Option<u32> {
        // Another pageblock's change goes first.
        while !self.with_core(|core| match to(self.block_type(pfn)) {
            _ if core.is_moving() => Some(false),
            Some(kind) => Some(core.start_move(pfn, kind)),
            None => None,
        })? {
            self.settle_now();
        }
        let mut moved = 0;
        while let Some(pages) = self.with_core(FreeCore::move_some) {
            moved += pages;
        }
        Some(moved)
    }

    /// Makes the core's counts known to those who read them without the lock, which the caller holds.
    #[inline]
    fn publish(&self, core: &C) {
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
    pub(super) fn close_hits(&self, close: bool) {
        self.with_core(|_| {
            let before = self.closures.load(Relaxed);
            let now = if close { before.saturating_add(1) } else { before.saturating_sub(1) };
            self.closures.store(now, Relaxed);
            self.pagesets.iter().for_each(|set| set.set_closed(now > 0));
            self.tell_pagesets(self.open.load(Relaxed));
        });
        self.recount_local();
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

    /// Whether the attempt's watermark allows a block, which there may be none of (Linux: `zone_watermark_ok`).
    pub(super) fn meets(&self, order: Order, attempt: &Attempt) -> bool {
        let core = self.core.lock();
        let counts = core.counts();
        let blocks = |order| blocks_of_any_type(&*core, order);
        self.marks.floor(attempt).allows(order, attempt.flags, counts.free, counts.cma, blocks)
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

    /// Allocates one block of an order that pagesets stock if the low watermark allows it beyond doubt. `None` says
    /// nothing about whether there is one.
    #[inline]
    pub(super) fn alloc_easy(&self, order: Order, kind: MigrateType) -> Option<Pfn> {
        let is_open = self.open.load(Relaxed) >> RingIndex::of(order, kind).bit() & 1 != 0;
        // What is open is so for single pages.
        let is_allowed = is_open && (order == Order::ZERO || self.has_plenty(&self.core.lock()));
        is_allowed.then(|| self.alloc_stocked(order, kind, Heat::Hot))?
    }

    /// Whether the low watermark allows a block of any order beyond doubt.
    #[inline(always)]
    fn has_plenty(&self, core: &C) -> bool {
        // Nearly all largest blocks are movable: a part of them is enough to know.
        core.free_blocks(Order::LARGEST, MigrateType::Movable) > self.plenty.load(Relaxed)
    }

    /// As [`Self::alloc_easy`], of any order, past the pagesets, while nothing is switched on that wants to know.
    #[inline(always)]
    pub(super) fn alloc_plenty(&self, order: Order, kind: MigrateType) -> Option<Pfn> {
        let mut core = self.core.lock();
        if !self.has_plenty(&core) {
            return None;
        }
        let taken = core.take(order, kind, Holder::Caller(kind));
        let is_moving = core.is_moving();
        self.publish(&core);
        drop(core);
        if is_moving {
            self.settle_now();
        }
        taken
    }

    /// Takes a block that no pageset has, for a caller.
    pub(super) fn alloc_direct(&self, order: Order, kind: MigrateType) -> Option<Pfn> {
        self.with_core(|core| {
            let taken = core.take(order, kind, Holder::Caller(kind));
            taken.inspect(|pfn| self.frames.note_taken(*pfn, order))
        })
    }

    /// Returns a claimed block to the core.
    pub(super) fn free_to_core(&self, pfn: Pfn, order: Order) {
        self.give_back(pfn, order);
    }

    /// As [`Self::free_to_core`], for where the call would cost.
    #[inline(always)]
    pub(super) fn give_back(&self, pfn: Pfn, order: Order) {
        let mut core = self.core.lock();
        core.give_claimed(pfn, order);
        self.count_freed(order.pages());
        self.publish(&core);
    }

    /// Takes single pages for the caller until `each` had `wanted` of them, or fewer to be short (see
    /// [`FreeCore::take_many`]), as far as the low watermark allows it beyond doubt; returns how many.
    pub(super) fn take_pages(&self, wanted: u32, kind: MigrateType, each: impl FnMut(Pfn, u32)) -> u32 {
        let taken = self.with_core(|core| {
            let FreeCounts { free, cma, .. } = core.counts();
            let spare = free.saturating_sub(cma).saturating_sub(self.least.load(Relaxed));
            core.take_many(Order::ZERO, Wanted::exactly(wanted.min(spare)), kind, Holder::Caller(kind), each)
        });
        self.settle();
        taken
    }

    /// Returns frames that follow each other, whose states say that they head nothing, to the core.
    pub(super) fn give_pages(&self, range: PfnRange) {
        let mut left = range;
        while !left.is_empty() {
            let next = self.with_core(|core| {
                let (next, _) = core.give_run(left, C::WORK);
                self.count_freed(next.pages_since(left.start));
                next
            });
            left = PfnRange::new(next, range.end);
        }
    }

    /// Allocates one block if the attempt's watermark allows it.
    pub(super) fn alloc(&self, order: Order, kind: MigrateType, heat: Heat, attempt: &Attempt) -> Option<Pfn> {
        let floor = self.marks.floor(attempt);
        if order == Order::ZERO {
            let (free, cma) = (self.free.load(Relaxed), self.free_cma.load(Relaxed));
            return floor
                .allows(order, attempt.flags, free, cma, |_| 0)
                .then(|| self.alloc_stocked(order, kind, heat))?;
        }
        let allows = |core: &C| {
            let counts = core.counts();
            let blocks = |order| blocks_of_any_type(core, order);
            floor.allows(order, attempt.flags, counts.free, counts.cma, blocks)
        };
        if order <= PAGESET_ORDER {
            let is_allowed = allows(&self.core.lock());
            return is_allowed.then(|| self.alloc_stocked(order, kind, heat))?;
        }
        let taken = self.with_core(|core| {
            let taken = if allows(core) { core.take(order, kind, Holder::Caller(kind)) } else { None };
            taken.inspect(|pfn| self.frames.note_taken(*pfn, order))
        });
        self.settle();
        taken
    }

    /// Tests every invariant of the zone while no CPU allocates or frees.
    pub(super) fn validate(&self) -> Result<Tally, Broken> {
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

/// Free blocks of an order, those of isolated pageblocks apart, which no request can have.
fn blocks_of_any_type<'m>(core: &impl FreeCore<'m>, order: Order) -> u32 {
    let kinds = MigrateType::ALL.into_iter().filter(|kind| *kind != MigrateType::Isolate);
    kinds.map(|kind| core.free_blocks(order, kind)).sum()
}
