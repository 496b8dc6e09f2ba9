//! Tests that fail: they leave the tables as no test may, and the run has to notice. Only `selftest=NAME` with the
//! whole name runs one; the host's tests do, and want the failure.

use aarch32_cpu::asm::isb;
use aarch32_cpu::register::{Dacr, SysRegWrite};
use mm::addr::SECTION_SIZE;
use mm::layout::VMALLOC_END;
use mm::paging::descriptor::FirstLevel;
use mm::paging::{Domain, Editor, Prot, section_index};

use super::Verdict;
use super::vm::ok;
use crate::arch::armv7::mmu::ArmTlb;
use crate::selftest;
use crate::system::System;

selftest!(a_planted_section_is_writable_and_executable, by_name);
selftest!(a_planted_alias_makes_text_writable, by_name);
selftest!(a_planted_manager_domain_makes_all_rights_void, by_name);

/// Maps a section at the end of vmalloc's addresses, behind everybody's back.
fn plant(system: &System, prot: Prot) -> Verdict {
    let tlb = ArmTlb::detect();
    // SAFETY: nobody else edits the tables meanwhile, and nothing is mapped where vmalloc's addresses end.
    let mut editor = unsafe { Editor::new(system.tables, &tlb) };
    let at = section_index(VMALLOC_END) - 1;
    let base = system.image.text.start.align_down(u64::from(SECTION_SIZE));
    ok(editor.set_first(at, FirstLevel::Section { base, prot, domain: Domain::KERNEL }))?;
    editor.sync_first(at, at + 1);
    Ok(())
}

fn a_planted_section_is_writable_and_executable(system: &System) -> Verdict {
    plant(system, Prot::EARLY_RWX)
}

fn a_planted_alias_makes_text_writable(system: &System) -> Verdict {
    let linear = ok(system.tables.walk(system.layout.linear.page_offset()))?;
    plant(system, Prot::KERNEL_RW.with_shareable(linear.is_some_and(|to| to.prot.shareable)))
}

/// The tables are as ever, but the CPU looks at none of their rights: only the comparison at the end can find it.
fn a_planted_manager_domain_makes_all_rights_void(_: &System) -> Verdict {
    /// Domain 0 is a manager (Arm ARM DDI 0406C B4.1.43).
    const MANAGER: u32 = 3;
    // SAFETY: everything that could be done before can be done still.
    unsafe { Dacr::write_raw(MANAGER) }
    isb();
    Ok(())
}
