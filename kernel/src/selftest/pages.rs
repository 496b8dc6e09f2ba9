//! The page allocator on the machine.

use core::mem::MaybeUninit;

use mm::addr::{PAGE_SIZE, Pfn};
use mm::buddy::FreeError;
use mm::gfp::GfpFlags;
use mm::migrate::MigrateType;
use mm::order::Order;
use mm::platform::PhysMap;

use super::{Failed, Verdict};
use crate::ram::RAM;
use crate::system::{System, Zone};
use crate::{check, selftest};

selftest!(every_order_is_allocated_and_freed);
selftest!(exhaustion_ends_and_restores_every_count);
selftest!(a_double_free_is_refused_and_changes_nothing);
selftest!(every_invariant_holds);
selftest!(the_last_frame_below_the_limit_is_kept);
selftest!(zeroed_pages_are_zero);
selftest!(units_are_filled_to_the_last_one_and_no_further);

/// Pages of all zones that no caller owns: in lists and pagesets, and the guards beside what was split.
pub(super) fn free_pages(system: &System) -> u32 {
    let zones = system.booted.mm.allocator().zones();
    zones.iter().map(|zone| zone.stats()).map(|stats| stats.managed - stats.allocated).sum()
}

/// Whether a zone has a free block of `order` or a larger one, of a type that anybody may have.
fn has_block(zone: &Zone, order: Order) -> bool {
    let kinds = [MigrateType::Unmovable, MigrateType::Reclaimable, MigrateType::Movable];
    let free = zone.stats().counts.free;
    let above_low = free.saturating_sub(zone.stats().marks.low) >= order.pages();
    above_low
        && Order::all()
            .filter(|larger| *larger >= order)
            .any(|larger| kinds.iter().any(|kind| zone.free_blocks(larger, *kind) > 0))
}

/// Writes a word that depends on the frame at both ends of the block, and reads them back.
fn touch(block: Pfn, order: Order) -> Verdict {
    let Some(bytes) = RAM.frames_ptr(block, order.pages()) else { return Ok(()) };
    let last = order.pages() * PAGE_SIZE - 4;
    for offset in [0, last] {
        let pattern = block.raw() ^ offset ^ 0x5a5a_a5a5;
        // SAFETY: the offset is inside the block.
        let word = unsafe { bytes.add(offset as usize) }.cast::<u32>();
        // SAFETY: the block was just allocated: nobody else uses its bytes.
        unsafe { word.write_volatile(pattern) }
        // SAFETY: as above.
        let read = unsafe { word.read_volatile() };
        check!(read == pattern, "{block}+{offset:#x}: {read:#x} instead of {pattern:#x}");
    }
    Ok(())
}

fn every_order_is_allocated_and_freed(system: &System) -> Verdict {
    let allocator = system.booted.mm.allocator();
    let before = free_pages(system);
    for order in Order::all() {
        for gfp in [GfpFlags::GFP_KERNEL, GfpFlags::GFP_HIGHUSER_MOVABLE] {
            let block = allocator.alloc_pages(gfp | GfpFlags::NOWARN, order);
            let Ok(block) = block else {
                // On a small machine there may be no such block, and then every list must say so.
                let there = allocator.zones().iter().any(|zone| has_block(zone, order));
                check!(!there, "order {}: {block:?}", order.raw());
                continue;
            };
            check!(order.aligns(block), "order {} gave {block}", order.raw());
            touch(block, order)?;
            let freed = allocator.free_pages(block, order);
            check!(freed.is_ok(), "{freed:?}");
        }
    }
    check!(free_pages(system) == before, "{before} pages were free, now {}", free_pages(system));
    Ok(())
}

/// Allocates until nothing is left, links the pages through their own bytes, and frees them all.
fn exhaustion_ends_and_restores_every_count(system: &System) -> Verdict {
    let allocator = system.booted.mm.allocator();
    let before = free_pages(system);
    let mut last: Option<Pfn> = None;
    let mut taken = 0_u32;
    while let Ok(page) = allocator.alloc_pages(GfpFlags::GFP_ATOMIC | GfpFlags::NOWARN, Order::ZERO) {
        link(page, last)?;
        last = Some(page);
        taken += 1;
    }
    check!(taken > 0 && taken <= before, "{taken} pages of {before}");
    let mut freed = 0_u32;
    while let Some(page) = last {
        last = next(page)?;
        let result = allocator.free_pages(page, Order::ZERO);
        check!(result.is_ok(), "{result:?}");
        freed += 1;
    }
    check!(freed == taken, "{taken} taken, {freed} freed");
    check!(free_pages(system) == before, "{before} pages were free, now {}", free_pages(system));
    check!(system.validate(), "an invariant is broken");
    Ok(())
}

