//! One block with several owners.

use core::fmt;

use crate::addr::{Pfn, PfnRange};
use crate::buddy::FreeCore;
use crate::memmap::StateWord;
use crate::order::Order;
use crate::page_alloc::owned::{OwnedPages, frames_of};
use crate::page_alloc::{DefaultCore, PageAllocator};
use crate::sync::CurrentCpu;

/// A block that is freed when the last of its owners is dropped; each of them may read it.
///
/// The owners are counted in the block's own state word, so sharing allocates nothing (Linux: `get_page`, `put_page`).
///
/// ```
/// # use mm::{phase::Mm, testing::{FakeRam, HostIrq, small_machine}};
/// use mm::{gfp::GfpFlags, order::Order, page_alloc::OwnedPages};
/// # let ram = FakeRam::of_mib(8);
/// # let mm: Mm<'_, HostIrq> = small_machine(&ram);
/// let first = OwnedPages::alloc(mm.allocator(), GfpFlags::GFP_KERNEL, Order::ZERO)?.share();
/// let second = first.try_clone().unwrap();
/// assert_eq!((second.pfn(), second.count()), (first.pfn(), 2));
/// // With another owner left there is no right to write; with none there is.
/// let second = second.try_into_owned().unwrap_err();
/// drop(first);
/// let owned = second.try_into_owned().unwrap();
/// # Ok::<(), mm::page_alloc::AllocError>(())
/// ```
#[must_use = "the pages are given up at once"]
pub struct SharedPages<'a, 'm, M: CurrentCpu, C: FreeCore<'m> = DefaultCore<'m>> {
    allocator: &'a PageAllocator<'m, M, C>,
    pfn: Pfn,
    order: Order,
}

impl<'a, 'm, M: CurrentCpu, C: FreeCore<'m>> SharedPages<'a, 'm, M, C> {
    pub(super) const fn new(block: OwnedPages<'a, 'm, M, C>) -> Self {
        let (allocator, pfn, order) = block.take_apart();
        Self { allocator, pfn, order }
    }

    /// One owner more; `None` when the block has 65,536.
    #[must_use]
    pub fn try_clone(&self) -> Option<Self> {
        self.allocator.map.page(self.pfn)?.update(StateWord::shared).ok()?;
        Some(Self { allocator: self.allocator, pfn: self.pfn, order: self.order })
    }

    /// The block as one owner's, who may write.
    ///
    /// # Errors
    /// `self`, when there are other owners.
    pub fn try_into_owned(self) -> Result<OwnedPages<'a, 'm, M, C>, Self> {
        // What the others read came before they gave their shares up, so it must not be seen to come after: a swap.
        let last = |word: StateWord| (word.references() == 1).then_some(word);
        if self.allocator.map.page(self.pfn).is_none_or(|page| page.update(last).is_err()) {
            return Err(self);
        }
        let owned = OwnedPages::marked(self.allocator, self.pfn, self.order);
        core::mem::forget(self);
        Ok(owned)
    }

    /// How many owners there are at this moment.
    #[must_use]
    pub fn count(&self) -> u32 {
        self.allocator.map.count(self.pfn).unwrap_or(0)
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

    /// Its bytes; `None` when they cannot be reached.
    #[must_use]
    pub fn bytes(&self) -> Option<&[u8]> {
        // SAFETY: the frames belong to the owners, none of whom may write while there is a shared value.
        unsafe { self.allocator.lend(self.frames()) }
    }
}

impl<'m, M: CurrentCpu, C: FreeCore<'m>> Drop for SharedPages<'_, 'm, M, C> {
    fn drop(&mut self) {
        let Some(page) = self.allocator.map.page(self.pfn) else { return };
        if page.update(StateWord::unshared).is_err() {
            // The last one: nobody can share the block any more.
            drop(OwnedPages::marked(self.allocator, self.pfn, self.order));
        }
    }
}

impl<'m, M: CurrentCpu, C: FreeCore<'m>> fmt::Debug for SharedPages<'_, 'm, M, C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SharedPages")
            .field("pfn", &self.pfn)
            .field("order", &self.order)
            .field("count", &self.count())
            .finish()
    }
}
