//! Access to user memory from the kernel: as a user would, and with an error instead of a fault.
//!
//! Theory.      Two locks are on user pages. Their domain is closed while the kernel runs, so that a stray load or
//!              store faults; [`with_window`] opens it. And in a window all accesses are *unprivileged* (LDRT, STRT):
//!              the MMU judges them by the user's rights, so that a kernel address which a user passes is refused by
//!              the hardware, too. An access that faults costs nothing before it does: its address stands in the
//!              section `.fixups` beside the place to go on from (Linux: `__ex_table`), where the abort handler looks.
//! Invariants.  1. The domain is open between the two ends of [`with_window`] alone; exceptions close it for
//!              themselves.
//!              2. Only instructions of this file have entries.
//! Not here.    Which addresses are a user's (`space`).
//! Source.      Linux `arch/arm/include/asm/uaccess.h`, `arch/arm/lib/{getuser,putuser,copy_from_user}.S` (what they
//!              do), `arch/arm/mm/extable.c`; Arm ARM DDI 0406C A8.8.92 (LDRT), B3.12.3 (domains).

use core::arch::{asm, global_asm};

use aarch32_cpu::asm::isb;
use aarch32_cpu::register::{Dacr, SysRegRead, SysRegWrite};
use mm::addr::VirtAddr;
use mm::fault::{FaultStatus, Mode, Psr};
use mm::paging::regs;

use super::vectors::{Exception, Frame, Kind};

global_asm!(include_str!("uaccess.S"), options(raw));

unsafe extern "C" {
    fn quire_copy_from_user(to: *mut u8, from: u32, bytes: usize) -> usize;
    fn quire_copy_to_user(to: u32, from: *const u8, bytes: usize) -> usize;
    fn quire_clear_user(to: u32, bytes: usize) -> usize;
    static _fixups_start: [u32; 2];
    static _fixups_end: [u32; 2];
}

/// Lets the kernel reach user pages while `body` runs. Cost: two writes of DACR, each with an ISB.
#[inline(always)]
pub fn with_window<R>(body: impl FnOnce() -> R) -> R {
    let before = Dacr::read_raw();
    set(regs::DACR_USER);
    let result = body();
    set(before);
    result
}

/// Closes the window, if one is open; returns what [`reopen`] needs.
#[inline]
pub(super) fn close() -> u32 {
    let before = Dacr::read_raw();
    if before != regs::DACR {
        set(regs::DACR);
    }
    before
}

/// Puts back what [`close`] found.
#[inline]
pub(super) fn reopen(before: u32) {
    if before != regs::DACR {
        set(before);
    }
}

#[inline(always)]
fn set(dacr: u32) {
    // SAFETY: the kernel's domain is a client in each value; only the users' domain opens and closes.
    unsafe { Dacr::write_raw(dacr) }
    isb();
}

/// A word that one unprivileged access loads or stores.
pub trait UserWord: Copy {
    /// Loads it from `va`; `None` where that faults.
    fn load(va: VirtAddr) -> Option<Self>;

    /// Stores it at `va`; `false` where that faults.
    ///
    /// # Safety
    /// If the store goes through, the kernel must not depend on what was there.
    unsafe fn store(self, va: VirtAddr) -> bool;
}

macro_rules! user_word {
    ($($word:ty: $load:literal, $store:literal;)+) => {$(
        impl UserWord for $word {
            #[allow(clippy::cast_possible_truncation, reason = "the load fills no more than the word")]
            #[inline(always)]
            fn load(va: VirtAddr) -> Option<Self> {
                let (word, failed): (u32, u32);
                // SAFETY: a load changes nothing; where it faults the handler goes on behind it with `failed` set.
                unsafe {
                    asm!(
                        "mov {failed}, #0",
                        concat!("2: ", $load, " {word}, [{va}], #0"),
                        "3:",
                        ".pushsection .text.quire_fixup, \"ax\"",
                        "4: mov {failed}, #1",
                        "b 3b",
                        ".popsection",
                        ".pushsection .fixups, \"a\"",
                        ".balign 4",
                        ".word 2b, 4b",
                        ".popsection",
                        word = out(reg) word,
                        failed = out(reg) failed,
                        va = inout(reg) va.raw() => _,
                        options(nostack, preserves_flags),
                    );
                }
                (failed == 0).then_some(word as Self)
            }

            #[inline(always)]
            unsafe fn store(self, va: VirtAddr) -> bool {
                let failed: u32;
                // SAFETY: the caller gives the word away; where the store faults the handler goes on behind it.
                unsafe {
                    asm!(
                        "mov {failed}, #0",
                        concat!("2: ", $store, " {word}, [{va}], #0"),
                        "3:",
                        ".pushsection .text.quire_fixup, \"ax\"",
                        "4: mov {failed}, #1",
                        "b 3b",
                        ".popsection",
                        ".pushsection .fixups, \"a\"",
                        ".balign 4",
                        ".word 2b, 4b",
                        ".popsection",
                        word = in(reg) u32::from(self),
                        failed = out(reg) failed,
                        va = inout(reg) va.raw() => _,
                        options(nostack, preserves_flags),
                    );
                }
                failed == 0
            }
        }
    )+};
}

user_word! {
    u8: "ldrbt", "strbt";
    u16: "ldrht", "strht";
    u32: "ldrt", "strt";
}

/// Copies from `from` to all of `to`; returns how many bytes at the end were not copied, because a load faulted.
pub fn copy_from(to: &mut [u8], from: VirtAddr) -> usize {
    // SAFETY: at most `to.len()` bytes are stored; unprivileged loads change nothing.
    unsafe { quire_copy_from_user(to.as_mut_ptr(), from.raw(), to.len()) }
}

/// Copies all of `from` to `to`; returns how many bytes at the end were not copied, because a store faulted.
///
/// # Safety
/// The kernel must not depend on what was at `to`.
pub unsafe fn copy_to(to: VirtAddr, from: &[u8]) -> usize {
    // SAFETY: `from.len()` bytes are loaded; the caller gives the bytes at `to` away.
    unsafe { quire_copy_to_user(to.raw(), from.as_ptr(), from.len()) }
}

/// Stores `bytes` zeros at `to`; returns how many at the end were not stored, because a store faulted.
///
/// # Safety
/// As for [`copy_to`].
pub unsafe fn clear(to: VirtAddr, bytes: usize) -> usize {
    // SAFETY: the caller gives the bytes away.
    unsafe { quire_clear_user(to.raw(), bytes) }
}

/// Where to go on after `exception`, if it is one of an unprivileged access of this file. The table has a few dozen
/// entries, in no order.
pub(super) fn landing(frame: &Frame, exception: &Exception) -> Option<u32> {
    let status = FaultStatus::from_fsr(exception.fsr);
    let ours = exception.kind == Kind::DataAbort && Psr::new(frame.cpsr).mode() == Mode::Supervisor;
    if !ours || matches!(status, FaultStatus::External { asynchronous: true }) {
        return None;
    }
    let (start, end) = (&raw const _fixups_start, &raw const _fixups_end);
    let entries = (end as usize).saturating_sub(start as usize) / size_of::<[u32; 2]>();
    // SAFETY: the linker script puts the symbols around the pairs of words that the assembler made; nobody writes them.
    let table = unsafe { core::slice::from_raw_parts(start, entries) };
    table.iter().find(|[instruction, _]| *instruction == frame.pc).map(|[_, landing]| *landing)
}
