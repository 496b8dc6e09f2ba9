//! The slow path: what each flag, scope and service changes when there is nothing left.

use std::sync::Mutex;
use std::vec::Vec;

use core::sync::atomic::AtomicU32;
use core::sync::atomic::Ordering::SeqCst;

use super::fixture::{HIGH, Machine, NORMAL};
use super::services::{Boaster, Context, Shelf, Wakes, exhausted, leak};
use crate::addr::{NodeId, Pfn};
use crate::buddy::model::order;
use crate::gfp::GfpFlags;
use crate::order::Order;
use crate::page_alloc::{
    AllocError, Balance, Compactor, OomHandler, Options, Pages, Policies, SHRINKERS, Scopes, Services, Shortage,
    Shrinker, Watermarks,
};
use crate::vmstat::VmEvent;
use crate::zone::ZoneRef;

const KERNEL: GfpFlags = GfpFlags::GFP_KERNEL.union(GfpFlags::NOWARN);
const ATOMIC: GfpFlags = GfpFlags::GFP_ATOMIC.union(GfpFlags::NOWARN);

fn no_memory<T>(gfp: GfpFlags, order: Order) -> Result<T, AllocError> {
    Err(AllocError::NoMemory { gfp, order })
}

/// An exhausted machine with a shelf of 100 pages that is registered.
fn with_shelf(shelf: Shelf) -> (Machine, &'static Shelf) {
    let (machine, _, pages) = exhausted(100);
    let shelf: &'static Shelf = leak(shelf);
    *shelf.blocks.lock().unwrap() = pages.into_iter().map(|pfn| (pfn, Order::ZERO)).collect();
    assert!(machine.register_shrinker(shelf));
    (machine, shelf)
}

#[test]
fn shrinkers_are_asked_for_a_little_first_and_only_while_they_are_registered() {
    let (machine, shelf) = with_shelf(Shelf::default());
    machine.alloc_page(KERNEL).unwrap();
    // A 4,096th, 2,048th .. 128th of what is left is no page, so one each; then 94 / 64 = 1, 93 / 32 = 2, 91 / 16 = 5,
    // 86 / 8 = 10: 24 so far. 76 / 4 = 19 more are enough for 32.
    assert_eq!((shelf.pages(), shelf.scans.load(SeqCst)), (100 - 6 - 1 - 2 - 5 - 10 - 19, 11));
    assert!(machine.unregister_shrinker(shelf) && !machine.unregister_shrinker(shelf));
    let rest = machine.take_all(KERNEL, Order::ZERO);
    assert_eq!(rest.len(), 42);
    assert_eq!(machine.alloc_page(KERNEL), no_memory(KERNEL, Order::ZERO));
    assert!(machine.register_shrinker(shelf));
    machine.alloc_page(KERNEL).unwrap();
    machine.validate().unwrap();
}

#[test]
fn there_is_room_for_so_many_shrinkers_and_no_more() {
    let machine = Machine::full();
    assert!((0..SHRINKERS).all(|_| machine.register_shrinker(leak(Shelf::default()))));
    assert!(!machine.register_shrinker(leak(Shelf::default())));
}

#[test]
fn who_cannot_wait_reclaims_nothing() {
    let (machine, shelf) = with_shelf(Shelf::default());
    assert_eq!(machine.alloc_page(ATOMIC), no_memory(ATOMIC, Order::ZERO));
    assert_eq!(shelf.scans.load(SeqCst), 0);
    machine.alloc_page(ATOMIC | GfpFlags::WAIT).unwrap();
}

#[test]
fn a_scope_without_io_reaches_callees_and_ends() {
    let (machine, _) = with_shelf(Shelf { needs: GfpFlags::IO, ..Shelf::default() });
    {
        let _scope = machine.task().enter(Scopes::NO_IO);
        assert_eq!(machine.alloc_page(KERNEL), no_memory(KERNEL, Order::ZERO));
    }
    assert!(machine.alloc_page(GfpFlags::GFP_NOIO | GfpFlags::NOWARN).is_err());
    machine.alloc_page(KERNEL).unwrap();
}

