//! What can go wrong between a request and its pages.

use core::fmt;

use crate::addr::{NodeId, Pfn, PfnRange};
use crate::buddy::{Broken, FreeError};
use crate::gfp::{GfpError, GfpFlags};
use crate::order::Order;
use crate::page_alloc::failure::Asked;
use crate::zone::ZoneRef;

/// Why a request got no pages. Nothing has changed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum AllocError {
    /// The flags contradict themselves.
    Flags(GfpError),
    /// No zone that may serve the request has such a block above its watermark.
    NoMemory {
        /// The request's flags.
        gfp: GfpFlags,
        /// The request's order.
        order: Order,
    },
    /// As [`Self::NoMemory`] of a request that must not fail: nobody who could free memory has any left.
    MustNotFail {
        /// The request's flags.
        gfp: GfpFlags,
        /// The request's order.
        order: Order,
    },
    /// The node's zonelist has no zone that may serve the request at all: `THISNODE` on a node without memory, or a
    /// mask without the right nodes.
    NoZone {
        /// Whose zonelist.
        node: NodeId,
        /// The request's flags.
        gfp: GfpFlags,
        /// The request's order.
        order: Order,
    },
    /// It was made to fail (`fail_page_alloc=`).
    Injected {
        /// The request's flags.
        gfp: GfpFlags,
        /// The request's order.
        order: Order,
    },
    /// More pages than the largest block has, or none at all.
    Size {
        /// Pages asked for.
        pages: u32,
    },
    /// The block was to be zeroed, but its bytes cannot be reached; it was given back.
    Unreachable {
        /// The block's first frame.
        pfn: Pfn,
        /// The request's order.
        order: Order,
    },
}

impl fmt::Display for AllocError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Flags(error) => error.fmt(f),
            Self::NoMemory { gfp, order } => write!(f, "page allocation failure: {}", Asked(*gfp, *order)),
            Self::MustNotFail { gfp, order } => {
                write!(
                    f,
                    "page allocation failure: {}: it must not fail, and nobody has memory left",
                    Asked(*gfp, *order)
                )
            }
            Self::NoZone { node, gfp, order } => {
                let asked = Asked(*gfp, *order);
                write!(f, "page allocation failure: {asked}: no zone for it from node {}", node.raw())
            }
            Self::Injected { gfp, order } => {
                write!(f, "page allocation failure: {}: made to fail", Asked(*gfp, *order))
            }
            Self::Size { pages } => write!(f, "no block has {pages} pages"),
            Self::Unreachable { pfn, order } => {
                write!(f, "pfn {pfn}: the bytes of a block of order {} cannot be reached to zero them", order.raw())
            }
        }
    }
}

impl core::error::Error for AllocError {}

impl From<GfpError> for AllocError {
    fn from(error: GfpError) -> Self {
        Self::Flags(error)
    }
}

/// Why an allocator cannot be set up.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum SetupError {
    /// The storage holds fewer zones or words than `needs` says.
    Storage {
        /// What was short: "zones", "usemap bytes" or "core words".
        what: &'static str,
        /// How many there should be.
        needed: usize,
    },
    /// A zone's span is not in the memory map.
    NotMapped(ZoneRef),
    /// A zonelist names a zone that no plan has.
    UnknownZone(ZoneRef),
    /// No such zone has pagesets to be replaced, or those in use still hold pages.
    Pagesets(ZoneRef),
    /// A node without a zonelist.
    NoZonelist(NodeId),
}

impl fmt::Display for SetupError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Storage { what, needed } => write!(f, "page allocator: storage for {needed} {what} needed"),
            Self::NotMapped(zone) => write!(f, "page allocator: {zone:?} is not in the memory map"),
            Self::UnknownZone(zone) => write!(f, "page allocator: no such zone: {zone:?}"),
            Self::Pagesets(zone) => write!(f, "page allocator: pagesets of {zone:?} cannot be replaced"),
            Self::NoZonelist(node) => write!(f, "page allocator: node {} has no zonelist", node.raw()),
        }
    }
}

impl core::error::Error for SetupError {}

/// Why a range was not handed to the allocator.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum HandOverError {
    /// The frame is not reserved memory of a known zone: it is a hole, or was handed over before.
    NotReserved(Pfn),
    /// A contiguous-memory area that does not consist of whole pageblocks of one zone.
    NotPageblocks(PfnRange),
    /// The free lists refused a block.
    Refused(FreeError),
}

impl fmt::Display for HandOverError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotReserved(pfn) => write!(f, "hand-over: pfn {pfn} is not reserved memory of a zone"),
            Self::NotPageblocks(range) => write!(f, "hand-over: {} is not made of whole pageblocks", range.bytes()),
            Self::Refused(error) => write!(f, "hand-over: {error}"),
        }
    }
}

impl core::error::Error for HandOverError {}

impl From<FreeError> for HandOverError {
    fn from(error: FreeError) -> Self {
        Self::Refused(error)
    }
}

/// A zone whose invariants do not hold.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct BrokenZone {
    /// The zone.
    pub zone: ZoneRef,
    /// What is wrong.
    pub broken: Broken,
}

impl fmt::Display for BrokenZone {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "node {} zone {}: {}", self.zone.node.raw(), self.zone.zone.name(), self.broken)
    }
}

impl core::error::Error for BrokenZone {}
