//! Exceptions: the vector page, the frame, and who handles what.

use core::arch::{asm, global_asm};
use core::sync::atomic::Ordering;

use aarch32_cpu::asm::isb;
use aarch32_cpu::register::{Dfar, Dfsr, Ifar, Ifsr, Sctlr, SysRegRead, SysRegWrite, Vbar};

use super::{fault, uaccess};
use crate::percpu::EXCEPTIONS;

global_asm!(include_str!("vectors.S"), options(raw));

unsafe extern "C" {
    static quire_vectors: [u32; 16];
    static _exception_stack_top: u8;
}

/// Registers at an exception, as `vectors.S` pushes them. Returning from the exception loads them all.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub struct Frame {
    /// Stack pointer of SVC mode.
    pub sp: u32,
    /// Link register of SVC mode.
    pub lr: u32,
    /// r0 to r12.
    pub r: [u32; 13],
    /// The instruction that caused the exception.
    pub pc: u32,
    /// CPSR of the code that was interrupted.
    pub cpsr: u32,
}

const _: () = assert!(size_of::<Frame>() == 68, "vectors.S: FRAME_SIZE");

/// The kinds of exception, by vector.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Kind {
    /// Undefined instruction.
    Undefined,
    /// A supervisor call that nobody serves.
    SupervisorCall,
    /// Instruction fetch that the MMU refused.
    PrefetchAbort,
    /// Load or store that the MMU refused.
    DataAbort,
    /// Interrupt or reset that nobody asked for, by the number of its vector.
    Unexpected(u32),
}

/// An exception as the CPU's registers tell of it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Exception {
    /// Which vector it came by.
    pub(super) kind: Kind,
    /// DFSR or IFSR; 0 for the other kinds.
    pub(super) fsr: u32,
    /// DFAR or IFAR; the instruction itself for the other kinds.
    pub(super) address: u32,
    /// The exception stack was full, and was begun anew.
    pub(super) no_room: bool,
}

/// r0 after a semihosting call that no debugger took.
pub const NO_SEMIHOSTING: u32 = 0x5e0f_f0ff;
const SEMIHOSTING_CALL: u32 = 0xef12_3456;
const SCTLR_HIGH_VECTORS: u32 = 1 << 13;
/// As `NO_ROOM` of `vectors.S`.
const NO_ROOM: u32 = 0x10;

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
    // No handler reaches user pages on the strength of a window that the interrupted code opened.
    let window = uaccess::close();
    let no_room = vector & NO_ROOM != 0;
    let (kind, fsr, address) = match vector & !NO_ROOM {
        1 => (Kind::Undefined, 0, frame.pc),
        2 => {
            // The link register lies behind the call.
            frame.pc = frame.pc.wrapping_sub(4);
            if answers_semihosting(frame) {
                return uaccess::reopen(window);
            }
            (Kind::SupervisorCall, 0, frame.pc)
        }
        3 => (Kind::PrefetchAbort, Ifsr::read_raw(), Ifar::read_raw()),
        4 => (Kind::DataAbort, Dfsr::read_raw(), Dfar::read_raw()),
        other => (Kind::Unexpected(other), 0, frame.pc),
    };
    fault::handle(frame, &Exception { kind, fsr, address, no_room });
    uaccess::reopen(window);
}

/// A semihosting call lands here when no debugger answers it: `true`, and r0 says so.
fn answers_semihosting(frame: &mut Frame) -> bool {
    let call = core::ptr::with_exposed_provenance::<u32>(frame.pc as usize);
    // SAFETY: the CPU has just executed the instruction at this address.
    let instruction = unsafe { call.read() };
    if instruction != SEMIHOSTING_CALL {
        return false;
    }
    frame.r[0] = NO_SEMIHOSTING;
    frame.pc = frame.pc.wrapping_add(4);
    true
}
