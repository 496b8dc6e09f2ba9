//! Which zone and which end: the walk, the watermarks, the pagesets.

use std::vec::Vec;

use super::super::Core;
use super::fixture::{HIGH, Machine, NORMAL};
use crate::addr::{PAGE_SIZE, Pfn};
use crate::buddy::FreeCore;
use crate::buddy::model::{order, range};
use crate::gfp::{GfpError, GfpFlags};
use crate::migrate::MigrateType;
use crate::order::Order;
use crate::page_alloc::{AllocError, Options, Policies, Watermarks};
use crate::platform::PhysMap;
use crate::testing::FakeRam;

const HIGHMEM: GfpFlags = GfpFlags::GFP_HIGHUSER;

#[test]
fn requests_stay_below_their_highest_zone_and_begin_with_it() {
    let machine = Machine::full();
    let zone_of = |gfp| machine.map().page(machine.alloc_page(gfp).unwrap()).unwrap().zone().zone();
    assert_eq!(zone_of(GfpFlags::GFP_KERNEL), NORMAL.zone);
    assert_eq!(zone_of(HIGHMEM), HIGH.zone);
    assert_eq!(zone_of(GfpFlags::GFP_HIGHUSER_MOVABLE), HIGH.zone);
    // There is no DMA zone: all of lowmem can be reached by devices.
    assert_eq!(zone_of(GfpFlags::GFP_DMA), NORMAL.zone);
}

#[test]
fn an_allocator_has_the_policies_that_it_was_built_with() {
    let policies = Policies { watermark_boost: 12_345, zone_reclaim: true, ..Policies::default() };
    assert_eq!(*Machine::with_options(Options { policies, ..Options::default() }).policies(), policies);
}

#[test]
fn a_full_highmem_falls_back_to_normal_but_normal_never_to_highmem() {
    let machine = Machine::full();
    let all = machine.take_all(HIGHMEM, Order::ZERO);
    assert_eq!(all.len(), 4096 + 2048 - 100);
    machine.free_pages_bulk(&all).unwrap();
    let low = machine.take_all(GfpFlags::GFP_KERNEL, Order::ZERO);
    assert_eq!(low.len(), 4096);
    machine.alloc_page(HIGHMEM).unwrap();
}

#[test]
fn contradicting_flags_are_refused() {
    let machine = Machine::full();
    let both = GfpFlags::DMA | GfpFlags::HIGHMEM;
    assert_eq!(machine.alloc_page(both), Err(AllocError::Flags(GfpError::ZoneConflict(both))));
    let both = GfpFlags::MOVABLE | GfpFlags::RECLAIMABLE;
    assert_eq!(machine.alloc_page(both), Err(AllocError::Flags(GfpError::MobilityConflict(both))));
}

#[test]
fn the_min_watermark_keeps_pages_for_those_with_rights() {
    let machine = Machine::full();
    let marks = Watermarks { min: 100, low: 125, high: 150, lowmem_reserve: [0; 4] };
    assert!(machine.set_watermarks(NORMAL, &marks));
    assert_eq!(machine.take_all(GfpFlags::GFP_KERNEL, Order::ZERO).len(), 4096 - 100);
    // Atomic requests: half of 100 is 50, less a quarter of that is 38.
    assert_eq!(machine.take_all(GfpFlags::GFP_ATOMIC, Order::ZERO).len(), 100 - 38);
    assert_eq!(machine.take_all(GfpFlags::GFP_KERNEL | GfpFlags::MEMALLOC, Order::ZERO).len(), 38);
}

#[test]
fn lowmem_reserve_holds_back_only_those_who_could_use_highmem() {
    let machine = Machine::full();
    let marks = Watermarks { lowmem_reserve: [0, 0, 1000, 0], ..Watermarks::default() };
    machine.set_watermarks(NORMAL, &marks);
    assert_eq!(machine.take_all(HIGHMEM, Order::ZERO).len(), 4096 - 1000 + 1948);
    assert_eq!(machine.take_all(GfpFlags::GFP_KERNEL, Order::ZERO).len(), 1000);
}

