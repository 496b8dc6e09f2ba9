//! The compact core: free chunks by pageblock, so that what is taken comes from blocks that are in use already.
//!
//! Theory.      A LIFO list forgets where its blocks lie: after some time of use each pageblock has a few pages in use,
//!              and no large block is left. Here each pageblock has its own free chunks, and pageblocks stand in bit
//!              trees by the order of their largest chunk. A request for a block takes the pageblock that is fullest by
//!              that measure and yet fits, a request for a page the lowest one that is partly free: so allocations
//!              gather in low and full pageblocks and the others drain until they are whole. A whole pageblock is
//!              broken only when there is no other way.
//! Invariants.  1. Those of `block` and of `tree`. 2. A pageblock with free chunks is in the set of its type and of its
//!              largest chunk's order and in no other such set; it is in the type's set of partly free ones exactly when
//!              it is not free as one chunk. 3. A pageblock's chunks have one type: the usemap's, or that of an ordinary
//!              request that borrowed from it, until nothing of the block is listed. While that type changes, the
//!              chunks that the change has not reached yet have, and are counted with, the old one.
//! Not here.    Which pages a CPU keeps for itself (`page_alloc::pageset`): reuse undoes the work if it keeps all.
//! Source.      Ours. LLFree (Wrenger et al., 2023) keeps allocations in partly free trees in the same spirit.

mod block;
mod check;
mod fallback;
mod tree;

use crate::addr::{Pfn, PfnRange};
use crate::buddy::compact::block::{Blocks, Orders, RECORD};
use crate::buddy::compact::tree::{Class, Trees};
use crate::buddy::moving::{Moving, Patience};
use crate::buddy::{
    Broken, CoreOptions, ELSEWHERE, FreeCore, FreeCounts, Holder, SEARCHES, Tally, Wanted, ZoneFrames, is_careful,
};
use crate::memmap::{GROUP, Page, StateWord};
use crate::migrate::{MIGRATE_TYPES, MigrateType, PAGEBLOCK_ORDER, PAGEBLOCK_PAGES};
use crate::order::{MAX_ORDER, Order};
use crate::zone::pageblock::blocks_touched;

/// Orders and types, each the next power of two: what stands in a record then needs no check.
const ORDERS: usize = MAX_ORDER.next_power_of_two();
const TYPES: usize = MIGRATE_TYPES.next_power_of_two();

/// Free lists that work against fragmentation. One a zone.
#[derive(Debug)]
pub struct Compact<'m> {
    frames: ZoneFrames<'m>,
    blocks: Blocks<'m>,
    trees: Trees<'m>,
    /// Chunks by type and order.
    listed: [[u32; ORDERS]; TYPES],
    counts: FreeCounts,
    options: CoreOptions,
    /// The change of a pageblock's type that is under way.
    moving: Option<Moving>,
    /// Whether a block that is given back takes the long way: because of guards, of a trace, or of that change.
    is_careful: bool,
}

