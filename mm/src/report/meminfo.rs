//! The machine's memory in one page of text, and a node's.

use core::fmt;

use crate::addr::NodeId;
use crate::buddy::FreeCore;
use crate::page_alloc::{NodeStats, PageAllocator};
use crate::report::kib;
use crate::sync::CurrentCpu;
use crate::zone::NodeSet;

/// What others than the page allocator know of memory, in KiB.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct MemUsers {
    /// In kmem caches.
    pub slab: u64,
    /// The part of it that could be freed.
    pub slab_reclaimable: u64,
    /// Addresses of the vmalloc area.
    pub vmalloc_total: u64,
    /// Mapped there.
    pub vmalloc_used: u64,
    /// The largest free run of addresses there.
    pub vmalloc_chunk: u64,
}

/// `/proc/meminfo`. Of what this machine does not have (files, swap, user pages) there are 0 KiB.
#[derive(Debug)]
pub struct MemInfo<'a, 'm, M: CurrentCpu, C>(pub &'a PageAllocator<'m, M, C>, pub MemUsers);

/// Kinds of memory that nobody has on this machine, and that tools ask for nevertheless.
const WITHOUT: [&str; 6] = ["Buffers:", "Cached:", "SwapCached:", "Active:", "Inactive:", "Unevictable:"];
const WITHOUT_BACKING: [&str; 7] =
    ["SwapTotal:", "SwapFree:", "Dirty:", "Writeback:", "AnonPages:", "Mapped:", "Shmem:"];

fn line(f: &mut fmt::Formatter<'_>, name: &str, kib: u64) -> fmt::Result {
    writeln!(f, "{name:<16}{kib:>8} kB")
}

impl<'m, M: CurrentCpu, C: FreeCore<'m>> fmt::Display for MemInfo<'_, 'm, M, C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self(zones, users) = self;
        let all = zones.node_stats(NodeSet::ALL);
        line(f, "MemTotal:", kib(all.managed))?;
        line(f, "MemFree:", kib(all.free))?;
        line(f, "MemAvailable:", available(zones, users))?;
        WITHOUT.iter().try_for_each(|name| line(f, name, 0))?;
        for (name, pages) in low_and_high(&all) {
            line(f, name, kib(pages))?;
        }
        WITHOUT_BACKING.iter().try_for_each(|name| line(f, name, 0))?;
        line(f, "Slab:", users.slab)?;
        line(f, "SReclaimable:", users.slab_reclaimable)?;
        line(f, "SUnreclaim:", users.slab.saturating_sub(users.slab_reclaimable))?;
        line(f, "Committed_AS:", 0)?;
        line(f, "VmallocTotal:", users.vmalloc_total)?;
        line(f, "VmallocUsed:", users.vmalloc_used)?;
        line(f, "VmallocChunk:", users.vmalloc_chunk)?;
        line(f, "CmaTotal:", kib(all.cma))?;
        line(f, "CmaFree:", kib(all.free_cma))
    }
}

/// `/sys/devices/system/node/nodeN/meminfo` of a node.
#[derive(Debug)]
pub struct NodeMemInfo<'a, 'm, M: CurrentCpu, C>(pub &'a PageAllocator<'m, M, C>, pub NodeId);

impl<'m, M: CurrentCpu, C: FreeCore<'m>> fmt::Display for NodeMemInfo<'_, 'm, M, C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self(zones, node) = self;
        let stats = zones.node_stats(NodeSet::of(*node));
        let own = [
            ("MemTotal:", stats.managed),
            ("MemFree:", stats.free),
            ("MemUsed:", stats.managed.saturating_sub(stats.free)),
        ];
        for (name, pages) in own.into_iter().chain(low_and_high(&stats)) {
            writeln!(f, "Node {} {name:<16}{:>8} kB", node.raw(), kib(pages))?;
        }
        Ok(())
    }
}

fn low_and_high(stats: &NodeStats) -> [(&'static str, u32); 4] {
    [
        ("HighTotal:", stats.managed_high),
        ("HighFree:", stats.free_high),
        ("LowTotal:", stats.managed.saturating_sub(stats.managed_high)),
        ("LowFree:", stats.free.saturating_sub(stats.free_high)),
    ]
}

/// KiB that could be allocated without hurting anybody: what is free above the watermarks and reserves, and half of
/// what caches would give back (Linux: `si_mem_available`).
fn available<'m, M: CurrentCpu, C: FreeCore<'m>>(zones: &PageAllocator<'m, M, C>, users: &MemUsers) -> u64 {
    let (mut free, mut kept, mut low) = (0_u64, 0_u64, 0_u64);
    for zone in zones.zones() {
        let stats = zone.stats();
        let reserve = stats.marks.lowmem_reserve.into_iter().max().unwrap_or(0);
        let most = u64::from(reserve) + u64::from(stats.marks.high);
        free += u64::from(stats.counts.free);
        kept += most.min(u64::from(stats.managed));
        low += u64::from(stats.marks.low);
    }
    let caches = users.slab_reclaimable;
    (free.saturating_sub(kept) * 4).saturating_add(caches.saturating_sub((caches / 2).min(low * 4)))
}
