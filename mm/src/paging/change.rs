//! Unmaps ranges of addresses, gives them other protections and other frames.
//!
//! Theory.      A range that begins or ends inside a larger descriptor is first cut there (`split`). A changed mapping
//!              is broken before it is made anew when its kind of memory changes; new permissions replace old ones by
//!              one store, so that live code and stacks can be protected.
//! Invariants.  As `map`: checks and tables first, then stores that cannot fail.
#![forbid(unsafe_code)]

use core::sync::atomic::Ordering;

use super::batch::Batch;
use super::descriptor::{FirstLevel, SecondLevel};
use super::edit::{EditError, LARGE_WORDS, Run};
use super::error::{MapError, edit};
use super::map::{Mapper, TableSource, check_frames, encodable_page};
use super::prot::Prot;
use super::soft::SoftEntry;
use super::span::{Piece, Span};
use super::table::{HALF_WORDS, page_index, section_index, section_va};
use super::walk::{PageSize, Translation};
use crate::addr::{PAGE_SIZE, PhysAddr, SECTION_SIZE, VirtAddr};
use crate::platform::{PhysMap, TlbControl};

/// Bits of a small page's word that say which kind of memory it is: TEX[0], C, B, S.
pub(super) const SMALL_KIND: u32 = 1 << 6 | 3 << 2 | 1 << 10;

/// One descriptor (with its copies), from its first address on.
#[derive(Clone, Copy, Debug)]
pub(super) struct Leaf {
    pub(super) va: VirtAddr,
    /// `pa` is what `va` maps to.
    pub(super) to: Translation,
}

impl Leaf {
    /// One past its last position.
    pub(super) fn end(&self) -> u64 {
        u64::from(self.va.raw()) + u64::from(self.to.size.bytes())
    }
}

