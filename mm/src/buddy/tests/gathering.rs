//! Which pageblocks the compact core keeps for what, and what it knows of each.

use super::*;
use crate::buddy::list::Row;
use crate::buddy::model::ring;

type Core = Compact<'static>;

#[test]
fn small_blocks_come_from_what_the_boot_left_before_their_own_pageblocks() {
    let mut core: Core = core_of(2048);
    give_all(&mut core, range(1024, 2048));
    assert_eq!(take(&mut core, 1, MigrateType::Movable), 1024);
    give_all(&mut core, range(16, 1024));
    assert_eq!(take(&mut core, 1, MigrateType::Movable), 16);
}

#[test]
fn large_blocks_leave_what_the_boot_left_alone() {
    let mut core: Core = core_of(2048);
    give_all(&mut core, range(16, 2048));
    assert_eq!(take(&mut core, 7, MigrateType::Movable), 1024);
}

#[test]
fn what_a_pageblock_that_was_taken_whole_gives_back_is_no_leftover() {
    let taken_whole: [fn(&mut Core) -> u32; 2] = [
        |core| {
            let whole = take(core, 10, MigrateType::Movable);
            core.was_cut(Pfn::new(whole));
            whole
        },
        |core| {
            let whole = core.lists.first(Order::LARGEST, Row::new(0, MigrateType::Movable as u32)).unwrap();
            assert_eq!(core.take_at(whole, Holder::Pageset), Some(Order::LARGEST));
            whole.raw()
        },
    ];
    for take_whole in taken_whole {
        let mut core: Core = filled(2048);
        let small = take(&mut core, 1, MigrateType::Movable);
        let whole = take_whole(&mut core);
        core.frames().map.at(Pfn::new(whole)).set_word(Holder::Pageset.word(order(9)));
        core.give(Pfn::new(whole + 512), order(9)).unwrap();
        assert_eq!(take(&mut core, 1, MigrateType::Movable) / 1024, small / 1024);
        core.validate().unwrap();
    }
}

#[test]
fn pages_of_a_pageblock_that_was_taken_whole_are_no_leftover() {
    let mut core: Core = filled(4096);
    let mut runs = Vec::new();
    let wanted = Wanted::exactly(1024);
    core.take_many(Order::ZERO, wanted, MigrateType::Movable, Holder::Pageset, |pfn, pages| runs.push((pfn, pages)));
    let small = take(&mut core, 1, MigrateType::Movable);
    for (pfn, pages) in runs {
        (0..pages / 2).for_each(|page| _ = core.give_page(Pfn::new(pfn.raw() + page)));
    }
    assert_eq!(take(&mut core, 1, MigrateType::Movable) / 1024, small / 1024);
    core.validate().unwrap();
}

#[test]
fn a_pageblock_of_which_half_was_free_comes_over_when_the_steps_are_done() {
    let mut core: Core = filled(1024);
    assert_eq!(take(&mut core, 9, MigrateType::Movable), 0);
    assert_eq!(take(&mut core, 0, MigrateType::Unmovable), 512);
    while core.move_some().is_some() {
        core.validate().unwrap();
    }
    assert_eq!(core.frames().usemap.get(Pfn::new(0)), MigrateType::Unmovable);
    core.give(Pfn::new(0), order(9)).unwrap();
    assert_eq!(core.free_blocks(order(9), MigrateType::Unmovable), 1);
    core.validate().unwrap();
}

#[test]
fn a_whole_pageblock_on_the_lists_of_a_type_that_it_lost_gets_no_lanes() {
    let mut core: Core = filled(1024);
    (0..1024).for_each(|_| _ = take(&mut core, 0, MigrateType::Movable));
    (0..512).for_each(|pfn| core.give(Pfn::new(pfn), Order::ZERO).unwrap());
    assert_eq!(take(&mut core, 0, MigrateType::Unmovable), 0);
    core.move_some();
    assert!(core.is_moving());
    core.give(Pfn::new(0), Order::ZERO).unwrap();
    (512..1024).for_each(|pfn| core.give(Pfn::new(pfn), Order::ZERO).unwrap());
    while core.move_some().is_some() {}
    core.validate().unwrap();
    let kind = core.frames().usemap.get(Pfn::new(0));
    let other = if kind == MigrateType::Movable { MigrateType::Unmovable } else { MigrateType::Movable };
    take(&mut core, 0, other);
    core.validate().unwrap();
}

#[test]
fn a_whole_pageblock_that_is_taken_over_for_single_pages_has_lanes() {
    let mut core: Core = filled(1024);
    assert_eq!(take(&mut core, 0, MigrateType::Unmovable), 0);
    assert_eq!(core.front(MigrateType::Unmovable), Some(Pfn::new(1024)));
}

#[test]
fn a_core_begins_with_the_types_that_its_pageblocks_have() {
    let frames = all_of(2048);
    frames.usemap.set(Pfn::new(1024), MigrateType::Cma);
    let mut core: Core = core_over(frames, CoreOptions::default());
    give_all(&mut core, range(0, 2048));
    core.validate().unwrap();
    assert_eq!(core.counts().cma, 1024);
}

#[test]
fn single_pages_of_a_contiguous_area_are_counted_as_its() {
    let frames = all_of(1024);
    frames.usemap.set(Pfn::new(0), MigrateType::Cma);
    let mut core: Core = core_over(frames, CoreOptions::default());
    give_all(&mut core, range(0, 1024));
    let page = take(&mut core, 0, MigrateType::Movable);
    assert_eq!(core.counts().cma, 1023);
    core.give_page(Pfn::new(page));
    assert_eq!(core.counts().cma, 1024);
    core.validate().unwrap();
}

#[test]
fn a_pageblock_that_was_whole_and_is_taken_whole_has_no_lanes() {
    let mut core: Core = filled(1024);
    assert_eq!(take(&mut core, 0, MigrateType::Movable), 0);
    core.give(Pfn::new(0), Order::ZERO).unwrap();
    assert_eq!(take(&mut core, 10, MigrateType::Movable), 0);
    core.give(Pfn::new(0), order(9)).unwrap();
    assert_eq!(core.front(MigrateType::Movable), None);
    core.validate().unwrap();
}

#[test]
fn the_trace_tells_of_a_merge_that_fills_a_lane() {
    let mut frames = all_of(1024);
    let ring = ring();
    frames.trace = Some(ring);
    let mut core: Core = core_over(frames, CoreOptions::default());
    give_all(&mut core, range(0, 1024));
    let pfn = take(&mut core, 0, MigrateType::Movable);
    core.give(Pfn::new(pfn), Order::ZERO).unwrap();
    let merge = What::Merge { from: Order::ZERO, kind: MigrateType::Movable };
    assert_eq!(ring.events().last().map(|event| event.what), Some(merge));
}
