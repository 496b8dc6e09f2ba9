//! Numbers in cells, and addresses carried from bus to bus.
//!
//! Theory.      A node's address counts on its parent's bus. The parent's `ranges` (or `dma-ranges`, for what a device
//!              sees of memory) carries it to the grandparent's bus, and so on up to the root, which is the CPU's. So a
//!              node alone is not enough: a [`Trail`] keeps its ancestors.
//! Invariants.  Cells of more than 2 (PCI's 3) have no 64-bit value: such an address is told apart as `None`.
//!              Where `#address-cells` or `#size-cells` is missing the nearest ancestor's counts, else 1 (Linux:
//!              `of_bus_n_addr_cells`).
//! Source.      Devicetree Specification 2.3.5-2.3.9; Linux drivers/of/address.c for what an absent property means.
#![forbid(unsafe_code)]

use mm::addr::{PhysAddr, PhysRange};

use super::error::Fault;
use super::tree::{MAX_DEPTH, Node, Tree};
use super::{Path, ValidFdt};

/// The value of one or two cells.
pub(super) fn number(bytes: &[u8]) -> Option<u64> {
    match bytes.len() {
        4 => bytes.try_into().ok().map(u32::from_be_bytes).map(u64::from),
        8 => bytes.try_into().ok().map(u64::from_be_bytes),
        _ => None,
    }
}

/// Takes `cells` cells off the front of `bytes`; the value is that of the last two.
pub(super) fn take(bytes: &mut &[u8], cells: u32) -> Option<u64> {
    let mut value = 0_u64;
    for _ in 0..cells {
        let (cell, rest) = bytes.split_first_chunk::<4>()?;
        value = (value << 32) | u64::from(u32::from_be_bytes(*cell));
        *bytes = rest;
    }
    Some(value)
}

/// `#address-cells` or `#size-cells` of the root; 1 without it, as Linux has it on ARM.
pub(super) fn root_cells(root: &Node<'_>, name: &str) -> Result<u32, (Fault, usize)> {
    let mut properties = root.properties();
    loop {
        let at = properties.at;
        let Some(property) = properties.next() else { return Ok(1) };
        if !property.is(name) {
            continue;
        }
        let Ok(bytes) = property.value.try_into() else {
            let length = u32::try_from(property.value.len()).unwrap_or(u32::MAX);
            return Err((Fault::CellsLength(length), at));
        };
        return match u32::from_be_bytes(bytes) {
            cells @ (1 | 2) => Ok(cells),
            cells => Err((Fault::Cells(cells), at)),
        };
    }
}

/// Which property carries addresses upwards.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Towards {
    /// `ranges`: where the CPU finds a device. Without it the bus cannot be reached.
    Cpu,
    /// `dma-ranges`: where a device finds memory. Without it, one to one.
    Memory,
}

/// A node with its ancestors, the root first.
#[derive(Clone, Copy)]
pub(super) struct Trail<'a> {
    tree: Tree<'a>,
    nodes: [u32; MAX_DEPTH],
    len: usize,
}

impl<'a> Trail<'a> {
    pub(super) const fn new(tree: Tree<'a>) -> Self {
        Self { tree, nodes: [0; MAX_DEPTH], len: 0 }
    }

    pub(super) fn push(&mut self, node: usize) {
        if let (Some(slot), Ok(node)) = (self.nodes.get_mut(self.len), u32::try_from(node)) {
            *slot = node;
            self.len += 1;
        }
    }

    /// Goes down a relative path; `false` when there is no such node.
    pub(super) fn descend(&mut self, path: &str) -> bool {
        for name in path.split('/').filter(|name| !name.is_empty()) {
            let Some(child) = self.last().and_then(|node| node.child(name)) else { return false };
            self.push(child.at);
        }
        true
    }

    pub(super) fn pop(&mut self) {
        self.len = self.len.saturating_sub(1);
    }