const END: u32 = u32::MAX;

/// Writes which page was taken before `page` into its first word.
pub(super) fn link(page: Pfn, to: Option<Pfn>) -> Verdict {
    let word = RAM.frames_ptr(page, 1).ok_or(Failed)?.cast::<u32>();
    // SAFETY: the page was just allocated from lowmem: nobody else uses its bytes.
    unsafe { word.write_volatile(to.map_or(END, Pfn::raw)) }
    Ok(())
}

/// Reads what [`link`] wrote.
pub(super) fn next(page: Pfn) -> Result<Option<Pfn>, Failed> {
    let word = RAM.frames_ptr(page, 1).ok_or(Failed)?.cast::<u32>();
    // SAFETY: the page is still ours, and `link` wrote its first word.
    let raw = unsafe { word.read_volatile() };
    Ok((raw != END).then_some(Pfn::new(raw)))
}

fn a_double_free_is_refused_and_changes_nothing(system: &System) -> Verdict {
    let allocator = system.booted.mm.allocator();
    let page = allocator.alloc_pages(GfpFlags::GFP_KERNEL, Order::ZERO).map_err(|_| Failed)?;
    check!(allocator.free_pages(page, Order::ZERO).is_ok(), "the first free of {page}");
    let before = free_pages(system);
    let second: Result<(), FreeError> = allocator.free_pages(page, Order::ZERO);
    check!(second.is_err(), "the second free of {page} went through");
    check!(free_pages(system) == before, "the refused free changed the counts");
    Ok(())
}

fn every_invariant_holds(system: &System) -> Verdict {
    check!(system.validate(), "an invariant is broken");
    Ok(())
}

/// The last frame of RAM is a frame of a zone, also when RAM ends at 4 GiB.
fn the_last_frame_below_the_limit_is_kept(system: &System) -> Verdict {
    let memory = system.booted.mm.frozen().memory();
    let Some(last) = memory.last().and_then(|region| region.range().whole_frames().end.checked_sub(1)) else {
        return Err(Failed);
    };
    check!(system.booted.mm.allocator().map().is_present(last), "{last} is in no zone");
    Ok(())
}

fn zeroed_pages_are_zero(system: &System) -> Verdict {
    let allocator = system.booted.mm.allocator();
    let order = Order::new(2).ok_or(Failed)?;
    let dirty = allocator.alloc_pages(GfpFlags::GFP_KERNEL, order).map_err(|_| Failed)?;
    touch(dirty, order)?;
    check!(allocator.free_pages(dirty, order).is_ok(), "free of {dirty}");
    let clean = allocator.alloc_pages(GfpFlags::GFP_KERNEL | GfpFlags::ZERO, order).map_err(|_| Failed)?;
    let words = RAM.frames_ptr(clean, order.pages()).ok_or(Failed)?.cast::<u32>();
    for index in 0..(order.pages() * PAGE_SIZE / 4) as usize {
        // SAFETY: the block was just allocated from lowmem, and the index is inside it.
        let place = unsafe { words.add(index) };
        // SAFETY: as above.
        let word = unsafe { place.read_volatile() };
        check!(word == 0, "{clean}: word {index} is {word:#x}");
    }
    check!(allocator.free_pages(clean, order).is_ok(), "free of {clean}");
    Ok(())
}

fn units_are_filled_to_the_last_one_and_no_further(system: &System) -> Verdict {
    const UNITS: usize = PAGE_SIZE as usize / size_of::<[u32; 8]>();
    let allocator = system.booted.mm.allocator();
    let page = allocator.alloc_pages(GfpFlags::GFP_KERNEL | GfpFlags::ZERO, Order::ZERO).map_err(|_| Failed)?;
    let bytes = RAM.frames_ptr(page, 1).ok_or(Failed)?;
    // SAFETY: the page was just allocated and zeroed, is aligned, and is used through this reference alone.
    let units = unsafe { bytes.cast::<[MaybeUninit<[u32; 8]>; UNITS]>().as_mut() };
    let unit = [1, 2, 3, 4, 5, 6, 7, 8];
    for count in 0..50 {
        RAM.fill_units(units, &[0; 8]);
        RAM.fill_units(units.get_mut(7..7 + count).ok_or(Failed)?, &unit);
        for (place, index) in units.iter().zip(0..) {
            // SAFETY: the whole page was written above.
            let found = unsafe { place.assume_init_read() };
            let wanted = if (7..7 + count).contains(&index) { unit } else { [0; 8] };
            check!(found == wanted, "{count} units: the one at {index} is {found:?}");
        }
    }
    allocator.free_pages(page, Order::ZERO).map_err(|_| Failed)
}
