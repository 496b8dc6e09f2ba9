//! Unmapping in two steps, so that one flush serves many ranges.
//!
//! Theory.      `retire` makes the words of a range faults, which keep the frame in the bits that the MMU ignores:
//!
//! ```text
//!              31          12 11     3  2 1 0
//! retired     | frame        |    0   | 1|0 0|
//! ```
//! From then on a walk faults, but a TLB may still know the frame, so it may serve nothing else. After a flush of
//! everything, `reap` hands the frames out and clears the words. Without any flush, `revive` makes the words again what
//! they were: a TLB that still knows them knows nothing wrong.
//! Invariants.  A retired word is not free: nothing is mapped over it, and its table stays.
//! Source.      Arm ARM DDI 0406C B3.5.1: bits 31:2 of a fault are ignored.
#![forbid(unsafe_code)]

use core::sync::atomic::{AtomicU32, Ordering};

use super::descriptor::{FirstLevel, SecondLevel};
use super::edit::clear;
use super::error::{MapError, edit};
use super::map::{Mapper, TableSource};
use super::prot::{Domain, Prot};
use super::soft::SoftEntry;
use super::span::{Piece, Span};
use super::table::HALF_WORDS;
use super::walk::{PageSize, page_va};
use crate::addr::{PAGE_SIZE, Pfn, PhysAddr, SECTION_SIZE, VirtAddr};
use crate::platform::{PhysMap, TlbControl};

/// What makes a fault a retired page or section.
pub(super) const RETIRED: u32 = 1 << 2;
/// What makes a word a small page.
const SMALL: u32 = 1 << 1;
/// Frames that are handed out at once, at most, of few and of many.
const FEW: usize = 16;
const MANY: usize = 128;

/// What all descriptors of a range say beside their frames: their size and the other bits of their words.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Said {
    pub(super) size: PageSize,
    pub(super) bits: u32,
}

impl Said {
    /// What descriptors of `size` with `prot` say; `None` where there is no encoding.
    fn of(prot: Prot, size: PageSize) -> Option<Self> {
        let base = PhysAddr::ZERO;
        let bits = match size {
            PageSize::Small => SecondLevel::Small { base, prot }.encode(),
            PageSize::Large => SecondLevel::Large { base, prot }.encode(),
            PageSize::Section => FirstLevel::Section { base, prot, domain: Domain::KERNEL }.encode(),
            PageSize::Supersection => return None,
        };
        Some(Self { size, bits: bits.ok()? })
    }
}

/// What was said by everything that was looked at.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Agreed {
    /// There was nothing yet.
    Nothing,
    /// This.
    On(Said),
    /// Several things.
    Not,
}

impl Agreed {
    /// Adds what one descriptor says; `None` for several that differ.
    fn add(&mut self, said: Option<Said>) {
        *self = match (*self, said) {
            (Self::Nothing, Some(said)) => Self::On(said),
            (Self::On(before), Some(said)) if before == said => Self::On(said),
            _ => Self::Not,
        };
    }

    const fn into_said(self) -> Option<Said> {
        match self {
            Self::On(said) => Some(said),
            Self::Nothing | Self::Not => None,
        }
    }
}

/// Clears `word`; the frame, if it was retired.
#[inline]
fn reap_word(word: &AtomicU32) -> Option<Pfn> {
    let raw = word.load(Ordering::Relaxed);
    if raw & (PAGE_SIZE - 1) != RETIRED {
        return None;
    }
    word.store(0, Ordering::Relaxed);
    Some(Pfn::new(raw / PAGE_SIZE))
}

/// Clears words and hands out the frames of those that were retired, at most `OUT` at a time.
fn reap_words<const OUT: usize>(words: &[AtomicU32], mut freed: impl FnMut(&[Pfn])) {
    let mut frames = [Pfn::new(0); OUT];
    for words in words.chunks(OUT) {
        let mut strays = 0;
        for (word, place) in words.iter().zip(&mut frames) {
            let raw = word.load(Ordering::Relaxed);
            strays |= (raw ^ RETIRED) & (PAGE_SIZE - 1);
            *place = Pfn::new(raw / PAGE_SIZE);
        }
        if strays == 0 {
            clear(words);
            freed(frames.get(..words.len()).unwrap_or(&[]));
        } else {
            words.iter().filter_map(reap_word).for_each(|frame| freed(&[frame]));
        }
    }
}

