//! The views of memory, read by those who read Linux's: the `procfs` crate, and for what it does not know a reader that
//! takes lines apart as monitoring agents do. A machine of two nodes boots on the host and shows them.
#![expect(clippy::unwrap_used, clippy::panic, reason = "a line that cannot be read ends a test here")]

use std::collections::BTreeMap;

use boot::testing::tree::{Bank, Tree};
use boot::testing::{Board, Run};
use mm::addr::{NodeId, PhysAddr, PhysRange};
use mm::gfp::GfpFlags;
use mm::order::Order;
use mm::page_alloc::{DefaultCore, PageAllocator};
use mm::report::{MemInfo, MemUsers, NodeMemInfo, VmStat, ZoneInfo};
use mm::testing::HostIrq;
use procfs_core::{FromRead, Meminfo};

type Zones = PageAllocator<'static, HostIrq, DefaultCore<'static>>;

/// What the views of one machine say, after some pages were taken: the nodes' own, and other nodes'.
struct Views {
    vmstat: procfs_core::VmStat,
    meminfo: Meminfo,
    zoneinfo: Vec<Zone>,
    nodes: Vec<BTreeMap<String, u64>>,
    /// Pages that were taken.
    taken: u64,
}

/// A zone of `zoneinfo`: its node, its type, its numbers by name, those of CPUs summed up.
struct Zone {
    node: u32,
    kind: String,
    values: BTreeMap<String, u64>,
}

/// Reads `zoneinfo`: a header a zone, then a name and a number a line.
fn read_zoneinfo(text: &str) -> Vec<Zone> {
    let mut zones: Vec<Zone> = Vec::new();
    for line in text.lines() {
        if let Some((node, kind)) = line.strip_prefix("Node ").and_then(|line| line.split_once(", zone")) {
            zones.push(Zone { node: node.parse().unwrap(), kind: kind.trim().into(), values: BTreeMap::new() });
            continue;
        }
        let line = line.trim().trim_start_matches("pages ");
        let Some((name, value)) = line.rsplit_once(' ') else {
            assert_eq!(line, "pagesets");
            continue;
        };
        if name.starts_with("protection: (") {
            let inside = line.trim_start_matches("protection: (").trim_end_matches(')');
            let values: Vec<u32> = inside.split(", ").map(|value| value.parse().unwrap()).collect();
            assert_eq!(values.len(), 4);
            continue;
        }
        let values = &mut zones.last_mut().unwrap().values;
        let number: u64 = value.parse().unwrap_or_else(|_| panic!("{line:?}"));
        *values.entry(name.trim().trim_end_matches(':').into()).or_default() += number;
    }
    zones
}

/// Reads a node's `meminfo`: `Node 0 MemTotal:       1 kB`, in bytes.
fn read_node(text: &str, node: u32) -> BTreeMap<String, u64> {
    let entry = |line: &str| {
        let words: Vec<_> = line.split_whitespace().collect();
        let [start, id, name, value, unit] = words[..] else { panic!("{line:?}") };
        assert_eq!((start, id, unit), ("Node", node.to_string().as_str(), "kB"));
        (name.trim_end_matches(':').to_owned(), value.parse::<u64>().unwrap() * 1024)
    };
    text.lines().map(entry).collect()
}

fn take(zones: &Zones, node: u32, count: u32) {
    let node = NodeId::new(node).unwrap();
    (0..count).for_each(|_| _ = zones.alloc_pages_node(node, GfpFlags::GFP_KERNEL, Order::ZERO).unwrap());
}

fn views_of(run: &Run) -> Views {
    let zones = run.outcome.as_ref().unwrap().mm.allocator();
    let before: u64 = zones.zones().iter().map(|zone| u64::from(zone.traffic().allocated)).sum();
    take(zones, 0, 100);
    take(zones, 1, 20);
    let pair = zones.alloc_pages(GfpFlags::GFP_KERNEL, Order::new(1).unwrap()).unwrap();
    zones.free_pages(pair, Order::new(1).unwrap()).unwrap();
    let users = MemUsers { slab: 40, vmalloc_total: 1 << 20, ..MemUsers::default() };
    let vmstat = VmStat { zones, more: &[("pgfault", 5)] }.to_string();
    Views {
        vmstat: procfs_core::VmStat::from_read(vmstat.as_bytes()).unwrap(),
        meminfo: Meminfo::from_read(MemInfo(zones, users).to_string().as_bytes()).unwrap(),
        zoneinfo: read_zoneinfo(&ZoneInfo(zones).to_string()),
        nodes: [0, 1].map(|node| read_node(&NodeMemInfo(zones, NodeId::new(node).unwrap()).to_string(), node)).into(),
        taken: before + 122,
    }
}

