//! Faults: expected ones are noted and resumed, all others are reported and end the run.
//!
//! Theory.      `peek`, `try_read` and their like expect a fault of one instruction, which the handler skips.
//!              [`catch_fault`] expects one anywhere in a call, which the handler abandons: it returns to the catch
//!              with the stack pointer of then, so that even a stack overflow can be caught. Either way the caller gets
//!              a [`Fault`], decoded.
//! Invariants.  1. One CPU: what is expected is plain state. 2. An expected fault of one instruction may happen in any
//!              mode, also while another fault is being reported: the `asm!` gives the link register away, which an
//!              abort in Abort mode overwrites.
//!              An unprivileged access of `uaccess` is found by its address in a table, and goes on where that says.
//! Not here.    What is printed (`report`), who called whom (`backtrace`).

use core::arch::asm;
use core::fmt;
use core::sync::atomic::{AtomicBool, AtomicU32, Ordering};

use aarch32_cpu::register::{SysRegRead, Ttbr0};
use mm::addr::{PhysAddr, VirtAddr};
use mm::fault::{FaultStatus, Mode, Psr, Trace};
use mm::paging::Tables;

use super::vectors::{Exception, Frame, Kind};
use super::{report, uaccess};
use crate::ram::{LinearRam, RAM};

/// A fault, decoded.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Fault {
    /// Which vector it came by.
    pub kind: Kind,
    /// What the fault status register says; of aborts only.
    pub status: FaultStatus,
    /// DFSR or IFSR as it was; 0 for other kinds.
    pub fsr: u32,
    /// What the fault address register says; the instruction itself for other kinds.
    pub address: VirtAddr,
    /// Whether a store faulted (data aborts).
    pub write: bool,
    /// The instruction.
    pub pc: VirtAddr,
    /// Mode, masks and flags at the instruction.
    pub psr: Psr,
    /// The walk of the address, as the tables are when the fault is decoded; `None` when they cannot be read.
    pub trace: Option<Trace>,
}

/// WnR of a DFSR: the access was a store (Arm ARM DDI 0406C B4.1.52).
const FSR_WRITE: u32 = 1 << 11;
/// First-level table in TTBR0 with TTBCR.N = 0.
const TTBR_BASE: u32 = 0xffff_c000;

impl Fault {
    pub(super) fn new(frame: &Frame, exception: &Exception) -> Self {
        let address = VirtAddr::new(exception.address);
        Self {
            kind: exception.kind,
            status: FaultStatus::from_fsr(exception.fsr),
            fsr: exception.fsr,
            address,
            write: exception.kind == Kind::DataAbort && exception.fsr & FSR_WRITE != 0,
            pc: VirtAddr::new(frame.pc),
            psr: Psr::new(frame.cpsr),
            trace: live_tables().and_then(|tables| Trace::of(&tables, address).ok()),
        }
    }

    /// Whether it is an abort, which has a status and an address.
    pub fn is_abort(&self) -> bool {
        matches!(self.kind, Kind::DataAbort | Kind::PrefetchAbort)
    }
}

impl fmt::Display for Fault {
    /// The fault in one line.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let what = match self.kind {
            Kind::Undefined => "undefined instruction",
            Kind::SupervisorCall => "supervisor call",
            Kind::PrefetchAbort => "prefetch abort",
            Kind::DataAbort => "data abort",
            Kind::Unexpected(vector) => return write!(f, "exception of vector {vector} at pc {}", self.pc),
        };
        write!(f, "{what} at pc {}", self.pc)?;
        if self.is_abort() { write!(f, ", address {}: {}", self.address, self.status) } else { Ok(()) }
    }
}

/// The tables that the MMU walks now.
pub fn live_tables() -> Option<Tables<'static, LinearRam>> {
    let root = PhysAddr::new(u64::from(Ttbr0::read_raw() & TTBR_BASE));
    // SAFETY: what TTBR0 names is used as tables only, by everybody.
    unsafe { Tables::new(&RAM, root) }.ok()
}

