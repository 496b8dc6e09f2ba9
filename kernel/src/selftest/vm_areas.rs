//! vmalloc and ioremap on the machine.

use mm::addr::{PAGE_SIZE, PhysAddr, VirtAddr};
use mm::layout::FixmapSlot;
use mm::order::Order;
use mm::paging::{Access, MemType, PageSize, Prot};
use mm::platform::PhysMap;
use mm::vmalloc::{IoKind, Request, VmallocError};

use super::vm::{allocated, free, ok};
use super::{Failed, Verdict, translation};
use crate::arch::armv7::fault::{try_read, try_write};
use crate::ram::RAM;
use crate::system::System;
use crate::{check, selftest};

selftest!(vmalloc_memory_is_contiguous_and_ends_at_a_guard);
selftest!(large_areas_are_mapped_by_large_pages_and_sections);
selftest!(mapped_areas_agree_with_the_mmu);
selftest!(vmalloc_without_memory_left_is_refused_and_all_comes_back);
selftest!(addresses_run_out_and_come_back);
selftest!(ten_thousand_random_areas_leave_nothing_behind);
selftest!(ioremap_shows_the_consoles_registers_and_refuses_ram);
selftest!(ioremap_maps_each_kind_of_memory);
selftest!(vmalloc_takes_highmem_where_there_is_some);

const MIB: u32 = 1 << 20;

/// Writes `word` to `va`, whose area is ours, and reads it back.
fn touch(va: VirtAddr, word: u32) -> Verdict {
    // SAFETY: every caller owns the area, and depends on no word of it.
    let stored = unsafe { try_write(va, word) };
    check!(stored.is_ok() && try_read(va) == Ok(word), "{va}: {stored:x?}, then {:x?}", try_read(va));
    Ok(())
}

fn page(va: VirtAddr, page: u32) -> VirtAddr {
    VirtAddr::new(va.raw().wrapping_add(page * PAGE_SIZE))
}

fn vmalloc_memory_is_contiguous_and_ends_at_a_guard(system: &System) -> Verdict {
    let before = allocated(system)?;
    let va = ok(system.vm.vmalloc(Request::new(5 * PAGE_SIZE - 100)))?;
    for at in 0..5 {
        touch(page(va, at), va.raw() ^ at)?;
    }
    check!((0..5).all(|at| try_read(page(va, at)) == Ok(va.raw() ^ at)), "two pages of {va} share a frame");
    let guard = try_read(page(va, 5));
    check!(guard.is_err_and(|fault| fault.status.is_translation()), "the guard of {va}: {guard:x?}");
    check!(system.validate(), "an invariant is broken");
    ok(system.vm.vfree(va))?;
    let twice = system.vm.vfree(va);
    check!(matches!(twice, Err(VmallocError::WrongKind(..))), "{twice:?}");
    let count = allocated(system)?;
    check!(count == before, "{before} pages were allocated, now {count}");
    let gone = try_read(va);
    check!(gone.is_err_and(|fault| fault.status.is_translation()), "{va}: {gone:x?}");
    Ok(())
}

fn large_areas_are_mapped_by_large_pages_and_sections(system: &System) -> Verdict {
    let before = allocated(system)?;
    for (bytes, size) in [(64 << 10, PageSize::Large), (2 * MIB, PageSize::Section)] {
        let va = ok(system.vm.vmalloc(Request::new(bytes).large()))?;
        touch(VirtAddr::new(va.raw() + bytes - 4), bytes)?;
        let to = ok(system.vm.walk(va))?.ok_or(Failed)?;
        // A small machine may have no such block left; then pages serve.
        check!(to.size == size || to.size == PageSize::Small, "{va}: {to:?}");
        ok(system.vm.vfree(va))?;
    }
    let count = allocated(system)?;
    check!(count == before, "{before} pages were allocated, now {count}");
    Ok(())
}

/// Runs `body` while areas of every shape and kind are mapped.
pub(super) fn with_areas_of_every_kind(system: &System, body: impl FnOnce() -> Verdict) -> Verdict {
    let vm = system.vm;
    let device = system.device_space(MIB).ok_or(Failed)?;
    let pages = ok(vm.vmalloc(Request::new(33 * PAGE_SIZE)))?;
    let constants = ok(vm.vmalloc(Request { prot: Prot::KERNEL_RO, ..Request::new(PAGE_SIZE) }))?;
    let large = ok(vm.vmalloc(Request::new(128 << 10).large()))?;
    let to = ok(vm.walk(pages))?.ok_or(Failed)?;
    let frame = mm::addr::Pfn::containing(to.pa).ok_or(Failed)?;
    let alias = ok(vm.vmap(&[frame, frame], Prot { access: Access::KernelRo, ..to.prot }))?;
    let section = ok(vm.ioremap(device, MIB, IoKind::Device))?;
    let part = ok(vm.ioremap(device, 64 << 10, IoKind::WriteCombine))?;
    let cached = ok(vm.ioremap(device, PAGE_SIZE, IoKind::Cached))?;
    check!(ok(vm.walk(section))?.is_some_and(|to| to.size == PageSize::Section), "{section} is no section");
    check!(ok(vm.walk(part))?.is_some_and(|to| to.size == PageSize::Large), "{part} is no large page");
    let verdict = body();
    ok(vm.vunmap(alias))?;
    for va in [pages, constants, large] {
        ok(vm.vfree(va))?;
    }
    for va in [section, part, cached] {
        ok(vm.iounmap(va))?;
    }
    verdict
}

