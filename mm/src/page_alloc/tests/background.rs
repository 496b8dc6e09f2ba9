//! Compaction that nobody waits for.

use std::vec;
use std::vec::Vec;

use core::sync::atomic::Ordering::SeqCst;

use super::fixture::{HIGH, NORMAL};
use super::owners::{AREA, Lent};
use super::services::{Shelf, leak};
use crate::addr::{NodeId, Pfn};
use crate::buddy::model::{order, range};
use crate::gfp::GfpFlags;
use crate::memmap::ZoneTag;
use crate::order::Order;
use crate::page_alloc::{CompactStep, Policies};
use crate::vmstat::VmEvent;

/// Without anything free in HighMem, whose edges no compaction makes whole.
fn riddled(compaction_proactiveness: u32, movable: bool) -> Lent {
    let lent = Lent::with_policies(2, Policies { compaction_proactiveness, ..Policies::new() });
    let high = lent.machine.zone(HIGH).unwrap();
    while high.stats().counts.free > 0 {
        lent.machine.alloc_page(GfpFlags::GFP_HIGHUSER).unwrap();
    }
    lent.riddle(movable)
}

impl Lent {
    fn step(&self) -> CompactStep {
        let step = self.machine.compact_step(NodeId::ZERO);
        self.check();
        step
    }

    /// Steps until there is no more to do; what each moved, and what the last one came to.
    fn steps(&self) -> (Vec<u32>, CompactStep) {
        let mut moved = Vec::new();
        loop {
            match self.step() {
                CompactStep::More { moved: pages } => moved.push(pages),
                end => return (moved, end),
            }
        }
    }

    fn fragmentation(&self) -> u32 {
        self.machine.fragmentation(ZoneTag::from(NORMAL))
    }

    fn runs(&self) -> u32 {
        self.machine.counters().event(VmEvent::CompactDaemonWake)
    }
}

#[test]
fn background_compaction_gathers_the_free_memory_a_pageblock_a_step_and_then_rests() {
    let lent = riddled(100, true);
    assert_eq!(lent.fragmentation(), 100);
    let free = lent.machine.zone(NORMAL).unwrap().stats().counts.free;
    let (moved, end) = lent.steps();
    // The lower of the two pageblocks goes into the upper one.
    assert_eq!((moved.iter().sum::<u32>(), end), (512, CompactStep::Balanced));
    assert_eq!((lent.fragmentation(), lent.runs()), (0, 1));
    assert_eq!(lent.owner.pages_in(range(0x400, 0x800)), 0);
    assert_eq!(lent.machine.zone(NORMAL).unwrap().stats().counts.free, free);
    assert_eq!((lent.step(), lent.runs()), (CompactStep::Balanced, 1));
    lent.machine.alloc_pages(GfpFlags::GFP_ATOMIC, Order::LARGEST).unwrap();
}

#[test]
fn a_request_that_its_own_compaction_helps_is_served_before_anything_is_reclaimed() {
    let lent = riddled(0, true);
    let shelf = leak(Shelf::of([lent.machine.alloc_page(GfpFlags::MOVABLE).unwrap()]));
    assert!(lent.machine.register_shrinker(shelf));
    let before = lent.owner.pages.lock().unwrap().clone();
    lent.machine.alloc_pages(GfpFlags::GFP_KERNEL, order(3)).unwrap();
    // One cluster is enough: every second page of 64 moves, and what they leave is whole.
    let moved = lent.owner.pages.lock().unwrap().iter().filter(|(handle, place)| before[*handle] != **place).count();
    assert!((4..=32).contains(&moved), "{moved}");
    let counted = [VmEvent::CompactStall, VmEvent::CompactSuccess, VmEvent::CompactFail];
    let counted = counted.map(|event| lent.machine.counters().event(event));
    assert_eq!((shelf.scans.load(SeqCst), counted), (0, [1, 1, 0]));
    lent.check();
}

#[test]
fn larger_blocks_stay_where_they_are_when_a_zone_is_compacted() {
    let lent = Lent::with_policies(2, Policies::new());
    let is_outside = |block: &Pfn| !AREA.contains(*block);
    let blocks = lent.machine.take_all(GfpFlags::MOVABLE, order(2));
    let (kept, freed): (Vec<_>, Vec<_>) = blocks.into_iter().partition(|pfn| is_outside(pfn) && pfn.raw() % 64 == 0);
    let handles = kept.iter().map(|block| lent.owner.adopt(&lent.machine, lent.id, *block, order(2)));
    let handles: Vec<_> = handles.collect();
    freed.iter().for_each(|block| lent.machine.free_pages(*block, order(2)).unwrap());
    let lent = lent.riddle(true);
    let before = lent.owner.pages.lock().unwrap().clone();
    lent.machine.compact_zone(ZoneTag::from(NORMAL), Order::LARGEST);
    lent.check();
    let after = lent.owner.pages.lock().unwrap().clone();
    assert!(handles.len() > 20 && handles.iter().all(|handle| before[handle] == after[handle]));
    assert!(before != after);
}

