//! Each area of the address space is what the layout says.

use mm::layout::{DTB_BASE, FixmapSlot, VECTORS_BASE};
use mm::paging::MemType;

use super::{Failed, Verdict};
use crate::arch::armv7::fault::{try_read, try_write};
use crate::system::System;
use crate::{check, selftest};

selftest!(the_vectors_page_is_the_images_own);
selftest!(the_device_tree_is_mapped_read_only);
selftest!(the_console_is_device_memory_in_the_fixmap);
selftest!(modules_pkmap_and_vmalloc_are_empty);
selftest!(lowmem_can_be_written_at_both_ends);
selftest!(cma_areas_are_mapped_by_small_pages);
selftest!(no_page_is_writable_and_executable);
selftest!(init_memory_is_data_and_the_zones_have_it);

fn the_vectors_page_is_the_images_own(system: &System) -> Verdict {
    let walk = system.tables.walk(VECTORS_BASE).map_err(|_| Failed)?;
    check!(walk.is_some_and(|to| to.pa == system.image.vectors && to.prot.executable()), "{walk:?}");
    let through_linear = system.layout.linear.phys_to_virt(system.image.vectors).ok_or(Failed)?;
    check!(try_read(VECTORS_BASE) == try_read(through_linear), "the first vectors differ");
    Ok(())
}

fn the_device_tree_is_mapped_read_only(system: &System) -> Verdict {
    let offset = (system.dtb.start.raw() & 0xf_ffff) as u32;
    let va = DTB_BASE.checked_add(offset).ok_or(Failed)?;
    let magic = try_read(va);
    check!(magic == Ok(0xd00d_feed_u32.swap_bytes()), "{va}: {magic:x?}");
    // SAFETY: the word is the magic that is there already.
    let write = unsafe { try_write(va, 0xd00d_feed_u32.swap_bytes()) };
    check!(write.is_err_and(|fault| fault.status.is_permission()), "{write:?}");
    Ok(())
}

fn the_console_is_device_memory_in_the_fixmap(system: &System) -> Verdict {
    let va = FixmapSlot::EarlyConsole.address().ok_or(Failed)?;
    let walk = system.tables.walk(va).map_err(|_| Failed)?;
    let Some(to) = walk else {
        check!(!crate::console::has_uart(), "the console has a UART but its slot is empty");
        return Ok(());
    };
    check!(to.prot.mem == MemType::Device && !to.prot.executable(), "{to:?}");
    Ok(())
}

fn modules_pkmap_and_vmalloc_are_empty(system: &System) -> Verdict {
    for va in [system.layout.modules_start(), system.layout.pkmap_start(), system.layout.vmalloc_start()] {
        let read = try_read(va);
        check!(read.is_err_and(|fault| fault.status.is_translation()), "{va}: {read:x?}");
    }
    Ok(())
}

/// The first and the last word of lowmem's mapped RAM, written with what they hold.
fn lowmem_can_be_written_at_both_ends(system: &System) -> Verdict {
    let lowmem = system.layout.linear.phys_range();
    let mut ends = [None, None];
    for region in system.booted.mm.frozen().memory().iter().filter(|region| !region.is_nomap()) {
        let frames = region.range().intersection(lowmem).whole_frames();
        if !frames.is_empty() {
            let last = frames.end.base().raw() - 4;
            ends = [ends[0].or(Some(frames.start.base())), Some(mm::addr::PhysAddr::new(last))];
        }
    }
    for pa in ends.into_iter().flatten() {
        let va = system.layout.linear.phys_to_virt(pa).ok_or(Failed)?;
        let word = try_read(va);
        let Ok(word) = word else {
            log::error!("selftest: {va}: {word:x?}");
            return Err(Failed);
        };
        // SAFETY: the word is written with what it holds.
        let write = unsafe { try_write(va, word) };
        check!(write.is_ok(), "{va}: {write:?}");
        let walk = system.tables.walk(va).map_err(|_| Failed)?;
        check!(walk.is_some_and(|to| !to.prot.executable()), "{walk:?}");
    }
    check!(ends.iter().all(Option::is_some), "no lowmem: {ends:?}");
    Ok(())
}

fn cma_areas_are_mapped_by_small_pages(system: &System) -> Verdict {
    for area in system.cma_areas() {
        let Some(va) = system.layout.linear.phys_to_virt(area.start) else { continue };
        let walk = system.tables.walk(va).map_err(|_| Failed)?;
        check!(walk.is_some_and(|to| to.size == mm::paging::PageSize::Small && to.prot.writable()), "{va}: {walk:?}");
    }
    Ok(())
}

fn no_page_is_writable_and_executable(system: &System) -> Verdict {
    let audit = system.audit();
    check!(audit.is_ok(), "{audit:?}");
    Ok(())
}

/// Every page of it: writable, never executable, counted as managed. None of its code can run any more.
fn init_memory_is_data_and_the_zones_have_it(system: &System) -> Verdict {
    let map = system.booted.mm.allocator().map();
    for range in crate::image::init_memory(system.head) {
        check!(!range.is_empty(), "no init memory");
        for frame in range.whole_frames().iter() {
            let va = system.layout.linear.phys_to_virt(frame.base()).ok_or(Failed)?;
            let walk = system.tables.walk(va).map_err(|_| Failed)?;
            check!(walk.is_some_and(|to| to.prot.writable() && !to.prot.executable()), "{va}: {walk:?}");
            let state = map.state(frame);
            check!(state != Some(mm::memmap::PageState::Reserved) && state.is_some(), "{frame}: {state:?}");
            // SAFETY: the fetch is refused.
            let executed = unsafe { crate::arch::armv7::fault::try_execute(va) };
            check!(executed.is_err_and(|fault| fault.status.is_permission()), "{va}: {executed:?}");
        }
    }
    Ok(())
}
