//! The policies of the cores, one by one: those that both have, then each one's own.

use super::model::{HIGH, NORMAL, core_over, give_all, map_of, order, range, zone_of};
use super::*;
use crate::memmap::{FrameRun, PageState};
use std::vec::Vec;

/// Makes a test of each function, once for each core.
macro_rules! over_both_cores {
    ($($name:ident)*) => {
        mod classic {
            $(#[test] fn $name() { super::$name::<super::Classic<'static>>(); })*
        }
        mod compact {
            $(#[test] fn $name() { super::$name::<super::Compact<'static>>(); })*
        }
    };
}

mod broken;
mod gathering;

fn all_of(pages: u32) -> ZoneFrames<'static> {
    zone_of(map_of(&[FrameRun { frames: range(0, pages), zone: NORMAL }]), NORMAL, range(0, pages))
}

fn core_of<C: FreeCore<'static>>(pages: u32) -> C {
    core_over(all_of(pages), CoreOptions::default())
}

fn filled<C: FreeCore<'static>>(pages: u32) -> C {
    let mut core: C = core_of(pages);
    give_all(&mut core, range(0, pages));
    core
}

fn take<C: FreeCore<'static>>(core: &mut C, raw: u8, kind: MigrateType) -> u32 {
    core.take(order(raw), kind, Holder::Caller(kind)).unwrap().raw()
}

over_both_cores! {
    a_pageblock_whose_type_is_being_changed_is_not_stolen
    a_whole_pageblock_that_is_broken_while_its_type_changes_loses_nothing
    the_trace_tells_of_the_split_of_a_whole_pageblock
    a_fallback_takes_the_largest_block
    a_split_leaves_the_upper_half_of_each_order_and_a_free_merges_them_all_again
    blocks_of_two_zones_never_merge
    an_unmovable_request_takes_a_whole_movable_pageblock_over
    a_movable_request_that_borrows_a_small_block_leaves_the_pageblock_as_it_is
    contiguous_areas_are_lent_to_movable_requests_only
    the_reserve_is_used_when_nothing_else_is_left
    nothing_is_taken_from_an_isolated_pageblock_until_it_comes_back
    guards_stand_beside_an_allocation_and_go_with_it
    a_pageblock_changes_its_type_in_steps_and_what_is_freed_meanwhile_is_counted_where_it_comes
    a_search_for_many_blocks_ends_before_it_takes_long
}

fn a_split_leaves_the_upper_half_of_each_order_and_a_free_merges_them_all_again<C: FreeCore<'static>>() {
    let mut core: C = filled(1024);
    assert_eq!(take(&mut core, 0, MigrateType::Movable), 0);
    for half in Order::all().take(10) {
        assert_eq!(core.free_blocks(half, MigrateType::Movable), 1);
        // What is in a lane is no block of its own.
        let listed = if C::GATHERS && half < LANE_ORDER { Order::ZERO } else { half };
        assert_eq!(core.frames().map.state(Pfn::new(half.pages())), Some(PageState::Free(listed)));
    }
    assert_eq!(core.counts().free, 1023);
    core.give(Pfn::new(0), Order::ZERO).unwrap();
    assert_eq!(core.free_blocks(Order::LARGEST, MigrateType::Movable), 1);
    core.validate().unwrap();
}

#[test]
fn the_block_freed_last_is_taken_first() {
    let mut core: Classic<'static> = filled(1024);
    let pages: [u32; 8] = core::array::from_fn(|_| take(&mut core, 0, MigrateType::Movable));
    // 1 and 5 do not merge: their buddies 0 and 4 are taken; nor would the blocks above them.
    core.give(Pfn::new(pages[1]), Order::ZERO).unwrap();
    core.give(Pfn::new(pages[5]), Order::ZERO).unwrap();
    assert_eq!(take(&mut core, 0, MigrateType::Movable), pages[5]);
    assert_eq!(take(&mut core, 0, MigrateType::Movable), pages[1]);
}

#[test]
fn a_block_that_will_merge_soon_goes_to_the_back() {
    let mut core: Classic<'static> = filled(1024);
    let pages: [u32; 8] = core::array::from_fn(|_| take(&mut core, 0, MigrateType::Movable));
    assert_eq!(pages, [0, 1, 2, 3, 4, 5, 6, 7]);
    core.give(Pfn::new(5), Order::ZERO).unwrap();
    core.give(Pfn::new(2), Order::ZERO).unwrap();
    core.give(Pfn::new(3), Order::ZERO).unwrap();
    // 2-3 is free as order 1, so 0 would soon merge to 0-3: it goes behind 5, though it was freed last.
    core.give(Pfn::new(0), Order::ZERO).unwrap();
    assert_eq!(take(&mut core, 0, MigrateType::Movable), 5);
    assert_eq!(take(&mut core, 0, MigrateType::Movable), 0);
}

