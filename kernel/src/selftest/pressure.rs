//! Memory that runs out on the machine, over and over, and what is said of it.

use mm::addr::Pfn;
use mm::gfp::GfpFlags;
use mm::order::Order;
use mm::page_alloc::{AllocError, FailPageAlloc, Hooks};

use super::pages::{free_pages, link, next};
use super::{Failed, Verdict};
use crate::system::{System, Zones};
use crate::{check, selftest};

selftest!(a_failing_allocation_is_reported_and_changes_nothing);
selftest!(exhaustion_and_recovery_a_thousand_times_end_with_equal_counts);
selftest!(injected_failures_come_and_go);

/// Rounds of exhaustion and recovery; each [`SINGLES`]-th takes the last single page too.
const ROUNDS: u32 = 1000;
const SINGLES: u32 = 100;
/// Rounds where every byte is written, or every page unmapped, whenever a block changes hands: all of them would be a
/// terabyte on half a gibibyte.
const ROUNDS_WRITTEN: u32 = 8;
const WRITTEN: Hooks =
    Hooks::INIT_ON_ALLOC.union(Hooks::INIT_ON_FREE).union(Hooks::POISON).union(Hooks::DEBUG_PAGEALLOC);

/// Takes blocks of `order` until there is none, chained to those of `last`.
fn exhaust(zones: &Zones, order: Order, mut last: Option<Pfn>) -> Result<(Option<Pfn>, u32), Failed> {
    let gfp = GfpFlags::GFP_ATOMIC | GfpFlags::NOWARN;
    let mut taken = 0;
    loop {
        match zones.alloc_pages(gfp, order) {
            Ok(block) => {
                link(block, last)?;
                last = Some(block);
                taken += 1;
            }
            Err(error) => {
                check!(error == AllocError::NoMemory { gfp, order }, "{error}");
                return Ok((last, taken));
            }
        }
    }
}

/// Gives back a chain of blocks of `order`.
fn recover(zones: &Zones, order: Order, mut last: Option<Pfn>) -> Verdict {
    while let Some(block) = last {
        last = next(block)?;
        let freed = zones.free_pages(block, order);
        check!(freed.is_ok(), "{freed:?}");
    }
    Ok(())
}

fn exhaustion_and_recovery_a_thousand_times_end_with_equal_counts(system: &System) -> Verdict {
    let zones = system.booted.mm.allocator();
    let before = free_pages(system);
    let rounds = if zones.hooks().intersects(WRITTEN) { ROUNDS_WRITTEN } else { ROUNDS };
    for round in 0..rounds {
        let (large, _) = exhaust(zones, Order::LARGEST, None)?;
        if round % SINGLES == 0 {
            let (singles, count) = exhaust(zones, Order::ZERO, None)?;
            check!(count > 0, "round {round}: no single page beside the large blocks");
            recover(zones, Order::ZERO, singles)?;
        }
        recover(zones, Order::LARGEST, large)?;
        check!(free_pages(system) == before, "round {round}: {before} pages were free, now {}", free_pages(system));
    }
    check!(system.validate(), "an invariant is broken");
    Ok(())
}

fn a_failing_allocation_is_reported_and_changes_nothing(system: &System) -> Verdict {
    let zones = system.booted.mm.allocator();
    let before = free_pages(system);
    let (large, _) = exhaust(zones, Order::LARGEST, None)?;
    // The console shows the report: the request in words, then the zones.
    let gfp = GfpFlags::GFP_ATOMIC | GfpFlags::COMP;
    let failed = zones.alloc_pages(gfp, Order::LARGEST);
    recover(zones, Order::LARGEST, large)?;
    check!(failed == Err(AllocError::NoMemory { gfp, order: Order::LARGEST }), "{failed:?}");
    check!(free_pages(system) == before, "{before} pages were free, now {}", free_pages(system));
    Ok(())
}

fn injected_failures_come_and_go(system: &System) -> Verdict {
    let zones = system.booted.mm.allocator();
    let before = free_pages(system);
    let order = Order::new(1).ok_or(Failed)?;
    let gfp = GfpFlags::GFP_ATOMIC;
    zones.set_fail_page_alloc(Some(FailPageAlloc { probability: 100, times: Some(3), ..FailPageAlloc::default() }));
    let injected = (0..10).filter(|_| match zones.alloc_pages(gfp, order) {
        Ok(block) => {
            // A refused free would show in the counts below.
            let _ = zones.free_pages(block, order);
            false
        }
        Err(error) => error == AllocError::Injected { gfp, order },
    });
    let injected = injected.count();
    zones.set_fail_page_alloc(None);
    check!(injected == 3, "{injected} of 10 requests failed");
    check!(free_pages(system) == before, "{before} pages were free, now {}", free_pages(system));
    Ok(())
}
