//! Contiguous-memory areas: lent to movable allocations until somebody needs them in one piece.
//!
//! Theory.      A bitmap says which frames of an area are out as contiguous memory; the others are free or lent. A
//!              request takes the first run of clear bits that is long enough and aligned, sets them, and has the
//!              frames emptied. When something in a run is pinned its bits are cleared again, and the next run behind
//!              it is tried. One task at a time does so: two would find each other's pageblocks isolated. So bits that
//!              a search found clear stay clear, and the search lets interrupts in between the pieces of the bitmap.
//! Invariants.  1. A set bit's frame is out by [`PageAllocator::cma_alloc`], or on its way. 2. The area's pageblocks
//!              are lent ones, but for those that are just isolated. 3. Bits are set in the turn of `contig` alone.
//! Not here.    How a range is emptied (`contig`); where areas lie (`boot`).
//! Source.      Linux 4.1 mm/cma.c: `cma_alloc`, `cma_release`, `cma_bitmap_aligned_mask`.
#![forbid(unsafe_code)]

mod bitmap;

use core::fmt;

use crate::addr::{Pfn, PfnRange};
use crate::buddy::{FreeCore, FreeError};
use crate::order::Order;
use crate::page_alloc::contig::ContigError;
use crate::page_alloc::{PageAllocator, Pinned, Scopes};
use crate::sync::{CurrentCpu, IrqLock, LockRank, TaskLock};
use bitmap::{Bitmap, pieces};

/// One area.
pub struct CmaArea<'m, M: CurrentCpu> {
    name: &'m str,
    frames: PfnRange,
    used: IrqLock<Bitmap<'m>, M>,
    /// Of whoever gives pages back: what is given back twice at once is so once.
    releasing: TaskLock<()>,
}

/// Why a request for contiguous memory, or its return, failed. Nothing has changed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum CmaError {
    /// No page is asked for, or more than the area has.
    Size {
        /// Pages asked for.
        pages: u32,
    },
    /// No run of the area is long enough that is not out already.
    Full {
        /// Pages asked for.
        pages: u32,
    },
    /// Every run that is long enough has something that cannot be moved: this, in the last one that was tried.
    Busy(ContigError),
    /// The task is taking contiguous memory already: an owner that was asked to move a page wants some.
    Nested,
    /// The range is not, or not all, out from this area.
    NotAllocated(Pfn),
    /// A page of the range cannot be freed.
    Free(FreeError),
}

impl fmt::Display for CmaError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Size { pages } => write!(f, "cma: the area cannot have {pages} pages"),
            Self::Full { pages } => write!(f, "cma: no {pages} pages in a row are left"),
            Self::Busy(error) => write!(f, "cma: {error}"),
            Self::Nested => f.write_str("cma: an owner that is to move a page cannot have contiguous memory"),
            Self::NotAllocated(pfn) => write!(f, "cma: pfn {pfn} is not out from this area"),
            Self::Free(error) => write!(f, "cma: {error}"),
        }
    }
}

impl core::error::Error for CmaError {}

impl<'m, M: CurrentCpu> CmaArea<'m, M> {
    /// Words of the bitmap of an area of so many pages.
    #[must_use]
    pub const fn words_for(pages: u32) -> usize {
        pages.div_ceil(u32::BITS) as usize
    }

    /// The area `frames`, lent as a whole; `None` when `words` are fewer than [`Self::words_for`] its pages.
    #[must_use]
    pub fn new(name: &'m str, frames: PfnRange, words: &'m mut [u32]) -> Option<Self> {
        let words = words.get_mut(..Self::words_for(frames.pages()))?;
        words.fill(0);
        Some(Self {
            name,
            frames,
            used: IrqLock::ranked(Bitmap::new(words), LockRank::CMA_BITMAP),
            releasing: TaskLock::ranked((), LockRank::CMA_RELEASE),
        })
    }

    /// Its name: of its node in the device tree.
    #[must_use]
    pub fn name(&self) -> &'m str {
        self.name
    }

    /// Its frames.
    #[must_use]
    pub fn frames(&self) -> PfnRange {
        self.frames
    }

    /// Pages that are out.
    #[must_use]
    pub fn used(&self) -> u32 {
        self.used.lock().count()
    }

    /// The first clear bit of `count` from `first` on.
    fn first_clear(&self, first: u32, count: u32) -> Option<u32> {
        pieces(first, count).find_map(|(first, count)| self.used.lock().first_clear(first, count))
    }

    /// The last set bit of `count` from `first` on.
    fn last_set(&self, first: u32, count: u32) -> Option<u32> {
        pieces(first, count).rev().find_map(|(first, count)| self.used.lock().last_set(first, count))
    }

    /// The first run of `pages` clear bits from `from` on whose first frame is a multiple of `align`; its bits are set.
    /// In the turn of `contig` (Linux: `bitmap_find_next_zero_area_off`).
    fn take(&self, pages: u32, align: Order, from: u32) -> Option<PfnRange> {
        let bits = self.frames.pages();
        let mut from = from;
        loop {
            let clear = self.first_clear(from, bits.checked_sub(from)?)?;
            let start = Pfn::new(self.frames.start.raw().checked_add(clear)?.checked_next_multiple_of(align.pages())?);
            let run = PfnRange::new(start, start.checked_add(pages).filter(|end| *end <= self.frames.end)?);
            let first = start.pages_since(self.frames.start);
            match self.last_set(first, pages) {
                Some(taken) => from = taken + 1,
                None => {
                    pieces(first, pages).for_each(|(first, count)| self.used.lock().set(first, count));
                    return Some(run);
                }
            }
        }
    }

    fn clear(&self, range: PfnRange) {
        let first = range.start.pages_since(self.frames.start);
        pieces(first, range.pages()).for_each(|(first, count)| self.used.lock().clear(first, count));
    }
}

