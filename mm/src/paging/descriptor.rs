//! Short descriptors, bit by bit: pure functions between words and meanings.
//!
//! Theory.      First level, one word a MiB:
//!
//! ```text
//!              31      24 23   20 19 18 17 16 15 14 12 11 10 9 8    5 4  3 2 1 0
//! fault       |                        ignored                              |0 0|
//! page table  | base 31:10                            | - | domain | - NS PXN 0 1|
//! section     | base 31:20   | NS 0 nG S AP2| TEX |AP10|-| domain |XN C B 1 PXN|
//! supersection| base  | 35:32| NS 1 nG S AP2| TEX |AP10|-|  39:36 |XN C B 1 PXN|
//! ```
//! Second level, one word a 4 KiB page; a large page's word stands sixteen times:
//!
//! ```text
//!              31        16 15 14  12 11 10 9   8  6 5  4 3 2 1 0
//! large page  | base 31:16 |XN| TEX | nG S AP2| 000 |AP10|C B|0 1|
//! small page  | base 31:12          | nG S AP2| TEX |AP10|C B|1 XN|
//! ```
//!
//! Invariants.  `decode(encode(x)) == x`. A reserved word decodes to nothing.
//! Source.      Arm ARM DDI 0406C B3.5.1 (figures B3-4, B3-5), table B3-8 (AP), B3.8.3 (TEX remap).
#![forbid(unsafe_code)]

use super::prot::{Access, Domain, Exec, MemType, Prot};
use crate::addr::{PAGE_SIZE, PhysAddr, SECTION_SIZE};

/// Bytes that a large page maps.
pub const LARGE_PAGE_SIZE: u32 = 1 << 16;
/// Bytes that a supersection maps; its word stands sixteen times.
pub const SUPERSECTION_SIZE: u32 = 1 << 24;
/// Bytes of the second-level table of one MiB.
pub const HALF_TABLE_SIZE: u32 = 1 << 10;

/// Why a meaning has no word.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum EncodeError {
    /// The address is not a multiple of what the descriptor maps (or of a table's size).
    Unaligned(PhysAddr),
    /// The address has more bits than the descriptor.
    OutOfReach(PhysAddr),
    /// [`Exec::UserOnly`] on a page: only its first-level entry can say that.
    UserOnlyPage,
}

/// A first-level descriptor.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum FirstLevel {
    /// Nothing is mapped.
    Fault,
    /// A second-level table of 256 words maps the MiB.
    PageTable {
        /// Its place, aligned to 1 KiB.
        table: PhysAddr,
        /// Domain of all its pages.
        domain: Domain,
        /// No page of it can be executed by the kernel.
        pxn: bool,
    },
    /// The MiB is mapped whole.
    Section {
        /// Aligned to 1 MiB.
        base: PhysAddr,
        /// What it allows.
        prot: Prot,
        /// Its domain.
        domain: Domain,
    },
    /// One of sixteen equal words that map 16 MiB; always in domain 0.
    Supersection {
        /// Aligned to 16 MiB, below 2^40.
        base: PhysAddr,
        /// What it allows.
        prot: Prot,
    },
}

/// A second-level descriptor.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum SecondLevel {
    /// Nothing is mapped.
    Fault,
    /// One of sixteen equal words that map 64 KiB.
    Large {
        /// Aligned to 64 KiB.
        base: PhysAddr,
        /// What it allows.
        prot: Prot,
    },
    /// A page.
    Small {
        /// Aligned to 4 KiB.
        base: PhysAddr,
        /// What it allows.
        prot: Prot,
    },
}

/// `addr` as 32 bits, if it is a multiple of `size`.
const fn base32(addr: PhysAddr, size: u32) -> Result<u32, EncodeError> {
    match addr.as_u32() {
        None => Err(EncodeError::OutOfReach(addr)),
        Some(_) if !addr.is_aligned(size as u64) => Err(EncodeError::Unaligned(addr)),
        Some(raw) => Ok(raw),
    }
}

/// The word of a section.
#[inline]
pub(super) const fn section(base: PhysAddr, prot: Prot, domain: Domain) -> Result<u32, EncodeError> {
    match base32(base, SECTION_SIZE) {
        Ok(base) => Ok(base | section_bits(prot) | (domain.raw() as u32) << 5),
        Err(error) => Err(error),
    }
}

/// A section's or supersection's bits but for base, domain and bit 18.
#[inline]
const fn section_bits(prot: Prot) -> u32 {
    let (ap, n) = (prot.access.ap(), prot.mem.remap_index());
    let (xn, pxn) = match prot.exec {
        Exec::Allowed => (0, 0),
        Exec::UserOnly => (0, 1),
        Exec::Never => (1, 0),
    };
    0b10 | pxn
        | (n & 3) << 2
        | xn << 4
        | (ap & 3) << 10
        | (n >> 2) << 12
        | (ap >> 2) << 15
        | (prot.shareable as u32) << 16
        | (!prot.global as u32) << 17
}

/// What a section or supersection allows.
const fn section_prot(raw: u32) -> Option<Prot> {
    let exec = match (raw >> 4 & 1, raw & 1) {
        (0, 0) => Exec::Allowed,
        (0, _) => Exec::UserOnly,
        _ => Exec::Never,
    };
    prot((raw >> 15 & 1) << 2 | raw >> 10 & 3, (raw >> 12 & 1) << 2 | raw >> 2 & 3, exec, raw >> 16)
}

