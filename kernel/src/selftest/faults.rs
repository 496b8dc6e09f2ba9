//! What must not be possible, tried: each raises the expected abort, is decoded and resumed.

use mm::addr::VirtAddr;
use mm::layout::VECTORS_BASE;

use super::Verdict;
use crate::arch::armv7::fault::{try_execute, try_read, try_write};
use crate::arch::armv7::vectors::Kind;
use crate::system::System;
use crate::{check, selftest};

selftest!(a_write_to_text_is_refused);
selftest!(a_write_to_constants_is_refused);
selftest!(a_write_to_the_vectors_is_refused);
selftest!(execution_of_data_is_refused);
selftest!(execution_of_constants_is_refused);
selftest!(a_no_map_frame_has_no_linear_address);
selftest!(the_stack_guards_have_no_translation);
selftest!(the_null_page_has_no_translation);
selftest!(an_undefined_instruction_is_caught);

/// Stores to `va` the word that it holds, which must be refused by permission.
fn write_is_refused(va: VirtAddr) -> Verdict {
    let Ok(word) = try_read(va) else {
        log::error!("selftest: {va} cannot be read");
        return Err(super::Failed);
    };
    // SAFETY: the word stored is the word that is there.
    let result = unsafe { try_write(va, word) };
    let Err(fault) = result else {
        log::error!("selftest: a store to {va} went through");
        return Err(super::Failed);
    };
    check!(fault.kind == Kind::DataAbort && fault.write, "{fault:?}");
    check!(fault.status.is_permission() && fault.address == va, "{fault:?}");
    Ok(())
}

fn linear(system: &System, pa: mm::addr::PhysAddr) -> Result<VirtAddr, super::Failed> {
    system.layout.linear.phys_to_virt(pa).ok_or(super::Failed)
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
        return Err(super::Failed);
    };
    check!(fault.kind == Kind::PrefetchAbort && fault.address == va, "{fault:?}");
    check!(fault.status.is_permission(), "{fault:?}");
    Ok(())
}

/// `bx lr`.
const RETURN: u32 = 0xe12f_ff1e;

fn execution_of_data_is_refused(_: &System) -> Verdict {
    let code = [RETURN];
    execution_is_refused(VirtAddr::new(core::hint::black_box(&code).as_ptr() as u32))
}

fn execution_of_constants_is_refused(_: &System) -> Verdict {
    static CODE: [u32; 1] = [RETURN];
    execution_is_refused(VirtAddr::new(core::hint::black_box(&CODE).as_ptr() as u32))
}

/// A load from `va` must find no translation.
fn read_finds_nothing(va: VirtAddr) -> Verdict {
    let result = try_read(va);
    let Err(fault) = result else {
        log::error!("selftest: {va} can be read: {result:x?}");
        return Err(super::Failed);
    };
    check!(fault.kind == Kind::DataAbort && !fault.write, "{fault:?}");
    check!(fault.status.is_translation() && fault.address == va, "{fault:?}");
    Ok(())
}

fn a_no_map_frame_has_no_linear_address(system: &System) -> Verdict {
    for range in system.no_map_ranges() {
        if let Some(va) = system.layout.linear.phys_to_virt(range.start) {
            read_finds_nothing(va)?;
        }
    }
    Ok(())
}

fn the_stack_guards_have_no_translation(system: &System) -> Verdict {
    for guard in system.image.guards {
        read_finds_nothing(linear(system, guard.start)?)?;
    }
    Ok(())
}

fn the_null_page_has_no_translation(_: &System) -> Verdict {
    read_finds_nothing(VirtAddr::new(0))
}

fn an_undefined_instruction_is_caught(_: &System) -> Verdict {
    let caught = crate::arch::armv7::fault::try_undefined();
    check!(caught.is_some_and(|fault| fault.kind == Kind::Undefined), "{caught:?}");
    Ok(())
}
