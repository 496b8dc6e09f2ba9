//! Why a range was not changed.
#![forbid(unsafe_code)]

use core::fmt;

use super::descriptor::EncodeError;
use super::edit::EditError;
use super::prot::Prot;
use super::table::TableError;
use crate::addr::{PhysAddr, VirtAddr};

/// Why a range was not mapped, unmapped or protected; nothing has changed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum MapError {
    /// The address or the size is not a multiple of 4 KiB, or the size is 0.
    Unaligned(VirtAddr),
    /// The range passes the end of the address space.
    TooLong(VirtAddr),
    /// The physical range does not begin on a page or passes 4 GiB.
    BadFrame(PhysAddr),
    /// The protection has no encoding at this size ([`EncodeError::UserOnlyPage`]), or is none that the kernel gives
    /// out.
    BadProt(Prot),
    /// The range touches what is not changed this way: the user half, windows, vectors.
    Kept(VirtAddr),
    /// Something is mapped here already.
    AlreadyMapped(VirtAddr),
    /// Nothing is mapped here.
    NotMapped(VirtAddr),
    /// The range begins or ends inside the larger mapping of this address, which pages cannot replace: it lies above
    /// 4 GiB, or it was to be retired.
    CutsLarger(VirtAddr),
    /// No frame was left for the table of this address.
    NoTable(VirtAddr),
    /// The tables themselves are broken.
    Table(TableError),
}

impl fmt::Display for MapError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unaligned(va) => write!(f, "range at {va} is not whole pages"),
            Self::TooLong(va) => write!(f, "range at {va} passes the end of the address space"),
            Self::BadFrame(pa) => write!(f, "physical range at {pa} is not whole pages below 4 GiB"),
            Self::BadProt(prot) => write!(f, "{prot:?} is no protection of a page"),
            Self::Kept(va) => write!(f, "range at {va} touches the user half, windows or vectors"),
            Self::AlreadyMapped(va) => write!(f, "{va} is mapped already"),
            Self::NotMapped(va) => write!(f, "{va} is not mapped"),
            Self::CutsLarger(va) => write!(f, "range cuts the larger mapping of {va}"),
            Self::NoTable(va) => write!(f, "no frame for the table of {va}"),
            Self::Table(error) => error.fmt(f),
        }
    }
}

impl From<TableError> for MapError {
    fn from(error: TableError) -> Self {
        Self::Table(error)
    }
}

/// An edit that failed, as the error of the range at `va`.
pub(super) fn edit(va: VirtAddr, error: EditError) -> MapError {
    match error {
        EditError::Table(error) => MapError::Table(error),
        EditError::Encode(EncodeError::Unaligned(pa) | EncodeError::OutOfReach(pa)) => MapError::BadFrame(pa),
        EditError::Encode(EncodeError::UserOnlyPage) => MapError::AlreadyMapped(va),
        EditError::Run(at) => MapError::TooLong(at),
    }
}

#[cfg(test)]
#[path = "tests/error.rs"]
mod tests;
