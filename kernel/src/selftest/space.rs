//! Address spaces: each shows its own pages, numbers roll over without a stale one, and the kernel keeps out.

use mm::addr::{PAGE_SIZE, Pfn, VirtAddr};
use mm::gfp::GfpFlags;
use mm::order::Order;
use mm::paging::{Access, Exec, Prot};
use mm::platform::PhysMap;
use mm::space::SpaceError;
use mm::vmalloc::Request;

use super::vm::{allocated, free, ok};
use super::{Failed, Verdict};
use crate::arch::armv7::asid;
use crate::arch::armv7::fault::{try_execute, try_read, try_write};
use crate::arch::armv7::uaccess::{self, UserWord};
use crate::ram::RAM;
use crate::space::{USER, UserFault, UserSpace};
use crate::space::{clear_user, copy_from_user, copy_to_user, get_user, put_user, switch_to_kernel};
use crate::system::System;
use crate::{check, selftest};

selftest!(two_spaces_show_each_its_own_page_at_one_address);
selftest!(a_page_that_is_unmapped_in_a_space_is_gone_at_once);
selftest!(a_thousand_spaces_roll_the_asids_over_and_show_no_stale_page);
selftest!(a_plain_access_of_the_kernel_to_a_user_page_is_a_domain_fault);
selftest!(an_unprivileged_access_to_a_kernel_page_is_an_error);
selftest!(user_accessors_answer_a_fault_with_an_error);
selftest!(user_copies_of_every_alignment_arrive_and_stop_where_the_user_half_does);
selftest!(the_kernel_does_not_execute_user_pages);
selftest!(what_is_no_users_is_not_mapped_for_users);
selftest!(a_vmalloc_area_is_seen_and_gone_in_spaces_that_are_older);
selftest!(a_space_that_is_dropped_gives_all_its_tables_back);

/// Where the tests map: in the first MiB, since nothing else is there.
const AT: VirtAddr = VirtAddr::new(0x0001_0000);
const PAGE: u64 = PAGE_SIZE as u64;

/// Runs `test`, leaves the space that it ran, and compares the pages that are allocated.
fn balanced(system: &System, test: impl FnOnce() -> Verdict) -> Verdict {
    let before = allocated(system)?;
    let verdict = test();
    switch_to_kernel();
    check!(asid::asid() == 0, "ASID {} without a space", asid::asid());
    let count = allocated(system)?;
    check!(count == before, "{before} pages were allocated, now {count}");
    verdict
}

/// A page of lowmem that is full of `mark`.
fn marked(system: &System, mark: u32) -> Result<Pfn, Failed> {
    let page = ok(system.booted.mm.allocator().alloc_page(GfpFlags::GFP_KERNEL))?;
    let words = RAM.frames_ptr(page, 1).ok_or(Failed)?.cast::<u32>();
    // SAFETY: the page was just allocated from lowmem: nobody else uses its bytes.
    unsafe { core::slice::from_raw_parts_mut(words.as_ptr(), PAGE_SIZE as usize / 4) }.fill(mark);
    Ok(page)
}

/// The first word of `page`, by its address in lowmem.
fn first_word(page: Pfn) -> Option<u32> {
    let word = RAM.frames_ptr(page, 1)?.cast::<u32>();
    // SAFETY: the test's own page, in lowmem.
    Some(unsafe { word.read_volatile() })
}

/// A space with one page at [`AT`].
fn space_with(page: Pfn, prot: Prot) -> Result<UserSpace, Failed> {
    let space = ok(UserSpace::new())?;
    ok(space.map(AT, PAGE, (page.base(), prot)))?;
    Ok(space)
}

/// Runs `body` in a space that has a page of each kind of a user's.
pub(super) fn within_a_space(system: &System, body: impl FnOnce() -> Verdict) -> Verdict {
    let page = marked(system, 0)?;
    let space = ok(UserSpace::new())?;
    for (number, prot) in (0..).zip([Prot::USER_RW, Prot::USER_RO, Prot::USER_RX]) {
        ok(space.map(VirtAddr::new(AT.raw() + number * PAGE_SIZE), PAGE, (page.base(), prot)))?;
    }
    check!(space.switch_to(), "not switched");
    let verdict = body();
    drop(space);
    free(system, page, Order::ZERO)?;
    verdict
}

