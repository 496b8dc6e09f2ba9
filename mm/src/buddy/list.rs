//! Lists of free blocks, one for each order and migrate type, linked through the memory map.
//!
//! Theory.      A list knows its first and its last block, and ends in `NO_FRAME` on both sides: what happens at an end
//!              touches one neighbour at most. A bit a non-empty order turns "the smallest block that fits" into one
//!              count of trailing zeros.
//! Invariants.  1. A list's ends are frames exactly when bit `order` of `filled[kind]` is set and when its count is not
//!              0. 2. Each block on it has the state `free(order, kind)` of the lists' zone.

use core::sync::atomic::Ordering::Relaxed;

use crate::addr::Pfn;
use crate::memmap::{MemMap, NO_FRAME, Page, StateWord, ZoneTag};
use crate::migrate::{MIGRATE_TYPES, MigrateType};
use crate::order::{MAX_ORDER, Order};

/// Where a block goes on its list.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum End {
    /// It is taken next.
    Front,
    /// It is taken last.
    Back,
}

/// One list: its ends, and how many blocks there are.
#[derive(Clone, Copy, Debug)]
#[repr(C, align(16))]
struct List {
    first: u32,
    last: u32,
    blocks: u32,
}

impl List {
    const EMPTY: Self = Self { first: NO_FRAME, last: NO_FRAME, blocks: 0 };
}

/// Lists of a type, one more than there are orders and a power of two: an order then needs no check.
const LISTS: usize = MAX_ORDER.next_power_of_two();

#[derive(Debug)]
pub(super) struct BlockLists<'m> {
    map: MemMap<'m>,
    zone: ZoneTag,
    filled: [u32; MIGRATE_TYPES],
    lists: [[List; LISTS]; MIGRATE_TYPES],
}

impl<'m> BlockLists<'m> {
    /// Empty lists of the blocks of `zone`.
    pub(super) fn new(map: MemMap<'m>, zone: ZoneTag) -> Self {
        Self { map, zone, filled: [0; MIGRATE_TYPES], lists: [[List::EMPTY; LISTS]; MIGRATE_TYPES] }
    }

    #[inline]
    fn list(&self, order: Order, kind: MigrateType) -> &List {
        &self.lists[kind.index()][order.index() % LISTS]
    }

    /// Puts a block on its list and says so in its state; `page` is the entry of its first frame.
    #[inline]
    pub(super) fn push(&mut self, pfn: Pfn, page: &Page, order: Order, kind: MigrateType, end: End) {
        page.set_word(StateWord::free(order, kind, self.zone));
        let map = self.map;
        let list = &mut self.lists[kind.index()][order.index() % LISTS];
        list.blocks += 1;
        if list.first == NO_FRAME {
            page.next.store(NO_FRAME, Relaxed);
            page.prev.store(NO_FRAME, Relaxed);
            list.first = pfn.raw();
            list.last = pfn.raw();
            self.filled[kind.index()] |= order.pages();
        } else if end == End::Front {
            page.next.store(list.first, Relaxed);
            page.prev.store(NO_FRAME, Relaxed);
            map.at(Pfn::new(list.first)).prev.store(pfn.raw(), Relaxed);
            list.first = pfn.raw();
        } else {
            page.next.store(NO_FRAME, Relaxed);
            page.prev.store(list.last, Relaxed);
            map.at(Pfn::new(list.last)).next.store(pfn.raw(), Relaxed);
            list.last = pfn.raw();
        }
    }

    /// Takes the first block of a list off it; its state still says that it is free, and the caller changes that.
    #[inline]
    pub(super) fn pop(&mut self, order: Order, kind: MigrateType) -> Option<(Pfn, &'m Page)> {
        let map = self.map;
        let list = &mut self.lists[kind.index()][order.index() % LISTS];
        if list.first == NO_FRAME {
            return None;
        }
        let pfn = Pfn::new(list.first);
        let page = map.at(pfn);
        let next = page.next.load(Relaxed);
        list.first = next;
        list.blocks -= 1;
        if next == NO_FRAME {
            list.last = NO_FRAME;
            self.filled[kind.index()] &= !order.pages();
        } else {
            map.at(Pfn::new(next)).prev.store(NO_FRAME, Relaxed);
        }
        Some((pfn, page))
    }

    /// Takes a block off its list; its state still says that it is free, and the caller changes that.
    #[inline]
    pub(super) fn unlink(&mut self, page: &Page, order: Order, kind: MigrateType) {
        let map = self.map;
        let (next, prev) = (page.next.load(Relaxed), page.prev.load(Relaxed));
        let list = &mut self.lists[kind.index()][order.index() % LISTS];
        list.blocks -= 1;
        if prev == NO_FRAME {
            list.first = next;
        } else {
            map.at(Pfn::new(prev)).next.store(next, Relaxed);
        }
        if next == NO_FRAME {
            list.last = prev;
        } else {
            map.at(Pfn::new(next)).prev.store(prev, Relaxed);
        }
        if prev & next == NO_FRAME {
            self.filled[kind.index()] &= !order.pages();
        }
    }

    /// The first block of a list.
    #[inline]
    pub(super) fn first(&self, order: Order, kind: MigrateType) -> Option<Pfn> {
        let first = self.list(order, kind).first;
        (first != NO_FRAME).then_some(Pfn::new(first))
    }

    /// The last block of a list.
    pub(super) fn last(&self, order: Order, kind: MigrateType) -> Option<Pfn> {
        let last = self.list(order, kind).last;
        (last != NO_FRAME).then_some(Pfn::new(last))
    }

    /// The smallest order of at least `order` that has a block of `kind`.
    #[inline]
    pub(super) fn smallest(&self, order: Order, kind: MigrateType) -> Option<Order> {
        let fitting = self.filled[kind.index()] & !(order.pages() - 1);
        Order::of_log2(fitting.trailing_zeros())
    }

    /// How many blocks a list has.
    #[inline]
    pub(super) fn count(&self, order: Order, kind: MigrateType) -> u32 {
        self.list(order, kind).blocks
    }
}