impl<P: PhysMap + ?Sized, T: TlbControl + ?Sized> Mapper<'_, P, T> {
    /// Unmaps `bytes` bytes at `va`: all of it must be mapped. Tables for the cuts come from `source`; tables that
    /// become empty go back to it.
    ///
    /// # Errors
    /// [`MapError`] with the first offending address.
    pub fn unmap(&mut self, va: VirtAddr, bytes: u64, source: &mut dyn TableSource) -> Result<(), MapError> {
        let span = Span::new(va, bytes)?;
        if self.unmap_in_table(span, source)? || self.unmap_sections(span) {
            return Ok(());
        }
        self.check_mapped(span, None)?;
        self.split_at_borders(span, source)?;
        let mut batch = Batch::new();
        for piece in span.pieces() {
            let index = piece.index();
            match self.table_of(index) {
                Some(page) => {
                    let run = piece.run();
                    let cleared = self.editor.clear_run(page, run);
                    cleared.and_then(|()| self.editor.sync_run(page, run)).map_err(|error| edit(va, error))?;
                    batch.push_pages(piece.va(), run.pages);
                }
                None => {
                    self.editor.clear_first(index, index + 1);
                    batch.push(piece.va(), SECTION_SIZE);
                }
            }
        }
        let (first, end) = span.sections();
        self.editor.sync_first(first, end);
        batch.flush(&self.editor);
        self.drop_empty_tables(span, source)
    }

    /// Gives `bytes` bytes at `va` another protection: all of it must be mapped. Tables for the cuts come from
    /// `source`; a table whose 256 pages can be said by a section becomes one and goes back to it.
    ///
    /// # Errors
    /// [`MapError`] with the first offending address.
    pub fn protect(
        &mut self,
        va: VirtAddr,
        bytes: u64,
        prot: Prot,
        source: &mut dyn TableSource,
    ) -> Result<(), MapError> {
        let span = Span::new(va, bytes)?;
        if self.protect_in_table(span, prot, source)? {
            return Ok(());
        }
        self.check_mapped(span, Some(prot))?;
        self.split_at_borders(span, source)?;
        let mut batch = Batch::new();
        for piece in span.pieces() {
            if !self.protect_small(piece, prot, &mut batch)? {
                self.protect_leaves(piece, prot, &mut batch)?;
            }
        }
        batch.flush(&self.editor);
        for piece in span.pieces() {
            self.join(piece, source).map_err(|error| edit(va, error))?;
        }
        Ok(())
    }

    /// Points `bytes` bytes at `va`, all mapped and no larger mapping cut, to the frames from `pa`, with another
    /// protection. Descriptors keep their sizes, so no table is needed. Each is broken before it is made anew: nothing
    /// may use the range meanwhile.
    ///
    /// # Errors
    /// [`MapError`] with the first offending address; [`MapError::BadFrame`] also where a frame is not aligned to the
    /// size of its descriptor.
    pub fn remap(&mut self, va: VirtAddr, bytes: u64, to: (PhysAddr, Prot)) -> Result<(), MapError> {
        let (pa, prot) = to;
        let span = Span::new(va, bytes)?;
        check_frames(pa, bytes)?;
        self.check_mapped(span, Some(prot))?;
        let frame = |position: u64| pa.saturating_add(position - span.va);
        let mut position = span.va;
        while position < span.end {
            let leaf = self.leaf(Span::at(position))?;
            if leaf.va != Span::at(position) || leaf.end() > span.end {
                return Err(MapError::CutsLarger(leaf.va));
            }
            if !frame(position).is_aligned(u64::from(leaf.to.size.bytes())) {
                return Err(MapError::BadFrame(frame(position)));
            }
            position = leaf.end();
        }
        let mut position = span.va;
        while position < span.end {
            let leaf = self.leaf(Span::at(position))?;
            self.write_leaf(leaf, None)?;
            self.editor.flush_page(leaf.va);
            let moved = Leaf { to: Translation { pa: frame(position), ..leaf.to }, ..leaf };
            self.write_leaf(moved, Some(prot))?;
            position = leaf.end();
        }
        Ok(())
    }

    /// Rewrites a piece that consists of small pages whose kind of memory stays; `false` if it does not.
    fn protect_small(&mut self, piece: Piece, prot: Prot, batch: &mut Batch) -> Result<bool, MapError> {
        let Some(page) = self.table_of(piece.index()) else { return Ok(false) };
        let encoded = |error| edit(piece.va(), error);
        let hard = SecondLevel::Small { base: PhysAddr::ZERO, prot }.encode().map_err(|error| encoded(error.into()))?;
        let soft = SoftEntry::kernel(PhysAddr::ZERO, prot).encode().map_err(|error| encoded(error.into()))?;
        let run = piece.run();
        let (software, hardware) = self.editor.run_words(page, run).map_err(encoded)?;
        let stays = |raw: u32| raw & 2 != 0 && (raw ^ hard) & SMALL_KIND == 0;
        if !hardware.iter().all(|word| stays(word.load(Ordering::Relaxed))) {
            return Ok(false);
        }
        for (soft_word, hard_word) in software.iter().zip(hardware) {
            let base = hard_word.load(Ordering::Relaxed) & !(PAGE_SIZE - 1);
            soft_word.store(base | soft, Ordering::Relaxed);
            hard_word.store(base | hard, Ordering::Relaxed);
        }
        self.editor.sync_run(page, run).map_err(encoded)?;
        batch.push_pages(piece.va(), run.pages);
        Ok(true)
    }

    /// Rewrites a piece descriptor by descriptor. A supersection reaches beyond it and is rewritten at its first MiB.
    fn protect_leaves(&mut self, piece: Piece, prot: Prot, batch: &mut Batch) -> Result<(), MapError> {
        let mut position = piece.at;
        while position < piece.end {
            let leaf = self.leaf(Span::at(position))?;
            position = leaf.end();
            if leaf.va < piece.va() {
                continue;
            }
            if leaf.to.prot.mem != prot.mem || leaf.to.prot.shareable != prot.shareable {
                self.write_leaf(leaf, None)?;
                self.editor.flush_page(leaf.va);
                self.write_leaf(leaf, Some(prot))?;
            } else {
                self.write_leaf(leaf, Some(prot))?;
                batch.push(leaf.va, leaf.to.size.bytes());
            }
        }
        Ok(())
    }

    /// Checks that all of `span` is mapped, and that `prot` (if given) can be written to each descriptor, as it will
    /// be when the borders have been cut.
    pub(super) fn check_mapped(&self, span: Span, prot: Option<Prot>) -> Result<(), MapError> {
        let mut position = span.va;
        while position < span.end {
            let leaf = self.leaf(Span::at(position))?;
            let is_cut = u64::from(leaf.va.raw()) < span.va || leaf.end() > span.end;
            if let Some(prot) = prot
                && (is_cut || leaf.to.size <= PageSize::Large)
            {
                encodable_page(prot)?;
            }
            if is_cut {
                cuttable(leaf)?;
            }
            position = leaf.end();
            if leaf.to.size <= PageSize::Large {
                position = self.rest_of_table(Span::at(position - 1), position, span.end)?;
            }
        }
        Ok(())
    }

    /// How far pages go on to be mapped from `position` on, in the table of `va`; at most to `end`.
    fn rest_of_table(&self, va: VirtAddr, position: u64, end: u64) -> Result<u64, MapError> {
        let FirstLevel::PageTable { table, .. } = self.tables().first(section_index(va))? else { return Ok(position) };
        let words = self.tables().hardware(table)?.get(page_index(va) + 1..).unwrap_or(&[]);
        let mut position = position;
        for word in words {
            // Small pages only: a large page is looked at whole, since `end` may cut it.
            if position >= end || word.load(Ordering::Relaxed) & 2 == 0 {
                break;
            }
            position += u64::from(PAGE_SIZE);
        }
        Ok(position)
    }

    /// The descriptor that maps `va`.
    pub(super) fn leaf(&self, va: VirtAddr) -> Result<Leaf, MapError> {
        let to = self.tables().walk(va)?.ok_or(MapError::NotMapped(va))?;
        let size = to.size.bytes();
        let to = Translation { pa: to.pa.align_down(u64::from(size)), ..to };
        Ok(Leaf { va: va.align_down(size), to })
    }

    /// Rewrites the descriptors of `leaf`, whole, with `prot`; with `None` they become faults.
    fn write_leaf(&mut self, leaf: Leaf, prot: Option<Prot>) -> Result<(), MapError> {
        let (index, page) = (section_index(leaf.va), page_index(leaf.va));
        let result = match (leaf.to.size, self.table_of(index)) {
            (PageSize::Small | PageSize::Large, Some(table)) => {
                let large = leaf.to.size == PageSize::Large;
                let run = Run { index, page, pages: if large { LARGE_WORDS } else { 1 } };
                let written = match prot {
                    None => self.editor.clear_run(table, run),
                    Some(prot) if large => self.editor.fill_large(table, index, page, (leaf.to.pa, prot)),
                    Some(prot) => self.editor.fill_small(table, run, leaf.to.pa, prot),
                };
                written.and_then(|()| self.editor.sync_run(table, run))
            }
            (size, _) => {
                let words = (size.bytes() / SECTION_SIZE) as usize;
                let domain = leaf.to.domain;
                let descriptor = match (prot, size) {
                    (None, _) => FirstLevel::Fault,
                    (Some(prot), PageSize::Supersection) => FirstLevel::Supersection { base: leaf.to.pa, prot },
                    (Some(prot), _) => FirstLevel::Section { base: leaf.to.pa, prot, domain },
                };
                let written = (index..index + words).try_for_each(|at| self.editor.set_first(at, descriptor));
                self.editor.sync_first(index, index + words);
                written
            }
        };
        result.map_err(|error| edit(leaf.va, error))
    }

    /// Unlinks and gives back the table pages of `span` that map nothing any more.
    pub(super) fn drop_empty_tables(&mut self, span: Span, source: &mut dyn TableSource) -> Result<(), MapError> {
        let (first, end) = span.sections();
        for pair in (first & !1..end).step_by(2) {
            if self.tables().pair_table(pair).is_some() && !source.postpone(pair) {
                self.drop_table_if_empty(pair, source)?;
            }
        }
        Ok(())
    }

    /// Unlinks, flushes and gives back the table page of the first-level pair `pair`, an even index, if it has one that
    /// maps nothing.
    ///
    /// # Errors
    /// [`MapError::Table`] when the table cannot be read.
    pub fn drop_table_if_empty(&mut self, pair: usize, source: &mut dyn TableSource) -> Result<(), MapError> {
        self.drop_pair(pair, source).map_err(|error| edit(section_va(pair), error))
    }

    /// As [`Self::drop_table_if_empty`].
    pub(super) fn drop_pair(&mut self, pair: usize, source: &mut dyn TableSource) -> Result<(), EditError> {
        let Some(page) = self.tables().pair_table(pair) else { return Ok(()) };
        if !self.editor.table_is_empty(page)? {
            return Ok(());
        }
        for half in [pair, pair + 1] {
            if self.table_of(half).is_some() {
                self.editor.clear_first(half, half + 1);
                self.editor.sync_first(half, half + 1);
                self.editor.flush_page(section_va(half));
            }
        }
        source.give_back(page);
        Ok(())
    }
}

/// Whether smaller descriptors can say what `leaf` says.
fn cuttable(leaf: Leaf) -> Result<(), MapError> {
    let above = leaf.to.pa.raw().saturating_add(u64::from(leaf.to.size.bytes())) > 1 << 32;
    match leaf.to.size {
        PageSize::Supersection if above => Err(MapError::CutsLarger(leaf.va)),
        PageSize::Section | PageSize::Supersection => encodable_page(leaf.to.prot),
        PageSize::Small | PageSize::Large => Ok(()),
    }
}

const _: () = assert!(HALF_WORDS.is_multiple_of(LARGE_WORDS));