/// How many rounds a request takes when its shrinker only says that it frees memory.
fn rounds(gfp: GfpFlags, order: Order, boast: u32, times: u32) -> (u32, AllocError) {
    let (machine, ..) = exhausted(0);
    let boaster: &'static Boaster = leak(Boaster::new(boast, times));
    assert!(machine.register_shrinker(boaster));
    let error = machine.alloc_pages(gfp, order).unwrap_err();
    (boaster.scans.load(SeqCst), error)
}

#[test]
fn noretry_tries_once_others_a_bounded_number_of_times_and_nofail_while_there_is_progress() {
    let failed = |gfp, order| AllocError::NoMemory { gfp, order };
    let single = Order::ZERO;
    let once = KERNEL | GfpFlags::NORETRY;
    assert_eq!(rounds(once, single, 32, 1000), (1, failed(once, single)));
    assert_eq!(rounds(KERNEL, single, 32, 1000), (17, failed(KERNEL, single)));
    let must = KERNEL | GfpFlags::NOFAIL;
    assert_eq!(rounds(must, single, 32, 1000), (1000, AllocError::MustNotFail { gfp: must, order: single }));
}

#[test]
fn repeat_makes_a_large_request_insist_until_as_much_was_freed() {
    let failed = |gfp| AllocError::NoMemory { gfp, order: order(4) };
    // A round asks at 13 priorities and gets a page each time: 16 are freed in the second one.
    assert_eq!(rounds(KERNEL, order(4), 1, 1000), (13, failed(KERNEL)));
    let repeat = KERNEL | GfpFlags::REPEAT;
    assert_eq!(rounds(repeat, order(4), 1, 1000), (26, failed(repeat)));
    // A block of order 3 is not costly: 17 rounds.
    let failed = AllocError::NoMemory { gfp: KERNEL, order: order(3) };
    assert_eq!(rounds(KERNEL, order(3), 8, 1000).1, failed);
    assert!(rounds(KERNEL, order(3), 8, 1000).0 >= 17);
}

/// A machine with nothing left but what the out-of-memory handler has.
fn with_handler(blocks: usize) -> (Machine, &'static Shelf) {
    let handler: &'static Shelf = leak(Shelf::default());
    let (machine, _, pages) = exhausted(blocks);
    *handler.blocks.lock().unwrap() = pages.into_iter().map(|pfn| (pfn, Order::ZERO)).collect();
    assert!(machine.install_services(Services { oom: Some(handler), ..Services::default() }));
    (machine, handler)
}

#[test]
fn the_out_of_memory_handler_is_the_last_and_only_for_requests_that_it_would_help() {
    let (machine, handler) = with_handler(5);
    let unhelped = [
        (KERNEL | GfpFlags::NORETRY, Order::ZERO),
        (KERNEL | GfpFlags::THISNODE, Order::ZERO),
        (KERNEL - GfpFlags::FS, Order::ZERO),
        (KERNEL, order(4)),
        (ATOMIC, Order::ZERO),
    ];
    for (gfp, order) in unhelped {
        assert_eq!(machine.alloc_pages(gfp, order), no_memory(gfp, order));
    }
    assert_eq!(handler.scans.load(SeqCst), 0);
    assert_eq!(machine.take_all(KERNEL, Order::ZERO).len(), 5);
    machine.validate().unwrap();
}

#[test]
fn nofail_calls_the_handler_for_what_others_may_not() {
    let (machine, handler) = with_handler(3);
    let must = (KERNEL - GfpFlags::FS) | GfpFlags::NOFAIL | GfpFlags::THISNODE;
    machine.alloc_page(must).unwrap();
    assert_eq!(handler.pages(), 2);
    let large = AllocError::MustNotFail { gfp: must, order: order(9) };
    assert_eq!(machine.alloc_pages(must, order(9)), Err(large));
    assert_eq!(handler.pages(), 0);
    machine.validate().unwrap();
}

#[test]
fn a_nofail_request_is_served_as_soon_as_anybody_frees_memory() {
    struct Late {
        calls: AtomicU32,
        page: Pfn,
    }
    impl OomHandler for Late {
        fn out_of_memory(&self, _shortage: &Shortage, pages: &dyn Pages) -> bool {
            if self.calls.fetch_add(1, SeqCst) == 50 {
                pages.free_pages(self.page, Order::ZERO).unwrap();
            }
            true
        }
    }
    let late = |gfp: GfpFlags| {
        let (machine, taken, _) = exhausted(0);
        let handler = leak(Late { calls: AtomicU32::new(0), page: taken[0] });
        assert!(machine.install_services(Services { oom: Some(handler), ..Services::default() }));
        machine.alloc_page(gfp).map(|pfn| pfn == taken[0])
    };
    assert_eq!(late(KERNEL | GfpFlags::NOFAIL), Ok(true));
    assert_eq!(late(KERNEL), no_memory(KERNEL, Order::ZERO));
}

