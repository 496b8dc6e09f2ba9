//! Virtual memory: pairs of map and unmap, rights, walks, windows, whole pages.
//!
//! What a vfree leaves for later is counted, too: each row ends with a purge. Where a row's name ends in `_purged`,
//! each pair does, so that the next one finds neither frames nor addresses that are left from the one before.

use core::hint::black_box;

use mm::addr::{PAGE_SIZE, Pfn, PhysAddr, VirtAddr};
use mm::gfp::GfpFlags;
use mm::order::Order;
use mm::paging::{Access, Prot};
use mm::platform::PhysMap;
use mm::vmalloc::{IoKind, Request};

use super::{Wanted, count};
use crate::arch::armv7::page;
use crate::ram::RAM;
use crate::system::System;
use crate::vm::Vm;

/// Pairs that a row of small ranges is the mean of.
const PAIRS: u32 = 1000;
/// And one of a MiB of pages.
const LARGE_PAIRS: u32 = 100;
const MIB: u32 = 1 << 20;

/// Prints the rows of virtual memory.
pub(super) fn run(system: &System, wanted: Wanted<'_>) {
    let vm = system.vm;
    let requests = [
        ("vmalloc_4K", Request::new(4 << 10), PAIRS),
        ("vmalloc_64K", Request::new(64 << 10), PAIRS),
        ("vmalloc_1M", Request::new(MIB), LARGE_PAIRS),
        ("vmalloc_1M_large", Request::new(MIB).large(), LARGE_PAIRS),
    ];
    for (name, request, pairs) in requests.into_iter().filter(|(name, ..)| wanted.has(name)) {
        vmalloc(vm, black_box(request), pairs);
        wanted.row(format_args!("{name}"), count(|| vmalloc(vm, black_box(request), pairs)), pairs);
        let purged = || (0..LARGE_PAIRS).for_each(|_| vmalloc(vm, black_box(request), 1));
        wanted.row(format_args!("{name}_purged"), count(purged), LARGE_PAIRS);
    }
    if let Some(device) = system.device_space(MIB) {
        for (name, bytes) in [("ioremap_4K", 4 << 10), ("ioremap_64K", 64 << 10), ("ioremap_1M", MIB)] {
            if wanted.has(name) {
                ioremap(vm, device, bytes);
                wanted.row(format_args!("{name}"), count(|| ioremap(vm, device, black_box(bytes))), PAIRS);
            }
        }
    }
    kmap(system, wanted);
    protect(vm, wanted);
    if wanted.has("walk") {
        let va = system.layout.linear.page_offset();
        let walks = || (0..PAIRS).for_each(|_| _ = report(vm.walk(black_box(va))));
        wanted.row(format_args!("walk"), count(walks), PAIRS);
    }
    whole_pages(system, wanted);
}

/// Reports what went wrong: the row is then of no use.
fn report<T, E: core::fmt::Display>(result: Result<T, E>) -> Option<T> {
    result.inspect_err(|error| log::error!("bench: {error}")).ok()
}

fn vmalloc(vm: &Vm, request: Request, pairs: u32) {
    for _ in 0..pairs {
        let Some(va) = report(vm.vmalloc(request)) else { return };
        report(vm.vfree(black_box(va)));
    }
    report(vm.purge());
}

fn ioremap(vm: &Vm, pa: PhysAddr, bytes: u32) {
    for _ in 0..PAIRS {
        let Some(va) = report(vm.ioremap(pa, bytes, IoKind::Device)) else { return };
        report(vm.iounmap(black_box(va)));
    }
}

/// A page of highmem, or on a machine without any one of lowmem.
fn kmap(system: &System, wanted: Wanted<'_>) {
    let zones = system.booted.mm.allocator();
    if !wanted.has("kmap_local") {
        return;
    }
    let Some(frame) = report(zones.alloc_page(GfpFlags::GFP_HIGHUSER)) else { return };
    let pairs = || map_and_unmap(system.vm, frame);
    let is_high = RAM.frames_ptr(frame, 1).is_none();
    let name = if is_high { "kmap_local" } else { "kmap_local_lowmem" };
    wanted.row(format_args!("{name}"), count(pairs), PAIRS);
    report(zones.free_pages(frame, Order::ZERO));
}

/// As a user does: map, use the page, unmap.
#[inline(never)]
fn map_and_unmap(vm: &Vm, frame: Pfn) {
    for _ in 0..PAIRS {
        let Ok(map) = vm.kmap_local(black_box(frame)) else { return };
        black_box(map.page());
        if vm.kunmap_local(map).is_err() {
            return;
        }
    }
}

/// Takes the right to write from a page, and from a MiB of pages, and gives it back.
fn protect(vm: &Vm, wanted: Wanted<'_>) {
    for (name, bytes, pairs) in [("protect_4K", PAGE_SIZE, PAIRS), ("protect_1M", MIB, LARGE_PAIRS)] {
        if !wanted.has(name) {
            continue;
        }
        let Some(va) = report(vm.vmalloc(Request::new(MIB))) else { return };
        let Some(rw) = vm.walk(va).ok().flatten().map(|to| to.prot) else { return };
        let ro = Prot { access: Access::KernelRo, ..rw };
        let narrow_and_widen = |va: VirtAddr| {
            report(vm.protect(va, u64::from(bytes), ro));
            report(vm.protect(va, u64::from(bytes), rw));
        };
        let total = count(|| (0..pairs).for_each(|_| narrow_and_widen(black_box(va))));
        wanted.row(format_args!("{name}"), total, pairs);
        report(vm.vfree(va));
        report(vm.purge());
    }
}

fn whole_pages(system: &System, wanted: Wanted<'_>) {
    let zones = system.booted.mm.allocator();
    let one = || {
        let frame = report(zones.alloc_page(GfpFlags::GFP_KERNEL))?;
        Some((frame, RAM.frames_ptr(frame, 1)?))
    };
    let (Some((to, to_page)), Some((from, from_page))) = (one(), one()) else { return };
    if wanted.has("clear_page") {
        // SAFETY: the page was just allocated from lowmem: nobody else uses its bytes.
        let clear = || (0..PAIRS).for_each(|_| unsafe { page::clear_page(black_box(to_page)) });
        wanted.row(format_args!("clear_page"), count(clear), PAIRS);
    }
    if wanted.has("copy_page") {
        // SAFETY: as above; the two are different pages.
        let copy = || (0..PAIRS).for_each(|_| unsafe { page::copy_page(black_box(to_page), black_box(from_page)) });
        wanted.row(format_args!("copy_page"), count(copy), PAIRS);
    }
    report(zones.free_pages(to, Order::ZERO));
    report(zones.free_pages(from, Order::ZERO));
}
