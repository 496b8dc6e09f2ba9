//! Which CPU runs this code.

use crate::platform::IrqControl;

/// A CPU's number, counted from 0 without gaps.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
#[repr(transparent)]
pub struct CpuId(u32);

impl CpuId {
    /// CPU `raw`.
    #[must_use]
    pub const fn new(raw: u32) -> Self {
        Self(raw)
    }

    /// The number, for an array with an entry a CPU.
    #[must_use]
    pub const fn index(self) -> usize {
        self.0 as usize
    }
}

/// Names the CPU that it runs on.
///
/// # Safety
/// While interrupts are masked, two CPUs must never be given the same number, and one CPU must always be given the
/// same: data of one CPU is used without a lock on the strength of it.
pub unsafe trait CurrentCpu: IrqControl {
    /// This CPU's number. Meaningful only while interrupts are masked (Linux: `smp_processor_id`).
    fn current_cpu() -> CpuId;
}

#[cfg(any(test, feature = "testing"))]
mod host {
    use core::cell::Cell;

    use super::{CpuId, CurrentCpu};
    use crate::testing::HostIrq;

    std::thread_local! {
        static CPU: Cell<u32> = const { Cell::new(0) };
    }

    /// Makes this host thread stand for `cpu`. No two threads that share an allocator may have the same number.
    pub fn set_host_cpu(cpu: CpuId) {
        CPU.set(cpu.0);
    }

    // SAFETY: the number is the thread's own, and tests give each thread that shares an allocator a number of its own.
    unsafe impl CurrentCpu for HostIrq {
        fn current_cpu() -> CpuId {
            CpuId(CPU.get())
        }
    }
}

#[cfg(any(test, feature = "testing"))]
pub use host::set_host_cpu;
