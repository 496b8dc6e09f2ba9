//! Memory taken for good from memblock or from the zones, as slices.

use core::mem::MaybeUninit;
use core::ptr::NonNull;

use mm::addr::{PAGE_SIZE, Pfn, PhysAddr};
use mm::memblock::{AllocRequest, Memblock};
use mm::platform::PhysMap;

use super::BootError;

/// `count` places of `T` in frames from memblock that are never given back; `answers` probes each frame.
///
/// # Errors
/// No memory, or a frame that swallows writes.
#[expect(clippy::mut_from_ref, reason = "the bytes are memblock's, not the map's; each call takes others")]
pub(super) fn take<T>(
    memblock: &mut Memblock<'_>,
    ram: &'static dyn PhysMap,
    answers: &dyn Fn(Pfn) -> bool,
    what: &'static str,
    count: usize,
) -> Result<&'static mut [MaybeUninit<T>], BootError> {
    let bytes = count.checked_mul(size_of::<T>()).ok_or(BootError::NoMemory { what, bytes: u64::MAX })?;
    let no_memory = BootError::NoMemory { what, bytes: bytes as u64 };
    // At least 64 bytes: the alignment of Linux's early allocations, and more than any `T` here asks for.
    let align = align_of::<T>().max(64) as u64;
    let start = memblock.alloc(&AllocRequest::new(bytes.max(1) as u64, align)).map_err(|_| no_memory)?;
    let frames = mm::addr::PhysRange::new(start, start.saturating_add(bytes as u64)).touched_frames();
    if let Some(absent) = frames.iter().find(|frame| !answers(*frame)) {
        return Err(BootError::AbsentFrame { what, frame: absent.base() });
    }
    let places = places(ram, start, count).ok_or(no_memory)?;
    // SAFETY: memblock gave these bytes to nobody else, and they are never given back.
    Ok(unsafe { own(places) })
}

/// Where `count` places of `T` lie from `start` on; `None` where `ram` does not reach all of them.
pub(super) fn places<T>(ram: &dyn PhysMap, start: PhysAddr, count: usize) -> Option<NonNull<[MaybeUninit<T>]>> {
    let first = Pfn::containing(start)?;
    let offset = usize::try_from(start.raw() & u64::from(PAGE_SIZE - 1)).ok()?;
    let bytes = count.checked_mul(size_of::<T>())?.checked_add(offset)?;
    let pages = u32::try_from(bytes.div_ceil(PAGE_SIZE as usize)).ok()?;
    let page = ram.frames_ptr(first, pages)?;
    // SAFETY: the offset is below a page, and `frames_ptr` vouches for all the pages.
    let start = unsafe { page.add(offset) }.cast::<MaybeUninit<T>>();
    if !start.is_aligned() {
        return None;
    }
    Some(NonNull::slice_from_raw_parts(start, count))
}

/// The places as a slice.
///
/// # Safety
/// They must come from [`places`], from frames that the caller took for good and hands to nobody else.
pub(super) unsafe fn own<T>(mut places: NonNull<[MaybeUninit<T>]>) -> &'static mut [MaybeUninit<T>] {
    // SAFETY: the frames are mapped for good (`PhysMap`), the caller owns them, and `MaybeUninit` asks nothing of
    // their bytes.
    unsafe { places.as_mut() }
}

/// Writes every place of `slice` and returns it.
pub(super) fn fill<T>(slice: &'static mut [MaybeUninit<T>], mut value: impl FnMut() -> T) -> &'static mut [T] {
    for place in slice.iter_mut() {
        place.write(value());
    }
    // SAFETY: the loop wrote every place.
    unsafe { slice.assume_init_mut() }
}

/// Writes the places of `slice` until `value` gives none, and returns those written.
pub(super) fn fill_some<T>(
    slice: &'static mut [MaybeUninit<T>],
    mut value: impl FnMut() -> Option<T>,
) -> &'static mut [T] {
    let mut written = 0;
    for place in slice.iter_mut() {
        let Some(value) = value() else { break };
        place.write(value);
        written += 1;
    }
    let (front, _) = slice.split_at_mut(written);
    // SAFETY: the loop wrote the first `written` places.
    unsafe { front.assume_init_mut() }
}
