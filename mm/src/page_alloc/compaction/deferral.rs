//! A zone in which a request was not helped is left alone for a number of tries that doubles each time.
//!
//! Source.      Linux 4.1 mm/compaction.c: `defer_compaction`, `compaction_deferred`, `compaction_defer_reset`.
#![forbid(unsafe_code)]

use core::sync::atomic::AtomicU32;
use core::sync::atomic::Ordering::Relaxed;

use crate::order::Order;

/// A zone is passed over 2^6 times at most (Linux: `COMPACT_MAX_DEFER_SHIFT`).
pub(super) const MAX_DEFER_SHIFT: u32 = 6;

/// Tries that a zone is passed over after failures.
#[derive(Debug, Default)]
pub(in crate::page_alloc) struct Deferral {
    shift: AtomicU32,
    passed: AtomicU32,
    /// The smallest order that failed; 0 for none.
    order: AtomicU32,
}

impl Deferral {
    /// Whether this try is one of those that pass.
    pub(super) fn is_deferred(&self, order: Order) -> bool {
        let failed = self.order.load(Relaxed);
        if failed == 0 || u32::from(order.raw()) < failed {
            return false;
        }
        let passed = self.passed.fetch_add(1, Relaxed) + 1;
        passed < 1 << self.shift.load(Relaxed)
    }

    pub(super) fn failed(&self, order: Order) {
        let shift = self.shift.load(Relaxed);
        self.shift.store((shift + 1).min(MAX_DEFER_SHIFT), Relaxed);
        self.passed.store(0, Relaxed);
        let order = u32::from(order.raw());
        let smallest = match self.order.load(Relaxed) {
            0 => order,
            known => known.min(order),
        };
        self.order.store(smallest, Relaxed);
    }

    pub(super) fn succeeded(&self) {
        self.shift.store(0, Relaxed);
        self.order.store(0, Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn order(raw: u8) -> Order {
        Order::new(raw).unwrap()
    }

    /// How many tries pass before one is made.
    fn passes(deferral: &Deferral, raw: u8) -> usize {
        (0..200).take_while(|_| deferral.is_deferred(order(raw))).count()
    }

    #[test]
    fn the_tries_that_pass_double_up_to_64_and_a_success_ends_them() {
        let deferral = Deferral::default();
        assert_eq!(passes(&deferral, 10), 0);
        for expected in [1, 3, 7, 15, 31, 63, 63] {
            deferral.failed(order(4));
            assert_eq!(passes(&deferral, 4), expected);
        }
        deferral.succeeded();
        assert_eq!(passes(&deferral, 10), 0);
        deferral.failed(order(4));
        assert_eq!(passes(&deferral, 4), 1);
    }

    #[test]
    fn smaller_orders_than_any_that_failed_are_tried() {
        let deferral = Deferral::default();
        deferral.failed(order(4));
        assert_eq!((passes(&deferral, 3), passes(&deferral, 5)), (0, 1));
        deferral.failed(order(2));
        assert_eq!((passes(&deferral, 1), passes(&deferral, 2)), (0, 3));
        deferral.failed(order(9));
        assert_eq!((passes(&deferral, 1), passes(&deferral, 2)), (0, 7));
    }
}
