//! The page allocator: hot pairs, bursts, mixed orders, bulk.
//!
//! Source.      The workloads are those that were run inside Linux 6.1 on the same emulated board, so that the figures
//!              stand side by side.

use core::hint::black_box;

use mm::addr::{PAGE_SIZE, Pfn};
use mm::gfp::GfpFlags;
use mm::migrate::MigrateType;
use mm::order::Order;
use mm::platform::PhysMap;

use super::rng::Xorshift32;
use super::{Wanted, count};
use crate::ram::RAM;
use crate::system::{System, Zones};

/// Pairs that a hot-pair row is the mean of.
const PAIRS: u32 = 1000;
/// Slots and operations of the mixed rows.
const SLOTS: usize = 256;
const OPERATIONS: u32 = 20_000;
/// Most pages of a burst.
const BURST: u32 = 16_000;
/// Pages of the bulk row.
const BULK: u32 = 512;
/// No page.
const NONE: u32 = u32::MAX;

/// In which order a burst is freed.
#[derive(Clone, Copy)]
enum FreeOrder {
    Lifo,
    Fifo,
    Random,
}

/// Prints the rows of the page allocator.
pub(super) fn run(system: &System, wanted: Wanted<'_>) {
    let zones = system.booted.mm.allocator();
    // The flags are a run-time value, as a caller's would be.
    let gfp = black_box(GfpFlags::GFP_KERNEL);
    pairs(zones, wanted, gfp);
    let Some((block, array)) = take_array(zones) else {
        log::error!("bench: no memory for {BURST} frame numbers");
        return;
    };
    bursts(zones, wanted, gfp, array);
    for (most, name) in [(3, "mixed_o3"), (5, "mixed_o5"), (8, "mixed_o8")] {
        if wanted.has(name) {
            wanted.row(format_args!("{name}"), mixed(zones, gfp, array, most), OPERATIONS);
        }
    }
    bulk(zones, wanted, gfp);
    if let Err(error) = zones.free_pages(block, ARRAY_ORDER) {
        log::error!("bench: {error}");
    }
}

/// 16 pages: room for [`BURST`] frame numbers.
const ARRAY_ORDER: Order = match Order::new(4) {
    Some(order) => order,
    None => Order::ZERO,
};
const _: () = assert!(BURST * 4 <= ARRAY_ORDER.pages() * PAGE_SIZE);

/// Room for the frame numbers of a burst.
fn take_array(zones: &Zones) -> Option<(Pfn, &'static mut [u32])> {
    let block = zones.alloc_pages(GfpFlags::GFP_KERNEL | GfpFlags::ZERO, ARRAY_ORDER).ok()?;
    let bytes = RAM.frames_ptr(block, ARRAY_ORDER.pages())?;
    // SAFETY: the block was just allocated from lowmem and zeroed; `run` frees it when the slice is out of use.
    Some((block, unsafe { core::slice::from_raw_parts_mut(bytes.cast::<u32>().as_ptr(), BURST as usize) }))
}

/// Allocates and frees one block over and over, in the state that the boot left and from a largest block.
fn pairs(zones: &Zones, wanted: Wanted<'_>, gfp: GfpFlags) {
    for order in Order::all() {
        let number = order.raw();
        if wanted.has("pair") {
            wanted.row(format_args!("pair_o{number}"), natural(zones, gfp, order), PAIRS);
        }
        if (4..10).contains(&number) && wanted.has("pair") {
            drained(zones, wanted, gfp, order);
        }
    }
}

/// Pairs while a block of exactly that order is free: its buddy is held, so that nothing splits and nothing merges.
fn natural(zones: &Zones, gfp: GfpFlags, order: Order) -> u32 {
    let (Ok(first), Ok(second)) = (zones.alloc_pages(gfp, order), zones.alloc_pages(gfp, order)) else { return 0 };
    let _ = zones.free_pages(first, order);
    let total = many_pairs(zones, gfp, order);
    let _ = zones.free_pages(second, order);
    total
}

/// [`PAIRS`] pairs after a first one. A function of its own, so that the loop has the registers to itself.
#[inline(never)]
fn many_pairs(zones: &Zones, gfp: GfpFlags, order: Order) -> u32 {
    pair(zones, gfp, order);
    count(|| (0..PAIRS).for_each(|_| pair(zones, gfp, order)))
}

#[inline(always)]
fn pair(zones: &Zones, gfp: GfpFlags, order: Order) {
    if let Ok(block) = zones.alloc_pages(gfp, order) {
        // A refused free would have been reported on the console by the allocator.
        let _ = zones.free_pages(black_box(block), order);
    }
}

/// Takes every free block below the largest order out of the way, so that each pair splits a largest block and merges
/// it back.
fn drained(zones: &Zones, wanted: Wanted<'_>, gfp: GfpFlags, order: Order) {
    zones.drain_local();
    let mut held: Option<(Pfn, Order)> = None;
    // From the largest order down: what is left of a split at one order is taken at the next.
    let smaller = || Order::all().rev().filter(|smaller| *smaller >= order && *smaller < Order::LARGEST);
    for smaller in smaller() {
        while zones.zones().iter().any(|zone| zone.free_blocks(smaller, MigrateType::Unmovable) > 0) {
            let Ok(block) = zones.alloc_pages(gfp, smaller) else { break };
            held = hold(block, smaller, held);
        }
    }
    wanted.row(format_args!("pair_o{}_drained", order.raw()), many_pairs(zones, gfp, order), PAIRS);
    while let Some((block, order)) = held {
        held = held_before(block);
        if let Err(error) = zones.free_pages(block, order) {
            log::error!("bench: {error}");
        }
    }
}

