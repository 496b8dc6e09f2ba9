//! Frames reached through the linear map of the running tables.

use core::mem::MaybeUninit;
use core::ptr::NonNull;
use core::sync::atomic::{AtomicU32, Ordering};

use mm::addr::{PAGE_SHIFT, Pfn};
use mm::layout::PAGE_OFFSET;
use mm::platform::PhysMap;

use crate::arch::armv7::page;

/// The part of physical memory that is mapped at [`PAGE_OFFSET`]: nothing before the first bank is mapped.
#[derive(Debug)]
pub struct LinearRam {
    first: AtomicU32,
    pages: AtomicU32,
}

/// The one linear map of the machine.
pub static RAM: LinearRam = LinearRam { first: AtomicU32::new(0), pages: AtomicU32::new(0) };

/// What the map is at one moment.
#[derive(Clone, Copy, Debug)]
pub struct LinearPages {
    first: u32,
    pages: u32,
}

impl LinearPages {
    /// One past the last frame.
    pub const fn end(self) -> Pfn {
        Pfn::new(self.first.saturating_add(self.pages))
    }

    /// How many frames `frame` lies behind the first one: for one below it, more than there are.
    #[inline(always)]
    pub const fn offset(self, frame: Pfn) -> u32 {
        frame.raw().wrapping_sub(self.first)
    }

    /// The first byte of `pages` frames that lie `offset` behind the first one. A few instructions: whoever reaches a
    /// frame begins here.
    #[inline(always)]
    pub fn at(self, offset: u32, pages: u32) -> Option<NonNull<u8>> {
        if offset >= self.pages || pages > self.pages - offset {
            return None;
        }
        let address = PAGE_OFFSET.raw().wrapping_add(offset << PAGE_SHIFT);
        let pointer = core::ptr::with_exposed_provenance_mut(address as usize);
        // SAFETY: `set` was told that this many pages are mapped from `PAGE_OFFSET` on: the address does not wrap to 0.
        Some(unsafe { NonNull::new_unchecked(pointer) })
    }
}

impl LinearRam {
    /// What the map is now: for good, when the boot is over.
    #[inline(always)]
    pub fn now(&self) -> LinearPages {
        LinearPages { first: self.first.load(Ordering::Relaxed), pages: self.pages.load(Ordering::Relaxed) }
    }

    /// Widens or narrows the map to `first..end`; the boot sequence calls this when it has changed the tables.
    ///
    /// # Safety
    /// All RAM in `first..end` that is not no-map must be mapped at [`PAGE_OFFSET`], readable and writable, `first`
    /// at [`PAGE_OFFSET`] itself, and `end` at or below the end of the address space.
    pub unsafe fn set(&self, first: Pfn, end: Pfn) {
        self.first.store(first.raw(), Ordering::Relaxed);
        self.pages.store(end.raw().saturating_sub(first.raw()), Ordering::Relaxed);
    }
}

// SAFETY: `set` is told only of frames that are mapped, at one fixed offset: contiguous frames are contiguous bytes.
// `fill_units` writes all units.
unsafe impl PhysMap for LinearRam {
    #[inline]
    fn frames_ptr(&self, first: Pfn, pages: u32) -> Option<NonNull<u8>> {
        let linear = self.now();
        linear.at(linear.offset(first), pages)
    }

    unsafe fn fill_frame(&self, bytes: NonNull<u8>, byte: u8) {
        // SAFETY: the caller answers for the page.
        unsafe { page::fill_page(bytes, byte) }
    }

    fn fill_units(&self, units: &mut [MaybeUninit<[u32; 8]>], unit: &[u32; 8]) {
        page::fill_units(units, unit);
    }
}
