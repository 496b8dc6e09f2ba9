//! Free pages of the pageblocks for single pages: a bit each.
//!
//! Theory.      Pages that come and go one by one are split and merged all the time, and each step touches lists. Here
//!              a free page is a bit in the word of its *lane*, 32 frames; only a full lane becomes a block, of order
//!              5, which is listed and merges on like every other. Which blocks of lower orders the bits make is
//!              counted and not listed; where they are, is found when one is asked for.
//!              A pageblock has lanes from when it is broken for single pages until it is whole or what is free in it
//!              is brought to another type.
//! Invariants.  1. A bit is set exactly when its frame's state is a free page and no list has it; while the type of a
//!              pageblock changes, a lane has only such pages or none. 2. No lane is full. 3. A hint is set exactly
//!              when the lane has a bit or its first frame heads a listed block; a pageblock with hints is in the set
//!              of its type.
//!              4. `runs[k]` counts the aligned runs of 2^k pages, those in longer ones too.
//! Picture.     lane, from bit 0    1111 0110    runs of 1: 6, of 2: 2, of 4: 1
//!                                               blocks of order 0: 6 - 2*2 = 2, of order 1: 2 - 2*1 = 0, of order 2: 1
//! Source.      Ours. LLFree (Wrenger et al., 2023) has a bit field for each of its children.

mod check;
mod sets;
#[cfg(test)]
mod tests;

use crate::addr::{Pfn, PfnRange};
use crate::buddy::lanes::sets::Sets;
use crate::buddy::list::GROUP_ROWS;
use crate::migrate::{MigrateType, PAGEBLOCK_ORDER, PAGEBLOCK_PAGES, PAGESET_TYPES};
use crate::order::Order;
use crate::zone::pageblock::blocks_touched;

/// The order of a full lane.
pub(super) const LANE_ORDER: Order = match Order::new(5) {
    Some(order) => order,
    None => Order::LARGEST,
};
/// Frames of a lane: the bits of a word.
pub(super) const LANE: u32 = u32::BITS;
const LANES: usize = 32;
const _: () = assert!(LANE_ORDER.pages() == LANE && PAGEBLOCK_PAGES as usize == LANE as usize * LANES);
/// Orders that are counted in lanes.
const LEVELS: usize = LANE_ORDER.index();
/// What is known of one pageblock: a word a lane, then the runs of each level but the lowest, then the rest.
type Block = [u32; BLOCK_WORDS];
const BLOCK_WORDS: usize = 40;
/// Before the runs of level 1.
const RUNS: usize = LANES - 1;
/// A bit a lane: there is something for single pages.
const HINTS: usize = RUNS + LEVELS;
/// The number of the type that the free pages are of.
const KIND: usize = HINTS + 1;
/// The row of lists that what is freed in the pageblock comes to: its group, and the number of its type; [`LANED`]
/// beside.
const HOME: usize = KIND + 1;
/// Stands with the row of a pageblock with lanes: more than the number of rows, so that it does not count where rows
/// are looked up.
pub(super) const LANED: u32 = 1 << 8;
/// Types, the next power of two.
const KINDS: usize = PAGESET_TYPES.next_power_of_two();

/// The lanes of a zone.
#[derive(Debug)]
pub struct Lanes<'m> {
    blocks: &'m mut [Block],
    /// The number of the first pageblock.
    first: u32,
    /// By type: the pageblocks with hints.
    hinted: Sets<'m, PAGESET_TYPES>,
    /// By type and level, of the whole zone.
    runs: [[u32; LEVELS.next_power_of_two()]; KINDS],
}

/// What came of an addition.
#[derive(Clone, Copy, Debug)]
pub(super) struct Added {
    /// The type of the pageblock, as a number.
    pub(super) kind: u32,
    /// Whether the lane became full: then it has been emptied, to become a listed block.
    pub(super) is_full: bool,
}

/// The place of a frame in its lane.
const fn bit_of(pfn: Pfn) -> u32 {
    pfn.raw() % LANE
}

/// The place of a frame's lane in its pageblock.
const fn lane_of(pfn: Pfn) -> u32 {
    pfn.raw() / LANE % u32::BITS
}

/// Where aligned runs of each level may begin.
const BEGIN: [u32; LEVELS] = [u32::MAX, 0x5555_5555, 0x1111_1111, 0x0101_0101, 0x0001_0001];

/// A bit for each run of `2^log2` set bits of `word` that is aligned, where it begins.
const fn runs_of(word: u32, log2: u32) -> u32 {
    let mut left = word;
    if log2 >= 1 {
        left &= left >> 1;
    }
    if log2 >= 2 {
        left &= left >> 2;
    }
    if log2 >= 3 {
        left &= left >> 4;
    }
    if log2 >= 4 {
        left &= left >> 8;
    }
    left & BEGIN[log2 as usize % LEVELS]
}

