//! Single pages of a 2 MiB window whose table always stays: the fixmap and pkmap.
//!
//! Theory.      A page of such a window has one owner at a time (a CPU's stack, a lock), and its table is never given
//!              back. So its two words are written without the mapper and without its lock: two stores.
//! Invariants.  Software and hardware entries of a page change together: both 0, or both of the same page.
//! Source.      Linux `set_fixmap_pte`, `pkmap_page_table`.

use core::ptr::NonNull;
use core::sync::atomic::{AtomicU32, Ordering};

use super::descriptor::SecondLevel;
use super::edit::EditError;
use super::prot::Prot;
use super::soft::SoftEntry;
use super::table::{PAGE_WORDS, TableError, Tables, half_address, section_index};
use crate::addr::{PAGE_SIZE, PGDIR_SIZE, Pfn, PhysAddr, VirtAddr};
use crate::paging::descriptor::FirstLevel;
use crate::platform::PhysMap;

/// Pages of such a window.
pub const SLOTS: usize = (PGDIR_SIZE / PAGE_SIZE) as usize;

/// The pages of one window, all with the same protection.
#[derive(Clone, Copy, Debug)]
pub struct Slots<'m> {
    /// Software entries first, then the hardware's.
    words: &'m [AtomicU32; PAGE_WORDS],
    base: VirtAddr,
    soft: u32,
    hard: u32,
}

impl<'m> Slots<'m> {
    /// The 2 MiB from `base`, a multiple of 2 MiB both of whose MiBs are linked to one table page.
    ///
    /// # Errors
    /// [`EditError`] when there is no such table, or `prot` has no encoding.
    ///
    /// # Safety
    /// The table must stay linked as long as the value lives. A page may be written only by the one who owns it, and
    /// no code, stack or reference may lie behind a mapping when it is removed or redirected.
    pub unsafe fn new<P: PhysMap + ?Sized>(
        tables: &Tables<'m, P>,
        base: VirtAddr,
        prot: Prot,
    ) -> Result<Self, EditError> {
        let index = section_index(base);
        let none = EditError::Run(base);
        let page = tables.pair_table(index).filter(|_| base.is_aligned(PGDIR_SIZE)).ok_or(none)?;
        let links_here = |half: usize| {
            let first = tables.first(half);
            matches!(first, Ok(FirstLevel::PageTable { table, .. }) if table == half_address(page, half))
        };
        if !links_here(index) || !links_here(index | 1) {
            return Err(none);
        }
        let hard = SecondLevel::Small { base: PhysAddr::ZERO, prot }.encode()?;
        let soft = SoftEntry::kernel(PhysAddr::ZERO, prot).encode()?;
        let words = tables.page(page)?.all().ok_or(TableError::Unreachable(page))?;
        Ok(Self { words, base, soft, hard })
    }

    /// The address of page `slot`, taken modulo [`SLOTS`].
    #[must_use]
    #[inline]
    #[expect(clippy::cast_possible_truncation, reason = "a slot's number has 9 bits")]
    pub const fn address(&self, slot: usize) -> VirtAddr {
        VirtAddr::new(self.base.raw().wrapping_add((slot % SLOTS) as u32 * PAGE_SIZE))
    }

    /// The words of page `slot`, taken modulo [`SLOTS`].
    #[must_use]
    #[inline(always)]
    pub fn words(&self, slot: usize) -> SlotWords<'m> {
        SlotWords { soft: &self.words[slot % SLOTS], hard: &self.words[SLOTS + slot % SLOTS] }
    }

    /// Maps page `slot` to `frame`, which is below 4 GiB. Not synced, not flushed.
    #[inline]
    pub fn set(&self, slot: usize, frame: Pfn) {
        self.set_words(self.words(slot), frame);
    }

    /// As [`Slots::set`], for who has the words at hand.
    #[inline(always)]
    pub fn set_words(&self, words: SlotWords<'m>, frame: Pfn) {
        let base = frame.raw().wrapping_mul(PAGE_SIZE);
        words.soft.store(base | self.soft, Ordering::Relaxed);
        words.hard.store(base | self.hard, Ordering::Relaxed);
    }

    /// Unmaps page `slot`. Not synced, not flushed.
    #[inline]
    pub fn clear(&self, slot: usize) {
        self.words(slot).clear();
    }

    /// Whether page `slot` is mapped.
    #[must_use]
    pub fn is_set(&self, slot: usize) -> bool {
        self.words[SLOTS + slot % SLOTS].load(Ordering::Relaxed) != 0
    }

    /// Where the hardware word of page `slot` lies, for `TlbControl::sync_table`, and its bytes.
    #[must_use]
    #[inline]
    pub fn bytes(&self, slot: usize) -> (NonNull<u8>, usize) {
        self.words(slot).bytes()
    }
}

/// The two words of one page of a window.
#[derive(Clone, Copy, Debug)]
pub struct SlotWords<'m> {
    soft: &'m AtomicU32,
    hard: &'m AtomicU32,
}

impl SlotWords<'_> {
    /// Unmaps the page. Not synced, not flushed.
    #[inline(always)]
    pub fn clear(self) {
        self.hard.store(0, Ordering::Relaxed);
        self.soft.store(0, Ordering::Relaxed);
    }

    /// Where the hardware word lies, for `TlbControl::sync_table`, and its bytes.
    #[must_use]
    #[inline]
    pub fn bytes(self) -> (NonNull<u8>, usize) {
        (NonNull::from(self.hard).cast(), 4)
    }
}

#[cfg(test)]
#[path = "tests/slots.rs"]
mod tests;