/// Allocates while it is asked to free.
struct Nested {
    own: Shelf,
    got: Mutex<Vec<(GfpFlags, bool)>>,
    depth: AtomicU32,
}

impl Shrinker for Nested {
    fn count(&self, shortage: &Shortage) -> u32 {
        self.own.count(shortage)
    }

    fn scan(&self, shortage: &Shortage, wanted: u32, pages: &dyn Pages) -> u32 {
        assert_eq!(self.depth.fetch_add(1, SeqCst), 0, "reclaim in reclaim");
        for gfp in [KERNEL, KERNEL | GfpFlags::NOMEMALLOC] {
            let page = pages.alloc_pages(gfp, Order::ZERO);
            self.got.lock().unwrap().push((gfp, page.is_ok()));
            page.into_iter().for_each(|pfn| pages.free_pages(pfn, Order::ZERO).unwrap());
        }
        let freed = self.own.scan(shortage, wanted, pages);
        self.depth.fetch_sub(1, SeqCst);
        freed
    }
}

#[test]
fn a_shrinker_that_allocates_gets_the_reserves_and_does_not_reclaim_again() {
    let machine = Machine::full();
    machine.set_watermarks(NORMAL, &Watermarks { min: 64, low: 80, high: 96, lowmem_reserve: [0; 4] });
    let mut taken = machine.take_all(KERNEL, Order::ZERO);
    assert_eq!(taken.len(), 4096 - 64);
    let own = Shelf::of(taken.split_off(4000));
    let nested: &'static Nested = leak(Nested { own, got: Mutex::default(), depth: AtomicU32::new(0) });
    assert!(machine.register_shrinker(nested));
    machine.alloc_page(KERNEL).unwrap();
    let got = nested.got.lock().unwrap();
    // The first call: 64 pages are left, which only the reserves' rights reach.
    assert_eq!(got[..2], [(KERNEL, true), (KERNEL | GfpFlags::NOMEMALLOC, false)]);
    assert_eq!(machine.task().scopes(), Scopes::empty());
}

#[test]
fn victims_and_real_time_tasks_go_below_the_mark() {
    let left = |scopes| {
        let machine = Machine::full();
        machine.set_watermarks(NORMAL, &Watermarks { min: 100, low: 125, high: 150, lowmem_reserve: [0; 4] });
        machine.task().set_scopes(scopes, true);
        4096 - machine.take_all(KERNEL, Order::ZERO).len()
    };
    assert_eq!(left(Scopes::empty()), 100);
    assert_eq!(left(Scopes::REALTIME), 75);
    assert_eq!(left(Scopes::OOM_VICTIM), 0);
}

/// Frees the pages of one block that it keeps apart, as if they had been moved.
struct Mover(Mutex<Vec<Pfn>>);

impl Compactor for Mover {
    fn compact_zone(&self, zone: ZoneRef, shortage: &Shortage, pages: &dyn Pages) -> bool {
        assert!(shortage.order > Order::ZERO && zone.zone <= shortage.highest);
        let moved = core::mem::take(&mut *self.0.lock().unwrap());
        moved.iter().for_each(|pfn| pages.free_pages(*pfn, Order::ZERO).unwrap());
        !moved.is_empty()
    }
}

#[test]
fn compaction_is_tried_for_large_requests_that_can_wait() {
    let serves = |gfp, block_order: u8, compacts: bool| {
        let (machine, taken, _) = exhausted(0);
        let block: Vec<_> = taken.iter().copied().filter(|pfn| pfn.raw() & !31 == 0x800).collect();
        assert_eq!(block.len(), 32);
        let mover = leak(Mover(Mutex::new(block)));
        let compactor = compacts.then_some(mover as &dyn Compactor);
        assert!(machine.install_services(Services { compactor, ..Services::default() }));
        machine.alloc_pages(gfp, order(block_order)).is_ok()
    };
    assert!(serves(KERNEL | GfpFlags::NORETRY, 5, true));
    assert!(!serves(KERNEL | GfpFlags::NORETRY, 5, false));
    assert!(!serves(KERNEL | GfpFlags::NORETRY, 6, true));
    assert!(!serves(ATOMIC, 5, true));
    assert!(!serves(KERNEL, 0, true));
}