/// Writes who is held already into the block's own first words.
fn hold(block: Pfn, order: Order, before: Option<(Pfn, Order)>) -> Option<(Pfn, Order)> {
    let words = RAM.frames_ptr(block, 1)?.cast::<[u32; 2]>();
    let before = before.map_or([NONE, 0], |(pfn, order)| [pfn.raw(), u32::from(order.raw())]);
    // SAFETY: the block was just allocated from lowmem: nobody else uses its bytes.
    unsafe { words.write_volatile(before) }
    Some((block, order))
}

fn held_before(block: Pfn) -> Option<(Pfn, Order)> {
    let words = RAM.frames_ptr(block, 1)?.cast::<[u32; 2]>();
    // SAFETY: the block is still ours, and `hold` wrote these words.
    let [pfn, order] = unsafe { words.read_volatile() };
    let order = u8::try_from(order).ok().and_then(Order::new)?;
    (pfn != NONE).then_some((Pfn::new(pfn), order))
}

/// Allocates many pages, then frees them all, in three orders; allocation and free together, a page.
fn bursts(zones: &Zones, wanted: Wanted<'_>, gfp: GfpFlags, array: &mut [u32]) {
    for (size, label) in [(1000, "burst1000"), (BURST, "burst16000")] {
        for (order, suffix) in [(FreeOrder::Lifo, "lifo"), (FreeOrder::Fifo, "fifo"), (FreeOrder::Random, "random")] {
            let Some(slots) = array.get_mut(..size as usize) else { continue };
            if wanted.has(label) {
                // The first round leaves the lists as frees of that order leave them.
                burst(zones, gfp, slots, order);
                let total = burst(zones, gfp, slots, order);
                wanted.row(format_args!("{label}_{suffix}"), total, size);
            }
        }
    }
}

#[inline(never)]
fn burst(zones: &Zones, gfp: GfpFlags, slots: &mut [u32], order: FreeOrder) -> u32 {
    let allocated = count(|| {
        for slot in slots.iter_mut() {
            *slot = zones.alloc_pages(gfp, Order::ZERO).map_or(NONE, Pfn::raw);
        }
    });
    match order {
        FreeOrder::Lifo => slots.reverse(),
        FreeOrder::Fifo => {}
        FreeOrder::Random => Xorshift32::new().shuffle(slots),
    }
    let freed = count(|| {
        for slot in slots.iter() {
            if *slot != NONE {
                let _ = zones.free_pages(Pfn::new(*slot), Order::ZERO);
            }
        }
    });
    allocated.wrapping_add(freed)
}

/// 256 slots and 20,000 operations: a full slot is freed, an empty one allocated with an order of chance.
#[inline(never)]
fn mixed(zones: &Zones, gfp: GfpFlags, array: &mut [u32], most: u32) -> u32 {
    let (pages, rest) = array.split_at_mut(SLOTS);
    let Some(orders) = rest.get_mut(..SLOTS) else { return 0 };
    pages.fill(NONE);
    let total = count(|| {
        let mut chance = Xorshift32::new();
        for _ in 0..OPERATIONS {
            let value = chance.next();
            let slot = (value & 0xff) as usize;
            let (Some(page), Some(kept)) = (pages.get_mut(slot), orders.get_mut(slot)) else { continue };
            if *page == NONE {
                *kept = (value >> 8).trailing_ones().min(most);
                *page = zones.alloc_pages(gfp, order_of(*kept)).map_or(NONE, Pfn::raw);
            } else {
                let _ = zones.free_pages(Pfn::new(*page), order_of(*kept));
                *page = NONE;
            }
        }
    });
    for (page, order) in pages.iter().zip(orders.iter()).filter(|(page, _)| **page != NONE) {
        let _ = zones.free_pages(Pfn::new(*page), order_of(*order));
    }
    total
}

/// The order of that number, or the largest one.
#[inline(always)]
pub(super) fn order_of(raw: u32) -> Order {
    u8::try_from(raw).ok().and_then(Order::new).unwrap_or(Order::LARGEST)
}

/// 512 pages by one call, and back by one call. The rows before this one left pages in this CPU's pagesets: they are
/// drained, so that the free lists are as the boot left them. The second round counts.
fn bulk(zones: &Zones, wanted: Wanted<'_>, gfp: GfpFlags) {
    if !wanted.has("bulk512") {
        return;
    }
    zones.drain_local();
    let mut pages = [Pfn::new(NONE); BULK as usize];
    let mut once = || {
        count(|| {
            let taken = zones.alloc_pages_bulk(gfp, &mut pages).unwrap_or(0);
            if let Some(pages) = pages.get(..taken) {
                let _ = zones.free_pages_bulk(pages);
            }
        })
    };
    once();
    let total = once();
    wanted.row(format_args!("bulk512"), total, BULK);
}
