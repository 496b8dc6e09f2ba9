//! Single pages anywhere, many at once.

use core::fmt;

use crate::addr::{Pfn, PfnRange};
use crate::buddy::FreeCore;
use crate::gfp::GfpFlags;
use crate::order::Order;
use crate::page_alloc::owned::{OwnedPages, frames_of};
use crate::page_alloc::{AllocError, DefaultCore, PageAllocator};
use crate::sync::CurrentCpu;

/// Single pages whose numbers stand in the caller's slice, freed in one go when it is dropped.
///
/// ```
/// # use mm::{phase::Mm, testing::{FakeRam, HostIrq, small_machine}};
/// use mm::{addr::Pfn, gfp::GfpFlags, page_alloc::OwnedBatch};
/// # let ram = FakeRam::of_mib(8);
/// # let mm: Mm<'_, HostIrq> = small_machine(&ram);
/// let mut numbers = [Pfn::new(0); 64];
/// let mut batch = OwnedBatch::alloc(mm.allocator(), GfpFlags::GFP_KERNEL, &mut numbers)?;
/// assert_eq!(batch.pfns().len(), 64);
/// let one = batch.pop().unwrap();
/// assert_eq!(batch.pfns().len(), 63);
/// # Ok::<(), mm::page_alloc::AllocError>(())
/// ```
#[must_use = "the pages are freed at once"]
pub struct OwnedBatch<'a, 's, 'm, M: CurrentCpu, C: FreeCore<'m> = DefaultCore<'m>> {
    allocator: &'a PageAllocator<'m, M, C>,
    pages: &'s mut [Pfn],
    /// How many of `pages`, from the first one, are this value's.
    len: usize,
}

impl<'a, 's, 'm, M: CurrentCpu, C: FreeCore<'m>> OwnedBatch<'a, 's, 'm, M, C> {
    /// Allocates as many single pages as `pages` has places, or as many as there are: [`Self::pfns`] says how many
    /// (Linux: `alloc_pages_bulk_array`).
    ///
    /// # Errors
    /// [`AllocError`] when not even one page could be had.
    pub fn alloc(
        allocator: &'a PageAllocator<'m, M, C>,
        gfp: GfpFlags,
        pages: &'s mut [Pfn],
    ) -> Result<Self, AllocError> {
        let taken = allocator.alloc_pages_bulk(gfp, pages)?;
        let mut batch = Self { allocator, pages, len: 0 };
        for index in 0..taken {
            // A page that is not ours any more was freed by someone who does not own it.
            if batch.pages.get(index).is_some_and(|pfn| allocator.own(*pfn, Order::ZERO)) {
                batch.pages.swap(batch.len, index);
                batch.len += 1;
            }
        }
        Ok(batch)
    }

    /// The frames that are left.
    #[must_use]
    pub fn pfns(&self) -> &[Pfn] {
        self.pages.get(..self.len).unwrap_or_default()
    }

    /// Takes the last page out; `None` when none is left.
    pub fn pop(&mut self) -> Option<OwnedPages<'a, 'm, M, C>> {
        let last = *self.pfns().last()?;
        self.len -= 1;
        Some(OwnedPages::marked(self.allocator, last, Order::ZERO))
    }

    /// The bytes of page `index`; `None` when there is no such page, or it cannot be reached.
    #[must_use]
    pub fn bytes(&self, index: usize) -> Option<&[u8]> {
        let frames = self.frame(index)?;
        // SAFETY: the frame is this value's, which is borrowed for as long as the bytes.
        unsafe { self.allocator.lend(frames) }
    }

    /// The bytes of page `index`, to write; `None` as with [`Self::bytes`].
    #[must_use]
    pub fn bytes_mut(&mut self, index: usize) -> Option<&mut [u8]> {
        let frames = self.frame(index)?;
        // SAFETY: the frame is this value's, which is mutably borrowed for as long as the bytes.
        unsafe { self.allocator.lend_mut(frames) }
    }

    fn frame(&self, index: usize) -> Option<PfnRange> {
        self.pfns().get(index).map(|pfn| frames_of(*pfn, Order::ZERO))
    }
}

impl<'m, M: CurrentCpu, C: FreeCore<'m>> Drop for OwnedBatch<'_, '_, 'm, M, C> {
    fn drop(&mut self) {
        self.pfns().iter().for_each(|pfn| self.allocator.disown(*pfn));
        // An error is logged: somebody freed a page by its number in between. Those behind it then stay allocated, for
        // they may be somebody's by now.
        let _ = self.allocator.free_pages_bulk(self.pfns());
    }
}

impl<'m, M: CurrentCpu, C: FreeCore<'m>> fmt::Debug for OwnedBatch<'_, '_, 'm, M, C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OwnedBatch").field("pages", &self.pfns()).finish()
    }
}
