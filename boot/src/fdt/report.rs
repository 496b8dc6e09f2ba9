//! What was left out of a well-formed tree, told once on the console.
//!
//! Theory.      The readers of memory and of `/chosen` are silent and may run several times; this walks the same nodes
//!              once and names each skip by node, property and value. Wording is Linux's where Linux has the line.
#![forbid(unsafe_code)]

use mm::addr::NodeId;

use super::ValidFdt;
use super::cells::number;
use super::memory::{BadNode, memory_ranges};
use super::tree::Node;
use crate::info::Clip;

impl ValidFdt<'_> {
    /// Logs, one line each, every node or value that the readers of memory and of `/chosen` leave out of this tree.
    /// To be called once. (`BootInfo::parse` tells of the console, processors and firmware itself.)
    pub fn report(&self) {
        self.report_duplicates();
        self.report_chosen();
        for node in self.memory_nodes() {
            self.report_memory(&node);
        }
        self.report_reserved();
    }

    fn report_duplicates(&self) {
        let landmarks = &self.landmarks;
        let named = [
            ("chosen", landmarks.chosen),
            ("aliases", landmarks.aliases),
            ("reserved-memory", landmarks.reserved_memory),
            ("cpus", landmarks.cpus),
            ("distance-map", landmarks.distance_map),
        ];
        for (name, landmark) in named {
            if landmark.count > 1 {
                log::warn!("OF: fdt: {} nodes /{name}: only the first one counts", landmark.count);
            }
        }
    }

    fn report_memory(&self, node: &Node<'_>) {
        let name = node.name();
        if let Some(id) = node.property("numa-node-id") {
            match <[u8; 4]>::try_from(id).map(u32::from_be_bytes) {
                Err(_) => log::warn!("OF: fdt: /{name}: numa-node-id of {} bytes, not 4: node 0 instead", id.len()),
                Ok(id) if NodeId::new(id).is_none() => {
                    log::warn!("NUMA: Node id {id} exceeds maximum value (/{name} numa-node-id): node 0 instead");
                }
                Ok(_) => {}
            }
        }
        let Some((property, bytes)) = memory_ranges(node) else {
            log::warn!("OF: fdt: /{name}: no reg, ignoring");
            return;
        };
        let pair = self.pair_bytes();
        if !bytes.len().is_multiple_of(pair) {
            let left = bytes.len() % pair;
            log::warn!("OF: fdt: /{name}: {property} of {} bytes, ignoring the last {left}", bytes.len());
        }
        if bytes.len() < pair {
            log::warn!("OF: fdt: /{name}: {property} has no range, ignoring");
        }
        for range in self.reg(bytes) {
            let (start, end) = (range.start.raw(), range.end.raw());
            match Clip::of(range) {
                Clip::Whole(_) => {}
                Clip::Below4G(_) => {
                    let top = 1_u64 << 32;
                    log::warn!(
                        "OF: fdt: Ignoring memory range {top:#x} - {end:#x} (/{name} {property} from {start:#x})"
                    );
                }
                Clip::Nothing => {
                    log::warn!("OF: fdt: Ignoring memory block {start:#x} - {end:#x} (/{name} {property})");
                }
            }
        }
    }

    fn report_reserved(&self) {
        let Some(node) = self.node(self.landmarks.reserved_memory) else { return };
        if self.reserved_root().is_none() {
            let wanted = [("#address-cells", self.address_cells), ("#size-cells", self.size_cells)];
            let (name, root) =
                wanted.into_iter().find(|&(name, cells)| node.cell(name) != Some(cells)).unwrap_or(("ranges", 0));
            match (name, node.cell(name)) {
                ("ranges", _) => log::error!(
                    "OF: fdt: Reserved memory: unsupported node format, ignoring (/reserved-memory: no ranges)"
                ),
                (_, Some(cells)) => log::error!(
                    "OF: fdt: Reserved memory: unsupported node format, ignoring (/reserved-memory: {name} {cells}, \
                     root {root})"
                ),
                (_, None) => log::error!(
                    "OF: fdt: Reserved memory: unsupported node format, ignoring (/reserved-memory: no {name}, root \
                     {root})"
                ),
            }
            return;
        }
        for child in node.children().filter(Node::is_enabled) {
            if let Err(bad) = self.reserved_node(&child) {
                report_bad_node(&child, bad);
            }
        }
    }
}

