//! Several nodes: masks, `THISNODE`, CPU sets, and the policies that choose between zones.

use std::sync::Mutex;
use std::vec::Vec;

use core::sync::atomic::Ordering::SeqCst;
use core::sync::atomic::{AtomicBool, AtomicU32};

use super::super::Core;
use super::services::{Shelf, leak};
use crate::addr::{NodeId, Pfn};
use crate::buddy::model::{order, range};
use crate::gfp::GfpFlags;
use crate::order::Order;
use crate::page_alloc::tests::build::{allocator_of, give_pagesets, list_of};
use crate::page_alloc::{
    AllocError, DirtyLimits, Mems, Options, PageAllocator, Pages, PagesetSize, Policies, Services, Shortage, Shrinker,
    Watermarks, ZoneReclaim, ZoneReclaimed,
};
use crate::testing::{HostIrq, scaled};
use crate::zone::zonelist::{Topology, ZonelistOrder, Zonelists};
use crate::zone::{NodePlan, NodeSet, ZoneRef, ZoneSize, ZoneType};

pub(super) const KERNEL: GfpFlags = GfpFlags::GFP_KERNEL.union(GfpFlags::NOWARN);
const USER: GfpFlags = GfpFlags::GFP_USER.union(GfpFlags::NOWARN);

pub(super) type Allocator = PageAllocator<'static, HostIrq, Core>;

pub(super) fn node(raw: u32) -> NodeId {
    NodeId::new(raw).unwrap()
}

pub(super) fn normal(raw: u32) -> ZoneRef {
    ZoneRef { node: node(raw), zone: ZoneType::Normal }
}

pub(super) const HIGH: ZoneRef = ZoneRef { node: NodeId::ZERO, zone: ZoneType::HighMem };

fn only(raw: u32) -> Mems {
    Mems { own: NodeSet::of(node(raw)), wall: NodeSet::ALL }
}

/// Node 0: Normal 0x400-0xc00, `HighMem` 0xc00-0x1000; node 1: Normal 0x1000-0x1800; node 2: Normal 0x1800-0x1c00.
/// Each node tries its own zones, then the others' in a ring.
pub(super) fn plans() -> [NodePlan; 3] {
    let zone = |start, end| ZoneSize { span: range(start, end), present: end - start, real_size: end - start };
    let none = ZoneSize::default();
    [
        NodePlan {
            node: node(0),
            span: range(0x400, 0x1000),
            zones: [none, zone(0x400, 0xc00), zone(0xc00, 0x1000), none],
        },
        NodePlan { node: node(1), span: range(0x1000, 0x1800), zones: [none, zone(0x1000, 0x1800), none, none] },
        NodePlan { node: node(2), span: range(0x1800, 0x1c00), zones: [none, zone(0x1800, 0x1c00), none, none] },
    ]
}

pub(super) fn machine(policies: Policies) -> Allocator {
    let plans = plans();
    let memory = plans.iter().map(|plan| (plan.span, plan.node)).collect();
    let lists = [
        list_of(&[HIGH, normal(0), normal(1), normal(2)]),
        list_of(&[normal(1), normal(2), HIGH, normal(0)]),
        list_of(&[normal(2), HIGH, normal(0), normal(1)]),
    ];
    let options = Options { policies, ..Options::default() };
    let mut allocator: Allocator = allocator_of(&plans, memory, &lists, options);
    allocator.free_all(plans.map(|plan| plan.span), []).unwrap();
    allocator
}

fn zone_of(machine: &Allocator, pfn: Pfn) -> ZoneRef {
    let tag = machine.map().page(pfn).unwrap().zone();
    ZoneRef { node: tag.node(), zone: tag.zone() }
}

fn alloc(machine: &Allocator, gfp: GfpFlags) -> Result<ZoneRef, AllocError> {
    machine.alloc_page(gfp).map(|pfn| zone_of(machine, pfn))
}

/// Takes everything that nodes `nodes` have.
pub(super) fn fill(machine: &Allocator, nodes: NodeSet) -> Vec<Pfn> {
    let gfp = GfpFlags::GFP_HIGHUSER | GfpFlags::NOWARN;
    core::iter::from_fn(|| machine.alloc_pages_nodemask(node(0), gfp, Order::ZERO, Some(nodes)).ok()).collect()
}

