//! Lists of free blocks, one for each order and migrate type, linked through the memory map.
//!
//! Theory.      A list is a ring: the head's `prev` is the last block, so both ends are at hand without a tail pointer.
//!              A bit a non-empty order turns "the smallest block that fits" into one count of trailing zeros.
//! Invariants.  1. A list's head is a frame exactly when bit `order` of `filled[kind]` is set and when its count is
//!              not 0. 2. Each block on it has the state `free(order, kind)`.

use core::sync::atomic::Ordering::Relaxed;

use crate::addr::Pfn;
use crate::memmap::{MemMap, NO_FRAME, StateWord, ZoneTag};
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

/// One list: its first block, and how many there are.
#[derive(Clone, Copy, Debug)]
struct List {
    head: u32,
    blocks: u32,
}

/// Lists of a type, one more than there are orders and a power of two: an order then needs no check.
const LISTS: usize = MAX_ORDER.next_power_of_two();

#[derive(Debug)]
pub(super) struct BlockLists<'m> {
    map: MemMap<'m>,
    zone: ZoneTag,
    lists: [[List; LISTS]; MIGRATE_TYPES],
    filled: [u32; MIGRATE_TYPES],
}

impl<'m> BlockLists<'m> {
    /// Empty lists of the blocks of `zone`.
    pub(super) fn new(map: MemMap<'m>, zone: ZoneTag) -> Self {
        let empty = List { head: NO_FRAME, blocks: 0 };
        Self { map, zone, lists: [[empty; LISTS]; MIGRATE_TYPES], filled: [0; MIGRATE_TYPES] }
    }

    #[inline]
    fn list(&self, order: Order, kind: MigrateType) -> &List {
        &self.lists[kind.index()][order.index() % LISTS]
    }

    #[inline]
    fn list_mut(&mut self, order: Order, kind: MigrateType) -> &mut List {
        &mut self.lists[kind.index()][order.index() % LISTS]
    }

    /// Puts a block on its list and says so in its state.
    #[inline]
    pub(super) fn push(&mut self, pfn: Pfn, order: Order, kind: MigrateType, end: End) {
        let page = self.map.at(pfn);
        page.set_word(StateWord::free(order, kind, self.zone));
        let map = self.map;
        let list = self.list_mut(order, kind);
        let (this, head) = (pfn.raw(), list.head);
        list.blocks += 1;
        if end == End::Front || head == NO_FRAME {
            list.head = this;
        }
        if head == NO_FRAME {
            page.next.store(this, Relaxed);
            page.prev.store(this, Relaxed);
            self.filled[kind.index()] |= order.pages();
        } else {
            let first = map.at(Pfn::new(head));
            let last = first.prev.load(Relaxed);
            page.next.store(head, Relaxed);
            page.prev.store(last, Relaxed);
            first.prev.store(this, Relaxed);
            map.at(Pfn::new(last)).next.store(this, Relaxed);
        }
    }

    /// Takes a block off its list; its state still says that it is free, and the caller changes that.
    #[inline]
    pub(super) fn unlink(&mut self, pfn: Pfn, order: Order, kind: MigrateType) {
        let map = self.map;
        let page = map.at(pfn);
        let next = page.next.load(Relaxed);
        let list = self.list_mut(order, kind);
        list.blocks -= 1;
        if next == pfn.raw() {
            list.head = NO_FRAME;
            self.filled[kind.index()] &= !order.pages();
        } else {
            if list.head == pfn.raw() {
                list.head = next;
            }
            let prev = page.prev.load(Relaxed);
            map.at(Pfn::new(prev)).next.store(next, Relaxed);
            map.at(Pfn::new(next)).prev.store(prev, Relaxed);
        }
    }

    /// The first block of a list.
    #[inline]
    pub(super) fn first(&self, order: Order, kind: MigrateType) -> Option<Pfn> {
        let head = self.list(order, kind).head;
        (head != NO_FRAME).then_some(Pfn::new(head))
    }

    /// The smallest order of at least `order` that has a block of `kind`.
    #[inline]
    pub(super) fn smallest(&self, order: Order, kind: MigrateType) -> Option<Order> {
        let fitting = self.filled[kind.index()] & !(order.pages() - 1);
        Order::of_log2(fitting.trailing_zeros())
    }

    /// How many blocks a list has.
    pub(super) fn count(&self, order: Order, kind: MigrateType) -> u32 {
        self.list(order, kind).blocks
    }
}
