//! What must not be possible, tried: each raises the expected fault, which is decoded, checked and resumed.

use core::arch::asm;
use core::hint::black_box;
use core::sync::atomic::AtomicU32;

use mm::addr::{PAGE_SIZE, VirtAddr};
use mm::fault::{FaultStatus, Level, Mode};
use mm::layout::{FixmapSlot, VECTORS_BASE, VMALLOC_END};

use super::{Failed, Verdict};
use crate::arch::armv7::backtrace::Place;
use crate::arch::armv7::fault::{Fault, catch_fault, try_execute, try_read, try_undefined, try_write};
use crate::arch::armv7::vectors::Kind;
use crate::image;
use crate::oops::run_deep;
use crate::system::System;
use crate::{check, selftest};

selftest!(a_write_to_text_is_refused);
selftest!(a_write_to_constants_is_refused);
selftest!(a_write_to_the_vectors_is_refused);
selftest!(execution_of_data_is_refused);
selftest!(execution_of_the_stack_is_refused);
selftest!(execution_of_constants_is_refused);
selftest!(execution_of_the_device_tree_is_refused);
selftest!(a_no_map_frame_has_no_linear_address);
selftest!(the_stack_guards_have_no_translation);
selftest!(the_null_page_cannot_be_read_written_or_executed);
selftest!(an_address_of_vmalloc_without_an_area_is_refused);
selftest!(an_undefined_instruction_is_caught);
selftest!(an_unserved_supervisor_call_is_caught);
selftest!(an_unaligned_load_of_two_registers_from_a_device_is_refused);
selftest!(a_stack_overflow_hits_the_guard_and_is_caught);
selftest!(a_caught_fault_leaves_an_outer_catch_armed);
selftest!(a_caught_fault_leaves_the_interrupt_masks_as_they_were);
selftest!(a_call_without_a_fault_returns_its_result);
selftest!(the_images_functions_have_names);

/// Checks what every fault of the kernel's own code says of itself.
fn is_ours(fault: &Fault) -> Verdict {
    check!(fault.psr.mode() == Mode::Supervisor, "{fault:?}");
    check!(fault.kind == Kind::PrefetchAbort || image::code().contains(&fault.pc), "{fault:?}");
    check!(fault.trace.is_some_and(|trace| trace.va == fault.address), "{fault:?}");
    Ok(())
}

/// Checks a fault by permission: something is mapped at the address, and the walk says why it was refused.
fn is_by_permission(fault: &Fault, write: bool, va: VirtAddr) -> Verdict {
    is_ours(fault)?;
    check!(fault.status.is_permission() && fault.address == va && fault.write == write, "{fault:?}");
    let leaf = fault.trace.and_then(|trace| trace.leaf());
    let refused = leaf.is_some_and(|(_, prot)| if write { !prot.writable() } else { !prot.executable() });
    check!(refused, "{leaf:?}");
    let two_levels = fault.trace.is_some_and(|trace| trace.second.is_some());
    let level = if two_levels { Level::Second } else { Level::First };
    check!(fault.status == FaultStatus::Permission(level), "{fault:?}");
    Ok(())
}

/// Checks a fault by translation: the walk ends without a mapping, at the level that the status says.
fn is_by_translation(fault: &Fault, kind: Kind, write: bool, va: VirtAddr) -> Verdict {
    is_ours(fault)?;
    check!(fault.kind == kind && fault.address == va && fault.write == write, "{fault:?}");
    let Some(trace) = fault.trace else { return Err(Failed) };
    let level = if trace.second.is_some() { Level::Second } else { Level::First };
    check!(fault.status == FaultStatus::Translation(level) && trace.leaf().is_none(), "{fault:?}");
    Ok(())
}

/// Stores to `va` the word that it holds, which must be refused by permission.
fn write_is_refused(va: VirtAddr) -> Verdict {
    let Ok(word) = try_read(va) else {
        log::error!("selftest: {va} cannot be read");
        return Err(Failed);
    };
    // SAFETY: the word stored is the word that is there.
    let result = unsafe { try_write(va, word) };
    let Err(fault) = result else {
        log::error!("selftest: a store to {va} went through");
        return Err(Failed);
    };
    check!(fault.kind == Kind::DataAbort, "{fault:?}");
    is_by_permission(&fault, true, va)
}

fn linear(system: &System, pa: mm::addr::PhysAddr) -> Result<VirtAddr, Failed> {
    system.layout.linear.phys_to_virt(pa).ok_or(Failed)
}

fn a_write_to_text_is_refused(system: &System) -> Verdict {
    write_is_refused(linear(system, system.image.text.start)?)
}

fn a_write_to_constants_is_refused(system: &System) -> Verdict {
    write_is_refused(linear(system, system.image.rodata.start)?)
}

fn a_write_to_the_vectors_is_refused(_: &System) -> Verdict {
    write_is_refused(VECTORS_BASE)
}

