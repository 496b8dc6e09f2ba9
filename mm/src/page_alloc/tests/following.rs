//! What is switched on besides allocating: each switch changes an outcome.

use std::boxed::Box;
use std::sync::Mutex;
use std::vec::Vec;

use core::ptr::NonNull;
use core::sync::atomic::AtomicU32;

use super::fixture::{Machine, NORMAL, free_memory};
use crate::addr::{PAGE_SIZE, Pfn, PfnRange};
use crate::buddy::FreeError;
use crate::buddy::model::{order, range};
use crate::gfp::GfpFlags;
use crate::order::Order;
use crate::page_alloc::{
    FreeRecord, Hooks, Options, OwnerRecord, PageMapping, PageOwner, PageOwnerInfo, ShadowChecker,
};
use crate::platform::{PageAccess, PhysMap};
use crate::testing::{FakeRam, capture_log};

const KERNEL: GfpFlags = GfpFlags::GFP_KERNEL;

/// A machine whose linear map reaches Normal, with the RAM of all zones behind it.
fn machine() -> (Machine, &'static FakeRam, &'static FakeRam) {
    let low: &'static FakeRam = Box::leak(Box::new(FakeRam::new(&[range(0x400, 0x1400).bytes()])));
    let high: &'static FakeRam = Box::leak(Box::new(FakeRam::new(&[range(0x1400, 0x1c00).bytes()])));
    (Machine::with_options(Options { ram: Some(low), ..Options::default() }), low, high)
}

#[expect(clippy::mut_from_ref, reason = "the bytes are the page's, and the tests use them on one thread")]
fn bytes(ram: &FakeRam, pfn: Pfn, order: Order) -> &mut [u8] {
    let start = ram.frames_ptr(pfn, order.pages()).unwrap();
    // SAFETY: FakeRam answers for all bytes of the block, and the tests use them on one thread.
    unsafe { core::slice::from_raw_parts_mut(start.as_ptr(), (order.pages() * PAGE_SIZE) as usize) }
}

#[test]
fn poison_names_the_first_byte_that_was_written_after_the_free() {
    for on in [false, true] {
        let (machine, ram, _) = machine();
        machine.set_hooks(Hooks::POISON, on);
        let block = machine.alloc_pages(KERNEL, order(2)).unwrap();
        machine.free_pages(block, order(2)).unwrap();
        assert_eq!(bytes(ram, block, order(2)).iter().all(|byte| *byte == 0xaa), on);
        bytes(ram, block, order(2))[0x2345] = 0x55;
        bytes(ram, block, order(2))[0x2347] = 0x55;
        let lines = capture_log(|| assert_eq!(machine.alloc_pages(KERNEL, order(2)), Ok(block)));
        assert_eq!((lines.len(), machine.bad_pages()), (usize::from(on), u32::from(on)));
        if on {
            let frame = Pfn::new(block.raw() + 2);
            let told = std::format!(
                "BUG: Bad page state: pfn {frame}: pagealloc: memory corruption: byte 0x345 at {} is 0x55, not 0xaa; bytes \
                 that differ: 2",
                frame.base().saturating_add(0x345)
            );
            assert!(lines[0].starts_with(&told), "{}", lines[0]);
        }
    }
}

#[test]
fn many_pages_that_are_freed_at_once_are_poisoned_each() {
    let (machine, ram, _) = machine();
    machine.set_hooks(Hooks::POISON, true);
    let mut pages = [Pfn::new(0); 5];
    assert_eq!(machine.alloc_pages_bulk(KERNEL, &mut pages), Ok(5));
    machine.free_pages_bulk(&pages).unwrap();
    assert!(pages.iter().all(|pfn| bytes(ram, *pfn, Order::ZERO).iter().all(|byte| *byte == 0xaa)));
    machine.validate().unwrap();
}

