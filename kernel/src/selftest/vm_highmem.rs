//! Windows on highmem. On a machine without any, lowmem's pages must need no window.

use core::cell::Cell;
use core::ptr::NonNull;

use mm::addr::{PAGE_SIZE, Pfn, VirtAddr};
use mm::gfp::GfpFlags;
use mm::highmem::{LocalError, PKMAP_SLOTS, PkmapError, WindowWait};
use mm::layout::FIXMAP_KMAPS_PER_CPU;
use mm::order::Order;
use mm::platform::{PageAccess, PhysMap};

use super::vm::{allocated, free, ok};
use super::{Failed, Verdict};
use crate::arch::armv7::fault::try_read;
use crate::arch::armv7::mmu::ArmTlb;
use crate::ram::RAM;
use crate::system::System;
use crate::vm::{KmapError, LocalMap};
use crate::{check, selftest};

selftest!(local_windows_nest_and_come_back_in_order);
selftest!(windows_of_a_cpu_that_cleans_its_tables_are_the_same);
selftest!(all_users_of_a_frame_share_its_window);
selftest!(windows_run_out_and_come_back);
selftest!(highmem_pages_are_cleared_and_copied);
selftest!(lowmem_needs_no_window);
selftest!(what_may_not_be_mapped_has_no_address);

/// Pages of highmem, which stay while the value lives in the test.
struct HighPages {
    first: Pfn,
    order: Order,
}

/// `2^order` pages of highmem that follow each other; `None` on a machine that has none.
fn high_pages(system: &System, order: u8) -> Option<HighPages> {
    let order = Order::new(order)?;
    let zones = system.booted.mm.allocator();
    let first = zones.alloc_pages(GfpFlags::GFP_HIGHUSER | GfpFlags::NOWARN, order).ok()?;
    if RAM.frames_ptr(first, 1).is_some() {
        free(system, first, order).ok()?;
        return None;
    }
    Some(HighPages { first, order })
}

impl HighPages {
    fn page(&self, number: u32) -> Pfn {
        Pfn::new(self.first.raw() + number % self.order.pages())
    }
}

fn write(page: NonNull<u8>, word: u32) {
    // SAFETY: the tests map only pages that they own.
    unsafe { page.cast::<u32>().write_volatile(word) }
}

fn read(page: NonNull<u8>) -> u32 {
    // SAFETY: as above.
    unsafe { page.cast::<u32>().read_volatile() }
}

fn address(page: NonNull<u8>) -> VirtAddr {
    VirtAddr::new(page.as_ptr() as u32)
}

/// Runs `body` while a window of each kind shows a page, where there is highmem.
pub(super) fn with_windows(system: &System, body: impl FnOnce() -> Verdict) -> Verdict {
    let Some(pages) = high_pages(system, 1) else { return body() };
    ok(system.vm.kmap(pages.page(0)))?;
    let local = ok(system.vm.kmap_local(pages.page(1)))?;
    let verdict = body();
    ok(system.vm.kunmap_local(local).map_err(|(_, error)| error))?;
    ok(system.vm.kunmap(pages.page(0)))?;
    system.vm.kmap_flush_unused();
    free(system, pages.first, pages.order)?;
    verdict
}

fn local_windows_nest_and_come_back_in_order(system: &System) -> Verdict {
    local_windows(system)
}

/// The way of a CPU whose walks do not look into the data cache; cleaning harms no other one.
fn windows_of_a_cpu_that_cleans_its_tables_are_the_same(system: &System) -> Verdict {
    let vm = system.vm;
    check!(vm.open_windows(true), "windows are in use");
    let verdict = local_windows(system);
    let Some(pages) = high_pages(system, 0) else {
        check!(vm.open_windows(ArmTlb::detect().cleans_tables()), "windows are in use");
        return verdict;
    };
    let map = ok(vm.kmap_local(pages.page(0)))?;
    check!(!vm.open_windows(false) && vm.local_depth() == 1, "the kind is changed under a window");
    ok(vm.kunmap_local(map).map_err(|(_, error)| error))?;
    check!(vm.open_windows(ArmTlb::detect().cleans_tables()), "windows are in use");
    free(system, pages.first, pages.order)?;
    verdict
}

