//! The classic core: lists by order and migrate type, last in first out.
//!
//! Theory.      A block that is freed goes to the front of its list, because its lines are still in the cache; unless
//!              the buddy of the block that it would merge into is free: then it goes to the back, to stay free until
//!              the merge.
//! Source.      Linux 4.1 mm/page_alloc.c: `__rmqueue`, `__rmqueue_smallest`, `expand`, `__free_one_page`,
//!              `page_is_buddy`, `set_page_guard`.

use crate::addr::{Pfn, PfnRange};
use crate::buddy::list::BlockLists;
use crate::buddy::moving::{Moving, Patience};
use crate::buddy::{
    Broken, CoreOptions, ELSEWHERE, FreeCore, FreeCounts, Holder, SEARCHES, Tally, Wanted, ZoneFrames, is_careful,
    validate,
};
use crate::memmap::StateWord;
use crate::migrate::MigrateType;
use crate::order::Order;

/// Linux's design of free lists. One a zone.
#[derive(Debug)]
pub struct Classic<'m> {
    pub(super) frames: ZoneFrames<'m>,
    pub(super) lists: BlockLists<'m>,
    counts: FreeCounts,
    options: CoreOptions,
    /// The change of a pageblock's type that is under way.
    moving: Option<Moving>,
    /// Whether a block that is given back takes the long way: because of guards, of a trace, or of that change.
    is_careful: bool,
}

impl<'m> Classic<'m> {
    /// Takes from the lists of `kind` alone (Linux: `__rmqueue_smallest`).
    #[inline(always)]
    fn take_smallest(&mut self, order: Order, kind: MigrateType, holder: Holder) -> Option<Pfn> {
        let found = self.lists.smallest(order, kind)?;
        let (pfn, page) = self.lists.pop(found, kind);
        self.counts.remove(order.pages(), kind);
        if found > order {
            self.expand(pfn, found, order, kind);
        }
        page.set_word(holder.word(order));
        Some(pfn)
    }

    /// Takes the first block of `order` out of the listed block `pfn` and lists the rest (Linux: `__rmqueue_fallback`'s
    /// part after the search).
    pub(super) fn carve(&mut self, pfn: Pfn, size: Order, kind: MigrateType, order: Order, holder: Holder) {
        let page = self.frames.map.at(pfn);
        let list = page.word().list().unwrap_or(kind);
        self.lists.unlink(page, size, list);
        self.counts.remove(order.pages(), list);
        self.expand(pfn, size, order, kind);
        page.set_word(holder.word(order));
    }

    /// Lists the upper halves of the block `pfn` from below `high` down to `low` (Linux: `expand`).
    #[inline(always)]
    fn expand(&mut self, pfn: Pfn, high: Order, low: Order, kind: MigrateType) {
        if self.options.guard_minorder <= low {
            self.lists.push_halves(pfn, high, low, kind);
        } else {
            self.expand_guarded(pfn, high, low, kind);
        }
    }

    #[cold]
    #[inline(never)]
    fn expand_guarded(&mut self, pfn: Pfn, high: Order, low: Order, kind: MigrateType) {
        let mut order = high;
        while order > low {
            let Some(half) = order.previous() else { break };
            order = half;
            let upper = order.buddy_of(pfn);
            if order < self.options.guard_minorder {
                self.guard(upper, order, kind);
            } else {
                self.lists.push(upper, self.frames.map.at(upper), order, kind);
            }
        }
    }

    /// Keeps a half out of use beside an allocation (Linux: `set_page_guard`).
    #[cold]
    #[inline(never)]
    fn guard(&mut self, pfn: Pfn, order: Order, kind: MigrateType) {
        self.frames.map.at(pfn).set_word(StateWord::guard(order));
        self.counts.guard += order.pages();
        self.counts.remove(order.pages(), kind);
    }

    /// As [`FreeCore::give_claimed`], while the trace wants to know, guards may stand beside the block or its buddies may be
    /// on lists that count elsewhere: a guard becomes free with it, and each buddy is counted where it comes to.
    #[cold]
    #[inline(never)]
    fn give_carefully(&mut self, pfn: Pfn, order: Order) -> u32 {
        let kind = self.frames.usemap.get(pfn);
        self.counts.add(order.pages(), kind);
        let (mut head, mut size) = (pfn, order);
        while let Some(next) = size.next() {
            let buddy = size.buddy_of(head);
            let page = self.frames.map.at(buddy);
            let word = page.word();
            if word.is_free_in(size, self.frames.zone) {
                let list = word.list().unwrap_or(kind);
                self.lists.unlink(page, size, list);
                self.counts.remove(size.pages(), list);
            } else if size < self.options.guard_minorder && word.is_guard_of(size) && page.zone() == self.frames.zone {
                // Linux: `clear_page_guard`.
                self.counts.guard -= size.pages();
            } else {
                break;
            }
            self.counts.add(size.pages(), kind);
            self.frames.map.at(head.max(buddy)).set_word(StateWord::INSIDE);
            (head, size) = (head.min(buddy), next);
        }
        let block = self.lists.freed(head, size);
        self.lists.push_freed(self.frames.map.around(pfn), pfn, block, kind as u32);
        self.frames.note_given(pfn, order);
        size.log2()
    }

