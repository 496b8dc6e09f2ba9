//! Live tables: what is changed is seen at once, by the tables' walk and by the MMU.

use mm::addr::{PAGE_SIZE, Pfn, SECTION_SIZE, VirtAddr};
use mm::gfp::GfpFlags;
use mm::layout::{FIXADDR_START, VECTORS_BASE, VMALLOC_END};
use mm::order::Order;
use mm::paging::{Access, Exec, MapError, PageSize, Prot};
use mm::platform::PhysMap;
use mm::vmalloc::{Request, VmallocError};

use super::{Failed, Verdict};
use crate::arch::armv7::fault::{Fault, try_read, try_write};
use crate::ram::RAM;
use crate::system::System;
use crate::{check, selftest};

selftest!(a_page_that_is_remapped_shows_its_new_frame);
selftest!(rights_that_are_narrowed_count_at_once);
selftest!(a_page_that_is_unmapped_faults_at_once);
selftest!(a_section_of_lowmem_is_cut_for_one_page_and_joined_again);
selftest!(a_refused_change_of_the_tables_changes_nothing);
selftest!(what_would_break_the_security_of_the_map_is_refused);
selftest!(nobody_gets_a_page_that_is_writable_and_executable);

/// Pages that callers of the page allocator own, once nothing waits for a purge any more.
pub(super) fn allocated(system: &System) -> Result<u32, Failed> {
    ok(system.vm.purge())?;
    let zones = system.booted.mm.allocator().zones();
    Ok(zones.iter().map(|zone| zone.stats().allocated).sum())
}

/// The value; an error fails the test and is named.
#[track_caller]
pub(super) fn ok<T, E: core::fmt::Debug>(result: Result<T, E>) -> Result<T, Failed> {
    let caller = core::panic::Location::caller();
    result.map_err(|error| {
        log::error!("selftest: {}:{}: {error:?}", caller.file(), caller.line());
        Failed
    })
}

/// A page of lowmem whose first word is `mark`.
fn marked_page(system: &System, mark: u32) -> Result<Pfn, Failed> {
    let page = ok(system.booted.mm.allocator().alloc_page(GfpFlags::GFP_KERNEL))?;
    let word = RAM.frames_ptr(page, 1).ok_or(Failed)?.cast::<u32>();
    // SAFETY: the page was just allocated from lowmem: nobody else uses its bytes.
    unsafe { word.write_volatile(mark) }
    Ok(page)
}

pub(super) fn free(system: &System, block: Pfn, order: Order) -> Verdict {
    ok(system.booted.mm.allocator().free_pages(block, order))
}

/// The protection of lowmem's data, and the same without the right to write.
fn rights(system: &System, page: Pfn) -> Result<(Prot, Prot), Failed> {
    let va = system.layout.linear.phys_to_virt(page.base()).ok_or(Failed)?;
    let rw = ok(system.vm.walk(va))?.ok_or(Failed)?.prot;
    Ok((rw, Prot { access: Access::KernelRo, ..rw }))
}

/// Stores to `va`, whose page is ours.
fn store(va: VirtAddr, word: u32) -> Result<(), Fault> {
    // SAFETY: every caller owns the page that is mapped at `va`, and depends on no word of it.
    unsafe { try_write(va, word) }
}

fn a_page_that_is_remapped_shows_its_new_frame(system: &System) -> Verdict {
    let before = allocated(system)?;
    let (first, second) = (marked_page(system, 0x1111_aaaa)?, marked_page(system, 0x2222_bbbb)?);
    let (rw, _) = rights(system, first)?;
    let va = ok(system.vm.vmap(&[first], rw))?;
    check!(try_read(va) == Ok(0x1111_aaaa), "{va}: {:x?}", try_read(va));
    ok(system.vm.remap(va, u64::from(PAGE_SIZE), (second.base(), rw)))?;
    check!(try_read(va) == Ok(0x2222_bbbb), "the old frame is still seen at {va}: {:x?}", try_read(va));
    ok(system.vm.vunmap(va))?;
    free(system, first, Order::ZERO)?;
    free(system, second, Order::ZERO)?;
    check!(allocated(system)? == before, "{before} pages were allocated");
    Ok(())
}

