//! Lists of free blocks, one for each order and migrate type, linked through the memory map.
//!
//! Theory.      A list knows its first and its last block, and ends in `NO_FRAME` on both sides: what happens at an end
//!              touches one neighbour at most. A bit a non-empty order turns "the smallest block that fits" into one
//!              count of trailing zeros.
//! Invariants.  1. A list's first block is a frame exactly when bit `order` of `filled[kind]` is set and when its count is
//!              not 0; only then its last one and the links of its blocks mean something. 2. Each block on it has the state `free(order, kind)` of the lists' zone.

use core::sync::atomic::Ordering::Relaxed;

use crate::addr::Pfn;
use crate::memmap::{GROUP, Group, MemMap, NO_FRAME, Page, StateWord, ZoneTag};
use crate::migrate::{MIGRATE_TYPES, MigrateType};
use crate::order::{MAX_ORDER, Order};

/// Where a block goes on its list.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum End {
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

    /// Makes the block at `pfn` the only one.
    #[inline(always)]
    fn set_only(&mut self, pfn: u32) {
        // One by one: the assignment of a whole value would write the padding too.
        self.first = pfn;
        self.last = pfn;
        self.blocks = 1;
    }
}

/// Lists of a type; a power of two makes the array of a type a shift away.
const LISTS: usize = MAX_ORDER.next_power_of_two();
/// Types, the next power of two: what stands in a state word then needs no check.
const TYPES: usize = MIGRATE_TYPES.next_power_of_two();

/// Blocks of this order merge into largest ones, whose buddies do not matter.
const LARGEST_HALF: Order = match Order::LARGEST.previous() {
    Some(order) => order,
    None => Order::ZERO,
};

#[derive(Debug)]
pub(super) struct BlockLists<'m> {
    map: MemMap<'m>,
    /// What the state of a free block of the zone is made from.
    blank: StateWord,
    filled: [u32; TYPES],
    lists: [[List; LISTS]; TYPES],
}

impl<'m> BlockLists<'m> {
    /// Empty lists of the blocks of `zone`.
    pub(super) fn new(map: MemMap<'m>, zone: ZoneTag) -> Self {
        let blank = StateWord::free(Order::ZERO, MigrateType::Unmovable, zone);
        Self { map, blank, filled: [0; TYPES], lists: [[List::EMPTY; LISTS]; TYPES] }
    }

    #[inline]
    fn list(&self, order: Order, kind: MigrateType) -> &List {
        &self.lists[kind.index()][order.index()]
    }

    /// Puts a block at the front of its list and says so in its state; `page` is the entry of its first frame.
    #[inline]
    pub(super) fn push(&mut self, pfn: Pfn, page: &Page, order: Order, kind: MigrateType) {
        self.push_at(pfn, page, order, kind as u32, || End::Front);
    }

    /// Puts a block that was freed on the list of the type numbered `bits`: at the back when it is likely to become part
    /// of a larger one soon, because the buddy of the block that it would merge into is free.
    #[inline(always)]
    pub(super) fn push_freed(&mut self, group: &Group, pfn: Pfn, order: Order, bits: u32) {
        let blank = self.blank;
        let end = || {
            let parents_buddy = (pfn.raw() & !order.pages()) ^ (order.pages() << 1);
            // The buddy's order is one more than the block's.
            let is_free =
                order < LARGEST_HALF && group[parents_buddy as usize % GROUP].word().is_like(blank.up(), order);
            if is_free { End::Back } else { End::Front }
        };
        self.push_at(pfn, &group[pfn.raw() as usize % GROUP], order, bits, end);
    }