/// A branch to `va` must be refused by permission.
fn execution_is_refused(va: VirtAddr) -> Verdict {
    // SAFETY: the fetch is refused; the callers put a return instruction there in case it is not.
    let result = unsafe { try_execute(va) };
    let Err(fault) = result else {
        log::error!("selftest: {va} was executed");
        return Err(Failed);
    };
    check!(fault.kind == Kind::PrefetchAbort && fault.pc == va, "{fault:?}");
    is_by_permission(&fault, false, va)
}

/// `bx lr`.
const RETURN: u32 = 0xe12f_ff1e;

fn execution_of_data_is_refused(_: &System) -> Verdict {
    static CODE: AtomicU32 = AtomicU32::new(RETURN);
    execution_is_refused(VirtAddr::new(black_box(&CODE).as_ptr() as u32))
}

fn execution_of_the_stack_is_refused(_: &System) -> Verdict {
    let code = [RETURN];
    execution_is_refused(VirtAddr::new(black_box(&code).as_ptr() as u32))
}

/// What is there is no code: the processor must not get as far as finding out.
fn execution_of_the_device_tree_is_refused(system: &System) -> Verdict {
    let offset = (system.dtb.start.raw() & 0xf_ffff) as u32;
    execution_is_refused(mm::layout::DTB_BASE.checked_add(offset).ok_or(Failed)?)
}

fn execution_of_constants_is_refused(_: &System) -> Verdict {
    static CODE: [u32; 1] = [RETURN];
    execution_is_refused(VirtAddr::new(black_box(&CODE).as_ptr() as u32))
}

/// A load from `va` must find no translation.
fn read_finds_nothing(va: VirtAddr) -> Verdict {
    let result = try_read(va);
    let Err(fault) = result else {
        log::error!("selftest: {va} can be read: {result:x?}");
        return Err(Failed);
    };
    is_by_translation(&fault, Kind::DataAbort, false, va)
}

fn a_no_map_frame_has_no_linear_address(system: &System) -> Verdict {
    for range in system.no_map_ranges() {
        if let Some(va) = system.layout.linear.phys_to_virt(range.start) {
            read_finds_nothing(va)?;
        }
    }
    Ok(())
}

/// The guard's first and last word, read and written: the boot stack's, and that of the exceptions themselves.
fn the_stack_guards_have_no_translation(system: &System) -> Verdict {
    check!(system.image.guards.len() == image::stacks().len(), "a stack has no guard");
    for stack in image::stacks() {
        let guarded = system.layout.linear.virt_to_phys(stack.guard);
        check!(system.image.guards.iter().any(|guard| Some(guard.start) == guarded), "{stack:?}");
        check!(stack.guard.checked_add(PAGE_SIZE) == Some(stack.bottom), "{stack:?}");
        for va in [stack.guard, VirtAddr::new(stack.bottom.raw() - 4)] {
            read_finds_nothing(va)?;
            write_finds_nothing(va)?;
        }
    }
    Ok(())
}

/// A store to `va` must find no translation.
fn write_finds_nothing(va: VirtAddr) -> Verdict {
    // SAFETY: nothing is mapped there; nobody's word is lost.
    let Err(fault) = (unsafe { try_write(va, 0) }) else {
        log::error!("selftest: {va} can be written");
        return Err(Failed);
    };
    is_by_translation(&fault, Kind::DataAbort, true, va)
}

fn the_null_page_cannot_be_read_written_or_executed(_: &System) -> Verdict {
    for va in [VirtAddr::new(0), VirtAddr::new(PAGE_SIZE - 4)] {
        read_finds_nothing(va)?;
        write_finds_nothing(va)?;
        // SAFETY: nothing is mapped there.
        let Err(fault) = (unsafe { try_execute(va) }) else { return Err(Failed) };
        is_by_translation(&fault, Kind::PrefetchAbort, false, va)?;
    }
    Ok(())
}

/// The area's last page: areas are given out from its start.
fn an_address_of_vmalloc_without_an_area_is_refused(_: &System) -> Verdict {
    let va = VirtAddr::new(VMALLOC_END.raw() - PAGE_SIZE);
    read_finds_nothing(va)?;
    write_finds_nothing(va)
}

fn an_undefined_instruction_is_caught(_: &System) -> Verdict {
    let Some(fault) = try_undefined() else { return Err(Failed) };
    check!(fault.kind == Kind::Undefined && fault.address == fault.pc, "{fault:?}");
    is_ours(&fault)?;
    // SAFETY: the instruction changes nothing, and its fault is caught.
    let body = || unsafe { asm!("udf #7", options(nostack)) };
    // SAFETY: the body owns nothing.
    let caught = unsafe { catch_fault(body) };
    check!(caught.is_err_and(|fault| fault.kind == Kind::Undefined && fault.fsr == 0), "{caught:?}");
    Ok(())
}

