//! The interrupt mask, and which CPU this is.

use core::arch::asm;

use mm::platform::IrqControl;
use mm::sync::{CpuId, CurrentCpu};

/// Masks IRQs by the CPSR.
#[derive(Clone, Copy, Debug)]
pub struct ArmIrq;

// SAFETY: `cpsid i` masks IRQs on this CPU until the CPSR's I bit is put back.
unsafe impl IrqControl for ArmIrq {
    type Saved = u32;

    #[inline(always)]
    fn save_and_disable() -> u32 {
        let saved;
        // SAFETY: reads the CPSR and sets its I bit; memory accesses do not move across (no `nomem`).
        unsafe { asm!("mrs {0}, cpsr", "cpsid i", out(reg) saved, options(nostack, preserves_flags)) }
        saved
    }

    #[inline(always)]
    unsafe fn restore(saved: u32) {
        // SAFETY: writes back the control byte that `save_and_disable` read on this CPU: same mode, same masks.
        unsafe { asm!("msr cpsr_c, {0}", in(reg) saved, options(nostack, preserves_flags)) }
    }
}

// SAFETY: one CPU is up, and it is CPU 0.
unsafe impl CurrentCpu for ArmIrq {
    #[inline(always)]
    fn current_cpu() -> CpuId {
        CpuId::new(0)
    }
}
