//! How small blocks move between a zone and its CPUs' pagesets.
//!
//! Theory.      A refill takes a batch under one hold of the lock. With a core that gathers, the refill's last
//!              pageblock sets the front: what is freed below it is reused, what is freed beyond it goes back to the
//!              core, so that pageblocks up there can become whole. When the room is used up the front is looked at
//!              again: it comes down if a lower pageblock has become partly free, and the coldest pages go back.
//! Not here.    Hits (`route`).
//! Source.      Linux 4.1: `buffered_rmqueue`, `rmqueue_bulk`, `free_hot_cold_page`, `free_pcppages_bulk`; the rules
//!              for gathering are ours.
#![forbid(unsafe_code)]

use crate::addr::{Pfn, PfnRange};
use crate::buddy::{FreeCore, Holder, Wanted, Work};
use crate::memmap::StateWord;
use crate::migrate::{MigrateType, pageblock_of};
use crate::order::Order;
use crate::page_alloc::Zone;
use crate::page_alloc::pageset::{Cold, Heat, PAGESET_ORDER, Pageset, RingIndex};
use crate::page_alloc::route::broken_stock;
use crate::sync::{CurrentCpu, IrqOff};
use crate::trace::What;

impl<'m, C: FreeCore<'m>, M: CurrentCpu> Zone<'m, C, M> {
    /// Makes a block of the stock the caller's.
    fn hand_out(&self, pfn: Pfn, order: Order, kind: MigrateType) {
        let page = self.frames.map.at(pfn);
        if page.word() != StateWord::pageset(order) {
            broken_stock(pfn, page.word());
        }
        page.set_word(StateWord::allocated(order, kind));
    }

    /// Pops a block from this CPU's pageset, or refills it. The watermark has been asked.
    pub(super) fn alloc_stocked(&self, order: Order, kind: MigrateType, heat: Heat) -> Option<Pfn> {
        let pfn = self.pop_or_refill(order, kind, heat);
        self.settle();
        pfn
    }

    #[inline(always)]
    fn pop_or_refill(&self, order: Order, kind: MigrateType, heat: Heat) -> Option<Pfn> {
        let _irq = IrqOff::<M>::new();
        let ring = RingIndex::of(order, kind);
        let set = self.pagesets().get(M::current_cpu().index());
        match set.and_then(|set| set.pop(ring, heat)) {
            Some(pfn) => {
                self.hand_out(pfn, order, kind);
                Some(pfn)
            }
            None => self.refill(set, order, kind, heat),
        }
    }

    /// Stocks up to a batch of blocks and hands out the first (Linux: `rmqueue_bulk`).
    fn refill(&self, set: Option<&Pageset<'m>>, order: Order, kind: MigrateType, heat: Heat) -> Option<Pfn> {
        let wanted = set.map_or(0, |set| set.size().refill(order));
        let fit = set.map(|set| (set, set.room_for(wanted << order.log2()))).filter(|(_, room)| *room >= order.pages());
        let Some((set, room)) = fit else {
            return self.alloc_direct(order, kind);
        };
        let ring = RingIndex::of(order, kind);
        let most = room >> order.log2();
        let wanted = Wanted { least: wanted.min(most), most };
        let mut last = None;
        let taken = self.with_core(|core| {
            // The block taken first is the next one to be popped from the end that the caller uses.
            let taken = core.take_many(order, wanted, kind, Holder::Pageset, |pfn, blocks| {
                set.stock(pfn, blocks, ring, heat);
                last = Some(pfn);
            });
            core.frames().note(What::Refill { kind, pages: set.count() }, last, Order::ZERO);
            taken
        });
        set.use_room(taken << order.log2());
        if C::GATHERS {
            set.set_front(ring, pageblock_of(last?).end);
        }
        let first = set.pop(ring, heat)?;
        self.hand_out(first, order, kind);
        Some(first)
    }

    /// Takes back a block that was claimed: its state is `pageset`. `kind` is the type that it was allocated for.
    #[inline]
    pub(super) fn free(&self, pfn: Pfn, order: Order, kind: MigrateType, heat: Heat) {
        if order > PAGESET_ORDER {
            self.free_to_core(pfn, order);
        } else {
            self.free_stocked(pfn, order, kind, heat);
        }
    }

    #[inline(never)]
    fn free_stocked(&self, pfn: Pfn, order: Order, kind: MigrateType, heat: Heat) {
        let ring = RingIndex::of(order, kind);
        let mut rest = self.push_or_drain(pfn, order, kind, heat);
        while rest > 0 {
            let _irq = IrqOff::<M>::new();
            let Some(set) = self.pagesets().get(M::current_cpu().index()) else { return };
            let taken = self.give_to_core(|core| drain_ring(core, set, ring, rest));
            set.make_room(taken);
            rest = if taken == 0 { 0 } else { rest.saturating_sub(taken) };
        }
    }

    /// Stocks a block that was freed, after making room for it; returns how many pages more should leave its ring.
    #[inline(always)]
    fn push_or_drain(&self, pfn: Pfn, order: Order, kind: MigrateType, heat: Heat) -> u32 {
        let _irq = IrqOff::<M>::new();
        let set = self.pagesets().get(M::current_cpu().index());
        let Some(set) = set.filter(|_| self.block_type(pfn) != MigrateType::Isolate) else {
            self.free_to_core(pfn, order);
            return 0;
        };
        let ring = RingIndex::of(order, kind);
        if set.fills(ring, order.pages(), C::GATHERS) {
            // There is no need to count: what was freed last is there, and makes room.
            let wanted = set.size().drain();
            let taken = self.give_to_core(|core| {
                lower_front(core, set, kind);
                drain_ring(core, set, ring, wanted)
            });
            set.make_room(taken);
            set.push_freed(pfn, ring, heat, C::GATHERS);
            return wanted.saturating_sub(taken);
        }
        let mut room = set.recount();
        if C::GATHERS || room < order.pages() {
            room = self.with_core(|core| make_room(core, set, order, room));
        }
        if room >= order.pages() {
            set.push_freed(pfn, ring, heat, C::GATHERS);
        } else {
            self.free_to_core(pfn, order);
        }
        0
    }

    /// Counts this CPU's pageset anew, so that it sees whether it is closed.
    pub(super) fn recount_local(&self) {
        let _irq = IrqOff::<M>::new();
        if let Some(set) = self.pagesets().get(M::current_cpu().index()) {
            set.recount();
        }
    }

    /// Empties this CPU's pageset, a batch at a time so that interrupts are never off for long
    /// (Linux: `drain_local_pages`).
    pub(super) fn drain_local(&self) {
        loop {
            let _irq = IrqOff::<M>::new();
            let Some(set) = self.pagesets().get(M::current_cpu().index()) else { return };
            let room = set.recount();
            // The bound may have come down to 0 while there is something.
            if room >= set.size().high && set.count() == 0 {
                return;
            }
            self.with_core(|core| drain(core, set, room));
        }
    }
}

