//! Zeroes blocks for `__GFP_ZERO`.

use crate::addr::{PAGE_SIZE, Pfn};
use crate::buddy::FreeCore;
use crate::order::Order;
use crate::page_alloc::{AllocError, PageAllocator};
use crate::sync::CurrentCpu;

impl<'m, M: CurrentCpu, C: FreeCore<'m>> PageAllocator<'m, M, C> {
    /// Zeroes a block that was just allocated, or gives it back.
    #[cold]
    #[inline(never)]
    pub(super) fn zero_block(&self, pfn: Pfn, order: Order) -> Result<(), AllocError> {
        let Some(bytes) = self.ram.and_then(|ram| ram.frames_ptr(pfn, order.pages())) else {
            let freed = self.free_pages(pfn, order);
            assert!(freed.is_ok(), "a new block could not be given back: {freed:?}");
            return Err(AllocError::Unreachable { pfn, order });
        };
        // SAFETY: valid because `PhysMap` answers for every byte of these frames, and they were just allocated, so
        // nobody else uses them.
        unsafe { bytes.write_bytes(0, (order.pages() * PAGE_SIZE) as usize) };
        Ok(())
    }
}
