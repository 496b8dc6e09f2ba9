//! Lists of free blocks, one for each order and migrate type, linked through the memory map; a core that keeps
//! pageblocks for several purposes has a group of such lists for each.
//!
//! Theory.      A list knows its first and its last block, and ends in `NO_FRAME` on both sides: what happens at an end
//!              touches one neighbour at most. Links are numbers of entries of the map, not of frames, so that one
//!              comparison with the map's length tells an end from a neighbour. A bit a non-empty order turns "the
//!              smallest block that fits" into one count of trailing zeros.
//! Invariants.  1. A list's first block is a frame exactly when bit `order` of `filled[row]` is set and when its count
//!              is not 0; only then its last one and the links of its blocks mean something. 2. Each block on it has
//!              the state `free(order, kind)` of the lists' zone; which group it is in, its core knows.

use core::borrow::BorrowMut;
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

/// One list: what stands at these places, and a fourth word that makes it a power of two. Plain words, so that lists
/// can lie in storage for whatever a core needs.
type List = [u32; 4];
/// The number of the first block's entry.
const FIRST: usize = 0;
/// The number of the last block's entry.
const LAST: usize = 1;
/// How many blocks there are.
const BLOCKS: usize = 2;

/// Makes the block at `place` the only one.
#[inline(always)]
fn set_only(list: &mut List, place: u32) {
    list[FIRST] = place;
    list[LAST] = place;
    list[BLOCKS] = 1;
}

/// Lists of a type; a power of two makes the array of a type a shift away.
pub(super) const LISTS: usize = MAX_ORDER.next_power_of_two();
/// All lists of a zone.
pub(super) type Lists<const ROWS: usize> = [[List; LISTS]; ROWS];
/// Words that they take.
pub(super) const fn words_of(rows: usize) -> usize {
    rows * LISTS * size_of::<List>() / size_of::<u32>()
}
/// The bits of a state word that are the order.
const ORDER_BITS: u32 = 0xf;
const _: () = assert!(LISTS == ORDER_BITS as usize + 1, "an order is a list's place");
/// Types, the next power of two: what stands in a state word then needs no check.
pub(super) const TYPES: usize = MIGRATE_TYPES.next_power_of_two();

/// Rows of a group: one a type.
pub(super) const GROUP_ROWS: u32 = 8;
const _: () = assert!(GROUP_ROWS as usize == TYPES, "a type is a row's place in its group");

/// The lists of one type in one group of lists: those for each order.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Row(u32);

impl Row {
    /// Of the type numbered `bits` in the group that begins at row `group`, a multiple of [`GROUP_ROWS`]; bits above
    /// the rows do not count.
    #[inline(always)]
    pub(super) const fn new(group: u32, bits: u32) -> Self {
        Self(group | (bits % GROUP_ROWS))
    }

    /// With this number, and maybe more in the bits above.
    #[inline(always)]
    pub(super) const fn of(row: u32) -> Self {
        Self(row)
    }

    /// The number of its type.
    #[inline(always)]
    pub(super) const fn bits(self) -> u32 {
        self.0 % GROUP_ROWS
    }
}

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
    pub(super) fn head(self, near: Pfn) -> Pfn {
        Pfn::new(near.raw() & !(Order::LARGEST.pages() - 1) | self.offset)
    }
}

#[derive(Debug)]
#[repr(align(16))]
pub(super) struct BlockLists<'m, L, const ROWS: usize> {
    map: MemMap<'m>,
    /// What the state of a free block of the zone is made from.
    blank: StateWord,
    filled: [u32; ROWS],
    lists: L,
}

impl<'m, L: BorrowMut<Lists<ROWS>>, const ROWS: usize> BlockLists<'m, L, ROWS> {
    /// Lists of the blocks of `zone`, all empty, in `lists`.
    pub(super) fn new(map: MemMap<'m>, zone: ZoneTag, mut lists: L) -> Self {
        lists.borrow_mut().as_flattened_mut().fill([NO_FRAME, NO_FRAME, 0, 0]);
        let blank = StateWord::free(Order::ZERO, MigrateType::Unmovable, zone);
        Self { map, blank, filled: [0; ROWS], lists }
    }