#[test]
fn poison_tells_a_flipped_bit_from_more_and_is_silent_about_pages_that_were_free_before() {
    let (machine, ram, _) = machine();
    let old = machine.alloc_page(KERNEL).unwrap();
    machine.free_pages(old, Order::ZERO).unwrap();
    machine.set_hooks(Hooks::POISON, true);
    let lines = capture_log(|| assert_eq!(machine.alloc_page(KERNEL), Ok(old)));
    assert_eq!(lines.len(), 0, "{lines:?}");
    machine.free_pages(old, Order::ZERO).unwrap();
    bytes(ram, old, Order::ZERO)[7] = 0xaa ^ 0x10;
    let lines = capture_log(|| assert_eq!(machine.alloc_page(KERNEL), Ok(old)));
    assert!(lines[0].contains("single bit error: byte 0x7 "), "{lines:?}");
    // Switched off and on again: what is poisoned now was written to by nobody who did wrong.
    machine.free_pages(old, Order::ZERO).unwrap();
    machine.set_hooks(Hooks::POISON, false);
    assert_eq!(machine.alloc_page(KERNEL), Ok(old));
    bytes(ram, old, Order::ZERO).fill(1);
    machine.free_pages(old, Order::ZERO).unwrap();
    machine.set_hooks(Hooks::POISON, true);
    let lines = capture_log(|| assert_eq!(machine.alloc_page(KERNEL), Ok(old)));
    assert_eq!(lines.len(), 0, "{lines:?}");
}

#[test]
fn a_hook_that_is_switched_on_again_or_another_one_forgets_no_poison() {
    for more in [Hooks::POISON, Hooks::CHECK, Hooks::POISON | Hooks::CHECK] {
        let (machine, ram, _) = machine();
        machine.set_hooks(Hooks::POISON, true);
        let page = machine.alloc_page(KERNEL).unwrap();
        machine.free_pages(page, Order::ZERO).unwrap();
        machine.set_hooks(more, true);
        machine.set_hooks(Hooks::CHECK, false);
        bytes(ram, page, Order::ZERO)[7] = 0;
        let lines = capture_log(|| assert_eq!(machine.alloc_page(KERNEL), Ok(page)));
        assert!(lines.len() == 1 && lines[0].contains("byte 0x7 "), "{more:?}: {lines:?}");
    }
}

#[test]
fn zeroing_on_alloc_and_on_free_each_do_so_and_poison_goes_before_them() {
    let dirty_then = |hooks: Hooks| {
        let (machine, ram, _) = machine();
        machine.set_hooks(hooks, true);
        let page = machine.alloc_page(KERNEL).unwrap();
        bytes(ram, page, Order::ZERO).fill(0x77);
        machine.free_pages(page, Order::ZERO).unwrap();
        let freed = bytes(ram, page, Order::ZERO)[9];
        assert_eq!(machine.alloc_page(KERNEL), Ok(page));
        (freed, bytes(ram, page, Order::ZERO)[9])
    };
    assert_eq!(dirty_then(Hooks::CHECK), (0x77, 0x77));
    assert_eq!(dirty_then(Hooks::INIT_ON_ALLOC), (0x77, 0));
    assert_eq!(dirty_then(Hooks::INIT_ON_FREE), (0, 0));
    assert_eq!(dirty_then(Hooks::POISON), (0xaa, 0xaa));
    assert_eq!(dirty_then(Hooks::POISON | Hooks::INIT_ON_ALLOC | Hooks::INIT_ON_FREE), (0xaa, 0xaa));
}