impl Compact<'_> {
    /// Takes from the pageblocks of `kind` alone.
    #[inline]
    fn take_own(&mut self, order: Order, kind: MigrateType, holder: Holder) -> Option<Pfn> {
        let block = self.best_block(order, kind)?;
        self.take_from(block, order, holder)
    }

    /// The pageblock of `kind` that a request is served from.
    #[inline]
    fn best_block(&self, order: Order, kind: MigrateType) -> Option<u32> {
        if order == Order::ZERO {
            let partial = self.trees.first(kind, Class::Partial);
            return partial.or_else(|| self.trees.first(kind, Class::Largest(Order::LARGEST)));
        }
        let largest = self.trees.smallest(kind, order)?;
        self.trees.first(kind, Class::Largest(largest))
    }

    /// Takes the smallest fitting chunk of a pageblock, or the lowest part of it.
    #[inline(never)]
    fn take_from(&mut self, block: u32, order: Order, holder: Holder) -> Option<Pfn> {
        let mut record = self.blocks.record(block);
        let (before, bits) = record.info();
        let size = before.smallest(order)?;
        let (pfn, page) = record.pop(size);
        if page.word().kind_bits() != bits {
            self.count_anew(page, size, bits);
        }
        self.listed[bits as usize % TYPES][size.index()] -= 1;
        self.counts.remove_bits(order.pages(), bits);
        if size > order {
            self.expand(block, pfn, (size, order));
        }
        page.set_word(holder.word(order));
        self.settle(block, (before, bits));
        Some(pfn)
    }

    /// Counts a chunk, which a change of its pageblock's type has not reached yet, with the type numbered `bits`; its state
    /// is what it was.
    #[cold]
    #[inline(never)]
    fn count_anew(&mut self, page: &Page, size: Order, bits: u32) {
        let was = page.word().kind_bits();
        self.listed[was as usize % TYPES][size.index()] -= 1;
        self.listed[bits as usize % TYPES][size.index()] += 1;
        self.counts.remove_bits(size.pages(), was);
        self.counts.add_bits(size.pages(), bits);
    }

    /// Lists the upper halves of the chunk `pfn` from below `high` down to `low` (Linux: `expand`).
    #[inline(never)]
    fn expand(&mut self, block: u32, pfn: Pfn, (high, low): (Order, Order)) {
        if low < self.options.guard_minorder {
            return self.expand_guarded(block, pfn, (high, low));
        }
        let group = self.frames.map.around(pfn);
        let mut record = self.blocks.record(block);
        let (_, bits) = record.info();
        let listed = &mut self.listed[bits as usize % TYPES];
        let mut order = high;
        while let Some(half) = order.previous().filter(|half| *half >= low) {
            order = half;
            let upper = half.buddy_of(pfn);
            record.push(upper, &group[upper.raw() as usize % GROUP], half, bits);
            listed[half.index()] += 1;
        }
    }

    #[cold]
    #[inline(never)]
    fn expand_guarded(&mut self, block: u32, pfn: Pfn, (high, low): (Order, Order)) {
        for half in Order::all().rev().filter(|half| (low..high).contains(half)) {
            let upper = half.buddy_of(pfn);
            if half < self.options.guard_minorder {
                self.guard(block, upper, half);
            } else {
                self.list(block, upper, half);
            }
        }
    }

    /// Keeps a half out of use beside an allocation (Linux: `set_page_guard`).
    #[cold]
    #[inline(never)]
    fn guard(&mut self, block: u32, pfn: Pfn, order: Order) {
        self.frames.map.at(pfn).set_word(StateWord::guard(order));
        self.counts.guard += order.pages();
        self.counts.remove(order.pages(), self.blocks.kind(block));
    }

    #[inline(always)]
    fn list(&mut self, block: u32, pfn: Pfn, order: Order) {
        let page = self.frames.map.at(pfn);
        let mut record = self.blocks.record(block);
        let (_, bits) = record.info();
        record.push(pfn, page, order, bits);
        self.listed[bits as usize % TYPES][order.index()] += 1;
    }

    /// Brings the trees up to date with a pageblock whose chunks were of these orders and type before.
    #[inline(always)]
    fn settle(&mut self, block: u32, (orders, bits): (Orders, u32)) {
        let (now, now_bits) = self.blocks.record(block).info();
        let is_same_place = bits == now_bits && orders.has_largest_of(now);
        if !is_same_place {
            let kind = |bits| MigrateType::new(bits).unwrap_or(MigrateType::Unmovable);
            self.resettle(block, (kind(bits), orders), (kind(now_bits), now));
        }
    }

    #[inline(never)]
    fn resettle(&mut self, block: u32, before: (MigrateType, Orders), now: (MigrateType, Orders)) {
        if let Some(order) = before.1.largest() {
            self.trees.remove(before.0, Class::Largest(order), block);
        }
        if let Some(order) = now.1.largest() {
            self.trees.insert(now.0, Class::Largest(order), block);
        }
        let (was, is) = (before.1.is_partial(), now.1.is_partial());
        if was && !(is && before.0 == now.0) {
            self.trees.remove(before.0, Class::Partial, block);
        }
        if is && !(was && before.0 == now.0) {
            self.trees.insert(now.0, Class::Partial, block);
        }
    }

    /// Takes the free buddies of a chunk that is being freed off their lists, and makes one chunk of them; returns that. Its
    /// state is what it was (Linux: the loop of `__free_one_page`).
    #[inline(never)]
    fn merge(&mut self, block: u32, pfn: Pfn, order: Order) -> (Pfn, Order) {
        let group = self.frames.map.around(pfn);
        let mut record = self.blocks.record(block);
        let (_, bits) = record.info();
        let listed = &mut self.listed[bits as usize % TYPES];
        let (mut head, mut size) = (pfn.raw(), order);
        while let Some(next) = size.next() {
            let buddy = &group[(head ^ size.pages()) as usize % GROUP];
            if !record.is_free(buddy, size) {
                break;
            }
            record.unlink(buddy, size);
            listed[size.index()] -= 1;
            // The upper half stops being a head; the lower one gets its state when the merging ends.
            group[(head | size.pages()) as usize % GROUP].set_word(StateWord::INSIDE);
            head &= !size.pages();
            size = next;
        }
        (Pfn::new(head), size)
    }

    /// As [`Self::merge`], while guards may stand beside the chunk or its buddies may be counted with another type than
    /// the one numbered `bits`: a guard becomes free with it, and each buddy is counted where it comes to.
    #[cold]
    #[inline(never)]
    fn merge_carefully(&mut self, block: u32, pfn: Pfn, order: Order, bits: u32) -> (Pfn, Order) {
        let (mut head, mut size) = (pfn, order);
        while let Some(next) = size.next() {
            let buddy = size.buddy_of(head);
            let page = self.frames.map.at(buddy);
            let word = page.word();
            if word.is_free_in(size, self.frames.zone) {
                self.blocks.record(block).unlink(page, size);
                self.count_anew(page, size, bits);
                self.listed[bits as usize % TYPES][size.index()] -= 1;
            } else if size < self.options.guard_minorder && word.is_guard_of(size) && page.zone() == self.frames.zone {
                self.counts.guard -= size.pages();
                self.counts.add_bits(size.pages(), bits);
            } else {
                break;
            }
            self.frames.map.at(head.max(buddy)).set_word(StateWord::INSIDE);
            (head, size) = (head.min(buddy), next);
        }
        (head, size)
    }

    /// Gives a pageblock's record the type `to`; its chunks follow in [`FreeCore::move_some`].
    fn change_kind(&mut self, block: u32, to: MigrateType) {
        let before = self.blocks.record(block).info();
        self.blocks.set_kind(block, to);
        self.settle(block, before);
    }

    /// Begins a change of a pageblock's type; there is none under way.
    fn start(&mut self, moving: Moving) {
        self.moving = Some(moving);
        self.is_careful = true;
    }

    /// Ends the change that is done.
    #[cold]
    fn finish(&mut self, moving: &Moving) {
        self.is_careful = is_careful(&self.frames, self.options);
        moving.finish(&self.frames);
    }

    /// Other places than the request's own pageblocks, in the order in which they may be tried.
    #[cold]
    #[inline(never)]
    fn take_elsewhere(&mut self, order: Order, kind: MigrateType, holder: Holder) -> Option<Pfn> {
        let lent = match kind {
            MigrateType::Movable => self.take_own(order, MigrateType::Cma, holder),
            _ => None,
        };
        let found = lent.or_else(|| self.take_fallback(order, kind, holder));
        if found.is_some() || self.options.keeps_reserve {
            return found;
        }
        self.take_own(order, MigrateType::Reserve, holder)
    }
}

