//! What the CPU is, and whether this image can run on it.
//!
//! Theory.      The kernel reads the identification registers and hands them over as numbers; what they mean is
//!              decided here, on the host as on metal. An ARM1176's MIDR and ID_MMFR0 look like ARMv7's: the cache type
//!              register's format tells them apart.
//! Source.      Arm ARM DDI 0406C B4.1.42 (CTR), B4.1.89 (ID_MMFR0), B4.1.105 (MIDR), B4.1.106 (MPIDR).
#![forbid(unsafe_code)]

use core::fmt;

/// Identification registers of the boot CPU, and how it was entered.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct CpuFacts {
    /// MIDR.
    pub midr: u32,
    /// CTR.
    pub ctr: u32,
    /// MPIDR.
    pub mpidr: u32,
    /// ID_MMFR0.
    pub mmfr0: u32,
    /// SCTLR as it is now.
    pub sctlr: u32,
    /// CPSR mode bits at entry.
    pub entry_mode: u32,
}

/// Why the image can't run on a CPU.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum UnfitCpu {
    /// The cache type register is not in ARMv7's format.
    NotArmv7 {
        /// MIDR.
        midr: u32,
        /// CTR.
        ctr: u32,
    },
    /// No VMSAv7 with short descriptors.
    NoVmsa {
        /// MIDR.
        midr: u32,
        /// ID_MMFR0.
        mmfr0: u32,
    },
}

impl fmt::Display for UnfitCpu {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::NotArmv7 { midr, ctr } => {
                write!(f, "CPU [{midr:08x}]: cache type {ctr:#010x} is not ARMv7's; this image needs ARMv7-A")
            }
            Self::NoVmsa { midr, mmfr0 } => {
                write!(f, "CPU [{midr:08x}]: ID_MMFR0 {mmfr0:#010x} has no VMSAv7; this image needs its page tables")
            }
        }
    }
}

/// How the instruction cache is indexed and tagged.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum InstructionCache {
    /// Virtually indexed and tagged with the ASID.
    AsidVivt,
    /// Virtually indexed, physically tagged.
    Vipt,
    /// Physically indexed, physically tagged.
    Pipt,
}

impl CpuFacts {
    /// Whether this image can run.
    ///
    /// # Errors
    /// What is missing.
    pub const fn check(&self) -> Result<(), UnfitCpu> {
        if self.ctr >> 29 != 0b100 {
            return Err(UnfitCpu::NotArmv7 { midr: self.midr, ctr: self.ctr });
        }
        if self.mmfr0 & 0xf < 3 {
            return Err(UnfitCpu::NoVmsa { midr: self.midr, mmfr0: self.mmfr0 });
        }
        Ok(())
    }

    /// Whether one frame can lie in the data cache twice under two virtual addresses: never on ARMv7, by its P bit
    /// before (then highmem is off).
    #[must_use]
    pub const fn vipt_aliasing(&self) -> bool {
        self.ctr >> 29 != 0b100 && self.ctr >> 23 & 1 == 1
    }

    /// The instruction cache's kind (CTR.L1Ip).
    #[must_use]
    pub const fn instruction_cache(&self) -> InstructionCache {
        match self.ctr >> 14 & 3 {
            1 => InstructionCache::AsidVivt,
            2 => InstructionCache::Vipt,
            _ => InstructionCache::Pipt,
        }
    }

    /// Prints Linux's three lines on the CPU.
    pub fn log(&self) {
        let cpu = if self.mpidr >> 31 == 1 { self.mpidr & 0x00ff_ffff } else { 0 };
        log::info!("Booting Quire on physical CPU {cpu:#x}");
        log::info!(
            "Quire version {} ({})",
            env!("CARGO_PKG_VERSION"),
            if cfg!(debug_assertions) { "debug" } else { "release" }
        );
        let revision = self.midr & 0xf;
        log::info!("CPU: ARMv7 Processor [{:08x}] revision {revision} (ARMv7), cr={:08x}", self.midr, self.sctlr);
        let data = if self.vipt_aliasing() { "VIPT aliasing" } else { "PIPT / VIPT nonaliasing" };
        let instruction = match self.instruction_cache() {
            InstructionCache::AsidVivt => "VIVT ASID tagged",
            InstructionCache::Vipt => "VIPT nonaliasing",
            InstructionCache::Pipt => "PIPT",
        };
        log::info!("CPU: {data} data cache, {instruction} instruction cache");
        let mode = if self.entry_mode == 0x1a { "HYP, now SVC" } else { "SVC" };
        log::info!("CPU: entered in {mode} mode");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// MIDR, CTR and ID_MMFR0 as QEMU's CPUs give them.
    const A15: CpuFacts = CpuFacts {
        midr: 0x414f_c0f0,
        ctr: 0x8444_c004,
        mmfr0: 0x1020_1105,
        mpidr: 0x8000_0000,
        sctlr: 0,
        entry_mode: 0x13,
    };
    const ARM1176: CpuFacts = CpuFacts { midr: 0x410f_b767, ctr: 0x01dd_20d2, mmfr0: 0x0113_0003, ..A15 };

    #[test]
    fn a_cortex_a15_runs_and_an_arm1176_is_refused_by_its_cache_type() {
        assert_eq!(A15.check(), Ok(()));
        assert_eq!(A15.instruction_cache(), InstructionCache::Pipt);
        let refused = ARM1176.check().unwrap_err();
        assert_eq!(refused, UnfitCpu::NotArmv7 { midr: 0x410f_b767, ctr: 0x01dd_20d2 });
        assert!(refused.to_string().contains("410fb767"));
    }

    #[test]
    fn only_caches_before_armv7_with_the_p_bit_alias() {
        assert!(ARM1176.vipt_aliasing());
        assert!(!A15.vipt_aliasing());
        assert!(
            !CpuFacts { ctr: 0x8204_8004, ..A15 }.vipt_aliasing(),
            "a Cortex-A8's instruction cache does, its data cache not"
        );
    }

    #[test]
    fn a_cpu_without_vmsa_is_refused() {
        let pmsa = CpuFacts { mmfr0: 0x0000_0030, ..A15 };
        assert!(matches!(pmsa.check(), Err(UnfitCpu::NoVmsa { .. })));
    }
}