#[test]
fn a_hit_takes_no_zone_lock_and_high_is_never_passed() {
    let machine = Machine::full().with_pagesets(1);
    let zone = machine.zone(NORMAL).unwrap();
    let page = machine.alloc_page(GfpFlags::GFP_KERNEL).unwrap();
    // A refill takes the block that a batch of 7 is rounded up to: one page for the caller, seven for stock.
    assert_eq!(zone.pagesets()[0].count(), 7);
    machine.free_pages(page, Order::ZERO).unwrap();
    assert_eq!(zone.pagesets()[0].count(), 8);
    let free = zone.stats().counts.free;
    for _ in 0..100 {
        let page = machine.alloc_page(GfpFlags::GFP_KERNEL).unwrap();
        machine.free_pages(page, Order::ZERO).unwrap();
    }
    assert_eq!(zone.stats().counts.free, free);
    let pages = machine.take_all(GfpFlags::GFP_KERNEL, Order::ZERO);
    for page in pages {
        machine.free_pages(page, Order::ZERO).unwrap();
        assert!(zone.pagesets()[0].count() <= 42);
    }
    machine.validate().unwrap();
    machine.drain_local();
    assert_eq!(zone.stats().pageset, 0);
}

#[test]
fn pages_of_pageblocks_that_should_empty_go_back_at_the_next_count_though_there_is_room() {
    let machine = Machine::full().with_pagesets(1);
    let (zone, gfp) = (machine.zone(NORMAL).unwrap(), GfpFlags::GFP_KERNEL);
    let set = &zone.pagesets()[0];
    let mut pages: Vec<_> = (0..1500).map(|_| machine.alloc_page(gfp).unwrap()).collect();
    pages.sort_unstable();
    let of = |page: &Pfn| page.raw() >> Order::LARGEST.log2();
    let other = pages.iter().position(|page| of(page) != of(&pages[0])).unwrap();
    // The next pages come from the lower of two pageblocks.
    pages[..8].iter().for_each(|page| machine.free_pages(*page, Order::ZERO).unwrap());
    machine.drain_local();
    let page = machine.alloc_page(gfp).unwrap();
    pages[other..other + 3].iter().for_each(|page| machine.free_pages(*page, Order::ZERO).unwrap());
    let before = (zone.stats().counts.free, set.count());
    machine.free_pages(page, Order::ZERO).unwrap();
    for _ in 0..42 {
        let page = machine.alloc_page(gfp).unwrap();
        machine.free_pages(page, Order::ZERO).unwrap();
    }
    let (stocked, free) = (set.count(), zone.stats().counts.free);
    if Core::GATHERS {
        assert!(free >= before.0 + 3 && stocked < before.1, "{stocked} in stock and {free} free, not {before:?}");
    } else {
        assert_eq!((free, stocked), (before.0, before.1 + 1));
    }
    machine.validate().unwrap();
}

#[test]
fn the_page_freed_hot_comes_back_first_and_the_one_freed_cold_last() {
    let machine = Machine::full().with_pagesets(1);
    let gfp = GfpFlags::GFP_KERNEL;
    let [first, second] = [machine.alloc_page(gfp).unwrap(), machine.alloc_page(gfp).unwrap()];
    machine.free_cold_page(second).unwrap();
    machine.free_pages(first, Order::ZERO).unwrap();
    assert_eq!(machine.alloc_page(gfp), Ok(first));
    assert_eq!(machine.alloc_page(gfp | GfpFlags::COLD), Ok(second));
}

#[test]
fn pagesets_that_hold_pages_are_not_replaced() {
    let mut machine = Machine::full().with_pagesets(1);
    machine.alloc_page(GfpFlags::GFP_KERNEL).unwrap();
    assert!(machine.install_pagesets(NORMAL, &[]).is_err());
    machine.drain_local();
    machine.install_pagesets(NORMAL, &[]).unwrap();
    machine.validate().unwrap();
}

