//! Free lists of one zone: the buddy allocator proper, as a face and the cores behind it.
//!
//! Theory.      A block of 2^o pages starts at a multiple of 2^o; it and its buddy differ in bit o of the frame number.
//!              Taking a block splits the smallest one that fits; giving one back merges it with its buddy as long as
//!              that is free too. Links run through the memory map by frame number: free pages' bytes are not touched.
//! Invariants.  1. No two free buddies of one order below the largest coexist, but in lanes. 2. A free block is aligned
//!              to its order and lies in its zone and in one pageblock. 3. The counts equal the lists and lanes. 4. On
//!              `Err` and `None` nothing has changed.
//! Picture.     pfn 0       4       8           16
//!              | order 2 | order 2 | order 3    |
//! Not here.    Locks and pagesets (`page_alloc`), watermarks, who owns what is not free.
//! Source.      Linux 4.1 mm/page_alloc.c: `__rmqueue`, `__free_one_page`, `expand`; Knuth, TAOCP 1, 2.5.
#![forbid(unsafe_code)]

mod budget;
mod careful;
mod classic;
mod compact;
mod counts;
mod error;
mod fallback;
mod free_lists;
mod lanes;
mod list;
mod moving;
mod placement;
mod singles;
mod validate;

#[cfg(test)]
pub(crate) mod model;
#[cfg(test)]
mod tests;

pub use budget::{Wanted, Work};
pub use classic::Classic;
pub use compact::Compact;
pub use counts::FreeCounts;
pub use error::{Broken, FreeError};
pub use validate::Tally;

use crate::addr::{Pfn, PfnRange};
use crate::buddy::lanes::LANE_ORDER;
use crate::memmap::{GROUP, MemMap, Page, StateWord, Usemap, ZoneTag};
use crate::migrate::MigrateType;
use crate::order::Order;
use crate::trace::{TraceRing, What};

/// The frames of one zone and what is known of each.
#[derive(Clone, Copy, Debug)]
pub struct ZoneFrames<'m> {
    /// The machine's memory map.
    pub map: MemMap<'m>,
    /// Which frames of `span` are the zone's: those whose page carries this tag.
    pub zone: ZoneTag,
    /// First frame to one past the last; holes and other zones' frames may lie inside.
    pub span: PfnRange,
    /// The zone's pageblock types.
    pub usemap: Usemap<'m>,
    /// Where events of the free lists are written while it is on.
    pub trace: Option<&'m TraceRing<'m>>,
}

/// Switches of a core, fixed at boot.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct CoreOptions {
    /// Splits leave halves below this order unused, as guards; 0 is off (Linux: `debug_guardpage_minorder=`).
    pub guard_minorder: Order,
    /// Reserve pageblocks serve only requests for them; otherwise they are everybody's last resort.
    pub keeps_reserve: bool,
}

/// Whose a block is once it has been taken.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Holder {
    /// A caller of the page allocator, for a request of this type.
    Caller(MigrateType),
    /// The page allocator itself: a pageset.
    Pageset,
}

impl Holder {
    /// The state of a block in these hands.
    #[must_use]
    #[inline]
    pub const fn word(self, order: Order) -> StateWord {
        match self {
            Self::Caller(kind) => StateWord::allocated(order, kind),
            Self::Pageset => StateWord::pageset(order),
        }
    }
}

