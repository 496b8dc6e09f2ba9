//! Reservations from plain data: the boards of the reference, then every rule with a tree of its own.

mod ram;
mod rules;

use std::string::String;
use std::vec::Vec;

use mm::addr::{NodeId, PhysAddr, PhysRange, VirtAddr};
use mm::memblock::{Memblock, Region};
use mm::testing::{capture_log, with_log};

use super::banks::{MemOption, add_banks, apply_mem_options, cap_usable};
use super::*;
use crate::info::{MemoryBank, Reg};
use crate::lowmem::{self, DEFAULT_VMALLOC, LowmemConfig};

const MIB: u64 = 1 << 20;

fn addr(raw: u64) -> PhysAddr {
    PhysAddr::new(raw)
}

fn range(start: u64, end: u64) -> PhysRange {
    PhysRange::new(addr(start), addr(end))
}

/// The (start, size) pairs as a property with two cells each.
fn reg(pairs: &[(u64, u64)]) -> Reg<'static> {
    let bytes: Vec<u8> = pairs.iter().flat_map(|&(start, size)| [start, size]).flat_map(u64::to_be_bytes).collect();
    Reg::new(bytes.leak(), 2, 2).unwrap()
}

/// A static region that asks for nothing special.
fn fixed_node(name: &'static str, start: u64, size: u64) -> ReservedNode<'static> {
    ReservedNode {
        name,
        reg: reg(&[(start, size)]),
        size: None,
        alignment: 0,
        alloc_ranges: reg(&[]),
        no_map: false,
        reusable: false,
        cma_default: false,
        compatible: "",
    }
}

fn nomap_node(name: &'static str, start: u64, size: u64) -> ReservedNode<'static> {
    ReservedNode { no_map: true, ..fixed_node(name, start, size) }
}

fn pool_node(name: &'static str, start: u64, size: u64) -> ReservedNode<'static> {
    ReservedNode { reusable: true, compatible: "shared-dma-pool", ..fixed_node(name, start, size) }
}

/// A dynamic pool; not reusable and without alignment it is a plain region.
fn dynamic_node(name: &'static str, size: u64, alignment: u64) -> ReservedNode<'static> {
    ReservedNode { reg: reg(&[]), size: Some(size), alignment, ..pool_node(name, 0, 0) }
}

/// The AST2500's tree.
fn ast2500_nodes() -> Vec<ReservedNode<'static>> {
    vec![
        nomap_node("vga", 0x9f00_0000, 16 * MIB),
        nomap_node("coldfire", 0x9ef0_0000, MIB),
        nomap_node("flash", 0x9800_0000, 64 * MIB),
        dynamic_node("framebuffer", 16 * MIB, 0x100_0000),
        dynamic_node("jpegbuffer", 32 * MIB, 0x200_0000),
    ]
}

/// One machine: RAM at 0x8000_0000, places as in the reference's boots, our table at RAM base + 0x4000.
struct Machine {
    ram: Vec<(u64, u64)>,
    page_offset: u32,
    reserve_map: Vec<PhysRange>,
    nodes: Vec<ReservedNode<'static>>,
    fixed: FixedRanges,
    cma: Option<CmaOption>,
    default_cma_bytes: u64,
    needed_bytes: u64,
}

impl Machine {
    fn new(nodes: Vec<ReservedNode<'static>>) -> Self {
        Self {
            ram: vec![(0x8000_0000, 0xa000_0000)],
            page_offset: 0x8000_0000,
            reserve_map: Vec::new(),
            nodes,
            fixed: FixedRanges {
                image: range(0x8030_0000, 0x8160_7588),
                tables: range(0x8000_4000, 0x8000_8000),
                dtb: range(0x880d_8000, 0x880e_3634),
                initrd: Some(range(0x8800_0000, 0x880d_8000)),
            },
            cma: None,
            default_cma_bytes: DEFAULT_CMA_BYTES,
            needed_bytes: 4 * MIB,
        }
    }

    fn lowmem(&self) -> LowmemConfig {
        LowmemConfig {
            page_offset: VirtAddr::new(self.page_offset),
            phys_offset: addr(0x8000_0000),
            vmalloc_bytes: DEFAULT_VMALLOC,
            highmem: true,
            highmem_bytes: None,
            aliasing_cache: false,
            in_use: range(0x8000_4000, 0x8160_7588),
        }
    }

    /// What the boot comes to: lists, pools, lines.
    fn run(&self) -> Outcome {
        let memory = vec![Region::EMPTY; 128].leak();
        let reserved = vec![Region::EMPTY; 128].leak();
        let mut memblock = Memblock::new(memory, reserved);
        let mut regions = ReservedRegions::new();
        let banks = self.ram.iter().map(|&(start, end)| bank(start, end));
        add_banks(&mut memblock, banks, addr(0x8000_0000)).unwrap();
        let bounds = lowmem::adjust(&mut memblock, &self.lowmem()).unwrap();
        let config = ReserveConfig {
            fixed: self.fixed,
            cma: self.cma,
            default_cma_bytes: self.default_cma_bytes,
            dma_limit: PhysAddr::MAX,
            lowmem_limit: bounds.lowmem_limit,
            needed_bytes: self.needed_bytes,
        };
        let (result, log) = with_log(|| {
            let (map, nodes) = (self.reserve_map.iter().copied(), self.nodes.iter().copied());
            reserve_all(&mut memblock, &config, map, nodes, &mut regions)
        });
        memblock.validate().unwrap();
        Outcome { memblock, regions, result, log }
    }
}

struct Outcome {
    memblock: Memblock<'static>,
    regions: ReservedRegions<'static>,
    result: Result<Reservations, ReserveError>,
    log: Vec<String>,
}

impl Outcome {
    fn memory(&self) -> Vec<(u64, u64, bool)> {
        let read = |region: &Region| (region.range().start.raw(), region.range().end.raw(), region.is_nomap());
        self.memblock.memory().iter().map(read).collect()
    }

    /// The reserved list without what lies below 0x9000_0000: image, table, initrd and DTB.
    fn reserved_above(&self, start: u64) -> Vec<(u64, u64)> {
        let read = |region: &Region| (region.range().start.raw(), region.range().end.raw());
        self.memblock.reserved().iter().map(read).filter(|&(base, _)| base >= start).collect()
    }

    fn pools(&self) -> Vec<(&'static str, u64, u64, RegionKind)> {
        let read = |r: &ReservedRegion<'static>| (r.name, r.range.start.raw(), r.range.size(), r.kind);
        self.regions.iter().map(read).collect()
    }
}

fn bank(start: u64, end: u64) -> MemoryBank<'static> {
    MemoryBank { name: "memory", range: range(start, end), node: NodeId::ZERO, hotplug: false }
}

#[test]
fn the_ast2500_gets_its_pools_where_linux_puts_them() {
    let out = Machine::new(ast2500_nodes()).run();
    assert_eq!(
        out.log,
        [
            "Reserved memory: created CMA memory pool at 0x9d000000, size 16 MiB",
            "OF: reserved mem: initialized node framebuffer, compatible id shared-dma-pool",
            "Reserved memory: created CMA memory pool at 0x96000000, size 32 MiB",
            "OF: reserved mem: initialized node jpegbuffer, compatible id shared-dma-pool",
            "cma: Reserved 16 MiB at 0x9c000000",
        ]
    );
    let log = capture_log(|| out.memblock.dump());
    let linux = "\
MEMBLOCK configuration:
 memory size = 0x20000000 reserved size = 0x053eebbc
 memory.cnt  = 0x4
 memory[0x0]\t[0x80000000-0x97ffffff], 0x18000000 bytes flags: 0x0
 memory[0x1]\t[0x98000000-0x9bffffff], 0x04000000 bytes flags: 0x4
 memory[0x2]\t[0x9c000000-0x9eefffff], 0x02f00000 bytes flags: 0x0
 memory[0x3]\t[0x9ef00000-0x9fffffff], 0x01100000 bytes flags: 0x4
 reserved.cnt  = 0x5
 reserved[0x0]\t[0x80004000-0x80007fff], 0x00004000 bytes flags: 0x0
 reserved[0x1]\t[0x80300000-0x81607587], 0x01307588 bytes flags: 0x0
 reserved[0x2]\t[0x88000000-0x880e3633], 0x000e3634 bytes flags: 0x0
 reserved[0x3]\t[0x96000000-0x97ffffff], 0x02000000 bytes flags: 0x0
 reserved[0x4]\t[0x9c000000-0x9dffffff], 0x02000000 bytes flags: 0x0";
    assert_eq!(log, linux.lines().collect::<Vec<_>>());
    // cma-reserved of the `Memory:` line: 65536K.
    assert_eq!(out.regions.cma_areas().map(|area| area.range.size()).sum::<u64>(), 65_536 << 10);
    assert_eq!(out.result.unwrap().initrd, Some(range(0x8800_0000, 0x880d_8000)));
}

#[test]
fn the_ast2500_without_highmem_drops_its_end_after_the_reservations() {
    let machine = Machine::new(ast2500_nodes());
    let mut out = machine.run();
    let config = LowmemConfig { highmem: false, ..machine.lowmem() };
    let (bounds, log) = with_log(|| lowmem::adjust(&mut out.memblock, &config).unwrap());
    assert_eq!(log, ["Ignoring RAM at 0x9ee00000-0xa0000000", "Consider using a HIGHMEM enabled kernel."]);
    assert_eq!((bounds.lowmem_limit, bounds.memblock_limit), (addr(0x9ef0_0000), addr(0x9ee0_0000)));
    out.regions.drop_lost(&out.memblock);
    assert_eq!(out.regions.cma_areas().count(), 3);
}

#[test]
fn the_stock_tree_gets_a_dma_pool_outside_ram_and_its_cma_area_at_the_top() {
    let vram = ReservedNode { compatible: "shared-dma-pool", ..nomap_node("vram@18000000", 0x1800_0000, 8 * MIB) };
    let out = Machine::new(vec![vram]).run();
    assert_eq!(
        out.log,
        [
            "OF: reserved mem: node vram@18000000: reg [mem 0x18000000-0x187fffff] lies outside RAM",
            "Reserved memory: created DMA memory pool at 0x18000000, size 8 MiB",
            "OF: reserved mem: initialized node vram@18000000, compatible id shared-dma-pool",
            "cma: Reserved 16 MiB at 0x9f000000",
        ]
    );
    assert_eq!(out.memory(), [(0x8000_0000, 0xa000_0000, false)]);
    assert_eq!(out.reserved_above(0x9000_0000), [(0x9f00_0000, 0xa000_0000)]);
    assert_eq!(out.memblock.reserved_size(), 0x023e_e968 + (0x880e_3634 - 0x880e_33e0));
}

#[test]
fn two_gib_put_the_cma_area_in_highmem_and_lose_no_page() {
    let mut machine = Machine::new(Vec::new());
    machine.ram = vec![(0x8000_0000, 0x1_0000_0000)];
    let out = machine.run();
    // Linux loses the last page, and with it the topmost 8 MiB: 0xfe800000 there.
    assert_eq!(out.log, ["cma: Reserved 16 MiB at 0xff000000"]);
    assert_eq!(out.memory(), [(0x8000_0000, 0x1_0000_0000, false)]);
}
