//! Aborts: expected ones are noted and resumed, all others are reported and end the run.

use core::arch::asm;
use core::sync::atomic::{AtomicBool, AtomicU32, Ordering};

use mm::addr::VirtAddr;
use mm::fault::FaultStatus;

use super::vectors::{Frame, Kind};

/// A fault that was expected and resumed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Fault {
    /// Which vector it came by.
    pub kind: Kind,
    /// What the fault status register says.
    pub status: FaultStatus,
    /// What the fault address register says.
    pub address: VirtAddr,
    /// Whether a store faulted (data aborts).
    pub write: bool,
}

/// One fault is expected between `arm` and `take`; single CPU, so plain flags are enough.
static EXPECTED: AtomicBool = AtomicBool::new(false);
static CAUGHT: AtomicBool = AtomicBool::new(false);
static KIND: AtomicU32 = AtomicU32::new(0);
static STATUS: AtomicU32 = AtomicU32::new(0);
static ADDRESS: AtomicU32 = AtomicU32::new(0);

const KIND_UNDEFINED: u32 = 1;
const KIND_PREFETCH: u32 = 3;
const KIND_DATA: u32 = 4;

fn arm() {
    CAUGHT.store(false, Ordering::Relaxed);
    EXPECTED.store(true, Ordering::SeqCst);
}

fn take() -> Option<Fault> {
    EXPECTED.store(false, Ordering::SeqCst);
    if !CAUGHT.load(Ordering::SeqCst) {
        return None;
    }
    let status = STATUS.load(Ordering::Relaxed);
    Some(Fault {
        kind: match KIND.load(Ordering::Relaxed) {
            KIND_UNDEFINED => Kind::Undefined,
            KIND_PREFETCH => Kind::PrefetchAbort,
            _ => Kind::DataAbort,
        },
        status: FaultStatus::from_fsr(status),
        address: VirtAddr::new(ADDRESS.load(Ordering::Relaxed)),
        write: status >> 11 & 1 == 1,
    })
}

/// Loads the word at `va`, which may fault.
///
/// # Errors
/// The fault, decoded.
pub fn try_read(va: VirtAddr) -> Result<u32, Fault> {
    arm();
    let mut word = 0_u32;
    // SAFETY: a load changes nothing; where it faults the handler skips it and `word` keeps its 0.
    unsafe { asm!("ldr {0}, [{1}]", inout(reg) word, in(reg) va.raw(), options(nostack)) }
    take().map_or(Ok(word), Err)
}

/// Stores `word` at `va`, which is expected to fault.
///
/// # Errors
/// The fault, decoded.
///
/// # Safety
/// If the store goes through, the program must not depend on the word that was there.
pub unsafe fn try_write(va: VirtAddr, word: u32) -> Result<(), Fault> {
    arm();
    // SAFETY: the caller gives the word away; where the store faults the handler skips it.
    unsafe { asm!("str {0}, [{1}]", in(reg) word, in(reg) va.raw(), options(nostack)) }
    take().map_or(Ok(()), Err)
}

/// Branches to `va`, which is expected to fault.
///
/// # Errors
/// The fault, decoded.
///
/// # Safety
/// If the fetch goes through, the code at `va` must be a function without parameters that returns.
pub unsafe fn try_execute(va: VirtAddr) -> Result<(), Fault> {
    arm();
    // SAFETY: the caller vouches for the code; where the fetch faults the handler returns to the link register.
    unsafe {
        asm!(
            "blx {0}",
            in(reg) va.raw(),
            out("r0") _, out("r1") _, out("r2") _, out("r3") _, out("r12") _, out("lr") _,
        );
    }
    take().map_or(Ok(()), Err)
}

/// Executes an instruction that the architecture leaves undefined for ever (`udf`).
pub fn try_undefined() -> Option<Fault> {
    arm();
    // SAFETY: the handler skips the instruction, which changes nothing.
    unsafe { asm!("udf #0", options(nostack)) }
    take()
}

/// Notes an expected fault and resumes behind it; reports any other and stops.
pub(super) fn handle(frame: &mut Frame, kind: Kind, status: u32, address: u32) {
    if EXPECTED.swap(false, Ordering::SeqCst) {
        let code = match kind {
            Kind::Undefined => KIND_UNDEFINED,
            Kind::PrefetchAbort => KIND_PREFETCH,
            Kind::DataAbort => KIND_DATA,
            Kind::Unexpected(_) => return report(frame, kind, status, address),
        };
        KIND.store(code, Ordering::Relaxed);
        STATUS.store(status, Ordering::Relaxed);
        ADDRESS.store(address, Ordering::Relaxed);
        CAUGHT.store(true, Ordering::SeqCst);
        frame.pc = if kind == Kind::PrefetchAbort { frame.lr } else { frame.pc + 4 };
        return;
    }
    report(frame, kind, status, address);
}

/// Prints all that a kernel author needs and ends the run.
#[cold]
fn report(frame: &Frame, kind: Kind, status: u32, address: u32) {
    let what = match kind {
        Kind::Undefined => "undefined instruction",
        Kind::PrefetchAbort => "prefetch abort",
        Kind::DataAbort => "data abort",
        Kind::Unexpected(_) => "unexpected exception",
    };
    log::error!("{what} at pc {:#010x}, address {address:#010x}: {}", frame.pc, FaultStatus::from_fsr(status));
    log::error!("pc {:#010x} lr {:#010x} sp {:#010x} cpsr {:#010x}", frame.pc, frame.lr, frame.sp, frame.cpsr);
    for (index, chunk) in frame.r.chunks(4).enumerate() {
        match *chunk {
            [a, b, c, d] => {
                let first = index * 4;
                log::error!("r{first:<2} {a:#010x} {b:#010x} {c:#010x} {d:#010x}");
            }
            [a, ..] => log::error!("r12 {a:#010x}"),
            [] => {}
        }
    }
    crate::panic::stop(format_args!("{what} ({kind:?}, status {status:#x}, address {address:#010x})"));
}