/// All windows of this CPU, taken and given back in order, three times.
fn local_windows(system: &System) -> Verdict {
    let before = allocated(system)?;
    let Some(pages) = high_pages(system, 5) else { return Ok(()) };
    let vm = system.vm;
    let mut maps: [Option<LocalMap>; FIXMAP_KMAPS_PER_CPU as usize] = [const { None }; _];
    for round in 0..3 {
        for (number, place) in (0..).zip(&mut maps) {
            let map = ok(vm.kmap_local(pages.page(number + round)))?;
            write(map.page(), 0xface_0000 + number);
            *place = Some(map);
        }
        let full = vm.kmap_local(pages.page(20)).map(drop);
        let windows = FIXMAP_KMAPS_PER_CPU;
        check!(full == Err(KmapError::Local(LocalError::Full { windows })), "{full:?}");
        for (number, map) in (0..).zip(maps.iter().flatten()) {
            check!(read(map.page()) == 0xface_0000 + number, "window {number} shows another page");
        }
        // Not the first one first.
        let first = maps.first_mut().and_then(Option::take).ok_or(Failed)?;
        let Err((first, wrong)) = vm.kunmap_local(first) else { return Err(Failed) };
        check!(matches!(wrong, KmapError::Local(LocalError::NotLast { window: 1, .. })), "{wrong:?}");
        check!(read(first.page()) == 0xface_0000, "a refused kunmap_local unmapped it");
        if let Some(place) = maps.first_mut() {
            *place = Some(first);
        }
        for map in maps.iter_mut().rev().filter_map(Option::take) {
            let va = address(map.page());
            ok(vm.kunmap_local(map).map_err(|(_, error)| error))?;
            let gone = try_read(va);
            check!(gone.is_err_and(|fault| fault.status.is_translation()), "{va}: {gone:x?}");
        }
        check!(vm.local_depth() == 0, "{} windows are left", vm.local_depth());
    }
    free(system, pages.first, pages.order)?;
    check!(allocated(system)? == before, "{before} pages were allocated");
    Ok(())
}

fn all_users_of_a_frame_share_its_window(system: &System) -> Verdict {
    let before = allocated(system)?;
    let Some(pages) = high_pages(system, 0) else { return Ok(()) };
    let (vm, page) = (system.vm, pages.page(0));
    let (first, second) = (ok(vm.kmap(page))?, ok(vm.kmap(page))?);
    check!(first == second, "{first:?} and {second:?}");
    write(first, 0x1234_5678);
    let mut seen = 0;
    check!(vm.with_frame(page, &mut |bytes| seen = read(bytes)), "{page} cannot be mapped");
    check!(seen == 0x1234_5678, "{seen:#x}");
    ok(vm.kunmap(page))?;
    check!(read(second) == 0x1234_5678, "the second user lost the window");
    ok(vm.kunmap(page))?;
    let third = vm.kunmap(page);
    check!(third == Err(KmapError::Pkmap(PkmapError::NotMapped(page))), "{third:?}");
    vm.kmap_flush_unused();
    let gone = try_read(address(second));
    check!(gone.is_err_and(|fault| fault.status.is_translation()), "{gone:x?}");
    free(system, page, Order::ZERO)?;
    check!(allocated(system)? == before, "{before} pages were allocated");
    Ok(())
}

/// Gives up a page's window when it is to wait for one.
struct Giver<'a> {
    system: &'a System,
    page: Pfn,
    asked: Cell<u32>,
}

impl WindowWait for Giver<'_> {
    fn wakes(&self) -> u32 {
        self.asked.get()
    }

    fn wait(&self, seen: u32) -> bool {
        self.asked.set(self.asked.get() + 1);
        seen == 0 && self.system.vm.kunmap(self.page).is_ok()
    }

    fn wake(&self) {}
}

