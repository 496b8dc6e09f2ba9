//! What the boot sequence needs of the device tree, as plain data: nothing later looks at raw DTB bytes unchecked.
#![forbid(unsafe_code)]

use mm::addr::{NodeId, PAGE_SIZE, PhysAddr, PhysRange};

use crate::fdt::{Path, StrList};

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
        // Without this the default, whose numbers have no cells, would never end.
        if self.bytes.is_empty() {
            return None;
        }
        let start = PhysAddr::new(self.take(self.address_cells)?);
        let size = self.take(self.size_cells)?;
        Some(PhysRange::new(start, start.saturating_add(size)))
    }
}

/// One range of a `/memory` node.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct MemoryBank<'a> {
    /// Its node's name with the unit address.
    pub name: &'a str,
    /// Its bytes.
    pub range: PhysRange,
    /// `numa-node-id`; node 0 without one.
    pub node: NodeId,
    /// The node has `hotpluggable`.
    pub hotplug: bool,
}

/// What of a range of RAM the machine can use: whole pages below 4 GiB.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Clip {
    /// All of its whole pages.
    Whole(PhysRange),
    /// Its whole pages below 4 GiB; the rest is out of reach without LPAE.
    Below4G(PhysRange),
    /// Nothing: it has no whole page, or none below 4 GiB.
    Nothing,
}

impl Clip {
    /// Rounds `range` inwards to pages and cuts it at 4 GiB (Linux: `early_init_dt_add_memory_arch`).
    ///
    /// The last page below 4 GiB is kept.
    #[must_use]
    pub fn of(range: PhysRange) -> Self {
        let page = u64::from(PAGE_SIZE);
        let top = PhysAddr::new(1 << 32);
        let Some(start) = range.start.align_up(page) else { return Self::Nothing };
        let end = range.end.align_down(page);
        if start >= end.min(top) {
            Self::Nothing
        } else if end > top {
            Self::Below4G(PhysRange::new(start, top))
        } else {
            Self::Whole(PhysRange::new(start, end))
        }
    }
}

impl MemoryBank<'_> {
    /// The bank's whole pages below 4 GiB; `None` when there are none. See [`Clip::of`].
    #[must_use]
    pub fn clipped(self) -> Option<Self> {
        match Clip::of(self.range) {
            Clip::Whole(range) | Clip::Below4G(range) => Some(Self { range, ..self }),
            Clip::Nothing => None,
        }
    }
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
    /// The string of `compatible` by which the region is driven: `shared-dma-pool` when it is listed, else the first;
    /// empty when absent.
    pub compatible: &'a str,
}

/// What the device tree says besides memory. `BootInfo::parse` makes it.
#[derive(Clone, Copy, Debug)]
pub struct BootInfo<'a> {
    /// The board's name: `model`, else the first string of `compatible`.
    pub model: &'a str,
    /// The root's `compatible`.
    pub compatible: StrList<'a>,
    /// `/chosen/bootargs`.
    pub bootargs: &'a str,
    /// The initial RAM disk; never empty.
    pub initrd: Option<PhysRange>,
    /// Where to print.
    pub stdout: Option<Stdout<'a>>,
    /// `linux,usable-memory-range`; empty without one. Linux takes two ranges.
    pub usable_memory: Reg<'a>,
    /// One past the last byte that every device can reach; `None` when the tree sets no limit.
    pub dma_limit: Option<PhysAddr>,
    /// The processors.
    pub cpus: CpuList<'a>,
    /// The power firmware.
    pub psci: Option<Psci>,
    /// `/distance-map`.
    pub distances: Distances<'a>,
}

/// The device to print on.
#[derive(Clone, Copy, Debug)]
pub struct Stdout<'a> {
    /// The node's path.
    pub path: Path,
    /// What follows the colon of `stdout-path`, such as `115200n8`.
    pub options: &'a str,
    /// What it is, most specific first.
    pub compatible: StrList<'a>,
    /// Its registers as the CPU reaches them, from `reg-offset` on.
    pub reg: PhysRange,
    /// log2 of the bytes from one register to the next; 0 when absent.
    pub reg_shift: u32,
    /// Bytes an access; 1 when absent.
    pub reg_io_width: u32,
    /// `clock-frequency` in Hz.
    pub clock: Option<u32>,
}