fn report_bad_node(node: &Node<'_>, bad: BadNode) {
    let name = node.name();
    let value = |property| Value(node.property(property).unwrap_or_default());
    match bad {
        BadNode::Reg => {
            log::error!("OF: fdt: Reserved memory: invalid reg property in '{name}', skipping node. ({})", value("reg"))
        }
        BadNode::Size => {
            log::error!("OF: reserved mem: invalid size property in '{name}' node. ({})", value("size"));
        }
        BadNode::Alignment => {
            log::error!("OF: reserved mem: invalid alignment property in '{name}' node. ({})", value("alignment"));
        }
        BadNode::AllocRanges => log::error!(
            "OF: reserved mem: invalid alloc-ranges property in '{name}', skipping node. ({})",
            value("alloc-ranges")
        ),
    }
}

/// A value that should have been cells: its length, and the number when it is one.
pub(super) struct Value<'a>(pub(super) &'a [u8]);

impl core::fmt::Display for Value<'_> {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        match number(self.0) {
            Some(number) => write!(f, "{} bytes: {number:#x}", self.0.len()),
            None => write!(f, "{} bytes", self.0.len()),
        }
    }
}

#[cfg(test)]
mod tests {
    use mm::testing::capture_log;

    use super::super::builder::Builder;
    use super::super::validate;
    use crate::info::BootInfo;

    fn report(tree: &mut Builder) -> Vec<String> {
        let blob = tree.finish();
        let fdt = validate(&blob).unwrap();
        let silent = capture_log(|| {
            let _ = (fdt.memory_banks().count(), fdt.reserved_memory().count(), fdt.reserve_map().count());
        });
        assert!(silent.is_empty(), "the iterators are silent");
        capture_log(|| fdt.report())
    }

    #[test]
    fn a_tree_in_order_is_passed_over_in_silence() {
        let mut tree = Builder::with_root(1, 1);
        tree.begin("memory").text("device_type", "memory").cells("reg", &[0x8000_0000, 0x2000_0000]).end();
        tree.begin("reserved-memory").cells("#address-cells", &[1]).cells("#size-cells", &[1]).prop("ranges", &[]);
        tree.begin("vga").cells("reg", &[0x9f00_0000, 0x100_0000]).end().end();
        assert!(report(&mut tree).is_empty());
    }

    #[test]
    fn what_is_left_out_of_memory_is_told_in_one_line_each() {
        let mut tree = Builder::with_root(2, 2);
        let mut memory = |name: &str, reg: &[u32]| {
            tree.begin(name).text("device_type", "memory").cells("numa-node-id", &[4]).cells("reg", reg).end();
        };
        memory("memory@1", &[0, 0x8000_0000, 1, 0, 8]);
        memory("memory@2", &[1, 0, 0, 0x1000, 0, 0x8000_0000, 0, 0xfff]);
        memory("memory@3", &[0]);
        tree.begin("memory@4").text("device_type", "memory").prop("numa-node-id", &[1]).end();
        tree.begin("chosen").end().begin("chosen").end();
        let numa = |node| format!("NUMA: Node id 4 exceeds maximum value (/{node} numa-node-id): node 0 instead");
        assert_eq!(
            report(&mut tree),
            [
                "OF: fdt: 2 nodes /chosen: only the first one counts",
                &numa("memory@1"),
                "OF: fdt: /memory@1: reg of 20 bytes, ignoring the last 4",
                "OF: fdt: Ignoring memory range 0x100000000 - 0x180000000 (/memory@1 reg from 0x80000000)",
                &numa("memory@2"),
                "OF: fdt: Ignoring memory block 0x100000000 - 0x100001000 (/memory@2 reg)",
                "OF: fdt: Ignoring memory block 0x80000000 - 0x80000fff (/memory@2 reg)",
                &numa("memory@3"),
                "OF: fdt: /memory@3: reg of 4 bytes, ignoring the last 4",
                "OF: fdt: /memory@3: reg has no range, ignoring",
                "OF: fdt: /memory@4: numa-node-id of 1 bytes, not 4: node 0 instead",
                "OF: fdt: /memory@4: no reg, ignoring",
            ]
        );
    }

