//! A node's numbers: those of its zones together.
#![forbid(unsafe_code)]

use crate::addr::{NodeId, PfnRange};
use crate::buddy::FreeCore;
use crate::page_alloc::{PageAllocator, Zone, ZoneStats};
use crate::sync::CurrentCpu;
use crate::zone::{NodeSet, ZoneType};

/// A node's numbers at one moment, in pages (Linux: `pg_data_t`, `si_meminfo_node`).
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct NodeStats {
    /// First frame to one past the last, holes and other nodes' frames included (Linux: `node_spanned_pages`).
    pub span: PfnRange,
    /// Frames that exist (Linux: `node_present_pages`).
    pub present: u32,
    /// Frames that the allocator was given.
    pub managed: u32,
    /// The part of `managed` outside the linear mapping.
    pub managed_high: u32,
    /// In free lists and pagesets.
    pub free: u32,
    /// The part of `free` outside the linear mapping.
    pub free_high: u32,
    /// The part of `managed` in contiguous-memory areas.
    pub cma: u32,
    /// The part of `cma` that is in the free lists.
    pub free_cma: u32,
}

impl NodeStats {
    /// These numbers with a zone's added.
    fn with(self, zone: &ZoneStats) -> Self {
        let span = match (self.span.is_empty(), zone.span.is_empty()) {
            (true, _) => zone.span,
            (_, true) => self.span,
            _ => PfnRange::new(self.span.start.min(zone.span.start), self.span.end.max(zone.span.end)),
        };
        let free = zone.counts.free + zone.pageset;
        let high = |pages: u32| if zone.zone.zone == ZoneType::HighMem { pages } else { 0 };
        Self {
            span,
            present: self.present + zone.present,
            managed: self.managed + zone.managed,
            managed_high: self.managed_high + high(zone.managed),
            free: self.free + free,
            free_high: self.free_high + high(free),
            cma: self.cma + zone.cma,
            free_cma: self.free_cma + zone.counts.cma,
        }
    }
}

impl<'m, M: CurrentCpu, C: FreeCore<'m>> PageAllocator<'m, M, C> {
    /// The node of the CPU that booted: whose zonelist serves requests that name none (Linux: `numa_node_id`).
    #[must_use]
    pub fn local_node(&self) -> NodeId {
        self.local
    }

    /// The nodes that have a zonelist, with memory or without (Linux: `node_online_map`).
    #[must_use]
    pub fn nodes(&self) -> NodeSet {
        let online = |node: &NodeId| !self.zonelists[node.index()].refs().is_empty();
        NodeSet::ALL.iter().filter(online).collect()
    }

    /// The numbers of those nodes of `nodes` that there are, together.
    #[must_use]
    pub fn node_stats(&self, nodes: NodeSet) -> NodeStats {
        let ours = self.zones().iter().filter(|zone| nodes.contains(zone.name().node)).map(Zone::stats);
        ours.fold(NodeStats::default(), |sum, zone| sum.with(&zone))
    }
}