impl ZoneFrames<'_> {
    /// Writes an event to the trace, if it is on.
    #[inline]
    pub(crate) fn note(&self, what: What, pfn: Option<Pfn>, order: Order) {
        if self.trace.is_some() {
            self.note_now(what, pfn, order);
        }
    }

    #[cold]
    #[inline(never)]
    fn note_now(&self, what: What, pfn: Option<Pfn>, order: Order) {
        if let Some(ring) = self.trace.filter(|ring| ring.is_on()) {
            ring.write(what, pfn, order);
        }
    }

    /// Tells of the split, if there was one, when a block was taken: under the same hold of the zone's lock.
    #[inline]
    pub(crate) fn note_taken(&self, pfn: Pfn, order: Order) {
        if self.trace.is_some() {
            self.note_split(pfn, order);
        }
    }

    /// What a block was part of shows in what is left of it: the upper halves are free, each of the next order. None of
    /// them was free before, or it would have been merged; in a lane it was as good as that.
    #[cold]
    #[inline(never)]
    fn note_split(&self, pfn: Pfn, order: Order) {
        let mut from = order;
        let mut list = None;
        while let Some(next) = from.next().filter(|next| next.aligns(pfn)) {
            let upper = from.buddy_of(pfn);
            let Some(word) = self.map.page(upper).filter(|page| page.zone() == self.zone).map(Page::word) else {
                break;
            };
            if !word.is_free_of(from) && !word.is_guard_of(from) && !self.is_in_lane(upper, from) {
                break;
            }
            (from, list) = (next, word.list().or(list));
        }
        if from > order {
            let kind = list.unwrap_or_else(|| self.usemap.get(pfn));
            self.note(What::Split { from, kind }, Some(pfn), order);
        }
    }

    /// Whether all frames of a block are free pages, as in a lane.
    fn is_in_lane(&self, pfn: Pfn, order: Order) -> bool {
        let is_single = |offset| {
            let page = self.map.page(Pfn::new(pfn.raw() | offset));
            page.is_some_and(|page| page.word().is_free_of(Order::ZERO))
        };
        order < LANE_ORDER && (0..order.pages()).all(is_single)
    }

    /// Tells of the merge, if there was one, when a block was given back: under the same hold of the zone's lock.
    #[cold]
    #[inline(never)]
    fn note_given(&self, pfn: Pfn, order: Order) {
        let Some((head, size)) = self.map.head_of(pfn).filter(|(_, size)| *size > order) else { return };
        let kind = self.map.page(head).and_then(|page| page.word().list()).unwrap_or(MigrateType::Unmovable);
        self.note(What::Merge { from: order, kind }, Some(head), size);
    }

    /// Order and list of the free block of this zone that `pfn` heads. Exact under the zone's lock.
    fn listed(&self, pfn: Pfn) -> Option<(Order, MigrateType)> {
        let page = self.map.page(pfn).filter(|page| page.zone() == self.zone)?;
        Some((page.word().head_order()?, page.word().list()?))
    }

    /// Cuts a block that was taken into blocks of `order` for `holder`; returns how many.
    #[inline]
    fn cut(&self, pfn: Pfn, size: Order, order: Order, holder: Holder) -> u32 {
        self.note_taken(pfn, size);
        let (word, first) = (holder.word(order), pfn.raw() as usize % GROUP);
        let block = self.map.around(pfn).get(first..first + size.pages() as usize).unwrap_or_default();
        if order == Order::ZERO {
            // Several a turn.
            let (eights, rest) = block.as_chunks::<8>();
            eights.iter().for_each(|eight| eight.iter().for_each(|page| page.set_word(word)));
            rest.iter().for_each(|page| page.set_word(word));
        } else {
            block.iter().step_by(order.pages() as usize).for_each(|page| page.set_word(word));
        }
        size.pages() >> order.log2()
    }
}

/// Whether blocks that are given back take the long way even while no pageblock changes its type.
fn is_careful(frames: &ZoneFrames<'_>, options: CoreOptions) -> bool {
    options.guard_minorder > Order::ZERO || frames.trace.is_some()
}

