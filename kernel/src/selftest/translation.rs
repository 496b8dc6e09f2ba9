//! The software walk against the MMU itself.

use mm::addr::{PAGE_SIZE, VirtAddr};

use super::{Failed, Verdict};
use crate::arch::armv7::fault::{Fault, try_execute};
use crate::arch::armv7::mmu::{Access, translate};
use crate::system::System;
use crate::{check, selftest};

selftest!(every_mapped_page_agrees_with_the_mmu);
selftest!(no_entry_that_is_execute_never_can_be_executed);
selftest!(unmapped_addresses_have_no_translation);
selftest!(the_identity_mapping_is_gone);

/// Each page of each mapping: same physical address, a store allowed exactly where the tables say so, and user code kept
/// out of all of them.
pub(super) fn every_mapped_page_agrees_with_the_mmu(system: &System) -> Verdict {
    let mut pages = 0_u32;
    for mapping in system.tables.mappings() {
        let mapping = mapping.map_err(|error| {
            log::error!("selftest: {error}");
            Failed
        })?;
        let writable = mapping.to.prot.writable();
        for offset in (0..mapping.bytes()).step_by(PAGE_SIZE as usize) {
            let va = VirtAddr::new(mapping.va.raw().wrapping_add(offset));
            let expected = mapping.to.pa.raw() + u64::from(offset);
            let read = translate(va, Access::Read);
            check!(read.map(u64::from) == Ok(expected), "{va}: MMU says {read:x?}, tables {expected:#x}");
            let write = translate(va, Access::Write);
            check!(write.is_ok() == writable, "{va}: MMU says {write:x?}, tables say writable {writable}");
            for user in [Access::UserRead, Access::UserWrite] {
                let answer = translate(va, user);
                check!(answer.is_ok() == (mapping.to.prot.access.user()), "{va}: {user:?} gets {answer:x?}");
            }
            pages = pages.wrapping_add(1);
        }
    }
    let image = system.image.whole.whole_frames().pages();
    check!(pages >= image, "only {pages} pages are mapped, the image alone has {image}");
    Ok(())
}

/// A branch to the first word of each descriptor, and of each copy of a large page's, must be refused by permission.
fn no_entry_that_is_execute_never_can_be_executed(system: &System) -> Verdict {
    let mut refused = 0_u32;
    for mapping in system.tables.mappings() {
        let mapping = mapping.map_err(|_| Failed)?;
        if mapping.to.prot.executable() {
            continue;
        }
        // SAFETY: the fetch is refused: if it is not, the machine is worth nothing to a test.
        let fetched = unsafe { try_execute(mapping.va) };
        let by_permission = |fault: Fault| fault.status.is_permission() && fault.pc == mapping.va;
        check!(fetched.is_err_and(by_permission), "{}: {fetched:?}", mapping.va);
        refused = refused.wrapping_add(1);
    }
    check!(refused > 100, "only {refused} entries are execute-never");
    Ok(())
}

/// One address in each MiB that the first level leaves empty.
fn unmapped_addresses_have_no_translation(system: &System) -> Verdict {
    for index in 0..4096_u32 {
        let va = VirtAddr::new(index << 20);
        let walk = system.tables.walk(va).map_err(|_| Failed)?;
        let answer = translate(va, Access::Read);
        check!(walk.is_some() == answer.is_ok(), "{va}: tables {walk:?}, MMU {answer:x?}");
    }
    Ok(())
}

/// Where physical and virtual addresses differ nothing is mapped at the image's physical address; where they
/// coincide nothing is mapped below the modules area.
fn the_identity_mapping_is_gone(system: &System) -> Verdict {
    let run = VirtAddr::new(system.head.run);
    let linear = system.layout.linear.phys_to_virt(system.image.whole.start);
    if linear != Some(run) && run.raw() < system.layout.modules_start().raw() {
        let answer = translate(run, Access::Read);
        check!(answer.is_err(), "the image's physical address {run} is still mapped: {answer:x?}");
    }
    let mut index = 0_u32;
    while index << 20 < system.layout.modules_start().raw() {
        let va = VirtAddr::new(index << 20);
        let mapped = system.tables.walk(va).map_err(|_| Failed)?;
        check!(mapped.is_none(), "{va} is mapped: {mapped:?}");
        index += 1;
    }
    Ok(())
}
