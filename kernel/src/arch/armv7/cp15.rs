//! CP15 registers that `aarch32-cpu` lacks, by its own traits. Arm ARM DDI 0406C B3.17.

use aarch32_cpu::register::{SysReg, SysRegRead, SysRegRead64, SysRegWrite};

macro_rules! cp15 {
    ($($(#[$doc:meta])* $name:ident: $op1:literal, $crn:literal, $crm:literal, $op2:literal; $($access:ident)+;)+) => {$(
        $(#[$doc])*
        #[derive(Debug)]
        pub(crate) struct $name;

        impl SysReg for $name {
            const CP: u32 = 15;
            const OP1: u32 = $op1;
            const CRN: u32 = $crn;
            const CRM: u32 = $crm;
            const OP2: u32 = $op2;
        }

        $(impl $access for $name {})+
    )+};
}

cp15! {
    /// TLB invalidate all, inner shareable.
    TlbIAllIs: 0, 8, 3, 0; SysRegWrite;
    /// TLB invalidate by address, all ASIDs, inner shareable.
    TlbIMvaaIs: 0, 8, 3, 3; SysRegWrite;
    /// TLB invalidate by address, all ASIDs.
    TlbIMvaa: 0, 8, 7, 3; SysRegWrite;
    /// TLB invalidate by ASID, inner shareable.
    TlbIAsidIs: 0, 8, 3, 2; SysRegWrite;
    /// TLB invalidate by ASID.
    TlbIAsid: 0, 8, 7, 2; SysRegWrite;
    /// Address translation, stage 1 current state PL1 read.
    Ats1Cpr: 0, 7, 8, 0; SysRegWrite;
    /// Address translation, stage 1 current state PL1 write.
    Ats1Cpw: 0, 7, 8, 1; SysRegWrite;
    /// Address translation, stage 1 current state unprivileged read.
    Ats1Cur: 0, 7, 8, 2; SysRegWrite;
    /// Address translation, stage 1 current state unprivileged write.
    Ats1Cuw: 0, 7, 8, 3; SysRegWrite;
    /// Physical address register: what the last address translation found.
    PhysicalAddress: 0, 7, 4, 0; SysRegRead SysRegWrite;
    /// Data cache clean by address to the point of unification.
    DcCleanMvaPou: 0, 7, 11, 1; SysRegWrite;
    /// Instruction cache invalidate all, inner shareable.
    IcIAllIs: 0, 7, 1, 0; SysRegWrite;
    /// Branch predictor invalidate all, inner shareable.
    BpIAllIs: 0, 7, 1, 6; SysRegWrite;
    /// Counter frequency of the generic timer, in Hz.
    CounterFrequency: 0, 14, 0, 0; SysRegRead;
}

/// Physical count of the generic timer.
#[derive(Debug)]
pub(crate) struct PhysicalCount;

impl aarch32_cpu::register::SysReg64 for PhysicalCount {
    const CP: u32 = 15;
    const OP1: u32 = 0;
    const CRM: u32 = 14;
}

impl SysRegRead64 for PhysicalCount {}
