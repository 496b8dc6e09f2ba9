//! The longest single call to the page allocator.
//!
//! Method.      100,000 operations on 512 slots: a full slot is freed, an empty one is given a block of any order (the
//!              number of consecutive 1 bits of a random number, as in the mixed rows, up to the largest order), for
//!              each of the three kinds of request in turn. Each call is timed on its own, so refills, drains, splits,
//!              merges and the taking over of other types' pageblocks all count; the two readings of the cycle counter
//!              (some ten instructions) are part of the figure. A call that finds no memory is not counted.

use core::hint::black_box;

use mm::addr::Pfn;
use mm::gfp::GfpFlags;
use mm::order::Order;

use super::pages::order_of;
use super::rng::Xorshift32;
use super::{Wanted, count};
use crate::system::{System, Zones};

const SLOTS: usize = 512;
const OPERATIONS: u32 = 100_000;

/// Prints the rows.
pub(super) fn run(system: &System, wanted: Wanted<'_>) {
    if !wanted.has("worst_alloc") && !wanted.has("worst_free") {
        return;
    }
    let (allocation, free) = measure(system.booted.mm.allocator());
    wanted.number("worst_alloc", allocation);
    wanted.number("worst_free", free);
}

/// Requests of each type, from the zones that lowmem requests have.
const KINDS: [GfpFlags; 3] = [GFP, GFP.union(GfpFlags::RECLAIMABLE), GFP.union(GfpFlags::MOVABLE)];
/// A failure is no news here.
const GFP: GfpFlags = GfpFlags::GFP_KERNEL.union(GfpFlags::NOWARN).union(GfpFlags::NORETRY);

/// The longest allocation and the longest free.
fn measure(zones: &Zones) -> (u32, u32) {
    let mut slots: [Option<(Pfn, Order)>; SLOTS] = [None; SLOTS];
    let mut chance = Xorshift32::new();
    let (mut allocation, mut free) = (0, 0);
    for kind in (0..OPERATIONS).map(|operation| operation as usize % KINDS.len()) {
        let value = chance.next();
        let Some(slot) = slots.get_mut(value as usize % SLOTS) else { continue };
        match slot.take() {
            Some((pfn, order)) => {
                // A refused free would have been reported on the console by the allocator.
                let taken = count(|| {
                    let _ = zones.free_pages(black_box(pfn), order);
                });
                free = free.max(taken);
            }
            None => {
                let order = order_of((value >> 9).trailing_ones());
                let gfp = black_box(KINDS.get(kind).copied().unwrap_or(GFP));
                let taken = count(|| *slot = zones.alloc_pages(gfp, order).ok().map(|pfn| (pfn, order)));
                allocation = if slot.is_some() { allocation.max(taken) } else { allocation };
            }
        }
    }
    for (pfn, order) in slots.into_iter().flatten() {
        let _ = zones.free_pages(pfn, order);
    }
    (allocation, free)
}