#[test]
fn single_pages_come_from_the_lowest_pageblock_that_others_were_taken_from() {
    let mut core: Compact<'static> = filled(4096);
    let mut pages: [u32; 3072] = core::array::from_fn(|_| take(&mut core, 0, MigrateType::Movable));
    pages.sort_unstable();
    // One page in each of the three pageblocks, the lowest one freed first.
    let freed = [pages[70], pages[1100], pages[2100]];
    freed.iter().for_each(|pfn| core.give(Pfn::new(*pfn), Order::ZERO).unwrap());
    assert_eq!(core.front(MigrateType::Movable), Pfn::new((freed[0] / 1024 + 1) * 1024).into());
    core.validate().unwrap();
    assert_eq!(take(&mut core, 0, MigrateType::Movable), freed[0]);
    core.validate().unwrap();
}

#[test]
fn pages_small_and_large_blocks_break_pageblocks_of_their_own_which_are_anyones_once_they_are_whole() {
    let mut core: Compact<'static> = filled(4096);
    let blocks = [0, 6, 7].map(|raw| (take(&mut core, raw, MigrateType::Movable), order(raw)));
    let pageblock = |(pfn, _): (u32, Order)| pfn / 1024;
    assert_eq!(core.free_blocks(Order::LARGEST, MigrateType::Movable), 1);
    for (raw, like) in [(0, 0), (1, 1), (5, 1), (6, 1), (8, 2), (9, 2)] {
        assert_eq!(take(&mut core, raw, MigrateType::Movable) / 1024, pageblock(blocks[like]));
    }
    assert_eq!(core.free_blocks(Order::LARGEST, MigrateType::Movable), 1);
    core.validate().unwrap();
    let mut core: Compact<'static> = filled(1024);
    for raw in [0, 7, 3, 0] {
        let pfn = take(&mut core, raw, MigrateType::Movable);
        core.validate().unwrap();
        core.give(Pfn::new(pfn), order(raw)).unwrap();
        assert_eq!(core.free_blocks(Order::LARGEST, MigrateType::Movable), 1);
        core.validate().unwrap();
    }
}

#[test]
fn runs_in_lanes_serve_larger_requests_when_nothing_else_is_left() {
    let mut core: Compact<'static> = filled(1024);
    let pages: [u32; 1024] = core::array::from_fn(|_| take(&mut core, 0, MigrateType::Movable));
    let free = |core: &mut Compact<'static>, pfn: u32| core.give(Pfn::new(pfn), Order::ZERO).unwrap();
    assert!(pages.is_sorted());
    // A run of eight and a page; a pair that is not aligned.
    (40..49).chain([63, 64]).for_each(|pfn| free(&mut core, pfn));
    core.validate().unwrap();
    let blocks =
        |core: &Compact<'static>| [0, 1, 2, 3, 4].map(|raw| core.free_blocks(order(raw), MigrateType::Movable));
    assert_eq!(blocks(&core), [3, 0, 0, 1, 0]);
    assert_eq!(core.take(order(4), MigrateType::Movable, Holder::Pageset), None);
    assert_eq!(take(&mut core, 1, MigrateType::Movable), 40);
    assert_eq!(blocks(&core), [3, 1, 1, 0, 0]);
    assert_eq!(core.frames().map.head_of(Pfn::new(41)), Some((Pfn::new(40), order(1))));
    // Another type takes the largest run there is, and what is free of the pageblock is listed as its own.
    assert_eq!(take(&mut core, 0, MigrateType::Unmovable), 44);
    while core.move_some().is_some() {
        core.validate().unwrap();
    }
    core.give(Pfn::new(40), order(1)).unwrap();
    (0..40).chain([44]).chain(49..63).chain(65..1024).for_each(|pfn| free(&mut core, pfn));
    assert_eq!(core.counts().free, 1024);
    core.validate().unwrap();
}

