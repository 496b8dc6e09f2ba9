//! Pages of one MiB that has a table, the short way: what most devices and small areas need.
//!
//! Theory.      A range inside one table is a run of words. One look at all of them tells whether they are what the
//!              short way can change: free ones, or pages of one size, none of which the range cuts. Then nothing is
//!              split, no table is needed, and the words are written in one go. Any other range, and whatever has no
//!              encoding, is left to the general way, which also knows the error.
//! Source.      Linux `vmap_pte_range`, `vunmap_pte_range`, `apply_to_pte_range`.
#![forbid(unsafe_code)]

use core::sync::atomic::{AtomicU32, Ordering};

use super::batch::flush_range;
use super::change::SMALL_KIND;
use super::descriptor::SecondLevel;
use super::edit::{LARGE_WORDS, clear, is_clear};
use super::error::{MapError, edit};
use super::map::{Mapper, TableSource};
use super::prot::Prot;
use super::retire::{RETIRED, Said};
use super::soft::SoftEntry;
use super::span::{Piece, Span};
use super::walk::PageSize;
use crate::addr::{PAGE_SIZE, PhysAddr};
use crate::platform::{PhysMap, TlbControl};

/// What makes a word a small page; one without it is nothing, a large page, or retired.
const SMALL: u32 = 1 << 1;
/// What makes a word without [`SMALL`] a large page.
const LARGE: u32 = 1;
/// Bits of a word of a small page that are no part of its frame.
const OFFSET: u32 = PAGE_SIZE - 1;
/// Bytes of a large page less one.
const LARGE_MASK: u64 = PageSize::Large.bytes() as u64 - 1;

/// Software and hardware words of a run of pages.
type Words<'m> = (&'m [AtomicU32], &'m [AtomicU32]);