    #[inline]
    fn list(&self, order: Order, row: Row) -> &List {
        &self.lists.borrow()[row.0 as usize % ROWS][order.index()]
    }

    /// Puts a block at the front of its list and says so in its state; `page` is the entry of its first frame.
    #[inline]
    pub(super) fn push(&mut self, pfn: Pfn, page: &Page, order: Order, row: Row) {
        self.push_at(pfn, page, self.freed(pfn, order), row, || End::Front);
    }

    /// Puts a block that was freed on its list in `row`: at the back when it is likely to become part of a larger one
    /// soon, because the buddy of the block that it would merge into is free. `near` is any frame of the group.
    #[inline(always)]
    pub(super) fn push_freed(&mut self, group: &Group, near: Pfn, block: Freed, row: Row) {
        let Freed { offset, pages, free } = block;
        let pfn = block.head(near);
        let end = || {
            // The parent begins at the lower half, its buddy is one bit higher. Where that is beyond the group, its
            // number comes back to a frame that is none of a free block of that size.
            let parents_buddy = (offset | pages) ^ (pages * 3);
            let word = group[parents_buddy as usize % GROUP].word();
            if word.without_type().raw() == free + 1 { End::Back } else { End::Front }
        };
        self.push_at(pfn, &group[offset as usize % GROUP], block, row, end);
    }

    /// `end` is not asked when the list is empty.
    #[inline(always)]
    fn push_at(&mut self, pfn: Pfn, page: &Page, block: Freed, row: Row, end: impl FnOnce() -> End) {
        let map = self.map;
        page.set_word(StateWord::from_raw(block.free).of_type(row.bits()));
        let row = row.0 as usize % ROWS;
        let list = &mut self.lists.borrow_mut()[row][block.free as usize % LISTS];
        let place = map.place_of(pfn);
        let Some(first) = map.entry(list[FIRST]) else {
            is_end(list[FIRST]);
            page.next.store(NO_FRAME, Relaxed);
            page.prev.store(NO_FRAME, Relaxed);
            set_only(list, place);
            self.filled[row] |= block.pages;
            return;
        };
        list[BLOCKS] += 1;
        if end() == End::Front {
            page.next.store(list[FIRST], Relaxed);
            page.prev.store(NO_FRAME, Relaxed);
            first.prev.store(place, Relaxed);
            list[FIRST] = place;
        } else {
            page.next.store(NO_FRAME, Relaxed);
            page.prev.store(list[LAST], Relaxed);
            linked(map, list[LAST]).next.store(place, Relaxed);
            list[LAST] = place;
        }
    }

    /// Takes the first block of a list that is not empty off it; its state still says that it is free, and
    /// the caller changes that.
    #[inline(always)]
    pub(super) fn pop(&mut self, order: Order, row: Row) -> (Pfn, &'m Page) {
        let map = self.map;
        let row = row.0 as usize % ROWS;
        let list = &mut self.lists.borrow_mut()[row][order.index()];
        let pfn = map.frame_at(list[FIRST]);
        let page = linked(map, list[FIRST]);
        list[BLOCKS] -= 1;
        if list[BLOCKS] == 0 {
            list[FIRST] = NO_FRAME;
            self.filled[row] &= !order.pages();
        } else {
            let next = page.next.load(Relaxed);
            list[FIRST] = next;
            linked(map, next).prev.store(NO_FRAME, Relaxed);
        }
        (pfn, page)
    }

