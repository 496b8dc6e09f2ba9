//! Device trees in a few words: banks, reservations, `/chosen`.
#![forbid(unsafe_code)]

use crate::fdt::builder::{Blob, Builder};

/// A start and a size in bytes.
pub type Pair = (u64, u64);

/// A `/memory` node of one range.
#[derive(Clone, Debug, Default)]
pub struct Bank {
    /// `reg`.
    pub reg: Pair,
    /// `numa-node-id`.
    pub node: Option<u32>,
    /// `hotpluggable`.
    pub hotplug: bool,
}

/// A child of `/reserved-memory`.
#[derive(Clone, Debug, Default)]
pub struct Reserved {
    /// Its name.
    pub name: String,
    /// `reg`.
    pub reg: Vec<Pair>,
    /// `size`.
    pub size: Option<u64>,
    /// `alignment`.
    pub alignment: Option<u64>,
    /// `alloc-ranges`.
    pub alloc_ranges: Vec<Pair>,
    /// `no-map`.
    pub no_map: bool,
    /// `reusable`.
    pub reusable: bool,
    /// `linux,cma-default`.
    pub cma_default: bool,
    /// `compatible = "shared-dma-pool"`.
    pub pool: bool,
}

/// A whole tree.
#[derive(Clone, Debug, Default)]
pub struct Tree {
    /// `/memory` nodes.
    pub banks: Vec<Bank>,
    /// Entries of the memory-reserve map.
    pub reserve_map: Vec<Pair>,
    /// Children of `/reserved-memory`.
    pub reserved: Vec<Reserved>,
    /// `bootargs`.
    pub bootargs: String,
    /// `linux,initrd-start` and `linux,initrd-end`.
    pub initrd: Option<Pair>,
    /// `linux,usable-memory-range`.
    pub usable: Vec<Pair>,
    /// `dma-ranges` of a bus that reaches so many bytes from the start of RAM.
    pub dma: Option<Pair>,
    /// Processors.
    pub cpus: u32,
    /// `numa-node-id` of the first processors.
    pub cpu_nodes: Vec<u32>,
    /// The distance between nodes 0 and 1.
    pub distance: Option<u32>,
    /// Further entries of the distance map: from, to, distance.
    pub distances: Vec<[u32; 3]>,
}

impl Tree {
    /// A tree with these banks and one processor.
    #[must_use]
    pub fn of(banks: &[Pair]) -> Self {
        let banks = banks.iter().map(|reg| Bank { reg: *reg, ..Bank::default() }).collect();
        Self { banks, cpus: 1, ..Self::default() }
    }

    /// The AST2500 board's memory, as its tree in the repository has it.
    #[must_use]
    pub fn ast2500() -> Self {
        let no_map =
            |name: &str, reg| Reserved { name: name.into(), reg: vec![reg], no_map: true, ..Reserved::default() };
        let pool = |name: &str, size| Reserved {
            name: name.into(),
            size: Some(size),
            alignment: Some(size),
            reusable: true,
            pool: true,
            ..Reserved::default()
        };
        let reserved = vec![
            no_map("vga@9f000000", (0x9f00_0000, 0x100_0000)),
            no_map("coldfire@9ef00000", (0x9ef0_0000, 0x10_0000)),
            no_map("flash@98000000", (0x9800_0000, 0x400_0000)),
            pool("framebuffer", 0x100_0000),
            pool("jpegbuffer", 0x200_0000),
        ];
        Self { reserved, cpus: 4, ..Self::of(&[(0x8000_0000, 0x2000_0000)]) }
    }

    /// The same with these boot arguments.
    #[must_use]
    pub fn with_bootargs(mut self, bootargs: &str) -> Self {
        self.bootargs = bootargs.into();
        self
    }

