//! Frames reached through the linear map of the running tables.

use core::ptr::NonNull;
use core::sync::atomic::{AtomicU32, Ordering};

use mm::addr::{PAGE_SHIFT, Pfn};
use mm::layout::PAGE_OFFSET;
use mm::platform::PhysMap;

use crate::arch::armv7::page::fill_page;

/// The part of physical memory that is mapped at [`PAGE_OFFSET`]: nothing before the first bank is mapped.
#[derive(Debug)]
pub struct LinearRam {
    first: AtomicU32,
    end: AtomicU32,
}

/// The one linear map of the machine.
pub static RAM: LinearRam = LinearRam { first: AtomicU32::new(0), end: AtomicU32::new(0) };

impl LinearRam {
    /// Widens or narrows the map to `first..end`; the boot sequence calls this when it has changed the tables.
    ///
    /// # Safety
    /// All RAM in `first..end` that is not no-map must be mapped at [`PAGE_OFFSET`], readable and writable, `first`
    /// at [`PAGE_OFFSET`] itself.
    pub unsafe fn set(&self, first: Pfn, end: Pfn) {
        self.first.store(first.raw(), Ordering::Relaxed);
        self.end.store(end.raw(), Ordering::Relaxed);
    }
}

// SAFETY: `set` is told only of frames that are mapped, at one fixed offset: contiguous frames are contiguous bytes.
unsafe impl PhysMap for LinearRam {
    #[inline]
    fn frames_ptr(&self, first: Pfn, pages: u32) -> Option<NonNull<u8>> {
        let base = self.first.load(Ordering::Relaxed);
        let end = first.checked_add(pages)?;
        if first.raw() < base || end.raw() > self.end.load(Ordering::Relaxed) {
            return None;
        }
        let address = PAGE_OFFSET.raw().checked_add((first.raw() - base) << PAGE_SHIFT)?;
        NonNull::new(core::ptr::with_exposed_provenance_mut(address as usize))
    }

    unsafe fn fill_frame(&self, bytes: NonNull<u8>, byte: u8) {
        // SAFETY: the caller answers for the page.
        unsafe { fill_page(bytes, byte) }
    }
}
