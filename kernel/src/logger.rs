//! The `log` crate's lines on the console, with Linux's stamp of seconds in front.

use log::{LevelFilter, Log, Metadata, Record};

use crate::arch::armv7::clock;
use crate::console;

struct Stamped;

impl Log for Stamped {
    fn enabled(&self, _: &Metadata<'_>) -> bool {
        true
    }

    fn log(&self, record: &Record<'_>) {
        let now = clock::microseconds();
        console::print(format_args!("[{:5}.{:06}] {}\n", now / 1_000_000, now % 1_000_000, record.args()));
    }

    fn flush(&self) {}
}

/// Starts logging to the console.
pub fn install() {
    if log::set_logger(&Stamped).is_ok() {
        log::set_max_level(LevelFilter::Info);
    }
}
