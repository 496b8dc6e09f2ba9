//! Marks: the first word of what is out says whose it is.

use mm::addr::{Pfn, VirtAddr};

use super::Defect;
use crate::arch::armv7::fault::{try_read, try_write};
use crate::vm::Vm;

/// What the pages of `slot` bear at `place`, a page's number among them or so.
pub(super) const fn mark(slot: u32, place: u32) -> u32 {
    slot.wrapping_mul(0x9e37_79b9) ^ place.rotate_left(16) ^ 0x5a5a_a5a5
}

/// Writes `mark` to `frame`, which is ours, wherever it lies.
pub(super) fn write(vm: &Vm, frame: Pfn, mark: u32) -> Result<(), Defect> {
    through_window(vm, frame, |word| {
        // SAFETY: the frame is ours alone and mapped.
        unsafe { word.write_volatile(mark) }
    })
}

/// Looks for `mark` in `frame`.
pub(super) fn expect(vm: &Vm, frame: Pfn, mark: u32) -> Result<(), Defect> {
    let found = through_window(vm, frame, |word| {
        // SAFETY: the frame is ours alone and mapped.
        unsafe { word.read_volatile() }
    })?;
    if found != mark {
        log::error!("torture: frame {frame} holds {found:#010x}, and {mark:#010x} was written to it");
        return Err(Defect);
    }
    Ok(())
}

/// Runs `access` on the first word of `frame`.
fn through_window<R>(vm: &Vm, frame: Pfn, access: impl FnOnce(*mut u32) -> R) -> Result<R, Defect> {
    let defect = |error: &dyn core::fmt::Display| {
        log::error!("torture: {error}");
        Defect
    };
    let map = vm.kmap_local(frame).map_err(|error| defect(&error))?;
    let result = access(map.page().cast::<u32>().as_ptr());
    vm.kunmap_local(map).map_err(|(_, error)| defect(&error))?;
    Ok(result)
}

/// Writes `mark` to the word at `va`, which is ours.
pub(super) fn write_at(va: VirtAddr, mark: u32) -> Result<(), Defect> {
    // SAFETY: the callers own what is mapped at `va`.
    unsafe { try_write(va, mark) }.map_err(|fault| {
        log::error!("torture: a write to {va} faults: {fault:?}");
        Defect
    })
}

/// Looks for `mark` at `va`.
pub(super) fn expect_at(va: VirtAddr, mark: u32) -> Result<(), Defect> {
    let found = try_read(va);
    if found != Ok(mark) {
        log::error!("torture: {va} holds {found:x?}, and {mark:#010x} was written to it");
        return Err(Defect);
    }
    Ok(())
}
