//! Filling and copying whole pages with stores of eight registers.
//!
//! Source.      Linux `clear_page`, `copy_page` (what they are for).

use core::arch::global_asm;
use core::mem::MaybeUninit;
use core::ptr::NonNull;

global_asm!(include_str!("page.S"), options(raw));

unsafe extern "C" {
    fn quire_fill_page(page: NonNull<u8>, word: u32);
    fn quire_fill_units(units: NonNull<[u32; 8]>, count: usize, unit: &[u32; 8]);
    fn quire_copy_page(to: NonNull<u8>, from: NonNull<u8>);
}

/// Writes zeros to the page at `page`. Cost: 143 instructions.
///
/// # Safety
/// `page` must be the begin of a page that is mapped, writable normal memory, and that nobody else refers to.
#[inline]
pub unsafe fn clear_page(page: NonNull<u8>) {
    // SAFETY: the caller gives the page.
    unsafe { quire_fill_page(page, 0) }
}

/// Writes `byte` to every byte of the page at `page`. Cost: 145 instructions.
///
/// # Safety
/// As for [`clear_page`].
#[inline]
pub unsafe fn fill_page(page: NonNull<u8>, byte: u8) {
    // SAFETY: the caller gives the page.
    unsafe { quire_fill_page(page, u32::from_ne_bytes([byte; 4])) }
}

/// Writes `unit` to each of `units`. Cost: 18 instructions for 16 of them.
pub fn fill_units(units: &mut [MaybeUninit<[u32; 8]>], unit: &[u32; 8]) {
    let Some(first) = NonNull::new(units.as_mut_ptr().cast()) else { return };
    // SAFETY: `units` is so many places, borrowed here, and any words may be written to them.
    unsafe { quire_fill_units(first, units.len(), unit) }
}

/// Copies the page at `from` to the page at `to`. Cost: 276 instructions.
///
/// # Safety
/// As for [`clear_page`] of `to`; `from` must be another page that is mapped and that nobody writes.
#[inline]
pub unsafe fn copy_page(to: NonNull<u8>, from: NonNull<u8>) {
    // SAFETY: the caller gives both pages.
    unsafe { quire_copy_page(to, from) }
}
