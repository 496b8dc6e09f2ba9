//! Compaction that nobody waits for.

use std::vec::Vec;

use super::fixture::{HIGH, NORMAL};
use super::owners::{AREA, Lent};
use crate::addr::{NodeId, Pfn};
use crate::buddy::model::range;
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
fn how_much_background_compaction_does_is_what_the_policy_says() {
    // Nothing while it is off, however fragmented the zone.
    let off = riddled(0, true);
    assert_eq!((off.step(), off.fragmentation(), off.runs()), (CompactStep::Balanced, 100, 0));
    // Below the upper bound no run begins: 512 of 1,536 pages lie in small blocks, a third.
    for (proactiveness, runs) in [(70, 0), (80, 1)] {
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
    for _ in 0..64 {
        assert_eq!((fixed.step(), fixed.runs()), (CompactStep::Stuck, 1));
    }
    assert_eq!((fixed.steps().1, fixed.runs()), (CompactStep::Stuck, 2));
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
