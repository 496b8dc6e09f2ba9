//! Rings, room and drains of one pageset.

use super::*;
use crate::migrate::MigrateType;
use std::vec::Vec;

fn slots() -> Vec<AtomicU32> {
    (0..Pageset::SLOTS).map(|_| AtomicU32::new(0)).collect()
}

fn ring(kind: MigrateType) -> RingIndex {
    RingIndex::of(Order::ZERO, kind)
}

fn push(set: &Pageset<'_>, pfn: u32, kind: MigrateType) -> bool {
    set.push_hit(Pfn::new(pfn), Order::ZERO, true, || Some(kind as u32))
}

#[test]
fn the_hot_end_is_a_stack_and_the_cold_end_is_its_bottom() {
    let slots = slots();
    let set = Pageset::new(&slots, PagesetSize { high: 6, batch: 2 }).unwrap();
    let movable = ring(MigrateType::Movable);
    for pfn in 1..=4 {
        assert!(push(&set, pfn, MigrateType::Movable));
    }
    set.push_freed(Pfn::new(9), movable, Heat::Cold, false);
    assert_eq!(set.pop(movable, Heat::Hot), Some(Pfn::new(4)));
    assert_eq!(set.pop(movable, Heat::Cold), Some(Pfn::new(9)));
    assert_eq!(set.pop(movable, Heat::Cold), Some(Pfn::new(1)));
    assert_eq!(set.iter().map(|(pfn, _)| pfn.raw()).collect::<Vec<_>>(), [3, 2]);
    assert_eq!(set.pop(ring(MigrateType::Unmovable), Heat::Hot), None);
}

#[test]
fn high_bounds_the_sum_over_types_and_orders_in_pages() {
    let slots = slots();
    let set = Pageset::new(&slots, PagesetSize { high: 4, batch: 1 }).unwrap();
    assert!(push(&set, 1, MigrateType::Movable));
    assert!(push(&set, 2, MigrateType::Unmovable));
    let pair = Order::new(1).unwrap();
    assert!(set.push_hit(Pfn::new(4), pair, false, || Some(0)));
    assert!(!push(&set, 3, MigrateType::Movable));
    assert_eq!((set.count(), set.recount()), (4, 0));
    let mut drained = Vec::new();
    let mut drain = |blocks: Cold<'_>, order: Order| {
        drained.extend(blocks.map(|pfn| (pfn.raw(), order.raw())));
        0
    };
    assert_eq!(set.take_coldest(1, false, &mut drain) + set.take_coldest(9, false, &mut drain), 4);
    drained.sort_unstable();
    assert_eq!(drained, [(1, 0), (2, 0), (4, 1)]);
    assert!(!push(&set, 3, MigrateType::Movable));
    assert_eq!(set.recount(), 4);
    assert!(push(&set, 3, MigrateType::Movable));
}

#[test]
fn pages_beyond_the_front_are_not_reused_but_returned_first() {
    let slots = slots();
    let set = Pageset::new(&slots, PagesetSize { high: 8, batch: 4 }).unwrap();
    let movable = ring(MigrateType::Movable);
    set.set_front(movable, Pfn::new(100));
    for pfn in [99, 100, 5] {
        assert!(push(&set, pfn, MigrateType::Movable));
    }
    assert_eq!((set.count(), set.returns()), (3, 1));
    assert_eq!(set.pop_hot(movable), Some(Pfn::new(5)));
    set.take_coldest(1, true, |mut blocks, _| {
        assert_eq!(blocks.next(), Some(Pfn::new(100)));
        blocks.left()
    });
    assert_eq!(set.pop_hot(movable), Some(Pfn::new(99)));
    assert_eq!(set.pop_hot(movable), None);
    // Of larger blocks each page counts.
    let pairs = RingIndex::of(Order::new(1).unwrap(), MigrateType::Movable);
    set.set_front(pairs, Pfn::new(100));
    set.push_freed(Pfn::new(102), pairs, Heat::Hot, true);
    assert_eq!((set.count(), set.returns()), (2, 2));
}

