//! Text that is patched while the kernel runs.

use core::arch::global_asm;

use mm::addr::VirtAddr;
use mm::layout::FixmapSlot;

use super::{Failed, Verdict};
use crate::system::System;
use crate::vm::PokeError;
use crate::{check, selftest};

selftest!(a_patched_instruction_is_the_one_that_runs);
selftest!(what_is_no_text_is_not_patched);

global_asm!(
    ".section .text.quire_poked, \"ax\"",
    ".arm",
    ".global quire_poked",
    ".type quire_poked, %function",
    ".p2align 2",
    "quire_poked:",
    "mov r0, #1",
    "bx lr",
    ".size quire_poked, . - quire_poked",
);

unsafe extern "C" {
    /// Returns 1, or what its first instruction says now.
    safe fn quire_poked() -> u32;
}

/// `mov r0, #n`.
const MOV_R0: u32 = 0xe3a0_0000;

fn place() -> VirtAddr {
    VirtAddr::new(quire_poked as *const () as u32)
}

/// It runs at once, text stays read-only, the window is closed, and the old one comes back.
fn a_patched_instruction_is_the_one_that_runs(system: &System) -> Verdict {
    let window = FixmapSlot::TextPoke0.address().ok_or(Failed)?;
    check!(quire_poked() == 1, "it returns {}", quire_poked());
    let before = system.tables.walk(place()).map_err(|_| Failed)?;
    for number in (0..=255).chain([1]) {
        // SAFETY: either instruction moves a number to r0, and nobody else runs them.
        let old = unsafe { system.vm.poke_text(place(), MOV_R0 | number) };
        check!(old.is_ok_and(|old| old & !0xff == MOV_R0), "{old:x?} was at {}", place());
        check!(quire_poked() == number, "{} instead of {number}", quire_poked());
        check!(system.tables.walk(window).map_err(|_| Failed)?.is_none(), "{window} is still mapped");
    }
    let after = system.tables.walk(place()).map_err(|_| Failed)?;
    check!(before == after && after.is_some_and(|to| !to.prot.writable()), "{before:?}, then {after:?}");
    Ok(())
}

fn what_is_no_text_is_not_patched(system: &System) -> Verdict {
    static CONSTANT: u32 = 7;
    let constant = VirtAddr::new((&raw const CONSTANT) as u32);
    let odd = VirtAddr::new(place().raw() | 2);
    for (va, error) in [
        (odd, PokeError::Unaligned(odd)),
        (constant, PokeError::NotText(constant)),
        (VirtAddr::new(0), PokeError::NotText(VirtAddr::new(0))),
    ] {
        // SAFETY: nothing is changed where no text is.
        let refused = unsafe { system.vm.poke_text(va, 0) };
        check!(refused == Err(error), "{va}: {refused:?}");
    }
    check!(CONSTANT == 7 && quire_poked() == 1, "something was changed");
    Ok(())
}
