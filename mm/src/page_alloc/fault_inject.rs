//! Allocations that fail by chance, to see what their callers do about it.
//!
//! Theory.      Behind a start that is let through (`space`), every `interval`-th request that the filters leave fails
//!              with a `probability` in percent, at most `times` times. The chance is a small generator with a seed: a
//!              run can be repeated.
//! Invariants.  A `NOFAIL` request is never failed.
//! Source.      Linux 4.1: `should_fail`, `should_fail_alloc_page`, Documentation/fault-injection.
#![forbid(unsafe_code)]

use crate::buddy::FreeCore;
use crate::gfp::GfpFlags;
use crate::order::Order;
use crate::page_alloc::walk::Request;
use crate::page_alloc::{Hooks, PageAllocator};
use crate::sync::CurrentCpu;

/// Which allocations fail (Linux: `fail_page_alloc=` and the attributes in debugfs).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct FailPageAlloc {
    /// Only each so-many-th request may fail; 0 and 1: each.
    pub interval: u32,
    /// How likely it fails then, in percent.
    pub probability: u32,
    /// Pages that may be allocated before anything fails.
    pub space: u32,
    /// How often at most; `None`: always.
    pub times: Option<u32>,
    /// Requests that can wait never fail.
    pub ignore_gfp_wait: bool,
    /// Requests that may have highmem never fail.
    pub ignore_gfp_highmem: bool,
    /// Smaller blocks never fail.
    pub min_order: Order,
    /// Where the chance begins; 0 counts as 1.
    pub seed: u32,
}

impl Default for FailPageAlloc {
    /// Linux's: nothing fails, and if a probability is set, then only requests above order 0 that can neither wait nor
    /// have highmem.
    fn default() -> Self {
        Self {
            interval: 1,
            probability: 0,
            space: 0,
            times: Some(1),
            ignore_gfp_wait: true,
            ignore_gfp_highmem: true,
            min_order: Order::new(1).unwrap_or(Order::ZERO),
            seed: 1,
        }
    }
}

/// The switch and its state.
#[derive(Debug, Default)]
pub(super) struct FaultInjection {
    attr: FailPageAlloc,
    /// Requests counted for the interval.
    count: u32,
    chance: u32,
    /// Requests that failed, under this and earlier attributes.
    failed: u32,
}

impl FaultInjection {
    fn new(attr: FailPageAlloc) -> Self {
        Self { attr, count: 0, chance: attr.seed.max(1), failed: 0 }
    }

    /// Whether this request fails (Linux: `should_fail_alloc_page`, `should_fail`).
    fn should_fail(&mut self, gfp: GfpFlags, order: Order) -> bool {
        let attr = &mut self.attr;
        if order < attr.min_order
            || gfp.contains(GfpFlags::NOFAIL)
            || (attr.ignore_gfp_highmem && gfp.contains(GfpFlags::HIGHMEM))
            || (attr.ignore_gfp_wait && gfp.contains(GfpFlags::WAIT))
            || attr.probability == 0
            || attr.times == Some(0)
        {
            return false;
        }
        if attr.space > order.pages() {
            attr.space -= order.pages();
            return false;
        }
        self.count = self.count.wrapping_add(1);
        if !self.count.is_multiple_of(attr.interval.max(1)) {
            return false;
        }
        self.chance ^= self.chance << 13;
        self.chance ^= self.chance >> 17;
        self.chance ^= self.chance << 5;
        if attr.probability <= self.chance % 100 {
            return false;
        }
        attr.times = attr.times.map(|times| times.saturating_sub(1));
        self.failed = self.failed.wrapping_add(1);
        true
    }
}

