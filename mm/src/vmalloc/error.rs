//! Why there is no area, or why it was not given back.
#![forbid(unsafe_code)]

use core::fmt;

use super::node::AreaKind;
use super::validate::Broken;
use crate::addr::{PhysAddr, PhysRange, VirtAddr};
use crate::paging::{MapError, Prot};

/// Why a request was refused; nothing has changed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum VmallocError {
    /// No bytes, more than there are addresses, or an alignment that is no power of two.
    Size {
        /// What was asked for.
        bytes: u32,
        /// And how aligned.
        align: u32,
    },
    /// No gap is large enough.
    NoAddresses {
        /// What was asked for.
        bytes: u32,
        /// And how aligned.
        align: u32,
    },
    /// No node was left for the area.
    NoNode {
        /// What was asked for.
        bytes: u32,
    },
    /// There were not enough frames.
    NoFrames {
        /// What was asked for.
        bytes: u32,
        /// For so many of them there were frames.
        had: u32,
    },
    /// A mapping that can be written and executed.
    WritableExecutable(Prot),
    /// A mapping that users could use: areas are the kernel's, in every address space.
    OpenToUsers(Prot),
    /// RAM that is mapped in the linear map, or may be: it must not get another kind of memory.
    MappedRam(PhysRange),
    /// The physical range passes 4 GiB.
    OutOfReach {
        /// Where it begins.
        pa: PhysAddr,
        /// What was asked for.
        bytes: u32,
    },
    /// No area begins at this address.
    NoArea(VirtAddr),
    /// The area at this address is of another kind.
    WrongKind(VirtAddr, AreaKind),
    /// The tables refused.
    Map {
        /// The request's bytes.
        bytes: u32,
        /// Why.
        error: MapError,
    },
    /// The tree of areas is broken.
    Broken(Broken),
}

/// Whether an area may have `prot`: never writable and executable, never open to users.
pub(super) const fn check_prot(prot: Prot) -> Result<(), VmallocError> {
    if prot.writable() && prot.executable() {
        return Err(VmallocError::WritableExecutable(prot));
    }
    if prot.access.user() { Err(VmallocError::OpenToUsers(prot)) } else { Ok(()) }
}

impl fmt::Display for VmallocError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Size { bytes, align } => write!(f, "vmalloc: no area of {bytes} bytes, aligned to {align}, can be"),
            Self::NoAddresses { bytes, align } => {
                write!(f, "vmalloc: no addresses for {bytes} bytes, aligned to {align}")
            }
            Self::NoNode { bytes } => write!(f, "vmalloc: no node for an area of {bytes} bytes"),
            Self::NoFrames { bytes, had } => write!(f, "vmalloc: frames for {had} of {bytes} bytes"),
            Self::WritableExecutable(_) => write!(f, "vmalloc: writable and executable was asked for"),
            Self::OpenToUsers(_) => write!(f, "vmalloc: a mapping open to users was asked for"),
            Self::MappedRam(range) => {
                let last = range.end.raw().saturating_sub(1);
                write!(f, "ioremap: [mem {}-{last:#010x}] is mapped RAM", range.start)
            }
            Self::OutOfReach { pa, bytes } => write!(f, "ioremap: {bytes} bytes at {pa} pass 4 GiB"),
            Self::NoArea(va) => write!(f, "vmalloc: no area begins at {va}"),
            Self::WrongKind(va, kind) => write!(f, "vmalloc: the area at {va} is {kind:?}"),
            Self::Map { bytes, error } => write!(f, "vmalloc: {bytes} bytes were not mapped: {error}"),
            Self::Broken(broken) => broken.fmt(f),
        }
    }
}
