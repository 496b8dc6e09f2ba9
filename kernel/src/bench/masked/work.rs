//! What is done to the allocator while it is timed.

use core::fmt::Write as _;
use core::sync::atomic::AtomicU32;
use core::sync::atomic::Ordering::Relaxed;

use mm::addr::{NodeId, Pfn, PfnRange};
use mm::gfp::GfpFlags;
use mm::memmap::ZoneTag;
use mm::migrate::PAGEBLOCK_PAGES;
use mm::order::Order;
use mm::page_alloc::{CmaArea, CompactStep, MigrationOps, MoveError, OwnerId, PagesetSize, Policies, Watermarks};
use mm::report::{BuddyInfo, PageTypeInfo, VmStat, ZoneInfo};

use super::super::pages::order_of;
use super::super::rng::Xorshift32;
use super::TimedIrq;
use super::helper::Helper;
use super::model::{AREA, Lender, Model, NORMAL, PAGES, SIZE, filled, model};

/// The name of a row, and the path that it measures.
pub(super) type Path = (&'static str, fn(&mut Work));

/// The paths by the names of their rows.
pub(super) const PATHS: [Path; 10] = [
    ("alloc", Work::alloc),
    ("bulk", Work::bulk),
    ("drain", Work::drain),
    ("steal", Work::steal),
    ("isolate", Work::isolate),
    ("contig", Work::contig),
    ("cma", Work::cma),
    ("compact", Work::compact),
    ("tune", Work::tune),
    ("views", Work::views),
];

/// No block.
pub(super) const NONE: u32 = u32::MAX;
/// A failure is no news here.
pub(super) const GFP: GfpFlags = GfpFlags::GFP_KERNEL.union(GfpFlags::NOWARN).union(GfpFlags::NORETRY);
pub(super) const MOVABLE: GfpFlags = GFP.union(GfpFlags::MOVABLE);
/// Requests of each type.
pub(super) const KINDS: [GfpFlags; 3] = [GFP, GFP.union(GfpFlags::RECLAIMABLE), MOVABLE];

/// Whoever has the movable pages: agrees to every move, and remembers where its page is now.
struct Owner {
    live: &'static [AtomicU32],
}

impl MigrationOps for Owner {
    fn isolate_page(&self, _: Pfn, _: u32) -> bool {
        true
    }

    fn migrate_page(&self, _: Pfn, new: Pfn, private: u32) -> Result<(), MoveError> {
        let place = self.live.get(private as usize).ok_or(MoveError::Busy)?;
        place.store(new.raw() << 4, Relaxed);
        Ok(())
    }

    fn putback_page(&self, _: Pfn, _: u32) {}
}

/// The allocator and what was taken from it.
pub(super) struct Work {
    pub(super) model: Model,
    /// Frame number times 16 and order of each live block.
    pub(super) live: &'static [AtomicU32],
    /// Who frees live blocks when memory is short.
    pub(super) helper: &'static Helper,
    owner: OwnerId,
    area: CmaArea<'static, TimedIrq>,
    chance: Xorshift32,
}

impl Work {
    pub(super) fn new(lender: &mut Lender<'_>, policies: Policies) -> Option<Self> {
        let model = model(lender, policies)?;
        let live: &'static [AtomicU32] = filled(lender.lend(PAGES as usize)?, || AtomicU32::new(NONE));
        let owner = model.register_owner(lender.place(Owner { live })?)?;
        let words = filled(lender.lend(CmaArea::<TimedIrq>::words_for(AREA.pages()))?, || 0);
        let area = CmaArea::new("bench", AREA, words)?;
        let helper = lender.place(Helper::new(live))?;
        Some(Self { model, live, helper, owner, area, chance: Xorshift32::new() })
    }

    /// Frees all that is live.
    pub(super) fn empty(&mut self) {
        (0..self.live.len()).for_each(|place| self.free(place));
        self.model.drain_local();
    }

    /// Allocates a block into a place; `false` when there is none.
    pub(super) fn take(&self, place: usize, gfp: GfpFlags, order: Order) -> bool {
        let block = self.model.alloc_pages(gfp, order).ok();
        let word = block.map_or(NONE, |pfn| pfn.raw() << 4 | order.log2());
        self.live.get(place).into_iter().for_each(|place| place.store(word, Relaxed));
        block.is_some()
    }

    /// Allocates a page into each of the first places, as long as there are any; returns how many.
    pub(super) fn fill(&self, places: usize, gfp: GfpFlags) -> usize {
        (0..places).take_while(|place| self.take(*place, gfp, Order::ZERO)).count()
    }

    /// Frees the block of a place, if there is one.
    pub(super) fn free(&self, place: usize) {
        let word = self.live.get(place).map_or(NONE, |place| place.swap(NONE, Relaxed));
        if word != NONE {
            // A refused free would have been reported on the console by the allocator.
            let _ = self.model.free_pages(Pfn::new(word >> 4), order_of(word & 0xf));
        }
    }

    /// Frees the block of a place of chance.
    fn free_one(&mut self, places: usize) {
        let place = self.chance.below(places);
        self.free(place);
    }

    /// Movable single pages, as many as there are; those with an odd frame number are given back.
    fn checkerboard(&self) {
        self.pattern(|pfn| pfn & 1 == 1);
    }

    /// Movable single pages, as many as there are; those whose frame number says so are given back.
    pub(super) fn pattern(&self, is_free: impl Fn(u32) -> bool) {
        let taken = self.fill(self.live.len(), MOVABLE);
        for (place, private) in (0..taken).zip(0..) {
            let word = self.live.get(place).map_or(NONE, |place| place.load(Relaxed));
            if is_free(word >> 4) {
                self.free(place);
            } else {
                let _ = self.model.set_movable(Pfn::new(word >> 4), Order::ZERO, self.owner, private);
            }
        }
        self.model.drain_local();
    }

    fn alloc(&mut self) {
        let slots = self.live.len() / 2;
        for _ in 0..2 {
            self.fill(slots, GFP);
            (0..4 * slots).for_each(|_| self.free_one(slots));
            for _ in 0..3 {
                for place in 0..slots {
                    let value = self.chance.next();
                    let gfp = KINDS.get((value >> 16) as usize % KINDS.len()).copied().unwrap_or(GFP);
                    if self.live.get(place).is_some_and(|place| place.load(Relaxed) == NONE) {
                        self.take(place, gfp, order_of(value.trailing_ones()));
                    }
                }
                (0..slots / 2).for_each(|_| self.free_one(slots));
            }
            self.empty();
        }
        for pages in [3, 77, 600, 1023] {
            if let Ok(range) = self.model.alloc_pages_exact(GFP, pages) {
                let _ = self.model.free_pages_exact(range);
            }
        }
    }

    fn bulk(&mut self) {
        let mut pages = [Pfn::new(0); 512];
        for round in 0..32 {
            if round == 16 {
                self.checkerboard();
            }
            let gfp = KINDS.get(round % KINDS.len()).copied().unwrap_or(GFP);
            let taken = self.model.alloc_pages_bulk(gfp, &mut pages).unwrap_or(0);
            let _ = pages.get(..taken).map(|pages| self.model.free_pages_bulk(pages));
        }
    }

    /// Every page of the zone but one of each largest block is free; the last ones wait in the pageset, and each merges
    /// ten times when it leaves.
    pub(super) fn stock_firsts(&self) {
        self.fill(self.live.len(), MOVABLE);
        let is_first = |place: &usize| {
            let word = self.live.get(*place).map_or(NONE, |place| place.load(Relaxed));
            word != NONE && (word >> 4).is_multiple_of(PAGEBLOCK_PAGES)
        };
        (0..self.live.len()).filter(|place| !is_first(place)).for_each(|place| self.free(place));
        self.model.drain_local();
        (0..self.live.len()).filter(is_first).for_each(|place| self.free(place));
    }

    fn drain(&mut self) {
        for round in 0..4 {
            self.stock_firsts();
            match round {
                0 => self.model.drain_local(),
                1 => self.model.drain_all(),
                2 => {
                    for size in [PagesetSize { high: 1, batch: 1 }, SIZE] {
                        let _ = self.model.resize_pagesets(NORMAL, size);
                    }
                }
                // The next allocations make the room.
                _ => self.checkerboard(),
            }
            self.empty();
        }
    }

    fn steal(&mut self) {
        for gfp in [GFP, KINDS[1]] {
            self.checkerboard();
            let free = (0..self.live.len()).filter(|place| self.live[*place].load(Relaxed) == NONE);
            for place in free {
                self.take(place, gfp, Order::ZERO);
            }
            self.empty();
        }
    }

    fn isolate(&mut self) {
        self.checkerboard();
        for block in [0, 1] {
            let start = Pfn::new(block * PAGEBLOCK_PAGES);
            let range = PfnRange::new(start, Pfn::new(start.raw() + PAGEBLOCK_PAGES));
            if self.model.start_isolate_page_range(range).is_ok() {
                let _ = self.model.undo_isolate_page_range(range);
            }
        }
    }

    fn contig(&mut self) {
        self.checkerboard();
        let range = PfnRange::new(Pfn::new(100), Pfn::new(2 * PAGEBLOCK_PAGES));
        if self.model.alloc_contig_range(range).is_ok() {
            let _ = self.model.free_contig_range(range);
        }
    }

    fn cma(&mut self) {
        if self.model.release_cma(AREA).is_err() {
            log::error!("bench: the area was not to be lent");
        }
        self.checkerboard();
        for pages in [1, 100, 1500] {
            if let Ok(range) = self.model.cma_alloc(&self.area, pages, Order::ZERO) {
                let _ = self.model.cma_release(&self.area, range);
            }
        }
    }

    fn compact(&mut self) {
        self.checkerboard();
        self.model.compact_zone(ZoneTag::from(NORMAL), Order::LARGEST);
        self.checkerboard();
        self.model.set_compaction_proactiveness(100);
        while let CompactStep::More { .. } = self.model.compact_step(NodeId::ZERO) {}
    }

    /// Changes what is kept back, and asks for blocks that there are not.
    fn tune(&mut self) {
        for min in [1000, 0] {
            let marks = Watermarks { min, low: 2 * min, high: 3 * min, ..Watermarks::default() };
            self.model.set_watermarks(NORMAL, &marks);
            self.checkerboard();
            for gfp in [GfpFlags::GFP_ATOMIC | GfpFlags::NOWARN, GFP] {
                if let Ok(pfn) = self.model.alloc_pages(gfp, Order::LARGEST) {
                    let _ = self.model.free_pages(pfn, Order::LARGEST);
                }
            }
            self.empty();
        }
    }

    fn views(&mut self) {
        self.checkerboard();
        let mut nowhere = Nowhere;
        // Writing to nowhere does not fail.
        let _ = write!(nowhere, "{}{}", BuddyInfo(&self.model), PageTypeInfo(&self.model));
        let _ = write!(nowhere, "{}{}", ZoneInfo(&self.model), VmStat { zones: &self.model, more: &[] });
    }
}

/// Takes all that is printed.
struct Nowhere;

impl core::fmt::Write for Nowhere {
    fn write_str(&mut self, _: &str) -> core::fmt::Result {
        Ok(())
    }
}
