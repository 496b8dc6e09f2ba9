//! A trace replayed on another allocator of the same geometry has the same end.

use std::boxed::Box;
use std::collections::BTreeMap;
use std::vec::Vec;

use core::sync::atomic::AtomicU32;

use super::fixture::Machine;
use crate::addr::Pfn;
use crate::buddy::model::{XorShift, order, range};
use crate::gfp::GfpFlags;
use crate::order::Order;
use crate::page_alloc::{FailPageAlloc, Hooks, Options};
use crate::sync::{CpuId, set_host_cpu};
use crate::testing::{HostIrq, scaled};
use crate::trace::replay::{ReplayError, replay};
use crate::trace::{Event, SLOT_WORDS, TraceRing, What};

const SLOTS: usize = 1 << 17;
const CPUS: u32 = 3;

fn machine(pagesets: bool) -> Machine {
    let words: &'static [AtomicU32] = Box::leak((0..SLOTS * SLOT_WORDS).map(|_| AtomicU32::new(0)).collect());
    let ring: &'static TraceRing<'static> = Box::leak(Box::new(TraceRing::new::<HostIrq>(words).unwrap()));
    let machine = Machine::with_options(Options { trace: Some(ring), ..Options::default() });
    let machine = if pagesets { machine.with_pagesets(CPUS as usize) } else { machine };
    machine.set_hooks(Hooks::TRACE, true);
    // Other CPUs' hits end with their next drain.
    for cpu in 0..CPUS {
        set_host_cpu(CpuId::new(cpu));
        machine.drain_local();
    }
    set_host_cpu(CpuId::new(0));
    machine
}

fn events(machine: &Machine) -> Vec<Event> {
    let ring = machine.trace().unwrap();
    assert!((ring.written() as usize) < SLOTS, "the ring is too small for the test");
    ring.events().skip(CPUS as usize).collect()
}

/// Random requests of every kind on several CPUs, until the machine is full at times.
fn run(machine: &Machine, seed: u32, steps: u32) {
    const FLAGS: [GfpFlags; 5] = [
        GfpFlags::GFP_KERNEL,
        GfpFlags::GFP_HIGHUSER_MOVABLE,
        GfpFlags::GFP_TEMPORARY,
        GfpFlags::MOVABLE,
        GfpFlags::GFP_HIGHUSER.union(GfpFlags::COLD),
    ];
    let mut rng = XorShift(seed);
    let mut live: BTreeMap<u32, Order> = BTreeMap::new();
    for step in 0..steps {
        set_host_cpu(CpuId::new(rng.below(CPUS)));
        let filling = step / 2000 % 2 == 0;
        match rng.below(16) {
            0 => machine.drain_local(),
            n if n < if filling { 14 } else { 6 } => {
                let order = order(rng.next().trailing_ones().min(10) as u8);
                let gfp = FLAGS[rng.pick(FLAGS.len())];
                live.extend(machine.alloc_pages(gfp, order).map(|pfn| (pfn.raw(), order)));
            }
            n => {
                let Some((&pfn, &order)) = live.range(rng.below(0x1c00)..).next() else { continue };
                live.remove(&pfn);
                let cold = n == 15 && order == Order::ZERO;
                let pfn = Pfn::new(pfn);
                if cold { machine.free_cold_page(pfn) } else { machine.free_pages(pfn, order) }.unwrap();
            }
        }
    }
    set_host_cpu(CpuId::new(0));
}

#[test]
fn a_replay_ends_with_every_page_in_the_same_state_and_tells_the_same_story() {
    for pagesets in [false, true] {
        for seed in 1..=scaled(2) {
            let original = machine(pagesets);
            run(&original, 0x9e37_79b9 ^ seed, 5_000);
            let story = events(&original);
            let kinds = [
                story.iter().any(|event| matches!(event.what, What::Split { .. })),
                story.iter().any(|event| matches!(event.what, What::Merge { .. })),
                story.iter().any(|event| matches!(event.what, What::Fallback { .. })),
                story.iter().any(|event| matches!(event.what, What::Steal { .. })),
                story.iter().any(|event| matches!(event.what, What::Failed { .. })),
                story.iter().any(|event| matches!(event.what, What::Refill { .. })) == pagesets,
                story.iter().any(|event| matches!(event.what, What::Drain { .. })) == pagesets,
            ];
            assert_eq!(kinds, [true; 7], "the run is too tame");
            let again = machine(pagesets);
            assert_eq!(replay(&*again, story.iter().copied()), Ok(None));
            let word = |machine: &Machine, pfn| machine.map().at(pfn).word();
            let same = range(0x400, 0x1c00).iter().all(|pfn| word(&original, pfn) == word(&again, pfn));
            assert!(same, "the layouts differ");
            assert_eq!(events(&again), story);
            set_host_cpu(CpuId::new(0));
        }
    }
}

