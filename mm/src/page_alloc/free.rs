//! Frees, with every check before anything changes, and reference counts.
//!
//! Theory.      The head's state word is swapped from "allocated, of this order" to "in the allocator's hands" in one
//!              step. Whoever wins owns the block; a double free, a wrong order, a tail or a frame that was never
//!              allocated finds another word there and is refused, also when two CPUs try at once. The same word counts
//!              the owners and carries marks, so a block that has several or any is not claimed either, and then each
//!              is looked at.
//! Source.      Linux 4.1: `__free_pages`, `free_pages_check`, `get_page`, `put_page`.
#![forbid(unsafe_code)]

use core::panic::Location;
use core::sync::atomic::Ordering::{AcqRel, Relaxed};

use crate::addr::Pfn;
use crate::buddy::{FreeCore, FreeError};
use crate::memmap::{FrameFlags, Marks, Page, PageState, StateWord};
use crate::migrate::MigrateType;
use crate::order::Order;
use crate::page_alloc::PageAllocator;
use crate::page_alloc::movable::forget_owner;
use crate::page_alloc::pageset::Heat;
use crate::sync::CurrentCpu;

impl<'m, M: CurrentCpu, C: FreeCore<'m>> PageAllocator<'m, M, C> {
    /// Gives up one reference to a block; with the last one the block is free.
    ///
    /// Context: any. Linux: `__free_pages`.
    ///
    /// # Errors
    /// [`FreeError`] with what was found; nothing has changed, and the page and the caller are logged.
    #[inline]
    #[track_caller]
    pub fn free_pages(&self, pfn: Pfn, order: Order) -> Result<(), FreeError> {
        if self.free_hit(pfn, order) { Ok(()) } else { self.release(pfn, order, Heat::Hot) }
    }

    /// Gives up one reference to a page that is not in the cache (Linux: `free_hot_cold_page` with `cold`).
    ///
    /// # Errors
    /// See [`Self::free_pages`].
    #[track_caller]
    pub fn free_cold_page(&self, pfn: Pfn) -> Result<(), FreeError> {
        self.release(pfn, Order::ZERO, Heat::Cold)
    }

    /// Gives up one reference to a block that was no hit.
    ///
    /// # Errors
    /// See [`Self::free_pages`].
    #[cold]
    #[inline(never)]
    #[track_caller]
    pub(super) fn release(&self, pfn: Pfn, order: Order, heat: Heat) -> Result<(), FreeError> {
        let Some(page) = self.map.page(pfn) else { return self.refuse(pfn, order) };
        let Some(zone) = self.zone_tagged(page.zone()) else { return self.refuse(pfn, order) };
        let Some(owned) = page.claim(order) else { return self.release_marked(page, pfn, order, heat) };
        if !self.hooks().is_empty() {
            return self.free_followed(page, pfn, order, heat, owned);
        }
        zone.free(pfn, order, kind_of(owned), heat);
        Ok(())
    }

    /// Frees a block that was claimed from the state `before`, through whatever is switched on, or puts that state
    /// back.
    #[cold]
    #[inline(never)]
    #[track_caller]
    fn free_followed(
        &self,
        page: &Page,
        pfn: Pfn,
        order: Order,
        heat: Heat,
        before: StateWord,
    ) -> Result<(), FreeError> {
        let Some(zone) = self.zone_tagged(page.zone()) else { return self.refuse(pfn, order) };
        if let Err(error) = self.prepare_free(page, pfn, order, heat) {
            page.set_word(before);
            self.report_bad_page(pfn, &error, Location::caller());
            return Err(error);
        }
        zone.free(pfn, order, kind_of(before), heat);
        Ok(())
    }

    /// Frees a block whose state is not just "allocated, of this order, one owner": it has more of them, or marks, or
    /// the free is wrong.
    #[cold]
    #[inline(never)]
    #[track_caller]
    fn release_marked(&self, page: &Page, pfn: Pfn, order: Order, heat: Heat) -> Result<(), FreeError> {
        loop {
            let word = page.word();
            let marks = word.marks();
            if !word.is_allocated_of(order) || marks.contains(Marks::ORPHAN) {
                return self.refuse(pfn, order);
            }
            let less = word.unshared();
            if less.is_none() && marks.contains(Marks::MAPPED) {
                return self.refuse(pfn, order);
            }
            // What is left to the others, or to whoever moves the block.
            let left = match less {
                None if marks.contains(Marks::MOVING) => Some(word.marked(marks | Marks::ORPHAN)),
                less => less,
            };
            if let Some(left) = left {
                if page.swap_word(word, left) {
                    return Ok(());
                }
                continue;
            }
            if !page.swap_word(word, StateWord::pageset(order)) {
                continue;
            }
            if marks.contains(Marks::MOVABLE) {
                forget_owner(page);
            }
            if marks.contains(Marks::COMPOUND) {
                self.destroy_compound(page, pfn, order);
            }
            page.clear_flags(FrameFlags::REPORTED);
            return self.free_followed(page, pfn, order, heat, word.marked(marks - Marks::MOVABLE));
        }
    }

    /// Says why a free cannot be.
    #[cold]
    #[inline(never)]
    #[track_caller]
    fn refuse(&self, pfn: Pfn, order: Order) -> Result<(), FreeError> {
        let error = self.why_not(pfn, order);
        self.report_bad_page(pfn, &error, Location::caller());
        Err(error)
    }

    /// Why a block of `order` at `pfn` is not the caller's to free or to change.
    pub(super) fn why_not(&self, pfn: Pfn, order: Order) -> FreeError {
        let marks = self.map.page(pfn).map_or(Marks::empty(), |page| page.word().marks());
        match self.map.state(pfn) {
            None => FreeError::NoSuchFrame(pfn),
            Some(_) if !order.aligns(pfn) => FreeError::Misaligned { pfn, order },
            Some(PageState::Allocated(found)) if found != order => FreeError::WrongOrder { pfn, order, found },
            Some(PageState::Allocated(_)) if marks.contains(Marks::MAPPED) => {
                FreeError::Mapped { pfn, count: self.map.page(pfn).map_or(0, Page::mapcount) }
            }
            Some(PageState::Allocated(_)) if marks.intersects(Marks::COMPOUND | Marks::MOVABLE) => {
                FreeError::Whole { pfn }
            }
            Some(found) => FreeError::NotAllocated { pfn, order, found },
        }
    }

    /// Adds an owner to an allocated block, by any page of a compound one (Linux: `get_page`).
    ///
    /// # Errors
    /// [`FreeError::NoSuchFrame`] or [`FreeError::NotAllocated`]; nothing has changed.
    pub fn get_page(&self, pfn: Pfn) -> Result<(), FreeError> {
        let head = self.compound_head(pfn);
        let page = self.map.page(head).ok_or(FreeError::NoSuchFrame(pfn))?;
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

    /// Gives up one reference to a block whose order only its head knows, by any page of a compound one
    /// (Linux: `put_page`).
    ///
    /// # Errors
    /// See [`Self::free_pages`].
    #[track_caller]
    pub fn put_page(&self, pfn: Pfn) -> Result<(), FreeError> {
        let head = self.compound_head(pfn);
        let order = self.map.page(head).and_then(|page| page.word().head_order()).unwrap_or_default();
        self.free_pages(head, order)
    }

    /// Counts a table entry that maps the block at `pfn`, which cannot be freed until all are gone
    /// (Linux: `page_add_file_rmap`).
    ///
    /// # Errors
    /// [`FreeError::NoSuchFrame`] or [`FreeError::NotAllocated`]; nothing has changed.
    pub fn add_mapping(&self, pfn: Pfn) -> Result<(), FreeError> {
        let page = self.map.page(pfn).ok_or(FreeError::NoSuchFrame(pfn))?;
        let not_allocated = || {
            let found = self.map.state(pfn).unwrap_or(PageState::Reserved);
            Err(FreeError::NotAllocated { pfn, order: Order::ZERO, found })
        };
        if !matches!(page.word().head_state(), Some(PageState::Allocated(_))) {
            return not_allocated();
        }
        page.mapcount.fetch_add(1, AcqRel);
        if mark_mapped(page) {
            return Ok(());
        }
        // Its owner gave it up in between.
        page.mapcount.fetch_sub(1, AcqRel);
        not_allocated()
    }

    /// Takes back one [`Self::add_mapping`] (Linux: `page_remove_rmap`).
    ///
    /// # Errors
    /// [`FreeError::NoSuchFrame`], or [`FreeError::Mapped`] with 0 when nothing maps the block; nothing has changed.
    pub fn remove_mapping(&self, pfn: Pfn) -> Result<(), FreeError> {
        let page = self.map.page(pfn).ok_or(FreeError::NoSuchFrame(pfn))?;
        let lower = |raw: u32| (raw != u32::MAX).then(|| raw.wrapping_sub(1));
        page.mapcount.fetch_update(AcqRel, Relaxed, lower).map_err(|_| FreeError::Mapped { pfn, count: 0 })?;
        mark_mapped(page);
        Ok(())
    }
}

/// Makes the mark say what the count says, whatever other CPUs do to it meanwhile; `false`, and the word untouched,
/// when the block has no owner any more.
fn mark_mapped(page: &Page) -> bool {
    loop {
        let word = page.word();
        // A block that a value owns has marks too.
        let marks = Marks::from_bits_truncate(word.raw());
        if word.references() == 0 || marks.contains(Marks::ORPHAN) {
            return false;
        }
        let mark = if page.mapcount() > 0 { Marks::MAPPED } else { Marks::empty() };
        let marked = word.marked((marks - Marks::MAPPED) | mark);
        let is_set = word == marked || page.swap_word(word, marked);
        if is_set && (page.mapcount() == 0) == mark.is_empty() {
            return true;
        }
    }
}

/// What a block was allocated for.
#[inline]
fn kind_of(owned: StateWord) -> MigrateType {
    MigrateType::new(owned.kind_bits()).unwrap_or(MigrateType::Movable)
}
