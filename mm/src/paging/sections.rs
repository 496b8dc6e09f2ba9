//! Whole sections, the short way: what most devices and large areas need.
//!
//! Theory.      A range of whole MiBs that has no table anywhere is first-level words alone: nothing is cut, no table
//!              is needed or becomes empty. Any other range is left to the general way. A table that maps nothing,
//!              which may be kept for a while (`TableSource::postpone`), makes way for a section.
#![forbid(unsafe_code)]

use core::sync::atomic::Ordering;

use super::batch::flush_range;
use super::descriptor::section;
use super::edit::is_clear;
use super::error::{MapError, edit};
use super::map::{Mapper, TableSource};
use super::prot::Prot;
use super::span::Span;
use super::table::{Half, section_va};
use crate::addr::{PhysAddr, SECTION_SIZE};
use crate::platform::{PhysMap, TlbControl};

/// Bits that tell a section from everything else: bits 1:0 (bit 0 is PXN), and bit 18 of a supersection.
const KIND: u32 = 1 << 18 | 1 << 1;
const SECTION: u32 = 1 << 1;

/// Whether a first-level word is a sixteenth of a supersection.
pub(super) const fn is_supersection(word: u32) -> bool {
    word & KIND == KIND
}

impl<P: PhysMap + ?Sized, T: TlbControl + ?Sized> Mapper<'_, P, T> {
    /// Maps all of `span` by sections from `pa` on, if all of it is whole MiBs of nothing; `false` if it is not.
    pub(super) fn map_sections(
        &mut self,
        span: Span,
        pa: PhysAddr,
        prot: Prot,
        source: &mut dyn TableSource,
    ) -> Result<bool, MapError> {
        if !span.is_whole_sections() || !pa.is_aligned(u64::from(SECTION_SIZE)) {
            return Ok(false);
        }
        let (first, end) = span.sections();
        let words = self.tables().first_level().get(first..end).unwrap_or(&[]);
        let all = words.iter().fold(0, |all, word| all | word.load(Ordering::Relaxed));
        if all != 0 && !(first..end).all(|index| self.maps_nothing(index)) {
            return Ok(false);
        }
        let section = section(pa, prot, self.editor.domain());
        let mut raw = section.map_err(|error| edit(Span::at(span.va), error.into()))?;
        if all != 0 {
            (first..end).for_each(|index| self.unlink_empty(index, source));
        }
        for word in words {
            word.store(raw, Ordering::Relaxed);
            raw = raw.wrapping_add(SECTION_SIZE);
        }
        self.editor.sync_first_words(first, words);
        Ok(true)
    }

    /// Whether the MiB `index` has no descriptor, or a table in which nothing is mapped or retired.
    #[cold]
    fn maps_nothing(&self, index: usize) -> bool {
        let unused = |half: Half<'_>| is_clear(half.hardware) && is_clear(half.software);
        self.tables().first_word(index) == 0 || self.tables().half(index).is_some_and(unused)
    }

    /// Takes the MiB `index` from its table, in which nothing is mapped; the page goes back with its last MiB.
    #[cold]
    fn unlink_empty(&mut self, index: usize, source: &mut dyn TableSource) {
        let Some(page) = self.table_of(index) else { return };
        self.editor.clear_first(index, index + 1);
        self.editor.sync_first(index, index + 1);
        self.editor.flush_page(section_va(index));
        if self.tables().pair_table(index).is_none() {
            source.give_back(page);
        }
    }

    /// Unmaps and flushes all of `span`, if it is whole sections; `false` if it is not.
    pub(super) fn unmap_sections(&mut self, span: Span) -> bool {
        let (first, end) = span.sections();
        let words = self.tables().first_level().get(first..end).unwrap_or(&[]);
        if !span.is_whole_sections() || !words.iter().all(|word| word.load(Ordering::Relaxed) & KIND == SECTION) {
            return false;
        }
        words.iter().for_each(|word| word.store(0, Ordering::Relaxed));
        self.editor.sync_first_words(first, words);
        flush_range(&self.editor, Span::at(span.va), SECTION_SIZE, u32::try_from(words.len()).unwrap_or(u32::MAX));
        true
    }
}
