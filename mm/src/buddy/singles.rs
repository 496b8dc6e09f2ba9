//! Single pages, which come from and go to lanes.
//!
//! Theory.      A free page in a lane is on no list. When a lane is full it becomes a listed block; when such a block
//!              is broken, what is left of its first lane becomes bits again. Where a pageblock stops having lanes,
//!              because its type changes, its pages are listed lane by lane.
//! Not here.    What a lane is (`lanes`), and which pageblocks have some (`compact`).
#![forbid(unsafe_code)]

use crate::addr::Pfn;
use crate::buddy::free_lists::Buddy;
use crate::buddy::lanes::{LANE, LANE_ORDER, LANED};
use crate::buddy::list::{Freed, Row};
use crate::buddy::placement::Placement;
use crate::buddy::{Holder, Wanted, Work};
use crate::memmap::{GROUP, StateWord};
use crate::migrate::{MigrateType, PAGESET_TYPES};
use crate::order::Order;

/// Runs of pages that are taken from a lane for the time of one search of
/// [`FreeCore::take_many`](crate::buddy::FreeCore::take_many).
const RUNS: u32 = 2;

impl<'m, P: Placement<'m, ROWS>, const ROWS: usize> Buddy<'m, P, ROWS> {
    /// Takes the page that single pages of `kind` should come from.
    #[inline(never)]
    pub(super) fn take_single(&mut self, kind: MigrateType, word: StateWord) -> Option<Pfn> {
        let (start, pages) = self.placement.lanes()?.first(kind)?;
        if pages == 0 {
            let size = self.frames.map.at(start).word().head_order()?;
            self.carve(start, size, Order::ZERO, kind, word);
            return Some(start);
        }
        let pfn = Pfn::new(start.raw() + pages.trailing_zeros());
        self.placement.lanes_mut()?.remove(pfn, 0);
        self.counts.remove(1, kind);
        self.frames.map.at(pfn).set_word(word);
        Some(pfn)
    }

    /// Takes the pages that single pages of `kind` should come from, up to the least of `wanted`, and no more than its
    /// most, with no more `searches` than there may be; returns how many.
    #[inline(never)]
    pub(super) fn take_singles(
        &mut self,
        wanted: Wanted,
        searches: &mut u32,
        kind: MigrateType,
        holder: Holder,
        each: &mut impl FnMut(Pfn, u32),
    ) -> u32 {
        let mut taken = 0;
        while taken < wanted.least && *searches > 0 {
            let Some((start, pages)) = self.placement.lanes().and_then(|lanes| lanes.first(kind)) else { break };
            let (found, runs) = if pages == 0 {
                (self.take_front(start, wanted.largest(taken, Order::ZERO), kind, holder, each), 1)
            } else {
                self.take_bits(start, pages, (wanted.least - taken, *searches * RUNS), holder, each)
            };
            taken += found;
            *searches = searches.saturating_sub(1 + runs / RUNS);
        }
        self.counts.remove(taken, kind);
        taken
    }

    /// Takes up to `most` of the `pages` of the lane at `start`, from no more than so many runs; returns how many of
    /// both.
    #[inline(always)]
    fn take_bits(
        &mut self,
        start: Pfn,
        pages: u32,
        (most, most_runs): (u32, u32),
        holder: Holder,
        each: &mut impl FnMut(Pfn, u32),
    ) -> (u32, u32) {
        let (mut left, mut taken, mut runs) = (pages, 0, 0);
        while left != 0 && taken < most && runs < most_runs {
            let bit = left.trailing_zeros();
            let run = (left >> bit).trailing_ones().min(most - taken);
            let first = Pfn::new(start.raw() + bit);
            if run == 1 {
                self.frames.map.at(first).set_word(holder.word(Order::ZERO));
            } else {
                self.set_words(first, 0..run, holder.word(Order::ZERO));
            }
            each(first, run);
            left &= u32::MAX.checked_shl(bit + run).unwrap_or(0);
            taken += run;
            runs += 1;
        }
        if let Some(lanes) = self.placement.lanes_mut() {
            lanes.keep(start, left);
        }
        (taken, runs)
    }

    /// Takes the front of the listed block at `start` as single pages, no more than `size` has; returns how many.
    fn take_front(
        &mut self,
        start: Pfn,
        size: Order,
        kind: MigrateType,
        holder: Holder,
        each: &mut impl FnMut(Pfn, u32),
    ) -> u32 {
        let page = self.frames.map.at(start);
        let Some(found) = page.word().head_order() else { return 0 };
        self.unlink(start, page, found, kind as u32);
        let size = size.min(found);
        if found > size {
            self.list_rest(start, found, size, P::wanted(Order::ZERO), kind as u32);
        }
        let pages = self.frames.cut(start, size, Order::ZERO, holder);
        each(start, pages);
        pages
    }

    /// Makes what is left of the block `pfn`, from below `high` down to `low`, free again, after its front was taken by
    /// a request that prefers `rows` from the lists of the type numbered `bits`.
    #[inline(always)]
    pub(super) fn list_rest(&mut self, pfn: Pfn, high: Order, low: Order, rows: u32, bits: u32) {
        if high < Order::LARGEST {
            return self.list_part(pfn, high, low, bits);
        }
        self.placement.broken(pfn, rows);
        if P::GATHERS && rows == P::wanted(Order::ZERO) && self.begin_lanes(pfn, bits) {
            self.rest_to_lane(pfn, high, low);
        } else {
            self.expand(pfn, high, low, Row::new(rows, bits));
        }
    }

    /// The same of a block that is not a whole pageblock.
    #[inline(always)]
    pub(super) fn list_part(&mut self, pfn: Pfn, high: Order, low: Order, bits: u32) {
        let rows = self.placement.rows(pfn);
        if P::GATHERS && rows & LANED != 0 {
            self.rest_to_lane(pfn, high, low);
        } else {
            self.expand(pfn, high, low, Row::new(rows, bits));
        }
    }

    /// Begins lanes in the whole pageblock `pfn`, which has just been taken off the lists of the type numbered `bits`,
    /// if it may have some; returns whether it has.
    #[inline(always)]
    fn begin_lanes(&mut self, pfn: Pfn, bits: u32) -> bool {
        let may_have_lanes = self.options.guard_minorder == Order::ZERO
            && (bits as usize) < PAGESET_TYPES
            && Row::of(self.home(pfn)).bits() == bits
            && !self.is_changing(pfn);
        if may_have_lanes && let Some(lanes) = self.placement.lanes_mut() {
            lanes.begin(pfn, bits);
        }
        may_have_lanes
    }

    /// The same in a pageblock with lanes: what is smaller than a lane becomes bits of the first.
    #[inline(never)]
    fn rest_to_lane(&mut self, pfn: Pfn, high: Order, low: Order) {
        let rows = self.placement.rows(pfn);
        let Some(lanes) = self.placement.lanes_mut() else { return };
        let kind = lanes.kind_of(pfn);
        let listed = low.max(LANE_ORDER);
        if high > listed {
            lanes.listed_halves(pfn, high, listed);
            self.lists.push_halves(pfn, high, listed, Row::new(rows, kind));
        }
        if low < LANE_ORDER {
            lanes.fill(pfn, u32::MAX << low.pages());
            self.set_words(pfn, low.pages()..LANE, self.free_page(kind));
        }
    }

    /// Says of frames what they are; `offsets` from `pfn`, in one pageblock.
    #[inline(always)]
    fn set_words(&self, pfn: Pfn, offsets: core::ops::Range<u32>, word: StateWord) {
        let (group, first) = (self.frames.map.around(pfn), pfn.raw() as usize % GROUP);
        let pages = group.get(first + offsets.start as usize..first + offsets.end as usize);
        pages.unwrap_or_default().iter().for_each(|page| page.set_word(word));
    }

    /// The state of a free page of the type numbered `bits`.
    #[inline(always)]
    fn free_page(&self, bits: u32) -> StateWord {
        StateWord::free(Order::ZERO, MigrateType::Unmovable, self.frames.zone).of_type(bits)
    }

    /// As [`FreeCore::give_claimed`](crate::buddy::FreeCore::give_claimed), in a pageblock with lanes.
    #[inline(never)]
    pub(super) fn give_laned(&mut self, pfn: Pfn, order: Order) -> u32 {
        if let Some(cost) = self.give_small(pfn, order) {
            return cost;
        }
        let home = self.home(pfn);
        self.counts.add_bits(order.pages(), Row::of(home).bits());
        self.list_block(pfn, order, home)
    }

    /// As [`Self::give_to_lane`], of any block.
    #[inline(always)]
    pub(super) fn give_small(&mut self, pfn: Pfn, order: Order) -> Option<u32> {
        if order < LANE_ORDER { self.give_to_lane(pfn, order) } else { None }
    }

    /// As [`FreeCore::give_claimed`](crate::buddy::FreeCore::give_claimed), of less than a lane; `None`, and nothing
    /// done, where the pageblock has no lanes.
    #[inline(always)]
    pub(super) fn give_to_lane(&mut self, pfn: Pfn, order: Order) -> Option<u32> {
        let added = self.placement.lanes_mut()?.add(pfn, order.log2())?;
        self.counts.free += order.pages();
        if added.is_full {
            return Some(self.list_full_lane(pfn));
        }
        let word = self.free_page(added.kind);
        if order == Order::ZERO {
            self.frames.map.at(pfn).set_word(word);
        } else {
            self.set_words(pfn, 0..order.pages(), word);
        }
        Some(Work::IN_LANE + order.log2())
    }

    /// The lane of `pfn` is full: it is a listed block, and merges.
    #[inline(never)]
    fn list_full_lane(&mut self, pfn: Pfn) -> u32 {
        let start = Pfn::new(pfn.raw() & !(LANE - 1));
        self.set_words(start, 0..LANE, StateWord::INSIDE);
        self.list_block(start, LANE_ORDER, self.home(start)) + Work::FULL_LANE
    }

    /// Lists the block at `pfn`, of a lane at least, in a pageblock with lanes; returns what it cost.
    #[inline(always)]
    fn list_block(&mut self, pfn: Pfn, order: Order, home: u32) -> u32 {
        let block = self.lists.merge(self.frames.map.around(pfn), self.lists.freed(pfn, order), P::group(home));
        self.push_freed(pfn, block, home);
        Work::cost(block.log2())
    }

    /// Lists the block around `pfn`, whose buddy is not free, in a pageblock that may have lanes.
    #[inline(always)]
    pub(super) fn push_freed(&mut self, pfn: Pfn, block: Freed, home: u32) {
        if home & LANED != 0
            && let Some(lanes) = self.placement.lanes_mut()
        {
            lanes.listed(block.head(pfn), block.log2());
        }
        self.lists.push_freed(self.frames.map.around(pfn), pfn, block, Row::of(P::row_of(home, block.log2())));
    }

    /// Takes a block at `pfn` out of its lane, if it is there.
    #[inline]
    pub(super) fn take_run(&mut self, pfn: Pfn, order: Order) -> bool {
        let Some(lanes) = self.placement.lanes_mut().filter(|lanes| lanes.holds(pfn)) else { return false };
        lanes.remove(pfn, order.log2());
        // It is one block now.
        self.set_words(pfn, 1..order.pages(), StateWord::INSIDE);
        true
    }

    /// Whether the lane of `pfn` has pages.
    #[inline]
    pub(super) fn is_in_lane(&self, pfn: Pfn) -> bool {
        self.placement.lanes().is_some_and(|lanes| lanes.word(pfn) != 0)
    }

    /// Lists what is in the lane of `pfn`, of a pageblock that shall have no lanes any more; returns how many blocks.
    #[inline]
    pub(super) fn list_lane(&mut self, pfn: Pfn) -> u32 {
        if self.is_in_lane(pfn) { self.list_bits(pfn) } else { 0 }
    }

    #[cold]
    #[inline(never)]
    fn list_bits(&mut self, pfn: Pfn) -> u32 {
        let mut blocks = 0;
        let Some(lanes) = self.placement.lanes_mut() else { return blocks };
        let (kind, mut left) = (lanes.kind_of(pfn), lanes.take_lane(pfn));
        let (start, row) = (Pfn::new(pfn.raw() & !(LANE - 1)), self.row(pfn, Order::ZERO, kind));
        while left != 0 {
            let head = Pfn::new(start.raw() + left.trailing_zeros());
            let run = (left >> left.trailing_zeros()).trailing_ones();
            let Some(order) = Order::largest_at(head, run) else { break };
            self.set_words(head, 1..order.pages(), StateWord::INSIDE);
            self.lists.push(head, self.frames.map.at(head), order, row);
            left &= u32::MAX.checked_shl(left.trailing_zeros() + order.pages()).unwrap_or(0);
            blocks += 1;
        }
        blocks
    }
}