/// Gives blocks to the core, those that follow each other as the few larger blocks that they are, as far as `work`
/// goes; returns how many blocks are left, and the work.
#[inline(never)]
fn give_blocks<'m>(core: &mut impl FreeCore<'m>, blocks: Cold<'_>, order: Order, mut work: Work) -> (u32, Work) {
    let mut left = blocks.left();
    if left == 0 || !work.is_left() {
        return (left, work);
    }
    let first = blocks.ahead(left).raw();
    let (mut start, mut end, mut before) = (first, first.wrapping_add(order.pages()), left);
    loop {
        left -= 1;
        if left == 0 {
            break;
        }
        let pfn = blocks.ahead(left).raw();
        let after = pfn.wrapping_add(order.pages());
        if pfn == end {
            end = after;
        } else if after == start {
            start = pfn;
        } else {
            let Some(rest) = give_several(core, start, end, order, work) else { return (before, Work::none()) };
            work = rest;
            if !work.is_left() {
                return (left, work);
            }
            (start, end, before) = (pfn, after, left);
        }
    }
    match give_several(core, start, end, order, work) {
        Some(work) => (0, work),
        None => (before, Work::none()),
    }
}

/// Gives the blocks of `order` from `start` up to `end`; `None`, and nothing done, if they are several, each of which
/// may merge, and something was done before.
#[inline(always)]
fn give_several<'m, C: FreeCore<'m>>(core: &mut C, start: u32, end: u32, order: Order, work: Work) -> Option<Work> {
    if end.wrapping_sub(start) == order.pages() {
        let start = Pfn::new(start);
        Some(work.gave(if order == Order::ZERO { give_page(core, start) } else { give_one(core, start, order) }))
    } else if work == C::WORK {
        Some(give_run(core, PfnRange::new(Pfn::new(start), Pfn::new(end)), order, work))
    } else {
        None
    }
}