    #[test]
    fn reserved_nodes_that_make_no_sense_are_told_in_linux_words() {
        let mut tree = Builder::with_root(1, 1);
        tree.begin("reserved-memory").cells("#address-cells", &[1]).cells("#size-cells", &[1]).prop("ranges", &[]);
        tree.begin("a").cells("reg", &[1, 2, 3]).end();
        tree.begin("b").cells("size", &[0]).end();
        tree.begin("c").cells("size", &[1]).cells("alignment", &[0x3000]).end();
        tree.begin("d").cells("size", &[1]).prop("alloc-ranges", &[1]).end().end();
        assert_eq!(
            report(&mut tree),
            [
                "OF: fdt: Reserved memory: invalid reg property in 'a', skipping node. (12 bytes)",
                "OF: reserved mem: invalid size property in 'b' node. (4 bytes: 0x0)",
                "OF: reserved mem: invalid alignment property in 'c' node. (4 bytes: 0x3000)",
                "OF: reserved mem: invalid alloc-ranges property in 'd', skipping node. (1 bytes)",
            ]
        );
    }

    #[test]
    fn reserved_memory_of_other_cells_is_told_once_with_the_property() {
        let line = |spoil: fn(&mut Builder)| {
            let mut tree = Builder::with_root(1, 1);
            tree.begin("reserved-memory");
            spoil(&mut tree);
            report(tree.end()).join("\n")
        };
        let says =
            |why| format!("OF: fdt: Reserved memory: unsupported node format, ignoring (/reserved-memory: {why})");
        assert_eq!(line(|tree| _ = tree.cells("#address-cells", &[2])), says("#address-cells 2, root 1"));
        assert_eq!(line(|tree| _ = tree.cells("#address-cells", &[1])), says("no #size-cells, root 1"));
        assert_eq!(line(|tree| _ = tree.cells("#address-cells", &[1]).cells("#size-cells", &[1])), says("no ranges"));
    }

    #[test]
    fn faults_of_chosen_and_cpus_are_told_with_name_and_value() {
        let mut tree = Builder::with_root(1, 1);
        tree.begin("chosen").text("stdout-path", "serial9:115200").prop("bootargs", b"ok \xff");
        tree.cells("linux,initrd-start", &[9]).cells("linux,initrd-end", &[8]);
        tree.cells("linux,usable-memory-range", &[1]).end();
        tree.begin("cpus").begin("cpu@1").end().begin("cpu@2").cells("reg", &[1 << 24]).end().end();
        tree.begin("psci").text("compatible", "arm,psci").text("method", "call").end();
        let blob = tree.finish();
        let fdt = validate(&blob).unwrap();
        assert_eq!(
            capture_log(|| fdt.report()),
            [
                "OF: fdt: /chosen: bootargs is not UTF-8 at byte 3, ignoring the rest",
                "OF: fdt: /chosen: linux,initrd-start (4 bytes: 0x9) to linux,initrd-end (4 bytes: 0x8) is no range, \
                 ignoring",
                "OF: fdt: /chosen: linux,usable-memory-range of 4 bytes, ignoring",
            ]
        );
        assert_eq!(
            capture_log(|| _ = BootInfo::parse(&fdt)),
            [
                "OF: fdt: /chosen: stdout-path \"serial9:115200\" leads to no device, ignoring",
                "OF: fdt: /cpus/cpu@1: no reg, ignoring",
                "OF: fdt: /cpus/cpu@2: reg 0x1000000 is no MPIDR, ignoring",
                "psci: /psci: method \"call\" is neither hvc nor smc, ignoring",
            ]
        );
    }
}