#[test]
fn a_node_mask_keeps_a_request_to_its_nodes() {
    let machine = machine(Policies::default());
    let masked = |nodes| machine.alloc_pages_nodemask(node(0), KERNEL, Order::ZERO, nodes);
    assert_eq!(masked(None).map(|pfn| zone_of(&machine, pfn)), Ok(normal(0)));
    let one = NodeSet::of(node(1));
    assert_eq!(masked(Some(one)).map(|pfn| zone_of(&machine, pfn)), Ok(normal(1)));
    assert_eq!(fill(&machine, one).len(), 2048 - 1);
    assert_eq!(masked(Some(one)), Err(AllocError::NoMemory { gfp: KERNEL, order: Order::ZERO }));
    let nowhere = AllocError::NoZone { node: node(0), gfp: KERNEL, order: Order::ZERO };
    assert_eq!(masked(Some(NodeSet::of(node(3)))), Err(nowhere));
}

#[test]
fn thisnode_keeps_to_its_node_and_others_go_on_to_the_next() {
    let machine = machine(Policies::default());
    let own = KERNEL | GfpFlags::THISNODE;
    let from = |gfp| machine.alloc_pages_node(node(2), gfp, Order::ZERO).map(|pfn| zone_of(&machine, pfn));
    for _ in 0..1024 {
        assert_eq!(from(own), Ok(normal(2)));
    }
    assert_eq!(from(own), Err(AllocError::NoMemory { gfp: own, order: Order::ZERO }));
    assert_eq!(from(KERNEL), Ok(normal(0)));
    let memoryless = AllocError::NoZone { node: node(3), gfp: own, order: Order::ZERO };
    assert_eq!(machine.alloc_pages_node(node(3), own, Order::ZERO), Err(memoryless));
}

#[test]
fn thisnode_that_cannot_wait_asks_nobody() {
    let machine = machine(Policies::default());
    let shelf: &'static Shelf = leak(Shelf::of(fill(&machine, NodeSet::of(node(0)))));
    assert!(machine.register_shrinker(shelf));
    let atomic = GfpFlags::GFP_ATOMIC | GfpFlags::NOWARN | GfpFlags::THISNODE;
    assert!(machine.alloc_page(atomic).is_err());
    assert_eq!(shelf.scans.load(SeqCst), 0);
    assert_eq!(alloc(&machine, KERNEL | GfpFlags::THISNODE), Ok(normal(0)));
}

#[test]
fn the_own_lists_are_those_that_the_zonelists_have() {
    for order in [ZonelistOrder::Node, ZonelistOrder::Zone] {
        let plans = plans();
        let lists = Zonelists::build(&plans, &Topology::new(NodeSet::of(node(0))), order);
        let general = [0, 1, 2].map(|raw| lists.node(node(raw)).unwrap().general);
        let memory = plans.iter().map(|plan| (plan.span, plan.node)).collect();
        let machine: Allocator = allocator_of(&plans, memory, &general, Options::default());
        for raw in 0..3 {
            let expected = lists.node(node(raw)).unwrap().this_node;
            assert_eq!(machine.own_zonelists[raw as usize].refs(), expected.refs());
        }
    }
}

#[test]
fn hits_stay_on_the_local_node_also_where_zone_order_puts_another_first() {
    let plans = plans();
    // As zone order has it for node 1: highmem of node 0 before its own lowmem.
    let lists = [list_of(&[normal(0)]), list_of(&[HIGH, normal(1), normal(0), normal(2)]), list_of(&[normal(2)])];
    let memory = plans.iter().map(|plan| (plan.span, plan.node)).collect();
    let mut machine: Allocator = allocator_of(&[plans[1], plans[0], plans[2]], memory, &lists, Options::default());
    machine.free_all(plans.map(|plan| plan.span), []).unwrap();
    for zone in [HIGH, normal(1)] {
        give_pagesets(&mut machine, zone, 1, PagesetSize { high: 42, batch: 7 });
    }
    let high = GfpFlags::GFP_HIGHUSER;
    for _ in 0..3 {
        assert_eq!(alloc(&machine, high), Ok(HIGH));
        assert_eq!(alloc(&machine, high | GfpFlags::THISNODE), Ok(normal(1)));
    }
}

