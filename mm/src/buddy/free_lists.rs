//! The core that both designs of free lists share: lists by order and migrate type, splits, merges, changes of type.
//!
//! Theory.      What a core does to a block is always the same; where it looks for one, and in which group of lists
//!              what is left of a pageblock belongs, is what a [`Placement`] says.
//! Source.      Linux 4.1 mm/page_alloc.c: `__rmqueue`, `__rmqueue_smallest`, `expand`, `__free_one_page`,
//!              `page_is_buddy`, `set_page_guard`.

use crate::addr::{Pfn, PfnRange};
use crate::buddy::lanes::{LANE_ORDER, LANED};
use crate::buddy::list::{BlockLists, Row};
use crate::buddy::moving::{Moving, Patience};
use crate::buddy::placement::{Placement, WHOLE, groups};
use crate::buddy::{
    Broken, CoreOptions, FreeCore, FreeCounts, Holder, Tally, Wanted, Work, ZoneFrames, is_careful, validate,
};
use crate::memmap::{Page, StateWord};
use crate::migrate::MigrateType;
use crate::order::Order;

/// A core of one zone: its lists in `ROWS` rows, and where blocks go.
//
// In this order: the lists are long, and what stands before them is within the reach of double loads.
#[derive(Debug)]
#[repr(C)]
pub struct Buddy<'m, P: Placement<'m, ROWS>, const ROWS: usize> {
    pub(super) counts: FreeCounts,
    pub(super) frames: ZoneFrames<'m>,
    pub(super) options: CoreOptions,
    /// Whether a block that is given back takes the long way: because of guards, of a trace, or of that change.
    is_careful: bool,
    /// The change of a pageblock's type that is under way.
    moving: Option<Moving>,
    pub(super) placement: P,
    pub(super) lists: BlockLists<'m, P::Lists, ROWS>,
}