impl<'m> Lanes<'m> {
    /// Words that the lanes of a zone with this span need.
    pub(super) fn words_for(span: PfnRange) -> usize {
        let blocks = blocks_touched(span, PAGEBLOCK_PAGES);
        blocks as usize * size_of::<Block>() / size_of::<u32>() + Sets::<PAGESET_TYPES>::words_for(blocks)
    }

    /// For a zone in which no pageblock has any and `home` says where each belongs, in `words`; `None` when these are
    /// fewer than [`Self::words_for`] the span.
    pub(super) fn new(span: PfnRange, home: impl Fn(Pfn) -> u32, words: &'m mut [u32]) -> Option<Self> {
        let count = blocks_touched(span, PAGEBLOCK_PAGES);
        let (blocks, rest) = words.split_at_mut_checked(count as usize * size_of::<Block>() / size_of::<u32>())?;
        blocks.fill(0);
        let starts =
            (span.start.raw() >> PAGEBLOCK_ORDER.log2()..).map(|block| Pfn::new(block << PAGEBLOCK_ORDER.log2()));
        for (block, start) in blocks.as_chunks_mut::<BLOCK_WORDS>().0.iter_mut().zip(starts) {
            block[HOME] = home(start);
        }
        let sets = rest.get_mut(..Sets::<PAGESET_TYPES>::words_for(count))?;
        Some(Self {
            blocks: blocks.as_chunks_mut().0,
            first: span.start.raw() >> PAGEBLOCK_ORDER.log2(),
            hinted: Sets::new(sets, count),
            runs: [[0; LEVELS.next_power_of_two()]; KINDS],
        })
    }

    #[inline(always)]
    fn index_of(&self, pfn: Pfn) -> usize {
        (pfn.raw() >> PAGEBLOCK_ORDER.log2()).wrapping_sub(self.first) as usize
    }

    /// The first frame of a lane.
    fn start_of(&self, block: u32, lane: u32) -> Pfn {
        Pfn::new((self.first.wrapping_add(block) << PAGEBLOCK_ORDER.log2()) + lane % LANE * LANE)
    }

    /// The row of lists of `pfn`'s pageblock, and [`LANED`] if it has lanes.
    #[inline(always)]
    pub(super) fn home(&self, pfn: Pfn) -> u32 {
        self.blocks[self.index_of(pfn)][HOME]
    }

    /// Puts the pageblock of `pfn`, which has no lanes, into another group.
    #[inline]
    pub(super) fn set_group(&mut self, pfn: Pfn, group: u32) {
        let index = self.index_of(pfn);
        let home = &mut self.blocks[index][HOME];
        *home = group | (*home % GROUP_ROWS);
    }

    /// The pageblock of `pfn` has another type.
    pub(super) fn set_type(&mut self, pfn: Pfn, kind: MigrateType) {
        let index = self.index_of(pfn);
        let home = &mut self.blocks[index][HOME];
        *home = (*home & !(GROUP_ROWS - 1)) | kind as u32;
    }

    /// The whole pageblock of `pfn` begins to have lanes, of the type numbered `bits`, which pagesets stock; nothing in
    /// them is free.
    pub(super) fn begin(&mut self, pfn: Pfn, bits: u32) {
        let index = self.index_of(pfn);
        let block = &mut self.blocks[index];
        block[HOME] |= LANED;
        block[KIND] = bits;
    }

    /// From now on everything free in the pageblock of `pfn` will be listed; what is in lanes still has to be.
    pub(super) fn stop(&mut self, pfn: Pfn) {
        let index = self.index_of(pfn);
        self.blocks[index][HOME] &= !LANED;
    }

    /// The type of the free pages of a pageblock with lanes, as a number.
    pub(super) fn kind_of(&self, pfn: Pfn) -> u32 {
        self.blocks[self.index_of(pfn)][KIND]
    }

    /// The free pages of the lane of `pfn`, a bit each.
    #[inline(always)]
    pub(super) fn word(&self, pfn: Pfn) -> u32 {
        self.blocks[self.index_of(pfn)][lane_of(pfn) as usize]
    }

    /// Whether `pfn` is one of them.
    #[inline]
    pub(super) fn holds(&self, pfn: Pfn) -> bool {
        self.word(pfn) >> bit_of(pfn) & 1 != 0
    }

