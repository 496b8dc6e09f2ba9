//! What is kept back: reserve blocks, high-atomic pageblocks, raised marks.

use std::vec::Vec;

use super::fixture::{HIGH, Machine, NORMAL};
use super::services::{Shelf, leak};
use crate::addr::{NodeId, Pfn};
use crate::buddy::model::{order, range};
use crate::gfp::GfpFlags;
use crate::migrate::{MigrateType, pageblock_of};
use crate::order::Order;
use crate::page_alloc::{Balance, Options, Policies, ReservePolicy, Watermarks};

const KERNEL: GfpFlags = GfpFlags::GFP_KERNEL.union(GfpFlags::NOWARN);
const ATOMIC: GfpFlags = GfpFlags::GFP_ATOMIC.union(GfpFlags::NOWARN);

fn machine(policies: Policies) -> Machine {
    let machine = Machine::with_options(Options { policies, ..Options::default() });
    machine.set_watermarks(NORMAL, &Watermarks { min: 400, low: 500, high: 600, lowmem_reserve: [0; 4] });
    machine
}

fn with_reserve(reserve: ReservePolicy) -> Machine {
    machine(Policies { reserve, ..Policies::default() })
}

fn reserve_blocks(machine: &Machine) -> usize {
    let first_frames = [0x400, 0x800, 0xc00, 0x1000].map(Pfn::new);
    let zone = machine.zone(NORMAL).unwrap();
    first_frames.iter().filter(|pfn| zone.block_type(**pfn) == MigrateType::Reserve).count()
}

/// Takes single pages until polite requests get no more, and gives back every second one: much is free then, but no two
/// pages that are neighbours, except in pageblocks that are kept.
fn scatter(machine: &Machine) -> Vec<Pfn> {
    let all = machine.take_all(KERNEL | GfpFlags::NORETRY, Order::ZERO);
    let (odd, even): (Vec<_>, Vec<_>) = all.into_iter().partition(|pfn| pfn.raw() % 2 == 1);
    machine.free_pages_bulk(&odd).unwrap();
    even
}

#[test]
fn reserve_blocks_follow_the_min_mark_and_are_the_last_that_is_taken() {
    let marks = |min| Watermarks { min, low: min, high: min, lowmem_reserve: [0; 4] };
    let machine = with_reserve(ReservePolicy::Blocks);
    let kept = || (reserve_blocks(&machine), machine.zone(NORMAL).unwrap().reserved_pages());
    assert_eq!(kept(), (1, 1024));
    machine.set_watermarks(NORMAL, &marks(1025));
    assert_eq!(kept(), (2, 2048));
    machine.set_watermarks(NORMAL, &marks(10_000));
    assert_eq!(kept(), (2, 2048));
    machine.set_watermarks(NORMAL, &marks(1));
    assert_eq!(reserve_blocks(&machine), 1);
    machine.validate().unwrap();
    machine.set_watermarks(NORMAL, &marks(0));
    assert_eq!(kept(), (0, 0));
    machine.set_watermarks(NORMAL, &marks(1));
    let zone = machine.zone(NORMAL).unwrap();
    let pages = machine.take_all(KERNEL | GfpFlags::MEMALLOC, Order::ZERO);
    assert_eq!(pages.len(), 4096);
    let (before, last) = pages.split_at(3072);
    assert!(before.iter().all(|pfn| zone.block_type(*pfn) != MigrateType::Reserve));
    assert!(last.iter().all(|pfn| zone.block_type(*pfn) == MigrateType::Reserve));
}

#[test]
fn without_reserve_blocks_marks_change_no_pageblock() {
    assert_eq!(reserve_blocks(&with_reserve(ReservePolicy::Off)), 0);
    assert_eq!(reserve_blocks(&with_reserve(ReservePolicy::HighAtomic)), 0);
}

/// How many blocks of order 4 atomic requests find after one was found in need, and single pages took everything else.
fn atomic_blocks_after_pressure(reserve: ReservePolicy) -> usize {
    let machine = with_reserve(reserve);
    // Below the low mark, so that the next one needs its rights.
    let held = machine.take_all(KERNEL, order(9));
    let first = machine.alloc_pages(ATOMIC, order(4));
    held.into_iter().for_each(|block| machine.free_pages(block, order(9)).unwrap());
    machine.set_watermarks(NORMAL, &Watermarks { min: 1, low: 1, high: 1, lowmem_reserve: [0; 4] });
    let even = scatter(&machine);
    let blocks = machine.take_all(ATOMIC, order(4));
    let found = blocks.len() + usize::from(first.is_ok());
    machine.validate().unwrap();
    blocks.into_iter().chain(first).for_each(|block| machine.free_pages(block, order(4)).unwrap());
    machine.free_pages_bulk(&even).unwrap();
    assert_eq!(machine.zone(NORMAL).unwrap().stats().allocated, 0);
    machine.validate().unwrap();
    found
}

