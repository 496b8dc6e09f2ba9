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
        // For the first 71 minutes in 32 bits, where a division by a constant is a multiplication.
        let (seconds, rest) = match u32::try_from(now) {
            Ok(now) => (u64::from(now / 1_000_000), now % 1_000_000),
            Err(_) => (now / 1_000_000, (now % 1_000_000) as u32),
        };
        console::print(format_args!("[{seconds:5}.{rest:06}] {}\n", record.args()));
    }

    fn flush(&self) {}
}

/// Starts logging to the console.
pub fn install() {
    if log::set_logger(&Stamped).is_ok() {
        log::set_max_level(LevelFilter::Info);
    }
}