/// Reaches `HighMem` a frame at a time.
struct Window(&'static FakeRam, AtomicU32);

// SAFETY: the pointer reaches all bytes of the frame, and `use_bytes` is called once.
unsafe impl PageAccess for Window {
    fn with_frame(&self, pfn: Pfn, use_bytes: &mut dyn FnMut(NonNull<u8>)) -> bool {
        let Some(bytes) = self.0.frames_ptr(pfn, 1) else { return false };
        self.1.fetch_add(1, core::sync::atomic::Ordering::Relaxed);
        use_bytes(bytes);
        true
    }
}

#[test]
fn pages_outside_the_linear_map_are_zeroed_and_poisoned_through_a_window() {
    let (machine, _, high) = machine();
    let highmem = GfpFlags::GFP_HIGHUSER;
    assert!(machine.alloc_page(highmem | GfpFlags::ZERO).is_err());
    // Without a window such pages are left out.
    machine.set_hooks(Hooks::INIT_ON_ALLOC | Hooks::POISON, true);
    let page = machine.alloc_pages(highmem, order(1)).unwrap();
    machine.free_pages(page, order(1)).unwrap();
    let window: &'static Window = Box::leak(Box::new(Window(high, AtomicU32::new(0))));
    assert!(machine.set_page_access(window));
    let page = machine.alloc_pages(highmem, order(1)).unwrap();
    bytes(high, page, order(1)).fill(0x12);
    machine.free_pages(page, order(1)).unwrap();
    assert!(bytes(high, page, order(1)).iter().all(|byte| *byte == 0xaa));
    bytes(high, page, order(1))[4096] = 0;
    let zeroed = capture_log(|| assert_eq!(machine.alloc_pages(highmem | GfpFlags::ZERO, order(1)), Ok(page)));
    assert!(zeroed[0].contains("byte 0x0 "), "{zeroed:?}");
    assert!(bytes(high, page, order(1)).iter().all(|byte| *byte == 0));
    assert!(window.1.load(core::sync::atomic::Ordering::Relaxed) > 0);
}

/// Which frames are unmapped; whoever looks through it at one of them is caught.
#[derive(Default)]
struct Tables(Mutex<std::collections::BTreeSet<u32>>);

impl PageMapping for Tables {
    fn map(&self, first: Pfn, pages: u32) {
        for pfn in first.raw()..first.raw() + pages {
            assert!(self.0.lock().unwrap().remove(&pfn), "{pfn:#x} was mapped");
        }
    }

    fn unmap(&self, first: Pfn, pages: u32) -> bool {
        (first.raw()..first.raw() + pages).all(|pfn| self.0.lock().unwrap().insert(pfn))
    }
}

#[test]
fn a_free_page_that_is_touched_is_caught_while_free_pages_are_unmapped() {
    let (mut machine, _, _) = machine();
    let tables: &'static Tables = Box::leak(Box::default());
    machine.set_page_mapping(tables);
    let touch = |pfn: Pfn| !tables.0.lock().unwrap().contains(&pfn.raw());
    let page = machine.alloc_pages(KERNEL, order(2)).unwrap();
    machine.free_pages(page, order(2)).unwrap();
    assert!(touch(page));
    machine.set_hooks(Hooks::DEBUG_PAGEALLOC, true);
    let page = machine.alloc_pages(KERNEL, order(2)).unwrap();
    machine.free_pages(page, order(2)).unwrap();
    assert!(!touch(page) && !touch(Pfn::new(page.raw() + 3)));
    // A part of the block is in use: that is mapped, the rest is not.
    let single = machine.alloc_page(KERNEL).unwrap();
    assert_eq!(single, page);
    assert!(touch(single) && !touch(Pfn::new(single.raw() + 1)));
    machine.set_hooks(Hooks::DEBUG_PAGEALLOC, false);
    assert!(tables.0.lock().unwrap().is_empty());
    machine.free_pages(single, Order::ZERO).unwrap();
    assert!(touch(single));
}

#[derive(Default)]
struct Shadow(Mutex<Vec<(char, Pfn, Order)>>);

impl ShadowChecker for Shadow {
    fn on_alloc(&self, pfn: Pfn, order: Order) {
        self.0.lock().unwrap().push(('a', pfn, order));
    }

    fn on_free(&self, pfn: Pfn, order: Order) {
        self.0.lock().unwrap().push(('f', pfn, order));
    }
}

#[test]
fn the_shadow_checker_hears_of_every_block_while_it_is_on() {
    let machine = Machine::full().with_pagesets(1);
    let mut machine = machine;
    let shadow: &'static Shadow = Box::leak(Box::default());
    machine.set_shadow_checker(shadow);
    let quiet = machine.alloc_page(KERNEL).unwrap();
    machine.set_hooks(Hooks::SHADOW, true);
    machine.free_pages(quiet, Order::ZERO).unwrap();
    let block = machine.alloc_pages(KERNEL, order(3)).unwrap();
    machine.free_pages(block, order(3)).unwrap();
    machine.set_hooks(Hooks::SHADOW, false);
    machine.alloc_page(KERNEL).unwrap();
    let expected = [('f', quiet, Order::ZERO), ('a', block, order(3)), ('f', block, order(3))];
    assert_eq!(*shadow.0.lock().unwrap(), expected);
}

fn give_records(machine: &mut Machine) {
    let frames = PfnRange::new(free_memory()[0].start, free_memory()[1].end);
    let records = Box::leak((0..frames.pages()).map(|_| OwnerRecord::default()).collect());
    let frees: &'static [FreeRecord] = Box::leak((0..4).map(|_| FreeRecord::default()).collect());
    machine.set_page_owner(PageOwner::new(frames, records, frees).unwrap());
}

#[test]
fn page_owner_names_who_allocated_and_who_freed_and_the_report_of_a_double_free_repeats_it() {
    let mut machine = Machine::full().with_pagesets(1);
    give_records(&mut machine);
    machine.set_hooks(Hooks::PAGE_OWNER, true);
    let (block, here) = (machine.alloc_pages(KERNEL, order(1)).unwrap(), line!());
    let (single, also) = (machine.alloc_page(GfpFlags::GFP_ATOMIC).unwrap(), line!());
    let records = machine.page_owner().unwrap();
    assert_eq!(records.allocated_by(block).map(|place| (place.file(), place.line())), Some((file!(), here)));
    assert_eq!(records.allocated_by(single).map(|place| place.line()), Some(also));
    let listing = std::format!("{}", PageOwnerInfo(&*machine));
    assert!(listing.contains(&std::format!("via order 1, mask 0xd0, time 1\nPFN {block} type Unmovable")), "{listing}");
    assert_eq!(listing.matches("Page allocated via").count(), 2);
    let freed = line!() + 1;
    machine.free_pages(block, order(1)).unwrap();
    assert_eq!(records.freed_by(block).map(|place| place.line()), Some(freed));
    let wrong = line!() + 1;
    let report = capture_log(|| assert!(machine.free_pages(block, order(1)).is_err())).concat();
    for line in [here, freed, wrong] {
        assert!(report.contains(&std::format!("{}:{line}:", file!())), "{report}");
    }
    assert_eq!(std::format!("{}", PageOwnerInfo(&*machine)).matches("Page allocated via").count(), 1);
    // Off, nothing is written down.
    machine.set_hooks(Hooks::PAGE_OWNER, false);
    machine.free_pages(single, Order::ZERO).unwrap();
    assert_eq!(records.freed_by(single), None);
}

#[test]
fn the_last_frees_are_kept_in_their_order() {
    let mut machine = Machine::full();
    give_records(&mut machine);
    machine.set_hooks(Hooks::PAGE_OWNER, true);
    let pages: Vec<_> = (0..6).map(|_| machine.alloc_page(KERNEL).unwrap()).collect();
    pages.iter().for_each(|pfn| machine.free_pages(*pfn, Order::ZERO).unwrap());
    let recent: Vec<_> = machine.page_owner().unwrap().recent_frees().map(|(pfn, ..)| pfn).collect();
    assert_eq!(recent, [pages[5], pages[4], pages[3], pages[2]]);
}

#[test]
fn a_private_word_that_is_left_is_told_only_by_the_checks_and_a_used_free_page_too() {
    let machine = Machine::full();
    let page = machine.alloc_page(KERNEL).unwrap();
    machine.map().page(page).unwrap().set_private(7);
    machine.free_pages(page, Order::ZERO).unwrap();
    assert_eq!(machine.alloc_page(KERNEL), Ok(page));
    machine.set_hooks(Hooks::CHECK, true);
    assert_eq!(machine.free_pages(page, Order::ZERO), Err(FreeError::Private { pfn: page, private: 7 }));
    machine.validate().unwrap();
    machine.map().page(page).unwrap().set_private(0);
    machine.free_pages(page, Order::ZERO).unwrap();
    machine.map().at(page).mapcount.store(3, core::sync::atomic::Ordering::Relaxed);
    let lines = capture_log(|| assert_eq!(machine.alloc_page(KERNEL), Ok(page)));
    assert!(lines[0].contains("a free page is mapped"), "{lines:?}");
    assert_eq!(machine.map().page(page).unwrap().mapcount(), 0);
}

#[test]
fn a_mapped_page_cannot_be_freed_by_hit_or_miss() {
    for machine in [Machine::full(), Machine::full().with_pagesets(1)] {
        let page = machine.alloc_page(KERNEL).unwrap();
        machine.add_mapping(page).unwrap();
        machine.add_mapping(page).unwrap();
        machine.remove_mapping(page).unwrap();
        assert_eq!(machine.free_pages(page, Order::ZERO), Err(FreeError::Mapped { pfn: page, count: 1 }));
        machine.remove_mapping(page).unwrap();
        assert_eq!(machine.remove_mapping(page), Err(FreeError::Mapped { pfn: page, count: 0 }));
        machine.free_pages(page, Order::ZERO).unwrap();
        assert!(machine.add_mapping(page).is_err());
        machine.validate().unwrap();
    }
}

#[test]
fn a_wrong_free_is_reported_once_with_all_that_is_known_and_a_loop_does_not_flood() {
    let machine = Machine::full();
    let page = machine.alloc_pages(KERNEL, order(3)).unwrap();
    machine.free_pages(page, order(3)).unwrap();
    let lines = capture_log(|| (0..100).for_each(|_| assert!(machine.free_pages(page, order(3)).is_err())));
    assert_eq!((lines.len(), machine.bad_pages()), (1, 1));
    let parts =
        ["BUG: Bad page state: pfn 0x", "freed with order 3", "following.rs:", "count:0 mapcount:0", "zone Normal"];
    assert!(parts.iter().all(|part| lines[0].contains(part)), "{}", lines[0]);
    // Rightly freed since, while pages are looked at, it is news again.
    machine.set_hooks(Hooks::CHECK, true);
    let again = machine.alloc_pages(KERNEL, order(3)).unwrap();
    assert_eq!(again, page);
    machine.free_pages(again, order(3)).unwrap();
    assert_eq!(capture_log(|| assert!(machine.free_pages(again, order(3)).is_err())).len(), 1);
    let foreign = capture_log(|| (0..100).for_each(|_| assert!(machine.free_pages(Pfn::new(1), Order::ZERO).is_err())));
    assert_eq!(foreign.len(), 1);
    // 60 in all, then numbers 64, 128, 256, 512 and 1,024.
    let many = capture_log(|| {
        (0x800..0x800 + 2000).for_each(|pfn| assert!(machine.free_pages(Pfn::new(pfn), Order::ZERO).is_err()));
    });
    assert_eq!(many.len() + 3, 60 + 5, "{}", machine.bad_pages());
}

#[test]
fn of_two_cpus_that_free_one_block_at_once_one_succeeds_and_one_is_reported() {
    let machine = Machine::full();
    machine.set_hooks(Hooks::CHECK, true);
    for round in 1..=100u8 {
        let order = order(round % 5);
        let block = machine.alloc_pages(KERNEL, order).unwrap();
        let before = machine.bad_pages();
        let freed: usize = std::thread::scope(|scope| {
            let cpus: [_; 2] =
                core::array::from_fn(|_| scope.spawn(|| usize::from(machine.free_pages(block, order).is_ok())));
            cpus.into_iter().map(|cpu| cpu.join().unwrap()).sum()
        });
        assert_eq!(freed, 1);
        assert_eq!(machine.bad_pages() - before, 1);
        let fresh = machine.alloc_pages(KERNEL, order).unwrap();
        machine.free_pages(fresh, order).unwrap();
    }
    assert_eq!(machine.zone(NORMAL).unwrap().stats().allocated, 0);
    machine.validate().unwrap();
}

#[test]
fn page_owner_lists_blocks_of_values_and_the_pages_of_split_blocks() {
    let mut machine = Machine::full().with_pagesets(1);
    give_records(&mut machine);
    machine.set_hooks(Hooks::PAGE_OWNER, true);
    let listed = || std::format!("{}", PageOwnerInfo(&*machine));
    let value = crate::page_alloc::OwnedPages::alloc(&*machine, KERNEL, order(1)).unwrap();
    assert_eq!(listed().matches("Page allocated via order 1,").count(), 1);
    let pages = value.split().unwrap();
    assert_eq!(listed().matches("Page allocated via order 0,").count(), 2);
    drop(pages);
    let (block, here) = (machine.alloc_pages(KERNEL, order(2)).unwrap(), line!());
    machine.split_page(block, order(2)).unwrap();
    assert_eq!(listed().matches("Page allocated via order 0,").count(), 4);
    let last = machine.page_owner().unwrap().allocated_by(Pfn::new(block.raw() + 3));
    assert_eq!(last.map(|place| place.line()), Some(here));
}

#[test]
fn the_report_of_a_free_by_a_tail_names_who_allocated_the_block() {
    let mut machine = Machine::full();
    give_records(&mut machine);
    machine.set_hooks(Hooks::PAGE_OWNER, true);
    let (block, here) = (machine.alloc_pages(KERNEL, order(2)).unwrap(), line!());
    let tail = Pfn::new(block.raw() + 1);
    let report = capture_log(|| assert!(machine.free_pages(tail, Order::ZERO).is_err())).concat();
    assert!(
        report.contains(&std::format!("allocated via order 2, mask 0xd0, time 1, by {}:{here}:", file!())),
        "{report}"
    );
    // A page that was merged into a larger free block has its own record still.
    machine.free_pages(block, order(2)).unwrap();
    let pages = [0, 1].map(|_| machine.alloc_page(KERNEL).unwrap());
    let second = pages[0].max(pages[1]);
    pages.iter().for_each(|page| machine.free_pages(*page, Order::ZERO).unwrap());
    let report = capture_log(|| assert!(machine.free_pages(second, Order::ZERO).is_err())).concat();
    let time = if second == pages[0] { 3 } else { 4 };
    assert!(report.contains(&std::format!("allocated via order 0, mask 0xd0, time {time}, ")), "{report}");
}