impl<'m, M: CurrentCpu, C: FreeCore<'m>> PageAllocator<'m, M, C> {
    /// Has allocations fail from now on, or no more. There are no hits while it is on.
    pub fn set_fail_page_alloc(&self, attr: Option<FailPageAlloc>) {
        {
            let mut faults = self.pressure.faults.lock();
            let failed = faults.failed;
            *faults = FaultInjection { failed, ..attr.map_or_else(FaultInjection::default, FaultInjection::new) };
        }
        self.set_hooks(Hooks::FAIL_PAGE_ALLOC, attr.is_some());
    }

    /// How many allocations were made to fail since the boot, modulo 2^32.
    #[must_use]
    pub fn injected_failures(&self) -> u32 {
        self.pressure.faults.lock().failed
    }

    /// Whether this request is to fail, and says so.
    #[cold]
    #[inline(never)]
    pub(super) fn should_fail(&self, request: &Request) -> bool {
        let attr = {
            let mut faults = self.pressure.faults.lock();
            if !faults.should_fail(request.gfp, request.order) {
                return false;
            }
            faults.attr
        };
        if self.pressure.injected.allows() {
            let FailPageAlloc { interval, probability, space, times, .. } = attr;
            let times = times.map_or(-1, i64::from);
            log::warn!(
                "FAULT_INJECTION: forcing a failure. name fail_page_alloc, interval {interval}, probability \
                 {probability}, space {space}, times {times}"
            );
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::buddy::model::XorShift;

    const ALL: FailPageAlloc = FailPageAlloc {
        interval: 1,
        probability: 100,
        space: 0,
        times: None,
        ignore_gfp_wait: false,
        ignore_gfp_highmem: false,
        min_order: Order::ZERO,
        seed: 1,
    };

    fn failures(attr: FailPageAlloc, requests: u32) -> u32 {
        let mut faults = FaultInjection::new(attr);
        (0..requests).map(|_| u32::from(faults.should_fail(GfpFlags::GFP_KERNEL, Order::ZERO))).sum()
    }

    #[test]
    fn interval_space_and_times_count_as_linux_counts_them() {
        assert_eq!(failures(ALL, 100), 100);
        assert_eq!(failures(FailPageAlloc { interval: 7, ..ALL }, 100), 14);
        // The request that finds no more than its own size left is the first that may fail: 40 - 1 pages pass.
        assert_eq!(failures(FailPageAlloc { space: 40, ..ALL }, 100), 61);
        assert_eq!(failures(FailPageAlloc { times: Some(3), ..ALL }, 100), 3);
        assert_eq!(failures(FailPageAlloc { probability: 0, ..ALL }, 100), 0);
    }

    #[test]
    fn the_probability_is_met_and_a_seed_repeats_itself() {
        let third = FailPageAlloc { probability: 33, seed: 7, ..ALL };
        let count = failures(third, 10_000);
        assert!((3_100..3_500).contains(&count), "{count} of 10,000 failed");
        assert_eq!(failures(third, 10_000), count);
    }

    #[test]
    fn the_chance_is_the_generator_with_shifts_13_17_and_5() {
        let attr = FailPageAlloc { probability: 40, seed: 0x1234_5678, ..ALL };
        let (mut faults, mut chance) = (FaultInjection::new(attr), XorShift(0x1234_5678));
        for _ in 0..100 {
            assert_eq!(faults.should_fail(GfpFlags::GFP_KERNEL, Order::ZERO), chance.next() % 100 < 40);
        }
        assert_eq!(FaultInjection::new(FailPageAlloc { seed: 0, ..ALL }).chance, 1);
    }

    #[test]
    fn filters_and_nofail_let_requests_through() {
        let fails = |attr, gfp, order: u8| FaultInjection::new(attr).should_fail(gfp, Order::new(order).unwrap());
        assert!(fails(ALL, GfpFlags::GFP_HIGHUSER, 0));
        assert!(!fails(ALL, GfpFlags::GFP_KERNEL | GfpFlags::NOFAIL, 0));
        assert!(!fails(FailPageAlloc { ignore_gfp_wait: true, ..ALL }, GfpFlags::GFP_KERNEL, 0));
        assert!(fails(FailPageAlloc { ignore_gfp_wait: true, ..ALL }, GfpFlags::GFP_ATOMIC, 0));
        assert!(!fails(FailPageAlloc { ignore_gfp_highmem: true, ..ALL }, GfpFlags::HIGHMEM, 0));
        let large = FailPageAlloc { min_order: Order::new(2).unwrap(), ..ALL };
        assert!(!fails(large, GfpFlags::GFP_ATOMIC, 1) && fails(large, GfpFlags::GFP_ATOMIC, 2));
        let defaults = FailPageAlloc { probability: 100, ..FailPageAlloc::default() };
        assert!(!fails(defaults, GfpFlags::GFP_ATOMIC, 0) && fails(defaults, GfpFlags::GFP_ATOMIC, 1));
    }
}
