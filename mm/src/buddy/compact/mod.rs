//! The compact core: pageblocks for single pages, for small and for large blocks, so that what is free gathers.
//!
//! Theory.      A pageblock becomes whole again when the last block in it is freed. With many small blocks that never
//!              happens by chance, with a few large ones it does: so where they mix, large memory is lost. When a whole
//!              pageblock has to be broken, it becomes one for single pages, for blocks up to order 6 or for larger
//!              ones, as the request is, until it is whole again. A request takes the smallest block that fits of its
//!              own pageblocks; else it breaks a whole one; and only when there is none it goes to the others'. Pageblocks
//!              that were never whole, the boot's leftovers, are for small blocks, before a whole one is broken for them,
//!              whatever type the leftovers have.
//!              Order 6 is the best border by experiment: five or seven are nearly as good, and more kinds of pageblocks,
//!              or better choices among blocks of one size, gain less than 1 % of free memory.
//!              Single pages can do more: taken from the lowest of their pageblocks first, they drain the others. A
//!              list does not know what is low, so each such pageblock has a word of hints, a bit for each 32 frames, set
//!              when something there is freed or split. A search looks at the frames of the lowest bit, and clears it when
//!              it finds nothing: hints may promise too much, and when a search gets long the lists have the answer.
//! Invariants.  1. A pageblock is in a set exactly when it has a hint, and then in one. 2. Hints are for single pages'
//!              pageblocks, none for a whole one. Nothing else depends on them.
//! Picture.     pageblock   | 0 0 - 0 | whole | 4 3 4 - | 9 9 | 0 - - 0 |
//!              hints         1 0..1                             1 1..1
//! Not here.    Which pages a CPU keeps for itself (`page_alloc::pageset`): reuse undoes the work if it keeps all.
//! Source.      Ours. LLFree (Wrenger et al., 2023) keeps allocations in partly free trees in the same spirit; Linux's
//!              grouping by mobility keeps pageblocks apart by who uses them.

mod sets;

use crate::addr::{Pfn, PfnRange};
use crate::buddy::compact::sets::Sets;
use crate::buddy::free_lists::Buddy;
use crate::buddy::list::{GROUP_ROWS, LISTS, Lists, TYPES, words_of};
use crate::buddy::placement::{Placement, Search, WHOLE};
use crate::buddy::{Broken, ZoneFrames};
use crate::memmap::{GROUP, StateWord};
use crate::migrate::{MigrateType, PAGEBLOCK_ORDER, PAGEBLOCK_PAGES};
use crate::order::{MAX_ORDER, Order};
use crate::zone::pageblock::blocks_touched;

/// Free lists that work against fragmentation. One a zone.
pub type Compact<'m> = Buddy<'m, Gathered<'m>, ROWS>;

const ROWS: usize = 4 * TYPES;
/// The pageblocks of large blocks; the lists of whole ones are in the same rows.
const LARGE: u32 = WHOLE;
/// The pageblocks of blocks of order 1 to [`SMALL_MOST`].
const SMALL: u32 = GROUP_ROWS;
/// The pageblocks of single pages.
const SINGLES: u32 = 2 * GROUP_ROWS;
/// Those that were never whole: the boot's leftovers.
const LEFT: u32 = 3 * GROUP_ROWS;
/// The largest order that is small.
const SMALL_MOST: u32 = 6;

/// The bit of the largest order.
const TOP: u32 = 1 << (MAX_ORDER - 1);
/// Frames that a hint stands for.
const LANE: u32 = PAGEBLOCK_PAGES / u32::BITS;

/// What is known of a pageblock: its group of lists, its hints.
type Record = [u32; 2];
const GROUP_OF: usize = 0;
const HINTS: usize = 1;

/// Blocks come from pageblocks that have others like them.
#[derive(Debug)]
pub struct Gathered<'m> {
    records: &'m mut [Record],
    /// The number of the first record's pageblock.
    first: u32,
    /// By type: the pageblocks with hints.
    hinted: Sets<'m>,
    /// The state of a free page of the zone and of the type with number 0.
    blank: StateWord,
}