/// A fault of one instruction is expected between `arm` and `take`.
static EXPECTED: AtomicBool = AtomicBool::new(false);
static CAUGHT: AtomicBool = AtomicBool::new(false);
/// Where `quire_catch` goes on; 0 when nothing is being caught.
static RESUME: AtomicU32 = AtomicU32::new(0);
/// The last expected fault.
static LAST: Record = Record {
    kind: AtomicU32::new(0),
    fsr: AtomicU32::new(0),
    address: AtomicU32::new(0),
    pc: AtomicU32::new(0),
    cpsr: AtomicU32::new(0),
};

/// What the registers said, until it is decoded: a fault is rare, and boot probes want the handler short.
struct Record {
    kind: AtomicU32,
    fsr: AtomicU32,
    address: AtomicU32,
    pc: AtomicU32,
    cpsr: AtomicU32,
}

/// The kinds that can be expected, by their number in a [`Record`].
const KINDS: [Kind; 4] = [Kind::Undefined, Kind::SupervisorCall, Kind::PrefetchAbort, Kind::DataAbort];

impl Record {
    /// Notes an exception; `false` for a kind that nobody can expect.
    fn note(&self, frame: &Frame, exception: &Exception) -> bool {
        let Some(kind) = (0..).zip(KINDS).find(|(_, kind)| *kind == exception.kind) else { return false };
        self.kind.store(kind.0, Ordering::Relaxed);
        self.fsr.store(exception.fsr, Ordering::Relaxed);
        self.address.store(exception.address, Ordering::Relaxed);
        self.pc.store(frame.pc, Ordering::Relaxed);
        self.cpsr.store(frame.cpsr, Ordering::Relaxed);
        true
    }

    fn decode(&self) -> Fault {
        let kind = KINDS.get(self.kind.load(Ordering::Relaxed) as usize).copied().unwrap_or(Kind::DataAbort);
        let fsr = self.fsr.load(Ordering::Relaxed);
        let exception = Exception { kind, fsr, address: self.address.load(Ordering::Relaxed), no_room: false };
        let (pc, cpsr) = (self.pc.load(Ordering::Relaxed), self.cpsr.load(Ordering::Relaxed));
        Fault::new(&Frame { sp: 0, lr: 0, r: [0; 13], pc, cpsr }, &exception)
    }
}

fn arm() {
    CAUGHT.store(false, Ordering::Relaxed);
    EXPECTED.store(true, Ordering::SeqCst);
}

/// Whether the fault came.
fn came() -> bool {
    EXPECTED.store(false, Ordering::SeqCst);
    CAUGHT.load(Ordering::SeqCst)
}

fn take() -> Option<Fault> {
    came().then(|| LAST.decode())
}

/// Loads the word at `va`; `None` on a fault. What probes and backtraces do by the thousand: nothing is decoded.
#[inline]
pub fn peek(va: VirtAddr) -> Option<u32> {
    arm();
    let mut word = 0_u32;
    // SAFETY: a load changes nothing; where it faults the handler skips it and `word` keeps its 0.
    unsafe { asm!("ldr {0}, [{1}]", inout(reg) word, in(reg) va.raw(), out("lr") _, options(nostack)) }
    if came() { None } else { Some(word) }
}

/// Stores `word` at `va`; `false` on a fault.
///
/// # Safety
/// If the store goes through, the program must not depend on the word that was there.
#[inline]
pub unsafe fn poke(va: VirtAddr, word: u32) -> bool {
    arm();
    // SAFETY: the caller gives the word away; where the store faults the handler skips it.
    unsafe { asm!("str {0}, [{1}]", in(reg) word, in(reg) va.raw(), out("lr") _, options(nostack)) }
    !came()
}

/// Loads the word at `va`, which may fault.
///
/// # Errors
/// The fault, decoded.
pub fn try_read(va: VirtAddr) -> Result<u32, Fault> {
    peek(va).ok_or_else(|| LAST.decode())
}

/// Stores `word` at `va`, which is expected to fault.
///
/// # Errors
/// The fault, decoded.
///
/// # Safety
/// As [`poke`].
pub unsafe fn try_write(va: VirtAddr, word: u32) -> Result<(), Fault> {
    // SAFETY: the caller's.
    if unsafe { poke(va, word) } { Ok(()) } else { Err(LAST.decode()) }
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
    unsafe { asm!("udf #0", out("lr") _, options(nostack)) }
    take()
}

