//! Zones: which frames serve which purpose, and in which order an allocation tries them.
#![forbid(unsafe_code)]

use crate::addr::{NodeId, PfnRange};

/// Number of zone types.
pub const MAX_NR_ZONES: usize = 4;

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

    /// Appends `zone`; `false` (and nothing done) when the list is full.
    pub fn push(&mut self, zone: ZoneRef) -> bool {
        let Some(slot) = self.refs.get_mut(usize::from(self.len)) else { return false };
        *slot = zone;
        self.len += 1;
        true
    }
}
