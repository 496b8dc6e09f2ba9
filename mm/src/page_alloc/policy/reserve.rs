//! Pageblocks that are kept for requests that nothing else can serve.
//!
//! Theory.      A pageblock of type `Reserve` is on nobody's fallback list, so its pages stay together. Which pageblocks
//!              those are, and who may have them, is the [`ReservePolicy`]: a few from the start as everybody's last
//!              resort, or those that a request which cannot wait has already found a large block in. In the second case
//!              their pages do not count for others' watermarks.
//! Source.      Linux 4.1: `setup_zone_migrate_reserve`; Linux 4.4: `reserve_highatomic_pageblock`,
//!              `unreserve_highatomic_pageblock`.

use core::sync::atomic::Ordering::Relaxed;

use crate::addr::Pfn;
use crate::buddy::{FreeCore, Holder};
use crate::migrate::{MigrateType, PAGEBLOCK_ORDER, PAGEBLOCK_PAGES, pageblock_of};
use crate::order::Order;
use crate::page_alloc::watermark::Attempt;
use crate::page_alloc::{PageAllocator, ReservePolicy, Zone};
use crate::sync::CurrentCpu;
use crate::zone::{ZoneRef, ZoneType};

/// Most reserve blocks of a zone: more would be of no use to anybody (Linux: `setup_zone_migrate_reserve`).
const MOST_BLOCKS: u32 = 2;

impl<'m, C: FreeCore<'m>, M: CurrentCpu> Zone<'m, C, M> {
    /// The first frame of each of its pageblocks, or of the part of one that it has.
    fn pageblocks(&self) -> impl Iterator<Item = Pfn> + '_ {
        let span = self.frames.span;
        core::iter::successors(Some(span.start), move |pfn| {
            let next = pageblock_of(*pfn).end;
            span.contains(next).then_some(next)
        })
    }

    /// Pages in pageblocks that are kept back.
    #[must_use]
    pub fn reserved_pages(&self) -> u32 {
        self.policy.reserved.load(Relaxed)
    }

    /// Makes as many whole free pageblocks reserve as the `min` mark is large, and gives back those that are more
    /// (Linux: `setup_zone_migrate_reserve`).
    pub(in crate::page_alloc) fn set_up_reserve_blocks(&self) {
        let wanted = self.marks().get().min.div_ceil(PAGEBLOCK_PAGES).min(MOST_BLOCKS);
        let mut have = 0;
        for block in self.pageblocks() {
            let is_free = || self.frames.map.page(block).is_some_and(|page| page.word().is_free_of(PAGEBLOCK_ORDER));
            self.change_type(block, |kind| match kind {
                MigrateType::Reserve if have >= wanted => Some(MigrateType::Movable),
                MigrateType::Movable if have < wanted && is_free() => Some(MigrateType::Reserve),
                _ => None,
            });
            have += u32::from(self.block_type(block) == MigrateType::Reserve);
        }
        self.policy.reserved.store(have * PAGEBLOCK_PAGES, Relaxed);
    }

    /// Takes a block for a request of type `kind` from the pageblocks that are kept for requests like this one.
    pub(in crate::page_alloc) fn take_reserved(
        &self,
        order: Order,
        kind: MigrateType,
        attempt: &Attempt,
    ) -> Option<Pfn> {
        if self.reserved_pages() == 0 || !self.meets(order, attempt) {
            return None;
        }
        let taken = self.with_core(|core| core.take(order, MigrateType::Reserve, Holder::Caller(kind)));
        self.settle();
        taken
    }

    /// Keeps the pageblock of a block that a request which cannot wait was given, unless there are enough already: one
    /// in a hundred, and one more (Linux: `reserve_highatomic_pageblock`).
    #[cold]
    #[inline(never)]
    pub(in crate::page_alloc) fn reserve_around(&self, pfn: Pfn) {
        let most = self.managed() / 100 + PAGEBLOCK_PAGES;
        let keep = |kind| {
            let is_kept = matches!(kind, MigrateType::Reserve | MigrateType::Cma | MigrateType::Isolate);
            (!is_kept && self.reserved_pages() < most).then_some(MigrateType::Reserve)
        };
        if self.change_type(pfn, keep).is_some() {
            self.policy.reserved.fetch_add(PAGEBLOCK_PAGES, Relaxed);
        }
        self.adjust_marks(|marks| marks.set_held_back(self.reserved_pages()));
    }

    /// Gives a pageblock that was found to be kept, without the lock, to `kind`; `false`, and nothing done, when it has no
    /// free page, or is not kept any more: another CPU has given it up, or isolated it.
    pub(in crate::page_alloc) fn give_up(&self, block: Pfn, kind: MigrateType) -> bool {
        let moved = self.change_type(block, |now| (now == MigrateType::Reserve).then_some(kind));
        if moved == Some(0) {
            self.change_type(block, |now| (now == kind).then_some(MigrateType::Reserve));
        }
        moved.is_some_and(|moved| moved > 0)
    }

    /// Gives the first kept pageblock that has free pages to `kind`; `false` when there is none
    /// (Linux: `unreserve_highatomic_pageblock`).
    fn unreserve_one(&self, kind: MigrateType) -> bool {
        let is_kept = |block: &Pfn| self.block_type(*block) == MigrateType::Reserve;
        let given = self.pageblocks().filter(is_kept).any(|block| self.give_up(block, kind));
        if given {
            let less = |reserved: u32| Some(reserved.saturating_sub(PAGEBLOCK_PAGES));
            let _ = self.policy.reserved.fetch_update(Relaxed, Relaxed, less);
            self.adjust_marks(|marks| marks.set_held_back(self.reserved_pages()));
        }
        given
    }
}

impl<'m, M: CurrentCpu, C: FreeCore<'m>> PageAllocator<'m, M, C> {
    /// Gives up one pageblock that is kept for requests that cannot wait, in the zones up to `highest`; `false` when
    /// there is none.
    pub(in crate::page_alloc) fn unreserve(&self, highest: ZoneType, kind: MigrateType) -> bool {
        let may_serve = |zone: &&Zone<'m, C, M>| zone.name().zone <= highest && zone.reserved_pages() > 0;
        self.policies.reserve == ReservePolicy::HighAtomic
            && self.zones().iter().filter(may_serve).any(|zone| zone.unreserve_one(kind))
    }

    /// Brings what depends on a zone's watermarks up to date (Linux: the end of `__setup_per_zone_wmarks`).
    pub(in crate::page_alloc) fn marks_were_set(&self, zone: ZoneRef) {
        let Some(zone) = self.zone(zone) else { return };
        zone.reset_batch();
        if self.policies.reserve == ReservePolicy::Blocks && self.grouping() {
            zone.set_up_reserve_blocks();
        }
    }
}