    /// Adds an aligned run of `2^log2` pages, fewer than a lane has, if the pageblock has lanes.
    #[inline(always)]
    pub(super) fn add(&mut self, pfn: Pfn, log2: u32) -> Option<Added> {
        let (index, lane, bit) = (self.index_of(pfn), lane_of(pfn), bit_of(pfn));
        let block = &mut self.blocks[index];
        if block[HOME] & LANED == 0 {
            return None;
        }
        let kind = block[KIND];
        let runs = &mut self.runs[kind as usize % KINDS];
        let word = block[lane as usize] | !(u32::MAX << (1 << log2)) << bit;
        block[lane as usize] = word;
        if word == u32::MAX {
            self.fill_up(pfn, log2);
            return Some(Added { kind, is_full: true });
        }
        runs[0] += 1 << log2;
        // What is in the run, then the longer ones that it completes.
        let mut more = |level: usize, count: u32| {
            block[RUNS + level % LEVELS] += count;
            runs[level % LEVELS] += count;
        };
        for level in 1..=log2 {
            more(level as usize, 1 << (log2 - level));
        }
        let (mut level, mut left) = (log2 as usize, runs_of(word, log2));
        while level + 1 < LEVELS {
            left &= left >> (1 << level);
            level += 1;
            if left >> (bit & u32::MAX << level) & 1 == 0 {
                break;
            }
            more(level, 1);
        }
        if block[HINTS] >> lane & 1 == 0 {
            self.hint(index, 1 << lane);
        }
        Some(Added { kind, is_full: false })
    }

    /// Empties the lane to which the last run, of `2^log2` pages at `pfn`, has just come and is not counted yet.
    #[cold]
    #[inline(never)]
    fn fill_up(&mut self, pfn: Pfn, log2: u32) {
        let index = self.index_of(pfn);
        self.blocks[index][lane_of(pfn) as usize] &= !(!(u32::MAX << (1 << log2)) << bit_of(pfn));
        self.keep(pfn, 0);
    }

    /// Takes an aligned run of `2^log2` pages out, all of which are there.
    #[inline(always)]
    pub(super) fn remove(&mut self, pfn: Pfn, log2: u32) {
        let (index, lane, bit) = (self.index_of(pfn), lane_of(pfn), bit_of(pfn));
        let block = &mut self.blocks[index];
        let word = block[lane as usize];
        block[lane as usize] = word & !(!(u32::MAX << (1 << log2)) << bit);
        if word == !(u32::MAX << (1 << log2)) << bit {
            self.unhint(index, 1 << lane);
        }
        let kind = self.blocks[index][KIND] as usize % KINDS;
        self.runs[kind][0] -= 1 << log2;
        for level in 1..=log2 {
            self.fewer(index, level as usize, 1 << (log2 - level));
        }
        let (mut level, mut left) = (log2 as usize, runs_of(word, log2));
        while level + 1 < LEVELS {
            left &= left >> (1 << level);
            level += 1;
            if left >> (bit & u32::MAX << level) & 1 == 0 {
                break;
            }
            self.fewer(index, level, 1);
        }
    }

    /// Counts `count` more runs of a level above 0.
    #[inline(always)]
    fn more(&mut self, index: usize, level: usize, count: u32) {
        let block = &mut self.blocks[index];
        block[RUNS + level % LEVELS] += count;
        self.runs[block[KIND] as usize % KINDS][level % LEVELS] += count;
    }

    /// Counts `count` runs of a level above 0 less.
    #[inline(always)]
    fn fewer(&mut self, index: usize, level: usize, count: u32) {
        let block = &mut self.blocks[index];
        block[RUNS + level % LEVELS] -= count;
        self.runs[block[KIND] as usize % KINDS][level % LEVELS] -= count;
    }

    /// Puts `pages`, a bit each, into the lane of `pfn`, which has none.
    pub(super) fn fill(&mut self, pfn: Pfn, pages: u32) {
        let (index, lane) = (self.index_of(pfn), lane_of(pfn));
        self.blocks[index][lane as usize] = pages;
        let kind = self.blocks[index][KIND] as usize % KINDS;
        self.runs[kind][0] += pages.count_ones();
        for (level, log2) in (1..LEVELS).zip(1..) {
            let count = runs_of(pages, log2).count_ones();
            if count == 0 {
                break;
            }
            self.more(index, level, count);
        }
        self.hint(index, 1 << lane);
    }

    /// Takes all pages out of the lane of `pfn`; returns them, a bit each.
    pub(super) fn take_lane(&mut self, pfn: Pfn) -> u32 {
        let pages = self.word(pfn);
        self.keep(pfn, 0);
        pages
    }

    /// Takes all pages out of the lane of `pfn` but `left`, which are some of them, a bit each.
    #[inline]
    pub(super) fn keep(&mut self, pfn: Pfn, left: u32) {
        let (index, lane) = (self.index_of(pfn), lane_of(pfn));
        let block = &mut self.blocks[index];
        let before = core::mem::replace(&mut block[lane as usize], left);
        self.runs[block[KIND] as usize % KINDS][0] -= (before ^ left).count_ones();
        let (mut runs_before, mut runs_left) = (before, left);
        let mut level = 1;
        while level < LEVELS {
            runs_before &= runs_before >> (1 << (level - 1));
            runs_left &= runs_left >> (1 << (level - 1));
            let gone = (runs_before & !runs_left & BEGIN[level]).count_ones();
            if gone == 0 {
                break;
            }
            self.fewer(index, level, gone);
            level += 1;
        }
        if left == 0 {
            self.unhint(index, 1 << lane);
        }
    }