#[test]
fn a_pageblock_in_which_an_atomic_request_found_a_block_is_kept_for_more() {
    // The first one has 63 neighbours in its pageblock. Kept pageblocks count whole, also the 16 pages that are out, so
    // 17 pages more stayed free: one more block. A reserve block, at hand for everybody, was eaten.
    let policies = [ReservePolicy::Off, ReservePolicy::Blocks, ReservePolicy::HighAtomic];
    assert_eq!(policies.map(atomic_blocks_after_pressure), [1, 1, 65]);
}

#[test]
fn a_single_page_of_an_atomic_request_keeps_no_pageblock_and_comes_from_none_while_there_are_others() {
    let machine = with_reserve(ReservePolicy::HighAtomic);
    let zone = machine.zone(NORMAL).unwrap();
    machine.set_watermarks(NORMAL, &Watermarks { min: 400, low: 9000, high: 9000, lowmem_reserve: [0; 4] });
    machine.alloc_page(ATOMIC).unwrap();
    assert_eq!(reserve_blocks(&machine), 0);
    machine.alloc_pages(ATOMIC, order(4)).unwrap();
    assert_eq!(reserve_blocks(&machine), 1);
    let page = machine.alloc_page(ATOMIC).unwrap();
    assert_ne!(zone.block_type(page), MigrateType::Reserve);
    machine.validate().unwrap();
}

#[test]
fn kept_pageblocks_are_given_up_before_a_request_fails() {
    let machine = with_reserve(ReservePolicy::HighAtomic);
    let held = machine.take_all(KERNEL, order(9));
    let first = machine.alloc_pages(ATOMIC, order(4)).unwrap();
    assert_eq!((reserve_blocks(&machine), machine.zone(NORMAL).unwrap().reserved_pages()), (1, 1024));
    held.into_iter().for_each(|block| machine.free_pages(block, order(9)).unwrap());
    // Those who must not wait or retry leave them alone; the others get all but what the min mark keeps.
    let polite = machine.take_all(KERNEL | GfpFlags::NORETRY, Order::ZERO).len();
    assert_eq!(polite, 4096 - 16 - 400 - 1024);
    let rest = machine.take_all(KERNEL, Order::ZERO).len();
    assert_eq!((polite + rest, reserve_blocks(&machine)), (4096 - 16 - 400, 0));
    machine.free_pages(first, order(4)).unwrap();
    machine.validate().unwrap();
}

#[test]
fn what_is_kept_for_those_who_cannot_wait_is_given_to_nobody_else_of_any_order() {
    let machine = with_reserve(ReservePolicy::HighAtomic);
    let zone = machine.zone(NORMAL).unwrap();
    zone.reserve_one(Pfn::new(0x400));
    let _even = scatter(&machine);
    let is_kept = |pfn: &Pfn| zone.block_type(*pfn) == MigrateType::Reserve;
    for order in [1, 2, 4, 9].map(order) {
        let polite = machine.take_all(KERNEL | GfpFlags::NORETRY, order);
        assert!(!polite.iter().any(is_kept), "order {}", order.raw());
    }
    let atomic = machine.take_all(ATOMIC, order(4));
    assert!(atomic.len() >= 50 && atomic.iter().all(is_kept), "{} blocks", atomic.len());
    // Single pages of requests with rights end there, when there is nothing else.
    assert!(machine.take_all(KERNEL | GfpFlags::MEMALLOC, Order::ZERO).iter().any(is_kept));
    machine.validate().unwrap();
}

#[test]
fn one_pageblock_in_a_hundred_and_one_more_is_kept() {
    let machine = with_reserve(ReservePolicy::HighAtomic);
    let zone = machine.zone(NORMAL).unwrap();
    [0x400, 0x800, 0xc00, 0x1000].into_iter().for_each(|pfn| zone.reserve_one(Pfn::new(pfn)));
    // 4,096 / 100 + 1,024 = 1,064 is passed by the second one.
    assert_eq!((zone.reserved_pages(), reserve_blocks(&machine)), (2048, 2));
    machine.validate().unwrap();
    // In a zone of less than a hundred pages that is one.
    let policies = Policies { reserve: ReservePolicy::HighAtomic, ..Policies::default() };
    let mut small = Machine::reserved(Options { policies, ..Options::default() });
    small.free_all([range(0x400, 0x410), range(0x800, 0x810)], []).unwrap();
    let zone = small.zone(NORMAL).unwrap();
    [0x400, 0x800].into_iter().for_each(|pfn| zone.reserve_one(Pfn::new(pfn)));
    assert_eq!((zone.reserved_pages(), reserve_blocks(&small)), (1024, 1));
}