    /// `end` is not asked when the list is empty.
    #[inline(always)]
    fn push_at(&mut self, pfn: Pfn, page: &Page, order: Order, bits: u32, end: impl FnOnce() -> End) {
        let map = self.map;
        page.set_word(self.blank.with(order, bits));
        let kind = bits as usize % TYPES;
        let list = &mut self.lists[kind][order.index()];
        if list.first == NO_FRAME {
            page.next.store(NO_FRAME, Relaxed);
            page.prev.store(NO_FRAME, Relaxed);
            list.set_only(pfn.raw());
            self.filled[kind] |= order.pages();
            return;
        }
        list.blocks += 1;
        if end() == End::Front {
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

    /// Takes the first block of a list that [`Self::smallest`] named off it; its state still says that it is free, and
    /// the caller changes that.
    #[inline(always)]
    pub(super) fn pop(&mut self, order: Order, kind: MigrateType) -> (Pfn, &'m Page) {
        let map = self.map;
        let list = &mut self.lists[kind.index()][order.index()];
        let pfn = Pfn::new(list.first);
        let page = map.at(pfn);
        list.blocks -= 1;
        if list.blocks == 0 {
            list.first = NO_FRAME;
            self.filled[kind.index()] &= !order.pages();
        } else {
            let next = page.next.load(Relaxed);
            list.first = next;
            map.at(Pfn::new(next)).prev.store(NO_FRAME, Relaxed);
        }
        (pfn, page)
    }

    /// Lists the upper halves of the block `pfn` from below `high` down to `low`, of which there is one at least
    /// (Linux: `expand`).
    ///
    /// A function of its own, so that the loop has the registers to itself.
    #[inline(never)]
    pub(super) fn push_halves(&mut self, pfn: Pfn, high: Order, low: Order, kind: MigrateType) {
        let map = self.map;
        let group = map.around(pfn);
        let mut word = self.blank.with(high, kind as u32).raw();
        self.filled[kind.index()] |= high.pages() - low.pages();
        let lists = &mut self.lists[kind.index()];
        let mut half = high.pages();
        for list in lists[low.index()..high.index()].iter_mut().rev() {
            half >>= 1;
            word -= 1;
            let upper = pfn.raw() | half;
            let page = &group[upper as usize % GROUP];
            page.set_word(StateWord::from_raw(word));
            page.prev.store(NO_FRAME, Relaxed);
            page.next.store(list.first, Relaxed);
            match list.first {
                NO_FRAME => list.set_only(upper),
                first => {
                    map.at(Pfn::new(first)).prev.store(upper, Relaxed);
                    list.first = upper;
                    list.blocks += 1;
                }
            }
        }
    }

    /// Whether the buddy of a block that is being freed is free as a whole; `group` is what lies around it.
    #[inline(always)]
    pub(super) fn can_merge(&self, group: &Group, pfn: Pfn, order: Order) -> bool {
        let buddy = order.buddy_of(pfn).raw() as usize % GROUP;
        order < Order::LARGEST && group[buddy].word().is_like(self.blank, order)
    }

    /// Takes the buddies of a block that is being freed off their lists as long as they are free, and makes one block of
    /// them; returns that. Its state is what it was (Linux: the loop of `__free_one_page`).
    ///
    /// A function of its own, so that the loop has the registers to itself.
    #[inline(never)]
    pub(super) fn merge(&mut self, pfn: Pfn, order: Order) -> (Pfn, Order) {
        let group = self.map.around(pfn);
        let (mut head, mut half) = (pfn.raw(), order.pages());
        // What a free buddy's state is but for the type: the order counts up in it.
        let mut free = self.blank.with(order, 0).raw();
        while half < Order::LARGEST.pages() {
            let buddy = &group[(head ^ half) as usize % GROUP];
            let word = buddy.word();
            if word.without_type().raw() != free {
                break;
            }
            self.unlink_from(buddy, word.kind_bits() as usize % TYPES, free as usize % LISTS);
            // The upper half stops being a head; the lower one gets its state when the merging ends.
            group[(head | half) as usize % GROUP].set_word(StateWord::INSIDE);
            head &= !half;
            half <<= 1;
            free += 1;
        }
        (Pfn::new(head), Order::of_log2(half.trailing_zeros()).unwrap_or(Order::LARGEST))
    }

    /// Takes a block off its list; its state still says that it is free, and the caller changes that.
    #[inline]
    pub(super) fn unlink(&mut self, page: &Page, order: Order, kind: MigrateType) {
        self.unlink_from(page, kind.index(), order.index());
    }

    /// The list is given by its places in `lists`, both below the lengths there.
    #[inline(always)]
    fn unlink_from(&mut self, page: &Page, kind: usize, order: usize) {
        let map = self.map;
        let list = &mut self.lists[kind][order];
        list.blocks -= 1;
        if list.blocks == 0 {
            list.first = NO_FRAME;
            self.filled[kind] &= !(1 << order);
            return;
        }
        core::hint::cold_path();
        let (next, prev) = (page.next.load(Relaxed), page.prev.load(Relaxed));
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
        let list = self.list(order, kind);
        (list.blocks > 0).then_some(Pfn::new(list.last))
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