impl<'m, P: PhysMap + ?Sized, T: TlbControl + ?Sized> Mapper<'m, P, T> {
    /// The words of `span`, if it lies in one MiB, and that has a table.
    #[inline]
    fn words_of(&self, span: Span) -> Option<Words<'m>> {
        let (first, end) = span.sections();
        if end != first + 1 {
            return None;
        }
        let run = whole(span).run();
        Some(self.tables().half(first)?.run(run.page, run.pages))
    }

    /// Maps all of `span` from `pa` on, if it lies in one table and is free; `false`, and nothing done, if not, or if
    /// it would take pages of several sizes.
    pub(super) fn map_in_table(&mut self, span: Span, pa: PhysAddr, prot: Prot, largest: PageSize) -> bool {
        let Some((software, hardware)) = self.words_of(span).filter(|(_, hardware)| is_clear(hardware)) else {
            return false;
        };
        let is_large = largest >= PageSize::Large && hardware.len() >= LARGE_WORDS;
        // A frame that is not aligned has no encoding.
        if is_large && (span.va | span.end) & LARGE_MASK != 0 {
            return false;
        }
        let word = if is_large { SecondLevel::Large { base: pa, prot } } else { SecondLevel::Small { base: pa, prot } };
        let (Ok(mut hard), Ok(mut soft)) = (word.encode(), SoftEntry::kernel(pa, prot).encode()) else { return false };
        if is_large {
            // The words of a large page are alike.
            for words in hardware.as_chunks::<LARGE_WORDS>().0 {
                words.iter().for_each(|word| word.store(hard, Ordering::Relaxed));
                hard = hard.wrapping_add(PageSize::Large.bytes());
            }
        } else {
            for word in hardware {
                word.store(hard, Ordering::Relaxed);
                hard = hard.wrapping_add(PAGE_SIZE);
            }
        }
        for word in software {
            word.store(soft, Ordering::Relaxed);
            soft = soft.wrapping_add(PAGE_SIZE);
        }
        self.editor.sync_words(hardware);
        true
    }

    /// Unmaps and flushes all of `span`, if it lies in one table and is whole pages of one size; `false`, and nothing
    /// done, if not.
    ///
    /// # Errors
    /// [`MapError::Table`] when the table cannot be read.
    pub(super) fn unmap_in_table(&mut self, span: Span, source: &mut dyn TableSource) -> Result<bool, MapError> {
        let Some((software, hardware)) = self.words_of(span) else { return Ok(false) };
        let (all, any) = all_and_any(hardware);
        let step = if all & SMALL != 0 {
            PAGE_SIZE
        } else if any & SMALL == 0 && all & LARGE != 0 && (span.va | span.end) & LARGE_MASK == 0 {
            PageSize::Large.bytes()
        } else {
            return Ok(false);
        };
        clear(hardware);
        clear(software);
        self.editor.sync_words(hardware);
        let pages = u32::try_from(hardware.len()).unwrap_or(u32::MAX);
        // Powers of two: no division.
        flush_range(&self.editor, Span::at(span.va), step, pages >> (step / PAGE_SIZE).trailing_zeros());
        self.drop_empty_tables(span, source)?;
        Ok(true)
    }

    /// Retires all of `span`, if it lies in one table and is small pages; `None`, and nothing done, if not. Inside,
    /// what all of them said, if they agreed.
    pub(super) fn retire_in_table(&mut self, span: Span) -> Option<Option<Said>> {
        let (software, hardware) = self.words_of(span)?;
        let (all, any) = all_and_any(hardware);
        if all & SMALL == 0 {
            return None;
        }
        for (soft, hard) in software.iter().zip(hardware) {
            hard.store(hard.load(Ordering::Relaxed) & !OFFSET | RETIRED, Ordering::Relaxed);
            soft.store(0, Ordering::Relaxed);
        }
        self.editor.sync_words(hardware);
        Some(((all ^ any) & OFFSET == 0).then_some(Said { size: PageSize::Small, bits: all & OFFSET }))
    }

    /// Revives all of `span` as small pages with the bits `hard` and, of their software entries, `soft`, if it lies in
    /// one table and is retired; `false`, and nothing done, if not.
    pub(super) fn revive_in_table(&mut self, span: Span, hard: u32, soft: u32) -> bool {
        let Some((software, hardware)) = self.words_of(span) else { return false };
        let stray = |all: u32, word: &AtomicU32| all | (word.load(Ordering::Relaxed) ^ RETIRED) & OFFSET;
        if hardware.iter().fold(0, stray) != 0 {
            return false;
        }
        for (soft_word, hard_word) in software.iter().zip(hardware) {
            let frame = hard_word.load(Ordering::Relaxed) & !OFFSET;
            soft_word.store(frame | soft, Ordering::Relaxed);
            hard_word.store(frame | hard, Ordering::Relaxed);
        }
        self.editor.sync_words(hardware);
        true
    }

    /// Gives all of `span` another protection, if it lies in one table and is small pages whose kind of memory stays;
    /// `false`, and nothing done, if not.
    ///
    /// # Errors
    /// [`MapError::Table`] when the table cannot be read.
    pub(super) fn protect_in_table(
        &mut self,
        span: Span,
        prot: Prot,
        source: &mut dyn TableSource,
    ) -> Result<bool, MapError> {
        let Some((software, hardware)) = self.words_of(span) else { return Ok(false) };
        let zero = PhysAddr::ZERO;
        let hard = SecondLevel::Small { base: zero, prot }.encode();
        let (Ok(hard), Ok(soft)) = (hard, SoftEntry::kernel(zero, prot).encode()) else { return Ok(false) };
        let (all, any) = all_and_any(hardware);
        if all & SMALL == 0 || (all ^ hard | any ^ hard) & SMALL_KIND != 0 {
            return Ok(false);
        }
        for (soft_word, hard_word) in software.iter().zip(hardware) {
            let base = hard_word.load(Ordering::Relaxed) & !(PAGE_SIZE - 1);
            soft_word.store(base | soft, Ordering::Relaxed);
            hard_word.store(base | hard, Ordering::Relaxed);
        }
        self.editor.sync_words(hardware);
        let pages = u32::try_from(hardware.len()).unwrap_or(u32::MAX);
        flush_range(&self.editor, Span::at(span.va), PAGE_SIZE, pages);
        self.join(whole(span), source).map_err(|error| edit(Span::at(span.va), error))?;
        Ok(true)
    }
}

/// A span of one MiB as a piece.
const fn whole(span: Span) -> Piece {
    Piece { at: span.va, end: span.end }
}

/// The bits that all words have, and those that any of them has. There is at least one.
#[inline]
fn all_and_any(words: &[AtomicU32]) -> (u32, u32) {
    words.iter().map(|word| word.load(Ordering::Relaxed)).fold((u32::MAX, 0), |(all, any), raw| (all & raw, any | raw))
}