/// Twice as many pages as there are windows: all of them in turn, then until the windows are full.
fn windows_run_out_and_come_back(system: &System) -> Verdict {
    let before = allocated(system)?;
    let Some(pages) = high_pages(system, 10) else { return Ok(()) };
    let (vm, windows) = (system.vm, pages.order.pages() / 2);
    check!(windows as usize == PKMAP_SLOTS, "pkmap has other windows than {windows}");
    for number in 0..2 * windows {
        let page = ok(vm.kmap(pages.page(number)))?;
        write(page, !number);
        ok(vm.kunmap(pages.page(number)))?;
    }
    for number in 0..windows {
        let page = ok(vm.kmap(pages.page(number)))?;
        check!(read(page) == !number, "window of page {number} shows {:#x}", read(page));
    }
    let full = vm.kmap(pages.page(windows));
    check!(full == Err(KmapError::Pkmap(PkmapError::Full)), "{full:?}");
    check!(system.validate(), "an invariant is broken");
    // Who waits, waits until somebody gives one up: here the wait itself does.
    let giver = Giver { system, page: pages.page(100), asked: Cell::new(0) };
    let page = ok(vm.kmap_waiting(pages.page(windows), &giver))?;
    check!(giver.asked.get() == 1, "{} waits for one window", giver.asked.get());
    check!(read(page) == !windows, "the window that was free shows {:#x}", read(page));
    for number in (0..=windows).filter(|number| *number != 100) {
        ok(vm.kunmap(pages.page(number)))?;
    }
    vm.kmap_flush_unused();
    free(system, pages.first, pages.order)?;
    check!(allocated(system)? == before, "{before} pages were allocated");
    Ok(())
}

fn highmem_pages_are_cleared_and_copied(system: &System) -> Verdict {
    let before = allocated(system)?;
    let vm = system.vm;
    // Two pages of highmem, or where there is none of lowmem.
    let order = Order::new(1).ok_or(Failed)?;
    let first = ok(system.booted.mm.allocator().alloc_pages(GfpFlags::GFP_HIGHUSER, order))?;
    let second = Pfn::new(first.raw() + 1);
    let word = |page: NonNull<u8>, index: usize| {
        // SAFETY: the index is inside the page.
        unsafe { page.cast::<u32>().add(index) }.cast::<u8>()
    };
    let words = (PAGE_SIZE / 4) as usize;
    let mark = |index: usize| u32::try_from(index).unwrap_or(0).wrapping_mul(0x9e37_79b9) | 1;
    check!(vm.with_frame(first, &mut |page| (0..words).for_each(|at| write(word(page, at), mark(at)))), "{first}");
    // SAFETY: both pages are ours, and nobody else uses them.
    ok(unsafe { vm.copy_highpage(second, first) })?;
    // SAFETY: as above.
    ok(unsafe { vm.clear_highpage(first) })?;
    let (mut clear, mut equal) = (false, false);
    check!(vm.with_frame(first, &mut |page| clear = (0..words).all(|at| read(word(page, at)) == 0)), "{first}");
    check!(
        vm.with_frame(second, &mut |page| equal = (0..words).all(|at| read(word(page, at)) == mark(at))),
        "{second}"
    );
    check!(clear && equal, "cleared: {clear}, copied: {equal}");
    free(system, first, order)?;
    check!(allocated(system)? == before, "{before} pages were allocated");
    Ok(())
}

fn lowmem_needs_no_window(system: &System) -> Verdict {
    let vm = system.vm;
    let page = ok(system.booted.mm.allocator().alloc_page(GfpFlags::GFP_KERNEL))?;
    let linear = system.layout.linear.phys_to_virt(page.base()).ok_or(Failed)?;
    let map = ok(vm.kmap_local(page))?;
    check!(address(map.page()) == linear && vm.local_depth() == 0, "{map:?}");
    ok(vm.kunmap_local(map).map_err(|(_, error)| error))?;
    check!(ok(vm.kmap(page))?.as_ptr() as u32 == linear.raw(), "kmap of {page}");
    ok(vm.kunmap(page))?;
    free(system, page, Order::ZERO)?;
    Ok(())
}

/// Nor is a window given on it: a no-map frame, in lowmem and above, and one that is no RAM.
fn what_may_not_be_mapped_has_no_address(system: &System) -> Verdict {
    let (vm, device) = (system.vm, system.device_space(1 << 20).and_then(Pfn::containing).ok_or(Failed)?);
    let no_map = system.no_map_ranges().flat_map(|range| {
        let frames = range.whole_frames();
        [frames.start, Pfn::new(frames.end.raw() - 1)]
    });
    for frame in no_map.chain([device]) {
        let refused = (vm.kmap_local(frame).map(drop), vm.kmap(frame).map(drop));
        check!(refused == (Err(KmapError::NotRam(frame)), Err(KmapError::NotRam(frame))), "{refused:?}");
    }
    // The image is reserved, and mapped.
    let image = system.image.whole.whole_frames().start;
    ok(vm.kunmap_local(ok(vm.kmap_local(image))?).map_err(|(_, error)| error))
}
