//! Sums, with threads as CPUs.

use std::vec::Vec;

use super::*;
use crate::addr::NodeId;
use crate::buddy::model::XorShift;
use crate::sync::set_host_cpu;
use crate::testing::{HostIrq, scaled};
use crate::zone::ZoneType;

const NORMAL: ZoneTag = ZoneTag::new(NodeId::ZERO, ZoneType::Normal);
const HIGH: ZoneTag = ZoneTag::new(NodeId::ZERO, ZoneType::HighMem);

#[test]
fn a_cpu_folds_when_it_passes_the_threshold_in_either_direction() {
    let cpus = [CpuCounters::new()];
    let mut counters = Counters::default();
    counters.set_cpus(&cpus);
    counters.set_threshold(NORMAL, 6);
    let totals = [1, 6, -6, -7, 20].map(|delta| {
        counters.add::<HostIrq>(NORMAL, ZoneItem::NumaMiss, delta);
        counters.zones[NORMAL.index()][0].load(Relaxed)
    });
    // 1; 7 is folded; -6; -13 is folded; 20 is folded.
    assert_eq!(totals, [0, 7, 7, -6, 14]);
    assert_eq!(counters.zone(NORMAL, ZoneItem::NumaMiss), 14);
    assert_eq!(counters.zone(NORMAL, ZoneItem::NumaOther), 0);
    assert_eq!(counters.zone(HIGH, ZoneItem::NumaMiss), 0);
}

#[test]
fn the_thresholds_of_the_reference_boots_come_out() {
    for (managed, threshold) in [(124_332, 6), (103_571, 6), (186_324, 8), (327_679, 10)] {
        assert_eq!(normal_threshold(managed, 1), threshold, "{managed}");
    }
    assert_eq!((normal_threshold(0, 1), normal_threshold(u32::MAX, u32::MAX)), (2, 125));
}

#[test]
fn sums_of_many_cpus_lose_nothing_while_one_goes_and_one_has_no_place() {
    let cpus: Vec<_> = (0..4).map(|_| CpuCounters::new()).collect();
    let mut counters = Counters::default();
    counters.add::<HostIrq>(NORMAL, ZoneItem::NumaOther, 5);
    counters.count::<HostIrq>(VmEvent::AllocStall, 7);
    counters.set_cpus(&cpus);
    counters.set_threshold(NORMAL, 6);
    let counters = &counters;
    let rounds = scaled(20_000);
    let added: i32 = std::thread::scope(|scope| {
        // CPU 4 and 5 have no place, and count in the totals directly.
        let cpu = |number: u32| {
            scope.spawn(move || {
                set_host_cpu(CpuId::new(number));
                let mut rng = XorShift(0x2468_ace1 ^ number);
                let mut sum = 0;
                for _ in 0..rounds {
                    let delta = i32::try_from(rng.below(9)).unwrap() - 3;
                    counters.add::<HostIrq>(NORMAL, ZoneItem::NumaOther, delta);
                    counters.count::<HostIrq>(VmEvent::AllocStall, 2);
                    sum += delta;
                }
                sum
            })
        };
        let running: Vec<_> = (0..6).map(cpu).collect();
        running.into_iter().map(|thread| thread.join().unwrap()).sum()
    });
    let expected = (5 + added).cast_unsigned();
    assert_eq!(counters.zone(NORMAL, ZoneItem::NumaOther), expected);
    assert_eq!(counters.event(VmEvent::AllocStall), 7 + 6 * 2 * rounds);
    for cpu in 0..4 {
        counters.fold_cpu(CpuId::new(cpu));
        assert_eq!(counters.zone(NORMAL, ZoneItem::NumaOther), expected);
    }
    assert_eq!(counters.zones[NORMAL.index()][ZoneItem::NumaOther as usize].load(Relaxed).cast_unsigned(), expected);
    assert_eq!(counters.event(VmEvent::AllocStall), 7 + 6 * 2 * rounds);
}

#[test]
fn every_event_has_a_name_and_a_place_of_its_own() {
    let counters = Counters::default();
    for (count, event) in (1..).zip(VmEvent::ALL) {
        counters.count::<HostIrq>(event, count);
        assert_eq!(event as usize + 1, count as usize);
    }
    let names: std::collections::BTreeSet<_> = VmEvent::ALL.map(VmEvent::name).into_iter().collect();
    assert_eq!(names.len(), VmEvent::ALL.len());
    assert!((1..).zip(VmEvent::ALL).all(|(count, event)| counters.event(event) == count));
}
