//! The allocator over small machines: hand-over, policies, wrong frees, exhaustion, CPUs as threads.

mod background;
mod bulk;
mod contiguous;
mod drain;
pub(crate) mod fixture;
mod flags;
mod following;
mod keeping;
mod nodes;
mod numa_counters;
mod owned;
mod owners;
mod policies;
mod pressure;
mod random_model;
mod random_pressure;
mod ranges;
mod replays;
mod reports;
mod resize;
mod services;
mod stocks;
mod stress;
mod turns;
mod whole;
mod wrong_frees;

use std::vec::Vec;

use self::fixture::{Machine, NORMAL};
use crate::addr::{PfnRange, PhysAddr, PhysRange};
use crate::buddy::model::{order, range};
use crate::buddy::{CoreOptions, FreeError};
use crate::memmap::PageState;
use crate::page_alloc::*;
use crate::zone::NodeSet;

#[test]
fn before_the_hand_over_nothing_can_be_allocated() {
    let machine = Machine::empty();
    let error = AllocError::NoMemory { gfp: GfpFlags::GFP_KERNEL, order: Order::ZERO };
    assert_eq!(machine.alloc_page(GfpFlags::GFP_KERNEL), Err(error));
    let tally = machine.validate().unwrap();
    assert_eq!((tally.reserved, tally.free), (4096 + 2048 - 100, 0));
}

#[test]
fn the_hand_over_frees_largest_blocks_across_zones_and_leaves_the_rest_reserved() {
    let mut machine = Machine::empty();
    // 0x400 + 7 .. 0x1400 crosses pageblocks, then the border to HighMem at 0x1400.
    let done = machine.free_all([range(0x407, 0x1200), range(0x1300, 0x1500)], []).unwrap();
    assert_eq!(done.managed, 0xdf9 + 0x200);
    assert_eq!((done.highmem, done.retired), (0x100, 0));
    // 0x407-0x7ff: 1+8+16+32+64+128+256+512 (8 blocks); two of 1,024; 0x1000-0x11ff: 512; 256 each side of 0x1400.
    assert_eq!(done.blocks, 8 + 2 + 1 + 2);
    assert_eq!(machine.map().state(Pfn::new(0x406)), Some(PageState::Reserved));
    assert_eq!(machine.map().state(Pfn::new(0x1280)), Some(PageState::Reserved));
    assert_eq!(machine.map().state(Pfn::new(0x407)), Some(PageState::Free(Order::ZERO)));
    let tally = machine.validate().unwrap();
    assert_eq!(tally.free, done.managed);
    assert_eq!(tally.reserved + tally.free, 4096 + 2048 - 100);
}

#[test]
fn memory_that_is_handed_over_twice_or_is_not_there_is_refused() {
    let mut machine = Machine::empty();
    machine.free_all([range(0x800, 0xc00)], []).unwrap();
    let pfn = Pfn::new(0x900);
    assert_eq!(machine.free_all([range(0x900, 0x904)], []), Err(HandOverError::NotReserved(pfn)));
    let hole = Pfn::new(0x1800);
    assert_eq!(machine.free_all([range(0x1800, 0x1801)], []), Err(HandOverError::NotReserved(hole)));
    let outside = Pfn::new(0x10_0000);
    assert_eq!(machine.free_all([range(0x10_0000, 0x10_0001)], []), Err(HandOverError::NotReserved(outside)));
}

#[test]
fn what_is_handed_over_in_parts_adds_up() {
    let mut machine = Machine::empty();
    let parts = [range(0x400, 0x800), range(0x1300, 0x1500)].map(|part| machine.free_all([part], []).unwrap().managed);
    assert_eq!((parts, machine.totals().managed, machine.totals().free), ([0x400, 0x200], 0x600, 0x600));
    machine.validate().unwrap();
}

#[test]
fn memblocks_own_arrays_are_freed_with_the_rest() {
    let mut machine = Machine::empty();
    let array = PhysRange::new(PhysAddr::new(0x80_0800), PhysAddr::new(0x80_3000));
    let done = machine.free_all([range(0x900, 0xa00)], [array]).unwrap();
    // Frame 0x800 is not all the array's: two whole frames.
    assert_eq!((done.managed, done.retired), (0x102, 2));
    machine.validate().unwrap();
}

