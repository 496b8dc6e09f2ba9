//! Many pages at once, and blocks of odd sizes.
#![forbid(unsafe_code)]

use crate::addr::{Pfn, PfnRange};
use crate::buddy::{FreeCore, FreeError};
use crate::gfp::GfpFlags;
use crate::memmap::{PageState, StateWord};
use crate::migrate::MigrateType;
use crate::order::Order;
use crate::page_alloc::{AllocError, Hooks, PageAllocator};
use crate::sync::CurrentCpu;
use crate::trace::What;

impl<'m, M: CurrentCpu, C: FreeCore<'m>> PageAllocator<'m, M, C> {
    /// Makes single pages, each freed alone, of an allocated block. The caller owns the whole block; its references
    /// become one a page (Linux: `split_page`).
    ///
    /// # Errors
    /// [`FreeError`] when `pfn` heads no allocated block of `order`, or it has several owners; nothing has changed.
    pub fn split_page(&self, pfn: Pfn, order: Order) -> Result<(), FreeError> {
        let head = self.map.page(pfn).ok_or(FreeError::NoSuchFrame(pfn))?;
        let word = head.word();
        if !word.is_allocated_of(order) || !word.marks().is_empty() {
            let found = self.map.state(pfn).unwrap_or(PageState::Reserved);
            return Err(match found {
                PageState::Allocated(found) if found == order => FreeError::Whole { pfn },
                PageState::Allocated(found) => FreeError::WrongOrder { pfn, order, found },
                found => FreeError::NotAllocated { pfn, order, found },
            });
        }
        if word.references() != 1 {
            return Err(FreeError::NotReferenced { pfn, count: word.references() });
        }
        // Somebody who frees or shares the block meanwhile finds it taken, or it is his and not split.
        if !head.swap_word(word, StateWord::pageset(order)) {
            return Err(self.why_not(pfn, order));
        }
        let kind = MigrateType::new(word.kind_bits()).unwrap_or(MigrateType::Movable);
        self.tell_of_split(pfn, order);
        for page in (0..order.pages()).filter_map(|offset| self.map.page(Pfn::new(pfn.raw() | offset))) {
            page.set_word(StateWord::allocated(Order::ZERO, kind));
        }
        self.note(What::Cut, Some(pfn), order);
        Ok(())
    }

    /// Tells of a block that its pages are on their own now: the records of its owner, and the free lists, to which a
    /// largest one will come back in pieces.
    pub(super) fn tell_of_split(&self, pfn: Pfn, order: Order) {
        if C::GATHERS
            && order == Order::LARGEST
            && let Some(zone) = self.map.page(pfn).and_then(|page| self.zone_tagged(page.zone()))
        {
            zone.give_to_core(|core| core.was_cut(pfn));
        }
        if let Some(records) = self.page_owner().filter(|_| self.hooks().contains(Hooks::PAGE_OWNER)) {
            records.split(pfn, order);
        }
    }

    /// Allocates `pages` pages that follow each other, each of which can be freed alone; what the block of the next
    /// power of two has more is given back (Linux: `alloc_pages_exact`).
    ///
    /// # Errors
    /// [`AllocError::Size`] for 0 pages and for more than the largest block has; else see [`Self::alloc_pages`].
    pub fn alloc_pages_exact(&self, gfp: GfpFlags, pages: u32) -> Result<PfnRange, AllocError> {
        let order = Order::covering(pages).filter(|_| pages > 0).ok_or(AllocError::Size { pages })?;
        // Pages that are freed alone are no compound page.
        let first = self.alloc_pages(gfp - GfpFlags::COMP, order)?;
        let split = self.split_page(first, order);
        assert!(split.is_ok(), "a new block could not be split: {split:?}");
        let whole = PfnRange::new(first, Pfn::new(first.raw() + order.pages()));
        let used = PfnRange::new(first, Pfn::new(first.raw() + pages));
        let rest = self.free_pages_exact(PfnRange::new(used.end, whole.end));
        assert!(rest.is_ok(), "the rest of a new block could not be given back: {rest:?}");
        Ok(used)
    }

    /// Frees each page of a range that was allocated page by page or exactly (Linux: `free_pages_exact`).
    ///
    /// # Errors
    /// The first page that cannot be freed; the pages before it are free, it and those behind are as they were.
    #[track_caller]
    pub fn free_pages_exact(&self, range: PfnRange) -> Result<(), FreeError> {
        range.iter().try_for_each(|pfn| self.free_pages(pfn, Order::ZERO))
    }
}
