//! Services for tests: a shelf of pages that can be freed, a context that can be told what it is.

use std::boxed::Box;
use std::sync::Mutex;
use std::vec::Vec;

use core::sync::atomic::Ordering::SeqCst;
use core::sync::atomic::{AtomicBool, AtomicU32};

use super::fixture::Machine;
use crate::addr::Pfn;
use crate::gfp::GfpFlags;
use crate::order::Order;
use crate::page_alloc::{BackgroundReclaim, OomHandler, Pages, Shortage, Shrinker, Task, TaskContext};
use crate::zone::ZoneRef;

pub(super) fn leak<T>(value: T) -> &'static T {
    Box::leak(Box::new(value))
}

/// Pages that somebody could do without.
#[derive(Default)]
pub(super) struct Shelf {
    pub(super) blocks: Mutex<Vec<(Pfn, Order)>>,
    /// Only with these flags can they be freed.
    pub(super) needs: GfpFlags,
    /// How often it was asked to free.
    pub(super) scans: AtomicU32,
}

impl Shelf {
    pub(super) fn of(pages: impl IntoIterator<Item = Pfn>) -> Self {
        let blocks = pages.into_iter().map(|pfn| (pfn, Order::ZERO)).collect();
        Self { blocks: Mutex::new(blocks), ..Self::default() }
    }

    pub(super) fn pages(&self) -> u32 {
        self.blocks.lock().unwrap().iter().map(|(_, order)| order.pages()).sum()
    }

    fn free(&self, wanted: u32, pages: &dyn Pages) -> u32 {
        let mut freed = 0;
        while freed < wanted {
            let Some((pfn, order)) = self.blocks.lock().unwrap().pop() else { break };
            pages.free_pages(pfn, order).unwrap();
            freed += order.pages();
        }
        freed
    }
}

impl Shrinker for Shelf {
    fn count(&self, shortage: &Shortage) -> u32 {
        if shortage.gfp.contains(self.needs) { self.pages() } else { 0 }
    }

    fn scan(&self, _shortage: &Shortage, wanted: u32, pages: &dyn Pages) -> u32 {
        self.scans.fetch_add(1, SeqCst);
        self.free(wanted, pages)
    }
}

impl OomHandler for Shelf {
    fn out_of_memory(&self, _shortage: &Shortage, pages: &dyn Pages) -> bool {
        self.scans.fetch_add(1, SeqCst);
        self.free(1, pages) > 0
    }
}

/// Which zones' background reclaim was woken for, and for which order.
#[derive(Default)]
pub(super) struct Wakes(pub(super) Mutex<Vec<(ZoneRef, Order)>>);

impl BackgroundReclaim for Wakes {
    fn wake(&self, zone: ZoneRef, order: Order) {
        self.0.lock().unwrap().push((zone, order));
    }
}

/// Says so many times that it freed a number of pages, which it did not.
pub(super) struct Boaster {
    pub(super) pages: u32,
    pub(super) left: AtomicU32,
    pub(super) scans: AtomicU32,
}

impl Boaster {
    pub(super) fn new(pages: u32, times: u32) -> Self {
        Self { pages, left: AtomicU32::new(times), scans: AtomicU32::new(0) }
    }
}

impl Shrinker for Boaster {
    fn count(&self, _shortage: &Shortage) -> u32 {
        if self.left.load(SeqCst) > 0 { self.pages } else { 0 }
    }

    fn scan(&self, _shortage: &Shortage, _wanted: u32, _pages: &dyn Pages) -> u32 {
        self.scans.fetch_add(1, SeqCst);
        self.left.fetch_sub(1, SeqCst);
        self.pages
    }
}

/// One task, in a context that the test chooses.
pub(super) struct Context {
    pub(super) task: Task,
    pub(super) may_sleep: AtomicBool,
}

impl Context {
    pub(super) fn new() -> &'static Self {
        leak(Self { task: Task::new(), may_sleep: AtomicBool::new(true) })
    }
}

impl TaskContext for Context {
    fn current(&self) -> &Task {
        &self.task
    }

    fn may_sleep(&self) -> bool {
        self.may_sleep.load(SeqCst)
    }
}

/// A machine with every page of its Normal zone taken: the last `shelved` of them apart.
pub(super) fn exhausted(shelved: usize) -> (Machine, Vec<Pfn>, Vec<Pfn>) {
    let machine = Machine::full().with_pagesets(1);
    let mut taken = machine.take_all(GfpFlags::GFP_KERNEL | GfpFlags::NOWARN, Order::ZERO);
    let shelf = taken.split_off(taken.len() - shelved);
    (machine, taken, shelf)
}
