//! Contiguous ranges of any size, where they are wanted: whatever is in the way is moved elsewhere.
//!
//! Theory.      The range's pageblocks are isolated. Every block in the range that is in use is then taken for moving,
//!              before the first is moved: one that is pinned shows while nothing has been touched yet. As long as one
//!              block may still refuse, moved ones keep their old frames, with the number of the new ones in their
//!              link, so that all can be moved back. In the end the range is free and isolated, and nobody can come
//!              between: its blocks are taken off their lists one by one, and what juts out is given back.
//! Invariants.  1. On `Err` every page is where it was, its owner's and of its pageblock's type. 2. A page that is
//!              handed out is a block of order 0, with one reference.
//! Picture.     isolated   |        pageblock        |        pageblock        |
//!              taken               start|===== the range =====|end
//!              given back      head-----|                     |---- rest
//! Source.      Linux 4.1: `alloc_contig_range`, `__alloc_contig_migrate_range`, `isolate_freepages_range`,
//!              `free_contig_range`.
#![forbid(unsafe_code)]

use core::fmt;
use core::sync::atomic::Ordering::Relaxed;

use crate::addr::{Pfn, PfnRange};
use crate::buddy::{FreeCore, FreeError, Holder};
use crate::gfp::GfpFlags;
use crate::memmap::{FrameFlags, Marks, NO_FRAME, Page, PageState, StateWord};
use crate::migrate::MigrateType;
use crate::order::Order;
use crate::page_alloc::isolate::IsolateError;
use crate::page_alloc::movable::Pinned;
use crate::page_alloc::{PageAllocator, Zone};
use crate::sync::CurrentCpu;
use crate::zone::ZoneType;

/// Why a range was not to be had. Every page is as it was.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ContigError {
    /// The range cannot be isolated.
    Isolate(IsolateError),
    /// A block in the range cannot be moved.
    Pinned {
        /// Its first frame.
        pfn: Pfn,
        /// Why.
        why: Pinned,
    },
    /// There is no block elsewhere that this one could be moved to.
    NoTarget {
        /// Its first frame.
        pfn: Pfn,
        /// Its order.
        order: Order,
    },
}

impl fmt::Display for ContigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Isolate(error) => error.fmt(f),
            Self::Pinned { pfn, why } => write!(f, "pfn {pfn} cannot be moved: {why}"),
            Self::NoTarget { pfn, order } => {
                write!(f, "pfn {pfn} cannot be moved: there is no other block of order {}", order.raw())
            }
        }
    }
}

impl core::error::Error for ContigError {}

