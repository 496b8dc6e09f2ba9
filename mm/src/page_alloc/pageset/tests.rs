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
