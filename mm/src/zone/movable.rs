//! Where the Movable zone of each node begins.
//!
//! Theory.      `kernelcore=` says how much memory allocations that cannot move may use; what is above it on each node
//!              becomes Movable. `movablecore=` says the same from the other side, and the larger demand of the kernel
//!              wins. The amount is spread evenly over the nodes that have memory; a node too small for its share
//!              passes the rest on, in further rounds over ever fewer nodes, until less than a page a node is left.
//!              Movable is cut only out of the machine's highest zone: lower frames count for the kernel's share but
//!              never become movable. With `movable_node` hot-pluggable memory alone decides, and the sizes are
//!              ignored. A start is rounded up to a largest block; one that leaves nothing is dropped.
//! Picture.     node 0  |--lowmem--|~~highmem: kernel's rest~~|####Movable####|
//!                                 ^ `usable`                 ^ start
//! Source.      Linux mm/page_alloc.c: find_zone_movable_pfns_for_nodes; Documentation: kernelcore, movablecore.
#![forbid(unsafe_code)]

use crate::addr::{NodeId, PAGE_SHIFT, Pfn};
use crate::order::Order;
use crate::zone::NodeSet;
use crate::zone::plan::MemoryRange;

/// The value of `kernelcore=` or `movablecore=`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum CoreSize {
    /// That many bytes; the page that it ends in is left out.
    Bytes(u64),
    /// That many hundredths of all memory.
    Percent(u32),
}

impl CoreSize {
    /// The size in pages on a machine of `total` pages.
    #[must_use]
    pub const fn pages(self, total: u64) -> u64 {
        match self {
            Self::Bytes(bytes) => bytes >> PAGE_SHIFT,
            Self::Percent(percent) => total.saturating_mul(percent as u64) / 100,
        }
    }
}

/// What the boot arguments say about movable memory.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct MovableRequest {
    /// `kernelcore=`.
    pub kernelcore: Option<CoreSize>,
    /// `movablecore=`.
    pub movablecore: Option<CoreSize>,
    /// `movable_node`: hot-pluggable memory is movable, and nothing else.
    pub movable_node: bool,
}

impl MovableRequest {
    /// Pages that stay with the kernel out of `total`; `None` when all of them do.
    fn kernel_pages(&self, total: u64) -> Option<u64> {
        let asked = self.kernelcore.map_or(0, |size| size.pages(total));
        let left = match self.movablecore.map_or(0, |size| size.pages(total)) {
            0 => 0,
            movable => total.saturating_sub(movable.next_multiple_of(u64::from(Order::LARGEST.pages()))),
        };
        Some(asked.max(left)).filter(|&pages| pages != 0 && pages < total)
    }
}

/// The first movable frame of each node, by [`NodeId::index`]; `None` for a node without a Movable zone.
pub type MovableStarts = [Option<Pfn>; NodeId::MAX_NODES];

/// Decides where each node's Movable zone begins.
///
/// `ranges`: memory, sorted. `usable`: the first frame of the highest zone of the machine. Linux:
/// `find_zone_movable_pfns_for_nodes`.
#[must_use]
pub fn starts<I>(ranges: I, request: &MovableRequest, usable: Pfn) -> MovableStarts
where
    I: Iterator<Item = MemoryRange> + Clone,
{
    let mut starts = if request.movable_node { hotplug_starts(ranges.clone()) } else { MovableStarts::default() };
    if !request.movable_node {
        let total = ranges.clone().map(|range| u64::from(range.frames.pages())).sum();
        if let Some(pages) = request.kernel_pages(total) {
            Spread { ranges: ranges.clone(), usable, starts: &mut starts }.all_nodes(pages);
        }
    }
    for node in NodeSet::ALL.iter() {
        let end = ranges.clone().filter(|range| range.node == node).map(|range| range.frames.end).max();
        let start = starts[node.index()].and_then(|pfn| pfn.raw().checked_next_multiple_of(Order::LARGEST.pages()));
        // Frame 0 stands for "none" in Linux: memory that begins there belongs to the kernel.
        starts[node.index()] = start.map(Pfn::new).filter(|&pfn| pfn.raw() != 0 && Some(pfn) < end);
    }
    starts
}

/// The lowest hot-pluggable frame of each node.
fn hotplug_starts(ranges: impl Iterator<Item = MemoryRange>) -> MovableStarts {
    let mut starts = MovableStarts::default();
    for range in ranges.filter(|range| range.hotplug) {
        let slot = &mut starts[range.node.index()];
        *slot = Some(slot.map_or(range.frames.start, |pfn| pfn.min(range.frames.start)));
    }
    starts
}

/// The kernel's share on its way over the nodes.
struct Spread<'a, I> {
    ranges: I,
    usable: Pfn,
    starts: &'a mut MovableStarts,
}

impl<I: Iterator<Item = MemoryRange> + Clone> Spread<'_, I> {
    /// Hands `pages` pages to the kernel, evenly, in as many rounds as the nodes' sizes ask for.
    fn all_nodes(&mut self, mut pages: u64) {
        let nodes: NodeSet = self.ranges.clone().map(|range| range.node).collect();
        for divisor in (1..=u64::from(nodes.len())).rev() {
            let mut share = pages / divisor;
            for node in nodes.iter() {
                if pages < share {
                    share = pages / divisor;
                }
                pages = pages.saturating_sub(self.one_node(node, share));
            }
            if pages < divisor {
                break;
            }
        }
    }

    /// Gives the kernel up to `share` movable-capable pages of `node` above what it has there, less what lies below
    /// `usable` and is the kernel's in any case. Returns the pages that now count for it.
    fn one_node(&mut self, node: NodeId, share: u64) -> u64 {
        let (mut left, mut given) = (share, 0);
        for range in self.ranges.clone().filter(|range| range.node == node) {
            let first = self.starts[node.index()].map_or(range.frames.start, |pfn| pfn.max(range.frames.start));
            if first >= range.frames.end {
                continue;
            }
            let below = u64::from(range.frames.end.min(self.usable).pages_since(first));
            left = left.saturating_sub(below);
            given += below;
            if range.frames.end <= self.usable {
                self.starts[node.index()] = Some(range.frames.end);
                continue;
            }
            let first = first.max(self.usable);
            let room = range.frames.end.pages_since(first);
            let taken = u32::try_from(left).map_or(room, |left| left.min(room));
            self.starts[node.index()] = first.checked_add(taken);
            given += u64::from(taken);
            left -= u64::from(taken);
            if left == 0 {
                break;
            }
        }
        given
    }
}