impl<'m, P: Placement<'m, ROWS>, const ROWS: usize> Buddy<'m, P, ROWS> {
    /// Takes a block, whose state is `word` then, from the lists of `kind` alone (Linux: `__rmqueue_smallest`).
    #[inline(always)]
    fn take_own(&mut self, order: Order, kind: MigrateType, word: StateWord) -> Option<Pfn> {
        if P::GATHERS
            && order == Order::ZERO
            && let Some(pfn) = self.take_single(kind, word)
        {
            return Some(pfn);
        }
        self.take_listed(order, P::wanted(order), kind, word)
    }

    /// Takes the first block of the list that a request which prefers the group `rows` is served from.
    #[inline(always)]
    pub(super) fn take_listed(&mut self, order: Order, rows: u32, kind: MigrateType, word: StateWord) -> Option<Pfn> {
        let bits = kind as u32;
        let (group, found) = P::choose(rows, |group| self.lists.fitting(order, Row::new(group, bits)))?;
        if P::GATHERS && found > order {
            return if found == Order::LARGEST {
                self.take_of_whole(order, rows, kind, word)
            } else {
                self.take_of_part(order, found, Row::new(group, bits), word)
            };
        }
        let (pfn, page) = self.lists.pop(found, Row::new(group, bits));
        self.counts.remove(order.pages(), kind);
        if !P::GATHERS && found > order {
            self.expand(pfn, found, order, Row::new(WHOLE, bits));
        }
        page.set_word(word);
        Some(pfn)
    }

    /// The same out of the first whole pageblock, while a placement has several groups.
    #[inline(never)]
    fn take_of_whole(&mut self, order: Order, rows: u32, kind: MigrateType, word: StateWord) -> Option<Pfn> {
        let left = P::leftovers(rows);
        if let Some(pfn) = left.and_then(|left| self.take_leftover(left, order, kind, word)) {
            return Some(pfn);
        }
        let (pfn, page) = self.lists.pop(Order::LARGEST, Row::new(WHOLE, kind as u32));
        self.counts.remove_bits(order.pages(), kind as u32);
        self.list_rest(pfn, Order::LARGEST, order, rows, kind as u32);
        page.set_word(word);
        Some(pfn)
    }

    /// The same out of the first block of the order `found` in `row`, which is part of a pageblock.
    #[inline(never)]
    fn take_of_part(&mut self, order: Order, found: Order, row: Row, word: StateWord) -> Option<Pfn> {
        let (pfn, page) = self.lists.pop(found, row);
        self.counts.remove_bits(order.pages(), row.bits());
        self.list_part(pfn, found, order, row.bits());
        page.set_word(word);
        Some(pfn)
    }

    /// Takes the first block of `order` out of the listed block `pfn`, whose state is `word` then, and lists the rest
    /// as `kind`; in lanes the rest stays what it was (Linux: `__rmqueue_fallback`'s part after the search).
    #[inline(never)]
    pub(super) fn carve(&mut self, pfn: Pfn, size: Order, order: Order, kind: MigrateType, word: StateWord) {
        let page = self.frames.map.at(pfn);
        let list = page.word().list().unwrap_or(kind);
        self.counts.remove(order.pages(), list);
        if !self.take_run(pfn, order) {
            self.unlink(pfn, page, size, list as u32);
            if size > order {
                self.list_rest(pfn, size, order, P::wanted(order), kind as u32);
            }
        }
        page.set_word(word);
    }

    /// Takes a listed block off its list.
    #[inline]
    pub(super) fn unlink(&mut self, pfn: Pfn, page: &Page, order: Order, bits: u32) {
        self.lists.unlink(page, order, self.row(pfn, order, bits));
        if order >= LANE_ORDER
            && let Some(lanes) = self.placement.lanes_mut()
        {
            lanes.unlisted(pfn);
        }
    }

    /// Where the block of `order` at `pfn` is listed as of the type numbered `bits`.
    #[inline(always)]
    pub(super) fn row(&self, pfn: Pfn, order: Order, bits: u32) -> Row {
        // Whether there are lanes says nothing of lists.
        let rows = if order == Order::LARGEST { WHOLE } else { self.placement.rows(pfn) & !LANED };
        Row::new(rows, bits)
    }

    /// Lists the upper halves of the block `pfn` from below `high` down to `low` (Linux: `expand`).
    #[inline(always)]
    pub(super) fn expand(&mut self, pfn: Pfn, high: Order, low: Order, row: Row) {
        if self.options.guard_minorder <= low {
            self.lists.push_halves(pfn, high, low, row);
        } else {
            self.expand_guarded(pfn, high, low, row);
        }
    }

    /// See [`Placement::home`].
    #[inline(always)]
    pub(super) fn home(&self, pfn: Pfn) -> u32 {
        self.placement.home(&self.frames, pfn)
    }

    /// Makes `kind` the type of the pageblock of `pfn`.
    pub(super) fn set_type(&mut self, pfn: Pfn, kind: MigrateType) {
        self.frames.usemap.set(pfn, kind);
        self.placement.typed(pfn, kind);
    }

    /// As [`FreeCore::give_claimed`], of a block that comes to a list, in a pageblock without lanes.
    #[inline(always)]
    fn give_listed(&mut self, pfn: Pfn, order: Order, home: u32) -> u32 {
        self.counts.add_bits(order.pages(), Row::of(home).bits());
        let group = self.frames.map.around(pfn);
        let block = self.lists.merge(group, self.lists.freed(pfn, order), P::group(home));
        self.lists.push_freed(group, pfn, block, Row::of(P::row_of(home, block.log2())));
        Work::cost(block.log2())
    }

    /// Whether the type of `pfn`'s pageblock is being changed.
    pub(super) fn is_changing(&self, pfn: Pfn) -> bool {
        self.moving.is_some_and(|moving| moving.is_in(pfn))
    }

    /// Begins a change of a pageblock's type; there is none under way.
    pub(super) fn start(&mut self, moving: Moving) {
        if let Some(lanes) = self.placement.lanes_mut() {
            lanes.stop(moving.place());
        }
        self.moving = Some(moving);
        self.is_careful = true;
    }

    /// Ends the change that is done.
    #[cold]
    fn finish(&mut self, moving: &Moving) {
        self.is_careful = is_careful(&self.frames, self.options);
        if let Some(lanes) = self.placement.lanes_mut() {
            lanes.end(moving.place());
        }
        if moving.comes_over(&self.frames) {
            self.set_type(moving.place(), moving.to);
        }
    }
}