/// The tables against the MMU while areas of every shape are mapped.
fn mapped_areas_agree_with_the_mmu(system: &System) -> Verdict {
    let before = allocated(system)?;
    with_areas_of_every_kind(system, || {
        check!(system.validate(), "an invariant is broken");
        translation::compare(&system.tables).map(drop)
    })?;
    let count = allocated(system)?;
    check!(count == before, "{before} pages were allocated, now {count}");
    Ok(())
}

/// Areas of a MiB, each linked to the one before through its own first word, until there is no memory or no address.
fn vmalloc_without_memory_left_is_refused_and_all_comes_back(system: &System) -> Verdict {
    let before = allocated(system)?;
    let (mut last, mut taken) = (0, 0_u32);
    let refused = loop {
        match system.vm.vmalloc(Request::new(MIB)) {
            Ok(va) => {
                touch(va, last)?;
                last = va.raw();
                taken += 1;
            }
            Err(error) => break error,
        }
    };
    let expected = matches!(
        refused,
        VmallocError::NoFrames { .. }
            | VmallocError::NoAddresses { .. }
            | VmallocError::NoNode { .. }
            | VmallocError::Map { .. }
    );
    check!(expected, "{refused}");
    check!(system.vm.validate().is_ok(), "{:?}", system.vm.validate());
    let mut freed = 0;
    while last != 0 {
        let va = VirtAddr::new(last);
        last = ok(try_read(va))?;
        ok(system.vm.vfree(va))?;
        freed += 1;
    }
    check!(taken > 0 && freed == taken, "{taken} areas taken, {freed} freed");
    let count = allocated(system)?;
    check!(count == before, "{before} pages were allocated, now {count}");
    check!(system.vm.areas() == 0, "{} areas are left", system.vm.areas());
    check!(system.validate(), "an invariant is broken");
    Ok(())
}

/// All addresses above lowmem, in areas that need no frame.
fn addresses_run_out_and_come_back(system: &System) -> Verdict {
    const PART: u32 = 8 * MIB;
    let before = allocated(system)?;
    let device = system.device_space(PART).ok_or(Failed)?;
    let room = mm::layout::VMALLOC_END.raw() - system.layout.vmalloc_start().raw();
    // More than there is room for with every area aligned to a MiB and its guard behind it.
    let mut areas = [VirtAddr::new(0); 512];
    for round in 0..2 {
        let mut taken = 0;
        let refused = loop {
            match (system.vm.ioremap(device, PART, IoKind::Device), areas.get_mut(taken)) {
                (Ok(va), Some(place)) => *place = va,
                (Ok(va), None) => {
                    log::error!("selftest: {va} is area {taken} in {room:#x} bytes");
                    return Err(Failed);
                }
                (Err(error), _) => break error,
            }
            taken += 1;
        };
        check!(matches!(refused, VmallocError::NoAddresses { .. }), "{refused}");
        let least = (room / (PART + MIB)) as usize;
        check!(taken >= least && least > 0, "round {round}: {taken} areas in {room:#x} bytes");
        for va in areas.iter().take(taken) {
            ok(system.vm.iounmap(*va))?;
        }
        check!(system.vm.areas() == 0, "{} areas are left", system.vm.areas());
    }
    let count = allocated(system)?;
    check!(count == before, "{before} pages were allocated, now {count}");
    Ok(())
}

/// A generator of its own, so that a run can be repeated.
struct Random(u32);

impl Random {
    fn below(&mut self, end: u32) -> u32 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 17;
        self.0 ^= self.0 << 5;
        self.0 % end
    }
}

/// Areas that live at once.
const LIVE: u32 = 500;