#[test]
fn contiguous_areas_follow_the_hand_over_and_serve_movable_requests_only() {
    let mut machine = Machine::empty();
    machine.free_all([range(0x400, 0x410)], []).unwrap();
    let area = range(0x800, 0x1000);
    assert_eq!(machine.release_cma(range(0x801, 0x1000)), Err(HandOverError::NotPageblocks(range(0x801, 0x1000))));
    assert_eq!(machine.release_cma(range(0x400, 0x800)), Err(HandOverError::NotReserved(Pfn::new(0x400))));
    machine.release_cma(area).unwrap();
    assert_eq!(machine.release_cma(area), Err(HandOverError::NotReserved(area.start)));
    let stats = machine.zone(NORMAL).unwrap().stats();
    assert_eq!((stats.cma, stats.counts.cma, stats.managed), (2048, 2048, 2048 + 16));
    let node = machine.node_stats(NodeSet::ALL);
    assert_eq!((node.cma, node.free_cma, node.free), (2048, 2048, 2048 + 16));
    let pages = machine.take_all(GfpFlags::GFP_KERNEL, Order::ZERO);
    assert!(pages.iter().all(|pfn| range(0x400, 0x410).contains(*pfn)));
    assert_eq!(pages.len(), 16);
    let lent = machine.take_all(GfpFlags::GFP_HIGHUSER_MOVABLE, Order::ZERO);
    assert_eq!(lent.len(), 2048);
    machine.validate().unwrap();
    machine.free_pages_bulk(&pages).unwrap();
    machine.free_pages_bulk(&lent).unwrap();
    assert_eq!(machine.zone(NORMAL).unwrap().stats(), stats);
}

#[test]
fn every_order_is_allocated_aligned_and_freed() {
    let machine = Machine::full();
    let before = machine.totals();
    for order in Order::all() {
        let pfn = machine.alloc_pages(GfpFlags::GFP_KERNEL, order).unwrap();
        assert!(order.aligns(pfn));
        assert_eq!(machine.map().state(pfn), Some(PageState::Allocated(order)));
        assert_eq!(machine.map().count(pfn), Some(1));
        machine.validate().unwrap();
        machine.free_pages(pfn, order).unwrap();
        assert_eq!(machine.map().count(pfn), Some(0));
    }
    assert_eq!(machine.totals(), before);
}

#[test]
fn exhaustion_and_recovery_end_with_equal_counts_with_and_without_pagesets() {
    for pagesets in [false, true] {
        let machine = if pagesets { Machine::full().with_pagesets(1) } else { Machine::full() };
        let before = machine.totals();
        for round in 0..30u8 {
            let order = order(round % 11);
            let blocks = machine.take_all(GfpFlags::GFP_HIGHUSER_MOVABLE, order);
            let singles = machine.take_all(GfpFlags::GFP_KERNEL | GfpFlags::HIGHMEM, Order::ZERO);
            let taken = blocks.len() as u64 * u64::from(order.pages()) + singles.len() as u64;
            assert_eq!(taken, u64::from(before.managed));
            machine.validate().unwrap();
            blocks.iter().for_each(|pfn| machine.free_pages(*pfn, order).unwrap());
            machine.free_pages_bulk(&singles).unwrap();
            machine.drain_local();
            assert_eq!(machine.totals(), before);
        }
    }
}

#[test]
fn an_exact_allocation_gives_the_rest_of_its_block_back() {
    let machine = Machine::full();
    let before = machine.totals();
    let used = machine.alloc_pages_exact(GfpFlags::GFP_KERNEL, 5).unwrap();
    assert_eq!(used.pages(), 5);
    assert_eq!(machine.totals().allocated, before.allocated + 5);
    machine.validate().unwrap();
    machine.free_pages_exact(used).unwrap();
    assert_eq!(machine.totals(), before);
    assert_eq!(machine.alloc_pages_exact(GfpFlags::GFP_KERNEL, 0), Err(AllocError::Size { pages: 0 }));
    assert_eq!(machine.alloc_pages_exact(GfpFlags::GFP_KERNEL, 1025), Err(AllocError::Size { pages: 1025 }));
}