impl<'m, P: Placement<'m, ROWS>, const ROWS: usize> FreeCore<'m> for Buddy<'m, P, ROWS> {
    const GATHERS: bool = P::GATHERS;
    const WORK: Work = P::WORK;

    fn words_for(span: PfnRange) -> usize {
        P::words_for(span)
    }

    fn new(frames: ZoneFrames<'m>, options: CoreOptions, words: &'m mut [u32]) -> Option<Self> {
        let (placement, lists) = P::new(&frames, words)?;
        let lists = BlockLists::new(frames.map, frames.zone, lists);
        Some(Self {
            frames,
            lists,
            placement,
            counts: FreeCounts::default(),
            options,
            moving: None,
            is_careful: is_careful(&frames, options),
        })
    }

    #[inline(always)]
    fn take(&mut self, order: Order, kind: MigrateType, holder: Holder) -> Option<Pfn> {
        let word = holder.word(order);
        match self.take_own(order, kind, word) {
            Some(pfn) => Some(pfn),
            None => self.take_elsewhere(order, kind, word),
        }
    }

    #[inline(never)]
    fn take_many(
        &mut self,
        order: Order,
        wanted: Wanted,
        kind: MigrateType,
        holder: Holder,
        mut each: impl FnMut(Pfn, u32),
    ) -> u32 {
        let rows = P::wanted(order);
        let (mut taken, mut searches, mut may_have_lanes) = (0, P::SEARCHES, P::GATHERS && order == Order::ZERO);
        while taken < wanted.least && searches > 0 {
            // Lists are asked when no lane has anything.
            if may_have_lanes {
                let found = self.take_singles(wanted.after(taken), &mut searches, kind, holder, &mut each);
                taken += found;
                if found > 0 {
                    continue;
                }
            }
            // A block that is no larger than what is wanted comes whole; guards stand between blocks that are asked for
            // one by one only.
            let most = wanted.largest(taken, order);
            let own = P::choose(rows, |group| self.lists.fitting(order, Row::new(group, kind as u32)));
            // One more search among others' blocks would take too long.
            if P::GATHERS && own.is_none() && taken > 0 && searches < P::ELSEWHERE {
                break;
            }
            let there = own.or_else(|| self.smallest_other(order, kind).map(|(_, size)| (rows, size)));
            let whole = there.map_or(order, |(_, size)| size.min(most));
            let size = if self.options.guard_minorder > Order::ZERO { order } else { whole };
            // The cut says what its blocks are.
            let found = self.take_listed(size, rows, kind, StateWord::INSIDE);
            let Some(pfn) = found.or_else(|| self.take_elsewhere(size, kind, StateWord::INSIDE)) else { break };
            if size == Order::LARGEST {
                self.placement.broken(pfn, rows);
            }
            let blocks = self.frames.cut(pfn, size, order, holder);
            each(pfn, blocks);
            taken += blocks;
            // A pageblock that was whole has lanes now.
            may_have_lanes = P::GATHERS && order == Order::ZERO && own.is_none_or(|(group, _)| group == WHOLE);
            searches = searches.saturating_sub(if own.is_none() { P::ELSEWHERE } else { 1 });
        }
        taken
    }

    #[inline(always)]
    fn give_page(&mut self, pfn: Pfn) -> u32 {
        if P::GATHERS
            && !self.is_careful
            && let Some(cost) = self.give_to_lane(pfn, Order::ZERO)
        {
            return cost;
        }
        if self.is_careful {
            return self.give_carefully(pfn, Order::ZERO);
        }
        self.give_listed(pfn, Order::ZERO, self.home(pfn))
    }