fn two_spaces_show_each_its_own_page_at_one_address(system: &System) -> Verdict {
    balanced(system, || {
        let (one, two) = (marked(system, 0x1111_0001)?, marked(system, 0x2222_0002)?);
        let first = space_with(one, Prot::USER_RW)?;
        let second = space_with(two, Prot::USER_RO)?;
        for round in 0..6 {
            // Without a flush the ASID alone keeps them apart; with one nothing else is lost.
            for (space, mark) in [(&first, 0x1111_0001_u32), (&second, 0x2222_0002)] {
                check!(space.switch_to(), "round {round}");
                check!(asid::asid() == space.context().asid(), "{}", space.context());
                check!(get_user(AT) == Ok(mark), "round {round}: {:x?}", get_user::<u32>(AT));
                if round > 2 {
                    space.flush();
                    check!(get_user(AT) == Ok(mark), "round {round}, flushed: {:x?}", get_user::<u32>(AT));
                }
            }
        }
        check!(first.context().asid() != second.context().asid(), "both have {}", first.context());
        check!(system.validate(), "an invariant is broken");
        drop((first, second));
        free(system, one, Order::ZERO)?;
        free(system, two, Order::ZERO)
    })
}

fn a_page_that_is_unmapped_in_a_space_is_gone_at_once(system: &System) -> Verdict {
    balanced(system, || {
        let page = marked(system, 0x7777_0007)?;
        let space = space_with(page, Prot::USER_RW)?;
        check!(space.switch_to(), "not switched");
        for _ in 0..3 {
            check!(get_user(AT) == Ok(0x7777_0007_u32), "{:x?}", get_user::<u32>(AT));
            let read_only = Prot { access: Access::UserRo, ..Prot::USER_RW };
            ok(space.protect(AT, PAGE, read_only))?;
            check!(put_user(AT, 1_u32) == Err(UserFault::At(AT)), "a page that became read-only was written");
            ok(space.unmap(AT, PAGE))?;
            check!(get_user::<u32>(AT) == Err(UserFault::At(AT)), "an unmapped page is still seen");
            ok(space.map(AT, PAGE, (page.base(), Prot::USER_RW)))?;
        }
        drop(space);
        check!(asid::asid() == 0, "a space that is dropped is left");
        free(system, page, Order::ZERO)
    })
}

fn a_thousand_spaces_roll_the_asids_over_and_show_no_stale_page(system: &System) -> Verdict {
    balanced(system, || {
        let (old, mut pages) = (marked(system, 0x0f0f_0f0f)?, [Pfn::new(0); 3]);
        for (mark, page) in (0..).zip(&mut pages) {
            *page = marked(system, mark)?;
        }
        // One lives through all of it, and runs every now and then.
        let lasting = space_with(old, Prot::USER_RO)?;
        check!(lasting.switch_to(), "not switched");
        let begin = lasting.context().generation();
        for number in 0..1000_u32 {
            let (mark, page) = (0..).zip(pages).nth(number as usize % 3).ok_or(Failed)?;
            let space = space_with(page, Prot::USER_RO)?;
            check!(space.switch_to(), "not switched");
            check!(get_user(AT) == Ok::<u32, _>(mark), "space {number}: {:x?}", get_user::<u32>(AT));
            if number % 100 == 99 {
                check!(lasting.switch_to(), "not switched");
                check!(get_user(AT) == Ok(0x0f0f_0f0f_u32), "after {number}: {:x?}", get_user::<u32>(AT));
            }
        }
        let end = lasting.context().generation();
        // 1,001 spaces by 255 numbers: three generations are used up, perhaps a fourth one.
        check!((3..=4).contains(&end.wrapping_sub(begin)), "generations {begin} to {end}");
        check!(system.validate(), "an invariant is broken");
        drop(lasting);
        pages.into_iter().chain([old]).try_for_each(|page| free(system, page, Order::ZERO))
    })
}

fn a_plain_access_of_the_kernel_to_a_user_page_is_a_domain_fault(system: &System) -> Verdict {
    balanced(system, || {
        let page = marked(system, 0x5a5a_0001)?;
        let space = space_with(page, Prot::USER_RW)?;
        check!(space.switch_to(), "not switched");
        let load = try_read(AT);
        // SAFETY: the page is the test's own.
        let store = unsafe { try_write(AT, 1) };
        for (fault, write) in [(load.err(), false), (store.err(), true)] {
            let fault = fault.ok_or(Failed)?;
            check!(fault.status.is_domain() && fault.address == AT && fault.write == write, "{fault}");
            let leaf = fault.trace.and_then(|trace| trace.leaf());
            check!(leaf.is_some_and(|(pa, prot)| pa == page.base() && prot.access == Access::UserRw), "{leaf:?}");
        }
        check!(first_word(page) == Some(0x5a5a_0001), "the store went through");
        drop(space);
        free(system, page, Order::ZERO)
    })
}

