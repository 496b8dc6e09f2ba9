//! Pages as values that free themselves: the safe face of the allocator.
//!
//! Theory.      The raw functions deal in frame numbers, and a number can be copied, forged, freed twice. A value that
//!              owns a block is none of that: it marks the block's state word as *owned*, and while it lives no raw
//!              function frees, shares or splits the block by its number. So the bytes of the block belong to the value
//!              and can be lent out as slices, and whoever drops it gives the pages back. Four values: one block
//!              ([`OwnedPages`]), the same with several owners ([`SharedPages`]), single pages that follow each other
//!              ([`OwnedRange`]), single pages anywhere ([`OwnedBatch`]).
//! Invariants.  1. The word of each block that a value owns says so, from the value's birth to its end. 2. A value
//!              takes only blocks with one owner, in one compare-and-swap: no block has two values. 3. What the
//!              allocator was given at the hand-over nobody else uses: the bytes of a block are its owner's alone.
//! Picture.
//! ```text
//! alloc_pages -> Allocated --own--> Owned --drop--> Allocated -> free_pages
//!                    ^                |
//!                    +---- into_raw --+        free_pages, get_page, split_page of an owned block: refused
//! ```
//! Not here.    What a request gets (`alloc_pages` and its kin serve each of these).
//! Source.      Linux has only the raw functions; the shape is that of `Box`, `Arc` and `Vec`.

mod batch;
mod range;
mod shared;

pub use batch::OwnedBatch;
pub use range::OwnedRange;
pub use shared::SharedPages;

use core::fmt;
use core::ptr::NonNull;

use crate::addr::{PAGE_SIZE, Pfn, PfnRange};
use crate::buddy::{FreeCore, FreeError};
use crate::gfp::GfpFlags;
use crate::memmap::{PageState, StateWord};
use crate::order::Order;
use crate::page_alloc::{AllocError, DefaultCore, PageAllocator};
use crate::sync::CurrentCpu;

impl<'m, M: CurrentCpu, C: FreeCore<'m>> PageAllocator<'m, M, C> {
    /// Marks an allocated block as a value's; `false`, and nothing done, unless it has one owner and this order.
    fn own(&self, pfn: Pfn, order: Order) -> bool {
        self.map.page(pfn).is_some_and(|page| page.update(|word| word.owned(order)).is_ok())
    }

    /// Takes the mark of a value away, so that the raw functions know the block again. The value is its only owner.
    fn disown(&self, pfn: Pfn) {
        let disowned = self.map.page(pfn).is_some_and(|page| page.update(StateWord::disowned).is_ok());
        debug_assert!(disowned, "pfn {pfn} belongs to a value but does not say so");
    }

    /// Why a block cannot become a value's.
    fn not_to_own(&self, pfn: Pfn, order: Order) -> FreeError {
        let count = self.map.count(pfn).unwrap_or(0);
        match self.map.state(pfn) {
            None => FreeError::NoSuchFrame(pfn),
            Some(PageState::Allocated(found)) if found != order => FreeError::WrongOrder { pfn, order, found },
            Some(PageState::Allocated(_)) => FreeError::NotReferenced { pfn, count },
            Some(found) => FreeError::NotAllocated { pfn, order, found },
        }
    }

    /// The first byte of frames that a value owns, and how many bytes there are.
    fn reach(&self, frames: PfnRange) -> Option<(NonNull<u8>, usize)> {
        let first = self.ram?.frames_ptr(frames.start, frames.pages())?;
        Some((first, frames.pages() as usize * PAGE_SIZE as usize))
    }

    /// The bytes of frames that a value owns.
    ///
    /// # Safety
    /// The frames must belong to a value that is borrowed for `'v`, and that lends nobody the right to write meanwhile.
    unsafe fn lend<'v>(&self, frames: PfnRange) -> Option<&'v [u8]> {
        let (first, len) = self.reach(frames)?;
        // SAFETY: `PhysMap` vouches for the bytes, and they are the value's alone (invariant 3), which only reads.
        Some(unsafe { core::slice::from_raw_parts(first.as_ptr(), len) })
    }

    /// As [`Self::lend`], to write.
    ///
    /// # Safety
    /// The frames must belong to a value that is mutably borrowed for `'v`.
    unsafe fn lend_mut<'v>(&self, frames: PfnRange) -> Option<&'v mut [u8]> {
        let (first, len) = self.reach(frames)?;
        // SAFETY: `PhysMap` vouches for the bytes, and they are the value's alone (invariant 3), which is borrowed.
        Some(unsafe { core::slice::from_raw_parts_mut(first.as_ptr(), len) })
    }
}

/// The frames of a block; `order` aligns `pfn` and the block is in the memory map, so the end fits.
const fn frames_of(pfn: Pfn, order: Order) -> PfnRange {
    PfnRange::new(pfn, Pfn::new(pfn.raw().saturating_add(order.pages())))
}

/// One allocated block, freed when it is dropped.
///
/// ```
/// # use mm::{phase::Mm, testing::{FakeRam, HostIrq, small_machine}};
/// use mm::{gfp::GfpFlags, order::Order, page_alloc::OwnedPages};
/// # let ram = FakeRam::of_mib(8);
/// # let mm: Mm<'_, HostIrq> = small_machine(&ram);
/// let mut block = OwnedPages::alloc(mm.allocator(), GfpFlags::GFP_KERNEL | GfpFlags::ZERO, Order::new(2).unwrap())?;
/// block.bytes_mut().unwrap()[..5].copy_from_slice(b"quire");
/// assert_eq!(block.bytes().unwrap().len(), 4 * 4096);
///
/// // Its number is no key to it: nobody else can free it.
/// assert!(mm.allocator().free_pages(block.pfn(), block.order()).is_err());
///
/// // Four pages, each with an owner of its own.
/// let mut pages = block.split().unwrap();
/// let first = pages.take_first().unwrap();
/// drop(pages);
/// assert_eq!(&first.bytes().unwrap()[..5], b"quire");
/// # Ok::<(), mm::page_alloc::AllocError>(())
/// ```
#[must_use = "the pages are freed at once"]
pub struct OwnedPages<'a, 'm, M: CurrentCpu, C: FreeCore<'m> = DefaultCore<'m>> {
    allocator: &'a PageAllocator<'m, M, C>,
    pfn: Pfn,
    order: Order,
}