#[test]
fn a_pageblock_whose_type_changed_has_no_lanes_until_it_is_whole_again() {
    let mut core: Compact<'static> = filled(1024);
    let first = take(&mut core, 0, MigrateType::Movable);
    let second = take(&mut core, 0, MigrateType::Movable);
    let state = |core: &Compact<'static>| core.frames().map.state(Pfn::new(2));
    assert_eq!(state(&core), Some(PageState::Free(Order::ZERO)));
    core.set_block_type(Pfn::new(0), MigrateType::Unmovable);
    assert_eq!(state(&core), Some(PageState::Free(order(1))));
    core.validate().unwrap();
    [first, second].iter().for_each(|pfn| core.give(Pfn::new(*pfn), Order::ZERO).unwrap());
    assert_eq!(take(&mut core, 0, MigrateType::Unmovable), 0);
    assert_eq!(state(&core), Some(PageState::Free(Order::ZERO)));
    core.validate().unwrap();
}

#[test]
fn a_pageblock_that_is_given_the_type_it_has_keeps_no_hints() {
    let mut core: Compact<'static> = filled(1024);
    assert_eq!(take(&mut core, 0, MigrateType::Movable), 0);
    core.set_block_type(Pfn::new(0), MigrateType::Movable);
    core.validate().unwrap();
    assert_eq!(core.front(MigrateType::Movable), None);
    assert_eq!(take(&mut core, 0, MigrateType::Movable), 1);
    core.validate().unwrap();
}

#[test]
fn small_blocks_take_what_the_boot_left_of_other_types_before_they_break_a_whole_pageblock() {
    let mut core: Compact<'static> = core_of(3072);
    give_all(&mut core, range(16, 3072));
    assert_eq!(take(&mut core, 9, MigrateType::Unmovable) / 1024, 2);
    // A whole pageblock of its own type, and still the leftovers serve.
    assert_eq!(take(&mut core, 10, MigrateType::Unmovable), 1024);
    core.give(Pfn::new(1024), Order::LARGEST).unwrap();
    for _ in 0..15 {
        assert!(take(&mut core, 6, MigrateType::Unmovable) < 1024);
    }
    assert_eq!(take(&mut core, 6, MigrateType::Unmovable) / 1024, 1);
    core.validate().unwrap();
}

fn blocks_of_two_zones_never_merge<C: FreeCore<'static>>() {
    let map =
        map_of(&[FrameRun { frames: range(0, 512), zone: NORMAL }, FrameRun { frames: range(512, 1024), zone: HIGH }]);
    let mut low: C = core_over(zone_of(map, NORMAL, range(0, 512)), CoreOptions::default());
    let mut high: C = core_over(zone_of(map, HIGH, range(512, 1024)), CoreOptions::default());
    give_all(&mut low, range(0, 512));
    give_all(&mut high, range(512, 1024));
    assert_eq!((low.free_blocks(order(9), MigrateType::Movable), low.counts().free), (1, 512));
    assert_eq!((high.free_blocks(order(9), MigrateType::Movable), high.counts().free), (1, 512));
    let error = FreeError::OtherZone { pfn: Pfn::new(512), order: order(9), zone: NORMAL };
    assert_eq!(low.give(Pfn::new(512), order(9)), Err(error));
    assert_eq!(low.give(Pfn::new(1), order(1)), Err(FreeError::Misaligned { pfn: Pfn::new(1), order: order(1) }));
    low.validate().unwrap();
    high.validate().unwrap();
}

fn an_unmovable_request_takes_a_whole_movable_pageblock_over<C: FreeCore<'static>>() {
    let mut core: C = filled(2048);
    let first = take(&mut core, 0, MigrateType::Unmovable);
    assert_eq!(core.frames().usemap.get(Pfn::new(first)), MigrateType::Unmovable);
    // The next request is served from the same pageblock, the other one stays movable and whole.
    assert_eq!(take(&mut core, 0, MigrateType::Unmovable) / 1024, first / 1024);
    assert_eq!(core.free_blocks(Order::LARGEST, MigrateType::Movable), 1);
    core.validate().unwrap();
}

fn a_movable_request_that_borrows_a_small_block_leaves_the_pageblock_as_it_is<C: FreeCore<'static>>() {
    let mut core: C = filled(1024);
    let unmovable: [u32; 512] = core::array::from_fn(|_| take(&mut core, 0, MigrateType::Unmovable));
    assert_eq!(take(&mut core, 9, MigrateType::Unmovable), 512);
    // One block of order 4 is all that is free: 2^4 is below half a pageblock's logarithm.
    unmovable[32..48].iter().for_each(|pfn| core.give(Pfn::new(*pfn), Order::ZERO).unwrap());
    assert_eq!(take(&mut core, 0, MigrateType::Movable), 32);
    assert_eq!(core.frames().usemap.get(Pfn::new(32)), MigrateType::Unmovable);
    core.validate().unwrap();
}