#[test]
fn a_sleeping_request_in_atomic_context_is_reported_and_does_not_sleep() {
    let context = Context::new();
    let (machine, _, shelved) = exhausted(50);
    assert!(machine.install_services(Services { task: Some(context), ..Services::default() }));
    let shelf: &'static Shelf = leak(Shelf::of(shelved));
    assert!(machine.register_shrinker(shelf));
    context.may_sleep.store(false, SeqCst);
    let (result, lines) = crate::testing::with_log(|| machine.alloc_page(KERNEL));
    assert_eq!(result, no_memory(KERNEL, Order::ZERO));
    let line = "BUG: sleeping function called from invalid context: page allocation, order:0, \
                mode:0x2d0(GFP_KERNEL|__GFP_NOWARN)";
    assert_eq!(lines, [line]);
    assert_eq!(crate::testing::capture_log(|| assert!(machine.alloc_page(ATOMIC).is_err())), [""; 0]);
    context.may_sleep.store(true, SeqCst);
    machine.alloc_page(KERNEL).unwrap();
}

#[test]
fn with_the_context_checked_hits_are_reported_too() {
    let lines = |check_context| {
        let policies = Policies { check_context, ..Policies::default() };
        let machine = Machine::with_options(Options { policies, ..Options::default() }).with_pagesets(1);
        let context = Context::new();
        assert!(machine.install_services(Services { task: Some(context), ..Services::default() }));
        machine.alloc_page(KERNEL).unwrap();
        context.may_sleep.store(false, SeqCst);
        crate::testing::capture_log(|| assert!(machine.alloc_page(KERNEL).is_ok())).len()
    };
    assert_eq!((lines(false), lines(true)), (0, 1));
}

#[test]
fn background_reclaim_is_woken_below_the_low_mark_unless_the_request_forbids_it() {
    let machine = Machine::full();
    let wakes: &'static Wakes = leak(Wakes::default());
    assert!(machine.install_services(Services { background: Some(wakes), ..Services::default() }));
    assert!(!machine.install_services(Services::default()));
    machine.set_watermarks(NORMAL, &Watermarks { min: 100, low: 125, high: 150, lowmem_reserve: [0; 4] });
    for _ in 0..4096 - 125 {
        machine.alloc_page(KERNEL).unwrap();
    }
    assert_eq!(wakes.0.lock().unwrap().len(), 0);
    machine.alloc_page(KERNEL | GfpFlags::NO_KSWAPD).unwrap();
    assert_eq!(wakes.0.lock().unwrap().len(), 0);
    machine.alloc_page(ATOMIC).unwrap();
    assert_eq!(*wakes.0.lock().unwrap(), [(NORMAL, Order::ZERO)]);
}

#[test]
fn a_step_of_background_reclaim_frees_up_to_the_high_mark() {
    let machine = Machine::full();
    machine.set_watermarks(NORMAL, &Watermarks { min: 100, low: 125, high: 150, lowmem_reserve: [0; 4] });
    let mut taken = machine.take_all(KERNEL, Order::ZERO);
    let shelf: &'static Shelf = leak(Shelf::of(taken.split_off(4096 - 100 - 40)));
    let free = || machine.zone(NORMAL).unwrap().stats().counts.free;
    assert_eq!((free(), machine.balance_step(NodeId::ZERO)), (100, Balance::Stuck));
    assert!(machine.register_shrinker(shelf));
    assert_eq!(machine.balance_step(NodeId::ZERO), Balance::Freed(40));
    assert_eq!((free(), machine.balance_step(NodeId::ZERO)), (140, Balance::Stuck));
    *shelf.blocks.lock().unwrap() = taken.into_iter().map(|pfn| (pfn, Order::ZERO)).collect();
    while let Balance::Freed(pages) = machine.balance_step(NodeId::ZERO) {
        assert!(pages >= 11);
    }
    // 11 were lacking; a cluster of 32 is the least that is asked for, and the last share of it is large.
    assert!(free() > 150 && shelf.pages() > 0, "{} free", free());
    assert_eq!(machine.balance_step(NodeId::ZERO), Balance::Balanced);
    assert_eq!(machine.balance_step(NodeId::new(1).unwrap()), Balance::Balanced);
    machine.validate().unwrap();
}