/// 64 MiB and 128 MiB, the CPU in node 0.
fn views() -> Views {
    let bank = |start: u64, mib: u64, node| Bank { reg: (start, mib << 20), node: Some(node), hotplug: false };
    let banks = vec![bank(0x8000_0000, 64, 0), bank(0x8400_0000, 128, 1)];
    let tree = Tree { banks, cpus: 1, cpu_nodes: vec![0], ..Tree::default() };
    let ram = [PhysRange::new(PhysAddr::new(0x8000_0000), PhysAddr::new(0x8c00_0000))];
    let run = Board::new(&ram, &tree.blob()).boot().unwrap();
    let views = views_of(&run);
    // SAFETY: the views hold numbers and strings of their own.
    unsafe { run.reclaim() }
    views
}

#[test]
fn vmstat_and_meminfo_are_read_by_the_procfs_crate_and_agree() {
    let Views { vmstat, meminfo, taken, .. } = views();
    let value = |name: &str| u64::try_from(vmstat.0[name]).unwrap();
    assert_eq!(value("pgalloc_normal"), taken);
    assert_eq!([value("pgfree"), value("pgfault"), value("numa_miss")], [2, 5, 0]);
    // Of the 120 pages 20 were for another node than the CPU's.
    assert_eq!([value("numa_hit"), value("numa_other"), value("numa_local")], [taken, 20, taken - 20]);
    assert_eq!(value("nr_free_cma") * 4096, meminfo.cma_free.unwrap());
    assert!(value("nr_free_pages") * 4096 <= meminfo.mem_free);
    assert_eq!((meminfo.slab, meminfo.vmalloc_total, meminfo.cached), (40 << 10, 1 << 30, 0));
    let available = meminfo.mem_available.unwrap();
    assert!(available > 0 && available < meminfo.mem_free && meminfo.mem_free < meminfo.mem_total);
    assert_eq!(meminfo.low_total.unwrap() + meminfo.high_total.unwrap(), meminfo.mem_total);
}

#[test]
fn zoneinfo_and_the_nodes_meminfo_add_up_to_vmstat_and_meminfo() {
    let Views { vmstat, meminfo, zoneinfo, nodes, .. } = views();
    let sum = |name: &str| zoneinfo.iter().filter_map(|zone| zone.values.get(name)).sum::<u64>();
    assert_eq!(zoneinfo.len(), 8);
    let kinds: Vec<_> = zoneinfo.iter().take(4).map(|zone| (zone.node, zone.kind.as_str())).collect();
    assert_eq!(kinds, [(0, "DMA"), (0, "Normal"), (0, "HighMem"), (0, "Movable")]);
    assert_eq!(sum("managed") * 4096, meminfo.mem_total);
    assert_eq!((sum("free") + sum("count")) * 4096, meminfo.mem_free);
    assert_eq!(sum("present") * 4096, 192 << 20);
    for name in ["nr_free_pages", "nr_free_cma", "numa_hit", "numa_miss", "numa_foreign", "numa_local", "numa_other"] {
        assert_eq!(sum(name), u64::try_from(vmstat.0[name]).unwrap(), "{name}");
    }
    assert_eq!(zoneinfo[5].values["numa_other"], 20);
    for (zone, name) in zoneinfo.iter().zip(["high", "batch", "vm stats threshold", "start_pfn"].iter().cycle()) {
        assert!(zone.kind != "Normal" || zone.values.contains_key(*name), "{name}");
    }
    let of_nodes = |name: &str| nodes.iter().map(|node| node[name]).sum::<u64>();
    assert_eq!((of_nodes("MemTotal"), of_nodes("MemFree")), (meminfo.mem_total, meminfo.mem_free));
    assert_eq!(nodes[1]["MemUsed"], 20 * 4096);
}