#[test]
fn how_much_background_compaction_does_is_what_the_policy_says() {
    // Nothing while it is off, however fragmented the zone.
    let off = riddled(0, true);
    assert_eq!((off.step(), off.fragmentation(), off.runs()), (CompactStep::Balanced, 100, 0));
    // Below the upper bound no run begins: 512 of 1,536 pages lie in small blocks, a third.
    for (proactiveness, runs) in [(70, 0), (77, 0), (78, 1), (80, 1)] {
        let lent = riddled(proactiveness, true);
        let upper: Vec<_> = { lent.owner.pages.lock().unwrap() }
            .iter()
            .filter(|(_, (pfn, _))| pfn.raw() >= 0x1000)
            .map(|(handle, _)| *handle)
            .collect();
        upper.into_iter().for_each(|handle| lent.owner.drop_page(&lent.machine, handle));
        lent.machine.drain_local();
        assert_eq!(lent.fragmentation(), 33);
        assert_eq!(lent.steps().1, CompactStep::Balanced);
        assert_eq!(lent.runs(), runs, "proactiveness {proactiveness}");
        // It is changed in use.
        lent.machine.set_compaction_proactiveness(100);
        assert_eq!((lent.steps().1, lent.runs()), (CompactStep::Balanced, 1));
    }
}

#[test]
fn a_zone_that_background_compaction_could_not_help_is_let_pass_64_times() {
    let fixed = riddled(20, false);
    assert_eq!((fixed.steps().1, fixed.runs(), fixed.fragmentation()), (CompactStep::Stuck, 1, 100));
    // One was let pass to end the steps above.
    for _ in 0..63 {
        assert_eq!((fixed.step(), fixed.runs()), (CompactStep::Stuck, 1));
    }
    assert_eq!((fixed.steps().1, fixed.runs()), (CompactStep::Stuck, 2));
}

#[test]
fn a_run_ends_as_soon_as_enough_is_gathered_and_the_next_begins_from_the_start() {
    // Two blocks of 2 MiB would do: of the lower pageblock's 512 pages all must go, of the upper one's none.
    let lent = riddled(20, true);
    let (moved, end) = lent.steps();
    assert_eq!((moved, end, lent.runs()), (vec![512], CompactStep::Balanced, 1));
    assert!(lent.fragmentation() <= 80);
    // Riddled again: what is left of the first run is not gone on with.
    let taken = lent.machine.take_all(GfpFlags::MOVABLE, Order::ZERO);
    let (kept, freed): (Vec<_>, Vec<_>) = taken.into_iter().partition(|pfn| pfn.raw() % 2 == 1 && !AREA.contains(*pfn));
    for pfn in kept {
        lent.owner.adopt(&lent.machine, lent.id, pfn, Order::ZERO);
    }
    freed.iter().for_each(|pfn| lent.machine.free_pages(*pfn, Order::ZERO).unwrap());
    let lower: Vec<_> = { lent.owner.pages.lock().unwrap() }
        .iter()
        .filter(|(_, (pfn, _))| pfn.raw() >= 0x1000 && pfn.raw() % 2 == 0)
        .map(|(handle, _)| *handle)
        .collect();
    lower.into_iter().for_each(|handle| lent.owner.drop_page(&lent.machine, handle));
    lent.machine.drain_local();
    assert_eq!(lent.fragmentation(), 100);
    assert_eq!((lent.steps(), lent.runs()), ((vec![512], CompactStep::Balanced), 2));
}

#[test]
fn a_run_that_is_switched_off_is_not_gone_on_with() {
    let lent = riddled(100, true);
    // Nothing to be done in the upper pageblock: the second step would end the run.
    assert_eq!(lent.step(), CompactStep::More { moved: 512 });
    let handles: Vec<_> = lent.owner.pages.lock().unwrap().keys().copied().collect();
    handles.into_iter().for_each(|handle| lent.owner.drop_page(&lent.machine, handle));
    lent.machine.drain_local();
    lent.machine.set_compaction_proactiveness(0);
    assert_eq!(lent.step(), CompactStep::Balanced);
    let lent = lent.riddle(true);
    lent.machine.set_compaction_proactiveness(100);
    assert_eq!((lent.steps().0, lent.runs()), (vec![512], 2));
}

