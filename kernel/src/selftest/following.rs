//! Wrong uses of pages on the machine: told, refused, and without harm.

use mm::addr::Pfn;
use mm::buddy::FreeError;
use mm::gfp::GfpFlags;
use mm::order::Order;
use mm::page_alloc::Hooks;
use mm::platform::PhysMap;

use super::{Failed, Verdict};
use crate::ram::RAM;
use crate::system::System;
use crate::{check, selftest};

selftest!(every_wrong_free_is_refused_by_name);
selftest!(poison_finds_a_write_after_the_free);
selftest!(page_owner_names_who_allocated_a_page);

fn every_wrong_free_is_refused_by_name(system: &System) -> Verdict {
    let allocator = system.booted.mm.allocator();
    let order = Order::new(2).ok_or(Failed)?;
    let block = allocator.alloc_pages(GfpFlags::GFP_KERNEL, order).map_err(|_| Failed)?;
    let image = Pfn::containing(system.image.whole.start).ok_or(Failed)?;
    let no_map = system.no_map_ranges().next().map(|range| range.whole_frames().start);
    let wrong = [
        (Some(block), Order::ZERO),
        (Some(Pfn::new(block.raw() + 1)), Order::ZERO),
        (Some(Pfn::new(block.raw() + 1)), order),
        (Some(image), Order::ZERO),
        (Some(Pfn::new(u32::MAX)), Order::ZERO),
        (no_map, Order::ZERO),
    ];
    for (pfn, order) in wrong.into_iter().filter_map(|(pfn, order)| Some((pfn?, order))) {
        let freed: Result<(), FreeError> = allocator.free_pages(pfn, order);
        check!(freed.is_err(), "the free of {pfn} with order {} went through", order.raw());
    }
    check!(allocator.free_pages(block, order).is_ok(), "the right free of {block}");
    check!(allocator.free_pages(block, order).is_err(), "the second free of {block}");
    check!(system.validate(), "an invariant is broken");
    Ok(())
}

fn poison_finds_a_write_after_the_free(system: &System) -> Verdict {
    let allocator = system.booted.mm.allocator();
    let was_on = allocator.hooks().contains(Hooks::POISON);
    allocator.set_hooks(Hooks::POISON, true);
    let page = allocator.alloc_page(GfpFlags::GFP_KERNEL).map_err(|_| Failed)?;
    check!(allocator.free_pages(page, Order::ZERO).is_ok(), "free of {page}");
    let byte = RAM.frames_ptr(page, 1).ok_or(Failed)?.as_ptr().wrapping_add(0x123);
    // SAFETY: the page is free and mapped: nobody reads its bytes but the check that this is to be found by.
    unsafe { byte.write_volatile(0x12) };
    let before = allocator.bad_pages();
    let again = allocator.alloc_page(GfpFlags::GFP_KERNEL);
    let told = allocator.bad_pages() - before;
    let freed = again.map(|page| allocator.free_pages(page, Order::ZERO));
    allocator.set_hooks(Hooks::POISON, was_on);
    check!(again == Ok(page), "{again:?} instead of {page}");
    check!(told == 1, "{told} reports of one stray write");
    check!(freed == Ok(Ok(())), "{freed:?}");
    Ok(())
}

fn page_owner_names_who_allocated_a_page(system: &System) -> Verdict {
    let allocator = system.booted.mm.allocator();
    let (page, line) = (allocator.alloc_page(GfpFlags::GFP_KERNEL).map_err(|_| Failed)?, line!());
    let named = allocator.page_owner().and_then(|records| records.allocated_by(page));
    check!(allocator.free_pages(page, Order::ZERO).is_ok(), "free of {page}");
    let is_on = allocator.hooks().contains(Hooks::PAGE_OWNER);
    check!(named.is_some() == is_on, "page_owner is {is_on}, but the record is {named:?}");
    check!(named.is_none_or(|place| place.file() == file!() && place.line() == line), "{named:?}");
    Ok(())
}
