//! Writes to the tables: single first-level words and runs of pages, with the order that the MMU needs.
//!
//! Theory.      A second-level table is complete and synced before a first-level word points to it. A word is replaced
//!              by one store. Whoever removes or narrows a mapping flushes afterwards, before the frame or the table
//!              serves anything else.
//! Invariants.  Software and hardware entries of a page change together: both 0, or both of the same page.
//! Not here.    Which addresses may change, and what to do when it fails half-way (`map`).
//! Source.      Arm ARM DDI 0406C B3.10 (TLB maintenance), A3.8.3 (ordering of table updates).

use core::sync::atomic::{AtomicU32, Ordering};

use super::descriptor::{EncodeError, FirstLevel, LARGE_PAGE_SIZE, SecondLevel};
use super::prot::{Domain, Prot};
use super::soft::SoftEntry;
use super::table::{HALF_WORDS, TableError, Tables, bytes_of, half_address};
use super::walk::page_va;
use crate::addr::{PAGE_SIZE, Pfn, PhysAddr, VirtAddr};
use crate::platform::{PhysMap, TlbControl};

/// Words of a large page.
pub(crate) const LARGE_WORDS: usize = (LARGE_PAGE_SIZE / PAGE_SIZE) as usize;

/// Why a table was not written.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum EditError {
    /// The table cannot be read.
    Table(TableError),
    /// The descriptor cannot be written.
    Encode(EncodeError),
    /// The run of pages is longer than the rest of its MiB.
    Run(VirtAddr),
}

impl From<TableError> for EditError {
    fn from(error: TableError) -> Self {
        Self::Table(error)
    }
}

impl From<EncodeError> for EditError {
    fn from(error: EncodeError) -> Self {
        Self::Encode(error)
    }
}

/// Some pages of one MiB.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Run {
    /// The MiB.
    pub index: usize,
    /// Its first page.
    pub page: usize,
    /// How many pages.
    pub pages: usize,
}

/// A set of tables that can be written.
#[derive(Debug)]
pub struct Editor<'m, P: ?Sized, T: ?Sized> {
    tables: Tables<'m, P>,
    tlb: &'m T,
    domain: Domain,
    /// New tables get PXN: what their pages may execute, users may.
    pxn: bool,
}

impl<'m, P: PhysMap + ?Sized, T: TlbControl + ?Sized> Editor<'m, P, T> {
    /// Writes to `tables`, with `tlb` for the maintenance.
    ///
    /// # Safety
    /// There is one `Editor` of these tables at a time. Every table page that is linked through it is a frame of the
    /// tables' own. If the MMU walks these tables, no code, stack or reference may lie behind a mapping when the caller
    /// removes or redirects it.
    pub const unsafe fn new(tables: Tables<'m, P>, tlb: &'m T) -> Self {
        Self { tables, tlb, domain: Domain::KERNEL, pxn: false }
    }

    /// From now on, what the first level gets new is in [`Domain::USER`]; new tables have PXN, if `pxn` says that the
    /// CPU knows it (ID_MMFR0 bits 3:0 are 4 or more).
    #[must_use]
    pub const fn of_user(self, pxn: bool) -> Self {
        Self { domain: Domain::USER, pxn, ..self }
    }

    /// The domain of what the first level gets new.
    #[must_use]
    pub const fn domain(&self) -> Domain {
        self.domain
    }

