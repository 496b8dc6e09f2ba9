//! Translation tables' maintenance, and what the MMU itself says of an address.

use core::ptr::NonNull;
use core::sync::atomic::AtomicU32;

use aarch32_cpu::asm::{dsb, isb};
use aarch32_cpu::register::{BpIAll, Ctr, Iciallu, IdMmfr3, Mpidr, SysRegRead, SysRegWrite, TlbIAll};
use mm::addr::VirtAddr;
use mm::platform::TlbControl;

use super::cp15::{
    Ats1Cpr, Ats1Cpw, Ats1Cur, Ats1Cuw, BpIAllIs, DcCleanMvaPou, IcIAllIs, PhysicalAddress, TlbIAllIs, TlbIAsid,
    TlbIAsidIs, TlbIMvaa, TlbIMvaaIs,
};

/// TLB and cache maintenance of this machine (Arm ARM DDI 0406C B3.10, B3.11).
#[derive(Clone, Copy, Debug)]
pub struct ArmTlb {
    /// The table walk does not look into the data cache (ID_MMFR3 bits 23:20 = 0: Cortex-A8).
    clean_tables: bool,
    /// Operations reach the other CPUs of the inner shareable domain (multiprocessing extensions).
    broadcast: bool,
    /// Bytes of the smallest data cache line.
    line: usize,
    /// Who copies changes of the first level.
    follower: Option<Follower>,
}

/// Is told the index of the first word of a first level that changed, and the words.
pub type Follower = fn(usize, &[AtomicU32]);

impl ArmTlb {
    /// Reads what this CPU needs.
    #[must_use]
    pub fn detect() -> Self {
        Self {
            clean_tables: IdMmfr3::read_raw() >> 20 & 0xf == 0,
            broadcast: Mpidr::read_raw() >> 31 == 1,
            line: 4 << (Ctr::read_raw() >> 16 & 0xf),
            follower: None,
        }
    }

    /// Whether stored words must be cleaned from the data cache before a walk sees them.
    #[must_use]
    pub const fn cleans_tables(&self) -> bool {
        self.clean_tables
    }

    /// As [`TlbControl::sync_table`], for words that need no cleaning.
    #[inline(always)]
    pub fn sync_coherent(&self) {
        dsb();
        isb();
    }

    /// Cleans the lines of `bytes` bytes to the point of unification.
    #[cold]
    #[inline(never)]
    fn clean(&self, ptr: NonNull<u8>, bytes: usize) {
        let mut line = ptr.as_ptr() as usize & !(self.line - 1);
        let end = (ptr.as_ptr() as usize).saturating_add(bytes);
        while line < end {
            let address = core::ptr::without_provenance::<u8>(line) as u32;
            // SAFETY: cleaning a line of mapped memory changes no byte that the program sees.
            unsafe { DcCleanMvaPou::write_raw(address) }
            line = line.saturating_add(self.line);
        }
    }

    /// Makes stored instructions the ones that run, wherever they are mapped (Arm ARM B2.2.9).
    pub fn sync_code(&self, ptr: NonNull<u8>, bytes: usize) {
        self.clean(ptr, bytes);
        dsb();
        if self.broadcast {
            // SAFETY: instructions that are cached no more are fetched again.
            unsafe { IcIAllIs::write_raw(0) }
            // SAFETY: as above, for branch predictions.
            unsafe { BpIAllIs::write_raw(0) }
        } else {
            Iciallu::write();
            BpIAll::write();
        }
        dsb();
        isb();
    }

    /// The same for tables whose first level others copy: `follower` is told of every change.
    #[must_use]
    pub const fn with_follower(self, follower: Follower) -> Self {
        Self { follower: Some(follower), ..self }
    }
}

impl TlbControl for ArmTlb {
    fn sync_table(&self, ptr: NonNull<u8>, bytes: usize) {
        if self.clean_tables {
            self.clean(ptr, bytes);
        }
        dsb();
        isb();
    }

    fn sync_first(&self, first: usize, words: &[AtomicU32]) {
        self.sync_table(NonNull::from(words).cast(), size_of_val(words));
        if let Some(follower) = self.follower {
            follower(first, words);
        }
    }

    fn flush_asid(&self, asid: u8) {
        dsb();
        if self.broadcast {
            // SAFETY: dropping TLB entries only makes the MMU walk again.
            unsafe { TlbIAsidIs::write_raw(u32::from(asid)) }
            // SAFETY: as above, for branch predictions.
            unsafe { BpIAllIs::write_raw(0) }
        } else {
            // SAFETY: as above.
            unsafe { TlbIAsid::write_raw(u32::from(asid)) }
            BpIAll::write();
        }
        dsb();
        isb();
    }

    fn flush_page(&self, va: VirtAddr) {
        dsb();
        if self.broadcast {
            // SAFETY: dropping TLB entries only makes the MMU walk again.
            unsafe { TlbIMvaaIs::write_raw(va.raw()) }
        } else {
            // SAFETY: as above.
            unsafe { TlbIMvaa::write_raw(va.raw()) }
        }
        dsb();
        isb();
    }

    fn flush_page_local(&self, va: VirtAddr) {
        dsb();
        // SAFETY: dropping TLB entries only makes the MMU walk again.
        unsafe { TlbIMvaa::write_raw(va.raw()) }
        dsb();
        isb();
    }

    fn flush_all(&self) {
        dsb();
        if self.broadcast {
            // SAFETY: dropping TLB entries only makes the MMU walk again.
            unsafe { TlbIAllIs::write_raw(0) }
            // SAFETY: as above, for branch predictions.
            unsafe { BpIAllIs::write_raw(0) }
        } else {
            TlbIAll::write();
            BpIAll::write();
        }
        dsb();
        isb();
    }
}

/// What kind of access the MMU is asked about.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Access {
    /// A load by the kernel.
    Read,
    /// A store by the kernel.
    Write,
    /// A load by user code.
    UserRead,
    /// A store by user code.
    UserWrite,
}

/// The MMU's own translation of `va`: the physical address, or `Err` with the fault status (FS, five bits).
pub fn translate(va: VirtAddr, access: Access) -> Result<u32, u32> {
    match access {
        // SAFETY: an address translation operation reads tables and writes PAR, which only this function uses.
        Access::Read => unsafe { Ats1Cpr::write_raw(va.raw()) },
        // SAFETY: as above.
        Access::Write => unsafe { Ats1Cpw::write_raw(va.raw()) },
        // SAFETY: as above.
        Access::UserRead => unsafe { Ats1Cur::write_raw(va.raw()) },
        // SAFETY: as above.
        Access::UserWrite => unsafe { Ats1Cuw::write_raw(va.raw()) },
    }
    isb();
    let par = PhysicalAddress::read_raw();
    if par & 1 == 1 { Err(par >> 1 & 0x1f) } else { Ok(par & 0xffff_f000 | va.raw() & 0xfff) }
}
