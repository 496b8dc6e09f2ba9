//! Blocks that leave a zone and come back to it, past the pagesets or by them.
//!
//! Not here.    What a pageset stocks (`stock`); which zone is asked (`walk`, `route`).
//! Source.      Linux 4.1: `buffered_rmqueue`, `zone_watermark_ok`, `__free_pages_ok`.
#![forbid(unsafe_code)]

use core::sync::atomic::Ordering::Relaxed;

use crate::addr::{Pfn, PfnRange};
use crate::buddy::{FreeCore, FreeCounts, Holder, Wanted};
use crate::migrate::MigrateType;
use crate::order::Order;
use crate::page_alloc::Zone;
use crate::page_alloc::pageset::{Heat, PAGESET_ORDER, RingIndex};
use crate::page_alloc::watermark::Attempt;
use crate::sync::CurrentCpu;

impl<'m, C: FreeCore<'m>, M: CurrentCpu> Zone<'m, C, M> {
    /// Whether the attempt's watermark allows a block, which there may be none of (Linux: `zone_watermark_ok`).
    pub(in crate::page_alloc) fn meets(&self, order: Order, attempt: &Attempt) -> bool {
        let core = self.core.lock();
        let counts = core.counts();
        let blocks = |order| blocks_of_any_type(&*core, order);
        self.marks.floor(attempt).allows(order, attempt.flags, counts.free, counts.cma, blocks)
    }

    /// Allocates one block of an order that pagesets stock if the low watermark allows it beyond doubt. `None` says
    /// nothing about whether there is one.
    #[inline]
    pub(in crate::page_alloc) fn alloc_easy(&self, order: Order, kind: MigrateType) -> Option<Pfn> {
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
    pub(in crate::page_alloc) fn alloc_plenty(&self, order: Order, kind: MigrateType) -> Option<Pfn> {
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
    pub(in crate::page_alloc) fn alloc_direct(&self, order: Order, kind: MigrateType) -> Option<Pfn> {
        self.with_core(|core| {
            let taken = core.take(order, kind, Holder::Caller(kind));
            taken.inspect(|pfn| self.frames.note_taken(*pfn, order))
        })
    }

    /// Returns a claimed block to the core.
    pub(in crate::page_alloc) fn free_to_core(&self, pfn: Pfn, order: Order) {
        self.give_back(pfn, order);
    }

    /// As [`Self::free_to_core`], for where the call would cost.
    #[inline(always)]
    pub(in crate::page_alloc) fn give_back(&self, pfn: Pfn, order: Order) {
        let mut core = self.core.lock();
        core.give_claimed(pfn, order);
        self.count_freed(order.pages());
        self.publish(&core);
    }

    /// Takes single pages for the caller until `each` had `wanted` of them, or fewer to be short (see
    /// [`FreeCore::take_many`]), as far as the low watermark allows it beyond doubt; returns how many.
    pub(in crate::page_alloc) fn take_pages(&self, wanted: u32, kind: MigrateType, each: impl FnMut(Pfn, u32)) -> u32 {
        let taken = self.with_core(|core| {
            let FreeCounts { free, cma, .. } = core.counts();
            let spare = free.saturating_sub(cma).saturating_sub(self.least.load(Relaxed));
            core.take_many(Order::ZERO, Wanted::exactly(wanted.min(spare)), kind, Holder::Caller(kind), each)
        });
        self.settle();
        taken
    }

    /// Returns frames that follow each other, whose states say that they head nothing, to the core.
    pub(in crate::page_alloc) fn give_pages(&self, range: PfnRange) {
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
    pub(in crate::page_alloc) fn alloc(
        &self,
        order: Order,
        kind: MigrateType,
        heat: Heat,
        attempt: &Attempt,
    ) -> Option<Pfn> {
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
}

/// Free blocks of an order, those of isolated pageblocks apart, which no request can have.
fn blocks_of_any_type<'m>(core: &impl FreeCore<'m>, order: Order) -> u32 {
    let kinds = MigrateType::ALL.into_iter().filter(|kind| *kind != MigrateType::Isolate);
    kinds.map(|kind| core.free_blocks(order, kind)).sum()
}
