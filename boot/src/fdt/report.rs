//! What was left out of a well-formed tree, told once on the console.
//!
//! Theory.      The iterators of `memory` are silent and may run several times; this walks the same nodes once and
//!              names each skip by node, property and value. Wording is Linux's where Linux has the line.
#![forbid(unsafe_code)]

use mm::addr::NodeId;

use super::ValidFdt;
use super::cells::number;
use super::memory::{BadNode, memory_ranges};
use super::tree::Node;
use crate::info::Clip;

impl ValidFdt<'_> {
    /// Logs, one line each, every node or value that memory management leaves out of this tree.
    pub fn report(&self) {
        self.report_duplicates();
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
struct Value<'a>(&'a [u8]);

impl core::fmt::Display for Value<'_> {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        match number(self.0) {
            Some(number) => write!(f, "{} bytes: {number:#x}", self.0.len()),
            None => write!(f, "{} bytes", self.0.len()),
        }
    }
}