impl<M: CurrentCpu> fmt::Debug for CmaArea<'_, M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CmaArea").field("name", &self.name).field("frames", &self.frames).finish_non_exhaustive()
    }
}

impl<'m, M: CurrentCpu, C: FreeCore<'m>> PageAllocator<'m, M, C> {
    /// Allocates `pages` pages of `area` in a row, the first one a multiple of `align`; what others have of them on
    /// loan is moved elsewhere.
    ///
    /// Context: may wait for other tasks that do the same, call owners and wait for them; without locks, not in
    /// interrupt handlers. Linux: `cma_alloc`.
    ///
    /// # Errors
    /// [`CmaError`]; nothing has changed.
    pub fn cma_alloc(&self, area: &CmaArea<'_, M>, pages: u32, align: Order) -> Result<PfnRange, CmaError> {
        if pages == 0 || pages > area.frames.pages() {
            return Err(CmaError::Size { pages });
        }
        let task = self.task();
        if task.scopes().contains(Scopes::CONTIG) {
            return Err(CmaError::Nested);
        }
        let _turn = self.lock_as_task(&self.pressure.contig);
        let _scope = task.enter(Scopes::CONTIG);
        let mut from = 0;
        let mut error = CmaError::Full { pages };
        while let Some(range) = area.take(pages, align, from) {
            match self.alloc_contig_range(range) {
                Ok(()) => return Ok(range),
                Err(why) => {
                    area.clear(range);
                    error = CmaError::Busy(why);
                    // Runs that hold what was in the way are as bad as this one.
                    let past = match why {
                        ContigError::Pinned {
                            pfn,
                            why: Pinned::NoOwner | Pinned::References(_) | Pinned::Mapped(_),
                        } => pfn,
                        ContigError::NoTarget { .. } => break,
                        _ => range.start,
                    };
                    from = past.max(range.start).pages_since(area.frames.start) + 1;
                }
            }
        }
        Err(error)
    }

    /// Gives pages of `area` back: they are lent again. Context: may wait for another task that does the same; not in
    /// interrupt handlers. Linux: `cma_release`.
    ///
    /// # Errors
    /// [`CmaError`] with the first page that is not out or cannot be freed; nothing has changed.
    #[track_caller]
    pub fn cma_release(&self, area: &CmaArea<'_, M>, range: PfnRange) -> Result<(), CmaError> {
        let inside = range.intersection(area.frames);
        if inside != range || range.is_empty() {
            return Err(CmaError::NotAllocated(if area.frames.contains(range.start) {
                area.frames.end
            } else {
                range.start
            }));
        }
        let _turn = self.lock_as_task(&area.releasing);
        let first = range.start.pages_since(area.frames.start);
        if let Some(clear) = area.first_clear(first, range.pages()) {
            return Err(CmaError::NotAllocated(Pfn::new(area.frames.start.raw() + clear)));
        }
        self.free_contig_range(range).map_err(CmaError::Free)?;
        area.clear(range);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::vec;

    use super::*;
    use crate::buddy::model::{order, range};
    use crate::testing::HostIrq;

    #[test]
    fn a_run_is_the_first_that_is_long_enough_and_aligned_by_its_frame() {
        let mut words = [0; 4];
        let area = CmaArea::<HostIrq>::new("area", range(0x1003, 0x1003 + 100), &mut words).unwrap();
        let first = |run: Option<PfnRange>| run.map(|run| run.start.raw() - 0x1003);
        let take = |pages, align, from| first(area.take(pages, order(align), from));
        assert_eq!(take(5, 0, 0), Some(0));
        // Frames 0x1008, 0x1010: the first multiple of 8 behind the five.
        assert_eq!((take(2, 3, 0), take(2, 3, 0)), (Some(5), Some(13)));
        assert_eq!(take(6, 0, 0), Some(7));
        assert_eq!(area.used(), 15);
        assert_eq!((take(86, 0, 0), take(85, 0, 3), take(1, 0, 0)), (None, Some(15), None));
        area.clear(range(0x1003 + 13, 0x1003 + 15));
        assert_eq!((take(2, 0, 70), take(2, 0, 100), take(2, 0, 13)), (None, None, Some(13)));
    }

    #[test]
    fn runs_over_pieces_of_the_bitmap_are_taken_and_cleared_whole() {
        // 16 MiB, of which every 700th page is out.
        let mut words = vec![0; 128];
        let area = CmaArea::<HostIrq>::new("area", range(0x100, 0x1100), &mut words).unwrap();
        let taken = |from| area.take(1, Order::ZERO, from).map(|run| run.start.raw() - 0x100);
        assert!((0..4096).step_by(700).all(|place| taken(place) == Some(place)));
        assert_eq!(area.take(700, Order::ZERO, 0), None);
        let run = area.take(699, Order::ZERO, 2).unwrap();
        assert_eq!((run, area.used()), (range(0x100 + 701, 0x100 + 1400), 6 + 699));
        assert_eq!(area.take(699, Order::ZERO, 702).unwrap(), range(0x100 + 1401, 0x100 + 2100));
        area.clear(run);
        assert_eq!(area.used(), 6 + 699);
        assert_eq!(area.take(699, Order::ZERO, 2), Some(run));
        // The whole, once all is back.
        area.clear(range(0x100, 0x1100));
        assert_eq!(area.take(4096, order(8), 0), Some(range(0x100, 0x1100)));
    }
}
