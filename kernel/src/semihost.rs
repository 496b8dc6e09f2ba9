//! The debugger's console and exit status, when there is a debugger.
//!
//! A supervisor call that no debugger takes comes to our own vector, which says so in r0: that is how [`detect`]
//! knows. `semihosting=off` on the command line forbids the calls altogether.

use core::arch::asm;
use core::sync::atomic::{AtomicBool, Ordering};

use crate::arch::armv7::vectors::NO_SEMIHOSTING;

static PRESENT: AtomicBool = AtomicBool::new(false);
const SYS_ERRNO: u32 = 0x13;

/// Asks for the debugger; the vectors must be installed.
pub fn detect() {
    let mut answer = SYS_ERRNO;
    // SAFETY: SYS_ERRNO has no effect; without a debugger the vector returns here, with lr clobbered.
    unsafe { asm!("svc 0x123456", inout("r0") answer, inout("r1") 0 => _, out("lr") _, options(nostack)) }
    PRESENT.store(answer != NO_SEMIHOSTING, Ordering::Relaxed);
}

/// Whether a debugger answers.
pub fn present() -> bool {
    PRESENT.load(Ordering::Relaxed)
}

/// Makes no more calls (`semihosting=off`).
pub fn forbid() {
    PRESENT.store(false, Ordering::Relaxed);
}

/// Ends the run with `status` if a debugger is there; returns otherwise.
pub fn exit(status: i32) {
    if present() {
        semihosting::process::exit(status);
    }
}

/// Prints what the console kept, on a machine whose UART was never found.
pub fn write_kept_log() {
    if let Ok(mut out) = semihosting::io::stdout() {
        crate::console::replay(|byte| {
            // The log is a last resort here: a debugger without a console leaves nothing to report to.
            let _ = semihosting::io::Write::write_all(&mut out, &[byte]);
        });
    }
}