fn an_unprivileged_access_to_a_kernel_page_is_an_error(system: &System) -> Verdict {
    balanced(system, || {
        let page = marked(system, 0x4b4b_0001)?;
        let own = system.layout.linear.phys_to_virt(page.base()).ok_or(Failed)?;
        let space = space_with(page, Prot::USER_RW)?;
        check!(space.switch_to(), "not switched");
        // By range, and by the hardware where the range is not looked at.
        check!(get_user::<u32>(own) == Err(UserFault::NotUser(own)), "{:x?}", get_user::<u32>(own));
        check!(put_user(own, 1_u32) == Err(UserFault::NotUser(own)), "a kernel page was written");
        check!(uaccess::with_window(|| u32::load(own)).is_none(), "LDRT reads the kernel's page {own}");
        // SAFETY: the page is the test's own.
        let stored = uaccess::with_window(|| unsafe { 1_u32.store(own) });
        check!(!stored, "STRT writes the kernel's page {own}");
        let mut bytes = [0; 64];
        check!(uaccess::with_window(|| uaccess::copy_from(&mut bytes, own)) == 64, "{bytes:x?}");
        check!(first_word(page) == Some(0x4b4b_0001), "{:x?}", first_word(page));
        drop(space);
        free(system, page, Order::ZERO)
    })
}

fn user_accessors_answer_a_fault_with_an_error(system: &System) -> Verdict {
    balanced(system, || {
        let page = marked(system, 0x8877_6655)?;
        let space = space_with(page, Prot::USER_RW)?;
        check!(space.switch_to(), "not switched");
        check!(get_user(AT) == Ok(0x55_u8) && get_user(AT) == Ok(0x6655_u16), "{:x?}", get_user::<u16>(AT));
        check!(put_user(AT, 0x11_u8).is_ok() && get_user(AT) == Ok(0x8877_6611_u32), "{:x?}", first_word(page));
        check!(put_user(AT, 0x2233_u16).is_ok() && get_user(AT) == Ok(0x8877_2233_u32), "{:x?}", first_word(page));
        check!(
            put_user(AT, 0x4455_6677_u32).is_ok() && first_word(page) == Some(0x4455_6677),
            "{:x?}",
            first_word(page)
        );
        let behind = VirtAddr::new(AT.raw() + PAGE_SIZE);
        check!(get_user::<u8>(behind) == Err(UserFault::At(behind)), "nothing is mapped at {behind}");
        for null in [VirtAddr::new(0), VirtAddr::new(PAGE_SIZE - 1), USER.end(), VirtAddr::new(u32::MAX)] {
            check!(get_user::<u32>(null) == Err(UserFault::NotUser(null)), "{null}");
        }
        ok(space.protect(AT, PAGE, Prot::USER_RO))?;
        check!(put_user(AT, 0_u8) == Err(UserFault::At(AT)), "a read-only page was written");
        check!(clear_user(AT, 8) == Err(UserFault::At(AT)), "a read-only page was cleared");
        check!(first_word(page) == Some(0x4455_6677), "{:x?}", first_word(page));
        switch_to_kernel();
        check!(get_user::<u32>(AT) == Err(UserFault::At(AT)), "a page is seen without its space");
        drop(space);
        free(system, page, Order::ZERO)
    })
}

fn user_copies_of_every_alignment_arrive_and_stop_where_the_user_half_does(system: &System) -> Verdict {
    balanced(system, || {
        let page = marked(system, 0)?;
        let space = space_with(page, Prot::USER_RW)?;
        check!(space.switch_to(), "not switched");
        let mut source = [0_u8; 160];
        (1..).zip(&mut source).for_each(|(value, byte)| *byte = value);
        for (skew, bytes) in (0..5).flat_map(|skew| (0..100).map(move |bytes| (skew, bytes))) {
            let at = VirtAddr::new(AT.raw() + skew);
            let mut back = [0_u8; 160];
            let from = source.get(..bytes).ok_or(Failed)?;
            ok(clear_user(AT, 120))?;
            ok(copy_to_user(at, from))?;
            ok(copy_from_user(back.get_mut(..bytes + 8).ok_or(Failed)?, at))?;
            let right = back.get(..bytes) == Some(from) && back.iter().skip(bytes).all(|byte| *byte == 0);
            check!(right, "{bytes} bytes at {at}");
        }
        // A copy that runs out of the page stops there, and says so to 32 bytes.
        let end = VirtAddr::new(AT.raw() + PAGE_SIZE);
        for bytes in [4, 32, 100] {
            let at = VirtAddr::new(end.raw() - bytes);
            let stopped = copy_to_user(at, &source);
            check!(stopped == Err(UserFault::At(end)), "{bytes} bytes fit: {stopped:?}");
            let mut back = [0_u8; 160];
            let Err(UserFault::At(stop)) = copy_from_user(&mut back, at) else { return Err(Failed) };
            check!(stop <= end && end.raw() - stop.raw() < 32, "{bytes} bytes are there, stopped at {stop}");
            let done = (stop.raw() - at.raw()) as usize;
            check!(back.get(..done) == source.get(..done) && back.iter().skip(done).all(|b| *b == 0), "{done} bytes");
        }
        check!(copy_to_user(USER.end(), &[]).is_ok(), "no bytes are nobody's");
        let over = VirtAddr::new(USER.end().raw() - 4);
        check!(copy_to_user(over, &source) == Err(UserFault::NotUser(over)), "beyond the user half");
        drop(space);
        free(system, page, Order::ZERO)
    })
}