/// Clears the words of a piece of a span and hands out the frames at the multiples of `step` from the span's begin.
fn reap_blocks(words: &[AtomicU32], (span, piece): (Span, Piece), step: PageSize, mut freed: impl FnMut(&[Pfn])) {
    // Sizes of blocks are powers of two: no division.
    let begins = |position: u64| (position - span.va) & u64::from(step.bytes() - 1) == 0;
    let positions = (piece.at..piece.end).step_by(PAGE_SIZE as usize);
    for (word, position) in words.iter().zip(positions) {
        if let Some(frame) = reap_word(word)
            && begins(position)
        {
            freed(&[frame]);
        }
    }
}

impl<P: PhysMap + ?Sized, T: TlbControl + ?Sized> Mapper<'_, P, T> {
    /// Unmaps `bytes` bytes at `va`, all mapped and no larger mapping cut, but keeps the frames in the words. Flushes
    /// nothing; no table is needed or given back. Returns what the descriptors said, if all said the same: what
    /// [`Mapper::revive`] needs.
    ///
    /// # Errors
    /// [`MapError`] with the first offending address; [`MapError::CutsLarger`] also for supersections.
    pub fn retire(&mut self, va: VirtAddr, bytes: u64) -> Result<Option<Said>, MapError> {
        let span = Span::new(va, bytes)?;
        if let Some(said) = self.retire_in_table(span) {
            return Ok(said);
        }
        let mut said = Agreed::Nothing;
        for piece in span.pieces() {
            match self.small_bits(piece) {
                Some(bits) => said.add(bits.map(|bits| Said { size: PageSize::Small, bits })),
                None => self.check_retirable(piece, &mut said)?,
            }
        }
        for piece in span.pieces() {
            let (index, run) = (piece.index(), piece.run());
            let Some(half) = self.tables().half(index) else {
                let section = self.tables().first_word(index) & !(SECTION_SIZE - 1);
                self.editor.set_first_raw(index, section | RETIRED);
                self.editor.sync_first(index, index + 1);
                continue;
            };
            let (software, hardware) = half.run(run.page, run.pages);
            for (soft, hard) in software.iter().zip(hardware) {
                // Of a large page, too, the software entry names the very frame.
                let frame = soft.load(Ordering::Relaxed) & !(PAGE_SIZE - 1);
                hard.store(frame | RETIRED, Ordering::Relaxed);
                soft.store(0, Ordering::Relaxed);
            }
            self.editor.sync_words(hardware);
        }
        Ok(said.into_said())
    }

    /// Maps again what one [`Mapper::retire`] unmapped at `va`, all of it, to the same frames and with the protection
    /// that it had, which must be `prot`; `said` is what that returned. Nothing is flushed: what a TLB may still know
    /// is what is mapped again.
    ///
    /// # Errors
    /// [`MapError::BadProt`] when it had another protection; [`MapError::NotMapped`] with the first address that is not
    /// retired.
    pub fn revive(&mut self, va: VirtAddr, bytes: u64, prot: Prot, said: Said) -> Result<(), MapError> {
        let (span, zero) = (Span::new(va, bytes)?, PhysAddr::ZERO);
        if Said::of(prot, said.size) != Some(said) {
            return Err(MapError::BadProt(prot));
        }
        let (hard, base) = (said.bits, said.size.bytes());
        let soft = SoftEntry::kernel(zero, prot).encode().map_err(|error| edit(va, error.into()))?;
        if said.size == PageSize::Small && self.revive_in_table(span, hard, soft) {
            return Ok(());
        }
        for piece in span.pieces() {
            self.check_retired(piece)?;
        }
        for piece in span.pieces() {
            let (index, run) = (piece.index(), piece.run());
            let Some(half) = self.tables().half(index) else {
                let base = PhysAddr::new(u64::from(self.tables().first_word(index) & !(SECTION_SIZE - 1)));
                let section = FirstLevel::Section { base, prot, domain: Domain::KERNEL };
                self.editor.set_first(index, section).map_err(|error| edit(va, error))?;
                self.editor.sync_first(index, index + 1);
                continue;
            };
            let (software, hardware) = half.run(run.page, run.pages);
            for (soft_word, hard_word) in software.iter().zip(hardware) {
                let frame = hard_word.load(Ordering::Relaxed) & !(PAGE_SIZE - 1);
                soft_word.store(frame | soft, Ordering::Relaxed);
                hard_word.store(frame & !(base - 1) | hard, Ordering::Relaxed);
            }
            self.editor.sync_words(hardware);
        }
        Ok(())
    }

    /// What `piece` says beside frames, if it consists of small pages that are mapped (the usual case, in a few
    /// instructions a page): the bits that all of them have, or `None` inside where they differ.
    fn small_bits(&self, piece: Piece) -> Option<Option<u32>> {
        let (index, run) = (piece.index(), piece.run());
        let (_, hardware) = self.tables().half(index)?.run(run.page, run.pages);
        let (mut all, mut any) = (u32::MAX, 0);
        for word in hardware {
            let raw = word.load(Ordering::Relaxed);
            all &= raw;
            any |= raw;
        }
        let bits = all & (PAGE_SIZE - 1);
        (all & SMALL != 0).then_some((bits == any & (PAGE_SIZE - 1)).then_some(bits))
    }

    /// Whether all of `piece` is mapped, by nothing that reaches beyond it and no supersection.
    fn check_retirable(&self, piece: Piece, said: &mut Agreed) -> Result<(), MapError> {
        let mut position = piece.at;
        while position < piece.end {
            let leaf = self.leaf(Span::at(position))?;
            let is_cut = u64::from(leaf.va.raw()) < piece.at || leaf.end() > piece.end;
            if leaf.to.size == PageSize::Supersection || is_cut {
                return Err(MapError::CutsLarger(leaf.va));
            }
            said.add(Said::of(leaf.to.prot, leaf.to.size));
            position = leaf.end();
        }
        Ok(())
    }

    /// Whether all of `piece` is retired.
    fn check_retired(&self, piece: Piece) -> Result<(), MapError> {
        let (index, run) = (piece.index(), piece.run());
        let stray = |raw: u32| (raw ^ RETIRED) & (PAGE_SIZE - 1);
        let Some(half) = self.tables().half(index) else {
            let retired = stray(self.tables().first_word(index)) == 0 && run.pages == HALF_WORDS;
            return if retired { Ok(()) } else { Err(MapError::NotMapped(piece.va())) };
        };
        let (_, hardware) = half.run(run.page, run.pages);
        let strays = hardware.iter().fold(0, |all, word| all | stray(word.load(Ordering::Relaxed)));
        if strays == 0 {
            return Ok(());
        }
        let at = hardware.iter().position(|word| stray(word.load(Ordering::Relaxed)) != 0).unwrap_or(0);
        Err(MapError::NotMapped(page_va(index, run.page.saturating_add(at))))
    }

    /// Clears the retired words of `bytes` bytes at `va`, after a flush; hands out the frames at the multiples of
    /// `step` from `va`, in their order and some at a time, and gives back the tables that became empty. What is not
    /// retired is left as it is.
    ///
    /// # Errors
    /// [`MapError`] for a range that is none, or tables that are broken.
    pub fn reap<S: TableSource>(
        &mut self,
        va: VirtAddr,
        bytes: u64,
        step: PageSize,
        source: &mut S,
        mut freed: impl FnMut(&mut S, &[Pfn]),
    ) -> Result<(), MapError> {
        let span = Span::new(va, bytes)?;
        for piece in span.pieces() {
            let (index, run) = (piece.index(), piece.run());
            let Some(half) = self.tables().half(index) else {
                let section = self.tables().first_level().get(index).and_then(reap_word);
                if let Some(first) = section {
                    self.editor.sync_first(index, index + 1);
                    let blocks = (0..SECTION_SIZE / PAGE_SIZE).step_by((step.bytes() / PAGE_SIZE) as usize);
                    blocks.for_each(|page| freed(source, &[Pfn::new(first.raw() | page)]));
                }
                continue;
            };
            let (_, hardware) = half.run(run.page, run.pages);
            match step {
                PageSize::Small if hardware.len() <= FEW => reap_words::<FEW>(hardware, |out| freed(source, out)),
                PageSize::Small => reap_words::<MANY>(hardware, |out| freed(source, out)),
                _ => reap_blocks(hardware, (span, piece), step, |out| freed(source, out)),
            }
        }
        self.drop_empty_tables(span, source)
    }
}