/// What shrinkers are asked about.
#[derive(Default)]
struct Zones(Mutex<Vec<Shortage>>);

impl Shrinker for Zones {
    fn count(&self, shortage: &Shortage) -> u32 {
        self.0.lock().unwrap().push(*shortage);
        0
    }
    fn scan(&self, _shortage: &Shortage, _wanted: u32, _pages: &dyn Pages) -> u32 {
        0
    }
}

#[test]
fn background_reclaim_asks_for_the_zones_that_lack_pages_and_for_no_higher_ones() {
    let machine = Machine::full();
    let zones: &'static Zones = leak(Zones::default());
    assert!(machine.register_shrinker(zones));
    let highest = |lacking: ZoneRef| {
        for zone in [NORMAL, HIGH] {
            let high = if zone == lacking { 5000 } else { 3 };
            machine.set_watermarks(zone, &Watermarks { min: 1, low: 2, high, lowmem_reserve: [0; 4] });
        }
        assert_eq!(machine.balance_step(NodeId::ZERO), Balance::Stuck);
        let asked = core::mem::take(&mut *zones.0.lock().unwrap());
        asked.iter().map(|shortage| shortage.highest).max()
    };
    assert_eq!(highest(NORMAL), Some(NORMAL.zone));
    assert_eq!(highest(HIGH), Some(HIGH.zone));
}

#[test]
fn errors_carry_the_request_and_highmem_pressure_reaches_the_shrinker() {
    let (machine, ..) = exhausted(0);
    let zones: &'static Zones = leak(Zones::default());
    assert!(machine.register_shrinker(zones));
    let high = machine.take_all(GfpFlags::GFP_HIGHUSER | GfpFlags::NOWARN, Order::ZERO);
    assert!(high.iter().all(|pfn| machine.map().page(*pfn).unwrap().zone().zone() == HIGH.zone));
    let gfp = GfpFlags::GFP_HIGHUSER_MOVABLE | GfpFlags::NOWARN;
    assert_eq!(machine.alloc_pages(gfp, order(2)), no_memory(gfp, order(2)));
    let last = *zones.0.lock().unwrap().last().unwrap();
    assert_eq!((last.gfp, last.order), (gfp, order(2)));
    assert!(last.highest >= HIGH.zone && last.nodes.contains(NodeId::ZERO) && last.nodes.len() == 1);
}

#[test]
fn a_compactor_that_helped_in_several_zones_has_helped() {
    /// Frees a block when it is asked first, and says every time that it moved something.
    struct Helps(Shelf, AtomicU32);
    impl Compactor for Helps {
        fn compact_zone(&self, _zone: ZoneRef, _shortage: &Shortage, pages: &dyn Pages) -> bool {
            self.1.fetch_add(1, SeqCst);
            let block = self.0.blocks.lock().unwrap().pop();
            block.into_iter().for_each(|(pfn, order)| pages.free_pages(pfn, order).unwrap());
            true
        }
    }
    let machine = Machine::full();
    let block = machine.alloc_pages(GfpFlags::GFP_HIGHUSER, order(3)).unwrap();
    machine.take_all(GfpFlags::GFP_HIGHUSER | GfpFlags::NOWARN, Order::ZERO);
    let helps = leak(Helps(
        Shelf { blocks: Mutex::new(Vec::from([(block, order(3))])), ..Shelf::default() },
        AtomicU32::new(0),
    ));
    assert!(machine.install_services(Services { compactor: Some(helps), ..Services::default() }));
    assert_eq!(machine.alloc_pages(GfpFlags::GFP_HIGHUSER, order(3)), Ok(block));
    let counted = [VmEvent::CompactStall, VmEvent::CompactSuccess].map(|event| machine.counters().event(event));
    assert_eq!((helps.1.load(SeqCst), counted), (2, [1, 1]));
}
