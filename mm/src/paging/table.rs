//! The words of the tables, wherever their frames can be reached.
//!
//! Theory.      The first level has 4,096 words (16 KiB). Two of them that follow each other are one PGD and map
//!              2 MiB. A PGD has at most one table page of 4 KiB for both of its halves:
//!
//! ```text
//!   first level            table page
//!   +--------+             +0x000  256 software entries of the even MiB
//!   | even   |---------.   +0x400  256 software entries of the odd MiB
//!   | odd    |-------. '-> +0x800  256 hardware entries of the even MiB
//!   +--------+       '---> +0xc00  256 hardware entries of the odd MiB
//! ```
//! One half may be a section (or nothing) while the other one has a table; its part of the table page is then unused.
//!
//! Invariants.  1. Words are read and written whole: the MMU walks the same bytes at the same time.
//!              2. A frame that holds a table holds nothing else.
//! Not here.    What the words mean (`descriptor`), when to write them (`edit`).

use core::fmt;
use core::ptr::NonNull;
use core::sync::atomic::{AtomicU32, Ordering};

use super::descriptor::{FirstLevel, HALF_TABLE_SIZE};
use crate::addr::{PAGE_SIZE, Pfn, PhysAddr, SECTION_SIZE, VirtAddr};
use crate::platform::PhysMap;

/// Words of the first level.
pub const FIRST_LEVEL_WORDS: usize = 4096;
/// Bytes of the first level, and its alignment.
pub const FIRST_LEVEL_SIZE: u32 = 16 << 10;
/// Words of one half of a table page: one MiB.
pub const HALF_WORDS: usize = 256;
/// Words of a table page.
pub(super) const PAGE_WORDS: usize = 4 * HALF_WORDS;

/// Why a table could not be read.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum TableError {
    /// The frames at this address cannot be reached, or are not aligned.
    Unreachable(PhysAddr),
    /// The descriptor of this address has a reserved encoding.
    Undecodable(VirtAddr, u32),
}

impl fmt::Display for TableError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unreachable(table) => write!(f, "translation table at {table} cannot be reached"),
            Self::Undecodable(va, raw) => write!(f, "descriptor {raw:#010x} of {va} has no meaning"),
        }
    }
}

/// A set of tables: one first level and whatever hangs below it. Reads only; `Editor` writes.
#[derive(Debug)]
pub struct Tables<'m, P: ?Sized> {
    ram: &'m P,
    root: PhysAddr,
    words: &'m [AtomicU32],
}

impl<P: ?Sized> Clone for Tables<'_, P> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<P: ?Sized> Copy for Tables<'_, P> {}

impl<'m, P: PhysMap + ?Sized> Tables<'m, P> {
    /// The tables whose first level lies at `root`, aligned to 16 KiB.
    ///
    /// # Errors
    /// [`TableError::Unreachable`] when it is not aligned or not in `ram`.
    ///
    /// # Safety
    /// As long as this value or an iterator from it lives, the 16 KiB at `root` and every table that is linked below
    /// must be used as tables only: no reference to their bytes but through `Tables` and `Editor`.
    pub unsafe fn new(ram: &'m P, root: PhysAddr) -> Result<Self, TableError> {
        if !root.is_aligned(u64::from(FIRST_LEVEL_SIZE)) {
            return Err(TableError::Unreachable(root));
        }
        // SAFETY: the caller gives these frames to the tables for the life of `self`.
        let words = unsafe { words(ram, root, FIRST_LEVEL_WORDS) }.ok_or(TableError::Unreachable(root))?;
        Ok(Self { ram, root, words })
    }

    /// Where the first level lies.
    #[must_use]
    pub const fn root(&self) -> PhysAddr {
        self.root
    }

    /// All 4,096 words of the first level.
    pub(crate) const fn first_level(&self) -> &'m [AtomicU32] {
        self.words
    }

    /// The first-level word of the MiB `index`; 0 (fault) beyond the table.
    pub(crate) fn first_word(&self, index: usize) -> u32 {
        self.words.get(index).map_or(0, |word| word.load(Ordering::Relaxed))
    }

    /// What the first level says of the MiB `index`.
    ///
    /// # Errors
    /// [`TableError::Undecodable`].
    pub fn first(&self, index: usize) -> Result<FirstLevel, TableError> {
        let raw = self.first_word(index);
        FirstLevel::decode(raw).ok_or(TableError::Undecodable(section_va(index), raw))
    }

    /// The table page of the pair that `index` belongs to: where either of its halves points.
    #[must_use]
    pub fn pair_table(&self, index: usize) -> Option<PhysAddr> {
        [index & !1, index | 1].into_iter().find_map(|half| match FirstLevel::decode(self.first_word(half)) {
            Some(FirstLevel::PageTable { table, .. }) => Some(table.align_down(u64::from(PAGE_SIZE))),
            _ => None,
        })
    }

    /// The 256 hardware words at `table`, as a first-level word gives it.
    pub(crate) fn hardware(&self, table: PhysAddr) -> Result<&'m [AtomicU32], TableError> {
        let page = self.page(table.align_down(u64::from(PAGE_SIZE)))?;
        let start = (table.raw() % u64::from(PAGE_SIZE) / 4).try_into().unwrap_or(usize::MAX);
        page.words.get(start..start.saturating_add(HALF_WORDS)).ok_or(TableError::Unreachable(table))
    }

    /// Software and hardware words of the table that the MiB `index` points to; `None` when it points to none that can
    /// be reached. The few instructions that every change of pages begins with.
    #[inline]
    pub(super) fn half(&self, index: usize) -> Option<Half<'m>> {
        let raw = self.first_word(index);
        if raw & 3 != 1 {
            return None;
        }
        // SAFETY: the first level links only frames that were given to the tables (the callers of `new` and `link`).
        let words = unsafe { words(self.ram, PhysAddr::new(u64::from(raw & !(PAGE_SIZE - 1))), PAGE_WORDS) }?;
        let (software, hardware) = words.split_at_checked(2 * HALF_WORDS)?;
        let start = (index & 1) * HALF_WORDS;
        Some(Half { software: software.get(start..)?.first_chunk()?, hardware: hardware.get(start..)?.first_chunk()? })
    }

    /// The table page at `page`.
    pub(crate) fn page(&self, page: PhysAddr) -> Result<TablePage<'m>, TableError> {
        // SAFETY: only frames that are linked below `root`, or about to be, are asked for; they were given to the
        // tables by the caller of `new` or by a table source.
        let words = unsafe { words(self.ram, page, PAGE_WORDS) }.ok_or(TableError::Unreachable(page))?;
        Ok(TablePage { words })
    }
}