fn contiguous_areas_are_lent_to_movable_requests_only<C: FreeCore<'static>>() {
    let mut core: C = core_of(1024);
    core.set_block_type(Pfn::new(0), MigrateType::Cma);
    give_all(&mut core, range(0, 1024));
    assert_eq!(core.counts(), FreeCounts { free: 1024, cma: 1024, ..FreeCounts::default() });
    assert_eq!(core.take(Order::ZERO, MigrateType::Unmovable, Holder::Caller(MigrateType::Unmovable)), None);
    assert_eq!(core.take(Order::ZERO, MigrateType::Reclaimable, Holder::Caller(MigrateType::Reclaimable)), None);
    let pfn = take(&mut core, 3, MigrateType::Movable);
    assert_eq!(core.counts().cma, 1016);
    core.give(Pfn::new(pfn), order(3)).unwrap();
    assert_eq!(core.counts().cma, 1024);
}

fn the_reserve_is_used_when_nothing_else_is_left<C: FreeCore<'static>>() {
    let mut core: C = filled(2048);
    core.set_block_type(Pfn::new(0), MigrateType::Reserve);
    assert_eq!(take(&mut core, 10, MigrateType::Unmovable), 1024);
    assert_eq!(take(&mut core, 0, MigrateType::Unmovable), 0);
    assert_eq!(core.frames().usemap.get(Pfn::new(0)), MigrateType::Reserve);
}

fn nothing_is_taken_from_an_isolated_pageblock_until_it_comes_back<C: FreeCore<'static>>() {
    let mut core: C = filled(1024);
    assert_eq!(core.set_block_type(Pfn::new(0), MigrateType::Isolate), 1024);
    assert_eq!(core.counts(), FreeCounts { isolated: 1024, ..FreeCounts::default() });
    assert_eq!(core.take(Order::ZERO, MigrateType::Movable, Holder::Caller(MigrateType::Movable)), None);
    assert_eq!(core.frames().map.state(Pfn::new(0)), Some(PageState::Isolated(Order::LARGEST)));
    assert_eq!(core.set_block_type(Pfn::new(0), MigrateType::Movable), 1024);
    assert_eq!(take(&mut core, 10, MigrateType::Movable), 0);
}

fn guards_stand_beside_an_allocation_and_go_with_it<C: FreeCore<'static>>() {
    let map = map_of(&[FrameRun { frames: range(0, 1024), zone: NORMAL }]);
    let options = CoreOptions { guard_minorder: order(2), ..CoreOptions::default() };
    let mut core: C = core_over(zone_of(map, NORMAL, range(0, 1024)), options);
    give_all(&mut core, range(0, 1024));
    assert_eq!(take(&mut core, 0, MigrateType::Movable), 0);
    assert_eq!(map.state(Pfn::new(1)), Some(PageState::Guard(order(0))));
    assert_eq!(map.state(Pfn::new(2)), Some(PageState::Guard(order(1))));
    // 1024 = 1 taken + 1 + 2 guards + 1020 free.
    assert_eq!(core.counts(), FreeCounts { free: 1020, guard: 3, ..FreeCounts::default() });
    core.give(Pfn::new(0), Order::ZERO).unwrap();
    assert_eq!(core.counts(), FreeCounts { free: 1024, ..FreeCounts::default() });
    core.validate().unwrap();
    // Of several, too: each is cut out by itself.
    let mut runs = Vec::new();
    core.take_many(Order::ZERO, Wanted::exactly(4), MigrateType::Movable, Holder::Pageset, |_, pages| runs.push(pages));
    assert!(runs.len() > 1 && runs.iter().all(|pages| *pages == 1) && core.counts().guard > 0, "{runs:?}");
    core.validate().unwrap();
}

/// A core of one pageblock of which every second page is free; the others are returned.
fn checkerboard<C: FreeCore<'static>>() -> (C, Vec<u32>) {
    let mut core: C = filled(1024);
    let mut pages: Vec<u32> = (0..1024).map(|_| take(&mut core, 0, MigrateType::Movable)).collect();
    pages.sort_unstable();
    pages.iter().skip(1).step_by(2).for_each(|pfn| core.give(Pfn::new(*pfn), Order::ZERO).unwrap());
    (core, pages.into_iter().step_by(2).collect())
}