#[test]
fn the_rest_of_a_pageblock_that_was_split_does_not_draw_small_blocks_from_where_others_are() {
    let machine = Machine::full();
    let pageblock_of_a_small_one = || machine.alloc_pages(GfpFlags::GFP_KERNEL, order(4)).unwrap().raw() / 1024;
    let place = pageblock_of_a_small_one();
    let used = machine.alloc_pages_exact(GfpFlags::GFP_KERNEL, 600).unwrap();
    assert_ne!(used.start.raw() / 1024, place);
    assert_eq!(pageblock_of_a_small_one(), place);
    machine.validate().unwrap();
}

#[test]
fn a_split_block_is_freed_page_by_page_and_merges_again() {
    let machine = Machine::full();
    let before = machine.totals();
    let pfn = machine.alloc_pages(GfpFlags::GFP_KERNEL, order(4)).unwrap();
    machine.split_page(pfn, order(4)).unwrap();
    assert!(machine.split_page(pfn, order(4)).is_err());
    for page in PfnRange::new(pfn, Pfn::new(pfn.raw() + 16)).iter() {
        machine.free_pages(page, Order::ZERO).unwrap();
    }
    assert_eq!(machine.totals(), before);
    machine.validate().unwrap();
}

#[test]
fn bulk_allocations_fill_what_they_can() {
    let machine = Machine::full();
    let mut pages = [Pfn::new(0); 512];
    assert_eq!(machine.alloc_pages_bulk(GfpFlags::GFP_KERNEL, &mut pages), Ok(512));
    let all = machine.take_all(GfpFlags::GFP_KERNEL, Order::ZERO);
    machine.free_pages_bulk(&all[..7]).unwrap();
    let mut few = [Pfn::new(0); 10];
    assert_eq!(machine.alloc_pages_bulk(GfpFlags::GFP_KERNEL, &mut few), Ok(7));
    let error = AllocError::NoMemory { gfp: GfpFlags::GFP_KERNEL, order: Order::ZERO };
    assert_eq!(machine.alloc_pages_bulk(GfpFlags::GFP_KERNEL, &mut few), Err(error));
}

#[test]
fn a_block_is_free_with_its_last_reference() {
    let machine = Machine::full();
    let pfn = machine.alloc_pages(GfpFlags::GFP_KERNEL, order(2)).unwrap();
    machine.get_page(pfn).unwrap();
    assert_eq!(machine.map().count(pfn), Some(2));
    machine.free_pages(pfn, order(2)).unwrap();
    assert_eq!(machine.map().state(pfn), Some(PageState::Allocated(order(2))));
    machine.put_page(pfn).unwrap();
    assert_eq!(machine.map().count(pfn), Some(0));
    assert!(machine.get_page(pfn).is_err());
    machine.validate().unwrap();
}

#[test]
fn a_block_has_as_many_owners_as_can_be_counted_and_the_next_is_refused() {
    let machine = Machine::full();
    let pfn = machine.alloc_page(GfpFlags::GFP_KERNEL).unwrap();
    (1..0x1_0000).for_each(|_| machine.get_page(pfn).unwrap());
    assert_eq!(machine.get_page(pfn), Err(FreeError::NotReferenced { pfn, count: 0x1_0000 }));
    (0..0x1_0000).for_each(|_| machine.put_page(pfn).unwrap());
    assert_eq!(machine.map().count(pfn), Some(0));
    machine.validate().unwrap();
}

#[test]
fn guard_pages_are_part_of_the_sum() {
    let machine = Machine::with_options(Options {
        core: CoreOptions { guard_minorder: order(3), ..CoreOptions::default() },
        ..Options::default()
    });
    let before = machine.totals();
    let pages: Vec<_> = (0..40).map(|_| machine.alloc_page(GfpFlags::GFP_KERNEL).unwrap()).collect();
    assert!(machine.validate().unwrap().guard > 0);
    machine.free_pages_bulk(&pages).unwrap();
    assert_eq!(machine.totals(), before);
}