impl<'m, M: CurrentCpu, C: FreeCore<'m>> PageAllocator<'m, M, C> {
    /// Allocates exactly the frames of `range`, moving what is movable out of the way. Each page can be freed alone.
    ///
    /// What other CPUs keep in pagesets, because there is no way to have them drained, fails the request. Context: may
    /// call owners and wait for them; without locks. Linux: `alloc_contig_range`.
    ///
    /// # Errors
    /// [`ContigError`] with the frame that was in the way; every page is as it was.
    pub fn alloc_contig_range(&self, range: PfnRange) -> Result<(), ContigError> {
        let zone = self.zone_of_range(range).map_err(ContigError::Isolate)?;
        self.first_pinned(range)?;
        self.start_isolate_page_range(range).map_err(ContigError::Isolate)?;
        let taken = self.empty_range(range).and_then(|()| self.take_range(zone, range));
        let undone = self.undo_isolate_page_range(range);
        assert!(undone.is_ok(), "a range of one zone is not one any more: {undone:?}");
        taken
    }

    /// Frees the pages of a contiguous range, one by one (Linux: `free_contig_range`).
    ///
    /// # Errors
    /// The first page that is not an allocated single page with one reference; nothing has changed.
    #[track_caller]
    pub fn free_contig_range(&self, range: PfnRange) -> Result<(), FreeError> {
        for pfn in range.iter() {
            let page = self.map.page(pfn).ok_or(FreeError::NoSuchFrame(pfn))?;
            let word = page.word();
            if !word.is_sole_of(Order::ZERO) {
                let is_shared = word.is_allocated_of(Order::ZERO) && word.references() > 1;
                let shared = FreeError::NotReferenced { pfn, count: word.references() };
                return Err(if is_shared { shared } else { self.why_not(pfn, Order::ZERO) });
            }
        }
        range.iter().try_for_each(|pfn| self.free_pages(pfn, Order::ZERO))
    }

    /// The heads of the blocks that `range` touches, lowest first; a frame in no block stands for itself. The map is
    /// read as it is when the iterator gets there.
    fn heads(&self, range: PfnRange) -> impl Iterator<Item = Pfn> + '_ {
        let mut next = range.start;
        core::iter::from_fn(move || {
            let at = next;
            if !range.contains(at) {
                return None;
            }
            let (head, order) = self.map.head_of(at).unwrap_or((at, Order::ZERO));
            next = head.checked_add(order.pages()).unwrap_or(range.end);
            Some(head)
        })
    }

    /// Looks for a block that cannot be moved before anything is done (Linux: `has_unmovable_pages`).
    fn first_pinned(&self, range: PfnRange) -> Result<(), ContigError> {
        self.heads(range).try_for_each(|pfn| {
            let Some(page) = self.map.page(pfn) else { return Ok(()) };
            match self.check_movable(page, pfn) {
                Err(Pinned::State(state)) if is_allocators(state) => Ok(()),
                Err(why) => Err(ContigError::Pinned { pfn, why }),
                Ok(()) => Ok(()),
            }
        })
    }

    /// Moves every block that is in use out of the isolated `range`, or none.
    fn empty_range(&self, range: PfnRange) -> Result<(), ContigError> {
        let moved = self
            .isolate_blocks(range)
            .and_then(|()| self.held(range).try_for_each(|pfn| self.move_away(pfn, range)))
            .and_then(|()| self.held(range).try_for_each(|pfn| self.is_forgotten(pfn)));
        match moved {
            Ok(()) => self.held(range).for_each(|pfn| self.let_go(pfn)),
            Err(_) => self.held(range).for_each(|pfn| self.move_back(pfn)),
        }
        moved
    }

    /// Takes every block that is in use for moving; those that were taken before one that cannot be stay taken.
    fn isolate_blocks(&self, range: PfnRange) -> Result<(), ContigError> {
        for pfn in self.heads(range) {
            let Some(page) = self.map.page(pfn) else { continue };
            let is_free = || page.word().head_state().is_some_and(is_allocators);
            if is_free() {
                continue;
            }
            match self.isolate_movable(pfn) {
                Ok(_) => {
                    page.prev.store(NO_FRAME, Relaxed);
                    page.set_flags(FrameFlags::HELD);
                }
                // A block that was freed meanwhile is no hindrance.
                Err(_) if is_free() => {}
                Err(why) => return Err(ContigError::Pinned { pfn, why }),
            }
        }
        Ok(())
    }

    /// The blocks of `range` that were taken for moving, moved or not.
    fn held(&self, range: PfnRange) -> impl Iterator<Item = Pfn> + '_ {
        self.heads(range).filter(|pfn| self.map.page(*pfn).is_some_and(|page| page.has_flag(FrameFlags::HELD)))
    }

    /// Moves a block to one outside `range`; its old frames stay held, with the number of the new ones in their link.
    fn move_away(&self, pfn: Pfn, range: PfnRange) -> Result<(), ContigError> {
        let gone = ContigError::Pinned { pfn, why: Pinned::Owner };
        let Some(page) = self.map.page(pfn) else { return Err(gone) };
        let Some(order) = page.word().head_order() else { return Err(gone) };
        if page.word().marks().contains(Marks::ORPHAN) {
            return Ok(());
        }
        let target = self.alloc_pages_node(page.zone().node(), target_flags(page), order);
        let new = target.map_err(|_| ContigError::NoTarget { pfn, order })?;
        let refused = if range.contains(new) {
            ContigError::NoTarget { pfn, order }
        } else if self.move_block(pfn, new, order).is_ok() {
            page.prev.store(new.raw(), Relaxed);
            return Ok(());
        } else {
            gone
        };
        self.free_own(new, order);
        // A block that its owner has given up need not be moved.
        if page.word().marks().contains(Marks::ORPHAN) { Ok(()) } else { Err(refused) }
    }

    /// Whether nobody has found a reference to a moved block's old frames.
    fn is_forgotten(&self, pfn: Pfn) -> Result<(), ContigError> {
        match self.map.page(pfn).map_or(1, |page| page.word().references()) {
            1 => Ok(()),
            count => Err(ContigError::Pinned { pfn, why: Pinned::References(count) }),
        }
    }

    /// Frees a moved block's old frames, and a block that its owner gave up meanwhile.
    fn let_go(&self, pfn: Pfn) {
        let Some(page) = self.map.page(pfn) else { return };
        page.clear_flags(FrameFlags::HELD);
        let Some(order) = page.word().head_order() else { return };
        if page.word().marks().contains(Marks::MOVING) {
            return self.putback_movable(pfn);
        }
        self.free_own(pfn, order);
    }

    /// Brings a block back to where it was. One that its owner does not let go any more stays where it is now.
    fn move_back(&self, pfn: Pfn) {
        let Some(page) = self.map.page(pfn) else { return };
        page.clear_flags(FrameFlags::HELD);
        let Some(order) = page.word().head_order() else { return };
        if page.word().marks().contains(Marks::MOVING) {
            return self.putback_movable(pfn);
        }
        let new = Pfn::new(page.prev.load(Relaxed));
        match self.isolate_movable(new) {
            Ok(found) if found == order => {}
            // Its owner gave it up, and the frames are part of another block by now.
            Ok(_) => {
                self.putback_movable(new);
                return self.free_own(pfn, order);
            }
            Err(_) => return self.free_own(pfn, order),
        }
        match self.move_block(new, pfn, order) {
            Ok(()) => self.free_own(new, order),
            Err(_) => {
                self.putback_movable(new);
                self.free_own(pfn, order);
            }
        }
    }

    /// Takes every frame of the empty isolated `range` off the lists, as single pages.
    fn take_range(&self, zone: &Zone<'m, C, M>, range: PfnRange) -> Result<(), ContigError> {
        let mut next = range.start;
        while range.contains(next) {
            let head = self
                .map
                .head_of(next)
                .filter(|(head, _)| matches!(self.map.state(*head), Some(PageState::Isolated(_))));
            let taken = head.and_then(|(head, _)| {
                let order = zone.with_core(|core| core.take_at(head, Holder::Pageset))?;
                Some(PfnRange::new(head, Pfn::new(head.raw() + order.pages())))
            });
            let Some(block) = taken else {
                let why = Pinned::State(self.map.state(next).unwrap_or(PageState::Hole));
                self.give_pieces(zone, PfnRange::new(range.start, next));
                return Err(ContigError::Pinned { pfn: next, why });
            };
            let inside = block.intersection(range);
            self.give_pieces(zone, PfnRange::new(block.start, inside.start));
            self.give_pieces(zone, PfnRange::new(inside.end, block.end));
            for page in inside.iter().filter_map(|pfn| self.map.page(pfn)) {
                page.set_word(StateWord::allocated(Order::ZERO, MigrateType::Movable));
            }
            next = block.end;
        }
        range.iter().for_each(|pfn| {
            let ready = self.prepare_new(pfn, Order::ZERO, GfpFlags::MOVABLE);
            assert!(ready.is_ok(), "a page that is not to be zeroed: {ready:?}");
        });
        Ok(())
    }

    /// Gives frames that were taken back to the lists, in their largest blocks.
    pub(super) fn give_pieces(&self, zone: &Zone<'m, C, M>, range: PfnRange) {
        for page in range.iter().filter_map(|pfn| self.map.page(pfn)) {
            page.set_word(StateWord::INSIDE);
        }
        let mut next = range.start;
        while let Some(order) = Order::largest_at(next, range.end.raw().saturating_sub(next.raw())) {
            zone.with_core(|core| core.give_claimed(next, order));
            next = Pfn::new(next.raw() + order.pages());
        }
    }
}

/// What a block is moved to: as high a zone as it is in itself, without waiting and without a reserve.
fn target_flags(page: &Page) -> GfpFlags {
    let zone = match page.zone().zone() {
        ZoneType::Dma => GfpFlags::DMA,
        ZoneType::Normal => GfpFlags::empty(),
        ZoneType::HighMem | ZoneType::Movable => GfpFlags::HIGHMEM,
    };
    zone | GfpFlags::MOVABLE | GfpFlags::NOWARN | GfpFlags::NORETRY | GfpFlags::NOMEMALLOC | GfpFlags::NO_KSWAPD
}

/// Whether the allocator itself holds such a block: it leaves the range when pagesets are emptied, or is free.
fn is_allocators(state: PageState) -> bool {
    matches!(state, PageState::Free(_) | PageState::Isolated(_) | PageState::Pageset(_) | PageState::Guard(_))
}
