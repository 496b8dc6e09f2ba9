//! Frees, with every check before anything changes, and reference counts.
//!
//! Theory.      The head's state word is swapped from "allocated, of this order" to "in the allocator's hands" in one
//!              step. Whoever wins owns the block; a double free, a wrong order, a tail or a frame that was never
//!              allocated finds another word there and is refused, also when two CPUs try at once. The same word counts
//!              the owners, so a block that has several is not claimed either.
#![forbid(unsafe_code)]

use crate::addr::Pfn;
use crate::buddy::{FreeCore, FreeError};
use crate::memmap::{Page, PageState, StateWord};
use crate::migrate::MigrateType;
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
        if self.free_hit(pfn, order) { Ok(()) } else { self.release(pfn, order, Heat::Hot) }
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
        let Some(zone) = self.zone_tagged(page.zone()) else { return self.refuse(pfn, order) };
        let Some(owned) = page.claim(order) else { return self.release_shared(page, pfn, order) };
        self.prepare_free(pfn, order);
        let kind = MigrateType::new(owned.kind_bits()).unwrap_or(MigrateType::Movable);
        zone.free(pfn, order, kind, heat);
        Ok(())
    }

    /// Drops one of several references, if there are several.
    #[cold]
    #[inline(never)]
    fn release_shared(&self, page: &Page, pfn: Pfn, order: Order) -> Result<(), FreeError> {
        let drop_one = |word: StateWord| word.is_allocated_of(order).then(|| word.unshared())?;
        match page.update(drop_one) {
            Ok(()) => Ok(()),
            // The others went first, and this is the last one after all.
            Err(word) if word.is_sole_of(order) => self.release(pfn, order, Heat::Hot),
            Err(_) => self.refuse(pfn, order),
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
        let add_one = |word: StateWord| word.is_in_use().then(|| word.shared())?;
        match page.update(add_one) {
            Ok(()) => Ok(()),
            Err(word) if word.is_in_use() => Err(FreeError::NotReferenced { pfn, count: word.references() }),
            Err(_) => {
                let found = self.map.state(pfn).unwrap_or(PageState::Reserved);
                Err(FreeError::NotAllocated { pfn, order: Order::ZERO, found })
            }
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