    /// Cells that every number of the tree fits.
    fn cells(&self) -> u32 {
        let reserved = self.reserved.iter().flat_map(|node| {
            let sizes = node.size.into_iter().chain(node.alignment).map(|size| (size, 0));
            node.reg.iter().chain(&node.alloc_ranges).copied().chain(sizes).collect::<Vec<_>>()
        });
        let pairs =
            self.banks.iter().map(|bank| bank.reg).chain(self.usable.iter().copied()).chain(self.dma).chain(reserved);
        let wide = |(start, size): Pair| start > u64::from(u32::MAX) || size > u64::from(u32::MAX);
        if pairs.into_iter().any(wide) { 2 } else { 1 }
    }

    /// The blob.
    #[must_use]
    pub fn blob(&self) -> Blob {
        let cells = self.cells();
        let bytes = |values: &[u64]| -> Vec<u8> {
            let skip = if cells == 1 { 4 } else { 0 };
            values.iter().flat_map(|value| value.to_be_bytes().into_iter().skip(skip)).collect()
        };
        let pairs = |pairs: &[Pair]| bytes(&pairs.iter().flat_map(|pair| [pair.0, pair.1]).collect::<Vec<_>>());
        let mut tree = Builder::with_root(cells, cells);
        for (start, size) in &self.reserve_map {
            tree.reserve(*start, *size);
        }
        tree.text("model", "A machine on the host").text("compatible", "quire,host");
        tree.begin("chosen").text("bootargs", &self.bootargs);
        if let Some((start, end)) = self.initrd {
            tree.prop("linux,initrd-start", &start.to_be_bytes()).prop("linux,initrd-end", &end.to_be_bytes());
        }
        if !self.usable.is_empty() {
            tree.prop("linux,usable-memory-range", &pairs(&self.usable));
        }
        tree.end().begin("cpus").cells("#address-cells", &[1]).cells("#size-cells", &[0]);
        for id in 0..self.cpus {
            tree.begin(&format!("cpu@{id}")).text("device_type", "cpu").cells("reg", &[id]);
            if let Some(node) = self.cpu_nodes.get(id as usize) {
                tree.cells("numa-node-id", &[*node]);
            }
            tree.end();
        }
        tree.end();
        for bank in &self.banks {
            tree.begin(&format!("memory@{:x}", bank.reg.0)).text("device_type", "memory");
            tree.prop("reg", &pairs(&[bank.reg]));
            if let Some(node) = bank.node {
                tree.cells("numa-node-id", &[node]);
            }
            if bank.hotplug {
                tree.prop("hotpluggable", &[]);
            }
            tree.end();
        }
        tree.begin("reserved-memory")
            .cells("#address-cells", &[cells])
            .cells("#size-cells", &[cells])
            .prop("ranges", &[]);
        for node in &self.reserved {
            tree.begin(&node.name);
            if !node.reg.is_empty() {
                tree.prop("reg", &pairs(&node.reg));
            }
            for (name, value) in [("size", node.size), ("alignment", node.alignment)] {
                if let Some(value) = value {
                    tree.prop(name, &bytes(&[value]));
                }
            }
            if !node.alloc_ranges.is_empty() {
                tree.prop("alloc-ranges", &pairs(&node.alloc_ranges));
            }
            let flags = [("no-map", node.no_map), ("reusable", node.reusable), ("linux,cma-default", node.cma_default)];
            for (name, _) in flags.into_iter().filter(|(_, set)| *set) {
                tree.prop(name, &[]);
            }
            if node.pool {
                tree.text("compatible", "shared-dma-pool");
            }
            tree.end();
        }
        tree.end();
        if let Some((start, size)) = self.dma {
            tree.begin("soc").cells("#address-cells", &[cells]).cells("#size-cells", &[cells]).prop("ranges", &[]);
            tree.prop("dma-ranges", &bytes(&[start, start, size])).end();
        }
        let pair = |distance: &u32| [[0, 0, 10], [0, 1, *distance], [1, 0, *distance], [1, 1, 10]];
        let matrix: Vec<u32> =
            self.distance.iter().flat_map(pair).chain(self.distances.iter().copied()).flatten().collect();
        if !matrix.is_empty() {
            tree.begin("distance-map")
                .text("compatible", "numa-distance-map-v1")
                .cells("distance-matrix", &matrix)
                .end();
        }
        tree.finish()
    }
}
