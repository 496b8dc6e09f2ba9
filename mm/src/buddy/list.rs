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

/// Lists of a type, and types, each the next power of two: what stands in a state word then needs no check.
const LISTS: usize = MAX_ORDER.next_power_of_two();
const TYPES: usize = MIGRATE_TYPES.next_power_of_two();

#[derive(Debug)]
pub(super) struct BlockLists<'m> {
    map: MemMap<'m>,
    zone: ZoneTag,
    filled: [u32; TYPES],
    lists: [[List; LISTS]; TYPES],
}

impl<'m> BlockLists<'m> {
    /// Empty lists of the blocks of `zone`.
    pub(super) fn new(map: MemMap<'m>, zone: ZoneTag) -> Self {
        Self { map, zone, filled: [0; TYPES], lists: [[List::EMPTY; LISTS]; TYPES] }
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

    /// Lists the upper halves of the block `pfn` from below `high` down to `low` (Linux: `expand`).
    #[inline]
    pub(super) fn push_halves(&mut self, pfn: Pfn, high: Order, low: Order, kind: MigrateType) {
        let map = self.map;
        let word = StateWord::free(Order::ZERO, kind, self.zone).raw();
        let lists = &mut self.lists[kind.index()];
        let mut order = high.log2();
        while order > low.log2() {
            order -= 1;
            let upper = pfn.raw() + (1 << order);
            let page = map.at(Pfn::new(upper));
            page.set_word(StateWord::from_raw(word | order));
            page.prev.store(NO_FRAME, Relaxed);
            let list = &mut lists[order as usize % LISTS];
            page.next.store(list.first, Relaxed);
            match list.first {
                NO_FRAME => list.last = upper,
                first => map.at(Pfn::new(first)).prev.store(upper, Relaxed),
            }
            list.first = upper;
            list.blocks += 1;
        }
        self.filled[kind.index()] |= high.pages() - low.pages();
    }

    /// Takes the buddies of a block that is being freed off their lists as long as they are free, and makes one block of
    /// them; returns that. Its state is what it was (Linux: the loop of `__free_one_page`).
    #[inline]
    pub(super) fn merge(&mut self, pfn: Pfn, order: Order) -> (Pfn, &'m Page, Order) {
        let map = self.map;
        let (mut head, mut page, mut order) = (pfn, map.at(pfn), order);
        while let Some(next) = order.next() {
            let buddy = order.buddy_of(head);
            let other = map.at(buddy);
            let word = other.word();
            if !word.is_free_in(order, self.zone) {
                break;
            }
            self.unlink_bits(other, order, word.kind_bits());
            // The upper half stops being a head; the lower one gets its state when the merging ends.
            if buddy < head {
                page.set_word(StateWord::INSIDE);
                (head, page) = (buddy, other);
            } else {
                other.set_word(StateWord::INSIDE);
            }
            order = next;
        }
        (head, page, order)
    }

    /// Takes a block off its list; its state still says that it is free, and the caller changes that.
    #[inline]
    pub(super) fn unlink(&mut self, page: &Page, order: Order, kind: MigrateType) {
        self.unlink_bits(page, order, kind as u32);
    }

    #[inline]
    fn unlink_bits(&mut self, page: &Page, order: Order, bits: u32) {
        let map = self.map;
        let (next, prev) = (page.next.load(Relaxed), page.prev.load(Relaxed));
        let kind = bits as usize % TYPES;
        let list = &mut self.lists[kind][order.index() % LISTS];
        if prev & next == NO_FRAME {
            *list = List::EMPTY;
            self.filled[kind] &= !order.pages();
            return;
        }
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
