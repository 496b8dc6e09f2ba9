//! Frees, with every check before anything changes, and reference counts.
//!
//! Theory.      The head's state word is swapped from "allocated, of this order" to "in the allocator's hands" in one
//!              step. Whoever wins owns the block; a double free, a wrong order, a tail or a frame that was never
//!              allocated finds another word there and is refused, also when two CPUs try at once. The reference count
//!              of a block without owners is left at 1, so that the next owner finds it right without a store.
#![forbid(unsafe_code)]

use core::sync::atomic::Ordering::{AcqRel, Relaxed};

use crate::addr::Pfn;
use crate::buddy::{FreeCore, FreeError};
use crate::memmap::{Page, PageState, StateWord};
use crate::order::Order;
use crate::page_alloc::PageAllocator;
use crate::page_alloc::pageset::Heat;
use crate::sync::CurrentCpu;

impl<'m, M: CurrentCpu, C: FreeCore<'m>> PageAllocator<'m, M, C> {
    /// Gives up one reference to a block; with the last one the block is free.
    ///
    /// Context: any. Linux: `__free_pages`.
    ///
    /// # Errors
    /// [`FreeError`] with what was found; nothing has changed, and an error is logged.
    #[inline]
    pub fn free_pages(&self, pfn: Pfn, order: Order) -> Result<(), FreeError> {
        if order == Order::ZERO && self.free_hit(pfn) { Ok(()) } else { self.release(pfn, order, Heat::Hot) }
    }

    /// Gives up one reference to a page that is not in the cache (Linux: `free_hot_cold_page` with `cold`).
    ///
    /// # Errors
    /// See [`Self::free_pages`].
    pub fn free_cold_page(&self, pfn: Pfn) -> Result<(), FreeError> {
        self.release(pfn, Order::ZERO, Heat::Cold)
    }

    #[inline(never)]
    fn release(&self, pfn: Pfn, order: Order, heat: Heat) -> Result<(), FreeError> {
        let Some(page) = self.map.page(pfn) else { return self.refuse(pfn, order) };
        if page.refcount.load(Relaxed) != 1 {
            return self.release_shared(page, pfn, order);
        }
        if !page.claim(order) {
            return self.refuse(pfn, order);
        }
        let Some(zone) = self.zone_tagged(page.zone()) else { return self.refuse(pfn, order) };
        self.prepare_free(pfn, order);
        zone.free(pfn, order, heat);
        Ok(())
    }

    /// Drops one of several references.
    #[cold]
    #[inline(never)]
    fn release_shared(&self, page: &Page, pfn: Pfn, order: Order) -> Result<(), FreeError> {
        if page.word() != StateWord::allocated(order) {
            return self.refuse(pfn, order);
        }
        let drop_one = |count: u32| count.checked_sub(1).filter(|left| *left > 0);
        match page.refcount.fetch_update(AcqRel, Relaxed, drop_one) {
            Ok(_) => Ok(()),
            // The others went first, and this is the last one after all.
            Err(1) => self.release(pfn, order, Heat::Hot),
            Err(count) => {
                let error = FreeError::NotReferenced { pfn, count };
                log::error!("BUG: Bad page state: {error}");
                Err(error)
            }
        }
    }

    /// Says why a free cannot be.
    #[cold]
    #[inline(never)]
    fn refuse(&self, pfn: Pfn, order: Order) -> Result<(), FreeError> {
        let error = match self.map.state(pfn) {
            None => FreeError::NoSuchFrame(pfn),
            Some(_) if !order.aligns(pfn) => FreeError::Misaligned { pfn, order },
            Some(PageState::Allocated(found)) => FreeError::WrongOrder { pfn, order, found },
            Some(found) => FreeError::NotAllocated { pfn, order, found },
        };
        log::error!("BUG: Bad page state: {error}");
        Err(error)
    }

    /// Adds an owner to an allocated block (Linux: `get_page`).
    ///
    /// # Errors
    /// [`FreeError::NoSuchFrame`] or [`FreeError::NotAllocated`]; nothing has changed.
    pub fn get_page(&self, pfn: Pfn) -> Result<(), FreeError> {
        let page = self.map.page(pfn).ok_or(FreeError::NoSuchFrame(pfn))?;
        let word = page.word();
        if !word.is_in_use() {
            let found = self.map.state(pfn).unwrap_or(PageState::Reserved);
            return Err(FreeError::NotAllocated { pfn, order: Order::ZERO, found });
        }
        match page.refcount.fetch_update(Relaxed, Relaxed, |count| count.checked_add(1)) {
            Ok(_) => Ok(()),
            Err(count) => Err(FreeError::NotReferenced { pfn, count }),
        }
    }

    /// Gives up one reference to a block whose order only its head knows (Linux: `put_page`).
    ///
    /// # Errors
    /// See [`Self::free_pages`].
    pub fn put_page(&self, pfn: Pfn) -> Result<(), FreeError> {
        let order = self.map.page(pfn).and_then(|page| page.word().head_order()).unwrap_or_default();
        self.free_pages(pfn, order)
    }
}