unsafe extern "C" {
    fn quire_catch(call: unsafe extern "C" fn(*mut ()), data: *mut (), resume: *mut u32) -> u32;
    static quire_caught: u32;
}

/// A call on its way through `quire_catch`.
struct Call<F, R> {
    body: Option<F>,
    result: Option<R>,
}

/// Runs the body of the `Call<F, R>` at `data`.
///
/// # Safety
/// `data` must point to a `Call<F, R>` that nobody else uses meanwhile.
unsafe extern "C" fn run<F: FnOnce() -> R, R>(data: *mut ()) {
    // SAFETY: `catch_fault` hands over its own `Call<F, R>` and does not touch it meanwhile.
    let call = unsafe { &mut *data.cast::<Call<F, R>>() };
    call.result = call.body.take().map(|body| body());
}

/// Runs `body`, in which a fault is expected: at the first one it is abandoned, and the interrupt masks are as they
/// were before.
///
/// # Errors
/// The fault, decoded.
///
/// # Safety
/// `body` must be one that may end at any of its faults: what it owns is then not dropped, what it has locked stays so.
/// It must not switch modes.
pub unsafe fn catch_fault<R>(body: impl FnOnce() -> R) -> Result<R, Fault> {
    fn trampoline<F: FnOnce() -> R, R>(_: &Call<F, R>) -> unsafe extern "C" fn(*mut ()) {
        run::<F, R>
    }
    let outer = RESUME.load(Ordering::Relaxed);
    let psr: u32;
    // SAFETY: reads the CPSR.
    unsafe { asm!("mrs {0}, cpsr", out(reg) psr, options(nomem, nostack, preserves_flags)) }
    let mut call = Call { body: Some(body), result: None };
    let entry = trampoline(&call);
    // SAFETY: `entry` takes exactly this `Call`. On a fault the handler goes on in `quire_caught` with the stack
    // pointer of `quire_catch`, which restores every register that a callee keeps; the caller vouches for the frames
    // between.
    let caught = unsafe { quire_catch(entry, (&raw mut call).cast(), RESUME.as_ptr()) };
    RESUME.store(outer, Ordering::SeqCst);
    if caught != 0 {
        // The body may have been abandoned in a window on user pages, or with other masks.
        uaccess::close();
        // SAFETY: writes back the control byte of then: the same mode, since the body switches none.
        unsafe { asm!("msr cpsr_c, {0}", in(reg) psr, options(nostack, preserves_flags)) }
    }
    match call.result {
        Some(result) if caught == 0 => Ok(result),
        _ => Err(LAST.decode()),
    }
}

/// Nothing is expected any more: a report begins, and its own faults are none of those that were to be caught.
pub fn expect_none() {
    EXPECTED.store(false, Ordering::SeqCst);
    RESUME.store(0, Ordering::SeqCst);
}

/// Notes an expected fault and resumes; reports any other and stops.
pub(super) fn handle(frame: &mut Frame, exception: &Exception) {
    if EXPECTED.swap(false, Ordering::SeqCst) && LAST.note(frame, exception) {
        CAUGHT.store(true, Ordering::SeqCst);
        frame.pc = if exception.kind == Kind::PrefetchAbort { frame.lr } else { frame.pc.wrapping_add(4) };
        return;
    }
    if let Some(landing) = uaccess::landing(frame, exception) {
        frame.pc = landing;
        return;
    }
    // Another mode's stack cannot be abandoned: the frame has SVC's.
    let resume = RESUME.load(Ordering::SeqCst);
    let supervisor = Psr::new(frame.cpsr).mode() == Mode::Supervisor;
    if resume != 0 && supervisor && LAST.note(frame, exception) {
        RESUME.store(0, Ordering::SeqCst);
        (frame.sp, frame.pc) = (resume, &raw const quire_caught as u32);
        return;
    }
    report::die(frame, exception);
}
