//! Hits and misses: what is counted when a request leaves its node.

use std::vec::Vec;

use super::nodes::{Allocator, HIGH, KERNEL, fill, machine, node, normal, plans};
use super::services::{Shelf, leak};
use crate::buddy::model::order;
use crate::gfp::GfpFlags;
use crate::order::Order;
use crate::page_alloc::tests::build::{allocator_of, give_pagesets, list_of};
use crate::page_alloc::{
    Compactor, NumaStats, Options, Pages, PagesetSize, Policies, Services, Shortage, ZoneReclaim, ZoneReclaimed,
};
use crate::sync::{CpuId, set_host_cpu};
use crate::vmstat::{CpuCounters, VmEvent};
use crate::zone::{NodeSet, ZoneRef};

fn numa(machine: &Allocator, zone: ZoneRef) -> [u32; 5] {
    let NumaStats { hit, miss, foreign, local, other } = machine.numa_stats(zone).unwrap();
    [hit, miss, foreign, local, other]
}

#[test]
fn hits_are_known_without_counting_and_misses_are_counted_on_both_sides() {
    let mut machine = machine(Policies::default());
    give_pagesets(&mut machine, normal(0), 1, PagesetSize { high: 42, batch: 7 });
    machine.install_counters(leak([CpuCounters::new()]));
    let all = fill(&machine, NodeSet::of(node(0)));
    assert_eq!(all.len(), 3 * 1024);
    assert_eq!(numa(&machine, HIGH), [1024, 0, 0, 1024, 0]);
    assert_eq!(numa(&machine, normal(0)), [2048, 0, 0, 2048, 0]);
    // Node 0 is empty: 10 pages and a block of 16 come from node 1.
    let mut far: Vec<_> = (0..10).map(|_| machine.alloc_page(KERNEL).unwrap()).collect();
    machine.alloc_pages(KERNEL, order(4)).unwrap();
    assert_eq!(numa(&machine, normal(0)), [2048, 0, 26, 2048, 0]);
    assert_eq!(numa(&machine, normal(1)), [0, 26, 0, 0, 26]);
    // Who asks for node 1 prefers it, but is of node 0.
    machine.alloc_pages_node(node(1), KERNEL, Order::ZERO).unwrap();
    assert_eq!(numa(&machine, normal(1)), [1, 26, 0, 0, 27]);
    // A free takes nothing back.
    machine.free_pages(far.pop().unwrap(), Order::ZERO).unwrap();
    assert_eq!(numa(&machine, normal(1)), [1, 26, 0, 0, 27]);
    // A hit again, once the zone itself has free pages: more than a pageset holds.
    all[3000..].iter().for_each(|page| machine.free_pages(*page, Order::ZERO).unwrap());
    machine.alloc_page(KERNEL).unwrap();
    assert_eq!(numa(&machine, normal(0)), [2049, 0, 26, 2049, 0]);
    machine.validate().unwrap();
}

#[test]
fn the_local_node_is_the_one_that_was_named_and_need_not_be_the_first() {
    let plans = plans();
    let lists = [
        list_of(&[HIGH, normal(0), normal(1), normal(2)]),
        list_of(&[normal(1), normal(2), HIGH, normal(0)]),
        list_of(&[normal(2), HIGH, normal(0), normal(1)]),
    ];
    let built = |local| {
        let memory = plans.iter().map(|plan| (plan.span, plan.node)).collect();
        let mut machine: Allocator = allocator_of(&plans, memory, &lists, Options { local, ..Options::default() });
        machine.free_all(plans.map(|plan| plan.span), []).unwrap();
        let page = machine.alloc_page(KERNEL).unwrap();
        (machine.local_node(), machine.map().page(page).unwrap().zone().node(), numa(&machine, normal(2)))
    };
    assert_eq!(built(Some(node(2))), (node(2), node(2), [1, 0, 0, 1, 0]));
    // No plan has node 3.
    assert_eq!(built(Some(node(3))), (node(0), node(0), [0; 5]));
    assert_eq!(built(None), (node(0), node(0), [0; 5]));
}

#[test]
fn misses_of_many_cpus_add_up_to_the_pages_that_left_their_node() {
    let mut machine = machine(Policies::default());
    machine.install_counters(leak((0..4).map(|_| CpuCounters::new()).collect::<Vec<_>>()));
    fill(&machine, NodeSet::of(node(0)));
    let machine = &machine;
    std::thread::scope(|scope| {
        for cpu in 0..4 {
            scope.spawn(move || {
                set_host_cpu(CpuId::new(cpu));
                for round in (0..3).cycle().take(500) {
                    let order = order(round);
                    let block = machine.alloc_pages(KERNEL, order).unwrap();
                    machine.free_pages(block, order).unwrap();
                }
            });
        }
    });
    // 167 + 2 * 167 + 4 * 166 pages for each CPU.
    assert_eq!(numa(machine, normal(1)), [0, 4 * 1165, 0, 0, 4 * 1165]);
    assert_eq!(numa(machine, normal(0))[2], 4 * 1165);
    machine.validate().unwrap();
}

/// Frees nothing, moves nothing, or says so.
struct Idle;

impl Compactor for Idle {
    fn compact_zone(&self, _zone: ZoneRef, _shortage: &Shortage, _pages: &dyn Pages) -> bool {
        true
    }
}

impl ZoneReclaim for Idle {
    fn allows(&self, _preferred: ZoneRef, _zone: ZoneRef) -> bool {
        true
    }

    fn reclaim(&self, _zone: ZoneRef, _shortage: &Shortage, _pages: &dyn Pages) -> ZoneReclaimed {
        ZoneReclaimed::Full
    }
}

#[test]
fn what_is_done_when_memory_is_short_is_counted() {
    let machine = machine(Policies { zone_reclaim: true, ..Policies::default() });
    let services = Services { compactor: Some(&Idle), zone_reclaim: Some(&Idle), ..Services::default() };
    assert!(machine.install_services(services));
    let pages = fill(&machine, NodeSet::ALL);
    let event = |event| machine.counters().event(event);
    let before = [VmEvent::AllocStall, VmEvent::CompactStall].map(event);
    assert!(machine.register_shrinker(leak(Shelf::of(pages))));
    let pair = machine.alloc_pages(KERNEL, order(1)).unwrap();
    machine.free_pages(pair, order(1)).unwrap();
    assert_eq!(event(VmEvent::AllocStall), before[0] + 1);
    assert_eq!(event(VmEvent::CompactStall), before[1] + 1);
    assert_eq!(event(VmEvent::CompactStall), event(VmEvent::CompactSuccess) + event(VmEvent::CompactFail));
    let stolen = event(VmEvent::PgStealDirect);
    assert!(stolen > 0 && stolen <= event(VmEvent::PgScanDirect), "{stolen}");
    assert!(event(VmEvent::ZoneReclaimFailed) > 0);
    assert_eq!([VmEvent::PgStealKswapd, VmEvent::PageOutRun, VmEvent::OomKill].map(event), [0; 3]);
    // Above its high mark a node has nothing to reclaim; below it the background counts apart.
    let marks = crate::page_alloc::Watermarks { min: 100, low: 200, high: 2000, lowmem_reserve: [0; 4] };
    machine.set_watermarks(normal(0), &marks);
    machine.balance_step(node(0));
    assert_eq!(event(VmEvent::PageOutRun), 1);
    assert!(event(VmEvent::PgStealKswapd) > 0);
    assert_eq!(event(VmEvent::PgStealDirect), stolen);
    assert!(machine.alloc_page(GfpFlags::GFP_KERNEL).is_ok());
    machine.validate().unwrap();
}