    #[inline(always)]
    fn give_claimed(&mut self, pfn: Pfn, order: Order) -> u32 {
        if self.is_careful {
            return self.give_carefully(pfn, order);
        }
        let home = self.home(pfn);
        if home & LANED != 0 {
            return self.give_laned(pfn, order);
        }
        self.give_listed(pfn, order, home)
    }

    fn take_at(&mut self, pfn: Pfn, holder: Holder) -> Option<Order> {
        let (order, kind) = self.frames.listed(pfn)?;
        let page = self.frames.map.at(pfn);
        if !self.take_run(pfn, order) {
            self.unlink(pfn, page, order, kind as u32);
        }
        if order == Order::LARGEST {
            self.was_cut(pfn);
        }
        self.counts.remove(order.pages(), kind);
        page.set_word(holder.word(order));
        Some(order)
    }

    fn was_cut(&mut self, pfn: Pfn) {
        self.placement.broken(pfn, P::wanted(Order::ZERO));
    }

    fn counts(&self) -> FreeCounts {
        self.counts
    }

    fn free_blocks(&self, order: Order, kind: MigrateType) -> u32 {
        if order == Order::LARGEST {
            return self.lists.count(order, Row::new(WHOLE, kind as u32));
        }
        let listed: u32 = groups::<ROWS>().map(|rows| self.lists.count(order, Row::new(rows, kind as u32))).sum();
        listed + self.placement.lanes().map_or(0, |lanes| lanes.count(order, kind))
    }

    fn start_move(&mut self, pfn: Pfn, kind: MigrateType) -> bool {
        if self.moving.is_some() {
            return false;
        }
        self.set_type(pfn, kind);
        self.start(Moving::whole(&self.frames, pfn, kind));
        true
    }

    #[inline(always)]
    fn is_moving(&self) -> bool {
        self.moving.is_some()
    }

    #[cold]
    #[inline(never)]
    fn move_some(&mut self) -> Option<u32> {
        let mut moving = self.moving.take()?;
        let (before, to) = (moving.pages(), moving.to);
        let mut patience = Patience::new(P::STEP);
        while let Some((pfn, page, order)) = moving.next_free(&self.frames, &mut patience) {
            if self.is_in_lane(pfn) {
                moving.again(pfn, order);
                if !patience.has_for_lane() {
                    break;
                }
                patience.moved(self.list_lane(pfn));
                continue;
            }
            let from = page.word().list().unwrap_or(to);
            if from != to {
                self.unlink(pfn, page, order, from as u32);
                self.lists.push(pfn, page, order, self.row(pfn, order, to as u32));
                self.counts.remove(order.pages(), from);
                self.counts.add(order.pages(), to);
                patience.moved(1);
            }
        }
        if moving.is_done() {
            self.finish(&moving);
        } else {
            self.moving = Some(moving);
        }
        Some(moving.pages() - before)
    }

    fn front(&self, kind: MigrateType) -> Option<Pfn> {
        self.placement.lanes()?.front(kind)
    }

    fn frames(&self) -> &ZoneFrames<'m> {
        &self.frames
    }

    fn validate(&self) -> Result<Tally, Broken> {
        validate::lists(
            &self.frames,
            &self.lists,
            |pfn, order, bits| self.row(pfn, order, bits),
            |pfn| self.is_changing(pfn),
        )?;
        self.placement.validate(&self.frames, |pfn| self.is_changing(pfn))?;
        let tally = validate::frames(&self.frames)?;
        validate::counts(&self.counts, &tally)?;
        let pages = |order: Order| MigrateType::ALL.map(|kind| self.free_blocks(order, kind) * order.pages());
        let found = Order::all().flat_map(pages).sum();
        let counter = self.counts.free + self.counts.isolated;
        if counter == found { Ok(tally) } else { Err(Broken::Count { what: "pages in free blocks", counter, found }) }
    }
}