fn an_unserved_supervisor_call_is_caught(_: &System) -> Verdict {
    // SAFETY: nobody serves the call, which is caught.
    let body = || unsafe { asm!("svc #1", out("lr") _, options(nostack)) };
    // SAFETY: the body owns nothing.
    let Err(fault) = (unsafe { catch_fault(body) }) else { return Err(Failed) };
    check!(fault.kind == Kind::SupervisorCall, "{fault:?}");
    is_ours(&fault)?;
    let call = try_read(fault.pc);
    check!(call == Ok(0xef00_0001), "{}: {call:x?} is no svc #1", fault.pc);
    Ok(())
}

/// The console's registers: device memory, where no access may be unaligned.
fn an_unaligned_load_of_two_registers_from_a_device_is_refused(_: &System) -> Verdict {
    if !crate::console::has_uart() {
        return Ok(());
    }
    // The UART's identification registers, which can be read at any time.
    let device = FixmapSlot::EarlyConsole.address().ok_or(Failed)?;
    let va = VirtAddr::new(device.raw() + 0xfe2);
    // SAFETY: the load goes to registers that are given away.
    let body = || unsafe { asm!("ldm {0}, {{r2, r3}}", in(reg) va.raw(), out("r2") _, out("r3") _, options(nostack)) };
    // SAFETY: the body owns nothing.
    let caught = unsafe { catch_fault(body) };
    let Err(fault) = caught else { return Err(Failed) };
    is_ours(&fault)?;
    check!(fault.kind == Kind::DataAbort && !fault.write, "{fault:?}");
    check!(fault.status == FaultStatus::Alignment && fault.address == va, "{fault:?}");
    Ok(())
}

fn a_stack_overflow_hits_the_guard_and_is_caught(_: &System) -> Verdict {
    let [boot, _] = image::stacks();
    // SAFETY: the body owns nothing but numbers on its stack.
    let Err(fault) = (unsafe { catch_fault(|| black_box(run_deep(u32::MAX))) }) else { return Err(Failed) };
    check!(boot.guard <= fault.address && fault.address < boot.bottom, "{fault:?} is not below {boot:?}");
    is_by_translation(&fault, Kind::DataAbort, true, fault.address)?;
    let name = Place(fault.pc).symbol().map(|symbol| symbol.name);
    check!(name.is_none_or(|name| name.contains("run_deep")), "{name:?}");
    Ok(())
}

fn a_caught_fault_leaves_an_outer_catch_armed(_: &System) -> Verdict {
    let null = VirtAddr::new(0);
    let high = VirtAddr::new(8);
    /// A load that nobody skips.
    fn load(va: VirtAddr) {
        // SAFETY: nothing is mapped at the addresses of this test.
        unsafe { asm!("ldr {0}, [{0}]", inout(reg) va.raw() => _, options(nostack)) }
    }
    let body = || {
        // SAFETY: the inner body owns nothing.
        let inner = unsafe { catch_fault(|| load(null)) };
        // One that is skipped in between.
        let skipped = try_read(null);
        if inner.is_err_and(|fault| fault.address == null) && skipped.is_err() {
            load(high);
        }
    };
    // SAFETY: the body owns nothing.
    let outer = unsafe { catch_fault(body) };
    check!(outer.is_err_and(|fault| fault.address == high), "{outer:?}");
    Ok(())
}

fn a_caught_fault_leaves_the_interrupt_masks_as_they_were(_: &System) -> Verdict {
    fn masks() -> u32 {
        let psr: u32;
        // SAFETY: reads the CPSR.
        unsafe { asm!("mrs {0}, cpsr", out(reg) psr, options(nomem, nostack, preserves_flags)) }
        psr & 0xc0
    }
    let before = masks();
    // SAFETY: no device raises an FIQ, and the fault is caught.
    let body = || unsafe { asm!("cpsie f", "udf #7", "cpsid f", options(nostack)) };
    // SAFETY: the body owns nothing.
    let caught = unsafe { catch_fault(body) };
    check!(caught.is_err_and(|fault| fault.kind == Kind::Undefined), "{caught:?}");
    check!(masks() == before, "masks {before:#x} are {:#x} after a fault", masks());
    Ok(())
}

fn a_call_without_a_fault_returns_its_result(_: &System) -> Verdict {
    // SAFETY: the body owns nothing.
    let sum = unsafe { catch_fault(|| black_box([1_u64, 2, 3]).iter().sum::<u64>()) };
    check!(sum == Ok(6), "{sum:?}");
    Ok(())
}

/// The table of symbols names this very function, and each of its lines lies above the one before.
fn the_images_functions_have_names(_: &System) -> Verdict {
    let table = mm::fault::symbols::SymbolTable::new(image::symbols());
    check!(table.len() > 100, "{} names", table.len());
    let this = VirtAddr::new(the_images_functions_have_names as *const () as u32);
    let symbol = Place(this).symbol();
    check!(symbol.is_some_and(|s| s.name.contains("the_images_functions") && s.offset == 0), "{symbol:?}");
    Ok(())
}