#[test]
fn splits_and_merges_are_told_with_the_orders_before_and_after_and_nothing_else_is() {
    let machine = machine(false);
    let gfp = GfpFlags::GFP_KERNEL;
    // From a largest block, from what is left of it, and one that fits.
    let blocks = [order(3), Order::ZERO, Order::ZERO].map(|order| (machine.alloc_pages(gfp, order).unwrap(), order));
    let [large, one, two] = blocks;
    // Two pages make one block with the rest of theirs; then all is one block again.
    for (pfn, order) in [two, one, large] {
        machine.free_pages(pfn, order).unwrap();
    }
    let told: Vec<_> = events(&machine)
        .into_iter()
        .filter_map(|event| match event.what {
            What::Split { from, .. } => Some(("split", from.raw(), event.order.raw(), event.pfn)),
            What::Merge { from, .. } => Some(("merge", from.raw(), event.order.raw(), event.pfn)),
            _ => None,
        })
        .collect();
    assert_eq!(
        told,
        [
            ("split", 10, 3, Some(large.0)),
            ("split", 3, 0, Some(one.0)),
            ("merge", 0, 3, Some(one.0)),
            ("merge", 3, 10, Some(large.0)),
        ]
    );
}

#[test]
fn a_replay_on_another_layout_says_where_it_differs() {
    let original = machine(true);
    run(&original, 7, 200);
    let other = machine(true);
    other.alloc_pages(GfpFlags::GFP_KERNEL, order(3)).unwrap();
    let error = replay(&*other, events(&original)).unwrap_err();
    assert!(matches!(error, ReplayError::Answer { .. }), "{error}");
    set_host_cpu(CpuId::new(0));
}

#[test]
fn a_replay_of_a_trace_that_lost_an_event_says_so() {
    let original = machine(true);
    run(&original, 7, 200);
    let whole = events(&original);
    let is_answer = |event: &Event| matches!(event.what, What::Alloc { .. } | What::Failed { .. });
    let without = |lost: usize| {
        let left = whole.iter().enumerate().filter(|(at, _)| *at != lost).map(|(_, event)| *event);
        let error = replay(&*machine(true), left).unwrap_err();
        set_host_cpu(CpuId::new(0));
        error
    };
    let answer = whole.iter().position(is_answer).unwrap();
    let request = whole.iter().position(|event| matches!(event.what, What::Request { .. })).unwrap();
    assert_eq!(without(answer), ReplayError::NoAnswer(whole[request]));
    assert_eq!(without(request), ReplayError::NoRequest(whole[answer]));
}

#[test]
fn a_trace_may_end_before_its_last_answer() {
    let original = machine(true);
    run(&original, 7, 200);
    let whole = events(&original);
    let last = whole.iter().rposition(|event| matches!(event.what, What::Request { .. })).unwrap();
    assert_eq!(replay(&*machine(true), whole[..=last].iter().copied()), Ok(Some(whole[last])));
    set_host_cpu(CpuId::new(0));
}

#[test]
fn off_nothing_is_written() {
    let quiet = machine(true);
    quiet.set_hooks(Hooks::TRACE, false);
    run(&quiet, 11, 500);
    assert_eq!(quiet.trace().unwrap().written(), CPUS);
}

/// That a replay of what `original` was asked goes through, and ends alike.
fn assert_repeats(original: &Machine) {
    let again = machine(true);
    assert_eq!(replay(&*again, events(original)), Ok(None));
    let word = |machine: &Machine, pfn| machine.map().at(pfn).word();
    assert!(range(0x400, 0x1c00).iter().all(|pfn| word(original, pfn) == word(&again, pfn)), "the layouts differ");
    set_host_cpu(CpuId::new(0));
}

#[test]
fn what_was_made_to_fail_is_not_repeated() {
    let original = machine(true);
    original.set_fail_page_alloc(Some(FailPageAlloc {
        probability: 50,
        times: None,
        ignore_gfp_wait: false,
        ignore_gfp_highmem: false,
        min_order: Order::ZERO,
        ..FailPageAlloc::default()
    }));
    run(&original, 5, 1_000);
    assert!(original.injected_failures() > 100);
    assert_repeats(&original);
}

#[test]
fn requests_for_zeroed_blocks_are_repeated_without_the_bytes() {
    let original = machine(true);
    let zeroed = GfpFlags::GFP_KERNEL | GfpFlags::ZERO;
    assert!(original.alloc_pages(zeroed, order(3)).is_err());
    original.alloc_pages(GfpFlags::GFP_KERNEL, order(2)).unwrap();
    assert!(original.alloc_page(zeroed).is_err());
    original.drain_local();
    assert_repeats(&original);
}