impl<'m> FreeCore<'m> for Compact<'m> {
    const GATHERS: bool = true;

    fn words_for(span: PfnRange) -> usize {
        let blocks = blocks_touched(span, PAGEBLOCK_PAGES);
        blocks as usize * RECORD + Trees::words_for(blocks)
    }

    fn new(frames: ZoneFrames<'m>, options: CoreOptions, words: &'m mut [u32]) -> Option<Self> {
        let count = blocks_touched(frames.span, PAGEBLOCK_PAGES);
        let (records, rest) = words.split_at_mut_checked(count as usize * RECORD)?;
        let (trees, _) = rest.split_at_mut_checked(Trees::words_for(count))?;
        let first = frames.span.start.raw() >> PAGEBLOCK_ORDER.log2();
        Some(Self {
            frames,
            blocks: Blocks::new(frames.map, frames.zone, records.as_chunks_mut().0, first),
            trees: Trees::new(trees, count),
            listed: [[0; ORDERS]; TYPES],
            counts: FreeCounts::default(),
            options,
            moving: None,
            is_careful: is_careful(&frames, options),
        })
    }

    #[inline]
    fn take(&mut self, order: Order, kind: MigrateType, holder: Holder) -> Option<Pfn> {
        match self.take_own(order, kind, holder) {
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
            // A chunk that is no larger than what is wanted comes whole; guards stand between blocks that are asked for
            // one by one only.
            let most = wanted.largest(taken, order);
            let block = self.best_block(order, kind);
            let chunk = block.and_then(|block| self.blocks.orders(block).smallest(order));
            let whole = chunk.map_or(order, |size| size.min(most));
            let size = if self.options.guard_minorder > Order::ZERO { order } else { whole };
            let own = block.and_then(|block| self.take_from(block, size, holder));
            let Some(pfn) = own.or_else(|| self.take_elsewhere(size, kind, holder)) else { break };
            let blocks = self.frames.cut(pfn, size, order, holder);
            each(pfn, blocks);
            taken += blocks;
            searches = searches.saturating_sub(if own.is_none() { ELSEWHERE } else { 1 });
        }
        taken
    }

    #[inline(never)]
    fn give_claimed(&mut self, pfn: Pfn, order: Order) -> u32 {
        let block = self.blocks.index_of(pfn);
        let group = self.frames.map.around(pfn);
        let record = self.blocks.record(block);
        let (before, mut bits) = record.info();
        let buddy = &group[order.buddy_of(pfn).raw() as usize % GROUP];
        let (mut head, mut size) = (pfn, order);
        if self.is_careful {
            (head, size) = self.merge_carefully(block, pfn, order, bits);
        } else if order < Order::LARGEST && record.is_free(buddy, order) {
            (head, size) = self.merge(block, pfn, order);
        }
        let was = (before, bits);
        if self.blocks.orders(block).is_empty() {
            self.blocks.set_kind(block, self.frames.usemap.get(pfn));
            let old = bits;
            (_, bits) = self.blocks.record(block).info();
            if old != bits {
                // What merged was counted with the old type.
                let merged = size.pages() - order.pages();
                self.counts.remove_bits(merged, old);
                self.counts.add_bits(merged, bits);
            }
        }
        self.counts.add_bits(order.pages(), bits);
        self.blocks.record(block).push(head, &group[head.raw() as usize % GROUP], size, bits);
        self.listed[bits as usize % TYPES][size.index()] += 1;
        self.settle(block, was);
        if self.is_careful {
            self.frames.note_given(pfn, order);
        }
        size.log2()
    }

    fn take_at(&mut self, pfn: Pfn, holder: Holder) -> Option<Order> {
        let (order, kind) = self.frames.listed(pfn)?;
        let block = self.blocks.index_of(pfn);
        let page = self.frames.map.at(pfn);
        let mut record = self.blocks.record(block);
        let before = record.info();
        record.unlink(page, order);
        self.listed[kind.index()][order.index()] -= 1;
        self.counts.remove(order.pages(), kind);
        page.set_word(holder.word(order));
        self.settle(block, before);
        Some(order)
    }

    fn counts(&self) -> FreeCounts {
        self.counts
    }

    fn free_blocks(&self, order: Order, kind: MigrateType) -> u32 {
        self.listed[kind.index()][order.index()]
    }

    fn start_move(&mut self, pfn: Pfn, kind: MigrateType) -> bool {
        if self.moving.is_some() {
            return false;
        }
        self.frames.usemap.set(pfn, kind);
        self.change_kind(self.blocks.index_of(pfn), kind);
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
        let before = moving.pages();
        let (_, bits) = self.blocks.record(self.blocks.index_of(moving.place())).info();
        let mut patience = Patience::new();
        while let Some((_, page, order)) = moving.next_free(&self.frames, &mut patience) {
            if page.word().kind_bits() != bits {
                self.count_anew(page, order, bits);
                self.blocks.rename(page, order, bits);
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

    fn front(&self, kind: MigrateType) -> Option<Pfn> {
        let block = self.trees.first(kind, Class::Partial)?;
        self.blocks.start_of(block).checked_add(PAGEBLOCK_PAGES)
    }

    fn frames(&self) -> &ZoneFrames<'m> {
        &self.frames
    }

    fn validate(&self) -> Result<Tally, Broken> {
        self.check()
    }
}