fn a_pageblock_changes_its_type_in_steps_and_what_is_freed_meanwhile_is_counted_where_it_comes<C: FreeCore<'static>>() {
    let (mut core, held) = checkerboard::<C>();
    assert!(core.start_move(Pfn::new(0), MigrateType::Isolate));
    assert!(!core.start_move(Pfn::new(0), MigrateType::Cma));
    // What is in a lane is listed first.
    let first = core.move_some().unwrap() + core.move_some().unwrap();
    assert!((1..256).contains(&first), "{first} pages in two steps");
    // One page that the change has reached, one that it has not: both merge with their buddies.
    for pfn in [held[0], held[511]] {
        core.give(Pfn::new(pfn), Order::ZERO).unwrap();
        core.validate().unwrap();
    }
    while core.move_some().is_some() {
        core.validate().unwrap();
    }
    assert!(!core.is_moving());
    assert_eq!(core.counts(), FreeCounts { isolated: 514, ..FreeCounts::default() });
    assert_eq!(core.free_blocks(order(1), MigrateType::Isolate), 2);
    held[1..511].iter().for_each(|pfn| core.give(Pfn::new(*pfn), Order::ZERO).unwrap());
    assert_eq!(core.free_blocks(Order::LARGEST, MigrateType::Isolate), 1);
    core.validate().unwrap();
}

fn a_search_for_many_blocks_ends_before_it_takes_long<C: FreeCore<'static>>() {
    let (mut core, _) = checkerboard::<C>();
    let mut blocks = 0;
    let taken = core.take_many(Order::ZERO, Wanted::exactly(500), MigrateType::Movable, Holder::Pageset, |_, count| {
        blocks += count
    });
    assert_eq!(taken, blocks);
    assert!((1..100).contains(&taken), "{taken} pages, each found by itself");
}

fn a_pageblock_whose_type_is_being_changed_is_not_stolen<C: FreeCore<'static>>() {
    let mut core: C = filled(1024);
    assert!(core.start_move(Pfn::new(0), MigrateType::Isolate));
    assert_eq!(take(&mut core, 0, MigrateType::Unmovable), 0);
    while core.move_some().is_some() {}
    core.validate().unwrap();
    assert_eq!(core.frames().usemap.get(Pfn::new(0)), MigrateType::Isolate);
}

fn a_whole_pageblock_that_is_broken_while_its_type_changes_loses_nothing<C: FreeCore<'static>>() {
    let mut core: C = filled(1024);
    assert!(core.start_move(Pfn::new(0), MigrateType::Movable));
    assert_eq!(take(&mut core, 0, MigrateType::Movable), 0);
    core.validate().unwrap();
    while core.move_some().is_some() {
        core.validate().unwrap();
    }
    core.give(Pfn::new(0), Order::ZERO).unwrap();
    core.validate().unwrap();
    assert_eq!(core.free_blocks(Order::LARGEST, MigrateType::Movable), 1);
}

fn the_trace_tells_of_the_split_of_a_whole_pageblock<C: FreeCore<'static>>() {
    let map = map_of(&[FrameRun { frames: range(0, 1024), zone: NORMAL }]);
    let mut frames = zone_of(map, NORMAL, range(0, 1024));
    let ring = model::ring();
    frames.trace = Some(ring);
    let mut core: C = core_over(frames, CoreOptions::default());
    give_all(&mut core, range(0, 1024));
    let pfn = take(&mut core, 0, MigrateType::Movable);
    core.frames().note_taken(Pfn::new(pfn), Order::ZERO);
    let split = What::Split { from: Order::LARGEST, kind: MigrateType::Movable };
    assert_eq!(ring.events().last().map(|event| event.what), Some(split));
}

fn a_fallback_takes_the_largest_block<C: FreeCore<'static>>() {
    let mut core: C = core_of(2048);
    give_all(&mut core, range(1, 2));
    give_all(&mut core, range(1024, 2048));
    (0..1025).for_each(|_| _ = take(&mut core, 0, MigrateType::Movable));
    core.give(Pfn::new(1), Order::ZERO).unwrap();
    (1040..1056).for_each(|pfn| core.give(Pfn::new(pfn), Order::ZERO).unwrap());
    assert_eq!(take(&mut core, 0, MigrateType::Unmovable), 1040);
}

#[test]
fn what_a_free_lists_of_a_lane_while_a_type_changes_is_part_of_its_work() {
    let (mut core, held) = checkerboard::<Compact<'static>>();
    core.start_move(Pfn::new(0), MigrateType::Isolate);
    let (mut work, mut given) = (Compact::<'static>::WORK, 0);
    while work.is_left() {
        work = work.gave(core.give_claimed(Pfn::new(held[given * 16]), Order::ZERO));
        given += 1;
    }
    assert!(given <= 2, "{given} lanes were listed under one hold of the lock");
}
