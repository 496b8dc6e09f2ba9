//! Zones: which frames serve which purpose, and in which order an allocation tries them.
//!
//! Theory.      Every node's frames are cut into zones by address. [`plan`] sizes them from the map of memory,
//!              [`movable`] decides where the Movable zone begins, [`zonelist`] orders them for each node's
//!              allocations, [`watermark`] and [`pageset`] derive the numbers that the page allocator lives by,
//!              [`pageblock`] the size of the map of migrate types. All of it is arithmetic on plain numbers.
//! Not here.    The memmap, free lists, counters of a live zone.
#![forbid(unsafe_code)]

pub mod movable;
pub mod nodeset;
pub mod pageblock;
pub mod pageset;
pub mod plan;
pub mod states;
pub mod watermark;
pub mod zonelist;

pub use nodeset::NodeSet;
pub use states::NodeStates;

use crate::addr::{NodeId, PfnRange};

/// Number of zone types.
pub const MAX_NR_ZONES: usize = 4;

/// One value for each zone type, by [`ZoneType::index`].
pub type PerZone<T> = [T; MAX_NR_ZONES];

/// One value for each zone of each node, by [`NodeId::index`] and [`ZoneType::index`].
pub type PerNodeZone<T> = [PerZone<T>; NodeId::MAX_NODES];

/// Which release of Linux a formula follows, where they differ.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Rules {
    /// Linux 4.1, whose policies this allocator has.
    #[default]
    Linux4,
    /// Linux 6.1, which the reference boots measured.
    Linux6,
}

/// The kinds of zone of 32-bit ARM, lowest first (Linux: `enum zone_type`).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
#[repr(u8)]
pub enum ZoneType {
    /// Frames that devices with a short `dma-ranges` can reach; only there when the limit is below lowmem's.
    Dma = 0,
    /// Frames in the linear mapping.
    Normal = 1,
    /// Frames outside the linear mapping.
    HighMem = 2,
    /// Frames for movable allocations only (`kernelcore=`, `movablecore=`).
    Movable = 3,
}

impl ZoneType {
    /// Every type, lowest first.
    pub const ALL: [Self; MAX_NR_ZONES] = [Self::Dma, Self::Normal, Self::HighMem, Self::Movable];

    /// Linux's name of the zone.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Dma => "DMA",
            Self::Normal => "Normal",
            Self::HighMem => "HighMem",
            Self::Movable => "Movable",
        }
    }

    /// The type, for an array of [`MAX_NR_ZONES`].
    #[must_use]
    pub const fn index(self) -> usize {
        self as usize
    }
}

/// One zone of one node, as the boot sequence sizes it.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct ZoneSize {
    /// First frame to one past the last one; holes lie inside. Empty for a zone that is not there.
    pub span: PfnRange,
    /// Frames that exist: the span without its holes. No-map frames are present.
    pub present: u32,
    /// Pages of `present` that the memmap and other boot-time charges leave; the zone's share of `Total pages`.
    pub real_size: u32,
}

impl ZoneSize {
    /// Frames of the span that do not exist or belong to another node (Linux: `zone_absent_pages_in_node`).
    #[must_use]
    pub const fn absent(&self) -> u32 {
        self.span.pages().saturating_sub(self.present)
    }
}

/// One node, as the boot sequence sizes it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct NodePlan {
    /// Its number.
    pub node: NodeId,
    /// Its first frame to one past its last one.
    pub span: PfnRange,
    /// Its zones by [`ZoneType::index`].
    pub zones: [ZoneSize; MAX_NR_ZONES],
}

impl NodePlan {
    /// Frames that exist in all its zones.
    #[must_use]
    pub fn present(&self) -> u32 {
        self.zones.iter().fold(0, |sum, zone| sum.saturating_add(zone.present))
    }

    /// Its zone of type `zone`.
    #[must_use]
    pub const fn zone(&self, zone: ZoneType) -> &ZoneSize {
        &self.zones[zone.index()]
    }
}

/// One entry of a zonelist.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ZoneRef {
    /// The zone's node.
    pub node: NodeId,
    /// The zone's type.
    pub zone: ZoneType,
}

/// The zones that an allocation tries, best first; only zones that have managed or present pages are in it.
#[derive(Clone, Copy, Debug)]
pub struct Zonelist {
    refs: [ZoneRef; NodeId::MAX_NODES * MAX_NR_ZONES],
    len: u8,
}

impl Default for Zonelist {
    fn default() -> Self {
        Self { refs: [ZoneRef { node: NodeId::ZERO, zone: ZoneType::Dma }; NodeId::MAX_NODES * MAX_NR_ZONES], len: 0 }
    }
}

impl Zonelist {
    /// Its entries, best first.
    #[must_use]
    pub fn refs(&self) -> &[ZoneRef] {
        self.refs.get(..usize::from(self.len)).unwrap_or(&[])
    }

    /// Its entries at or below `highest`, best first: what an allocation for that zone type tries
    /// (Linux: `for_each_zone_zonelist`).
    pub fn up_to(&self, highest: ZoneType) -> impl Iterator<Item = ZoneRef> + '_ {
        self.refs().iter().copied().filter(move |entry| entry.zone <= highest)
    }

    /// Appends `zone`; `false` (and nothing done) when the list is full.
    pub fn push(&mut self, zone: ZoneRef) -> bool {
        let Some(slot) = self.refs.get_mut(usize::from(self.len)) else { return false };
        *slot = zone;
        self.len += 1;
        true
    }
}
