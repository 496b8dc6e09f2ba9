//! Pageblocks that are kept for requests that nothing else can serve.
//!
//! Theory.      A pageblock of type `Reserve` is on nobody's fallback list, so its pages stay together. Which
//!              pageblocks those are, and who may have them, is the [`ReservePolicy`]: a few from the start as
//!              everybody's last resort, or those that a request which cannot wait has already found a large block in.
//!              In the second case their pages do not count for others' watermarks.
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

/// The least free block for which another pageblock is kept than the one that was hit: an eighth of one.
const WORTH: Order = match Order::new(PAGEBLOCK_ORDER.raw() - 3) {
    Some(order) => order,
    None => PAGEBLOCK_ORDER,
};

/// Types of pageblocks that may be kept.
const KEEPABLE: [MigrateType; 3] = [MigrateType::Unmovable, MigrateType::Reclaimable, MigrateType::Movable];

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
            self.change_type(block, |kind| match kind {
                MigrateType::Reserve if have >= wanted => Some(MigrateType::Movable),
                MigrateType::Movable if have < wanted && self.is_free_block(block, PAGEBLOCK_ORDER) => {
                    Some(MigrateType::Reserve)
                }
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

    /// Keeps a pageblock for more requests like the one that was given `pfn` and cannot wait, unless enough are kept:
    /// one in a hundred, and one more. That with the largest free block if this is worth a search; else the one that
    /// served the request (Linux: `reserve_highatomic_pageblock`, which takes that one always).
    #[cold]
    #[inline(never)]
    pub(in crate::page_alloc) fn reserve_one(&self, pfn: Pfn) {
        if !self.may_keep(self.block_type(pfn)) {
            return;
        }
        let found = self.largest().is_some_and(|(head, order)| self.keep(head, Some(order)));
        if found || self.keep(pfn, None) {
            self.policy.reserved.fetch_add(PAGEBLOCK_PAGES, Relaxed);
            self.adjust_marks(|marks| marks.set_held_back(self.reserved_pages()));
        }
    }

    /// Whether one more pageblock may be kept, and one of this type.
    fn may_keep(&self, kind: MigrateType) -> bool {
        KEEPABLE.contains(&kind) && self.reserved_pages() < self.managed() / 100 + PAGEBLOCK_PAGES
    }

    /// One of the largest free blocks in pageblocks that may be kept, from [`WORTH`] up, without the lock.
    fn largest(&self) -> Option<(Pfn, Order)> {
        let is_there = |order| self.with_core(|core| KEEPABLE.iter().any(|kind| core.free_blocks(order, *kind) > 0));
        let order = Order::all().skip(WORTH.index()).filter(|order| is_there(*order)).last()?;
        let size = order.pages();
        let heads = |block: Pfn| {
            let first = block.raw().next_multiple_of(size);
            (first..pageblock_of(block).end.raw()).step_by(size as usize).map(Pfn::new)
        };
        let mut places = self.pageblocks().filter(|block| self.may_keep(self.block_type(*block))).flat_map(heads);
        places.find(|head| self.is_free_block(*head, order)).map(|head| (head, order))
    }

    fn is_free_block(&self, head: Pfn, order: Order) -> bool {
        self.frames.map.page(head).is_some_and(|page| page.word().is_free_in(order, self.frames.zone))
    }

    /// Keeps the pageblock of `pfn`, if it may still be kept, and still has a free block of `order` there if one is
    /// given.
    fn keep(&self, pfn: Pfn, order: Option<Order>) -> bool {
        let is_as_found = || order.is_none_or(|order| self.is_free_block(pfn, order));
        self.change_type(pfn, |kind| (self.may_keep(kind) && is_as_found()).then_some(MigrateType::Reserve)).is_some()
    }

    /// Gives a pageblock that was found to be kept, without the lock, to `kind`; `false`, and nothing done, when it has
    /// no free page, or is not kept any more: another CPU has given it up, or isolated it.
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
