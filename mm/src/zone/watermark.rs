//! Watermarks, lowmem reserves and the totals drawn from them.
//!
//! Theory.      The machine keeps `min_free_kbytes` = 4·√(lowmem in KiB) free, shared out over the lowmem zones by
//!              their managed pages: a zone's `min`. Background reclaim starts below `low` and stops at `high`. HighMem
//!              serves no emergency, so its `min` is a token. A zone also holds pages back from allocations that could
//!              have used a higher zone: `reserve[zone][class]` = managed pages of the zones above, up to `class`,
//!              divided by the zone's ratio.
//! Not here.    The checks against the marks (page_alloc), counters.
//! Source.      Linux mm/page_alloc.c: init_per_zone_wmark_min, __setup_per_zone_wmarks,
//!              setup_per_zone_lowmem_reserve, calculate_totalreserve_pages, nr_free_buffer_pages.
#![forbid(unsafe_code)]

use crate::addr::PAGE_SHIFT;
use crate::zone::plan::is_highmem;
use crate::zone::{MAX_NR_ZONES, PerNodeZone, PerZone, Rules, ZoneType};

#[cfg(test)]
mod tests;

/// Pages that one round of reclaim takes; the least `min` of a highmem zone (Linux: `SWAP_CLUSTER_MAX`).
const SWAP_CLUSTER_MAX: u32 = 32;
/// The most `min` of a highmem zone.
const HIGHMEM_MIN_MAX: u32 = 128;

/// The three marks of a zone, in pages.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Watermarks {
    /// Below it only emergencies are served.
    pub min: u32,
    /// Below it background reclaim is woken.
    pub low: u32,
    /// Background reclaim stops here.
    pub high: u32,
}

/// What an administrator could set.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Tunables {
    /// Whose formulas.
    pub rules: Rules,
    /// Distance between the marks in 1/10,000 of managed pages; only Linux 6.1 looks at it.
    pub watermark_scale_factor: u32,
    /// Divisors of the lowmem reserves by zone; the last one is never used.
    pub lowmem_reserve_ratio: PerZone<u32>,
}

impl Tunables {
    /// Linux's defaults.
    #[must_use]
    pub const fn defaults(rules: Rules) -> Self {
        let lowmem_reserve_ratio = match rules {
            Rules::Linux4 => [256, 32, 32, 1],
            Rules::Linux6 => [256, 32, 0, 0],
        };
        Self { rules, watermark_scale_factor: 10, lowmem_reserve_ratio }
    }
}

impl Default for Tunables {
    fn default() -> Self {
        Self::defaults(Rules::Linux4)
    }
}

/// Pages that may buffer files: managed pages of DMA and Normal zones above their `high` marks (Linux:
/// `nr_free_buffer_pages`). While the marks are still 0, as at boot, that is all of them.
#[must_use]
pub fn buffer_pages(managed: &PerNodeZone<u32>, marks: &PerNodeZone<Watermarks>) -> u64 {
    let zones = managed.iter().flatten().zip(marks.iter().flatten()).enumerate();
    zones
        .filter(|(index, _)| index % MAX_NR_ZONES <= ZoneType::Normal.index())
        .map(|(_, (managed, marks))| u64::from(managed.saturating_sub(marks.high)))
        .sum()
}

/// The least free memory of a machine with `lowmem` pages of [`buffer_pages`], in KiB (Linux:
/// `init_per_zone_wmark_min`).
#[must_use]
pub fn min_free_kbytes(lowmem: u64, rules: Rules) -> u32 {
    let kbytes = lowmem.saturating_mul(1 << (PAGE_SHIFT - 10));
    let most = match rules {
        Rules::Linux4 => 65_536,
        Rules::Linux6 => 262_144,
    };
    u32::try_from(kbytes.saturating_mul(16).isqrt()).map_or(most, |root| root.clamp(128, most))
}