fn the_kernel_does_not_execute_user_pages(system: &System) -> Verdict {
    /// `bx lr`.
    const RETURN: u32 = 0xe12f_ff1e;
    balanced(system, || {
        let page = marked(system, RETURN)?;
        let space = space_with(page, Prot::USER_RX)?;
        check!(space.switch_to(), "not switched");
        // SAFETY: the page is full of returns.
        let fault = unsafe { try_execute(AT) }.err().ok_or(Failed)?;
        check!(fault.status.is_domain() && fault.address == AT, "{fault}");
        // With the domain open PXN is left to keep the kernel out.
        if asid::has_pxn() {
            // SAFETY: as above.
            let fault = uaccess::with_window(|| unsafe { try_execute(AT) }).err().ok_or(Failed)?;
            check!(fault.status.is_permission() && fault.address == AT, "{fault}");
            let to = ok(space.walk(AT))?;
            check!(to.is_some_and(|to| to.prot.exec == Exec::UserOnly), "{to:?}");
        }
        drop(space);
        free(system, page, Order::ZERO)
    })
}

fn what_is_no_users_is_not_mapped_for_users(system: &System) -> Verdict {
    balanced(system, || {
        let page = marked(system, 0)?;
        let space = ok(UserSpace::new())?;
        let map = |at: u32, prot: Prot| space.map(VirtAddr::new(at), PAGE, (page.base(), prot));
        let null = map(0, Prot::USER_RW);
        check!(null == Err(SpaceError::NullPage(VirtAddr::new(0))), "{null:?}");
        for at in [USER.end().raw(), system.layout.linear.page_offset().raw(), 0xffff_f000] {
            let refused = map(at, Prot::USER_RW);
            check!(refused == Err(SpaceError::NotUser(VirtAddr::new(at))), "{at:#x}: {refused:?}");
        }
        for prot in
            [Prot::KERNEL_RW, Prot { exec: Exec::Allowed, ..Prot::USER_RW }, Prot { global: true, ..Prot::USER_RO }]
        {
            let refused = map(AT.raw(), prot);
            check!(matches!(refused, Err(SpaceError::BadProt(_))), "{prot:?}: {refused:?}");
        }
        drop(space);
        free(system, page, Order::ZERO)
    })
}

fn a_vmalloc_area_is_seen_and_gone_in_spaces_that_are_older(system: &System) -> Verdict {
    balanced(system, || {
        let (running, waiting) = (ok(UserSpace::new())?, ok(UserSpace::new())?);
        check!(running.switch_to(), "not switched");
        // Pages, which need a table, and a section, which is a word of the first level itself.
        for request in [Request::new(PAGE_SIZE), Request::new(2 << 20).large()] {
            let va = ok(system.vm.vmalloc(request))?;
            for space in [&running, &waiting, &running] {
                check!(space.switch_to(), "not switched");
                // SAFETY: the area is the test's own.
                check!(unsafe { try_write(va, va.raw()) }.is_ok() && try_read(va) == Ok(va.raw()), "{va} is not seen");
            }
            check!(system.validate(), "an invariant is broken");
            ok(system.vm.vfree(va))?;
            ok(system.vm.purge())?;
            for space in [&running, &waiting] {
                check!(space.switch_to(), "not switched");
                check!(try_read(va).is_err_and(|fault| fault.status.is_translation()), "{va} is still seen");
            }
            check!(system.validate(), "an invariant is broken");
        }
        Ok(())
    })
}

fn a_space_that_is_dropped_gives_all_its_tables_back(system: &System) -> Verdict {
    let page = marked(system, 0)?;
    let before = allocated(system)?;
    let space = ok(UserSpace::new())?;
    check!(allocated(system)? == before + 4, "16 KiB for the first level");
    for number in 1..=50_u32 {
        // Each in a table of its own.
        ok(space.map(VirtAddr::new(number << 21), PAGE, (page.base(), Prot::USER_RW)))?;
    }
    check!(allocated(system)? == before + 4 + 50, "{} pages for 50 tables", allocated(system)? - before - 4);
    ok(space.unmap(VirtAddr::new(7 << 21), PAGE))?;
    check!(allocated(system)? == before + 4 + 49, "a table that is empty goes back at once");
    check!(space.switch_to(), "not switched");
    drop(space);
    check!(allocated(system)? == before, "{before} pages were allocated, now {}", allocated(system)?);
    free(system, page, Order::ZERO)
}