    /// Begins a change of a pageblock's type; there is none under way.
    pub(super) fn start(&mut self, moving: Moving) {
        self.moving = Some(moving);
        self.is_careful = true;
    }

    /// Ends the change that is done.
    #[cold]
    fn finish(&mut self, moving: &Moving) {
        self.is_careful = is_careful(&self.frames, self.options);
        moving.finish(&self.frames);
    }

    /// Other places than the request's own lists, in the order in which they may be tried.
    #[cold]
    #[inline(never)]
    fn take_elsewhere(&mut self, order: Order, kind: MigrateType, holder: Holder) -> Option<Pfn> {
        let lent = match kind {
            MigrateType::Movable => self.take_smallest(order, MigrateType::Cma, holder),
            _ => None,
        };
        let found = lent.or_else(|| self.take_fallback(order, kind, holder));
        if found.is_some() || self.options.keeps_reserve {
            return found;
        }
        self.take_smallest(order, MigrateType::Reserve, holder)
    }
}

impl<'m> FreeCore<'m> for Classic<'m> {
    const GATHERS: bool = false;

    fn words_for(_span: PfnRange) -> usize {
        0
    }

    fn new(frames: ZoneFrames<'m>, options: CoreOptions, _words: &'m mut [u32]) -> Option<Self> {
        let lists = BlockLists::new(frames.map, frames.zone);
        Some(Self {
            frames,
            lists,
            counts: FreeCounts::default(),
            options,
            moving: None,
            is_careful: is_careful(&frames, options),
        })
    }

    #[inline(always)]
    fn take(&mut self, order: Order, kind: MigrateType, holder: Holder) -> Option<Pfn> {
        match self.take_smallest(order, kind, holder) {
            Some(pfn) => Some(pfn),
            None => self.take_elsewhere(order, kind, holder),
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
        let (mut taken, mut searches) = (0, SEARCHES);
        while taken < wanted.least && searches > 0 {
            // A block that is no larger than what is wanted comes whole; guards stand between blocks that are asked for
            // one by one only.
            let most = wanted.largest(taken, order);
            let own = self.lists.smallest(order, kind);
            let whole = own.map_or(order, |size| size.min(most));
            let size = if self.options.guard_minorder > Order::ZERO { order } else { whole };
            let Some(pfn) = self.take(size, kind, holder) else { break };
            let blocks = self.frames.cut(pfn, size, order, holder);
            each(pfn, blocks);
            taken += blocks;
            searches = searches.saturating_sub(if own.is_none() { ELSEWHERE } else { 1 });
        }
        taken
    }

    #[inline(always)]
    fn give_claimed(&mut self, pfn: Pfn, order: Order) -> u32 {
        if self.is_careful {
            return self.give_carefully(pfn, order);
        }
        let bits = self.frames.usemap.bits(pfn);
        self.counts.add_bits(order.pages(), bits);
        let group = self.frames.map.around(pfn);
        let block = self.lists.merge(group, self.lists.freed(pfn, order));
        self.lists.push_freed(group, pfn, block, bits);
        block.log2()
    }

    fn take_at(&mut self, pfn: Pfn, holder: Holder) -> Option<Order> {
        let (order, kind) = self.frames.listed(pfn)?;
        let page = self.frames.map.at(pfn);
        self.lists.unlink(page, order, kind);
        self.counts.remove(order.pages(), kind);
        page.set_word(holder.word(order));
        Some(order)
    }

    fn counts(&self) -> FreeCounts {
        self.counts
    }

    fn free_blocks(&self, order: Order, kind: MigrateType) -> u32 {
        self.lists.count(order, kind)
    }

    fn start_move(&mut self, pfn: Pfn, kind: MigrateType) -> bool {
        if self.moving.is_some() {
            return false;
        }
        self.frames.usemap.set(pfn, kind);
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
        let mut patience = Patience::new();
        while let Some((pfn, page, order)) = moving.next_free(&self.frames, &mut patience) {
            let from = page.word().list().unwrap_or(to);
            if from != to {
                self.lists.unlink(page, order, from);
                self.lists.push(pfn, page, order, to);
                self.counts.remove(order.pages(), from);
                self.counts.add(order.pages(), to);
                patience.moved();
            }
        }
        if moving.is_done() {
            self.finish(&moving);
        } else {
            self.moving = Some(moving);
        }
        Some(moving.pages() - before)
    }

    fn front(&self, _kind: MigrateType) -> Option<Pfn> {
        None
    }

    fn frames(&self) -> &ZoneFrames<'m> {
        &self.frames
    }

    fn validate(&self) -> Result<Tally, Broken> {
        validate::lists(&self.frames, &self.lists, |pfn| self.moving.is_some_and(|moving| moving.is_in(pfn)))?;
        let tally = validate::frames(&self.frames)?;
        validate::counts(&self.counts, &tally)?;
        Ok(tally)
    }
}
