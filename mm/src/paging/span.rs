//! Ranges of virtual pages, and how they fall apart into MiBs.
#![forbid(unsafe_code)]

use super::edit::Run;
use super::error::MapError;
use super::table::{HALF_WORDS, page_index, section_index};
use crate::addr::{PAGE_SIZE, PhysAddr, SECTION_SIZE, VirtAddr};

/// Virtual pages: the first address and the end, whole pages that end at or below 4 GiB.
#[derive(Clone, Copy, Debug)]
pub(super) struct Span {
    pub(super) va: u64,
    pub(super) end: u64,
}

/// What a span has of one MiB.
#[derive(Clone, Copy, Debug)]
pub(super) struct Piece {
    /// Where it begins, as a position of the span.
    pub(super) at: u64,
    /// Where it ends.
    pub(super) end: u64,
}

impl Span {
    pub(super) fn new(va: VirtAddr, bytes: u64) -> Result<Self, MapError> {
        let page = u64::from(PAGE_SIZE);
        if bytes == 0 || !bytes.is_multiple_of(page) || !va.is_aligned(PAGE_SIZE) {
            return Err(MapError::Unaligned(va));
        }
        let start = u64::from(va.raw());
        match start.checked_add(bytes) {
            Some(end) if end <= 1 << 32 => Ok(Self { va: start, end }),
            _ => Err(MapError::TooLong(va)),
        }
    }

    #[expect(clippy::cast_possible_truncation, reason = "a position is below the end, which is at most 2^32")]
    pub(super) const fn at(position: u64) -> VirtAddr {
        VirtAddr::new(position as u32)
    }

    /// The first-level words of the span: the first, and one past the last.
    pub(super) const fn sections(self) -> (usize, usize) {
        (section_index(Self::at(self.va)), section_index(Self::at(self.end - 1)) + 1)
    }

    /// Whether it begins and ends at MiBs.
    pub(super) const fn is_whole_sections(self) -> bool {
        (self.va | self.end) & (SECTION_SIZE as u64 - 1) == 0
    }

    /// The span, MiB by MiB.
    pub(super) fn pieces(self) -> impl Iterator<Item = Piece> {
        let mut at = self.va;
        core::iter::from_fn(move || {
            let mib = u64::from(SECTION_SIZE);
            let piece = Piece { at, end: ((at / mib + 1) * mib).min(self.end) };
            at = piece.end;
            (piece.at < self.end).then_some(piece)
        })
    }
}

impl Piece {
    /// Its first address.
    pub(super) const fn va(self) -> VirtAddr {
        Span::at(self.at)
    }

    /// The first-level word that it belongs to.
    pub(super) const fn index(self) -> usize {
        section_index(self.va())
    }

    /// Its second-level words.
    pub(super) const fn run(self) -> Run {
        Run { index: self.index(), page: page_index(self.va()), pages: pages(self.end - self.at) }
    }

    /// Whether it is a whole MiB on both sides.
    pub(super) fn is_section(self, frame: PhysAddr) -> bool {
        let mib = u64::from(SECTION_SIZE);
        self.at.is_multiple_of(mib) && self.end - self.at == mib && frame.is_aligned(mib)
    }
}

/// Pages in `bytes`, at most what a span holds.
#[expect(clippy::cast_possible_truncation, reason = "a span has at most 2^20 pages")]
const fn pages(bytes: u64) -> usize {
    (bytes / PAGE_SIZE as u64) as usize
}

const _: () = assert!(HALF_WORDS * PAGE_SIZE as usize == SECTION_SIZE as usize);

#[cfg(test)]
#[path = "tests/span.rs"]
mod tests;
