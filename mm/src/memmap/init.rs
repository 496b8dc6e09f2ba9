//! Builds the array in memory that has never been written.

use core::fmt;
use core::hint::black_box;
use core::mem::MaybeUninit;

use crate::addr::{Pfn, PfnRange};
use crate::memmap::{MemMap, Page, StateWord, ZoneTag};

/// Frames that exist and belong to one zone of one node.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct FrameRun {
    /// The frames.
    pub frames: PfnRange,
    /// Their node and zone.
    pub zone: ZoneTag,
}

/// Why a map cannot be built.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum MapError {
    /// `entries` entries were handed in where the span needs `needed`.
    WrongLength {
        /// Entries in the storage.
        entries: usize,
        /// Frames in `MemMap::coverage` of the span.
        needed: u32,
    },
    /// A run lies outside the span, or begins before the end of the run before it.
    Unordered(FrameRun),
}

impl fmt::Display for MapError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::WrongLength { entries, needed } => write!(f, "memmap: {entries} entries, {needed} needed"),
            Self::Unordered(run) => write!(f, "memmap: {} is out of order or outside the span", run.frames.bytes()),
        }
    }
}

impl core::error::Error for MapError {}

impl<'m> MemMap<'m> {
    /// Initialises `storage` as the map of `span`: the frames of `present` as reserved, every other one as a hole.
    ///
    /// `storage` has one entry for each frame of [`MemMap::coverage`]; `present` comes lowest first and without
    /// overlaps. Cost: a few instructions a page. Linux: `memmap_init_zone`.
    ///
    /// # Errors
    /// [`MapError`]; the storage may have been written, but nothing refers to it.
    pub fn init(
        storage: &'m mut [MaybeUninit<Page>],
        span: PfnRange,
        present: impl IntoIterator<Item = FrameRun>,
    ) -> Result<Self, MapError> {
        let cover = Self::coverage(span);
        if storage.len() != cover.pages() as usize {
            return Err(MapError::WrongLength { entries: storage.len(), needed: cover.pages() });
        }
        let mut rest = &mut *storage;
        let mut next = cover.start;
        for run in present.into_iter().filter(|run| !run.frames.is_empty()) {
            if run.frames.start < next || run.frames.end > cover.end {
                return Err(MapError::Unordered(run));
            }
            rest = fill_hole(rest, next, run.frames.start);
            rest = fill(rest, run.frames.pages(), run.zone, StateWord::INSIDE);
            next = run.frames.end;
        }
        fill_hole(rest, next, cover.end);
        // SAFETY: valid because the fills above went from the first entry of the coverage to its last one.
        let pages = unsafe { storage.assume_init_ref() };
        Ok(Self { pages, base: cover.start.raw() })
    }
}

/// Writes `values` to the front of `storage`, as far as both reach, and returns what was written.
pub(crate) fn write_front<T>(storage: &mut [MaybeUninit<T>], values: impl IntoIterator<Item = T>) -> &mut [T] {
    let mut written = 0;
    for (place, value) in storage.iter_mut().zip(values) {
        place.write(value);
        written += 1;
    }
    let (front, _) = storage.split_at_mut(written);
    // SAFETY: valid because the loop wrote each of the first `written` places.
    unsafe { front.assume_init_mut() }
}

fn fill_hole(storage: &mut [MaybeUninit<Page>], start: Pfn, end: Pfn) -> &mut [MaybeUninit<Page>] {
    fill(storage, end.pages_since(start), ZoneTag::NOWHERE, StateWord::HOLE)
}

/// Writes the first `pages` entries alike and returns the others.
#[inline(never)]
fn fill(storage: &mut [MaybeUninit<Page>], pages: u32, zone: ZoneTag, state: StateWord) -> &mut [MaybeUninit<Page>] {
    let (now, later) = storage.split_at_mut(pages as usize);
    let (eights, odd) = now.as_chunks_mut::<8>();
    // A copy from memory is moved in multiple-register loads and stores, at about 4 instructions a page; words that the
    // compiler knows would be stored one by one.
    let pages = [Page::new(zone, state), Page::new(zone, state)];
    let template = black_box(&pages);
    for eight in eights {
        eight.as_chunks_mut::<2>().0.iter_mut().for_each(|pair| copy_pair(template, pair));
    }
    for entry in odd {
        entry.write(Page::new(zone, state));
    }
    later
}

/// Copies two entries to where nobody else can reach them yet.
#[inline(always)]
fn copy_pair(template: &[Page; 2], pair: &mut [MaybeUninit<Page>; 2]) {
    // SAFETY: valid because both are two whole entries, borrowed here, that cannot overlap.
    unsafe { core::ptr::copy_nonoverlapping(template, pair.as_mut_ptr().cast(), 1) }
}
