//! The per-CPU area of the CPU that runs the tests.

use core::sync::atomic::Ordering;

use mm::percpu::alloc::{Area, PerCpuAllocator};
use mm::sync::{LockRank, TaskLock, held_ranks};

use super::{Failed, Verdict};
use crate::percpu::{CANARY, CANARY_VALUE, EXCEPTIONS};
use crate::system::System;
use crate::{check, selftest};

selftest!(the_per_cpu_area_is_a_copy_of_the_template);
selftest!(per_cpu_variables_are_the_units_and_not_the_templates);
selftest!(dynamic_per_cpu_memory_is_given_and_taken_back);
selftest!(a_debug_build_notes_which_locks_a_cpu_holds);

fn the_per_cpu_area_is_a_copy_of_the_template(system: &System) -> Verdict {
    let canary = CANARY.of_this_cpu().ok_or(Failed)?;
    check!(canary.load(Ordering::Relaxed) == CANARY_VALUE, "{:#x}", canary.load(Ordering::Relaxed));
    let address = mm::addr::VirtAddr::new((&raw const *canary) as u32);
    let place = system.layout.linear.virt_to_phys(address).ok_or(Failed)?;
    check!(system.booted.percpu.chunk.contains(place), "{place} is not in {}", system.booted.percpu.chunk);
    Ok(())
}

/// An exception raises this CPU's count by one.
fn per_cpu_variables_are_the_units_and_not_the_templates(_: &System) -> Verdict {
    let count = EXCEPTIONS.of_this_cpu().ok_or(Failed)?;
    let before = count.load(Ordering::Relaxed);
    let caught = crate::arch::armv7::fault::try_undefined();
    check!(caught.is_some(), "the undefined instruction was not caught");
    let after = count.load(Ordering::Relaxed);
    check!(after == before.wrapping_add(1), "{before} exceptions before, {after} after");
    Ok(())
}

fn dynamic_per_cpu_memory_is_given_and_taken_back(system: &System) -> Verdict {
    let layout = &system.booted.percpu.layout;
    let mut words = [0_u32; 1024];
    let needed = PerCpuAllocator::storage_words(layout) as usize;
    let storage = words.get_mut(..needed).ok_or(Failed)?;
    let mut allocator = PerCpuAllocator::new(layout, storage).map_err(|_| Failed)?;
    let free = allocator.free_bytes(Area::Dynamic);
    let offset = allocator.alloc(64, 64, Area::Dynamic).map_err(|_| Failed)?;
    check!(offset % 64 == 0 && offset + 64 <= layout.unit_size(), "offset {offset:#x}");
    check!(allocator.free(offset).is_ok() && allocator.free_bytes(Area::Dynamic) == free, "bytes are lost");
    check!(allocator.validate().is_ok(), "{:?}", allocator.validate());
    Ok(())
}

fn a_debug_build_notes_which_locks_a_cpu_holds(_: &System) -> Verdict {
    const RANK: LockRank = LockRank::new(1, "a self-test");
    let lock = TaskLock::ranked((), RANK);
    let before = held_ranks();
    let held = lock.lock();
    let noted = held_ranks();
    drop(held);
    let expected = if cfg!(debug_assertions) { 1 << RANK.number() } else { 0 };
    check!(before == 0 && noted == expected && held_ranks() == 0, "{before:#x}, {noted:#x}, {:#x}", held_ranks());
    Ok(())
}
