//! The ends of a run: a broken invariant, bad input, a verdict.

use core::fmt;
use core::panic::PanicInfo;

use aarch32_cpu::asm::wfi;

use crate::{console, semihost};

/// Exit status of a run that failed.
const FAILED: i32 = 1;

#[panic_handler]
fn panic(info: &PanicInfo<'_>) -> ! {
    let at = info.location().map_or(("?", 0), |place| (place.file(), place.line()));
    stop(format_args!("{} at {}:{}", info.message(), at.0, at.1))
}

/// Prints `panic: …` and ends the run with a failing status.
#[cold]
pub fn stop(why: fmt::Arguments<'_>) -> ! {
    console::print_last(format_args!("panic: {why}\n"));
    halt(FAILED)
}

/// Prints `boot: …`, the one line that names what was wrong with the input, and ends the run with a failing status.
#[cold]
pub fn refuse(why: fmt::Arguments<'_>) -> ! {
    log::error!("boot: {why}");
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
