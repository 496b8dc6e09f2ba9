//! Pagesets of other CPUs: threads that stand for CPUs and answer calls from each other.

use std::sync::Mutex;
use std::vec::Vec;

use core::sync::atomic::Ordering::SeqCst;
use core::sync::atomic::{AtomicBool, AtomicU32};

use super::fixture::{Machine, NORMAL};
use super::services::leak;
use crate::addr::Pfn;
use crate::buddy::model::{XorShift, order};
use crate::gfp::GfpFlags;
use crate::order::Order;
use crate::page_alloc::Services;
use crate::platform::CrossCall;
use crate::sync::{CpuId, set_host_cpu};
use crate::testing::scaled;

const KERNEL: GfpFlags = GfpFlags::GFP_KERNEL.union(GfpFlags::NOWARN);

/// CPUs that are at rest: a new thread may stand for one of them for the time of a call.
struct Resting(Vec<bool>);

impl CrossCall for Resting {
    fn run_on(&self, cpu: CpuId, work: &(dyn Fn() + Sync)) -> bool {
        if !self.0.get(cpu.index()).is_some_and(|is_online| *is_online) {
            return false;
        }
        std::thread::scope(|scope| {
            scope.spawn(|| {
                set_host_cpu(cpu);
                work();
            });
        });
        true
    }
}

/// A machine on which each of four CPUs has stocked pages, and the rest is taken.
fn stocked(cpus: Option<Resting>) -> Machine {
    let machine = Machine::full().with_pagesets(4);
    if let Some(cpus) = cpus {
        assert!(machine.install_services(Services { cpus: Some(leak(cpus)), ..Services::default() }));
    }
    for cpu in 1..4 {
        std::thread::scope(|scope| {
            scope.spawn(|| {
                set_host_cpu(CpuId::new(cpu));
                machine.alloc_page(KERNEL).unwrap();
            });
        });
    }
    let stocks = machine.zone(NORMAL).unwrap().pagesets().iter().map(|set| set.count()).collect::<Vec<_>>();
    assert_eq!(stocks, [0, 7, 7, 7]);
    machine
}

#[test]
fn before_a_request_fails_the_stocks_of_all_cpus_are_drained() {
    let left = |cpus| {
        let machine = stocked(cpus);
        let pages = machine.take_all(KERNEL, Order::ZERO).len();
        machine.validate().unwrap();
        4096 - 3 - pages
    };
    assert_eq!(left(None), 21);
    assert_eq!(left(Some(Resting(std::vec![true; 4]))), 0);
    // A CPU that does not run keeps what it has.
    assert_eq!(left(Some(Resting(std::vec![true, true, false, true]))), 7);
}

#[test]
fn a_drain_of_all_empties_every_pageset() {
    let machine = stocked(Some(Resting(std::vec![true; 4])));
    machine.drain_all();
    assert!(machine.zone(NORMAL).unwrap().pagesets().iter().all(|set| set.count() == 0));
    machine.validate().unwrap();
}

/// Work that a CPU is asked to do.
struct Call(&'static (dyn Fn() + Sync));

/// CPUs that are at work and look into their mailboxes between two operations, as they would take an interrupt.
struct Mailboxes {
    boxes: [Mutex<Vec<(Call, &'static AtomicBool)>>; CPUS as usize],
    at_work: [AtomicBool; CPUS as usize],
}

const CPUS: u32 = 4;

impl Mailboxes {
    fn serve(&self, cpu: usize) {
        loop {
            let call = self.boxes[cpu].lock().unwrap().pop();
            let Some((Call(work), done)) = call else { return };
            work();
            done.store(true, SeqCst);
        }
    }
}

std::thread_local! {
    static SELF: core::cell::Cell<usize> = const { core::cell::Cell::new(0) };
}

impl CrossCall for Mailboxes {
    fn run_on(&self, cpu: CpuId, work: &(dyn Fn() + Sync)) -> bool {
        let me = SELF.get();
        if cpu.index() == me {
            work();
            return true;
        }
        let done = leak(AtomicBool::new(false));
        {
            let mut inbox = self.boxes[cpu.index()].lock().unwrap();
            if !self.at_work[cpu.index()].load(SeqCst) {
                return false;
            }
            // SAFETY: valid because this function returns only after the other CPU has run `work` and says so.
            let work = unsafe { core::mem::transmute::<&(dyn Fn() + Sync), &'static (dyn Fn() + Sync)>(work) };
            inbox.push((Call(work), done));
        }
        while !done.load(SeqCst) {
            // Two CPUs may call each other.
            self.serve(me);
            std::thread::yield_now();
        }
        true
    }
}

#[test]
fn cpus_that_exhaust_memory_and_drain_each_other_lose_no_page() {
    let machine = Machine::full().with_pagesets(CPUS as usize);
    let before = machine.totals();
    let mail: &'static Mailboxes =
        leak(Mailboxes { boxes: Default::default(), at_work: [const { AtomicBool::new(true) }; CPUS as usize] });
    assert!(machine.install_services(Services { cpus: Some(mail), ..Services::default() }));
    let failures = AtomicU32::new(0);
    let cpu = |number: u32| {
        set_host_cpu(CpuId::new(number));
        SELF.set(number as usize);
        let mut rng = XorShift(0x1357_9bdf ^ number);
        let mut held: Vec<(Pfn, Order)> = Vec::new();
        // Two fillings at least: memory has to run short.
        for step in 0..scaled(8_000).max(8_000) {
            mail.serve(number as usize);
            let is_filling = step / 3000 % 2 == 0;
            let order = order(rng.next().trailing_ones().min(4) as u8);
            if rng.below(8) < if is_filling { 7 } else { 1 } {
                match machine.alloc_pages(KERNEL, order) {
                    Ok(pfn) => held.push((pfn, order)),
                    Err(_) => _ = failures.fetch_add(1, SeqCst),
                }
            } else if !held.is_empty() {
                let (pfn, order) = held.swap_remove(rng.pick(held.len()));
                machine.free_pages(pfn, order).unwrap();
            }
        }
        for (pfn, order) in held {
            mail.serve(number as usize);
            machine.free_pages(pfn, order).unwrap();
        }
        {
            let _inbox = mail.boxes[number as usize].lock().unwrap();
            mail.at_work[number as usize].store(false, SeqCst);
        }
        mail.serve(number as usize);
        machine.drain_local();
    };
    std::thread::scope(|scope| (0..CPUS).for_each(|number| drop(scope.spawn(move || cpu(number)))));
    assert!(failures.load(SeqCst) > 0, "memory was never short");
    machine.validate().unwrap();
    assert_eq!(machine.totals(), before);
}
