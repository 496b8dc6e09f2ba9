//! Time since the clock's start and instructions since the entry.

use aarch32_cpu::register::{IdDfr0, IdPfr1, Pmccntr, SysRegRead, SysRegRead64};

use super::cp15::{CounterFrequency, PhysicalCount};

/// Whether the CPU has the generic timer (ID_PFR1 bits 19:16).
fn has_generic_timer() -> bool {
    IdPfr1::read_raw() >> 16 & 0xf != 0
}

/// Microseconds on the generic timer; 0 on a CPU without one.
#[must_use]
pub fn microseconds() -> u64 {
    if !has_generic_timer() {
        return 0;
    }
    let frequency = u64::from(CounterFrequency::read_raw());
    let count = PhysicalCount::read_raw();
    match count.checked_div(frequency) {
        Some(seconds) => seconds * 1_000_000 + (count % frequency) * 1_000_000 / frequency,
        None => 0,
    }
}

/// Ticks of the cycle counter since the head switched it on; under QEMU's `-icount shift=0` one a guest instruction.
/// `None` on a CPU without performance counters. Wraps after 2^32.
#[must_use]
pub fn cycles() -> Option<u32> {
    match IdDfr0::read_raw() >> 24 & 0xf {
        0 | 0xf => None,
        _ => Some(Pmccntr::read_raw()),
    }
}