#[test]
fn a_drain_asks_no_further_ring_when_one_has_blocks_left() {
    let slots = slots();
    for gathers in [false, true] {
        let set = Pageset::new(&slots, PagesetSize { high: 16, batch: 8 }).unwrap();
        if gathers {
            set.set_front(ring(MigrateType::Reclaimable), Pfn::new(100));
        }
        for pfn in [1, 2, 3, 4, 101, 102] {
            assert!(push(&set, pfn, [MigrateType::Unmovable, MigrateType::Reclaimable][pfn as usize % 2]));
        }
        // One block less than there are is taken from each ring that is asked.
        let mut asked = Vec::new();
        let taken = set.take_coldest(6, gathers, |blocks, _| {
            asked.push(blocks.left());
            1
        });
        // With a front 101 waits alone to be returned: it is asked for, and stays.
        assert_eq!((asked, taken), if gathers { (Vec::from([1]), 0) } else { (Vec::from([3]), 2) });
        let mut asked = 0;
        let reclaimable = ring(MigrateType::Reclaimable);
        let taken = set.take_like(reclaimable, 6, gathers, &mut |_: Cold<'_>, _| {
            asked += 1;
            1
        });
        assert_eq!((asked, taken), if gathers { (1, 0) } else { (1, 2) });
    }
}

#[test]
fn what_was_freed_is_known_without_hits_that_count() {
    let slots = slots();
    let set = Pageset::new(&slots, PagesetSize { high: 20, batch: 4 }).unwrap();
    let movable = ring(MigrateType::Movable);
    for pfn in 0..6 {
        set.stock(Pfn::new(pfn), 1, movable, Heat::Hot);
    }
    set.recount();
    set.pop_hot(movable).unwrap();
    assert!(push(&set, 50, MigrateType::Movable));
    assert_eq!(set.freed(), 1);
    set.take_coldest(2, false, |_, _| 0);
    set.recount();
    assert!(push(&set, 51, MigrateType::Movable));
    set.push_freed(Pfn::new(52), movable, Heat::Hot, false);
    assert_eq!(set.freed(), 3);
}

#[test]
fn a_closed_pageset_has_no_room_and_opens_nothing() {
    let slots = slots();
    let set = Pageset::new(&slots, PagesetSize { high: 20, batch: 4 }).unwrap();
    let movable = ring(MigrateType::Movable);
    set.set_open(u32::MAX);
    assert!(set.is_open(movable));
    set.set_closed(true);
    set.set_open(u32::MAX);
    assert_eq!(set.recount(), 20);
    assert!(!set.is_open(movable) && !push(&set, 1, MigrateType::Movable));
    // Nor does it get any when blocks go to the zone.
    set.make_room(4);
    assert!(!push(&set, 1, MigrateType::Movable));
    set.set_closed(false);
    set.recount();
    assert!(push(&set, 1, MigrateType::Movable));
    assert_eq!(set.freed(), 1);
}

#[test]
fn what_goes_to_the_zone_is_room_at_once_and_no_free_by_a_hit() {
    let slots = slots();
    let set = Pageset::new(&slots, PagesetSize { high: 4, batch: 2 }).unwrap();
    set.recount();
    for pfn in 1..=4 {
        assert!(push(&set, pfn, MigrateType::Movable));
    }
    assert!(!push(&set, 5, MigrateType::Movable));
    assert_eq!(set.take_coldest(2, false, |_, _| 0), 2);
    set.make_room(2);
    assert!(push(&set, 5, MigrateType::Movable) && push(&set, 6, MigrateType::Movable));
    assert!(!push(&set, 7, MigrateType::Movable));
    assert_eq!(set.freed(), 6);
}

#[test]
fn the_boot_pageset_stocks_nothing_and_too_few_slots_are_refused() {
    let slots = slots();
    let boot = Pageset::new(&slots, PagesetSize::BOOT).unwrap();
    assert!(!push(&boot, 1, MigrateType::Movable));
    assert!(Pageset::new(&slots[1..], PagesetSize::BOOT).is_none());
    assert!(Pageset::new(&slots, PagesetSize { high: 257, batch: 31 }).is_none());
    assert!(Pageset::new(&slots, PagesetSize { high: 256, batch: 0 }).is_none());
}