/// As on a board where all highmem is set aside by no-map regions, or where `highmem=off` leaves a zone without pages:
/// the zone is there, and stands first in the zonelist.
#[test]
fn a_zone_that_was_given_no_page_is_left_out_of_the_routes() {
    let plans = plans();
    let memory = plans.iter().map(|plan| (plan.span, plan.node)).collect();
    let lists = [list_of(&[HIGH, normal(0)]), list_of(&[normal(1)]), list_of(&[normal(2)])];
    let mut machine: Allocator = allocator_of(&plans, memory, &lists, Options::default());
    machine.free_all([range(0x400, 0xc00)], []).unwrap();
    for zone in [HIGH, normal(0)] {
        give_pagesets(&mut machine, zone, 1, PagesetSize { high: 42, batch: 7 });
    }
    let user = GfpFlags::GFP_HIGHUSER | GfpFlags::NOWARN;
    assert_eq!(machine.easy_zone(user).map(|(zone, _)| zone.name()), Some(normal(0)));
    assert_eq!(alloc(&machine, user), Ok(normal(0)));
    // What is behind it came with the first page: a hit, as if there were no such zone.
    let hit = machine.alloc_hit(user, Order::ZERO).map(|pfn| zone_of(&machine, pfn));
    assert_eq!(hit, Some(normal(0)));
    // With its first pages it is the first again.
    machine.free_reserved(range(0xc00, 0xc40)).unwrap();
    assert_eq!(machine.easy_zone(user).map(|(zone, _)| zone.name()), Some(HIGH));
    assert_eq!(alloc(&machine, user), Ok(HIGH));
}

#[test]
fn a_cpu_set_sends_user_memory_elsewhere_and_ends_hits() {
    let mut machine = machine(Policies::default());
    for raw in 0..3 {
        give_pagesets(&mut machine, normal(raw), 1, PagesetSize { high: 42, batch: 7 });
    }
    assert_eq!(alloc(&machine, USER), Ok(normal(0)));
    machine.set_mems_allowed(machine.task(), only(1));
    assert_eq!(alloc(&machine, USER), Ok(normal(1)));
    machine.set_mems_allowed(machine.task(), Mems::ALL);
    assert_eq!(alloc(&machine, USER), Ok(normal(0)));
}

#[test]
fn a_full_cpu_set_fails_at_its_wall_but_not_for_who_cannot_wait() {
    let machine = machine(Policies::default());
    let walled = Mems { own: NodeSet::of(node(1)), wall: NodeSet::of(node(1)).with(node(2)) };
    fill(&machine, NodeSet::of(node(1)));
    machine.set_mems_allowed(machine.task(), walled);
    assert!(alloc(&machine, USER).is_err());
    // Within the wall, but not beyond it.
    assert_eq!(alloc(&machine, KERNEL), Ok(normal(2)));
    fill_task(&machine);
    assert!(alloc(&machine, KERNEL).is_err());
    assert_eq!(alloc(&machine, GfpFlags::GFP_ATOMIC), Ok(normal(0)));
}

/// Takes everything that the task can have.
fn fill_task(machine: &Allocator) {
    while machine.alloc_page(KERNEL).is_ok() {}
}