impl<'a, 'm, M: CurrentCpu, C: FreeCore<'m>> OwnedPages<'a, 'm, M, C> {
    /// Allocates a block of `order`; its bytes are whatever was there, unless `gfp` says `ZERO`.
    ///
    /// Context: that of [`PageAllocator::alloc_pages`].
    ///
    /// # Errors
    /// [`AllocError`] with the request; nothing has changed.
    pub fn alloc(allocator: &'a PageAllocator<'m, M, C>, gfp: GfpFlags, order: Order) -> Result<Self, AllocError> {
        let pfn = allocator.alloc_pages(gfp, order)?;
        // A block that is not ours any more was freed by someone who does not own it: there is none for us then.
        Self::claim(allocator, pfn, order).ok_or(AllocError::NoMemory { gfp, order })
    }

    /// Makes a value of a block that [`PageAllocator::alloc_pages`] or [`Self::into_raw`] gave.
    ///
    /// # Errors
    /// [`FreeError`] when `pfn` heads no allocated block of `order`, or it has several owners; nothing has changed.
    ///
    /// # Safety
    /// The block must be the caller's, and nobody may use its bytes but by this value from now on.
    pub unsafe fn from_raw(allocator: &'a PageAllocator<'m, M, C>, pfn: Pfn, order: Order) -> Result<Self, FreeError> {
        Self::claim(allocator, pfn, order).ok_or_else(|| allocator.not_to_own(pfn, order))
    }

    fn claim(allocator: &'a PageAllocator<'m, M, C>, pfn: Pfn, order: Order) -> Option<Self> {
        // Not `then_some`: a value that is made and dropped would free somebody else's block.
        allocator.own(pfn, order).then(|| Self { allocator, pfn, order })
    }

    /// A value for a block that is marked as one's already.
    const fn marked(allocator: &'a PageAllocator<'m, M, C>, pfn: Pfn, order: Order) -> Self {
        Self { allocator, pfn, order }
    }

    /// Ends the value and leaves the block allocated: it is freed by [`PageAllocator::free_pages`], or becomes a value
    /// again by [`Self::from_raw`].
    #[must_use = "the block is lost without its number"]
    pub fn into_raw(self) -> (Pfn, Order) {
        let (allocator, pfn, order) = self.take_apart();
        allocator.disown(pfn);
        (pfn, order)
    }

    /// The parts, without the drop.
    const fn take_apart(self) -> (&'a PageAllocator<'m, M, C>, Pfn, Order) {
        let parts = (self.allocator, self.pfn, self.order);
        core::mem::forget(self);
        parts
    }

    /// The first frame.
    #[must_use]
    pub const fn pfn(&self) -> Pfn {
        self.pfn
    }

    /// The block's order.
    #[must_use]
    pub const fn order(&self) -> Order {
        self.order
    }

    /// Its frames.
    #[must_use]
    pub const fn frames(&self) -> PfnRange {
        frames_of(self.pfn, self.order)
    }

    /// Its bytes; `None` when they cannot be reached: the block is outside the linear mapping, or the allocator has no
    /// `PhysMap`.
    #[must_use]
    pub fn bytes(&self) -> Option<&[u8]> {
        // SAFETY: the frames are this value's, which is borrowed for as long as the bytes.
        unsafe { self.allocator.lend(self.frames()) }
    }

    /// Its bytes, to write; `None` as with [`Self::bytes`].
    #[must_use]
    pub fn bytes_mut(&mut self) -> Option<&mut [u8]> {
        // SAFETY: the frames are this value's, which is mutably borrowed for as long as the bytes.
        unsafe { self.allocator.lend_mut(self.frames()) }
    }

    /// Single pages in place of the block (Linux: `split_page`).
    ///
    /// # Errors
    /// The block itself, as it was, when it is a compound page: that is freed as a whole.
    pub fn split(self) -> Result<OwnedRange<'a, 'm, M, C>, Self> {
        let map = self.allocator.map;
        let Some(single) = map.page(self.pfn).and_then(|page| page.word().owned_page(self.order)) else {
            return Err(self);
        };
        self.allocator.tell_of_split(self.pfn, self.order);
        for page in self.frames().iter().filter_map(|pfn| map.page(pfn)) {
            page.set_word(single);
        }
        let frames = self.frames();
        let (allocator, ..) = self.take_apart();
        Ok(OwnedRange::marked(allocator, frames))
    }

    /// The block for several owners.
    pub fn share(self) -> SharedPages<'a, 'm, M, C> {
        SharedPages::new(self)
    }
}

impl<'m, M: CurrentCpu, C: FreeCore<'m>> Drop for OwnedPages<'_, 'm, M, C> {
    fn drop(&mut self) {
        self.allocator.disown(self.pfn);
        // An error is logged; whoever freed the block by its number in between has done what was to be done.
        let _ = self.allocator.free_pages(self.pfn, self.order);
    }
}

impl<'m, M: CurrentCpu, C: FreeCore<'m>> fmt::Debug for OwnedPages<'_, 'm, M, C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OwnedPages").field("pfn", &self.pfn).field("order", &self.order).finish()
    }
}
