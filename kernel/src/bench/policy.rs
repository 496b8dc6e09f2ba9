//! What the policies are good for: figures to choose their defaults by.
//!
//! Method.      `atomic_o3_blocks`: a driver asks for a block of order 3 by a request that cannot wait, once for every
//!              ten pages that others take, and frees it. Those take single pages until they get no more; a hundredth
//!              comes back by chance, and in each of 20,000 steps another page of chance is freed and one taken. Then
//!              comes the driver's great hour: the row is how many such blocks it can hold at a time.
//!              `page_alloc.reserve=` says what is kept for it.
//! Not here.    What a policy costs: the other rows, with the policy switched on.

use core::hint::black_box;

use mm::addr::Pfn;
use mm::gfp::GfpFlags;
use mm::order::Order;

use super::Wanted;
use super::fragmentation::{GFP, take_array};
use super::rng::Xorshift32;
use crate::system::{System, Zones};

const ROW: &str = "atomic_o3_blocks";
const STEPS: usize = 20_000;
/// Steps from one request of the driver to the next.
const PAUSE: usize = 10;
/// A place whose page could not be replaced.
const NONE: u32 = u32::MAX;
const ATOMIC: GfpFlags = GfpFlags::GFP_ATOMIC.union(GfpFlags::NOWARN);

/// Measures it, if it is wanted.
pub(super) fn run(system: &System, wanted: Wanted<'_>) {
    if !wanted.has(ROW) {
        return;
    }
    let zones = system.booted.mm.allocator();
    let pages = zones.zones().iter().map(|zone| zone.stats().counts.free).sum();
    let Some((block, order, array)) = take_array(zones, pages) else {
        log::error!("bench: no memory for the frame numbers of all pages");
        return;
    };
    if let Some(blocks) = measure(zones, array) {
        wanted.number(ROW, blocks);
    }
    let _ = zones.free_pages(block, order);
}

/// How many blocks the driver can hold.
fn measure(zones: &Zones, live: &mut [u32]) -> Option<u32> {
    let large = Order::new(3)?;
    let mut count = 0;
    while let Some(place) = live.get_mut(count) {
        let Ok(pfn) = zones.alloc_pages(black_box(GFP), Order::ZERO) else { break };
        *place = pfn.raw();
        count += 1;
        if count % PAUSE == 0
            && let Ok(block) = zones.alloc_pages(black_box(ATOMIC), large)
        {
            let _ = zones.free_pages(block, large);
        }
    }
    let (live, blocks) = live.split_at_mut_checked(count).filter(|(live, _)| !live.is_empty())?;
    let mut chance = Xorshift32::new();
    for _ in 0..live.len() / 100 {
        free(zones, live.get_mut(chance.below(live.len()))?, Order::ZERO);
    }
    for _ in 0..STEPS {
        let place = live.get_mut(chance.below(live.len()))?;
        free(zones, place, Order::ZERO);
        *place = zones.alloc_pages(black_box(GFP), Order::ZERO).map_or(NONE, Pfn::raw);
    }
    let mut held = 0;
    for place in blocks.iter_mut() {
        let Ok(block) = zones.alloc_pages(black_box(ATOMIC), large) else { break };
        *place = block.raw();
        held += 1;
    }
    blocks.iter_mut().take(held as usize).for_each(|place| free(zones, place, large));
    live.iter_mut().for_each(|place| free(zones, place, Order::ZERO));
    Some(held)
}

/// Frees what a place holds.
fn free(zones: &Zones, place: &mut u32, order: Order) {
    if *place != NONE {
        let _ = zones.free_pages(Pfn::new(*place), order);
        *place = NONE;
    }
}