    fn node(&self, level: usize) -> Option<Node<'a>> {
        let at = *self.nodes.get(..self.len)?.get(level)?;
        Some(Node { tree: self.tree, at: at as usize })
    }

    /// The node at the trail's end.
    pub(super) fn last(&self) -> Option<Node<'a>> {
        self.node(self.len.checked_sub(1)?)
    }

    /// The node's path.
    pub(super) fn path(&self) -> Path {
        let mut path = Path::EMPTY;
        for level in 0..self.len {
            if level != 1 {
                path.push(b"/");
            }
            path.push(self.node(level).map_or("", |node| node.name()).as_bytes());
        }
        path
    }

    /// Whether the trail ends at the root.
    pub(super) const fn is_root(&self) -> bool {
        self.len == 1
    }

    /// `#address-cells` or `#size-cells` that count for the children of the node at `level`.
    fn cells(&self, level: usize, name: &str) -> u32 {
        (0..=level).rev().find_map(|level| self.node(level)?.cell(name)).unwrap_or(1)
    }

    /// Carries an address on the bus of the node at `level` to the root's.
    fn translate(&self, mut address: u64, level: usize, towards: Towards) -> Option<u64> {
        for bus in (1..=level).rev() {
            address = self.across(address, bus, towards)?;
        }
        Some(address)
    }

    /// Carries an address on the bus of the node at `level` (not the root) to its parent's bus.
    fn across(&self, address: u64, level: usize, towards: Towards) -> Option<u64> {
        let name = if towards == Towards::Cpu { "ranges" } else { "dma-ranges" };
        let mut ranges = match self.node(level)?.property(name) {
            None if towards == Towards::Cpu => return None,
            None | Some([]) => return Some(address),
            Some(ranges) => ranges,
        };
        let (child, size) = (self.cells(level, "#address-cells"), self.cells(level, "#size-cells"));
        let parent = self.cells(level.checked_sub(1)?, "#address-cells");
        if !matches!((child, parent, size), (1 | 2, 1 | 2, 1 | 2)) {
            return None;
        }
        loop {
            let from = take(&mut ranges, child)?;
            let to = take(&mut ranges, parent)?;
            let size = take(&mut ranges, size)?;
            if address >= from && address - from < size {
                return to.checked_add(address - from);
            }
        }
    }

    /// The first range of `reg` as the CPU reaches it.
    pub(super) fn first_reg(&self) -> Option<PhysRange> {
        let parent = self.len.checked_sub(2)?;
        let (address, size) = (self.cells(parent, "#address-cells"), self.cells(parent, "#size-cells"));
        if !matches!((address, size), (1 | 2, 1 | 2)) {
            return None;
        }
        let mut reg = self.last()?.property("reg")?;
        let start = take(&mut reg, address)?;
        let size = take(&mut reg, size)?;
        let start = self.translate(start, parent, Towards::Cpu)?;
        PhysRange::sized(PhysAddr::new(start), size)
    }

    /// One past the highest address that the last node's `dma-ranges` reaches; `None` without any range.
    pub(super) fn dma_end(&self, mut ranges: &[u8]) -> Option<u64> {
        let level = self.len.checked_sub(1)?;
        let (child, size_cells) = (self.cells(level, "#address-cells"), self.cells(level, "#size-cells"));
        let parent = self.cells(level.saturating_sub(1), "#address-cells");
        if !matches!((child, parent, size_cells), (1..=4, 1 | 2, 1 | 2)) {
            return None;
        }
        let mut end = None;
        while take(&mut ranges, child).is_some() {
            let (Some(to), Some(size)) = (take(&mut ranges, parent), take(&mut ranges, size_cells)) else { break };
            if let Some(to) = self.translate(to, level.saturating_sub(1), Towards::Memory) {
                end = end.max(Some(to.saturating_add(size)));
            }
        }
        end
    }
}

impl<'a> ValidFdt<'a> {
    /// The node at an absolute path, with its ancestors.
    pub(super) fn trail(&self, path: &str) -> Option<Trail<'a>> {
        let mut trail = Trail::new(self.tree);
        trail.push(self.root().at);
        trail.descend(path.strip_prefix('/')?).then_some(trail)
    }
}
