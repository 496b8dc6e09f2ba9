//! Free and taken ranges: one merged walk over both lists.
//!
//! Theory.      A region of memory is cut by the reserved regions that lie in it; the pieces are by turns free and
//!              taken. Each end of the walk remembers how far it has come (an address) and where in both lists that is,
//!              so that a whole walk costs the lengths of the lists added, and nothing is allocated.
//! Picture.     memory   |0      node 0      |    |    node 1      |
//!              reserved      |####|                      |###########|
//!              pieces   |free|tak.|  free   |    |  free |  taken  |
//! Source.      Linux mm/memblock.c: __next_mem_range, __next_mem_range_rev, should_skip_region.
#![forbid(unsafe_code)]

use core::iter::FusedIterator;

use super::Memblock;
use super::region::{Attrs, Region, RegionFlags};
use crate::addr::{NodeId, PhysAddr, PhysRange};

/// Which regions of memory a walk looks at.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct RangeFilter {
    /// Only this node's.
    pub node: Option<NodeId>,
    /// `NOMAP`: no-map regions too, which are left out otherwise. `MIRROR`: mirrored ones only. `HOTPLUG`:
    /// hot-pluggable ones too when `movable_node` keeps them out.
    pub flags: RegionFlags,
}

impl RangeFilter {
    /// Every region that may be mapped.
    pub const ANY: Self = Self { node: None, flags: RegionFlags::empty() };

    fn accepts(self, region: &Region, movable_node: bool) -> bool {
        let has = |flag| region.flags().contains(flag);
        let asks = |flag| self.flags.contains(flag);
        self.node.is_none_or(|node| node == region.node())
            && (!movable_node || !has(RegionFlags::HOTPLUG) || asks(RegionFlags::HOTPLUG))
            && (!asks(RegionFlags::MIRROR) || has(RegionFlags::MIRROR))
            && (!has(RegionFlags::NOMAP) || asks(RegionFlags::NOMAP))
    }
}

/// Pieces of memory, lowest first; `rev()` walks from the top.
#[derive(Clone, Debug)]
pub struct Ranges<'m> {
    /// Regions of memory that neither end has left behind.
    memory: &'m [Region],
    /// Reserved regions that neither end has left behind.
    reserved: &'m [Region],
    /// What both ends have left between them.
    left: PhysRange,
    filter: RangeFilter,
    movable_node: bool,
    /// Whether taken pieces are wanted, not free ones.
    taken: bool,
}

impl Ranges<'_> {
    /// The lowest piece not walked yet, and whether it is taken.
    fn lowest(&mut self) -> Option<(Region, bool)> {
        loop {
            let region = *self.memory.first()?;
            let rest = region.range().intersection(self.left);
            if rest.is_empty() || !self.filter.accepts(&region, self.movable_node) {
                self.memory = self.memory.get(1..)?;
                continue;
            }
            while let Some((first, others)) = self.reserved.split_first()
                && first.range().end <= rest.start
            {
                self.reserved = others;
            }
            let (end, taken) = match self.reserved.first().map(Region::range) {
                Some(first) if first.start <= rest.start => (first.end, true),
                Some(first) => (first.start, false),
                None => (rest.end, false),
            };
            let piece = PhysRange::new(rest.start, end.min(rest.end));
            self.left.start = piece.end;
            return Some((with_range(&region, piece), taken));
        }
    }

    /// The highest piece not walked yet, and whether it is taken.
    fn highest(&mut self) -> Option<(Region, bool)> {
        loop {
            let region = *self.memory.last()?;
            let rest = region.range().intersection(self.left);
            if rest.is_empty() || !self.filter.accepts(&region, self.movable_node) {
                self.memory = self.memory.split_last()?.1;
                continue;
            }
            while let Some((last, others)) = self.reserved.split_last()
                && last.range().start >= rest.end
            {
                self.reserved = others;
            }
            let (start, taken) = match self.reserved.last().map(Region::range) {
                Some(last) if last.end >= rest.end => (last.start, true),
                Some(last) => (last.end, false),
                None => (rest.start, false),
            };
            let piece = PhysRange::new(start.max(rest.start), rest.end);
            self.left.end = piece.start;
            return Some((with_range(&region, piece), taken));
        }
    }
}

fn with_range(region: &Region, range: PhysRange) -> Region {
    Region::of(range, Attrs { flags: region.flags(), node: region.node() })
}

impl Iterator for Ranges<'_> {
    type Item = Region;

    fn next(&mut self) -> Option<Region> {
        loop {
            let (piece, taken) = self.lowest()?;
            if taken == self.taken {
                return Some(piece);
            }
        }
    }
}

impl DoubleEndedIterator for Ranges<'_> {
    fn next_back(&mut self) -> Option<Region> {
        loop {
            let (piece, taken) = self.highest()?;
            if taken == self.taken {
                return Some(piece);
            }
        }
    }
}

impl FusedIterator for Ranges<'_> {}

impl Memblock<'_> {
    /// Free memory: in `memory` and not in `reserved`. Each piece has its region's node and flags (Linux:
    /// `for_each_free_mem_range`).
    #[must_use]
    pub fn free_ranges(&self, filter: RangeFilter) -> Ranges<'_> {
        self.ranges(filter, false)
    }

    /// Taken memory: in both lists. What is reserved outside memory is not walked; [`Memblock::reserved`] has it.
    #[must_use]
    pub fn reserved_ranges(&self, filter: RangeFilter) -> Ranges<'_> {
        self.ranges(filter, true)
    }

    fn ranges(&self, filter: RangeFilter, taken: bool) -> Ranges<'_> {
        Ranges {
            memory: self.memory(),
            reserved: self.reserved(),
            left: PhysRange::new(PhysAddr::ZERO, PhysAddr::MAX),
            filter,
            movable_node: self.movable_node,
            taken,
        }
    }
}