/// As [`give_one`]: that the compiler knows the order is worth the code, since most of what is freed are pages.
#[inline(never)]
fn give_page<'m>(core: &mut impl FreeCore<'m>, pfn: Pfn) -> u32 {
    core.give_page(pfn)
}

#[inline(never)]
fn give_one<'m>(core: &mut impl FreeCore<'m>, pfn: Pfn, order: Order) -> u32 {
    core.give_claimed(pfn, order)
}

#[inline(never)]
fn give_run<'m>(core: &mut impl FreeCore<'m>, frames: PfnRange, order: Order, work: Work) -> Work {
    let map = core.frames().map;
    for head in (frames.start.raw()..frames.end.raw()).step_by(order.pages() as usize) {
        map.at(Pfn::new(head)).set_word(StateWord::INSIDE);
    }
    // A drain is so short that a run of it is, too.
    let (_, all) = core.give_run(frames, Work::all());
    work.less(all)
}

/// Moves some pages from a pageset, counted before, to the core; returns the room that there is then
/// (Linux: `free_pcppages_bulk`).
pub(super) fn drain<'m, C: FreeCore<'m>>(core: &mut C, set: &Pageset<'m>, room: u32) -> u32 {
    let (wanted, mut work) = (set.size().drain(), C::WORK);
    let taken = set.take_coldest(wanted, C::GATHERS, |blocks, order| {
        let (left, rest) = give_blocks(core, blocks, order, work);
        work = rest;
        left
    });
    core.frames().note(What::Drain { pages: taken }, None, Order::ZERO);
    // Without room there may be more in stock than there should be: the bound has come down.
    if room == 0 {
        return set.recount();
    }
    set.recounted(room + taken);
    room + taken
}

/// Moves up to `wanted` pages of one ring, and of those to be returned of its order, to the core; returns how many.
fn drain_ring<'m, C: FreeCore<'m>>(core: &mut C, set: &Pageset<'m>, ring: RingIndex, wanted: u32) -> u32 {
    let mut work = C::WORK;
    let taken = set.take_like(ring, wanted, C::GATHERS, &mut |blocks, order| {
        let (left, rest) = give_blocks(core, blocks, order, work);
        work = rest;
        left
    });
    if core.frames().trace.is_some() {
        core.frames().note(What::Drain { pages: taken }, None, Order::ZERO);
    }
    taken
}

/// Makes room in a pageset, counted before, that has none for a block of `order`, or may have none; returns how much
/// there is.
fn make_room<'m, C: FreeCore<'m>>(core: &mut C, set: &Pageset<'m>, order: Order, room: u32) -> u32 {
    let kinds = [MigrateType::Unmovable, MigrateType::Reclaimable, MigrateType::Movable];
    let lowered = kinds.map(|kind| lower_front(core, set, kind));
    if room < order.pages() || lowered.contains(&true) || set.returns() > 0 { drain(core, set, room) } else { room }
}

/// Brings the front of single pages of `kind` down to where the core would take the next ones from; returns whether it
/// was higher.
#[inline]
fn lower_front<'m, C: FreeCore<'m>>(core: &C, set: &Pageset<'m>, kind: MigrateType) -> bool {
    if !C::GATHERS {
        return false;
    }
    let ring = RingIndex::of(Order::ZERO, kind);
    let now = set.front(ring);
    let lower = core.front(kind).filter(|front| now.is_some_and(|now| *front < now));
    if let Some(lower) = lower {
        set.set_front(ring, lower);
    }
    lower.is_some()
}