/// The marks of every zone (Linux: `__setup_per_zone_wmarks`).
///
/// `managed`: pages the allocator owns. `movable_source`: the zone that Movable is cut from.
#[must_use]
pub fn set_watermarks(
    managed: &PerNodeZone<u32>,
    min_free_kbytes: u32,
    movable_source: ZoneType,
    tunables: &Tunables,
) -> PerNodeZone<Watermarks> {
    let is_low = |index: usize| ZoneType::ALL.get(index).is_some_and(|&kind| !is_highmem(kind, movable_source));
    let lowmem: u64 = managed
        .iter()
        .flat_map(|node| node.iter().enumerate())
        .filter(|(index, _)| is_low(*index))
        .map(|(_, &pages)| u64::from(pages))
        .sum();
    let pages_min = min_free_kbytes >> (PAGE_SHIFT - 10);
    let mut marks = PerNodeZone::<Watermarks>::default();
    for (node, managed) in marks.iter_mut().zip(managed) {
        for (index, (slot, &managed)) in node.iter_mut().zip(managed).enumerate() {
            let share = (u64::from(pages_min) * u64::from(managed)).checked_div(lowmem).unwrap_or(0);
            let min = if is_low(index) {
                share
            } else {
                u64::from((managed / 1024).clamp(SWAP_CLUSTER_MAX, HIGHMEM_MIN_MAX))
            };
            *slot = marks_above(min, share, managed, tunables);
        }
    }
    marks
}

/// The marks above `min`, `share` being the zone's part of the machine's least free memory.
fn marks_above(min: u64, share: u64, managed: u32, tunables: &Tunables) -> Watermarks {
    let (low, high) = match tunables.rules {
        Rules::Linux4 => (min + share / 4, min + share / 2),
        Rules::Linux6 => {
            let scaled = u64::from(managed) * u64::from(tunables.watermark_scale_factor) / 10_000;
            let step = scaled.max(share / 4);
            (min + step, min + step * 2)
        }
    };
    let pages = |count| u32::try_from(count).unwrap_or(u32::MAX);
    Watermarks { min: pages(min), low: pages(low), high: pages(high) }
}

/// Pages that each zone of one node holds back, by zone and then by the class (highest allowed zone) of the
/// allocation (Linux: `setup_per_zone_lowmem_reserve`; zoneinfo: `protection`).
#[must_use]
pub fn lowmem_reserve(managed: &PerZone<u32>, tunables: &Tunables) -> PerZone<PerZone<u32>> {
    let mut reserves = PerZone::<PerZone<u32>>::default();
    for (index, (row, &ratio)) in reserves.iter_mut().zip(&tunables.lowmem_reserve_ratio).enumerate() {
        let ratio = match tunables.rules {
            Rules::Linux4 => ratio.max(1),
            // A ratio of 0 switches the reserve off, and a zone without pages has none to hold back.
            Rules::Linux6 if managed.get(index).is_none_or(|&pages| pages == 0) => 0,
            Rules::Linux6 => ratio,
        };
        let mut above = 0_u32;
        for (slot, &pages) in row.iter_mut().zip(managed).skip(index + 1) {
            above = above.saturating_add(pages);
            *slot = above.checked_div(ratio).unwrap_or(0);
        }
    }
    reserves
}

/// Pages of one zone that ordinary allocations cannot have: its largest reserve above its `high` mark, at most all
/// of `managed` (Linux: `dirty_balance_reserve`).
#[must_use]
pub fn zone_total_reserve(reserve: &PerZone<u32>, high: u32, managed: u32) -> u32 {
    reserve.iter().copied().max().unwrap_or(0).saturating_add(high).min(managed)
}

/// The sum of [`zone_total_reserve`] over the machine (Linux: `totalreserve_pages`).
#[must_use]
pub fn total_reserve(managed: &PerNodeZone<u32>, marks: &PerNodeZone<Watermarks>, tunables: &Tunables) -> u64 {
    let mut total = 0;
    for (managed, marks) in managed.iter().zip(marks) {
        let reserves = lowmem_reserve(managed, tunables);
        for ((reserve, marks), &managed) in reserves.iter().zip(marks).zip(managed) {
            total += u64::from(zone_total_reserve(reserve, marks.high, managed));
        }
    }
    total
}