#[test]
fn before_interrupts_can_be_taken_no_request_waits_and_so_each_tries_harder() {
    let left = |allowed| {
        let machine = Machine::full();
        machine.set_watermarks(NORMAL, &Watermarks { min: 100, low: 100, ..Watermarks::default() });
        machine.set_allowed_flags(allowed);
        // What says where a page comes from counts always.
        let high = machine.alloc_page(HIGHMEM).unwrap();
        assert!(machine.zone(HIGH).unwrap().stats().span.contains(high));
        machine.take_all(GfpFlags::GFP_KERNEL, Order::ZERO);
        machine.zone(NORMAL).unwrap().stats().counts.free
    };
    assert_eq!(left(GfpFlags::all()), 100);
    assert_eq!(left(GfpFlags::BOOT_MASK), 75);
}

#[test]
fn with_grouping_off_every_type_shares_the_same_blocks() {
    let machine = Machine::with_options(Options { grouping_off: true, ..Options::default() });
    machine.alloc_page(GfpFlags::GFP_KERNEL).unwrap();
    let movable = machine.alloc_page(GfpFlags::MOVABLE).unwrap();
    assert_eq!(movable.raw() / 1024, machine.alloc_page(GfpFlags::GFP_KERNEL).unwrap().raw() / 1024);
}

#[test]
fn zeroed_pages_are_zero_and_unreachable_ones_are_given_back() {
    let ram = Box::leak(Box::new(FakeRam::new(&[range(0x400, 0x1400).bytes()])));
    let machine = Machine::with_options(Options { ram: Some(ram), ..Options::default() });
    let bytes = |first| {
        let start = ram.frames_ptr(first, 2).unwrap();
        // SAFETY: valid because the two frames belong to this test and FakeRam answers for all their bytes.
        unsafe { core::slice::from_raw_parts_mut(start.as_ptr(), 2 * PAGE_SIZE as usize) }
    };
    let block = machine.alloc_pages(GfpFlags::GFP_KERNEL, order(1)).unwrap();
    bytes(block).fill(0xaa);
    machine.free_pages(block, order(1)).unwrap();
    assert_eq!(machine.alloc_pages(GfpFlags::GFP_KERNEL | GfpFlags::ZERO, order(1)), Ok(block));
    assert!(bytes(block).iter().all(|byte| *byte == 0));
    let before = machine.totals();
    assert!(matches!(machine.alloc_page(HIGHMEM | GfpFlags::ZERO), Err(AllocError::Unreachable { .. })));
    assert_eq!(machine.totals(), before);
}

#[test]
fn a_change_of_a_pageblocks_type_has_ended_when_the_request_that_began_it_returns() {
    for cpus in [0, 1] {
        let machine = Machine::full().with_pagesets(cpus);
        let all = machine.take_all(GfpFlags::GFP_KERNEL | GfpFlags::MOVABLE, Order::ZERO);
        let freed: Vec<_> = all.into_iter().filter(|pfn| pfn.raw() % 3 != 1).collect();
        machine.free_pages_bulk(&freed).unwrap();
        machine.drain_local();
        let zone = machine.zone(NORMAL).unwrap();
        let page = machine.alloc_page(GfpFlags::GFP_KERNEL).unwrap();
        assert_eq!(zone.block_type(page), MigrateType::Unmovable);
        assert!(!zone.with_core(|core| core.is_moving()));
        machine.validate().unwrap();
    }
}

#[test]
fn the_last_blocks_of_an_order_are_kept_as_the_marks_say_with_and_without_pagesets() {
    for cpus in [0, 1] {
        let machine = Machine::full().with_pagesets(cpus);
        machine.set_watermarks(NORMAL, &Watermarks { min: 100, low: 125, high: 150, lowmem_reserve: [0; 4] });
        let all = machine.take_all(GfpFlags::GFP_KERNEL | GfpFlags::MEMALLOC, Order::ZERO);
        let is_freed = |pfn: &Pfn| pfn.raw() % 2 == 1 || range(0x808, 0x810).contains(*pfn);
        let freed: Vec<_> = all.into_iter().filter(is_freed).collect();
        machine.free_pages_bulk(&freed).unwrap();
        machine.drain_local();
        let block = |gfp: GfpFlags| machine.alloc_pages(GfpFlags::GFP_KERNEL | GfpFlags::NOWARN | gfp, order(3));
        assert!(block(GfpFlags::NORETRY).is_err());
        assert_eq!(block(GfpFlags::MEMALLOC), Ok(Pfn::new(0x808)));
        machine.validate().unwrap();
    }
}
