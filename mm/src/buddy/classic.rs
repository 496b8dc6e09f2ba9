//! The classic core: lists by order and migrate type, last in first out.
//!
//! Theory.      A block that is freed goes to the front of its list, because its lines are still in the cache; unless
//!              the buddy of the block that it would merge into is free: then it goes to the back, to stay free until
//!              the merge.
//! Source.      Linux 4.1 mm/page_alloc.c: `__rmqueue`, `__rmqueue_smallest`, `expand`, `__free_one_page`,
//!              `page_is_buddy`, `set_page_guard`.

use crate::addr::{Pfn, PfnRange};
use crate::buddy::list::BlockLists;
use crate::buddy::{Broken, CoreOptions, FreeCore, FreeCounts, Holder, Tally, Wanted, ZoneFrames, validate};
use crate::memmap::StateWord;
use crate::migrate::{MigrateType, pageblock_of};
use crate::order::Order;

/// Linux's design of free lists. One a zone.
#[derive(Debug)]
pub struct Classic<'m> {
    pub(super) frames: ZoneFrames<'m>,
    pub(super) lists: BlockLists<'m>,
    counts: FreeCounts,
    options: CoreOptions,
    /// Blocks of fewer pages may have guards beside them.
    guard_below: u32,
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

    /// What becomes of a block that has taken in its free buddies when it takes in the guards beside it too.
    #[cold]
    #[inline(never)]
    fn absorb_guards(&mut self, pfn: Pfn, order: Order) -> (Pfn, Order) {
        let (mut head, mut order) = (pfn, order);
        let (kind, group) = (self.frames.usemap.get(pfn), self.frames.map.around(pfn));
        while let Some((start, larger)) = self.absorb_guard((head, order), kind) {
            let block = self.lists.merge(group, self.lists.freed(start, larger));
            (head, order) = (block.head(pfn), block.order());
        }
        (head, order)
    }

    /// Makes a guard block, if the buddy is one, part of the block that is being freed (Linux: `clear_page_guard`).
    #[cold]
    #[inline(never)]
    fn absorb_guard(&mut self, block: (Pfn, Order), kind: MigrateType) -> Option<(Pfn, Order)> {
        let (head, order) = block;
        let next = order.next().filter(|_| order < self.options.guard_minorder)?;
        let buddy = order.buddy_of(head);
        let page = self.frames.map.at(buddy);
        if !page.word().is_guard_of(order) || page.zone() != self.frames.zone {
            return None;
        }
        self.counts.guard -= order.pages();
        self.counts.add(order.pages(), kind);
        self.frames.map.at(head.max(buddy)).set_word(StateWord::INSIDE);
        Some((head.min(buddy), next))
    }

    /// Moves every free block of `pfn`'s pageblock to the lists of `to`; returns the pages moved
    /// (Linux: `move_freepages_block`).
    pub(super) fn move_free_blocks(&mut self, pfn: Pfn, to: MigrateType) -> u32 {
        let block = pageblock_of(pfn).intersection(self.frames.span);
        let mut moved = 0;
        let mut next = block.start;
        while block.contains(next) {
            let page = self.frames.map.at(next);
            let word = page.word();
            let order = word.head_order().unwrap_or_default();
            if word.is_free_in(order, self.frames.zone) {
                let from = word.list().unwrap_or(to);
                moved += order.pages();
                if from != to {
                    self.lists.unlink(page, order, from);
                    self.lists.push(next, page, order, to);
                    self.counts.remove(order.pages(), from);
                    self.counts.add(order.pages(), to);
                }
            }
            let Some(after) = next.checked_add(order.pages()) else { break };
            next = after;
        }
        moved
    }

    /// Other places than the request's own lists, in the order in which they may be tried.
    #[cold]
    #[inline(never)]
    fn take_elsewhere(&mut self, order: Order, kind: MigrateType, holder: Holder) -> Option<Pfn> {
        let lent = match kind {
            MigrateType::Movable => self.take_smallest(order, MigrateType::Cma, holder),
            _ => None,
        };
        lent.or_else(|| self.take_fallback(order, kind, holder))
            .or_else(|| self.take_smallest(order, MigrateType::Reserve, holder))
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
            guard_below: options.guard_minorder.pages(),
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
        let mut taken = 0;
        while taken < wanted.least {
            // A block that is no larger than what is wanted comes whole; guards stand between blocks that are asked for
            // one by one only.
            let most = wanted.largest(taken, order);
            let whole = self.lists.smallest(order, kind).map_or(order, |size| size.min(most));
            let size = if self.options.guard_minorder > Order::ZERO { order } else { whole };
            let Some(pfn) = self.take(size, kind, holder) else { break };
            let blocks = self.frames.cut(pfn, size, order, holder);
            each(pfn, blocks);
            taken += blocks;
        }
        taken
    }

    #[inline(always)]
    fn give_claimed(&mut self, pfn: Pfn, order: Order) {
        let bits = self.frames.usemap.bits(pfn);
        self.counts.add_bits(order.pages(), bits);
        let group = self.frames.map.around(pfn);
        let mut block = self.lists.merge(group, self.lists.freed(pfn, order));
        if block.is_below(self.guard_below) {
            let (head, size) = self.absorb_guards(block.head(pfn), block.order());
            block = self.lists.freed(head, size);
        }
        self.lists.push_freed(group, pfn, block, bits);
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

    fn set_block_type(&mut self, pfn: Pfn, kind: MigrateType) -> u32 {
        self.frames.usemap.set(pfn, kind);
        self.move_free_blocks(pfn, kind)
    }

    fn front(&self, _kind: MigrateType) -> Option<Pfn> {
        None
    }

    fn frames(&self) -> &ZoneFrames<'m> {
        &self.frames
    }

    fn validate(&self) -> Result<Tally, Broken> {
        validate::lists(&self.frames, &self.lists)?;
        let tally = validate::frames(&self.frames)?;
        validate::counts(&self.counts, &tally)?;
        Ok(tally)
    }
}
