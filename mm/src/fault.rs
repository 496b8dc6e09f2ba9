//! What a fault says of itself: status register, program status, the walk of the address, who called whom.
//!
//! Theory.      A report is made of pure parts, so that each is tested on the host: the status ([`FaultStatus`]), the
//!              mode and flags ([`Psr`]), the words of both table levels ([`Trace`]), what is mapped around the address
//!              ([`Neighbours`]), the callers ([`unwind`]) and their names ([`symbols`]).
//! Not here.    Registers, vectors, printing: the kernel's.
//! Source.      Arm ARM DDI 0406C B3.13.2, table B3-23: FS is FSR\[10\] and FSR\[3:0\].
#![cfg_attr(not(test), forbid(unsafe_code))]

mod neighbours;
mod psr;
pub mod symbols;
mod trace;
pub mod unwind;

pub use neighbours::Neighbours;
pub use psr::{Mode, Psr};
pub use trace::{SecondWords, Trace};

use core::fmt;

/// Why the MMU or the bus refused an access: DFSR or IFSR, decoded.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum FaultStatus {
    /// The address is not aligned for the access.
    Alignment,
    /// A debug event.
    Debug,
    /// The access flag of a descriptor is clear.
    AccessFlag(Level),
    /// An instruction cache maintenance operation found no translation.
    CacheMaintenance,
    /// No translation for the address.
    Translation(Level),
    /// The domain of the descriptor gives no access.
    Domain(Level),
    /// The descriptor's permissions refuse the access.
    Permission(Level),
    /// The bus refused the access itself; asynchronous ones come some time later.
    External {
        /// Reported some time after the access.
        asynchronous: bool,
    },
    /// The bus refused the table walk.
    ExternalOnWalk(Level),
    /// The TLB held two entries for the address.
    TlbConflict,
    /// A value of FS that this page of the manual does not name.
    Other(u8),
}

/// The table level at which a walk ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Level {
    /// A section, supersection or the first-level descriptor itself.
    First,
    /// A small or large page.
    Second,
}

impl FaultStatus {
    /// Decodes a DFSR or an IFSR.
    #[must_use]
    #[expect(clippy::cast_possible_truncation, reason = "five bits are left")]
    pub const fn from_fsr(fsr: u32) -> Self {
        use Level::{First, Second};
        match (fsr >> 6 & 0x10 | fsr & 0xf) as u8 {
            0b00001 => Self::Alignment,
            0b00010 => Self::Debug,
            0b00011 => Self::AccessFlag(First),
            0b00110 => Self::AccessFlag(Second),
            0b00100 => Self::CacheMaintenance,
            0b00101 => Self::Translation(First),
            0b00111 => Self::Translation(Second),
            0b01001 => Self::Domain(First),
            0b01011 => Self::Domain(Second),
            0b01101 => Self::Permission(First),
            0b01111 => Self::Permission(Second),
            0b01000 => Self::External { asynchronous: false },
            0b10110 => Self::External { asynchronous: true },
            0b01100 => Self::ExternalOnWalk(First),
            0b01110 => Self::ExternalOnWalk(Second),
            0b10000 => Self::TlbConflict,
            other => Self::Other(other),
        }
    }

    /// Whether the descriptor's permissions refused the access.
    #[must_use]
    pub const fn is_permission(self) -> bool {
        matches!(self, Self::Permission(_))
    }

    /// Whether the domain of the address is closed.
    #[must_use]
    pub const fn is_domain(self) -> bool {
        matches!(self, Self::Domain(_))
    }

    /// Whether the address has no translation.
    #[must_use]
    pub const fn is_translation(self) -> bool {
        matches!(self, Self::Translation(_))
    }
}

impl fmt::Display for Level {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::First => "first level",
            Self::Second => "second level",
        })
    }
}

impl fmt::Display for FaultStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Alignment => f.write_str("alignment fault"),
            Self::Debug => f.write_str("debug event"),
            Self::AccessFlag(level) => write!(f, "access flag fault, {level}"),
            Self::CacheMaintenance => f.write_str("instruction cache maintenance fault"),
            Self::Translation(level) => write!(f, "translation fault, {level}"),
            Self::Domain(level) => write!(f, "domain fault, {level}"),
            Self::Permission(level) => write!(f, "permission fault, {level}"),
            Self::External { asynchronous: false } => f.write_str("external abort"),
            Self::External { asynchronous: true } => f.write_str("asynchronous external abort"),
            Self::ExternalOnWalk(level) => write!(f, "external abort on the table walk, {level}"),
            Self::TlbConflict => f.write_str("TLB conflict abort"),
            Self::Other(status) => write!(f, "fault status {status:#07b}"),
        }
    }
}

#[cfg(test)]
#[path = "fault/table_tests.rs"]
mod table_tests;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_status_of_the_manuals_table_is_named() {
        // FS[4] is bit 10 of the register.
        assert_eq!(FaultStatus::from_fsr(0x805), FaultStatus::Translation(Level::First));
        assert_eq!(FaultStatus::from_fsr(0x007), FaultStatus::Translation(Level::Second));
        assert_eq!(FaultStatus::from_fsr(0x80d), FaultStatus::Permission(Level::First));
        assert_eq!(FaultStatus::from_fsr(0x80f), FaultStatus::Permission(Level::Second));
        assert_eq!(FaultStatus::from_fsr(0x001), FaultStatus::Alignment);
        assert_eq!(FaultStatus::from_fsr(0x008), FaultStatus::External { asynchronous: false });
        assert_eq!(FaultStatus::from_fsr(0x406), FaultStatus::External { asynchronous: true });
        assert_eq!(FaultStatus::from_fsr(0x01f), FaultStatus::Permission(Level::Second));
        assert_eq!(FaultStatus::from_fsr(0x400), FaultStatus::TlbConflict);
        assert_eq!(FaultStatus::from_fsr(0x000), FaultStatus::Other(0));
    }
}
