//! Memory that is short and lies in areas that were vfreed.

use mm::addr::{PAGE_SIZE, Pfn};
use mm::gfp::GfpFlags;
use mm::order::Order;
use mm::vmalloc::Request;

use super::vm::{allocated, free, ok};
use super::{Failed, Verdict};
use crate::system::{System, Zones};
use crate::{check, selftest};

selftest!(what_was_vfreed_comes_back_when_memory_is_short);

/// The end of a chain of blocks.
const END: u32 = u32::MAX;
/// Orders of blocks.
const ORDERS: usize = Order::LARGEST.raw() as usize + 1;
/// Blocks by order, each chain's last one. They are chained by their pages' private words, since highmem's pages have
/// no address.
type Chains = [u32; ORDERS];

/// Takes all that may be had without waiting, the largest blocks first.
fn take_all(zones: &Zones) -> Chains {
    let mut chains: Chains = [END; ORDERS];
    for order in Order::all().rev() {
        let Some(last) = chains.get_mut(usize::from(order.raw())) else { continue };
        while let Ok(block) = zones.alloc_pages(GfpFlags::HIGHMEM | GfpFlags::NOWARN, order) {
            let before = core::mem::replace(last, block.raw());
            zones.map().page(block).into_iter().for_each(|page| page.set_private(before));
        }
    }
    chains
}

/// Gives it back.
fn give_all(system: &System, chains: &Chains) -> Verdict {
    let map = system.booted.mm.allocator().map();
    for (order, last) in Order::all().zip(chains) {
        let mut next = *last;
        while next != END {
            let block = Pfn::new(next);
            let page = map.page(block).ok_or(Failed)?;
            next = page.private();
            page.set_private(0);
            free(system, block, order)?;
        }
    }
    Ok(())
}

fn what_was_vfreed_comes_back_when_memory_is_short(system: &System) -> Verdict {
    let (vm, zones) = (system.vm, system.booted.mm.allocator());
    let before = allocated(system)?;
    let managed: u32 = zones.zones().iter().map(|zone| zone.stats().managed).sum();
    // All that may wait for a purge: more than a block that is kept for atomic requests, of which an earlier test may
    // have left one.
    let pages = (managed / 64).min(8192);
    let va = ok(vm.vmalloc(Request::new(pages * PAGE_SIZE)))?;
    let chains = take_all(zones);
    let gfp = GfpFlags::GFP_HIGHUSER | GfpFlags::NOWARN;
    let none = zones.alloc_page(gfp);
    ok(vm.vfree(va))?;
    let waiting = vm.retired_pages();
    let page = zones.alloc_page(gfp);
    let left = vm.retired_pages();
    give_all(system, &chains)?;
    check!(none.is_err(), "memory was not short: {none:?}");
    check!(waiting == pages, "{waiting} pages of {pages} wait for a purge");
    check!(left == 0, "{left} pages still wait for a purge");
    free(system, ok(page)?, Order::ZERO)?;
    let count = allocated(system)?;
    check!(count == before, "{before} pages were allocated, now {count}");
    Ok(())
}
