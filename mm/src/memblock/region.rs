//! Regions: bytes of one kind.
//!
//! Not here.    How regions make a list (`list`).
#![forbid(unsafe_code)]

use crate::addr::{NodeId, PhysAddr, PhysRange};

bitflags::bitflags! {
    /// What is special about a region of memory (Linux: `enum memblock_flags`).
    #[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
    pub struct RegionFlags: u32 {
        /// May be unplugged: kept for movable allocations when `movable_node` is given.
        const HOTPLUG = 1;
        /// Mirrored in hardware: preferred for the kernel's own data.
        const MIRROR = 2;
        /// RAM that is not ours to map: never in the linear mapping, never given out.
        const NOMAP = 4;
    }
}

/// Bytes of one kind (Linux: `struct memblock_region`).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Region {
    pub(super) base: PhysAddr,
    pub(super) size: u64,
    flags: RegionFlags,
    node: NodeId,
}

impl Region {
    /// No bytes: what unused slots of an array hold.
    pub const EMPTY: Self = Self { base: PhysAddr::ZERO, size: 0, flags: RegionFlags::empty(), node: NodeId::ZERO };

    /// The bytes of `range` with the attributes of `attrs`.
    pub(super) const fn of(range: PhysRange, attrs: Attrs) -> Self {
        Self { base: range.start, size: range.size(), flags: attrs.flags, node: attrs.node }
    }

    /// Its bytes.
    #[must_use]
    pub const fn range(&self) -> PhysRange {
        PhysRange::new(self.base, self.end())
    }

    /// What is special about it.
    #[must_use]
    pub const fn flags(&self) -> RegionFlags {
        self.flags
    }

    /// The node that it belongs to; node 0 in the reserved list.
    #[must_use]
    pub const fn node(&self) -> NodeId {
        self.node
    }

    /// Whether it must stay out of the linear mapping.
    #[must_use]
    pub const fn is_nomap(&self) -> bool {
        self.flags.contains(RegionFlags::NOMAP)
    }

    pub(super) const fn end(&self) -> PhysAddr {
        self.base.saturating_add(self.size)
    }

    pub(super) const fn attrs(&self) -> Attrs {
        Attrs { flags: self.flags, node: self.node }
    }

    /// Moves the region's ends, its attributes stay.
    pub(super) fn set_range(&mut self, range: PhysRange) {
        *self = Self::of(range, self.attrs());
    }
}

/// All that keeps two touching regions apart.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(super) struct Attrs {
    pub(super) flags: RegionFlags,
    pub(super) node: NodeId,
}