/// Free blocks of one zone: what the page allocator asks of any design of free lists.
pub trait FreeCore<'m>: Sized + Send {
    /// Whether the core gathers what is in use in few pageblocks: then a CPU reuses at once only pages below
    /// [`Self::front`] and gives the others back.
    const GATHERS: bool;

    /// As much as is given back under one hold of the zone's lock: some 2,000 instructions.
    const WORK: Work;

    /// Words of storage that a core for a zone with this span needs besides itself.
    fn words_for(span: PfnRange) -> usize;

    /// A core for `frames` that holds nothing yet, in `words`; `None` when they are fewer than
    /// [`Self::words_for`] the span.
    fn new(frames: ZoneFrames<'m>, options: CoreOptions, words: &'m mut [u32]) -> Option<Self>;

    /// Takes a block of `order` for a request of type `kind`, splitting a larger one if needed.
    ///
    /// Returns the first frame, aligned to `order`, its state as `holder` says; `None` when no block is large enough.
    /// Movable requests may take lent pages; any request may fall back to other types' blocks and then to the
    /// reserve. Context: any, under the zone's lock. Linux: `__rmqueue`.
    fn take(&mut self, order: Order, kind: MigrateType, holder: Holder) -> Option<Pfn>;

    /// Takes blocks of `order`, with one search for as many as a larger block has, until there are as many as the least
    /// of `wanted`, but no more than its most; returns how many there were: fewer, but one if there is any, when more
    /// would take too long. `each` is handed the first frame and the number of blocks that follow each other, as often as
    /// there are such. The state of each block is as `holder` says. Linux: `rmqueue_bulk`.
    fn take_many(
        &mut self,
        order: Order,
        wanted: Wanted,
        kind: MigrateType,
        holder: Holder,
        each: impl FnMut(Pfn, u32),
    ) -> u32;

    /// Puts a block on the list of its pageblock's type, merged as far as its buddies are free.
    ///
    /// The caller has claimed the block: its head's state is no longer anyone else's. Context: any, under the zone's
    /// lock. Linux: `__free_one_page`.
    ///
    /// # Errors
    /// [`FreeError::Misaligned`] and [`FreeError::OtherZone`]; nothing has changed.
    fn give(&mut self, pfn: Pfn, order: Order) -> Result<(), FreeError> {
        self.frames().check_block(pfn, order)?;
        self.give_claimed(pfn, order);
        Ok(())
    }

    /// As [`Self::give`], of a block that this core gave out with this order, which needs no check; returns what it
    /// cost, as [`Work`] counts.
    fn give_claimed(&mut self, pfn: Pfn, order: Order) -> u32;

    /// As [`Self::give_claimed`], of a single page.
    fn give_page(&mut self, pfn: Pfn) -> u32;

    /// Takes the free block that `pfn` heads, whole, whatever its list; in a lane each page is one. Returns its order,
    /// or `None` when it heads none of this zone (Linux: `__isolate_free_page`).
    fn take_at(&mut self, pfn: Pfn, holder: Holder) -> Option<Order>;

    /// As [`Self::give_claimed`], of the front of frames that follow each other and whose states say that they head
    /// nothing: the few aligned blocks that they are, which costs far less than merging them one by one, as far as
    /// `work` goes. Returns the first frame that is left, and the work.
    #[inline(never)]
    fn give_run(&mut self, run: PfnRange, mut work: Work) -> (Pfn, Work) {
        let mut next = run.start;
        while let Some(order) = Order::largest_at(next, run.end.pages_since(next)).filter(|_| work.is_left()) {
            work = work.gave(self.give_claimed(next, order));
            next = Pfn::new(next.raw().wrapping_add(order.pages()));
        }
        (next, work)
    }

    /// Notes that the block of the largest order at `pfn`, which is out, will come back in pieces.
    fn was_cut(&mut self, pfn: Pfn);

    /// Pages held.
    fn counts(&self) -> FreeCounts;

    /// Free blocks of exactly `order` on the list of `kind`.
    fn free_blocks(&self, order: Order, kind: MigrateType) -> u32;

    /// Begins to make `kind` the type of `pfn`'s pageblock and to move what is free in it to that type's lists;
    /// `false`, and nothing done, while such a change is under way (Linux: `set_pageblock_migratetype`).
    fn start_move(&mut self, pfn: Pfn, kind: MigrateType) -> bool;

    /// Whether a change of a pageblock's type is under way; a request that falls back to another type's blocks may have
    /// begun it.
    fn is_moving(&self) -> bool;

    /// Goes on with it for a bounded time; returns how many free pages it found, `None` when there is nothing to do
    /// (Linux: `move_freepages`).
    fn move_some(&mut self) -> Option<u32>;

    /// Both, to the end; returns how many pages are free in the pageblock.
    fn set_block_type(&mut self, pfn: Pfn, kind: MigrateType) -> u32 {
        while self.move_some().is_some() {}
        self.start_move(pfn, kind);
        core::iter::from_fn(|| self.move_some()).sum()
    }

    /// One past the pageblock that single pages of `kind` should come from; `None` when there is no better place than
    /// a whole pageblock, or the core does not gather.
    fn front(&self, kind: MigrateType) -> Option<Pfn>;

    /// The zone's frames.
    fn frames(&self) -> &ZoneFrames<'m>;

    /// Tests every invariant of this module against the memory map. Cost: a look at each block of the zone.
    ///
    /// # Errors
    /// The first broken invariant.
    fn validate(&self) -> Result<Tally, Broken>;
}
