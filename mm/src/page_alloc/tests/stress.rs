//! Random operations on one CPU against a bitmap, and on several CPUs at once.

use std::collections::BTreeMap;
use std::vec::Vec;

use core::sync::atomic::AtomicU8;
use core::sync::atomic::Ordering::SeqCst;

use super::fixture::Machine;
use crate::addr::Pfn;
use crate::buddy::model::{XorShift, order};
use crate::gfp::GfpFlags;
use crate::order::Order;
use crate::sync::{CpuId, set_host_cpu};
use crate::testing::scaled;

const FLAGS: [GfpFlags; 5] = [
    GfpFlags::GFP_KERNEL,
    GfpFlags::GFP_ATOMIC,
    GfpFlags::GFP_HIGHUSER_MOVABLE,
    GfpFlags::GFP_TEMPORARY,
    GfpFlags::GFP_HIGHUSER.union(GfpFlags::COLD),
];

fn random_order(rng: &mut XorShift) -> Order {
    order(rng.next().trailing_ones().min(10) as u8)
}

#[test]
fn random_requests_and_frees_right_and_wrong_keep_every_invariant() {
    let machine = Machine::full().with_pagesets(1);
    let before = machine.totals();
    let mut rng = XorShift(0x1234_5678);
    let mut live: BTreeMap<u32, Order> = BTreeMap::new();
    for step in 0..scaled(4_000) {
        let filling = step / 1000 % 2 == 0;
        match rng.below(8) {
            0 => {
                // A free of anything that is not live, or with another order, must fail.
                let (pfn, order) = (rng.below(0x2000), random_order(&mut rng));
                if live.get(&pfn) != Some(&order) {
                    assert!(machine.free_pages(Pfn::new(pfn), order).is_err());
                }
            }
            1..=5 if filling => take(&machine, &mut rng, &mut live),
            6 => take(&machine, &mut rng, &mut live),
            _ => {
                let victim = rng.below(0x2000);
                let Some((&pfn, &order)) = live.range(victim..).next() else { continue };
                live.remove(&pfn);
                machine.free_pages(Pfn::new(pfn), order).unwrap();
            }
        }
        let tally = machine.validate().unwrap();
        assert_eq!(tally.allocated, live.values().map(|order| order.pages()).sum::<u32>());
    }
    live.into_iter().for_each(|(pfn, order)| machine.free_pages(Pfn::new(pfn), order).unwrap());
    machine.drain_local();
    assert_eq!(machine.totals(), before);
}

fn take(machine: &Machine, rng: &mut XorShift, live: &mut BTreeMap<u32, Order>) {
    let order = random_order(rng);
    let Ok(pfn) = machine.alloc_pages(FLAGS[rng.pick(FLAGS.len())], order) else { return };
    let end = pfn.raw() + order.pages();
    let below = live.range(..end).next_back();
    assert!(below.is_none_or(|(other, size)| other + size.pages() <= pfn.raw()), "{pfn} is handed out twice");
    live.insert(pfn.raw(), order);
}

#[test]
fn cpus_that_allocate_and_free_each_others_pages_lose_none_and_share_none() {
    const CPUS: u32 = 4;
    let machine = Machine::full().with_pagesets(CPUS as usize);
    let before = machine.totals();
    let owners: Vec<AtomicU8> = (0..0x2000).map(|_| AtomicU8::new(0)).collect();
    let shelf = std::sync::Mutex::new(Vec::new());
    let mark = |pfn: Pfn, order: Order, from: u8, to: u8| {
        for page in pfn.raw()..pfn.raw() + order.pages() {
            assert_eq!(owners[page as usize].swap(to, SeqCst), from, "frame {page:#x} has two owners");
        }
    };
    let cpu = |number: u32| {
        set_host_cpu(CpuId::new(number));
        let mut rng = XorShift(0x9e37_79b9 ^ (number + 1));
        for _ in 0..scaled(20_000) {
            let order = random_order(&mut rng);
            if rng.below(2) == 0 {
                if let Ok(pfn) = machine.alloc_pages(FLAGS[rng.pick(FLAGS.len())], order) {
                    mark(pfn, order, 0, 1);
                    shelf.lock().unwrap().push((pfn, order));
                }
            } else {
                let taken = {
                    let mut shelf = shelf.lock().unwrap();
                    let len = shelf.len();
                    (len > 0).then(|| shelf.swap_remove(rng.pick(len)))
                };
                let Some((pfn, order)) = taken else { continue };
                mark(pfn, order, 1, 0);
                machine.free_pages(pfn, order).unwrap();
            }
        }
        machine.drain_local();
    };
    std::thread::scope(|scope| (0..CPUS).for_each(|number| drop(scope.spawn(move || cpu(number)))));
    machine.validate().unwrap();
    for (pfn, order) in shelf.into_inner().unwrap() {
        machine.free_pages(pfn, order).unwrap();
    }
    machine.drain_local();
    assert_eq!(machine.totals(), before);
    machine.validate().unwrap();
}