/// Assembles a `Prot`; bit 0 of `s_ng` is S, bit 1 nG.
const fn prot(ap: u32, n: u32, exec: Exec, s_ng: u32) -> Option<Prot> {
    match (Access::from_ap(ap), MemType::from_remap_index(n)) {
        (Some(access), Some(mem)) => Some(Prot { access, exec, mem, shareable: s_ng & 1 != 0, global: s_ng & 2 == 0 }),
        _ => None,
    }
}

impl FirstLevel {
    /// The word.
    ///
    /// # Errors
    /// [`EncodeError::Unaligned`] and [`EncodeError::OutOfReach`] with the address.
    pub const fn encode(self) -> Result<u32, EncodeError> {
        match self {
            Self::Fault => Ok(0),
            Self::PageTable { table, domain, pxn } => match base32(table, HALF_TABLE_SIZE) {
                Ok(base) => Ok(base | (domain.raw() as u32) << 5 | (pxn as u32) << 2 | 0b01),
                Err(error) => Err(error),
            },
            Self::Section { base, prot, domain } => section(base, prot, domain),
            Self::Supersection { base, prot } => {
                if base.raw() >> 40 != 0 {
                    return Err(EncodeError::OutOfReach(base));
                }
                if !base.is_aligned(SUPERSECTION_SIZE as u64) {
                    return Err(EncodeError::Unaligned(base));
                }
                let (low, high) = (base.raw() & 0xff00_0000, base.raw() >> 32);
                let address = low | (high & 0xf) << 20 | (high >> 4) << 5;
                #[expect(clippy::cast_possible_truncation, reason = "bits 31:20 and 8:5 only")]
                let address = address as u32;
                Ok(address | section_bits(prot) | 1 << 18)
            }
        }
    }

    /// The meaning of `raw`; `None` for a reserved one.
    #[must_use]
    pub const fn decode(raw: u32) -> Option<Self> {
        let domain_bits = (raw >> 5 & 0xf) as u8;
        let Some(domain) = Domain::new(domain_bits) else { return None };
        Some(match raw & 3 {
            0b00 => Self::Fault,
            0b01 => {
                let table = PhysAddr::new((raw & 0xffff_fc00) as u64);
                Self::PageTable { table, domain, pxn: raw & 1 << 2 != 0 }
            }
            _ => {
                let Some(prot) = section_prot(raw) else { return None };
                if raw & 1 << 18 == 0 {
                    Self::Section { base: PhysAddr::new((raw & 0xfff0_0000) as u64), prot, domain }
                } else {
                    let high = (raw >> 20 & 0xf) as u64 | (domain_bits as u64) << 4;
                    Self::Supersection { base: PhysAddr::new((raw & 0xff00_0000) as u64 | high << 32), prot }
                }
            }
        })
    }
}

impl SecondLevel {
    /// The word.
    ///
    /// # Errors
    /// [`EncodeError`], with the address where it is the address.
    pub const fn encode(self) -> Result<u32, EncodeError> {
        let (base, size, prot) = match self {
            Self::Fault => return Ok(0),
            Self::Large { base, prot } => (base, LARGE_PAGE_SIZE, prot),
            Self::Small { base, prot } => (base, PAGE_SIZE, prot),
        };
        let xn = match prot.exec {
            Exec::Allowed => 0,
            Exec::Never => 1,
            Exec::UserOnly => return Err(EncodeError::UserOnlyPage),
        };
        let base = match base32(base, size) {
            Ok(base) => base,
            Err(error) => return Err(error),
        };
        let (ap, n) = (prot.access.ap(), prot.mem.remap_index());
        let common =
            (n & 3) << 2 | (ap & 3) << 4 | (ap >> 2) << 9 | (prot.shareable as u32) << 10 | (!prot.global as u32) << 11;
        Ok(match self {
            Self::Large { .. } => base | common | (n >> 2) << 12 | xn << 15 | 0b01,
            _ => base | common | (n >> 2) << 6 | 0b10 | xn,
        })
    }

    /// The meaning of `raw`; `None` for a reserved one.
    #[must_use]
    pub const fn decode(raw: u32) -> Option<Self> {
        let ap = (raw >> 9 & 1) << 2 | raw >> 4 & 3;
        let (tex0, xn) = match raw & 3 {
            0b00 => return Some(Self::Fault),
            0b01 => (raw >> 12 & 1, raw >> 15 & 1),
            _ => (raw >> 6 & 1, raw & 1),
        };
        let exec = if xn == 0 { Exec::Allowed } else { Exec::Never };
        let Some(prot) = prot(ap, tex0 << 2 | raw >> 2 & 3, exec, raw >> 10) else { return None };
        Some(if raw & 3 == 0b01 {
            Self::Large { base: PhysAddr::new((raw & 0xffff_0000) as u64), prot }
        } else {
            Self::Small { base: PhysAddr::new((raw & 0xffff_f000) as u64), prot }
        })
    }
}

#[cfg(test)]
#[path = "tests/descriptor.rs"]
mod tests;