/// One processor.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Cpu<'a> {
    /// Its affinity fields: MPIDR bits 23:0.
    pub mpidr: u32,
    /// How it is started, from its own node or else from `/cpus`; empty when neither says so.
    pub enable_method: &'a str,
    /// `cpu-release-addr`: the word that a spinning processor waits on.
    pub release: Option<PhysAddr>,
    /// `numa-node-id`; `None` without one, or when it is no node's.
    pub node: Option<NodeId>,
}

/// The processors of the tree, the first [`CpuList::MAX`] of them.
#[derive(Clone, Copy, Debug, Default)]
pub struct CpuList<'a> {
    cpus: [Cpu<'a>; CpuList::MAX],
    found: usize,
}

impl<'a> CpuList<'a> {
    /// How many are kept.
    pub const MAX: usize = 8;

    /// Appends one, while there is room.
    pub(crate) fn push(&mut self, cpu: Cpu<'a>) {
        if let Some(slot) = self.cpus.get_mut(self.found) {
            *slot = cpu;
        }
        self.found += 1;
    }

    /// How many the tree has, kept or not.
    #[must_use]
    pub const fn found(&self) -> usize {
        self.found
    }

    /// Those that are kept, in the tree's order.
    #[must_use]
    pub fn as_slice(&self) -> &[Cpu<'a>] {
        self.cpus.get(..self.found).unwrap_or(&self.cpus)
    }
}

/// How the firmware is called.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Conduit {
    /// By `hvc`.
    Hvc,
    /// By `smc`.
    Smc,
}

/// The Power State Coordination Interface of the machine (Arm DEN 0022), by function numbers.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Psci {
    /// How it is called.
    pub conduit: Conduit,
    /// Version 0.2 or later: the numbers are the specification's, and `PSCI_VERSION` can be asked.
    pub standard: bool,
    /// Number of `CPU_SUSPEND`.
    pub cpu_suspend: Option<u32>,
    /// Number of `CPU_OFF`.
    pub cpu_off: Option<u32>,
    /// Number of `CPU_ON`.
    pub cpu_on: Option<u32>,
    /// Number of `SYSTEM_OFF`.
    pub system_off: Option<u32>,
    /// Number of `SYSTEM_RESET`.
    pub system_reset: Option<u32>,
}

/// One entry of the distance map.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Distance {
    /// A node's number, as the tree has it.
    pub from: u32,
    /// The other's.
    pub to: u32,
    /// How far: 10 is local.
    pub distance: u32,
}

/// The entries of `distance-matrix`, in order.
#[derive(Clone, Copy, Debug, Default)]
pub struct Distances<'a>(pub(crate) &'a [u8]);

impl<'a> Distances<'a> {
    /// The triples of cells in `matrix`; what does not fill one is left out.
    pub(crate) const fn new(matrix: &'a [u8]) -> Self {
        Self(matrix)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn range(start: u64, end: u64) -> PhysRange {
        PhysRange::new(PhysAddr::new(start), PhysAddr::new(end))
    }

    #[test]
    fn pairs_end_with_the_bytes_and_a_default_has_none() {
        assert_eq!(Reg::default().count(), 0);
        let bytes = [0, 0, 0, 1, 0, 0, 0, 2, 0, 0, 0, 3, 0, 0];
        assert_eq!(Reg::new(&bytes, 1, 1).unwrap().collect::<Vec<_>>(), [range(1, 3)]);
        assert_eq!(Reg::new(&[0xff; 16], 2, 2).unwrap().next(), Some(range(u64::MAX, u64::MAX)));
        assert!(Reg::new(&bytes, 0, 1).is_none() && Reg::new(&bytes, 1, 3).is_none());
    }

    #[test]
    fn a_bank_is_cut_to_whole_pages_below_4_gib() {
        assert_eq!(Clip::of(range(0x8000_0000, 1 << 32)), Clip::Whole(range(0x8000_0000, 1 << 32)));
        assert_eq!(Clip::of(range(0x8000_0800, 0x9000_0800)), Clip::Whole(range(0x8000_1000, 0x9000_0000)));
        assert_eq!(Clip::of(range(0x8000_0000, u64::MAX)), Clip::Below4G(range(0x8000_0000, 1 << 32)));
        assert_eq!(Clip::of(range(1 << 32, 2 << 32)), Clip::Nothing);
        assert_eq!(Clip::of(range(0x8000_0001, 0x8000_1fff)), Clip::Nothing);
        assert_eq!(Clip::of(range(u64::MAX - 1, u64::MAX)), Clip::Nothing);
        assert_eq!(Clip::of(range(0, 0)), Clip::Nothing);
    }
}
