//! Pagesets of another size, and of CPUs that go and come.

use std::vec::Vec;

use core::sync::atomic::Ordering::SeqCst;
use core::sync::atomic::{AtomicBool, AtomicU32};

use super::fixture::{HIGH, Machine, NORMAL};
use super::services::leak;
use crate::addr::{NodeId, Pfn};
use crate::buddy::FreeCore;
use crate::buddy::model::{XorShift, order};
use crate::gfp::GfpFlags;
use crate::order::Order;
use crate::page_alloc::{PagesetSize, RING_SLOTS, ResizeError, Services};
use crate::platform::CrossCall;
use crate::sync::{CpuId, set_host_cpu};
use crate::testing::scaled;
use crate::vmstat::{CpuCounters, VmEvent};
use crate::zone::{ZoneRef, ZoneType};

const KERNEL: GfpFlags = GfpFlags::GFP_KERNEL.union(GfpFlags::NOWARN);
const SMALL: PagesetSize = PagesetSize { high: 9, batch: 3 };
const LARGE: PagesetSize = PagesetSize { high: 90, batch: 15 };

/// Which CPUs run; those that do take calls at once, by a thread that stands for them while they rest.
struct Cpus([AtomicBool; 4]);

impl Cpus {
    fn all() -> &'static Self {
        leak(Self([const { AtomicBool::new(true) }; 4]))
    }
}

impl CrossCall for Cpus {
    fn run_on(&self, cpu: CpuId, work: &(dyn Fn() + Sync)) -> bool {
        if !self.0.get(cpu.index()).is_some_and(|runs| runs.load(SeqCst)) {
            return false;
        }
        on(u32::try_from(cpu.index()).unwrap(), work);
        true
    }
}

/// Runs `work` as CPU `cpu`.
fn on<R: Send>(cpu: u32, work: impl FnOnce() -> R + Send) -> R {
    std::thread::scope(|scope| {
        let thread = scope.spawn(|| {
            set_host_cpu(CpuId::new(cpu));
            work()
        });
        thread.join().unwrap()
    })
}

/// A machine on which each of four CPUs has some 30 pages of Normal in stock.
fn stocked() -> (Machine, &'static Cpus) {
    let machine = Machine::full().with_pagesets(4);
    let cpus = Cpus::all();
    assert!(machine.install_services(Services { cpus: Some(cpus), ..Services::default() }));
    for cpu in 0..4 {
        on(cpu, || {
            let pages: Vec<_> = (0..35).map(|_| machine.alloc_page(KERNEL).unwrap()).collect();
            pages.into_iter().for_each(|page| machine.free_pages(page, Order::ZERO).unwrap());
        });
    }
    let least = if super::super::Core::GATHERS { 7 } else { 30 };
    assert!(counts(&machine).iter().all(|count| *count >= least), "{:?}", counts(&machine));
    (machine, cpus)
}

fn counts(machine: &Machine) -> Vec<u32> {
    machine.zone(NORMAL).unwrap().pagesets().iter().map(|set| set.count()).collect()
}

#[test]
fn after_a_resize_no_cpu_that_runs_holds_more_than_high() {
    let (machine, cpus) = stocked();
    let before = machine.totals().managed;
    cpus.0[2].store(false, SeqCst);
    let kept = counts(&machine)[2];
    machine.resize_pagesets(NORMAL, SMALL).unwrap();
    let after = counts(&machine);
    assert_eq!(after[2], kept);
    assert!([0, 1, 3].iter().all(|cpu| after[*cpu] <= SMALL.high), "{after:?}");
    assert!(machine.zone(NORMAL).unwrap().pagesets().iter().all(|set| set.size() == SMALL));
    // The one that was away meets the new bound with the first page that it frees.
    let page = machine.alloc_page(KERNEL).unwrap();
    on(2, || {
        machine.free_pages(page, Order::ZERO).unwrap();
        (0..40).for_each(|_| {
            let page = machine.alloc_page(KERNEL).unwrap();
            machine.free_pages(page, Order::ZERO).unwrap();
        });
    });
    machine.validate().unwrap();
    assert_eq!(machine.totals().managed, before);
}