fn rights_that_are_narrowed_count_at_once(system: &System) -> Verdict {
    let before = allocated(system)?;
    let page = marked_page(system, 7)?;
    let (rw, ro) = rights(system, page)?;
    let va = ok(system.vm.vmap(&[page], rw))?;
    for round in 0..3 {
        check!(store(va, round).is_ok(), "round {round}: {va} is not writable");
        ok(system.vm.protect(va, u64::from(PAGE_SIZE), ro))?;
        let refused = store(va, !round);
        check!(refused.is_err_and(|fault| fault.status.is_permission() && fault.write), "{refused:x?}");
        check!(try_read(va) == Ok(round), "{va}: {:x?}", try_read(va));
        ok(system.vm.protect(va, u64::from(PAGE_SIZE), rw))?;
    }
    ok(system.vm.vunmap(va))?;
    free(system, page, Order::ZERO)?;
    check!(allocated(system)? == before, "{before} pages were allocated");
    Ok(())
}

fn a_page_that_is_unmapped_faults_at_once(system: &System) -> Verdict {
    let before = allocated(system)?;
    let page = marked_page(system, 0x5555_0001)?;
    let (rw, _) = rights(system, page)?;
    for _ in 0..3 {
        let va = ok(system.vm.vmap(&[page, page], rw))?;
        check!(try_read(va) == Ok(0x5555_0001), "{va}: {:x?}", try_read(va));
        ok(system.vm.vunmap(va))?;
        let gone = try_read(va);
        check!(gone.is_err_and(|fault| fault.status.is_translation()), "{va}: {gone:x?}");
    }
    free(system, page, Order::ZERO)?;
    check!(allocated(system)? == before, "{before} pages were allocated");
    Ok(())
}

/// A MiB of lowmem that a section maps; `None` when the machine has none to give.
fn section(system: &System) -> Option<(Pfn, VirtAddr)> {
    let zones = system.booted.mm.allocator();
    let block = zones.alloc_pages(GfpFlags::GFP_KERNEL | GfpFlags::NOWARN, Order::new(8)?).ok()?;
    let va = system.layout.linear.phys_to_virt(block.base())?;
    let is_section = system.vm.walk(va).is_ok_and(|to| to.is_some_and(|to| to.size == PageSize::Section));
    if !is_section {
        log::info!("selftest: {va} is mapped by pages");
        free(system, block, Order::new(8)?).ok()?;
    }
    is_section.then_some((block, va))
}

fn a_section_of_lowmem_is_cut_for_one_page_and_joined_again(system: &System) -> Verdict {
    let before = allocated(system)?;
    let Some((block, va)) = section(system) else { return Ok(()) };
    let (rw, ro) = rights(system, block)?;
    let at = |page: u32| VirtAddr::new(va.raw() + page * PAGE_SIZE);
    for page in [0, 77, 255] {
        ok(system.vm.protect(at(page), u64::from(PAGE_SIZE), ro))?;
        let refused = store(at(page), 1);
        check!(refused.is_err_and(|fault| fault.status.is_permission()), "page {page}: {refused:x?}");
        for other in (0..256).filter(|other| *other != page) {
            check!(store(at(other), other) == Ok(()), "page {other} beside page {page} is not writable");
            let to = ok(system.vm.walk(at(other)))?;
            let right = to.is_some_and(|to| to.prot == rw && to.pa == Pfn::new(block.raw() + other).base());
            check!(right, "{}: {to:?}", at(other));
        }
        let cut = ok(system.vm.walk(at(page)))?;
        check!(cut.is_some_and(|to| to.size == PageSize::Small && to.prot == ro), "{cut:?}");
        ok(system.vm.protect(at(page), u64::from(PAGE_SIZE), rw))?;
        let joined = ok(system.vm.walk(at(page)))?;
        check!(joined.is_some_and(|to| to.size == PageSize::Section && to.prot == rw), "{joined:?}");
        check!(store(at(page), page) == Ok(()), "page {page} is not writable again");
    }
    free(system, block, Order::new(8).ok_or(Failed)?)?;
    check!(allocated(system)? == before, "{before} pages were allocated: a table was kept");
    Ok(())
}

