//! Compaction: the blocks it makes of movable pages, what it leaves alone, and when it is passed over.

use std::vec::Vec;

use super::super::fixture::{HIGH, Machine, NORMAL};
use super::super::owners::Lent;
use crate::addr::NodeId;
use crate::buddy::model::{order, range};
use crate::gfp::GfpFlags;
use crate::memmap::ZoneTag;
use crate::order::Order;
use crate::page_alloc::CompactOutcome;

fn riddled(movable: bool) -> Lent {
    Lent::new().riddle(movable)
}

#[test]
fn compaction_makes_a_largest_block_of_movable_pages_and_cannot_of_others() {
    let normal = ZoneTag::from(NORMAL);
    let lent = riddled(true);
    assert!(lent.machine.alloc_pages(GfpFlags::GFP_ATOMIC, order(1)).is_err());
    let free = lent.machine.zone(NORMAL).unwrap().stats().counts.free;
    assert_eq!(lent.machine.compact_zone(normal, Order::LARGEST), CompactOutcome::Success);
    lent.machine.drain_local();
    assert_eq!(lent.machine.zone(NORMAL).unwrap().stats().counts.free, free);
    lent.check();
    lent.machine.alloc_pages(GfpFlags::GFP_KERNEL, Order::LARGEST).unwrap();
    lent.check();

    let fixed = riddled(false);
    assert_eq!(fixed.machine.compact_zone(normal, order(1)), CompactOutcome::Complete);
    fixed.machine.drain_local();
    assert!(fixed.machine.alloc_pages(GfpFlags::GFP_KERNEL, order(1)).is_err());
    fixed.check();
}

#[test]
fn a_request_that_may_wait_has_movable_pages_moved_for_it() {
    for (gfp, movable) in [(GfpFlags::GFP_ATOMIC, true), (GfpFlags::GFP_KERNEL, false), (GfpFlags::GFP_KERNEL, true)] {
        let lent = riddled(movable);
        let block = lent.machine.alloc_pages(gfp, order(8));
        assert_eq!(block.is_ok(), movable && gfp.contains(GfpFlags::WAIT), "{gfp:?}, movable {movable}: {block:?}");
        lent.check();
    }
}

#[test]
fn of_a_large_free_block_compaction_takes_no_more_than_it_needs() {
    let lent = Lent::new();
    for pfn in lent.machine.take_all(GfpFlags::MOVABLE, Order::ZERO) {
        // Low: every second page is the owner's. High: all but the last page is free, in blocks of order 9 and less.
        if range(0x400, 0x800).contains(pfn) && pfn.raw() % 2 == 1 {
            lent.owner.adopt(&lent.machine, lent.id, pfn, Order::ZERO);
        } else if pfn.raw() != 0x13ff {
            lent.machine.free_pages(pfn, Order::ZERO).unwrap();
        }
    }
    lent.machine.drain_local();
    let free = lent.machine.zone(NORMAL).unwrap().stats().counts.free;
    assert_eq!(free, 512 + 1023 + 2048);
    assert_eq!(lent.machine.compact_zone(ZoneTag::from(NORMAL), Order::LARGEST), CompactOutcome::Success);
    lent.machine.drain_local();
    let stats = lent.machine.zone(NORMAL).unwrap().stats();
    assert_eq!((stats.counts.free, stats.pageset), (free, 0));
    lent.check();
}

#[test]
fn a_zone_with_less_free_than_twice_the_block_is_not_compacted() {
    let outcome = |free: usize| {
        let machine = Machine::full();
        let all = machine.take_all(GfpFlags::GFP_KERNEL, Order::ZERO);
        let singles: Vec<_> = all.into_iter().filter(|pfn| pfn.raw() % 2 == 0).take(free).collect();
        machine.free_pages_bulk(&singles).unwrap();
        machine.compact_zone(ZoneTag::from(NORMAL), order(3))
    };
    assert_eq!([15, 16].map(outcome), [CompactOutcome::Skipped, CompactOutcome::Complete]);
}

#[test]
fn a_zone_that_compaction_could_not_help_is_passed_over_ever_more_often() {
    let fixed = riddled(false);
    let attempt = || fixed.machine.try_to_compact_pages(NodeId::ZERO, GfpFlags::GFP_KERNEL, order(1));
    let outcomes: Vec<_> = (0..9).map(|_| attempt()).collect();
    use CompactOutcome::{Complete, Deferred};
    // After the n-th failure 2^n - 1 attempts pass.
    assert_eq!(outcomes, [Complete, Deferred, Complete, Deferred, Deferred, Deferred, Complete, Deferred, Deferred]);
    let high = fixed.machine.compact_zone(ZoneTag::from(HIGH), Order::LARGEST);
    assert_eq!(high, CompactOutcome::Success);
    let full = Machine::full();
    full.take_all(GfpFlags::GFP_HIGHUSER, Order::ZERO);
    assert_eq!(full.compact_zone(ZoneTag::from(NORMAL), order(1)), CompactOutcome::Skipped);
}
