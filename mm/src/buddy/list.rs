//! Lists of free blocks, one for each order and migrate type, linked through the memory map.
//!
//! Theory.      A list knows its first and its last block, and ends in `NO_FRAME` on both sides: what happens at an end
//!              touches one neighbour at most. Links are numbers of entries of the map, not of frames, so that one
//!              comparison with the map's length tells an end from a neighbour. A bit a non-empty order turns "the
//!              smallest block that fits" into one count of trailing zeros.
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

/// One list: the numbers of the entries at its ends, and how many blocks there are.
#[derive(Clone, Copy, Debug)]
#[repr(C, align(16))]
struct List {
    first: u32,
    last: u32,
    blocks: u32,
}

impl List {
    const EMPTY: Self = Self { first: NO_FRAME, last: NO_FRAME, blocks: 0 };

    /// Makes the block at `place` the only one.
    #[inline(always)]
    fn set_only(&mut self, place: u32) {
        // One by one: the assignment of a whole value would write the padding too.
        self.first = place;
        self.last = place;
        self.blocks = 1;
    }
}

/// Lists of a type; a power of two makes the array of a type a shift away.
const LISTS: usize = MAX_ORDER.next_power_of_two();
/// The bits of a state word that are the order.
const ORDER_BITS: u32 = 0xf;
const _: () = assert!(LISTS == ORDER_BITS as usize + 1, "an order is a list's place");
/// Types, the next power of two: what stands in a state word then needs no check.
const TYPES: usize = MIGRATE_TYPES.next_power_of_two();

/// A block on its way to its list, as the steps from order to order need it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Freed {
    /// In the naturally aligned largest block around it.
    offset: u32,
    pages: u32,
    /// The state of a free block of that order, but for the type; its lowest bits are the order.
    free: u32,
}

impl Freed {
    /// Its order, as a number.
    #[inline(always)]
    pub(super) fn log2(self) -> u32 {
        self.free & ORDER_BITS
    }