#[test]
fn an_allocation_that_fails_while_its_nodes_change_is_tried_anew() {
    /// Changes the nodes of the task that reclaims.
    struct Changes(&'static Allocator, Option<Mems>);
    impl Shrinker for Changes {
        fn count(&self, _shortage: &Shortage) -> u32 {
            if let Some(mems) = self.1 {
                self.0.set_mems_allowed(self.0.task(), mems);
            }
            0
        }
        fn scan(&self, _shortage: &Shortage, _wanted: u32, _pages: &dyn Pages) -> u32 {
            0
        }
    }
    let outcome = |mems| {
        let machine: &'static Allocator = leak(machine(Policies::default()));
        fill(machine, NodeSet::of(node(0)));
        machine.set_mems_allowed(machine.task(), only(0));
        assert!(machine.register_shrinker(leak(Changes(machine, mems))));
        // The change comes while the first round reclaims, so it is always seen.
        alloc(machine, USER | GfpFlags::NORETRY)
    };
    let failed = AllocError::NoMemory { gfp: USER | GfpFlags::NORETRY, order: Order::ZERO };
    assert_eq!(outcome(None), Err(failed));
    assert_eq!(outcome(Some(only(1))), Ok(normal(1)));
}

#[test]
fn while_the_nodes_are_flipped_every_allocation_is_served_from_one_of_them() {
    let machine = machine(Policies::default());
    machine.set_mems_allowed(machine.task(), only(0));
    let is_over = AtomicBool::new(false);
    let mut seen = NodeSet::EMPTY;
    std::thread::scope(|scope| {
        scope.spawn(|| {
            for round in 0.. {
                machine.set_mems_allowed(machine.task(), only(round % 2));
                if is_over.load(SeqCst) {
                    return;
                }
            }
        });
        for _ in 0..scaled(20_000) {
            let pfn = machine.alloc_page(USER).unwrap();
            seen = seen.with(zone_of(&machine, pfn).node);
            machine.free_pages(pfn, Order::ZERO).unwrap();
        }
        is_over.store(true, SeqCst);
    });
    assert!(!seen.contains(node(2)), "{seen:?}");
    machine.validate().unwrap();
}

#[test]
fn the_zonelist_cache_skips_a_zone_that_was_full_until_reclaim_frees_something() {
    let second_choice = |zonelist_cache| {
        let machine = machine(Policies { zonelist_cache, ..Policies::default() });
        fill(&machine, NodeSet::of(node(0)));
        let mut one = fill(&machine, NodeSet::of(node(1)));
        assert_eq!(alloc(&machine, KERNEL), Ok(normal(2)));
        machine.free_pages(one.pop().unwrap(), Order::ZERO).unwrap();
        (machine, one)
    };
    let (machine, _) = second_choice(false);
    assert_eq!(alloc(&machine, KERNEL), Ok(normal(1)));
    let (machine, one) = second_choice(true);
    assert_eq!(alloc(&machine, KERNEL), Ok(normal(2)));
    // The cache sends elsewhere, it does not make fail.
    fill(&machine, NodeSet::of(node(2)));
    assert_eq!(alloc(&machine, KERNEL), Ok(normal(1)));
    drop(one);
    // What reclaim freed for another request is found at once, though there is memory farther off.
    let (machine, one) = second_choice(true);
    let gone = alloc(&machine, KERNEL | GfpFlags::NORETRY);
    assert_eq!(gone, Ok(normal(2)));
    let near = NodeSet::of(node(0)).with(node(1));
    fill(&machine, near);
    assert!(machine.register_shrinker(leak(Shelf::of(one))));
    machine.alloc_pages_nodemask(node(0), KERNEL, Order::ZERO, Some(near)).unwrap();
    assert_eq!(alloc(&machine, KERNEL), Ok(normal(1)));
}

/// Frees from a shelf and says what it is told to say.
struct Reclaims {
    shelf: Mutex<Vec<Pfn>>,
    says: ZoneReclaimed,
    near: NodeSet,
    calls: AtomicU32,
}

impl ZoneReclaim for Reclaims {
    fn allows(&self, _preferred: ZoneRef, zone: ZoneRef) -> bool {
        self.near.contains(zone.node)
    }

    fn reclaim(&self, zone: ZoneRef, shortage: &Shortage, pages: &dyn Pages) -> ZoneReclaimed {
        assert!(shortage.nodes == NodeSet::of(zone.node) && shortage.highest == zone.zone);
        self.calls.fetch_add(1, SeqCst);
        if matches!(self.says, ZoneReclaimed::Some | ZoneReclaimed::Success) {
            let page = self.shelf.lock().unwrap().pop();
            page.into_iter().for_each(|pfn| pages.free_pages(pfn, Order::ZERO).unwrap());
        }
        self.says
    }
}

#[test]
fn zone_reclaim_keeps_an_allocation_near() {
    let first = |zone_reclaim, says, near, gfp| {
        let machine = machine(Policies { zone_reclaim, ..Policies::default() });
        let shelf = Mutex::new(fill(&machine, NodeSet::of(node(0))));
        let service = leak(Reclaims { shelf, says, near, calls: AtomicU32::new(0) });
        assert!(machine.install_services(Services { zone_reclaim: Some(service), ..Services::default() }));
        let zone = alloc(&machine, gfp);
        machine.validate().unwrap();
        (zone.unwrap(), service.calls.load(SeqCst))
    };
    use ZoneReclaimed::{Full, NotScanned, Success};
    let (all, none) = (NodeSet::ALL, NodeSet::EMPTY);
    assert_eq!(first(true, Success, all, KERNEL), (normal(0), 1));
    assert_eq!(first(true, ZoneReclaimed::Some, all, KERNEL), (normal(0), 1));
    assert_eq!(first(true, NotScanned, all, KERNEL), (normal(1), 1));
    assert_eq!(first(true, Full, all, KERNEL), (normal(1), 1));
    assert_eq!(first(true, Success, none, KERNEL), (normal(1), 0));
    assert_eq!(first(true, Success, all, GfpFlags::GFP_ATOMIC), (normal(1), 0));
    assert_eq!(first(false, Success, all, KERNEL), (normal(1), 0));
}

#[test]
fn only_a_zone_in_which_reclaim_freed_too_little_is_remembered_as_full() {
    let next_choice = |says| {
        let machine = machine(Policies { zone_reclaim: true, zonelist_cache: true, ..Policies::default() });
        // Whatever it says, it frees nothing.
        let service = leak(Reclaims { shelf: Mutex::default(), says, near: NodeSet::ALL, calls: AtomicU32::new(0) });
        assert!(machine.install_services(Services { zone_reclaim: Some(service), ..Services::default() }));
        // All of the first two nodes, and no request that fails.
        let mut page = machine.alloc_page(KERNEL).unwrap();
        while [normal(0), normal(1)].iter().any(|zone| machine.zone(*zone).unwrap().stats().counts.free > 0) {
            page = machine.alloc_page(KERNEL).unwrap();
        }
        assert_eq!((zone_of(&machine, page), alloc(&machine, KERNEL)), (normal(1), Ok(normal(2))));
        machine.free_pages(page, Order::ZERO).unwrap();
        alloc(&machine, KERNEL).unwrap()
    };
    use ZoneReclaimed::{Full, NotScanned, Success};
    assert_eq!([NotScanned, Full, Success].map(next_choice), [normal(1); 3]);
    assert_eq!(next_choice(ZoneReclaimed::Some), normal(2));
}

#[test]
fn a_request_without_marks_is_served_by_the_local_node_first_whichever_it_prefers() {
    let machine = machine(Policies::default());
    let first = |gfp| machine.alloc_pages_nodemask(node(1), gfp, Order::ZERO, None).map(|pfn| zone_of(&machine, pfn));
    let rights = KERNEL | GfpFlags::MEMALLOC;
    assert_eq!(first(rights), Ok(normal(1)));
    for zone in [HIGH, normal(0), normal(1), normal(2)] {
        machine.set_watermarks(zone, &Watermarks { min: 9000, low: 9000, high: 9000, lowmem_reserve: [0; 4] });
    }
    assert_eq!(first(rights), Ok(normal(0)));
    assert_eq!(first(rights | GfpFlags::THISNODE), Ok(normal(1)));
    assert!(first(KERNEL | GfpFlags::NORETRY).is_err());
}

#[test]
fn fair_batches_spread_over_the_zones_of_the_local_node_in_proportion() {
    let spread = |fair_zones| {
        let mut machine = machine(Policies { fair_zones, ..Policies::default() });
        for zone in [HIGH, normal(0)] {
            give_pagesets(&mut machine, zone, 1, PagesetSize { high: 42, batch: 7 });
        }
        machine.set_watermarks(HIGH, &Watermarks { min: 5, low: 10, high: 20, lowmem_reserve: [0; 4] });
        machine.set_watermarks(normal(0), &Watermarks { min: 10, low: 20, high: 40, lowmem_reserve: [0; 4] });
        let zones: Vec<_> = (0..90).map(|_| alloc(&machine, GfpFlags::GFP_HIGHUSER).unwrap()).collect();
        let counts = |part: &[ZoneRef]| {
            [HIGH, normal(0), normal(1)].map(|zone| part.iter().filter(|other| **other == zone).count())
        };
        [counts(&zones[..30]), counts(&zones[30..60]), counts(&zones[60..])]
    };
    // The batches are 20 - 10 and 40 - 20.
    assert_eq!(spread(true), [[10, 20, 0]; 3]);
    assert_eq!(spread(false), [[30, 0, 0]; 3]);
}

#[test]
fn a_request_that_fails_gives_new_batches_only_if_one_was_used_up() {
    let machine = machine(Policies { fair_zones: true, ..Policies::default() });
    for zone in [HIGH, normal(0)] {
        machine.set_watermarks(zone, &Watermarks { min: 0, low: 0, high: 10, lowmem_reserve: [0; 4] });
    }
    let batches = |machine: &Allocator| [HIGH, normal(0)].map(|zone| machine.zone(zone).unwrap().alloc_batch());
    let here = GfpFlags::GFP_HIGHUSER | GfpFlags::THISNODE | GfpFlags::NORETRY | GfpFlags::NOWARN;
    let blocks: Vec<_> = core::iter::from_fn(|| machine.alloc_pages(here, Order::LARGEST).ok()).collect();
    // The last one failed with both used up.
    assert_eq!(batches(&machine), [10, 10]);
    let high = blocks.iter().find(|block| machine.zone(HIGH).unwrap().stats().span.contains(**block)).unwrap();
    machine.free_pages(*high, Order::LARGEST).unwrap();
    (0..4).for_each(|_| _ = machine.alloc_page(here).unwrap());
    assert_eq!(batches(&machine), [6, 10]);
    assert!(machine.alloc_pages(here, Order::LARGEST).is_err());
    assert_eq!(batches(&machine), [6, 10]);
    machine.validate().unwrap();
}

#[test]
fn depleted_batches_make_nobody_fail() {
    let machine = machine(Policies { fair_zones: true, ..Policies::default() });
    // Without watermarks every batch is 0.
    let all = fill(&machine, NodeSet::ALL);
    assert_eq!(all.len(), 3 * 1024 + 2048 + 1024);
    machine.free_pages_bulk(&all).unwrap();
    machine.validate().unwrap();
}

#[test]
fn pages_to_be_dirtied_stay_out_of_zones_that_have_their_share() {
    struct Dirty(Vec<ZoneRef>);
    impl DirtyLimits for Dirty {
        fn allows(&self, zone: ZoneRef) -> bool {
            !self.0.contains(&zone)
        }
    }
    let write = KERNEL | GfpFlags::WRITE;
    let first = |dirty_spread, full: &[ZoneRef], gfp| {
        let mut machine = machine(Policies { dirty_spread, ..Policies::default() });
        give_pagesets(&mut machine, normal(0), 1, PagesetSize { high: 42, batch: 7 });
        // A hit would be served from the first zone's pageset.
        alloc(&machine, KERNEL).unwrap();
        let dirty = leak(Dirty(full.to_vec()));
        assert!(machine.install_services(Services { dirty: Some(dirty), ..Services::default() }));
        alloc(&machine, gfp).unwrap()
    };
    assert_eq!(first(true, &[normal(0)], write), normal(1));
    assert_eq!(first(true, &[normal(0)], KERNEL), normal(0));
    assert_eq!(first(false, &[normal(0)], write), normal(0));
    // Where all have their share, exceeding it is better than reclaim.
    assert_eq!(first(true, &[0, 1, 2].map(normal), write), normal(0));
}

#[test]
fn large_blocks_follow_the_same_policies() {
    let machine = machine(Policies::default());
    machine.set_mems_allowed(machine.task(), only(2));
    let block = machine.alloc_pages(USER, order(9)).unwrap();
    assert_eq!(zone_of(&machine, block), normal(2));
    machine.free_pages(block, order(9)).unwrap();
    machine.validate().unwrap();
}