#[test]
fn a_ring_fills_its_pageset_with_more_than_half_of_the_bound_and_than_a_drain_takes() {
    let slots = slots();
    let (unmovable, movable) = (ring(MigrateType::Unmovable), ring(MigrateType::Movable));
    // So many movable pages, and as many others as fit.
    let filled = |size: PagesetSize, most: u32| {
        let set = Pageset::new(&slots, size).unwrap();
        for pfn in 0..size.high {
            assert!(push(&set, pfn, if pfn < most { MigrateType::Movable } else { MigrateType::Unmovable }));
        }
        set
    };
    let (usual, small) = (PagesetSize { high: 20, batch: 5 }, PagesetSize { high: 8, batch: 6 });
    for (size, most, fills) in
        [(usual, 10, false), (usual, 11, true), (usual, 20, true), (small, 6, false), (small, 7, true)]
    {
        let set = filled(size, most);
        assert_eq!((set.fills(movable, 1, false), set.fills(unmovable, 1, false)), (fills, false), "{size:?} {most}");
    }
    // Not while there is room.
    let set = filled(usual, 20);
    set.take_like(movable, 1, false, &mut |_: Cold<'_>, _| 0);
    set.make_room(1);
    assert!(!set.fills(movable, 1, false) && set.fills(movable, 2, false));
    // Only a count knows when it is closed, when the bound has changed, or when there was more.
    let set = filled(usual, 20);
    set.set_closed(true);
    assert!(!set.fills(movable, 1, false));
    set.set_closed(false);
    assert!(set.fills(movable, 1, false));
    set.high.store(12, Relaxed);
    assert!(!set.fills(movable, 1, false));
    set.recount();
    assert!(!set.fills(movable, 1, false));
    set.take_like(movable, 8, false, &mut |_: Cold<'_>, _| 0);
    set.recount();
    assert!(set.fills(movable, 1, false));
}

#[test]
fn blocks_to_be_returned_count_where_the_core_gathers_and_blocks_by_their_pages() {
    let slots = slots();
    let set = Pageset::new(&slots, PagesetSize { high: 20, batch: 5 }).unwrap();
    let pairs = RingIndex::of(Order::new(1).unwrap(), MigrateType::Movable);
    set.set_front(pairs, Pfn::new(8));
    for pfn in (0..20).step_by(2) {
        assert!(set.push_hit(Pfn::new(pfn), pairs.order(), true, || Some(MigrateType::Movable as u32)));
    }
    assert_eq!((set.count(), set.returns()), (20, 12));
    // Eight pages are in the ring itself.
    assert!(set.fills(pairs, 2, true) && !set.fills(pairs, 2, false));
    assert_eq!(set.take_like(pairs, 3, true, &mut |_: Cold<'_>, _| 0), 4);
    assert_eq!((set.count(), set.returns()), (16, 8));
}

#[test]
fn a_refill_brings_a_batch_rounded_up_or_two_blocks_and_a_drain_no_more_than_a_free_should_wait_for() {
    let size = |batch| PagesetSize { high: 186, batch };
    let refills = |batch| [0, 1, 2, 3].map(|order| size(batch).refill(Order::new(order).unwrap()));
    assert_eq!(refills(1), [1, 2, 2, 2]);
    assert_eq!(refills(7), [8, 4, 2, 2]);
    assert_eq!(refills(31), [32, 16, 8, 4]);
    assert_eq!([7, 32, 33, 96].map(|batch| size(batch).drain()), [7, 32, 32, 32]);
}

#[test]
fn a_drain_takes_what_is_wanted_from_one_ring_after_the_other_and_less_than_a_block_more() {
    let slots = slots();
    let pairs = RingIndex::of(Order::new(1).unwrap(), MigrateType::Reclaimable);
    for wanted in 1..=12 {
        let set = Pageset::new(&slots, PagesetSize { high: 20, batch: 5 }).unwrap();
        for pfn in 0..8 {
            assert!(push(&set, pfn, [MigrateType::Movable, MigrateType::Unmovable][pfn as usize % 2]));
        }
        set.set_front(pairs, Pfn::new(102));
        for pfn in [100, 102, 104] {
            assert!(set.push_hit(Pfn::new(pfn), pairs.order(), true, || Some(MigrateType::Reclaimable as u32)));
        }
        // Two pairs wait to be returned.
        for gathers in [false, true] {
            let (before, returns) = (set.count(), set.returns());
            let taken = set.take_coldest(wanted.min(before), gathers, |_, _| 0);
            assert!((wanted.min(before)..=wanted + 1).contains(&taken), "{taken} of {wanted}");
            assert_eq!(set.count(), before - taken);
            assert!(!gathers || set.returns() <= returns.saturating_sub(wanted), "{wanted}");
        }
    }
}
