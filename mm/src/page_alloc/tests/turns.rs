//! What one task does at a time: others wait for it, and let it run.

use std::boxed::Box;
use std::sync::OnceLock;
use std::vec::Vec;

use core::sync::atomic::Ordering::SeqCst;
use core::sync::atomic::{AtomicBool, AtomicU32};

use super::fixture::Machine;
use super::owners::Lent;
use crate::addr::Pfn;
use crate::gfp::GfpFlags;
use crate::order::Order;
use crate::page_alloc::{
    CmaArea, CmaError, MigrationOps, MoveError, OomHandler, OwnerId, Pages, Services, Shortage, Task, TaskContext,
};
use crate::sync::{CpuId, set_host_cpu};
use crate::testing::{HostIrq, scaled};

/// Threads as tasks, each on a CPU of its own.
struct Threads {
    tasks: [Task; 2],
    waits: AtomicU32,
}

std::thread_local! {
    static SELF: core::cell::Cell<usize> = const { core::cell::Cell::new(0) };
}

impl Threads {
    fn new() -> &'static Self {
        Box::leak(Box::new(Self { tasks: [const { Task::new() }; 2], waits: AtomicU32::new(0) }))
    }

    /// The calling thread is this task from now on.
    fn be(number: usize) {
        SELF.set(number);
        set_host_cpu(CpuId::new(u32::try_from(number).unwrap()));
    }
}

impl TaskContext for Threads {
    fn current(&self) -> &Task {
        &self.tasks[SELF.get()]
    }

    fn may_sleep(&self) -> bool {
        true
    }

    fn wait(&self) {
        self.waits.fetch_add(1, SeqCst);
        std::thread::yield_now();
    }
}

/// Allocates this very page for an owner.
fn movable_page_at(machine: &Machine, page: Pfn, id: OwnerId) {
    let taken = machine.take_all(GfpFlags::MOVABLE | GfpFlags::NOWARN, Order::ZERO);
    assert!(taken.contains(&page));
    machine.set_movable(page, Order::ZERO, id, 0).unwrap();
    taken.iter().filter(|pfn| **pfn != page).for_each(|pfn| machine.free_pages(*pfn, Order::ZERO).unwrap());
    machine.drain_local();
}

/// Moves its page only when another task waits for the one that asks, or has got what it wants.
struct Patient {
    machine: Machine,
    threads: &'static Threads,
    is_asked: AtomicBool,
    other_is_done: AtomicBool,
}

impl MigrationOps for Patient {
    fn isolate_page(&self, _pfn: Pfn, _private: u32) -> bool {
        true
    }

    fn migrate_page(&self, _old: Pfn, _new: Pfn, _private: u32) -> Result<(), MoveError> {
        self.is_asked.store(true, SeqCst);
        while self.threads.waits.load(SeqCst) == 0 && !self.other_is_done.load(SeqCst) {
            std::thread::yield_now();
        }
        Ok(())
    }

    fn putback_page(&self, _pfn: Pfn, _private: u32) {}
}

#[test]
fn a_task_that_wants_contiguous_memory_of_a_pageblock_that_another_is_emptying_waits_for_it() {
    let Lent { machine, area, .. } = Lent::with_pagesets(0);
    let threads = Threads::new();
    assert!(machine.install_services(Services { task: Some(threads), ..Services::default() }));
    let (is_asked, other_is_done) = (AtomicBool::new(false), AtomicBool::new(false));
    let owner: &'static Patient = Box::leak(Box::new(Patient { machine, threads, is_asked, other_is_done }));
    let machine = &owner.machine;
    let id = machine.register_owner(owner).unwrap();
    movable_page_at(machine, area.frames().start, id);
    let take = |number: usize| {
        Threads::be(number);
        machine.cma_alloc(&area, 100, Order::ZERO).map(|range| range.start.pages_since(area.frames().start))
    };
    std::thread::scope(|scope| {
        let first = scope.spawn(|| take(0));
        while !owner.is_asked.load(SeqCst) {
            std::thread::yield_now();
        }
        let second = take(1);
        owner.other_is_done.store(true, SeqCst);
        assert_eq!((first.join().unwrap(), second), (Ok(0), Ok(100)));
    });
    machine.validate().unwrap();
}

