//! Lists of free blocks, one for each order and migrate type, linked through the memory map.
//!
//! Theory.      A list is a ring: the head's `prev` is the last block, so both ends are at hand without a tail pointer.
//!              A bit a non-empty order turns "the smallest block that fits" into one count of trailing zeros.
//! Invariants.  1. `head[kind][order]` is a frame exactly when bit `order` of `filled[kind]` is set and when
//!              `blocks[kind][order]` is not 0. 2. Each block on it has the state `free(order, kind)`.

use core::sync::atomic::Ordering::Relaxed;

use crate::addr::Pfn;
use crate::memmap::{MemMap, NO_FRAME, StateWord};
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

#[derive(Debug)]
pub(super) struct BlockLists<'m> {
    map: MemMap<'m>,
    head: [[u32; MAX_ORDER]; MIGRATE_TYPES],
    blocks: [[u32; MAX_ORDER]; MIGRATE_TYPES],
    filled: [u32; MIGRATE_TYPES],
}

impl<'m> BlockLists<'m> {
    pub(super) fn new(map: MemMap<'m>) -> Self {
        Self {
            map,
            head: [[NO_FRAME; MAX_ORDER]; MIGRATE_TYPES],
            blocks: [[0; MAX_ORDER]; MIGRATE_TYPES],
            filled: [0; MIGRATE_TYPES],
        }
    }

    /// Puts a block on its list and says so in its state.
    #[inline]
    pub(super) fn push(&mut self, pfn: Pfn, order: Order, kind: MigrateType, end: End) {
        let page = self.map.at(pfn);
        page.set_word(StateWord::free(order, kind));
        let head = &mut self.head[kind.index()][order.index()];
        let this = pfn.raw();
        if *head == NO_FRAME {
            page.next.store(this, Relaxed);
            page.prev.store(this, Relaxed);
            *head = this;
            self.filled[kind.index()] |= order.pages();
        } else {
            let first = self.map.at(Pfn::new(*head));
            let last = first.prev.load(Relaxed);
            page.next.store(*head, Relaxed);
            page.prev.store(last, Relaxed);
            first.prev.store(this, Relaxed);
            self.map.at(Pfn::new(last)).next.store(this, Relaxed);
            if end == End::Front {
                *head = this;
            }
        }
        self.blocks[kind.index()][order.index()] += 1;
    }

    /// Takes a block off its list; its state still says that it is free, and the caller changes that.
    #[inline]
    pub(super) fn unlink(&mut self, pfn: Pfn, order: Order, kind: MigrateType) {
        let page = self.map.at(pfn);
        let next = page.next.load(Relaxed);
        let head = &mut self.head[kind.index()][order.index()];
        if next == pfn.raw() {
            *head = NO_FRAME;
            self.filled[kind.index()] &= !order.pages();
        } else {
            let prev = page.prev.load(Relaxed);
            self.map.at(Pfn::new(prev)).next.store(next, Relaxed);
            self.map.at(Pfn::new(next)).prev.store(prev, Relaxed);
            if *head == pfn.raw() {
                *head = next;
            }
        }
        self.blocks[kind.index()][order.index()] -= 1;
    }

    /// The first block of a list.
    #[inline]
    pub(super) fn first(&self, order: Order, kind: MigrateType) -> Option<Pfn> {
        let head = self.head[kind.index()][order.index()];
        (head != NO_FRAME).then_some(Pfn::new(head))
    }

    /// The smallest order of at least `order` that has a block of `kind`.
    #[inline]
    #[expect(clippy::cast_possible_truncation, reason = "a bit's number is at most 32")]
    pub(super) fn smallest(&self, order: Order, kind: MigrateType) -> Option<Order> {
        let fitting = self.filled[kind.index()] & !(order.pages() - 1);
        Order::new(fitting.trailing_zeros() as u8)
    }

    /// How many blocks a list has.
    pub(super) fn count(&self, order: Order, kind: MigrateType) -> u32 {
        self.blocks[kind.index()][order.index()]
    }
}
