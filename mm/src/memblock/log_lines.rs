//! What memblock says: the lines of `memblock=debug` and the picture of both lists, in Linux's words.
//!
//! Where Linux names the caller by symbol and offset (`%pS`), ours names its file and line.
#![forbid(unsafe_code)]

use core::panic::Location;

use super::{AllocRequest, List, Memblock, RegionFlags};
use crate::addr::{NodeId, PhysAddr, PhysRange};

impl Memblock<'_> {
    /// Logs both lists (Linux: `memblock_dump_all`). The node is named on machines that have several.
    pub fn dump(&self) {
        log::info!("MEMBLOCK configuration:");
        log::info!(" memory size = {:#010x} reserved size = {:#010x}", self.phys_mem_size(), self.reserved_size());
        let several_nodes = self.memory().iter().any(|region| region.node() != NodeId::ZERO);
        for (list, named) in [(List::Memory, several_nodes), (List::Reserved, false)] {
            let regions = self.list(list).regions();
            log::info!(" {list}.cnt  = {:#x}", regions.len());
            for (index, region) in regions.iter().enumerate() {
                let (start, last, size) = (region.range().start, last_byte(region.range()), region.range().size());
                let flags = region.flags().bits();
                if named {
                    let node = region.node().raw();
                    log::info!(
                        " {list}[{index:#x}]\t[{start}-{last}], {size:#010x} bytes on node {node} flags: {flags:#x}"
                    );
                } else {
                    log::info!(" {list}[{index:#x}]\t[{start}-{last}], {size:#010x} bytes flags: {flags:#x}");
                }
            }
        }
    }

    #[track_caller]
    pub(super) fn say_range(&self, what: &str, range: PhysRange) {
        if self.debug() {
            log::info!("{what}: [{}-{}] {}", range.start, last_byte(range), Location::caller());
        }
    }

    #[track_caller]
    pub(super) fn say_add_node(&self, range: PhysRange, node: NodeId, flags: RegionFlags) {
        if self.debug() {
            let (node, flags, who) = (node.raw(), flags.bits(), Location::caller());
            log::info!("memblock_add_node: [{}-{}] nid={node} flags={flags:x} {who}", range.start, last_byte(range));
        }
    }

    #[track_caller]
    pub(super) fn say_alloc(&self, what: &str, request: &AllocRequest) {
        if self.debug() {
            let AllocRequest { size, align, min, max, .. } = request;
            let (node, who) = (request.node.map_or(-1, |node| i64::from(node.raw())), Location::caller());
            log::info!("{what}: {size} bytes align={align:#x} nid={node} from={min} max_addr={max} {who}");
        }
    }

    #[track_caller]
    pub(super) fn say_alloc_phys(&self, request: &AllocRequest) {
        if self.debug() {
            let AllocRequest { size, align, min, max, .. } = request;
            let who = Location::caller();
            log::info!("memblock_phys_alloc_range: {size} bytes align={align:#x} from={min} max_addr={max} {who}");
        }
    }

    pub(super) fn say_doubled(&self, list: List, entries: usize, place: PhysRange) {
        if self.debug() {
            let (start, last) = (place.start, last_byte(place));
            log::info!("memblock_double_array: {list} is doubled to {entries} at [{start}-{last}]");
        }
    }
}

/// The range's last byte, as logs write it.
fn last_byte(range: PhysRange) -> PhysAddr {
    PhysAddr::new(range.end.raw().wrapping_sub(1))
}