/// The words of one MiB.
#[derive(Clone, Copy, Debug)]
pub(super) struct Half<'m> {
    pub(super) software: &'m [AtomicU32; HALF_WORDS],
    pub(super) hardware: &'m [AtomicU32; HALF_WORDS],
}

impl<'m> Half<'m> {
    /// The words of a run of its pages: software, hardware. Empty for one that passes the end.
    #[inline]
    pub(super) fn run(&self, page: usize, pages: usize) -> (&'m [AtomicU32], &'m [AtomicU32]) {
        let end = page.saturating_add(pages);
        (self.software.get(page..end).unwrap_or(&[]), self.hardware.get(page..end).unwrap_or(&[]))
    }
}

/// The words of one table page.
#[derive(Clone, Copy, Debug)]
pub(crate) struct TablePage<'m> {
    words: &'m [AtomicU32],
}

impl<'m> TablePage<'m> {
    /// Software entries of the even (0) or odd (1) MiB.
    pub(crate) fn software(self, half: usize) -> &'m [AtomicU32] {
        let start = (half & 1) * HALF_WORDS;
        self.words.get(start..start + HALF_WORDS).unwrap_or(&[])
    }

    /// Hardware entries of the even (0) or odd (1) MiB.
    pub(crate) fn hardware(self, half: usize) -> &'m [AtomicU32] {
        let start = (2 + (half & 1)) * HALF_WORDS;
        self.words.get(start..start + HALF_WORDS).unwrap_or(&[])
    }

    /// Every word: both halves' software entries, then both halves' hardware entries.
    pub(super) fn all(self) -> Option<&'m [AtomicU32; PAGE_WORDS]> {
        self.words.try_into().ok()
    }

    /// Where its bytes lie, for cache maintenance.
    pub(crate) fn bytes(self) -> (NonNull<u8>, usize) {
        bytes_of(self.words)
    }
}

/// Where words lie, for cache maintenance.
pub(crate) fn bytes_of(words: &[AtomicU32]) -> (NonNull<u8>, usize) {
    (NonNull::from(words).cast(), size_of_val(words))
}

/// Where the hardware words of half `index & 1` of the table page `page` lie.
pub(crate) const fn half_address(page: PhysAddr, index: usize) -> PhysAddr {
    page.saturating_add((2 + (index as u64 & 1)) * HALF_TABLE_SIZE as u64)
}

/// The first address of the MiB `index`, which is below 4,096.
#[must_use]
#[expect(clippy::cast_possible_truncation, reason = "an index of the first level has 12 bits")]
pub const fn section_va(index: usize) -> VirtAddr {
    VirtAddr::new((index as u32).wrapping_mul(SECTION_SIZE))
}

/// The MiB that `va` lies in.
#[must_use]
pub const fn section_index(va: VirtAddr) -> usize {
    (va.raw() / SECTION_SIZE) as usize
}

/// The page of its MiB that `va` lies in.
#[must_use]
pub const fn page_index(va: VirtAddr) -> usize {
    (va.raw() % SECTION_SIZE / PAGE_SIZE) as usize
}

/// `count` words from the frame at `at`; `None` when its frames are not reachable.
///
/// # Safety
/// As long as `ram` is borrowed, nothing but `&[AtomicU32]` may refer to these bytes.
unsafe fn words<P: PhysMap + ?Sized>(ram: &P, at: PhysAddr, count: usize) -> Option<&[AtomicU32]> {
    let pages = u32::try_from(count / (PAGE_SIZE as usize / 4)).ok()?;
    if !at.is_aligned(u64::from(PAGE_SIZE)) {
        return None;
    }
    let bytes = ram.frames_ptr(Pfn::containing(at)?, pages)?;
    // SAFETY: `PhysMap` answers for `pages` frames, page-aligned, readable and writable while `ram` lives; the caller
    // keeps every other reference away; any bytes are valid words.
    Some(unsafe { NonNull::slice_from_raw_parts(bytes.cast(), count).as_ref() })
}

#[cfg(test)]
#[path = "tests/table.rs"]
mod tests;