impl Gathered<'_> {
    /// The index of the record of `pfn`'s pageblock.
    #[inline(always)]
    fn index_of(&self, pfn: Pfn) -> usize {
        (pfn.raw() >> PAGEBLOCK_ORDER.log2()).wrapping_sub(self.first) as usize
    }

    /// Hints at `lanes`, a bit each, of a pageblock whose type has the number `bits`.
    #[inline(always)]
    fn hint(&mut self, block: usize, lanes: u32, bits: u32) {
        if self.records[block][HINTS] & lanes != lanes {
            self.hint_more(block, lanes, bits);
        }
    }

    #[inline(never)]
    fn hint_more(&mut self, block: usize, lanes: u32, bits: u32) {
        let hints = &mut self.records[block][HINTS];
        if *hints != 0 || self.hinted.insert(bits, block) {
            *hints |= lanes;
        }
    }

    /// Goes on to the lowest lane of a pageblock of `kind`, after nothing is left in the lane before; `false` when there is
    /// none or the search gets long.
    #[inline(never)]
    fn next_lane(&mut self, kind: MigrateType, search: &mut Search) -> bool {
        let bits = kind as u32;
        if let Some(last) = search.end.checked_sub(1) {
            let block = self.index_of(Pfn::new(last));
            let hints = &mut self.records[block][HINTS];
            *hints &= !(1 << (last % PAGEBLOCK_PAGES / LANE));
            if *hints == 0 {
                self.hinted.remove(bits, block);
            }
        }
        let (Some(left), Some(block)) = (search.left.checked_sub(Search::LANE), self.hinted.first(bits)) else {
            return false;
        };
        search.left = left;
        let lane = self.records[block as usize][HINTS].trailing_zeros() % u32::BITS;
        search.next = (self.first.wrapping_add(block) << PAGEBLOCK_ORDER.log2()) + lane * LANE;
        search.end = search.next + LANE;
        true
    }

    /// A pageblock of single pages is whole: it has no hints.
    #[cold]
    #[inline(never)]
    fn forget(&mut self, block: usize) {
        if core::mem::take(&mut self.records[block][HINTS]) != 0 {
            self.hinted.remove_from_all(block);
        }
    }

    /// As [`Placement::broken`], of a pageblock for single pages: every part of what is listed will be looked at.
    #[cold]
    #[inline(never)]
    fn hint_all(&mut self, block: usize, pfn: Pfn, size: Order, kind: MigrateType) {
        let lanes = size.pages().div_ceil(LANE);
        let first = pfn.raw() % PAGEBLOCK_PAGES / LANE;
        self.hint(block, (u32::MAX >> (u32::BITS - lanes)) << first, kind as u32);
    }
}

