//! What the boot sequence needs of the device tree, as plain data: nothing later looks at raw DTB bytes unchecked.
#![forbid(unsafe_code)]

use mm::addr::{NodeId, PhysAddr, PhysRange};

/// The (address, size) pairs of a `reg`-like property, decoded by its parent's cells.
///
/// Each cell is a big-endian `u32`; addresses and sizes have 1 or 2 of them. Bytes that do not fill a pair are left
/// out (the validator has told of them). An end that passes 2^64 is cut there.
#[derive(Clone, Copy, Debug, Default)]
pub struct Reg<'a> {
    bytes: &'a [u8],
    address_cells: u8,
    size_cells: u8,
}

impl<'a> Reg<'a> {
    /// The pairs in `bytes`; `None` unless both cell counts are 1 or 2.
    #[must_use]
    pub const fn new(bytes: &'a [u8], address_cells: u32, size_cells: u32) -> Option<Self> {
        match (address_cells, size_cells) {
            (1 | 2, 1 | 2) => {
                #[expect(clippy::cast_possible_truncation, reason = "matched 1 or 2 above")]
                let (address_cells, size_cells) = (address_cells as u8, size_cells as u8);
                Some(Self { bytes, address_cells, size_cells })
            }
            _ => None,
        }
    }

    /// Takes one big-endian number of `cells` cells off the front.
    fn take(&mut self, cells: u8) -> Option<u64> {
        let mut value = 0;
        for _ in 0..cells {
            let (cell, rest) = self.bytes.split_first_chunk::<4>()?;
            value = (value << 32) | u64::from(u32::from_be_bytes(*cell));
            self.bytes = rest;
        }
        Some(value)
    }
}

impl Iterator for Reg<'_> {
    type Item = PhysRange;

    fn next(&mut self) -> Option<PhysRange> {
        let start = PhysAddr::new(self.take(self.address_cells)?);
        let size = self.take(self.size_cells)?;
        Some(PhysRange::new(start, start.saturating_add(size)))
    }
}

/// One range of a `/memory` node.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct MemoryBank {
    /// Its bytes.
    pub range: PhysRange,
    /// `numa-node-id`; node 0 without one.
    pub node: NodeId,
    /// The node has `hotpluggable`.
    pub hotplug: bool,
}

/// One child of `/reserved-memory` (Devicetree Specification 3.5).
#[derive(Clone, Copy, Debug)]
pub struct ReservedNode<'a> {
    /// Node name with its unit address.
    pub name: &'a str,
    /// `reg`: static regions. Empty when the node asks for a dynamic one.
    pub reg: Reg<'a>,
    /// `size` in bytes: a dynamic region.
    pub size: Option<u64>,
    /// `alignment` in bytes; 0 when absent.
    pub alignment: u64,
    /// `alloc-ranges`, in order; empty when anywhere will do.
    pub alloc_ranges: Reg<'a>,
    /// `no-map`: never in the linear mapping.
    pub no_map: bool,
    /// `reusable`: lent to movable allocations.
    pub reusable: bool,
    /// `linux,cma-default`.
    pub cma_default: bool,
    /// The first string of `compatible`; empty when absent.
    pub compatible: &'a str,
}
