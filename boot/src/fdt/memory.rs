//! Memory: banks, the reserve map, and `/reserved-memory`, as plain values in the tree's order.
//!
//! Theory.      A bank is a range of an enabled child of the root whose `device_type` is `memory`; its name says
//!              nothing (`memory-controller@...` is none). `linux,usable-memory` stands in for `reg` where a crashed
//!              kernel left a part for its successor. A reserved node is a child of `/reserved-memory` that has a
//!              `reg` (static) or else a `size` (dynamic).
//! Invariants.  The iterators are silent and can be run again; what they leave out is told by `report`.
//! Not here.    Rounding to pages and cutting at 4 GiB are in [`MemoryBank::clipped`]; overlaps are `reserve`'s.
//! Source.      Devicetree Specification 3.4, 3.5; Linux `early_init_dt_scan_memory`, `fdt_scan_reserved_mem`.
#![forbid(unsafe_code)]

use mm::addr::{NodeId, PhysRange};

use super::Landmark;
use super::ValidFdt;
use super::cells::number;
use super::error::{Fault, FdtError};
use super::tree::Children;
use super::tree::{Node, StrList, until_nul};
use crate::info::{MemoryBank, Reg, ReservedNode};

/// Why a child of `/reserved-memory` is left out.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum BadNode {
    /// The length of `reg` is no multiple of a pair's.
    Reg,
    /// `size` is 0, or its length is not that of the root's size cells.
    Size,
    /// `alignment` is no power of two, or its length is not that of the root's address cells.
    Alignment,
    /// The length of `alloc-ranges` is no multiple of a pair's.
    AllocRanges,
}

impl<'a> ValidFdt<'a> {
    /// The enabled memory nodes.
    pub(super) fn memory_nodes(&self) -> impl Iterator<Item = Node<'a>> + use<'a> {
        let is_memory = |node: &Node<'a>| node.property("device_type").map(until_nul) == Some(b"memory".as_slice());
        // From the first one that the validator noted to the last one, not over the whole root.
        let Landmark { first, count } = self.landmarks.memory;
        let children = first.map(|at| Children { tree: self.tree, at });
        children.into_iter().flatten().filter(is_memory).take(count as usize).filter(Node::is_enabled)
    }

    /// The pairs in `bytes` by the root's cells.
    pub(super) fn reg(&self, bytes: &'a [u8]) -> Reg<'a> {
        Reg::new(bytes, self.address_cells, self.size_cells).unwrap_or_default()
    }

    /// Bytes of one pair by the root's cells.
    pub(super) const fn pair_bytes(&self) -> usize {
        (self.address_cells as usize + self.size_cells as usize) * 4
    }

    /// Every range of RAM that is not empty: those of all enabled memory nodes, in the tree's order.
    ///
    /// Byte-exact; see [`MemoryBank::clipped`]. Linux: `early_init_dt_scan_memory`.
    pub fn memory_banks(&self) -> impl Iterator<Item = MemoryBank<'a>> + use<'a> {
        let fdt = *self;
        self.memory_nodes().flat_map(move |node| {
            let numa = node.cell("numa-node-id").and_then(NodeId::new).unwrap_or_default();
            let hotplug = node.property("hotpluggable").is_some();
            let ranges = memory_ranges(&node).map_or_else(Reg::default, |(_, bytes)| fdt.reg(bytes));
            let ranges = ranges.filter(|range| !range.is_empty());
            ranges.map(move |range| MemoryBank { name: node.name(), range, node: numa, hotplug })
        })
    }

    /// Refuses a tree without RAM.
    ///
    /// # Errors
    /// No memory node is enabled and has a range with a whole page below 4 GiB.
    pub fn require_memory(&self) -> Result<(), FdtError> {
        if self.memory_banks().any(|bank| bank.clipped().is_some()) {
            return Ok(());
        }
        let mut error = FdtError::at(Fault::NoMemory, 0);
        match self.memory_nodes().next() {
            Some(node) => {
                error.path.push(b"/");
                error.path.push(node.name().as_bytes());
                error.property.push(b"reg");
            }
            None => {
                error.path.push(b"/memory");
                error.property.push(b"device_type = \"memory\"");
            }
        }
        Err(error)
    }

    /// The memory-reserve map, in order.
    pub fn reserve_map(&self) -> impl Iterator<Item = PhysRange> + use<'a> {
        Reg::new(self.reserve_map, 2, 2).unwrap_or_default()
    }

