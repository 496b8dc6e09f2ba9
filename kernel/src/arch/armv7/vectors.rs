//! Exceptions: the vector page, the frame, and who handles what.

use core::arch::{asm, global_asm};
use core::sync::atomic::Ordering;

use aarch32_cpu::asm::isb;
use aarch32_cpu::register::{Dfar, Dfsr, Ifar, Ifsr, Sctlr, SysRegRead, SysRegWrite, Vbar};

use super::fault;
use crate::percpu::EXCEPTIONS;

global_asm!(include_str!("vectors.S"), options(raw));

unsafe extern "C" {
    static quire_vectors: [u32; 16];
    static _exception_stack_top: u8;
}

/// Registers at an exception, as `vectors.S` pushes them.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub struct Frame {
    /// Stack pointer of SVC mode.
    pub sp: u32,
    /// Link register of SVC mode.
    pub lr: u32,
    /// r0 to r12.
    pub r: [u32; 13],
    /// The instruction that faulted, or the next one for a supervisor call.
    pub pc: u32,
    /// CPSR of the code that was interrupted.
    pub cpsr: u32,
}

/// The kinds of exception, by vector.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Kind {
    /// Undefined instruction.
    Undefined,
    /// Instruction fetch that the MMU refused.
    PrefetchAbort,
    /// Load or store that the MMU refused.
    DataAbort,
    /// Interrupt or reset that nobody asked for.
    Unexpected(u32),
}

/// r0 after a semihosting call that no debugger took.
pub const NO_SEMIHOSTING: u32 = 0x5e0f_f0ff;
const SEMIHOSTING_CALL: u32 = 0xef12_3456;
const SCTLR_HIGH_VECTORS: u32 = 1 << 13;

/// Points the CPU at the vectors in the image's text and gives it the exception stack.
pub fn install() {
    let stack = &raw const _exception_stack_top as u32;
    // SAFETY: Abort mode's banked sp is this stack's alone; the mode is back to SVC before anything else happens.
    unsafe {
        asm!("cps #0x17", "mov sp, {0}", "cps #0x13", in(reg) stack, options(nostack));
    }
    let vectors = &raw const quire_vectors as u32;
    // SAFETY: `quire_vectors` is a vector table, aligned to a page.
    unsafe { Vbar::write(Vbar(vectors)) }
    isb();
}

/// Moves to the vectors at 0xffff_0000, which must be mapped by now.
pub fn use_high_vectors() {
    let sctlr = Sctlr::read_raw() | SCTLR_HIGH_VECTORS;
    // SAFETY: only the V bit changes, and paging_init mapped the vector page at 0xffff_0000.
    unsafe { Sctlr::write_raw(sctlr) }
    isb();
}

/// How many exceptions this CPU took since it has its per-CPU area.
pub fn taken() -> u32 {
    EXCEPTIONS.of_this_cpu().map_or(0, |count| count.load(Ordering::Relaxed))
}

#[unsafe(no_mangle)]
extern "C" fn quire_exception(frame: &mut Frame, vector: u32) {
    if let Some(count) = EXCEPTIONS.of_this_cpu() {
        count.fetch_add(1, Ordering::Relaxed);
    }
    let (kind, status, address) = match vector {
        1 => (Kind::Undefined, 0, frame.pc),
        2 => return supervisor_call(frame),
        3 => (Kind::PrefetchAbort, Ifsr::read_raw(), Ifar::read_raw()),
        4 => (Kind::DataAbort, Dfsr::read_raw(), Dfar::read_raw()),
        other => (Kind::Unexpected(other), 0, frame.pc),
    };
    fault::handle(frame, kind, status, address);
}

/// A semihosting call lands here when no debugger answers it; any other supervisor call has no meaning yet.
fn supervisor_call(frame: &mut Frame) {
    let call = (frame.pc - 4) as *const u32;
    // SAFETY: the CPU has just executed the instruction at this address.
    let instruction = unsafe { call.read() };
    if instruction == SEMIHOSTING_CALL {
        frame.r[0] = NO_SEMIHOSTING;
    } else {
        fault::handle(frame, Kind::Unexpected(2), 0, frame.pc);
    }
}