#[test]
fn the_pageblock_with_the_largest_free_block_is_kept_before_the_one_that_was_hit() {
    let machine = with_reserve(ReservePolicy::HighAtomic);
    let zone = machine.zone(NORMAL).unwrap();
    // One pageblock serves this type, one is whole, and the others have a page that is taken.
    let page = machine.alloc_pages(KERNEL, Order::ZERO).unwrap();
    let mut others =
        [0x400, 0x800, 0xc00, 0x1000].map(Pfn::new).into_iter().filter(|pfn| *pfn != pageblock_of(page).start);
    let whole = others.next_back().unwrap();
    let singles: Vec<_> = others.map(|pfn| range(pfn.raw(), pfn.raw() + 1)).collect();
    singles.iter().for_each(|single| machine.alloc_contig_range(*single).unwrap());
    // While there is plenty nothing is kept.
    machine.set_watermarks(NORMAL, &Watermarks { min: 400, low: 5000, high: 6000, lowmem_reserve: [0; 4] });
    let hit = machine.alloc_pages(ATOMIC, order(4)).unwrap();
    assert_eq!(pageblock_of(hit), pageblock_of(page));
    assert_eq!((zone.block_type(whole), reserve_blocks(&machine)), (MigrateType::Reserve, 1));
    machine.free_pages(page, Order::ZERO).unwrap();
    assert_eq!(zone.reserved_pages(), 1024);
    machine.free_pages(hit, order(4)).unwrap();
    singles.iter().for_each(|page| machine.free_contig_range(*page).unwrap());
    machine.validate().unwrap();
}

#[test]
fn the_search_for_another_pageblock_ends_at_an_eighth_of_one() {
    for (raw, searched) in [(6, false), (7, true), (9, true)] {
        let machine = with_reserve(ReservePolicy::HighAtomic);
        let zone = machine.zone(NORMAL).unwrap();
        let all = machine.take_all(KERNEL | GfpFlags::MEMALLOC, Order::ZERO);
        assert_eq!(all.len(), 4096);
        let free = range(0xc00, 0xc00 + order(raw).pages());
        free.iter().for_each(|pfn| machine.free_pages(pfn, Order::ZERO).unwrap());
        assert_eq!(zone.free_blocks(order(raw), zone.block_type(free.start)), 1);
        zone.reserve_one(Pfn::new(0x400));
        let kept = [0x400, 0xc00].map(|pfn| zone.block_type(Pfn::new(pfn)) == MigrateType::Reserve);
        assert_eq!(kept, [!searched, searched], "order {raw}");
        machine.validate().unwrap();
    }
}

#[test]
fn a_request_for_lowmem_gives_up_no_pageblock_of_highmem() {
    let machine = with_reserve(ReservePolicy::HighAtomic);
    let reserved = |zone| machine.zone(zone).unwrap().reserved_pages();
    machine.zone(NORMAL).unwrap().reserve_one(Pfn::new(0x400));
    machine.zone(HIGH).unwrap().reserve_one(Pfn::new(0x1400));
    assert_eq!((reserved(NORMAL), reserved(HIGH)), (1024, 1024));
    assert!(machine.unreserve(NORMAL.zone, MigrateType::Unmovable));
    assert_eq!((reserved(NORMAL), reserved(HIGH)), (0, 1024));
    assert!(!machine.unreserve(NORMAL.zone, MigrateType::Unmovable));
    assert!(machine.unreserve(HIGH.zone, MigrateType::Unmovable));
    assert_eq!((reserved(NORMAL), reserved(HIGH)), (0, 0));
    let blocks = with_reserve(ReservePolicy::Blocks);
    assert!(!blocks.unreserve(HIGH.zone, MigrateType::Unmovable));
    assert_eq!(blocks.zone(NORMAL).unwrap().reserved_pages(), 1024);
}