    /// The tables, to read.
    #[must_use]
    pub const fn tables(&self) -> &Tables<'m, P> {
        &self.tables
    }

    /// Replaces the first-level word of the MiB `index`. Not synced, not flushed.
    ///
    /// # Errors
    /// [`EditError::Encode`]; the word is as it was.
    pub fn set_first(&mut self, index: usize, descriptor: FirstLevel) -> Result<(), EditError> {
        let raw = descriptor.encode()?;
        if let Some(word) = self.tables.first_level().get(index) {
            word.store(raw, Ordering::Relaxed);
        }
        Ok(())
    }

    /// Clears the first-level words from `first` up to `end`. Not synced, not flushed.
    pub fn clear_first(&mut self, first: usize, end: usize) {
        for word in self.tables.first_level().get(first..end).unwrap_or(&[]) {
            word.store(0, Ordering::Relaxed);
        }
    }

    /// Replaces the first-level word of the MiB `index` by a fault with something in the bits that are ignored.
    pub(super) fn set_first_raw(&mut self, index: usize, fault: u32) {
        debug_assert_eq!(fault & 3, 0, "a fault");
        if let Some(word) = self.tables.first_level().get(index) {
            word.store(fault & !3, Ordering::Relaxed);
        }
    }

    /// Points the MiB `index` to its half of the table page `page`. Not synced, not flushed.
    ///
    /// # Errors
    /// [`EditError::Encode`] when `page` is no place for a table.
    pub fn link(&mut self, index: usize, page: PhysAddr) -> Result<(), EditError> {
        let table = half_address(page, index);
        self.set_first(index, FirstLevel::PageTable { table, domain: self.domain, pxn: self.pxn })
    }

    /// Clears one half of the table page `page`: the one of the MiB `index`.
    ///
    /// # Errors
    /// [`EditError::Table`] when it cannot be reached.
    pub fn clear_half(&mut self, page: PhysAddr, index: usize) -> Result<(), EditError> {
        self.clear_run(page, Run { index, page: 0, pages: HALF_WORDS })
    }

    /// Writes small pages to the half of table page `page` that `run` names: frames that follow each other from `pa`.
    /// Not synced, not flushed.
    ///
    /// # Errors
    /// [`EditError`]; nothing is written.
    pub fn fill_small(&mut self, page: PhysAddr, run: Run, pa: PhysAddr, prot: Prot) -> Result<(), EditError> {
        let last = pa.saturating_add((run.pages as u64).saturating_sub(1) * u64::from(PAGE_SIZE));
        SecondLevel::Small { base: last, prot }.encode()?;
        let mut hard = SecondLevel::Small { base: pa, prot }.encode()?;
        let mut soft = SoftEntry::kernel(pa, prot).encode()?;
        let (software, hardware) = self.run_words(page, run)?;
        for (soft_word, hard_word) in software.iter().zip(hardware) {
            soft_word.store(soft, Ordering::Relaxed);
            hard_word.store(hard, Ordering::Relaxed);
            soft = soft.wrapping_add(PAGE_SIZE);
            hard = hard.wrapping_add(PAGE_SIZE);
        }
        Ok(())
    }

    /// Writes small pages to the half of table page `page` that `run` names, one to each of `frames`, which are below
    /// 4 GiB. Not synced, not flushed.
    ///
    /// # Errors
    /// [`EditError`]; nothing is written.
    pub fn fill_frames(&mut self, page: PhysAddr, run: Run, frames: &[Pfn], prot: Prot) -> Result<(), EditError> {
        let hard = SecondLevel::Small { base: PhysAddr::ZERO, prot }.encode()?;
        let soft = SoftEntry::kernel(PhysAddr::ZERO, prot).encode()?;
        let (software, hardware) = self.run_words(page, run)?;
        for ((soft_word, hard_word), frame) in software.iter().zip(hardware).zip(frames) {
            let base = frame.raw().wrapping_mul(PAGE_SIZE);
            soft_word.store(base | soft, Ordering::Relaxed);
            hard_word.store(base | hard, Ordering::Relaxed);
        }
        Ok(())
    }

    /// Writes one large page, sixteen times, to the half of table page `page`; `first` is its first page in the MiB.
    ///
    /// # Errors
    /// [`EditError`]; nothing is written.
    pub fn fill_large(
        &mut self,
        page: PhysAddr,
        index: usize,
        first: usize,
        at: (PhysAddr, Prot),
    ) -> Result<(), EditError> {
        let (pa, prot) = at;
        let hard = SecondLevel::Large { base: pa, prot }.encode()?;
        let mut soft = SoftEntry::kernel(pa, prot).encode()?;
        let run = Run { index, page: first, pages: LARGE_WORDS };
        if !first.is_multiple_of(LARGE_WORDS) {
            return Err(EditError::Run(run_va(run)));
        }
        let (software, hardware) = self.run_words(page, run)?;
        for (soft_word, hard_word) in software.iter().zip(hardware) {
            soft_word.store(soft, Ordering::Relaxed);
            hard_word.store(hard, Ordering::Relaxed);
            soft = soft.wrapping_add(PAGE_SIZE);
        }
        Ok(())
    }

    /// Clears a run of pages in table page `page`. Not synced, not flushed.
    ///
    /// # Errors
    /// [`EditError`]; nothing is written.
    pub fn clear_run(&mut self, page: PhysAddr, run: Run) -> Result<(), EditError> {
        let (software, hardware) = self.run_words(page, run)?;
        clear(hardware);
        clear(software);
        Ok(())
    }

    /// Whether no page of the table page `page` is mapped or retired, in either half. The hardware's words tell: where
    /// one is 0 its software entry is, too.
    ///
    /// # Errors
    /// [`EditError::Table`].
    pub fn table_is_empty(&self, page: PhysAddr) -> Result<bool, EditError> {
        let words = self.tables.page(page)?;
        let is_empty = (0..2).all(|half| is_clear(words.hardware(half)));
        debug_assert!(!is_empty || (0..2).all(|half| is_clear(words.software(half))), "{page}: both are 0, or none");
        Ok(is_empty)
    }

    /// Makes the table page `page` visible to the MMU's walk.
    ///
    /// # Errors
    /// [`EditError::Table`].
    pub fn sync_page(&self, page: PhysAddr) -> Result<(), EditError> {
        let (ptr, bytes) = self.tables.page(page)?.bytes();
        self.tlb.sync_table(ptr, bytes);
        Ok(())
    }

    /// Makes the hardware words of `run` in the table page `page` visible to the MMU's walk.
    ///
    /// # Errors
    /// [`EditError`].
    pub fn sync_run(&self, page: PhysAddr, run: Run) -> Result<(), EditError> {
        let (_, hardware) = self.run_words(page, run)?;
        let (ptr, bytes) = bytes_of(hardware);
        self.tlb.sync_table(ptr, bytes);
        Ok(())
    }

    /// Makes the first-level words from `first` up to `end` visible to the MMU's walk.
    pub fn sync_first(&self, first: usize, end: usize) {
        if let Some(words) = self.tables.first_level().get(first..end) {
            self.sync_first_words(first, words);
        }
    }

    /// The same for words that are at hand.
    #[inline]
    pub(super) fn sync_first_words(&self, first: usize, words: &[AtomicU32]) {
        self.tlb.sync_first(first, words);
    }

    /// Makes hardware words visible to the MMU's walk.
    #[inline]
    pub(super) fn sync_words(&self, hardware: &[AtomicU32]) {
        let (ptr, bytes) = bytes_of(hardware);
        self.tlb.sync_table(ptr, bytes);
    }

    /// Drops what the TLBs know of the page (or the whole MiB, if it is or was a section) at `va`.
    pub fn flush_page(&self, va: VirtAddr) {
        self.tlb.flush_page(va);
    }

    /// Drops all that the TLBs know.
    pub fn flush_all(&self) {
        self.tlb.flush_all();
    }

    /// Software and hardware words of a run.
    pub(super) fn run_words(&self, page: PhysAddr, run: Run) -> Result<(&'m [AtomicU32], &'m [AtomicU32]), EditError> {
        let words = self.tables.page(page)?;
        let end = run.page.saturating_add(run.pages);
        let software = words.software(run.index).get(run.page..end).ok_or(EditError::Run(run_va(run)))?;
        let hardware = words.hardware(run.index).get(run.page..end).ok_or(EditError::Run(run_va(run)))?;
        Ok((software, hardware))
    }
}

/// Words that are cleared or looked at in one round of a loop.
const ROUND: usize = 16;

/// Writes 0 to all of `words`.
pub(super) fn clear(words: &[AtomicU32]) {
    let (rounds, rest) = words.as_chunks::<ROUND>();
    rounds.iter().for_each(|round| round.iter().for_each(|word| word.store(0, Ordering::Relaxed)));
    rest.iter().for_each(|word| word.store(0, Ordering::Relaxed));
}

/// Whether all of `words` are 0.
pub(super) fn is_clear(words: &[AtomicU32]) -> bool {
    let any = |words: &[AtomicU32]| words.iter().fold(0, |any, word| any | word.load(Ordering::Relaxed));
    let (rounds, rest) = words.as_chunks::<ROUND>();
    rounds.iter().all(|round| any(round) == 0) && any(rest) == 0
}

/// Where a run begins.
fn run_va(run: Run) -> VirtAddr {
    page_va(run.index, run.page)
}

#[cfg(test)]
#[path = "tests/edit.rs"]
mod tests;