    /// Its first frame, when `near` is one of the same largest block.
    #[inline(always)]
    fn head(self, near: Pfn) -> Pfn {
        Pfn::new(near.raw() & !(Order::LARGEST.pages() - 1) | self.offset)
    }
}

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
        self.push_at(pfn, page, self.freed(pfn, order), kind as u32, || End::Front);
    }

    /// Puts a block that was freed on the list of the type numbered `bits`: at the back when it is likely to become part
    /// of a larger one soon, because the buddy of the block that it would merge into is free. `near` is any frame of the
    /// group.
    #[inline(always)]
    pub(super) fn push_freed(&mut self, group: &Group, near: Pfn, block: Freed, bits: u32) {
        let Freed { offset, pages, free } = block;
        let pfn = block.head(near);
        let end = || {
            // The parent begins at the lower half, its buddy is one bit higher. Where that is beyond the group, its number
            // comes back to a frame that is none of a free block of that size.
            let parents_buddy = (offset | pages) ^ (pages * 3);
            let word = group[parents_buddy as usize % GROUP].word();
            if word.without_type().raw() == free + 1 { End::Back } else { End::Front }
        };
        self.push_at(pfn, &group[offset as usize % GROUP], block, bits, end);
    }

    /// `end` is not asked when the list is empty.
    #[inline(always)]
    fn push_at(&mut self, pfn: Pfn, page: &Page, block: Freed, bits: u32, end: impl FnOnce() -> End) {
        let map = self.map;
        page.set_word(StateWord::from_raw(block.free).of_type(bits));
        let kind = bits as usize % TYPES;
        let list = &mut self.lists[kind][block.free as usize % LISTS];
        let place = map.place_of(pfn);
        let Some(first) = map.entry(list.first) else {
            is_end(list.first);
            page.next.store(NO_FRAME, Relaxed);
            page.prev.store(NO_FRAME, Relaxed);
            list.set_only(place);
            self.filled[kind] |= block.pages;
            return;
        };
        list.blocks += 1;
        if end() == End::Front {
            page.next.store(list.first, Relaxed);
            page.prev.store(NO_FRAME, Relaxed);
            first.prev.store(place, Relaxed);
            list.first = place;
        } else {
            page.next.store(NO_FRAME, Relaxed);
            page.prev.store(list.last, Relaxed);
            linked(map, list.last).next.store(place, Relaxed);
            list.last = place;
        }
    }

    /// Takes the first block of a list that [`Self::smallest`] named off it; its state still says that it is free, and
    /// the caller changes that.
    #[inline(always)]
    pub(super) fn pop(&mut self, order: Order, kind: MigrateType) -> (Pfn, &'m Page) {
        let map = self.map;
        let list = &mut self.lists[kind.index()][order.index()];
        let pfn = map.frame_at(list.first);
        let page = linked(map, list.first);
        list.blocks -= 1;
        if list.blocks == 0 {
            list.first = NO_FRAME;
            self.filled[kind.index()] &= !order.pages();
        } else {
            let next = page.next.load(Relaxed);
            list.first = next;
            linked(map, next).prev.store(NO_FRAME, Relaxed);
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
        let (place, mut half) = (map.place_of(pfn), high.pages());
        for list in lists[low.index()..high.index()].iter_mut().rev() {
            half >>= 1;
            word -= 1;
            // The map begins on a whole largest block: bits are where they are in the frame's number.
            let upper = place | half;
            let page = &group[upper as usize % GROUP];
            page.set_word(StateWord::from_raw(word));
            page.prev.store(NO_FRAME, Relaxed);
            page.next.store(list.first, Relaxed);
            // Mostly there is none: else the split would have begun there.
            if list.first == NO_FRAME {
                list.set_only(upper);
            } else {
                linked(map, list.first).prev.store(upper, Relaxed);
                list.first = upper;
                list.blocks += 1;
            }
        }
    }

    /// Takes the buddies of a block that is being freed off their lists as long as they are free, and makes one block of
    /// them; returns that. Its state is what it was; `group` is what lies around it (Linux: the loop of `__free_one_page`).
    #[inline(always)]
    pub(super) fn merge(&mut self, group: &Group, block: Freed) -> Freed {
        let Freed { mut offset, mut pages, mut free } = block;
        while pages < Order::LARGEST.pages() {
            let buddy = &group[(offset ^ pages) as usize % GROUP];
            let word = buddy.word();
            if word.without_type().raw() != free {
                break;
            }
            self.unlink_from(buddy, word.kind_bits() as usize % TYPES, free as usize % LISTS, pages);
            // The upper half stops being a head; the lower one gets its state when the merging ends.
            group[(offset | pages) as usize % GROUP].set_word(StateWord::INSIDE);
            offset &= !pages;
            pages <<= 1;
            free += 1;
        }
        Freed { offset, pages, free }
    }

    /// What is freed, as [`Self::merge`] takes it.
    #[inline(always)]
    pub(super) fn freed(&self, pfn: Pfn, order: Order) -> Freed {
        let offset = pfn.raw() % Order::LARGEST.pages();
        Freed { offset, pages: order.pages(), free: self.blank.with(order, 0).raw() }
    }

    /// Takes a block off its list; its state still says that it is free, and the caller changes that.
    #[inline]
    pub(super) fn unlink(&mut self, page: &Page, order: Order, kind: MigrateType) {
        self.unlink_from(page, kind.index(), order.index(), order.pages());
    }

    /// The list is given by its places in `lists`, both below the lengths there; `pages` are a block's.
    #[inline(always)]
    fn unlink_from(&mut self, page: &Page, kind: usize, order: usize, pages: u32) {
        let map = self.map;
        let list = &mut self.lists[kind][order];
        list.blocks -= 1;
        if list.blocks == 0 {
            list.first = NO_FRAME;
            self.filled[kind] &= !pages;
            return;
        }
        core::hint::cold_path();
        let (next, prev) = (page.next.load(Relaxed), page.prev.load(Relaxed));
        match map.entry(prev) {
            Some(before) => before.next.store(next, Relaxed),
            None => {
                is_end(prev);
                list.first = next;
            }
        }
        match map.entry(next) {
            Some(after) => after.prev.store(prev, Relaxed),
            None => {
                is_end(next);
                list.last = prev;
            }
        }
    }

    /// The first block of a list.
    #[inline]
    pub(super) fn first(&self, order: Order, kind: MigrateType) -> Option<Pfn> {
        let first = self.list(order, kind).first;
        (first != NO_FRAME).then(|| self.map.frame_at(first))
    }

    /// The last block of a list.
    pub(super) fn last(&self, order: Order, kind: MigrateType) -> Option<Pfn> {
        let list = self.list(order, kind);
        (list.blocks > 0).then(|| self.map.frame_at(list.last))
    }

    /// The blocks before and behind the listed one at `page`; `None` at the list's ends.
    pub(super) fn neighbours(&self, page: &Page) -> (Option<Pfn>, Option<Pfn>) {
        let frame = |link: u32| (link != NO_FRAME).then(|| self.map.frame_at(link));
        (frame(page.prev.load(Relaxed)), frame(page.next.load(Relaxed)))
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

/// The entry that a link names, which is not a list's end.
#[inline(always)]
fn linked<'m>(map: MemMap<'m>, link: u32) -> &'m Page {
    match map.entry(link) {
        Some(page) => page,
        None => broken_link(link),
    }
}

/// Makes sure that a link that names no entry is a list's end.
#[inline(always)]
fn is_end(link: u32) {
    if link != NO_FRAME {
        broken_link(link);
    }
}

/// A link that leads out of the map: memory was overwritten, and going on would spread it.
#[cold]
#[inline(never)]
#[expect(clippy::panic, reason = "a broken invariant of ours")]
fn broken_link(link: u32) -> ! {
    panic!("a free list leads to entry {link}, which the memory map does not have")
}