fn ten_thousand_random_areas_leave_nothing_behind(system: &System) -> Verdict {
    let before = allocated(system)?;
    let zones = system.booted.mm.allocator();
    let order = Order::ZERO;
    let array = ok(zones.alloc_page(mm::gfp::GfpFlags::GFP_KERNEL | mm::gfp::GfpFlags::ZERO))?;
    let words = RAM.frames_ptr(array, 1).ok_or(Failed)?.cast::<u32>().as_ptr();
    // SAFETY: the page was just allocated from lowmem and zeroed; the test frees it when the slice is out of use.
    let live = unsafe { core::slice::from_raw_parts_mut(words, LIVE as usize) };
    let mut random = Random(0x2545_f491);
    let (mut made, mut steps) = (0, 0_u32);
    while made < 10_000 {
        steps += 1;
        let Some(slot) = live.get_mut(random.below(LIVE) as usize) else { return Err(Failed) };
        if *slot != 0 {
            let va = VirtAddr::new(*slot);
            check!(try_read(va) == Ok(*slot), "{va} lost its word: {:x?}", try_read(va));
            ok(system.vm.vfree(va))?;
            *slot = 0;
        } else {
            let request = Request::new((1 + random.below(12)) * PAGE_SIZE);
            let request = if random.below(8) == 0 { Request { align: 64 << 10, ..request } } else { request };
            let Ok(va) = system.vm.vmalloc(request) else { continue };
            check!(va.is_aligned(request.align), "{va} is not aligned to {:#x}", request.align);
            touch(va, va.raw())?;
            *slot = va.raw();
            made += 1;
        }
        if steps.is_multiple_of(1000) {
            check!(system.vm.validate().is_ok(), "step {steps}: {:?}", system.vm.validate());
        }
        // More memory than a small machine has is no fault of ours, but an end must be.
        check!(steps < 1_000_000, "only {made} areas in {steps} steps");
    }
    for slot in live.iter().filter(|slot| **slot != 0) {
        ok(system.vm.vfree(VirtAddr::new(*slot)))?;
    }
    free(system, array, order)?;
    let count = allocated(system)?;
    check!(count == before, "{before} pages were allocated, now {count}");
    check!(system.vm.areas() == 0 && system.validate(), "{} areas are left", system.vm.areas());
    Ok(())
}

fn ioremap_shows_the_consoles_registers_and_refuses_ram(system: &System) -> Verdict {
    /// PeriphID0, and its value in a PL011 (the TRM's table of identification registers).
    const PERIPH_ID0: (u32, u32) = (0xfe0, 0x11);
    let before = allocated(system)?;
    let ram = system.booted.mm.frozen().memory().iter().find(|region| !region.is_nomap()).ok_or(Failed)?;
    for pa in [ram.range().start, PhysAddr::new(ram.range().end.raw() - 4)] {
        let refused = system.vm.ioremap(pa, 4, IoKind::Device);
        check!(matches!(refused, Err(VmallocError::MappedRam(_))), "{pa}: {refused:?}");
    }
    let slot = FixmapSlot::EarlyConsole.address().ok_or(Failed)?;
    if let Some(console) = ok(system.vm.walk(slot))? {
        let (offset, id) = PERIPH_ID0;
        let va = ok(system.vm.ioremap(console.pa.saturating_add(u64::from(offset)), 4, IoKind::Device))?;
        check!(va.raw() % PAGE_SIZE == offset, "{va} has another offset than the register");
        let read = try_read(va);
        check!(read.is_ok_and(|word| word & 0xff == id), "{va}: {read:x?}");
        ok(system.vm.iounmap(va))?;
        let gone = try_read(va);
        check!(gone.is_err_and(|fault| fault.status.is_translation()), "{va}: {gone:x?}");
    }
    check!(allocated(system)? == before, "{before} pages were allocated");
    Ok(())
}

fn ioremap_maps_each_kind_of_memory(system: &System) -> Verdict {
    let before = allocated(system)?;
    let device = system.device_space(MIB).ok_or(Failed)?;
    let kinds = [
        (IoKind::Device, MemType::Device),
        (IoKind::WriteCombine, MemType::NormalNonCacheable),
        (IoKind::Cached, MemType::WriteBackWriteAllocate),
    ];
    for (kind, mem) in kinds {
        let va = ok(system.vm.ioremap(device, PAGE_SIZE, kind))?;
        let to = ok(system.vm.walk(va))?;
        check!(to.is_some_and(|to| to.prot.mem == mem && to.pa == device && !to.prot.executable()), "{kind:?}: {to:?}");
        ok(system.vm.iounmap(va))?;
    }
    check!(allocated(system)? == before, "{before} pages were allocated");
    Ok(())
}

fn vmalloc_takes_highmem_where_there_is_some(system: &System) -> Verdict {
    let before = allocated(system)?;
    let is_high = |zone: &&crate::system::Zone| zone.name().zone == mm::zone::ZoneType::HighMem;
    let zones = system.booted.mm.allocator().zones();
    let high = zones.iter().find(is_high).map_or(0, |zone| zone.stats().counts.free);
    let va = ok(system.vm.vmalloc(Request::new(PAGE_SIZE)))?;
    touch(va, 0x6869_6768)?;
    let to = ok(system.vm.walk(va))?.ok_or(Failed)?;
    let has_address = system.layout.linear.phys_to_virt(to.pa).is_some();
    // Below the low watermark highmem is left to others.
    check!(high < 4096 || !has_address, "{high} pages of highmem are free, and {va} is {}", to.pa);
    ok(system.vm.vfree(va))?;
    check!(allocated(system)? == before, "{before} pages were allocated");
    Ok(())
}
