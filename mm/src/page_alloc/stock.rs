//! How single pages move between a zone and its CPUs' pagesets.
//!
//! Theory.      A refill takes a batch under one hold of the lock. With a core that gathers, the refill's last pageblock
//!              sets the front: what is freed below it is reused, what is freed beyond it goes back to the core, so
//!              that pageblocks up there can become whole. When the room is used up the front is looked at again: it
//!              comes down if a lower pageblock has become partly free, and the coldest pages go back.
//! Not here.    Hits (`route`).
//! Source.      Linux 4.1: `buffered_rmqueue`, `rmqueue_bulk`, `free_hot_cold_page`, `free_pcppages_bulk`; the rules
//!              for gathering are ours.
#![forbid(unsafe_code)]

use crate::addr::Pfn;
use crate::buddy::{FreeCore, Holder};
use crate::memmap::StateWord;
use crate::migrate::{MigrateType, pageblock_of};
use crate::order::Order;
use crate::page_alloc::Zone;
use crate::page_alloc::pageset::{Heat, Pageset};
use crate::page_alloc::route::broken_stock;
use crate::sync::{CurrentCpu, IrqOff};
use crate::trace::What;

const STOCKED: StateWord = StateWord::pageset(Order::ZERO);
const OWNED: StateWord = StateWord::allocated(Order::ZERO);

impl<'m, C: FreeCore<'m>, M: CurrentCpu> Zone<'m, C, M> {
    /// Makes a page of the stock the caller's.
    fn hand_out(&self, pfn: Pfn) {
        let page = self.frames.map.at(pfn);
        if page.word() != STOCKED {
            broken_stock(pfn, page.word());
        }
        page.set_word(OWNED);
    }

    /// Pops a page from this CPU's pageset, or refills it.
    pub(super) fn alloc_one(&self, kind: MigrateType, heat: Heat) -> Option<Pfn> {
        let _irq = IrqOff::<M>::new();
        let set = self.pagesets().get(M::current_cpu().index());
        match set.and_then(|set| set.pop(kind, heat)) {
            Some(pfn) => {
                self.hand_out(pfn);
                Some(pfn)
            }
            None => self.refill(set, kind, heat),
        }
    }

    /// Stocks up to a batch of pages and hands out the first (Linux: `rmqueue_bulk`).
    #[inline(never)]
    fn refill(&self, set: Option<&Pageset<'m>>, kind: MigrateType, heat: Heat) -> Option<Pfn> {
        let Some((set, room)) = set.map(|set| (set, set.recount())).filter(|(_, room)| *room > 0) else {
            return self.with_core(|core| {
                let taken = core.take(Order::ZERO, kind, Holder::Caller);
                taken.inspect(|pfn| self.frames.note_taken(*pfn, Order::ZERO))
            });
        };
        let mut last = None;
        self.with_core(|core| {
            // The page taken first is the next one to be popped from the end that the caller uses.
            core.take_singles(set.size().batch.min(room), kind, |pfn| {
                let stocked = if heat == Heat::Hot { set.push_cold(pfn, kind) } else { set.push_hot(pfn, kind, false) };
                assert!(stocked, "a pageset with room took no page");
                last = Some(pfn);
            });
            core.frames().note(What::Refill { kind, pages: set.count() }, last, Order::ZERO);
        });
        if C::GATHERS {
            set.set_front(kind, pageblock_of(last?).end);
        }
        let first = set.pop(kind, heat)?;
        self.hand_out(first);
        Some(first)
    }

    /// Takes back a block that was claimed: its state is `pageset`.
    #[inline]
    pub(super) fn free(&self, pfn: Pfn, order: Order, heat: Heat) {
        if order == Order::ZERO {
            self.free_one(pfn, heat);
        } else {
            self.with_core(|core| give(core, pfn, order));
        }
    }

    #[inline(never)]
    fn free_one(&self, pfn: Pfn, heat: Heat) {
        let order = Order::ZERO;
        let _irq = IrqOff::<M>::new();
        let kind = match self.block_type(pfn) {
            MigrateType::Isolate => return self.with_core(|core| give(core, pfn, order)),
            MigrateType::Reserve | MigrateType::Cma => MigrateType::Movable,
            kind => kind,
        };
        let Some(set) = self.pagesets().get(M::current_cpu().index()) else {
            return self.with_core(|core| give(core, pfn, order));
        };
        let push = || if heat == Heat::Hot { set.push_hot(pfn, kind, C::GATHERS) } else { set.push_cold(pfn, kind) };
        if push() || (!C::GATHERS && set.recount() > 0 && push()) {
            return;
        }
        self.with_core(|core| {
            make_room(core, set);
            if !push() {
                give(core, pfn, Order::ZERO);
            }
        });
    }

    /// Empties this CPU's pageset, a batch at a time so that interrupts are never off for long
    /// (Linux: `drain_local_pages`).
    pub(super) fn drain_local(&self) {
        loop {
            let _irq = IrqOff::<M>::new();
            let set = self.pagesets().get(M::current_cpu().index()).filter(|set| set.count() > 0);
            let Some(set) = set else { return };
            self.with_core(|core| drain(core, set));
        }
    }
}

/// Gives a claimed block back, and tells of it.
#[inline]
fn give<'m>(core: &mut impl FreeCore<'m>, pfn: Pfn, order: Order) {
    core.give_claimed(pfn, order);
    core.frames().note_given(pfn, order);
}

/// Moves up to a batch of pages from a pageset to the core (Linux: `free_pcppages_bulk`).
fn drain<'m>(core: &mut impl FreeCore<'m>, set: &Pageset<'m>) {
    set.take_coldest(set.size().batch, |pfn| give(core, pfn, Order::ZERO));
    set.recount();
    core.frames().note(What::Drain { pages: set.size().batch }, None, Order::ZERO);
}

/// Makes room in a pageset that has none, or may have none.
fn make_room<'m, C: FreeCore<'m>>(core: &mut C, set: &Pageset<'m>) {
    if !C::GATHERS {
        return drain(core, set);
    }
    let kinds = [MigrateType::Unmovable, MigrateType::Reclaimable, MigrateType::Movable];
    let mut is_stale = false;
    for kind in kinds {
        let Some(lower) = core.front(kind).filter(|front| set.front(kind).is_some_and(|now| *front < now)) else {
            continue;
        };
        set.set_front(kind, lower);
        is_stale = true;
    }
    if is_stale || set.returns() > 0 || set.count() >= set.size().high {
        drain(core, set);
    } else {
        set.recount();
    }
}
