//! The ends of a run: a broken invariant, bad input, a fault, a verdict.
//!
//! Theory.      A report can itself go wrong. [`enter`] counts how deep we are: the first comer reports at length, one
//!              that interrupts it gets one line that names both, and any other ends the run in silence.
//! Invariants.  The last line of a run that failed begins with `panic:` or `boot:`; scripts read it.

use core::fmt;
use core::panic::PanicInfo;
use core::sync::atomic::{AtomicU32, Ordering};

use aarch32_cpu::asm::wfi;
use mm::sync::InitOnce;

use crate::arch::armv7::backtrace;
use crate::arch::armv7::fault::{self, Fault};
use crate::{console, semihost};

/// Exit status of a run that failed.
const FAILED: i32 = 1;

/// What a report is about.
#[derive(Clone, Copy, Debug)]
pub enum Origin {
    /// A panic at this line of its file.
    Panic(u32),
    /// A fault.
    Fault(Fault),
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Panic(line) => write!(f, "panic at line {line}"),
            Self::Fault(fault) => fault.fmt(f),
        }
    }
}

/// How deep in reports a new one is.
#[derive(Clone, Copy, Debug)]
pub enum Depth {
    /// There is no other.
    First,
    /// It interrupts the report of this.
    Nested(Origin),
    /// It interrupts that, too.
    Hopeless,
}

static REPORTS: AtomicU32 = AtomicU32::new(0);
static FIRST: InitOnce<Origin> = InitOnce::new();
/// Called in the middle of a report (Linux: `register_die_notifier`).
static NOTIFIER: InitOnce<fn()> = InitOnce::new();

/// Begins a report, with the console open to it: whoever had locked it will not go on.
pub fn enter(origin: Origin) -> Depth {
    fault::expect_none();
    let depth = match (REPORTS.fetch_add(1, Ordering::SeqCst), FIRST.get()) {
        (0, _) => {
            // The cell is empty: only this arm, once, sets it.
            let _ = FIRST.set(origin);
            Depth::First
        }
        (1, Some(first)) => Depth::Nested(*first),
        _ => return Depth::Hopeless,
    };
    // SAFETY: one CPU is up, and the code that this report interrupts is never resumed.
    unsafe { console::break_lock() }
    depth
}

/// Has `notifier` called in the middle of a report; `false` when there is one already.
pub fn notify(notifier: fn()) -> bool {
    NOTIFIER.set(notifier).is_ok()
}

/// Calls who asked for it.
pub fn tell() {
    if let Some(notifier) = NOTIFIER.get() {
        notifier();
    }
}

#[panic_handler]
fn panic(info: &PanicInfo<'_>) -> ! {
    let (file, line) = info.location().map_or(("?", 0), |place| (place.file(), place.line()));
    let why = info.message();
    match enter(Origin::Panic(line)) {
        Depth::First => {
            log::error!("Kernel panic - not syncing: {why}");
            backtrace::print(&backtrace::here(), backtrace::Start::Executing);
            stop(format_args!("{why} at {file}:{line}"))
        }
        Depth::Nested(first) => stop(format_args!("{why} at {file}:{line}, in the report of: {first}")),
        Depth::Hopeless => halt_failed(),
    }
}

/// Prints `panic: …` and ends the run with a failing status.
#[cold]
pub fn stop(why: fmt::Arguments<'_>) -> ! {
    console::print_last(format_args!("panic: {why}\n"));
    halt_failed()
}

/// Prints `boot: …`, the one line that names what was wrong with the input, and ends the run with a failing status.
#[cold]
pub fn refuse(why: fmt::Arguments<'_>) -> ! {
    log::error!("boot: {why}");
    halt_failed()
}

/// Ends the run with a failing status.
pub fn halt_failed() -> ! {
    halt(FAILED)
}

/// Ends the run: through the debugger when there is one, else by waiting for ever.
pub fn halt(status: i32) -> ! {
    if !console::has_uart() && semihost::present() {
        semihost::write_kept_log();
    }
    semihost::exit(status);
    loop {
        wfi();
    }
}
