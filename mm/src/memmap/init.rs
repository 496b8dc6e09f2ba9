//! Builds the array in memory that has never been written.

use core::fmt;
use core::mem::MaybeUninit;

use crate::addr::{Pfn, PfnRange};
use crate::memmap::{MemMap, Page, StateWord, ZoneTag};
use crate::platform::{PhysMap, fill_units};

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
    /// overlaps. Cost: a few instructions a page, fewer with [`Self::init_by`]. Linux: `memmap_init_zone`.
    ///
    /// # Errors
    /// [`MapError`]; the storage may have been written, but nothing refers to it.
    pub fn init(
        storage: &'m mut [MaybeUninit<Page>],
        span: PfnRange,
        present: impl IntoIterator<Item = FrameRun>,
    ) -> Result<Self, MapError> {
        Self::build(storage, span, present, &fill_units)
    }

    /// As [`Self::init`], by the machine's fastest stores: [`PhysMap::fill_units`].
    ///
    /// # Errors
    /// As [`Self::init`].
    pub fn init_by<P: PhysMap + ?Sized>(
        ram: &P,
        storage: &'m mut [MaybeUninit<Page>],
        span: PfnRange,
        present: impl IntoIterator<Item = FrameRun>,
    ) -> Result<Self, MapError> {
        Self::build(storage, span, present, &|units, unit| ram.fill_units(units, unit))
    }

    fn build(
        storage: &'m mut [MaybeUninit<Page>],
        span: PfnRange,
        present: impl IntoIterator<Item = FrameRun>,
        write: &FillUnits<'_>,
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
            rest = fill_hole(rest, next, run.frames.start, write);
            rest = fill(rest, run.frames.pages(), &Page::new(run.zone, StateWord::INSIDE), write);
            next = run.frames.end;
        }
        fill_hole(rest, next, cover.end, write);
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

/// Writes a unit to every place of a slice.
type FillUnits<'f> = dyn Fn(&mut [MaybeUninit<[u32; 8]>], &[u32; 8]) + 'f;

fn fill_hole<'s>(
    storage: &'s mut [MaybeUninit<Page>],
    start: Pfn,
    end: Pfn,
    write: &FillUnits<'_>,
) -> &'s mut [MaybeUninit<Page>] {
    fill(storage, end.pages_since(start), &Page::new(ZoneTag::NOWHERE, StateWord::HOLE), write)
}

/// Writes the first `pages` entries alike and returns the others.
fn fill<'s>(
    storage: &'s mut [MaybeUninit<Page>],
    pages: u32,
    page: &Page,
    write: &FillUnits<'_>,
) -> &'s mut [MaybeUninit<Page>] {
    let (now, later) = storage.split_at_mut(pages as usize);
    let units = core::ptr::from_mut(now) as *mut [MaybeUninit<[u32; 8]>];
    // SAFETY: valid because an entry is eight words (`Page::words`) and aligned better; any words may be written to one
    // that is not initialised yet, and `now` is borrowed for as long.
    write(unsafe { &mut *units }, &page.words());
    later
}
