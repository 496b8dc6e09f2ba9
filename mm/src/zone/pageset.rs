//! Batch and limit of a zone's per-CPU page lists.
//!
//! Theory.      A refill or a drain moves `batch` pages under one hold of the zone lock; a CPU holds at most `high`
//!              pages of the zone over all migrate types. The batch is a quarter of 1/1024 of the zone, at most half a
//!              MiB's (Linux 6.1: one MiB's) quarter, and then 2^n − 1, which keeps users of power-of-two counts from
//!              draining the zone's free lists in step.
//! Not here.    The lists (page_alloc).
//! Source.      Linux mm/page_alloc.c: zone_batchsize, pageset_set_batch, pageset_set_high, zone_highsize.
#![forbid(unsafe_code)]

use crate::addr::{PAGE_SHIFT, PAGE_SIZE};
use crate::zone::Rules;

/// The two numbers of a pageset, in pages.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct PagesetSize {
    /// The most that one CPU holds.
    pub high: u32,
    /// How many move at once; at least 1.
    pub batch: u32,
}

impl PagesetSize {
    /// The pageset that serves while zones are not sized yet: a portal that stocks nothing (Linux: `boot_pageset`).
    pub const BOOT: Self = Self { high: 0, batch: 1 };

    /// The pageset of a zone of `managed` pages: `high` is six batches (Linux 4.1: `pageset_set_batch`).
    #[must_use]
    pub const fn linux4(managed: u32) -> Self {
        let batch = zone_batchsize(managed, Rules::Linux4);
        Self { high: 6 * batch, batch: if batch == 0 { 1 } else { batch } }
    }

    /// The pageset with `high` set by hand: the batch is a quarter of it, 1 to 96 (Linux 4.1: `pageset_set_high`).
    #[must_use]
    pub const fn with_high(high: u32) -> Self {
        let quarter = high / 4;
        let most = PAGE_SHIFT * 8;
        let batch = if quarter > most { most } else { quarter };
        Self { high, batch: if batch == 0 { 1 } else { batch } }
    }

    /// The pageset of a zone of `managed` pages when each CPU may hold 1/`fraction` of it (Linux 4.1:
    /// `percpu_pagelist_fraction`); 0 means no fraction.
    #[must_use]
    pub const fn with_fraction(managed: u32, fraction: u32) -> Self {
        match managed.checked_div(fraction) {
            Some(high) => Self::with_high(high),
            None => Self::linux4(managed),
        }
    }

    /// The pageset of a zone with a `low` mark, shared by `cpus` CPUs (Linux 6.1: `zone_highsize`).
    #[must_use]
    pub const fn linux6(managed: u32, low: u32, cpus: u32) -> Self {
        let size = zone_batchsize(managed, Rules::Linux6);
        let batch = if size == 0 { 1 } else { size };
        let share = match low.checked_div(cpus) {
            Some(share) => share,
            None => low,
        };
        Self { high: if share < batch * 4 { batch * 4 } else { share }, batch }
    }
}

/// Pages to move at once in a zone of `managed` pages; 0 for a zone of less than 1,024 (Linux: `zone_batchsize`).
#[must_use]
pub const fn zone_batchsize(managed: u32, rules: Rules) -> u32 {
    let most = match rules {
        Rules::Linux4 => (512 << 10) / PAGE_SIZE,
        Rules::Linux6 => (1 << 20) / PAGE_SIZE,
    };
    let part = managed / 1024;
    let quarter = if part > most { most / 4 } else { part / 4 };
    let batch = if quarter == 0 { 1 } else { quarter };
    // At most 64 + 32, at least 1: the logarithm exists.
    (1 << (batch + batch / 2).ilog2()) - 1
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn half_a_gib_has_batch_31_and_high_186() {
        // 125,476 / 1,024 / 4 = 30; 30 + 15 = 45; 32 - 1 = 31; 6 * 31 = 186.
        assert_eq!(PagesetSize::linux4(125_476), PagesetSize { high: 186, batch: 31 });
        // At 512 KiB the growth ends: 128 / 4 = 32; 48; 31.
        assert_eq!(PagesetSize::linux4(u32::MAX), PagesetSize { high: 186, batch: 31 });
    }

    #[test]
    fn the_pagesets_of_the_reference_boots_come_out() {
        // managed, low -> zoneinfo's (high, batch) on one CPU.
        let cases = [
            (124_332, 878, 878, 31),
            (103_571, 801, 801, 31),
            (0, 32, 32, 1),
            (0, 0, 4, 1),
            (186_324, 1076, 1076, 63),
            (327_679, 508, 508, 63),
        ];
        for (managed, low, high, batch) in cases {
            assert_eq!(PagesetSize::linux6(managed, low, 1), PagesetSize { high, batch });
        }
        // Two CPUs share the low mark, but each holds at least four batches.
        assert_eq!(PagesetSize::linux6(327_679, 508, 2), PagesetSize { high: 254, batch: 63 });
        assert_eq!(PagesetSize::linux6(327_679, 508, 4), PagesetSize { high: 252, batch: 63 });
    }

    #[test]
    fn a_tiny_zone_stocks_nothing() {
        assert_eq!(PagesetSize::linux4(1023), PagesetSize { high: 0, batch: 1 });
        assert_eq!(PagesetSize::linux4(0), PagesetSize::BOOT);
    }

    #[test]
    fn a_high_set_by_hand_bounds_the_batch() {
        assert_eq!(PagesetSize::with_high(3), PagesetSize { high: 3, batch: 1 });
        assert_eq!(PagesetSize::with_high(186), PagesetSize { high: 186, batch: 46 });
        assert_eq!(PagesetSize::with_high(10_000), PagesetSize { high: 10_000, batch: 96 });
        assert_eq!(PagesetSize::with_fraction(125_476, 8), PagesetSize { high: 15_684, batch: 96 });
        assert_eq!(PagesetSize::with_fraction(125_476, 0), PagesetSize::linux4(125_476));
    }
}
