//! The classic core: lists by order and migrate type, last in first out.
//!
//! Theory.      A block that is freed goes to the front of its list, because its lines are still in the cache; unless
//!              the buddy of the block that it would merge into is free: then it goes to the back, to stay free until
//!              the merge.
//! Source.      Linux 4.1 mm/page_alloc.c: `__rmqueue`, `__rmqueue_smallest`, `expand`, `__free_one_page`,
//!              `page_is_buddy`, `set_page_guard`.

use crate::addr::{Pfn, PfnRange};
use crate::buddy::list::{BlockLists, End};
use crate::buddy::{Broken, CoreOptions, FreeCore, FreeCounts, Holder, Tally, ZoneFrames, validate};
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
}

impl<'m> Classic<'m> {
    /// Takes from the lists of `kind` alone (Linux: `__rmqueue_smallest`).
    #[inline(always)]
    fn take_smallest(&mut self, order: Order, kind: MigrateType, holder: Holder) -> Option<Pfn> {
        let found = self.lists.smallest(order, kind)?;
        let (pfn, page) = self.lists.pop(found, kind)?;
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
    #[inline]
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
                self.lists.push(upper, self.frames.map.at(upper), order, kind, End::Front);
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

    /// Makes a guard block, if the buddy is one, part of the block that is being freed (Linux: `clear_page_guard`).
    #[cold]
    #[inline(never)]
    fn absorb_guard(&mut self, block: (Pfn, Order), kind: MigrateType) -> Option<(Pfn, Order)> {
        let (head, order) = block;
        let next = order.next()?;
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

    /// Where a block goes: to the back when it is likely to become part of a larger one soon.
    #[inline]
    fn end_for(&self, pfn: Pfn, order: Order) -> End {
        let Some(parent_order) = order.next().filter(|next| *next < Order::LARGEST) else { return End::Front };
        let parent = Pfn::new(pfn.raw() & !order.pages());
        let parents_buddy = self.frames.map.at(parent_order.buddy_of(parent));
        if parents_buddy.word().is_free_in(parent_order, self.frames.zone) { End::Back } else { End::Front }
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
            if let Some(from) = word.list().filter(|_| page.zone() == self.frames.zone) {
                self.lists.unlink(page, order, from);
                self.lists.push(next, page, order, to, End::Front);
                self.counts.remove(order.pages(), from);
                self.counts.add(order.pages(), to);
                moved += order.pages();
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
        Some(Self { frames, lists: BlockLists::new(frames.map, frames.zone), counts: FreeCounts::default(), options })
    }

    #[inline(always)]
    fn take(&mut self, order: Order, kind: MigrateType, holder: Holder) -> Option<Pfn> {
        match self.take_smallest(order, kind, holder) {
            Some(pfn) => Some(pfn),
            None => self.take_elsewhere(order, kind, holder),
        }
    }

    fn take_many(
        &mut self,
        order: Order,
        wanted: u32,
        kind: MigrateType,
        holder: Holder,
        mut each: impl FnMut(Pfn),
    ) -> u32 {
        let mut taken = 0;
        while taken < wanted {
            // A block that is no larger than what is wanted comes whole; guards stand between blocks that are asked for
            // one by one only.
            let most = Order::largest_within((wanted - taken) << order.log2()).unwrap_or(order).max(order);
            let whole = self.lists.smallest(order, kind).map_or(order, |size| size.min(most));
            let size = if self.options.guard_minorder > Order::ZERO { order } else { whole };
            let Some(pfn) = self.take(size, kind, holder) else { break };
            taken += self.frames.cut(pfn, size, (order, holder), &mut each);
        }
        taken
    }

    fn give_claimed(&mut self, pfn: Pfn, order: Order) {
        let kind = self.frames.usemap.get(pfn);
        self.counts.add(order.pages(), kind);
        let (mut head, mut page, mut size) = self.lists.merge(pfn, order);
        while size < self.options.guard_minorder {
            let Some(larger) = self.absorb_guard((head, size), kind) else { break };
            (head, page, size) = self.lists.merge(larger.0, larger.1);
        }
        let end = self.end_for(head, size);
        self.lists.push(head, page, size, kind, end);
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