#[test]
fn a_run_ends_when_no_more_is_fragmented_than_its_lower_bound() {
    for (proactiveness, end) in [(67, CompactStep::Balanced), (68, CompactStep::More { moved: 0 })] {
        let lent = riddled(100, true);
        assert_eq!(lent.step(), CompactStep::More { moved: 512 });
        // The lower pageblock is whole, the upper one full: every second page of that is given back, and there is no
        // place above for the others.
        let upper: Vec<_> = { lent.owner.pages.lock().unwrap() }
            .iter()
            .filter(|(_, (pfn, _))| pfn.raw() % 2 == 0)
            .map(|(handle, _)| *handle)
            .collect();
        upper.into_iter().for_each(|handle| lent.owner.drop_page(&lent.machine, handle));
        lent.machine.drain_local();
        lent.machine.set_compaction_proactiveness(proactiveness);
        assert_eq!((lent.fragmentation(), lent.step(), lent.runs()), (33, end, 1));
    }
}

#[test]
fn a_zone_that_cannot_be_helped_does_not_disturb_the_run_of_another() {
    for stuck in [NORMAL, HIGH] {
        let lent = Lent::with_policies(2, Policies { compaction_proactiveness: 100, ..Policies::new() });
        let span = |zone| lent.machine.zone(zone).unwrap().stats().span;
        // Every fourth page of both zones: one's without an owner.
        for gfp in [GfpFlags::GFP_HIGHUSER_MOVABLE, GfpFlags::MOVABLE] {
            for pfn in lent.machine.take_all(gfp, Order::ZERO) {
                if pfn.raw() % 4 > 0 || AREA.contains(pfn) {
                    lent.machine.free_pages(pfn, Order::ZERO).unwrap();
                } else if !span(stuck).contains(pfn) {
                    lent.owner.adopt(&lent.machine, lent.id, pfn, Order::ZERO);
                }
            }
        }
        lent.machine.drain_local();
        let (moved, end) = lent.steps();
        assert!(moved.iter().sum::<u32>() >= 200, "{stuck:?}: {moved:?}");
        // The zone that can be helped, the other once, and HighMem's edge, which no move makes whole.
        assert!(lent.runs() <= 3 && end == CompactStep::Stuck, "{stuck:?}: {} runs, {end:?}", lent.runs());
    }
}

#[test]
fn lent_and_isolated_pageblocks_give_no_pages() {
    let lent = Lent::with_policies(2, Policies { compaction_proactiveness: 100, ..Policies::new() });
    for pfn in lent.machine.take_all(GfpFlags::MOVABLE, Order::ZERO) {
        if pfn.raw() % 2 == 0 {
            lent.machine.free_pages(pfn, Order::ZERO).unwrap();
        } else {
            lent.owner.adopt(&lent.machine, lent.id, pfn, Order::ZERO);
        }
    }
    lent.machine.drain_local();
    let lower = range(0x400, 0x800);
    lent.machine.start_isolate_page_range(lower).unwrap();
    let before = (lent.owner.pages_in(lower), lent.owner.pages_in(AREA));
    lent.machine.compact_zone(ZoneTag::from(NORMAL), Order::LARGEST);
    lent.check();
    assert_eq!(lent.owner.pages_in(lower), before.0);
    assert!(lent.owner.pages_in(AREA) >= before.1, "pages left a lent area");
    lent.machine.undo_isolate_page_range(lower).unwrap();
    lent.steps();
    assert!(lent.owner.pages_in(AREA) >= before.1, "pages left a lent area");
    assert_eq!(lent.owner.pages_in(lower), 0);
}

#[test]
fn another_nodes_zones_are_left_alone() {
    let lent = riddled(100, true);
    let Some(other) = NodeId::new(1) else { panic!("there are four nodes") };
    assert_eq!((lent.machine.compact_step(other), lent.runs()), (CompactStep::Balanced, 0));
}

#[test]
fn what_compaction_cannot_gather_does_not_count_as_fragmented() {
    let lent = riddled(100, true);
    // Single free pages of a lent area: compaction takes nothing out of one.
    let taken: Vec<Pfn> = lent.machine.take_all(GfpFlags::MOVABLE, Order::ZERO);
    let (area, rest): (Vec<_>, Vec<_>) = taken.into_iter().partition(|pfn| AREA.contains(*pfn) && pfn.raw() % 2 == 0);
    area.iter().for_each(|pfn| lent.machine.free_pages(*pfn, Order::ZERO).unwrap());
    lent.machine.drain_local();
    assert_eq!((lent.fragmentation(), lent.step()), (0, CompactStep::Balanced));
    rest.iter().for_each(|pfn| lent.machine.free_pages(*pfn, Order::ZERO).unwrap());
}