    /// `/reserved-memory`, when its cells are the root's and it has a `ranges`: else Linux drops it whole, and so it is
    /// dropped here.
    pub(super) fn reserved_root(&self) -> Option<Node<'a>> {
        self.node(self.landmarks.reserved_memory).filter(|node| {
            node.cell("#address-cells") == Some(self.address_cells)
                && node.cell("#size-cells") == Some(self.size_cells)
                && node.property("ranges").is_some()
        })
    }

    /// The enabled children of `/reserved-memory` that make sense, in the tree's order.
    ///
    /// Linux: `fdt_scan_reserved_mem`.
    pub fn reserved_memory(&self) -> impl Iterator<Item = ReservedNode<'a>> + Clone + use<'a> {
        let fdt = *self;
        let children = self.reserved_root().map(|node| node.children());
        let enabled = children.into_iter().flatten().filter(Node::is_enabled);
        enabled.filter_map(move |node| fdt.reserved_node(&node).ok().flatten())
    }

    /// Reads one child of `/reserved-memory`; `Ok(None)` when it asks for no memory.
    pub(super) fn reserved_node(&self, node: &Node<'a>) -> Result<Option<ReservedNode<'a>>, BadNode> {
        let reg = node.property("reg");
        let size = node.property("size");
        if reg.is_none() && size.is_none() {
            return Ok(None);
        }
        let mut reserved = ReservedNode {
            name: node.name(),
            reg: Reg::default(),
            size: None,
            alignment: 0,
            alloc_ranges: Reg::default(),
            no_map: node.property("no-map").is_some(),
            reusable: node.property("reusable").is_some(),
            cma_default: node.property("linux,cma-default").is_some(),
            compatible: driver(node),
        };
        if let Some(reg) = reg {
            reserved.reg = self.pairs(reg).ok_or(BadNode::Reg)?;
        } else if let Some(size) = size {
            let size = exact(size, self.size_cells).filter(|&size| size > 0);
            reserved.size = Some(size.ok_or(BadNode::Size)?);
            if let Some(alignment) = node.property("alignment") {
                let alignment = exact(alignment, self.address_cells);
                let alignment = alignment.filter(|&bytes| bytes == 0 || bytes.is_power_of_two());
                reserved.alignment = alignment.ok_or(BadNode::Alignment)?;
            }
            if let Some(ranges) = node.property("alloc-ranges") {
                reserved.alloc_ranges = self.pairs(ranges).ok_or(BadNode::AllocRanges)?;
            }
        }
        Ok(Some(reserved))
    }

    /// The pairs in `bytes`, when they fill it.
    fn pairs(&self, bytes: &'a [u8]) -> Option<Reg<'a>> {
        bytes.len().is_multiple_of(self.pair_bytes()).then(|| self.reg(bytes))
    }

    /// `linux,usable-memory-range`: what a crash kernel may use of RAM; empty without one. Linux takes two ranges.
    #[must_use]
    pub fn usable_memory(&self) -> Reg<'a> {
        self.chosen_value("linux,usable-memory-range").and_then(|ranges| self.pairs(ranges)).unwrap_or_default()
    }
}

/// The property of a memory node that has its ranges, and its value.
pub(super) fn memory_ranges<'a>(node: &Node<'a>) -> Option<(&'static str, &'a [u8])> {
    ["linux,usable-memory", "reg"].into_iter().find_map(|name| Some((name, node.property(name)?)))
}

/// A number that must fill exactly `cells` cells.
fn exact(bytes: &[u8], cells: u32) -> Option<u64> {
    (bytes.len() == cells as usize * 4).then(|| number(bytes)).flatten()
}

/// The string of `compatible` by which the region is driven: `shared-dma-pool` when it is listed, else the first.
fn driver<'a>(node: &Node<'a>) -> &'a str {
    let list = StrList(node.property("compatible").unwrap_or_default());
    let mut all = list;
    all.find(|&name| name == "shared-dma-pool").or_else(|| { list }.next()).unwrap_or_default()
}
