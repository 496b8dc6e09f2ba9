//! The assembly, and the two functions of Rust that it calls before the MMU is on.

use super::plan::{self, Raw};
use super::{HeadInfo, tables};

core::arch::global_asm!(include_str!("start.S"), options(raw));

/// Physical memory as the CPU sees it with the MMU off.
struct Bare;

impl Raw for Bare {
    #[inline(always)]
    fn read(&self, address: u32) -> u32 {
        let word;
        // SAFETY: `scan` reads inside the tree that r2 names, `plan` what it wants to use as RAM; where either leads
        // nowhere the abort is caught by `early_vectors` and planned for.
        unsafe { core::arch::asm!("ldr {0}, [{1}]", out(reg) word, in(reg) address, options(nostack, readonly)) }
        word
    }

    #[inline(always)]
    fn write(&self, address: u32, word: u32) {
        // SAFETY: `plan` puts back what it tries; `tables` writes the first-level table, off which the tree was moved.
        unsafe { core::arch::asm!("str {1}, [{0}]", in(reg) address, in(reg) word, options(nostack)) }
    }
}

/// Multiprocessing extensions, that is a shareable, split-attribute TTBR (MPIDR[31:30] = 0b10).
#[inline(always)]
fn multiprocessing() -> bool {
    let mpidr: u32;
    // SAFETY: reading MPIDR has no effect.
    unsafe { core::arch::asm!("mrc p15, 0, {0}, c0, c0, 5", out(reg) mpidr, options(nomem, nostack)) }
    mpidr >> 31 == 1
}

#[unsafe(no_mangle)]
#[unsafe(link_section = ".head.text")]
extern "C" fn quire_head_plan(info: &mut HeadInfo) {
    plan::plan(info, &Bare, multiprocessing());
}

#[unsafe(no_mangle)]
#[unsafe(link_section = ".head.text")]
extern "C" fn quire_head_plan_after_fault(info: &mut HeadInfo) {
    plan::plan_after_fault(info, &Bare, multiprocessing());
}

#[unsafe(no_mangle)]
#[unsafe(link_section = ".head.text")]
extern "C" fn quire_head_tables(info: &mut HeadInfo) {
    tables::build(info, &Bare);
}