    /// Lists the upper halves of the block `pfn` from below `high` down to `low`, of which there is one at least
    /// (Linux: `expand`).
    ///
    /// A function of its own, so that the loop has the registers to itself.
    #[inline(never)]
    pub(super) fn push_halves(&mut self, pfn: Pfn, high: Order, low: Order, row: Row) {
        let map = self.map;
        let group = map.around(pfn);
        let word = self.blank.with(Order::ZERO, row.bits()).raw();
        let row = row.0 as usize % ROWS;
        self.filled[row] |= high.pages() - low.pages();
        let lists = &mut self.lists.borrow_mut()[row];
        let place = map.place_of(pfn);
        for half in (low.log2()..high.log2()).rev() {
            let list = &mut lists[half as usize];
            // The map begins on a whole largest block: bits are where they are in the frame's number.
            let upper = place | 1 << half;
            let page = &group[upper as usize % GROUP];
            page.set_word(StateWord::from_raw(word | half));
            page.prev.store(NO_FRAME, Relaxed);
            page.next.store(list[FIRST], Relaxed);
            // Mostly there is none: else the split would have begun there.
            if list[FIRST] == NO_FRAME {
                set_only(list, upper);
            } else {
                linked(map, list[FIRST]).prev.store(upper, Relaxed);
                list[FIRST] = upper;
                list[BLOCKS] += 1;
            }
        }
    }

    /// Takes the buddies of a block that is being freed off their lists as long as they are free, and makes one block
    /// of them; returns that. Its state is what it was; `group` is what lies around it, `rows` the group of lists of
    /// that pageblock (Linux: the loop of `__free_one_page`).
    #[inline(always)]
    pub(super) fn merge(&mut self, group: &Group, block: Freed, rows: u32) -> Freed {
        let Freed { mut offset, mut pages, mut free } = block;
        while pages < Order::LARGEST.pages() {
            let buddy = &group[(offset ^ pages) as usize % GROUP];
            let word = buddy.word();
            if word.without_type().raw() != free {
                break;
            }
            self.unlink_from(buddy, Row::new(rows, word.kind_bits()), free as usize % LISTS, pages);
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
    pub(super) fn unlink(&mut self, page: &Page, order: Order, row: Row) {
        self.unlink_from(page, row, order.index(), order.pages());
    }

    /// The list is given by its place in the row, which is below the length there; `pages` are a block's.
    #[inline(always)]
    fn unlink_from(&mut self, page: &Page, row: Row, order: usize, pages: u32) {
        let row = row.0 as usize % ROWS;
        let list = &mut self.lists.borrow_mut()[row][order];
        list[BLOCKS] -= 1;
        if list[BLOCKS] == 0 {
            list[FIRST] = NO_FRAME;
            self.filled[row] &= !pages;
            return;
        }
        core::hint::cold_path();
        let map = self.map;
        let (next, prev) = (page.next.load(Relaxed), page.prev.load(Relaxed));
        match map.entry(prev) {
            Some(before) => before.next.store(next, Relaxed),
            None => {
                is_end(prev);
                list[FIRST] = next;
            }
        }
        match map.entry(next) {
            Some(after) => after.prev.store(prev, Relaxed),
            None => {
                is_end(next);
                list[LAST] = prev;
            }
        }
    }

    /// The first block of a list.
    #[inline]
    pub(super) fn first(&self, order: Order, row: Row) -> Option<Pfn> {
        let first = self.list(order, row)[FIRST];
        (first != NO_FRAME).then(|| self.map.frame_at(first))
    }

    /// The last block of a list.
    pub(super) fn last(&self, order: Order, row: Row) -> Option<Pfn> {
        let list = self.list(order, row);
        (list[BLOCKS] > 0).then(|| self.map.frame_at(list[LAST]))
    }

    /// The blocks before and behind the listed one at `page`; `None` at the list's ends.
    pub(super) fn neighbours(&self, page: &Page) -> (Option<Pfn>, Option<Pfn>) {
        let frame = |link: u32| (link != NO_FRAME).then(|| self.map.frame_at(link));
        (frame(page.prev.load(Relaxed)), frame(page.next.load(Relaxed)))
    }

    /// The orders of at least `order` that have blocks in `row`, a bit each.
    #[inline(always)]
    pub(super) fn fitting(&self, order: Order, row: Row) -> u32 {
        self.filled[row.0 as usize % ROWS] & !(order.pages() - 1)
    }

    /// How many blocks a list has.
    #[inline]
    pub(super) fn count(&self, order: Order, row: Row) -> u32 {
        self.list(order, row)[BLOCKS]
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