#[test]
fn without_cross_calls_a_cpu_that_only_frees_comes_down_to_the_new_bound() {
    let machine = Machine::full().with_pagesets(2);
    machine.resize_pagesets(NORMAL, PagesetSize { high: 186, batch: 31 }).unwrap();
    let pages: Vec<_> = (0..1000).map(|_| machine.alloc_page(KERNEL).unwrap()).collect();
    let free = |pages: &[Pfn]| on(1, || pages.iter().for_each(|page| machine.free_pages(*page, Order::ZERO).unwrap()));
    free(&pages[..400]);
    assert!(counts(&machine)[1] > 100, "{:?}", counts(&machine));
    machine.resize_pagesets(NORMAL, PagesetSize { high: 20, batch: 5 }).unwrap();
    assert!(counts(&machine)[1] > 100, "{:?}", counts(&machine));
    free(&pages[400..]);
    assert!(counts(&machine)[1] <= 20, "{:?}", counts(&machine));
    machine.validate().unwrap();
}

#[test]
fn a_cpu_that_frees_more_before_it_takes_the_call_is_trimmed_too() {
    struct Late(&'static Machine, std::sync::Mutex<Vec<Pfn>>);
    impl CrossCall for Late {
        fn run_on(&self, cpu: CpuId, work: &(dyn Fn() + Sync)) -> bool {
            on(u32::try_from(cpu.index()).unwrap(), || {
                let pages = if cpu.index() == 1 { core::mem::take(&mut *self.1.lock().unwrap()) } else { Vec::new() };
                pages.iter().for_each(|page| self.0.free_pages(*page, Order::ZERO).unwrap());
                work();
            });
            true
        }
    }
    let machine: &'static Machine = leak(Machine::full().with_pagesets(2));
    let pages: Vec<_> = (0..30).map(|_| machine.alloc_page(KERNEL).unwrap()).collect();
    // CPU 1 has room, and few pages when it is looked at.
    on(1, || machine.free_pages(machine.alloc_page(KERNEL).unwrap(), Order::ZERO).unwrap());
    let late = leak(Late(machine, pages.into()));
    assert!(machine.install_services(Services { cpus: Some(late), ..Services::default() }));
    machine.resize_pagesets(NORMAL, SMALL).unwrap();
    assert!(counts(machine).iter().all(|pages| *pages <= SMALL.high), "{:?}", counts(machine));
    machine.validate().unwrap();
}

#[test]
fn a_larger_pageset_stocks_more_from_then_on() {
    let machine = Machine::full().with_pagesets(1);
    let stock = |machine: &Machine| {
        let pages: Vec<_> = (0..200).map(|_| machine.alloc_page(KERNEL).unwrap()).collect();
        pages.into_iter().for_each(|page| machine.free_pages(page, Order::ZERO).unwrap());
        machine.zone(NORMAL).unwrap().stats().pageset
    };
    let small = stock(&machine);
    assert!(small <= 42);
    machine.resize_pagesets(NORMAL, LARGE).unwrap();
    let large = stock(&machine);
    assert!(large <= 90 && (large > 42 || super::super::Core::GATHERS), "{large}");
    machine.validate().unwrap();
}

#[test]
fn bounds_that_cannot_be_are_refused_and_change_nothing() {
    let machine = Machine::full().with_pagesets(1);
    let before = machine.zone(NORMAL).unwrap().pageset_size();
    let nowhere = ZoneRef { node: NodeId::ZERO, zone: ZoneType::Movable };
    for (zone, size, error) in [
        (nowhere, LARGE, ResizeError::NoZone(nowhere)),
        (NORMAL, PagesetSize { high: 9, batch: 0 }, ResizeError::Size(PagesetSize { high: 9, batch: 0 })),
        (
            NORMAL,
            PagesetSize { high: RING_SLOTS + 1, batch: 1 },
            ResizeError::Size(PagesetSize { high: RING_SLOTS + 1, batch: 1 }),
        ),
    ] {
        assert_eq!(machine.resize_pagesets(zone, size), Err(error), "{error}");
    }
    for fraction in 1..8 {
        assert_eq!(machine.size_pagesets(fraction), Err(ResizeError::Fraction(fraction)));
    }
    assert_eq!(machine.zone(NORMAL).unwrap().pageset_size(), before);
}

#[test]
fn pagesets_follow_what_their_zone_manages_or_a_fraction_of_it() {
    let machine = Machine::full().with_pagesets(1);
    let sizes = || [NORMAL, HIGH].map(|zone| machine.zone(zone).unwrap().pageset_size());
    machine.size_pagesets(0).unwrap();
    // 4096 / 1024 / 4 = 1; 1 + 0 = 1; 1 - 1 = 0: a zone of 16 MiB stocks nothing.
    assert_eq!(sizes(), [PagesetSize { high: 0, batch: 1 }; 2]);
    machine.size_pagesets(64).unwrap();
    // 4096 / 64 and 1948 / 64; a quarter of each is the batch.
    assert_eq!(sizes(), [(64, 16), (30, 7)].map(|(high, batch)| PagesetSize { high, batch }));
    machine.size_pagesets(8).unwrap();
    // As far as rings and cores go.
    let whole = |high, batch| PagesetSize { high, batch }.for_core::<super::super::Core>();
    assert_eq!(sizes(), [whole(512, 96), whole(243, 60)]);
    machine.validate().unwrap();
}

#[test]
fn what_a_cpu_had_that_stopped_is_taken_back_once_by_whoever_comes() {
    let (mut machine, cpus) = stocked();
    machine.install_counters(leak((0..4).map(|_| CpuCounters::new()).collect::<Vec<_>>()));
    let machine = &machine;
    on(3, || machine.counters().count::<crate::testing::HostIrq>(VmEvent::AllocStall, 3));
    let before = machine.totals();
    let stocked = counts(machine);
    cpus.0[3].store(false, SeqCst);
    std::thread::scope(|scope| {
        for cpu in 0..3 {
            scope.spawn(move || {
                set_host_cpu(CpuId::new(cpu));
                machine.drain_cpu(CpuId::new(3));
            });
        }
    });
    assert_eq!(counts(machine), [stocked[0], stocked[1], stocked[2], 0]);
    assert_eq!(machine.totals().free, before.free + stocked[3]);
    assert_eq!(machine.counters().event(VmEvent::AllocStall), 3);
    machine.validate().unwrap();
    // It comes back, and works as before; a CPU that there is not has nothing.
    cpus.0[3].store(true, SeqCst);
    let page = on(3, || machine.alloc_page(KERNEL).unwrap());
    assert!(counts(machine)[3] > 0);
    machine.free_pages(page, Order::ZERO).unwrap();
    machine.drain_cpu(CpuId::new(9));
    machine.validate().unwrap();
}

#[test]
fn sizes_that_change_while_cpus_allocate_lose_no_page_and_bind_in_the_end() {
    let machine = Machine::full().with_pagesets(4);
    let before = machine.totals();
    let running = AtomicU32::new(3);
    std::thread::scope(|scope| {
        for cpu in 0..3_u32 {
            let (machine, running) = (&machine, &running);
            scope.spawn(move || {
                set_host_cpu(CpuId::new(cpu));
                let mut rng = XorShift(0x1234_5678 ^ cpu);
                let mut held: Vec<(Pfn, Order)> = Vec::new();
                for _ in 0..scaled(15_000) {
                    let order = order(rng.next().trailing_ones().min(3) as u8);
                    if rng.below(2) == 0 && held.len() < 200 {
                        held.extend(machine.alloc_pages(KERNEL, order).map(|pfn| (pfn, order)));
                    } else if !held.is_empty() {
                        let (pfn, order) = held.swap_remove(rng.pick(held.len()));
                        machine.free_pages(pfn, order).unwrap();
                    }
                }
                held.into_iter().for_each(|(pfn, order)| machine.free_pages(pfn, order).unwrap());
                running.fetch_sub(1, SeqCst);
            });
        }
        set_host_cpu(CpuId::new(3));
        let sizes = [SMALL, LARGE, PagesetSize::BOOT, PagesetSize { high: 42, batch: 7 }];
        for size in sizes.into_iter().cycle() {
            machine.resize_pagesets(NORMAL, size).unwrap();
            if running.load(SeqCst) == 0 {
                break;
            }
        }
        set_host_cpu(CpuId::new(0));
    });
    machine.validate().unwrap();
    for cpu in 0..4 {
        machine.drain_cpu(CpuId::new(cpu));
    }
    machine.validate().unwrap();
    assert_eq!(machine.totals(), before);
}

#[test]
fn a_drain_also_empties_a_pageset_that_may_hold_nothing_any_more() {
    let machine = Machine::full().with_pagesets(2);
    on(1, || {
        let pages: Vec<_> = (0..20).map(|_| machine.alloc_page(KERNEL).unwrap()).collect();
        pages.into_iter().for_each(|page| machine.free_pages(page, Order::ZERO).unwrap());
    });
    // There is no way to reach CPU 1.
    machine.resize_pagesets(NORMAL, PagesetSize::BOOT).unwrap();
    assert!(counts(&machine)[1] > 0);
    on(1, || machine.drain_local());
    assert_eq!(counts(&machine), [0, 0]);
    machine.validate().unwrap();
}
