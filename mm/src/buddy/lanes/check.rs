//! The lanes' invariants, tested against the memory map.

use crate::addr::Pfn;
use crate::buddy::lanes::{
    Block, HINTS, HOME, KIND, KINDS, LANE, LANE_ORDER, LANED, LANES, LEVELS, Lanes, RUNS, runs_of,
};
use crate::buddy::list::GROUP_ROWS;
use crate::buddy::{Broken, ZoneFrames};
use crate::memmap::StateWord;
use crate::migrate::{MigrateType, PAGESET_TYPES};
use crate::order::Order;

/// Whether two counts are the same.
fn same(what: &'static str, counter: u32, found: u32) -> Result<(), Broken> {
    if counter == found { Ok(()) } else { Err(Broken::Count { what, counter, found }) }
}

impl Lanes<'_> {
    /// Tests every invariant. Where a type changes there may be pages left in lanes.
    pub(in crate::buddy) fn validate(
        &self,
        frames: &ZoneFrames<'_>,
        is_changing: impl Fn(Pfn) -> bool,
    ) -> Result<(), Broken> {
        same("sets of pageblocks", 0, u32::from(!self.hinted.is_sound()))?;
        let mut found = self.runs.map(|levels| levels.map(|_| 0));
        for (index, block) in (0..).zip(&*self.blocks) {
            same("type of a pageblock", block[HOME] % GROUP_ROWS, frames.usemap.bits(self.start_of(index, 0)))?;
            if block[HOME] & LANED == 0 && !is_changing(self.start_of(index, 0)) {
                same(
                    "lanes with pages where there are none",
                    0,
                    block[..=HINTS].iter().filter(|word| **word != 0).map(|_| 1).sum(),
                )?;
            }
            if block[HOME] & LANED != 0 {
                same("type of lanes", block[KIND], block[HOME] % GROUP_ROWS)?;
                let start = frames.map.page(self.start_of(index, 0)).map(|page| page.word());
                let is_whole = start.is_some_and(|word| word.is_free_in(Order::LARGEST, frames.zone));
                same("whole pageblocks with lanes", 0, u32::from(is_whole))?;
            }
            self.hints(frames, index, block)?;
            let sums = &mut found[block[KIND] as usize % KINDS];
            for ((level, log2), sum) in (0..LEVELS).zip(0..).zip(sums) {
                let runs = block[..LANES].iter().map(|word| runs_of(*word, log2).count_ones()).sum();
                if level > 0 {
                    same("runs in a pageblock", block[RUNS + level], runs)?;
                }
                *sum += runs;
            }
        }
        for (counter, found) in self.runs.iter().flatten().zip(found.iter().flatten()) {
            same("runs in lanes", *counter, *found)?;
        }
        Ok(())
    }

    /// The hints and bits of one pageblock.
    fn hints(&self, frames: &ZoneFrames<'_>, index: u32, block: &Block) -> Result<(), Broken> {
        let is_laned = block[HOME] & LANED != 0;
        let kind = MigrateType::new(block[KIND]).unwrap_or(MigrateType::Unmovable);
        let free = StateWord::free(Order::ZERO, kind, frames.zone);
        for (lane, word) in (0..).zip(&block[..LANES]) {
            let start = self.start_of(index, lane);
            let state = |pfn| frames.map.page(pfn).map(|page| page.word());
            let states = (0..LANE).map(|bit| u32::from(state(Pfn::new(start.raw() + bit)) == Some(free)) << bit).sum();
            if is_laned || *word != 0 {
                same("bits of free pages in a lane", *word, states)?;
            }
            same("full lanes", 0, u32::from(*word == u32::MAX))?;
            let heads = state(start).is_some_and(|word| {
                word.list().is_some()
                    && word.head_order().is_some_and(|order| (LANE_ORDER..Order::LARGEST).contains(&order))
            });
            let hint = block[HINTS] >> lane & 1;
            // Blocks are brought to another type one by one, and then have no hint.
            if is_laned || hint == 0 || *word != 0 {
                same("hints at a lane", hint, u32::from(*word != 0 || is_laned && heads))?;
            }
        }
        for kind in (0..).take(PAGESET_TYPES) {
            let wanted = block[HINTS] != 0 && kind == block[KIND];
            let found = self.hinted.has(kind as usize, index as usize);
            same("pageblocks with hints", u32::from(wanted), u32::from(found))?;
        }
        Ok(())
    }
}