fn a_refused_change_of_the_tables_changes_nothing(system: &System) -> Verdict {
    let before = allocated(system)?;
    let page = marked_page(system, 3)?;
    let (rw, ro) = rights(system, page)?;
    let va = ok(system.vm.vmap(&[page], rw))?;
    let guard = VirtAddr::new(va.raw() + PAGE_SIZE);
    let two = u64::from(2 * PAGE_SIZE);
    let not_mapped = Err(MapError::NotMapped(guard));
    check!(system.vm.protect(va, two, ro) == not_mapped, "protect beyond the area");
    check!(system.vm.remap(va, two, (page.base(), ro)) == not_mapped, "remap beyond the area");
    check!(system.vm.unmap(va, two) == not_mapped, "unmap beyond the area");
    let again = system.vm.map(va, u64::from(SECTION_SIZE), (page.base(), ro), PageSize::Small);
    check!(again == Err(MapError::AlreadyMapped(va)), "{again:?}");
    let to = ok(system.vm.walk(va))?;
    check!(to.is_some_and(|to| to.pa == page.base() && to.prot == rw), "{to:?}");
    ok(system.vm.vunmap(va))?;
    free(system, page, Order::ZERO)?;
    check!(allocated(system)? == before, "{before} pages were allocated");
    Ok(())
}

/// Writable and executable, open to users, in the half that is the address spaces': by none of the ways in.
fn what_would_break_the_security_of_the_map_is_refused(system: &System) -> Verdict {
    let before = allocated(system)?;
    let (vm, page) = (system.vm, marked_page(system, 5)?);
    let (rw, _) = rights(system, page)?;
    let (va, bytes, modules) = (ok(vm.vmap(&[page], rw))?, u64::from(PAGE_SIZE), system.layout.modules_start());
    for prot in [Prot { exec: Exec::Allowed, ..rw }, Prot { access: Access::UserRo, ..rw }] {
        let refused = Err(MapError::BadProt(prot));
        check!(vm.protect(va, bytes, prot) == refused, "{prot:?} was given to {va}");
        check!(vm.remap(va, bytes, (page.base(), prot)) == refused, "{prot:?} was given to {va}");
        let mapped = vm.map(modules, bytes, (page.base(), prot), PageSize::Small);
        check!(mapped == refused, "{modules}: {mapped:?}");
    }
    let kept = [VirtAddr::new(0), VirtAddr::new(modules.raw() - PAGE_SIZE), system.layout.pkmap_start(), FIXADDR_START];
    for at in kept.into_iter().chain([VECTORS_BASE]) {
        let changes = [
            vm.map(at, bytes, (page.base(), rw), PageSize::Small),
            vm.remap(at, bytes, (page.base(), rw)),
            vm.protect(at, bytes, rw),
            vm.unmap(at, bytes),
        ];
        check!(changes.iter().all(|change| *change == Err(MapError::Kept(at))), "{at}: {changes:?}");
    }
    let to = ok(vm.walk(va))?;
    check!(to.is_some_and(|to| to.pa == page.base() && to.prot == rw), "{to:?}");
    ok(vm.vunmap(va))?;
    free(system, page, Order::ZERO)?;
    check!(allocated(system)? == before, "{before} pages were allocated");
    Ok(())
}

/// By no way that changes the kernel's tables. A user's are refused in `space`.
fn nobody_gets_a_page_that_is_writable_and_executable(system: &System) -> Verdict {
    let (vm, before) = (system.vm, allocated(system)?);
    let page = marked_page(system, 9)?;
    let (rw, _) = rights(system, page)?;
    let both = Prot { exec: Exec::Allowed, ..rw };
    let (bytes, to) = (u64::from(PAGE_SIZE), (page.base(), both));
    let va = ok(vm.vmap(&[page], rw))?;
    let lowmem = system.layout.linear.phys_to_virt(page.base()).ok_or(Failed)?;
    for refused in [
        vm.map(VirtAddr::new(VMALLOC_END.raw() - PAGE_SIZE), bytes, to, PageSize::Small),
        vm.remap(va, bytes, to),
        vm.protect(va, bytes, both),
        vm.protect(lowmem, bytes, both),
    ] {
        check!(refused == Err(MapError::BadProt(both)), "{refused:?}");
    }
    let area = vm.vmalloc(Request { prot: both, ..Request::new(PAGE_SIZE) });
    check!(matches!(area, Err(VmallocError::WritableExecutable(_))), "{area:?}");
    let alias = vm.vmap(&[page], both);
    check!(alias == Err(VmallocError::WritableExecutable(both)), "{alias:?}");
    ok(vm.vunmap(va))?;
    free(system, page, Order::ZERO)?;
    check!(allocated(system)? == before, "{before} pages were allocated");
    Ok(())
}
