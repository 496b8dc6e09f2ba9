//! Time since the image's start and instructions since the entry.

use core::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use aarch32_cpu::register::{IdDfr0, IdPfr1, Pmccntr, SysRegRead, SysRegRead64};

use super::cp15::{CounterFrequency, PhysicalCount};

/// The generic timer's count when [`start`] ran.
static STARTED: AtomicU64 = AtomicU64::new(0);
/// Microseconds a count, times 2^32: a multiplication costs the same for every count, a division does not, and boot
/// figures are to repeat. 0 on a CPU without a generic timer.
static SCALE: AtomicU32 = AtomicU32::new(0);

/// Takes the present as time 0.
pub fn start() {
    // ID_PFR1 bits 19:16: the generic timer.
    if IdPfr1::read_raw() >> 16 & 0xf == 0 {
        return;
    }
    STARTED.store(PhysicalCount::read_raw(), Ordering::Relaxed);
    let scale = (1_000_000_u64 << 32).checked_div(u64::from(CounterFrequency::read_raw()));
    SCALE.store(scale.and_then(|scale| u32::try_from(scale).ok()).unwrap_or(0), Ordering::Relaxed);
}

/// Microseconds since [`start`]; 0 on a CPU without a generic timer.
#[must_use]
pub fn microseconds() -> u64 {
    let scale = u64::from(SCALE.load(Ordering::Relaxed));
    if scale == 0 {
        return 0;
    }
    let count = PhysicalCount::read_raw().wrapping_sub(STARTED.load(Ordering::Relaxed));
    let (high, low) = (count >> 32, count & 0xffff_ffff);
    high.wrapping_mul(scale).wrapping_add((low * scale) >> 32)
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
