//! Nodes: whose memory is whose, and who helps out when one is full. On a machine of one node nobody has to.

use mm::addr::{NodeId, Pfn};
use mm::gfp::GfpFlags;
use mm::order::Order;
use mm::page_alloc::{AllocError, NumaStats};
use mm::zone::NodeSet;

use super::pages::{free_pages, link, next};
use super::{Failed, Verdict};
use crate::system::{System, Zones};
use crate::{check, selftest};

selftest!(a_full_node_is_helped_out_by_the_nearest_and_misses_are_counted);
selftest!(every_frame_belongs_to_the_node_that_the_tree_names);

fn every_frame_belongs_to_the_node_that_the_tree_names(system: &System) -> Verdict {
    let zones = system.booted.mm.allocator();
    let memory = system.booted.mm.frozen().memory();
    let mut frames = [0_u32; NodeId::MAX_NODES];
    for region in memory {
        let range = region.range().whole_frames();
        frames[region.node().index()] += range.pages();
        let node_of = |pfn| zones.map().page(pfn).map(|page| page.zone().node());
        for pfn in [Some(range.start), range.end.checked_sub(1)].into_iter().flatten() {
            check!(node_of(pfn) == Some(region.node()), "{pfn} is of {:?}, not of {:?}", node_of(pfn), region.node());
        }
    }
    for node in NodeSet::ALL.iter() {
        let stats = zones.node_stats(NodeSet::of(node));
        let told = frames[node.index()];
        check!(stats.present == told, "node {}: {} pages present of {told}", node.raw(), stats.present);
        check!(stats.managed <= told && stats.free <= stats.managed, "node {}: {stats:?}", node.raw());
    }
    Ok(())
}

/// What a node's zones have counted.
fn counted(zones: &Zones, node: NodeId) -> NumaStats {
    let ours = zones.zones().iter().map(|zone| zone.name()).filter(|zone| zone.node == node);
    ours.filter_map(|zone| zones.numa_stats(zone)).fold(NumaStats::default(), |sum, zone| NumaStats {
        hit: sum.hit.wrapping_add(zone.hit),
        miss: sum.miss.wrapping_add(zone.miss),
        foreign: sum.foreign.wrapping_add(zone.foreign),
        local: sum.local.wrapping_add(zone.local),
        other: sum.other.wrapping_add(zone.other),
    })
}

/// Requests that wait for nobody: what they find is what is there.
const NOW: GfpFlags = GfpFlags::GFP_ATOMIC.union(GfpFlags::NOWARN);
const HERE: GfpFlags = NOW.union(GfpFlags::THISNODE);

/// Takes what the local node has for requests that go nowhere else, chained page to page.
fn fill_local(zones: &Zones) -> Result<(Option<Pfn>, u32), Failed> {
    let (mut last, mut taken) = (None, 0);
    loop {
        match zones.alloc_page(HERE) {
            Ok(page) => {
                link(page, last)?;
                (last, taken) = (Some(page), taken + 1);
            }
            Err(AllocError::NoMemory { .. } | AllocError::NoZone { .. }) => return Ok((last, taken)),
            Err(error) => {
                log::error!("selftest: {error}");
                return Err(Failed);
            }
        }
    }
}

fn a_full_node_is_helped_out_by_the_nearest_and_misses_are_counted(system: &System) -> Verdict {
    let zones = system.booted.mm.allocator();
    let local = zones.local_node();
    let with_memory = zones.nodes().iter().filter(|node| zones.node_stats(NodeSet::of(*node)).managed > 0);
    if with_memory.clone().all(|node| node == local) {
        let NumaStats { miss, foreign, other, hit, local: own } = counted(zones, local);
        check!((miss, foreign, other) == (0, 0, 0) && hit == own, "{miss} {foreign} {other}, {hit} and {own}");
        return Ok(());
    }
    let free_before = free_pages(system);
    let before = counted(zones, local);
    let (last, taken) = fill_local(zones)?;
    let full = counted(zones, local);
    check!(full.hit.wrapping_sub(before.hit) == taken, "{taken} pages were hits, {full:?} were counted");
    check!((full.miss, full.foreign) == (before.miss, before.foreign), "{before:?}, then {full:?}");

    let far = zones.alloc_page(NOW).map_err(|_| Failed)?;
    let helper = zones.map().page(far).ok_or(Failed)?.zone().node();
    check!(helper != local, "{far} is of the node that is full");
    let (had, has) = (full, counted(zones, local));
    let state = if taken > 0 { "is full" } else { "has no memory" };
    log::info!("node {} {state}: node {} helps out", local.raw(), helper.raw());
    let helped = counted(zones, helper);
    let missed = u32::from(taken > 0);
    check!(has.foreign.wrapping_sub(had.foreign) == missed, "{had:?}, then {has:?}");
    check!(helped.miss >= missed && helped.other > 0, "{helped:?}");

    check!(zones.free_pages(far, Order::ZERO).is_ok(), "free of {far}");
    let mut page = last;
    while let Some(pfn) = page {
        page = next(pfn)?;
        check!(zones.free_pages(pfn, Order::ZERO).is_ok(), "free of {pfn}");
    }
    check!(free_pages(system) == free_before, "{free_before} pages were free, now {}", free_pages(system));
    check!(system.validate(), "an invariant is broken");
    Ok(())
}
