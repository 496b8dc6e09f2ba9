//! Which first-level table and which ASID the MMU uses on this CPU.
//!
//! Theory.      Two registers change, and no TLB entry may be made from one space's table under another's ASID in
//!              between, not even by a speculative walk. So the kernel's own table, which has nothing but global
//!              entries, is put between: table of the kernel, new ASID, table of the space, each with an ISB behind it.
//! Source.      Arm ARM DDI 0406C B3.10.4 (synchronization of changes of ASID and TTBR, the sequence by way of a table
//!              with only global mappings); B2.2.9: with a change of the ASID the branch predictor needs nothing.

use aarch32_cpu::asm::{dsb, isb};
use aarch32_cpu::register::{Contextidr, IdMmfr0, SysRegRead, SysRegWrite, TlbIAll, Ttbr0};

/// ID_MMFR0's VMSA field from which on descriptors have PXN (Arm ARM DDI 0406C B4.1.89).
const VMSA_PXN: u32 = 4;

/// What TTBR0 holds.
pub fn table() -> u32 {
    Ttbr0::read_raw()
}

/// The ASID that new entries of the TLB get.
pub fn asid() -> u8 {
    Contextidr::read_raw().to_le_bytes()[0]
}

/// Whether descriptors have a PXN bit; on other CPUs it must be 0.
pub fn has_pxn() -> bool {
    IdMmfr0::read_raw() & 0xf >= VMSA_PXN
}

/// Goes over to the table `ttbr` and to `asid`. `kernel`: TTBR0 of the kernel's own table. `flush`: drop all that this
/// CPU's TLB holds before.
///
/// # Safety
/// Both tables must have the kernel half of the kernel's own, and belong to nothing else as long as they are in use;
/// only `ttbr`'s pages may be in any TLB under `asid`, once this CPU has flushed if it is asked to. Interrupts masked.
pub unsafe fn switch(ttbr: u32, asid: u8, kernel: u32, flush: bool) {
    // The space's number, which the caller has just stored, is seen by who changes its tables before any walk of them.
    dsb();
    // SAFETY: the kernel half, where all code and data lie, is the same in both tables.
    unsafe { Ttbr0::write_raw(kernel) }
    isb();
    if flush {
        dsb();
        TlbIAll::write();
        dsb();
        isb();
    }
    // SAFETY: the table in use has only global entries, which no ASID tags.
    unsafe { Contextidr::write_raw(u32::from(asid)) }
    isb();
    // SAFETY: by the caller's word.
    unsafe { Ttbr0::write_raw(ttbr) }
    isb();
}