#[test]
fn what_all_zones_come_to_is_the_sum_of_each_count() {
    let core = CoreOptions { guard_minorder: order(3), ..CoreOptions::default() };
    let mut machine = Machine::reserved(Options { core, ..Options::default() });
    // Of each zone some is reserved, some lent, some free.
    machine.free_all([range(0x400, 0xc00), range(0x1410, 0x1800)], []).unwrap();
    machine.release_cma(range(0xc00, 0x1000)).unwrap();
    let machine = machine.with_pagesets(1);
    for gfp in [GfpFlags::GFP_KERNEL, GfpFlags::GFP_HIGHUSER] {
        let pages = [(); 9].map(|()| machine.alloc_page(gfp).unwrap());
        pages[..3].iter().for_each(|page| machine.free_pages(*page, Order::ZERO).unwrap());
    }
    machine.start_isolate_page_range(range(0x800, 0xc00)).unwrap();
    machine.start_isolate_page_range(range(0x1600, 0x1700)).unwrap();
    for gfp in [GfpFlags::GFP_KERNEL, GfpFlags::GFP_HIGHUSER] {
        machine.alloc_page(gfp).unwrap();
    }
    let counts = |tally: &Tally| {
        [tally.free, tally.cma, tally.isolated, tally.guard, tally.pageset, tally.allocated, tally.reserved]
    };
    let zones = machine.zones().iter().map(|zone| counts(&zone.validate().unwrap())).collect::<Vec<_>>();
    let sum = counts(&machine.validate().unwrap());
    let expected: Vec<_> = (0..7).map(|index| zones.iter().map(|zone| zone[index]).sum::<u32>()).collect();
    assert_eq!(sum.to_vec(), expected);
    assert!(sum.iter().all(|count| *count > 0), "{sum:?}");
}

#[test]
fn an_allocator_can_be_shared_between_cpus() {
    fn is_shareable<T: Send + Sync>(_: &T) {}
    is_shareable(&*Machine::empty());
}

#[test]
fn an_exact_allocation_is_of_single_pages_even_if_a_compound_page_is_asked_for() {
    let machine = Machine::full();
    let used = machine.alloc_pages_exact(GfpFlags::GFP_KERNEL | GfpFlags::COMP, 5).unwrap();
    machine.free_pages_exact(used).unwrap();
    assert_eq!(machine.totals().allocated, 0);
    machine.validate().unwrap();
}

#[test]
fn a_reserved_range_with_free_memory_inside_is_refused_as_a_whole() {
    let mut machine = Machine::empty();
    machine.free_all([range(0x900, 0x940)], []).unwrap();
    let before = machine.validate().unwrap();
    let taken = Pfn::new(0x900);
    assert_eq!(machine.free_reserved(range(0x800, 0xc00)), Err(HandOverError::NotReserved(taken)));
    assert_eq!(machine.validate().unwrap(), before);
    machine.free_reserved(range(0x800, 0x900)).unwrap();
    machine.validate().unwrap();
}

#[test]
fn a_nodes_numbers_are_its_zones_together() {
    let machine = Machine::full().with_pagesets(1);
    let gfp = [GfpFlags::GFP_KERNEL, GfpFlags::GFP_HIGHUSER];
    let taken = gfp.map(|gfp| [0; 3].map(|_| machine.alloc_pages(gfp, Order::ZERO).unwrap()));
    machine.free_pages(taken[0][0], Order::ZERO).unwrap();
    machine.free_pages(taken[1][0], Order::ZERO).unwrap();
    assert!(machine.zones().iter().all(|zone| zone.stats().pageset > 1));
    let expected = NodeStats {
        span: range(0x400, 0x1c00),
        present: 4096 + 1948,
        managed: 4096 + 1948,
        managed_high: 1948,
        free: 4096 + 1948 - 4,
        free_high: 1948 - 2,
        cma: 0,
        free_cma: 0,
    };
    assert_eq!(machine.node_stats(NodeSet::ALL), expected);
    assert_eq!(machine.node_stats(NodeSet::of(NodeId::new(1).unwrap())), NodeStats::default());
    assert_eq!(machine.nodes(), NodeSet::of(NodeId::ZERO));
}
