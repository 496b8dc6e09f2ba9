//! Single pages that follow each other.

use core::fmt;

use crate::addr::{Pfn, PfnRange};
use crate::buddy::{FreeCore, FreeError};
use crate::gfp::GfpFlags;
use crate::order::Order;
use crate::page_alloc::owned::OwnedPages;
use crate::page_alloc::{AllocError, DefaultCore, PageAllocator};
use crate::sync::CurrentCpu;

/// A run of single pages of any length, freed when it is dropped; pages can be taken off it one by one.
///
/// ```
/// # use mm::{phase::Mm, testing::{FakeRam, HostIrq, small_machine}};
/// use mm::{gfp::GfpFlags, page_alloc::{AllocError, OwnedRange}};
/// # let ram = FakeRam::of_mib(8);
/// # let mm: Mm<'_, HostIrq> = small_machine(&ram);
/// // Five pages: the other three of the block of eight stay free.
/// let mut range = OwnedRange::alloc_exact(mm.allocator(), GfpFlags::GFP_KERNEL, 5)?;
/// range.bytes_mut().unwrap().fill(0x5a);
/// assert_eq!(range.frames().pages(), 5);
/// assert_eq!(OwnedRange::alloc_exact(mm.allocator(), GfpFlags::GFP_KERNEL, 0).err(), Some(AllocError::Size { pages: 0 }));
/// # Ok::<(), AllocError>(())
/// ```
#[must_use = "the pages are freed at once"]
pub struct OwnedRange<'a, 'm, M: CurrentCpu, C: FreeCore<'m> = DefaultCore<'m>> {
    allocator: &'a PageAllocator<'m, M, C>,
    frames: PfnRange,
}

impl<'a, 'm, M: CurrentCpu, C: FreeCore<'m>> OwnedRange<'a, 'm, M, C> {
    /// Allocates exactly `pages` pages that follow each other (Linux: `alloc_pages_exact`).
    ///
    /// # Errors
    /// [`AllocError::Size`] for 0 pages and for more than the largest block has; else the request's error. Nothing has
    /// changed.
    pub fn alloc_exact(allocator: &'a PageAllocator<'m, M, C>, gfp: GfpFlags, pages: u32) -> Result<Self, AllocError> {
        let frames = allocator.alloc_pages_exact(gfp, pages)?;
        // Pages that are not ours any more were freed by someone who does not own them: there are none for us then.
        let order = Order::covering(pages).unwrap_or_default();
        Self::claim(allocator, frames).map_err(|_| AllocError::NoMemory { gfp, order })
    }

    /// Makes a value of pages that [`PageAllocator::alloc_pages_exact`] or [`Self::into_raw`] gave.
    ///
    /// # Errors
    /// [`FreeError`] of the first page that is not allocated alone, or has several owners; nothing has changed.
    ///
    /// # Safety
    /// The pages must be the caller's, and nobody may use their bytes but by this value from now on.
    pub unsafe fn from_raw(allocator: &'a PageAllocator<'m, M, C>, frames: PfnRange) -> Result<Self, FreeError> {
        Self::claim(allocator, frames)
    }

    fn claim(allocator: &'a PageAllocator<'m, M, C>, frames: PfnRange) -> Result<Self, FreeError> {
        for pfn in frames.iter() {
            if !allocator.own(pfn, Order::ZERO) {
                let error = allocator.not_to_own(pfn, Order::ZERO);
                PfnRange::new(frames.start, pfn).iter().for_each(|claimed| allocator.disown(claimed));
                return Err(error);
            }
        }
        Ok(Self { allocator, frames })
    }

    /// A value for pages that are marked as one's already.
    pub(super) const fn marked(allocator: &'a PageAllocator<'m, M, C>, frames: PfnRange) -> Self {
        Self { allocator, frames }
    }

    /// Ends the value and leaves the pages allocated, each alone.
    #[must_use = "the pages are lost without their numbers"]
    pub fn into_raw(self) -> PfnRange {
        let (allocator, frames) = (self.allocator, self.frames);
        core::mem::forget(self);
        frames.iter().for_each(|pfn| allocator.disown(pfn));
        frames
    }

    /// The frames that are left.
    #[must_use]
    pub const fn frames(&self) -> PfnRange {
        self.frames
    }

    /// Takes the first page off; `None` when none is left.
    pub fn take_first(&mut self) -> Option<OwnedPages<'a, 'm, M, C>> {
        let first = self.frames.iter().next()?;
        self.frames.start = Pfn::new(first.raw().saturating_add(1));
        Some(OwnedPages::marked(self.allocator, first, Order::ZERO))
    }

    /// Cuts the range after `pages` pages and returns what is behind; all of it stays when it has no more than that.
    pub fn split_off(&mut self, pages: u32) -> Self {
        let cut = self.frames.start.checked_add(pages).map_or(self.frames.end, |cut| cut.min(self.frames.end));
        let behind = PfnRange::new(cut, self.frames.end);
        self.frames.end = cut;
        Self { allocator: self.allocator, frames: behind }
    }

    /// Its bytes; `None` when they cannot be reached.
    #[must_use]
    pub fn bytes(&self) -> Option<&[u8]> {
        // SAFETY: the frames are this value's, which is borrowed for as long as the bytes.
        unsafe { self.allocator.lend(self.frames) }
    }

    /// Its bytes, to write; `None` when they cannot be reached.
    #[must_use]
    pub fn bytes_mut(&mut self) -> Option<&mut [u8]> {
        // SAFETY: the frames are this value's, which is mutably borrowed for as long as the bytes.
        unsafe { self.allocator.lend_mut(self.frames) }
    }
}

impl<'m, M: CurrentCpu, C: FreeCore<'m>> Drop for OwnedRange<'_, 'm, M, C> {
    fn drop(&mut self) {
        while let Some(page) = self.take_first() {
            drop(page);
        }
    }
}

impl<'m, M: CurrentCpu, C: FreeCore<'m>> fmt::Debug for OwnedRange<'_, 'm, M, C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OwnedRange").field("frames", &self.frames).finish()
    }
}