    /// Sets hints, a bit a lane.
    #[inline(never)]
    fn hint(&mut self, index: usize, lanes: u32) {
        let block = &mut self.blocks[index];
        let before = block[HINTS];
        block[HINTS] = before | lanes;
        if before == 0 {
            self.hinted.insert(block[KIND] as usize, index);
        }
    }

    fn unhint(&mut self, index: usize, lanes: u32) {
        let block = &mut self.blocks[index];
        let before = block[HINTS];
        block[HINTS] = before & !lanes;
        if before != 0 && block[HINTS] == 0 {
            self.hinted.remove(block[KIND] as usize, index);
        }
    }

    /// A block of at least a lane that heads the lane of `pfn` is no longer listed.
    #[inline]
    pub(super) fn unlisted(&mut self, pfn: Pfn) {
        self.unhint(self.index_of(pfn), 1 << lane_of(pfn));
    }

    /// A block of `2^log2` pages, a lane at least, is listed in a pageblock with lanes, and maybe others in it are not
    /// any more. One that is the whole pageblock ends the lanes.
    #[inline]
    pub(super) fn listed(&mut self, pfn: Pfn, log2: u32) {
        if log2 >= PAGEBLOCK_ORDER.log2() {
            self.end(pfn);
            self.stop(pfn);
            return;
        }
        let (index, first) = (self.index_of(pfn), lane_of(pfn));
        let others = !(u32::MAX << ((1 << log2) / LANE % LANE)) & !1;
        self.hint(index, 1 << first);
        self.unhint(index, others << first);
    }

    /// The halves of a listed block at `pfn` are listed, from below `high` down to `low`, which is not less than a
    /// lane.
    pub(super) fn listed_halves(&mut self, pfn: Pfn, high: Order, low: Order) {
        let (index, first) = (self.index_of(pfn), lane_of(pfn));
        // Where halves of 1, 2, 4 lanes begin.
        let halves = (low.log2()..high.log2()).fold(0, |lanes, half| lanes | 1 << (1 << (half - LANE_ORDER.log2())));
        self.hint(index, halves << first);
    }

    /// The pageblock of `pfn` has nothing for single pages any more.
    pub(super) fn end(&mut self, pfn: Pfn) {
        self.unhint(self.index_of(pfn), u32::MAX);
    }

    /// Where the next single page of a type comes from: the first frame of a lane and its free pages; when these are
    /// none, the frame heads a listed block.
    #[inline(always)]
    pub(super) fn first(&self, kind: MigrateType) -> Option<(Pfn, u32)> {
        let index = self.hinted.first(kind.index())?;
        let block = &self.blocks[index as usize];
        let lane = block[HINTS].trailing_zeros();
        Some((self.start_of(index, lane), block[lane as usize % LANES]))
    }

    /// A run of `order`, less than a lane, of a type.
    pub(super) fn find(&self, order: Order, kind: MigrateType) -> Option<Pfn> {
        if self.runs.get(kind.index())?.get(order.index()).is_none_or(|runs| *runs == 0) {
            return None;
        }
        let has_some = |block: &Block| {
            let runs = if order == Order::ZERO { block[HINTS] } else { block[RUNS + order.index() % LEVELS] };
            block[KIND] == kind as u32 && runs != 0
        };
        let mut blocks = (0..).zip(&*self.blocks).filter(|(_, block)| has_some(block));
        blocks.find_map(|(index, block)| {
            let (lane, runs) = (0..).zip(&block[..LANES]).find_map(|(lane, word)| {
                let runs = runs_of(*word, order.log2());
                (runs != 0).then_some((lane, runs))
            })?;
            Some(Pfn::new(self.start_of(index, lane).raw() + runs.trailing_zeros()))
        })
    }

    /// How many blocks of `order` the free pages of a type make.
    pub(super) fn count(&self, order: Order, kind: MigrateType) -> u32 {
        let Some(runs) = self.runs.get(kind.index()) else { return 0 };
        let runs = |level: usize| runs.get(level).copied().unwrap_or(0);
        runs(order.index()) - 2 * runs(order.index() + 1)
    }

    /// See [`FreeCore::front`](super::FreeCore::front).
    pub(super) fn front(&self, kind: MigrateType) -> Option<Pfn> {
        let index = self.hinted.first(kind.index())?;
        Some(Pfn::new(self.first.wrapping_add(index).wrapping_add(1) << PAGEBLOCK_ORDER.log2()))
    }
}
