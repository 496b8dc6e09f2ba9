//! What can be wrong with a free, and with the free lists themselves.

use core::fmt;

use crate::addr::Pfn;
use crate::memmap::{PageState, ZoneTag};
use crate::migrate::MigrateType;
use crate::order::Order;

/// Why a block was not freed. Nothing has changed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum FreeError {
    /// No frame that the memory map knows.
    NoSuchFrame(Pfn),
    /// The frame cannot head a block of this order.
    Misaligned {
        /// The frame.
        pfn: Pfn,
        /// The order that was asked for.
        order: Order,
    },
    /// The frame heads an allocated block, of another order.
    WrongOrder {
        /// The frame.
        pfn: Pfn,
        /// The order that was asked for.
        order: Order,
        /// The order that it was allocated with.
        found: Order,
    },
    /// The frame heads no allocated block: a double free, a tail, reserved, a hole, an object page.
    NotAllocated {
        /// The frame.
        pfn: Pfn,
        /// The order that was asked for.
        order: Order,
        /// What the frame is.
        found: PageState,
    },
    /// The frame has no owner that could give it up.
    NotReferenced {
        /// The frame.
        pfn: Pfn,
        /// Its reference count.
        count: u32,
    },
    /// Translation tables still refer to the block.
    Mapped {
        /// The frame.
        pfn: Pfn,
        /// How many entries do.
        count: u32,
    },
    /// The owner's word of the block was not cleared.
    Private {
        /// The frame.
        pfn: Pfn,
        /// What it holds.
        private: u32,
    },
    /// The block is a compound page, or its owner is registered: it cannot be split.
    Whole {
        /// The frame.
        pfn: Pfn,
    },
    /// The block is not, or not all, in the zone that it was given to.
    OtherZone {
        /// The frame.
        pfn: Pfn,
        /// The order that was asked for.
        order: Order,
        /// The zone that was asked.
        zone: ZoneTag,
    },
}

impl fmt::Display for FreeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoSuchFrame(pfn) => write!(f, "pfn {pfn}: no such frame"),
            Self::Misaligned { pfn, order } => write!(f, "pfn {pfn}: not aligned to order {}", order.raw()),
            Self::WrongOrder { pfn, order, found } => {
                write!(f, "pfn {pfn}: freed with order {}, allocated with order {}", order.raw(), found.raw())
            }
            Self::NotAllocated { pfn, order, found } => {
                write!(f, "pfn {pfn}: freed with order {}, but it is {found}", order.raw())
            }
            Self::NotReferenced { pfn, count } => write!(f, "pfn {pfn}: freed with reference count {count}"),
            Self::Mapped { pfn, count } => write!(f, "pfn {pfn}: freed while {count} entries map it"),
            Self::Private { pfn, private } => write!(f, "pfn {pfn}: freed with private word {private:#x}"),
            Self::Whole { pfn } => write!(f, "pfn {pfn}: heads a block that can only be freed whole"),
            Self::OtherZone { pfn, order, zone } => {
                write!(f, "pfn {pfn}: block of order {} is not in the zone {zone:?}", order.raw())
            }
        }
    }
}

impl core::error::Error for FreeError {}

/// An invariant of the free lists or of the counts that does not hold: a bug in the allocator, or stray writes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Broken {
    /// A frame on the list of (`order`, `kind`) is not the head of such a block, or not of this zone.
    Listed {
        /// The frame.
        pfn: Pfn,
        /// The list's order.
        order: Order,
        /// The list's type.
        kind: MigrateType,
    },
    /// The links around a frame do not lead back to it.
    Links {
        /// The frame.
        pfn: Pfn,
    },
    /// A block and its buddy are both free.
    FreeBuddies {
        /// The block.
        pfn: Pfn,
        /// The order of both.
        order: Order,
    },
    /// A block's pageblock has a type that blocks on this list cannot have.
    BlockType {
        /// The block.
        pfn: Pfn,
        /// The type of the list that it is on.
        kind: MigrateType,
    },
    /// A head is not aligned to its order, or lies inside another block, or its block leaves the zone.
    Overlap {
        /// The frame.
        pfn: Pfn,
    },
    /// A count differs from what was counted.
    Count {
        /// Which one.
        what: &'static str,
        /// What the count says.
        counter: u32,
        /// What there is.
        found: u32,
    },
}

impl fmt::Display for Broken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Listed { pfn, order, kind } => {
                write!(f, "pfn {pfn} is on the list of order {} {} but is no such block", order.raw(), kind.name())
            }
            Self::Links { pfn } => write!(f, "the links around pfn {pfn} are broken"),
            Self::FreeBuddies { pfn, order } => {
                write!(f, "pfn {pfn} and its buddy of order {} are both free", order.raw())
            }
            Self::BlockType { pfn, kind } => {
                write!(f, "pfn {pfn} is on a list of {} but its pageblock is of another kind", kind.name())
            }
            Self::Overlap { pfn } => write!(f, "the block at pfn {pfn} is misaligned or overlaps another"),
            Self::Count { what, counter, found } => write!(f, "{what}: the count says {counter}, there are {found}"),
        }
    }
}

impl core::error::Error for Broken {}