impl<'m> Placement<'m, ROWS> for Gathered<'m> {
    type Lists = &'m mut Lists<ROWS>;

    const GATHERS: bool = true;

    fn words_for(span: PfnRange) -> usize {
        let blocks = blocks_touched(span, PAGEBLOCK_PAGES);
        blocks as usize * size_of::<Record>() / size_of::<u32>() + Sets::words_for(blocks) + words_of(ROWS)
    }

    fn new(frames: &ZoneFrames<'m>, words: &'m mut [u32]) -> Option<(Self, Self::Lists)> {
        let count = blocks_touched(frames.span, PAGEBLOCK_PAGES);
        let (records, rest) = words.split_at_mut_checked(count as usize * size_of::<Record>() / size_of::<u32>())?;
        let (sets, rest) = rest.split_at_mut_checked(Sets::words_for(count))?;
        let (lists, _) = rest.as_chunks_mut().0.as_chunks_mut::<LISTS>().0.split_first_chunk_mut()?;
        let records = records.as_chunks_mut().0;
        records.fill([LEFT, 0]);
        let gathered = Self {
            records,
            first: frames.span.start.raw() >> PAGEBLOCK_ORDER.log2(),
            hinted: Sets::new(sets, count),
            blank: StateWord::free(Order::ZERO, MigrateType::Unmovable, frames.zone),
        };
        Some((gathered, lists))
    }

    #[inline(always)]
    fn rows(&self, pfn: Pfn) -> u32 {
        self.records[self.index_of(pfn)][GROUP_OF]
    }

    #[inline(always)]
    fn wanted(order: Order) -> u32 {
        match order.log2() {
            0 => SINGLES,
            1..=SMALL_MOST => SMALL,
            _ => LARGE,
        }
    }

    #[inline(always)]
    fn choose(rows: u32, filled: impl Fn(u32) -> u32) -> Option<(u32, Order)> {
        let first = |rows, orders: u32| Some((rows, Order::of_log2(orders.trailing_zeros())?));
        let own = filled(rows) & !TOP;
        if own != 0 {
            return first(rows, own);
        }
        if rows == SMALL && filled(LEFT) != 0 {
            return first(LEFT, filled(LEFT));
        }
        if filled(WHOLE) & TOP != 0 {
            return Some((WHOLE, Order::LARGEST));
        }
        None
    }

    #[inline(always)]
    fn leftovers(rows: u32) -> Option<u32> {
        (rows == SMALL).then_some(LEFT)
    }

    #[inline(always)]
    fn find(&mut self, frames: &ZoneFrames<'m>, kind: MigrateType, search: &mut Search) -> Option<(Pfn, Order)> {
        let free = self.blank.of_type(kind as u32).raw();
        loop {
            let group = frames.map.around(Pfn::new(search.end.saturating_sub(1).max(frames.span.start.raw())));
            while search.next < search.end {
                let pfn = search.next;
                search.next = pfn + 1;
                let order = group[pfn as usize % GROUP].word().raw().wrapping_sub(free);
                if let Some(order) = Order::of_log2(order) {
                    return Some((Pfn::new(pfn), order));
                }
            }
            if !self.next_lane(kind, search) {
                return None;
            }
        }
    }

    #[inline(always)]
    fn broken(&mut self, pfn: Pfn, size: Order, rows: u32, kind: MigrateType) -> u32 {
        let block = self.index_of(pfn);
        let record = &mut self.records[block];
        if size == Order::LARGEST {
            record[GROUP_OF] = rows;
        }
        let rows = record[GROUP_OF];
        if rows == SINGLES {
            self.hint_all(block, pfn, size, kind);
        }
        rows
    }

    #[inline(always)]
    fn given(&mut self, pfn: Pfn, log2: u32, bits: u32, rows: u32) -> u32 {
        let is_whole = log2 == Order::LARGEST.log2();
        if rows == SINGLES {
            let block = self.index_of(pfn);
            if is_whole {
                self.forget(block);
            } else {
                self.hint(block, 1 << (pfn.raw() % PAGEBLOCK_PAGES / LANE), bits);
            }
        }
        if is_whole { WHOLE } else { rows }
    }

    fn front(&self, kind: MigrateType) -> Option<Pfn> {
        let block = self.hinted.first(kind as u32)?;
        Some(Pfn::new(self.first.wrapping_add(block).wrapping_add(1) << PAGEBLOCK_ORDER.log2()))
    }

    fn validate(&self, frames: &ZoneFrames<'m>) -> Result<(), Broken> {
        if !self.hinted.is_sound() {
            return Err(Broken::Count { what: "sets of pageblocks with hints", counter: 0, found: 1 });
        }
        for (number, (block, record)) in (self.first..).zip(self.records.iter().enumerate()) {
            let [rows, hints] = *record;
            let found = self.hinted.count_of(block);
            if found != u32::from(hints != 0) {
                return Err(Broken::Count { what: "pageblocks with hints", counter: u32::from(hints != 0), found });
            }
            let start = Pfn::new(number << PAGEBLOCK_ORDER.log2());
            let is_whole = frames.map.page(start).is_some_and(|page| page.word().is_free_of(Order::LARGEST));
            if hints != 0 && (is_whole || rows != SINGLES) {
                return Err(Broken::Count { what: "hints of a pageblock not for pages", counter: 0, found: hints });
            }
        }
        Ok(())
    }
}