#[test]
fn a_page_among_pages_of_another_type_raises_the_marks_by_a_pageblock_up_to_the_factor() {
    let machine = machine(Policies::default());
    let (zone, pfn) = (machine.zone(NORMAL).unwrap(), Pfn::new(0x400));
    let boost = |kind, factor| {
        zone.boost_if_mixed(pfn, kind, factor);
        zone.marks().boost()
    };
    // The pageblock is movable; `high` is 600.
    assert_eq!(boost(MigrateType::Movable, 40_000), 0);
    assert_eq!([(); 3].map(|()| boost(MigrateType::Unmovable, 40_000)), [1024, 2048, 2400]);
    zone.end_boost();
    assert_eq!(zone.marks().boost(), 0);
    // Never less than a pageblock.
    assert_eq!([(); 2].map(|()| boost(MigrateType::Reclaimable, 15_000)), [1024, 1024]);
    zone.end_boost();
    for special in [MigrateType::Cma, MigrateType::Reserve, MigrateType::Isolate] {
        zone.set_block_type(pfn, special);
        assert_eq!(boost(MigrateType::Unmovable, 40_000), 0);
    }
    // A zone of less than four pageblocks is left alone.
    let small = machine.zone(HIGH).unwrap();
    small.boost_if_mixed(Pfn::new(0x1400), MigrateType::Unmovable, 40_000);
    assert_eq!(small.marks().boost(), 0);
}

#[test]
fn mixed_pageblocks_raise_the_marks_until_background_reclaim_is_done() {
    let freed_to = |watermark_boost| {
        let machine = machine(Policies { watermark_boost, ..Policies::default() });
        // Movable pages in every pageblock, so that an unmovable one must go among them.
        let movable = machine.take_all(GfpFlags::MOVABLE | KERNEL, Order::ZERO);
        assert_eq!(movable.len(), 4096 - 400);
        let (freed, kept): (Vec<_>, Vec<_>) = movable.into_iter().partition(|pfn| pfn.raw() % 4 == 0);
        machine.free_pages_bulk(&freed).unwrap();
        let atomic = machine.take_all(GfpFlags::RECLAIMABLE | KERNEL | GfpFlags::NORETRY, Order::ZERO);
        machine.free_pages_bulk(&atomic).unwrap();
        assert!(machine.register_shrinker(leak(Shelf::of(kept))));
        while let Balance::Freed(_) = machine.balance_step(NodeId::ZERO) {}
        let boost = machine.zone(NORMAL).unwrap().marks().boost();
        (boost, machine.zone(NORMAL).unwrap().stats().counts.free)
    };
    let (boost, plain) = freed_to(0);
    assert_eq!(boost, 0);
    let (boost, raised) = freed_to(15_000);
    assert_eq!(boost, 0);
    assert!(raised >= 600 + 1024 && raised > plain, "{raised} and {plain}");
}

#[test]
fn a_refill_that_mixes_pageblocks_raises_the_marks_too() {
    for (watermark_boost, boost) in [(0, 0), (15_000, 1024)] {
        let machine = machine(Policies { watermark_boost, ..Policies::default() }).with_pagesets(1);
        let movable = machine.take_all(GfpFlags::MOVABLE | KERNEL, Order::ZERO);
        let freed: Vec<_> = movable.into_iter().filter(|pfn| pfn.raw() % 4 == 0).collect();
        machine.free_pages_bulk(&freed).unwrap();
        machine.drain_local();
        let zone = machine.zone(NORMAL).unwrap();
        // One pageblock is taken over as a whole, and more is wanted, while all requests are above the low mark.
        while zone.marks().boost() == 0 && zone.stats().counts.free > 550 {
            machine.alloc_page(GfpFlags::RECLAIMABLE | KERNEL).unwrap();
        }
        assert_eq!(zone.marks().boost(), boost);
    }
}

#[test]
fn a_pageblock_is_given_up_only_while_it_is_kept() {
    let machine = with_reserve(ReservePolicy::HighAtomic);
    let zone = machine.zone(NORMAL).unwrap();
    let block = Pfn::new(0x400);
    zone.reserve_one(block);
    // Between a look at its type and the lock another CPU isolates it, or gives it up.
    machine.start_isolate_page_range(range(0x400, 0x401)).unwrap();
    assert!(!zone.give_up(block, MigrateType::Movable));
    assert_eq!(zone.block_type(block), MigrateType::Isolate);
    machine.undo_isolate_page_range(range(0x400, 0x401)).unwrap();
    assert!(zone.give_up(block, MigrateType::Movable));
    assert!(!zone.give_up(block, MigrateType::Unmovable));
    assert_eq!(zone.block_type(block), MigrateType::Movable);
    machine.validate().unwrap();
}