#[test]
fn a_range_that_two_tasks_give_back_at_once_is_given_back_once() {
    let lent = Lent::with_pagesets(0);
    for _ in 0..scaled(200).max(20) {
        let range = lent.machine.cma_alloc(&lent.area, 512, Order::ZERO).unwrap();
        let start = std::sync::Barrier::new(2);
        let release = |number: usize| {
            Threads::be(number);
            start.wait();
            lent.machine.cma_release(&lent.area, range)
        };
        let results: Vec<_> = std::thread::scope(|scope| {
            let release = &release;
            let tasks = [0, 1].map(|number| scope.spawn(move || release(number)));
            tasks.into_iter().map(|task| task.join().unwrap()).collect()
        });
        assert_eq!(results.iter().filter(|result| result.is_ok()).count(), 1, "{results:?}");
        assert!(results.contains(&Err(CmaError::NotAllocated(range.start))), "{results:?}");
        assert_eq!(lent.area.used(), 0);
    }
    lent.check();
}

/// Wants contiguous memory when asked to move a page.
struct Greedy {
    machine: Machine,
    area: OnceLock<&'static CmaArea<'static, HostIrq>>,
    seen: OnceLock<CmaError>,
}

impl MigrationOps for Greedy {
    fn isolate_page(&self, _pfn: Pfn, _private: u32) -> bool {
        true
    }

    fn migrate_page(&self, _old: Pfn, _new: Pfn, _private: u32) -> Result<(), MoveError> {
        if let Err(error) = self.machine.cma_alloc(self.area.get().unwrap(), 1, Order::ZERO) {
            let _ = self.seen.set(error);
        }
        Ok(())
    }

    fn putback_page(&self, _pfn: Pfn, _private: u32) {}
}

#[test]
fn an_owner_that_wants_contiguous_memory_while_it_moves_a_page_is_refused() {
    let Lent { machine, area, .. } = Lent::new();
    let owner: &'static Greedy = Box::leak(Box::new(Greedy { machine, area: OnceLock::new(), seen: OnceLock::new() }));
    owner.area.get_or_init(|| Box::leak(Box::new(area)));
    let (machine, area) = (&owner.machine, owner.area.get().unwrap());
    let id = machine.register_owner(owner).unwrap();
    movable_page_at(machine, area.frames().start, id);
    let all = machine.cma_alloc(area, area.frames().pages(), Order::ZERO);
    assert_eq!((all, owner.seen.get()), (Ok(area.frames()), Some(&CmaError::Nested)));
    machine.validate().unwrap();
}

/// Frees a page once somebody waits for it.
struct Slow {
    threads: &'static Threads,
    page: std::sync::Mutex<Option<Pfn>>,
    is_asked: AtomicBool,
}

impl OomHandler for Slow {
    fn out_of_memory(&self, _shortage: &Shortage, pages: &dyn Pages) -> bool {
        self.is_asked.store(true, SeqCst);
        while self.threads.waits.load(SeqCst) < 3 {
            std::thread::yield_now();
        }
        let page = self.page.lock().unwrap().take();
        page.is_some_and(|page| pages.free_pages(page, Order::ZERO).is_ok())
    }
}

#[test]
fn who_waits_for_another_tasks_out_of_memory_handler_lets_others_run() {
    let (machine, taken, shelf) = super::services::exhausted(1);
    let threads = Threads::new();
    let handler: &'static Slow = Box::leak(Box::new(Slow {
        threads,
        page: std::sync::Mutex::new(Some(shelf[0])),
        is_asked: AtomicBool::new(false),
    }));
    let services = Services { task: Some(threads), oom: Some(handler), ..Services::default() };
    assert!(machine.install_services(services));
    let gfp = GfpFlags::GFP_KERNEL | GfpFlags::NOWARN;
    let (machine, handler) = (&machine, &handler);
    std::thread::scope(|scope| {
        let first = scope.spawn(move || machine.alloc_page(gfp));
        while !handler.is_asked.load(SeqCst) {
            std::thread::yield_now();
        }
        let second = scope.spawn(move || {
            Threads::be(1);
            machine.alloc_page(gfp)
        });
        let found = [first, second].map(|task| task.join().unwrap());
        assert_eq!(found.iter().flatten().collect::<Vec<_>>(), [&shelf[0]], "one page for two");
    });
    machine.free_pages_bulk(&taken).unwrap();
}
