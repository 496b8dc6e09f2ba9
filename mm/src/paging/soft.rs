//! Software entries: what the system remembers of a page beside what the MMU reads.
//!
//! Theory.      The hardware word has no room for "used" and "written", and with SCTLR.AFE = 0 no access flag. So each
//!              hardware word has a twin 2 KiB below it in the same table page, as in Linux. The kernel's own pages
//!              are born young and dirty; a page that is present but not young has a hardware word of 0, and one that
//!              is not dirty one without the right to write ([`SoftEntry::hardware`], which the audit compares with).
//!
//! ```text
//! 31          12 11 10  9 8   6 5    3  2     1     0
//! | frame       |nG| S|XN|AP2:0|memory|dirty|young|present|
//! ```
//! Source.      The pairing: Linux `arch/arm/include/asm/pgtable-2level.h`. The bits are ours: all that the hardware
//!              word says can be rebuilt from them.
#![forbid(unsafe_code)]

use super::descriptor::{EncodeError, SecondLevel};
use super::prot::{Access, Exec, MemType, Prot};
use crate::addr::{PAGE_SIZE, PhysAddr};

/// What the system remembers of a page that is there.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct SoftEntry {
    /// The frame, aligned to 4 KiB.
    pub base: PhysAddr,
    /// What it allows.
    pub prot: Prot,
    /// It was used since the flag was last cleared.
    pub young: bool,
    /// It was written since the flag was last cleared.
    pub dirty: bool,
}

impl SoftEntry {
    /// The entry of a page of the kernel.
    #[must_use]
    pub const fn kernel(base: PhysAddr, prot: Prot) -> Self {
        Self { base, prot, young: true, dirty: true }
    }

    /// The word; never 0.
    ///
    /// # Errors
    /// [`EncodeError`], as for the hardware word.
    pub const fn encode(self) -> Result<u32, EncodeError> {
        let xn = match self.prot.exec {
            Exec::Allowed => 0,
            Exec::Never => 1,
            Exec::UserOnly => return Err(EncodeError::UserOnlyPage),
        };
        let Some(base) = self.base.as_u32() else { return Err(EncodeError::OutOfReach(self.base)) };
        if !self.base.is_aligned(PAGE_SIZE as u64) {
            return Err(EncodeError::Unaligned(self.base));
        }
        Ok(base
            | 1
            | (self.young as u32) << 1
            | (self.dirty as u32) << 2
            | self.prot.mem.remap_index() << 3
            | self.prot.access.ap() << 6
            | xn << 9
            | (self.prot.shareable as u32) << 10
            | (!self.prot.global as u32) << 11)
    }

    /// The hardware word beside it: nothing for a page that is not young, so that its next use is seen; and no right to
    /// write for one that is not dirty, so that the next write is.
    ///
    /// # Errors
    /// [`EncodeError`], as for the software entry.
    pub const fn hardware(self) -> Result<u32, EncodeError> {
        if !self.young {
            return match self.encode() {
                Ok(_) => Ok(0),
                Err(error) => Err(error),
            };
        }
        let access = if self.dirty { self.prot.access } else { self.prot.access.without_writing() };
        SecondLevel::Small { base: self.base, prot: Prot { access, ..self.prot } }.encode()
    }

    /// The meaning of `raw`; `None` for a page that is not there and for a word that was never encoded.
    #[must_use]
    pub const fn decode(raw: u32) -> Option<Self> {
        if raw & 1 == 0 {
            return None;
        }
        let (Some(access), Some(mem)) = (Access::from_ap(raw >> 6), MemType::from_remap_index(raw >> 3 & 7)) else {
            return None;
        };
        let exec = if raw & 1 << 9 == 0 { Exec::Allowed } else { Exec::Never };
        let prot = Prot { access, exec, mem, shareable: raw & 1 << 10 != 0, global: raw & 1 << 11 == 0 };
        let base = PhysAddr::new((raw & !(PAGE_SIZE - 1)) as u64);
        Some(Self { base, prot, young: raw & 2 != 0, dirty: raw & 4 != 0 })
    }
}
