//! How much of the free memory lies in large blocks after long use, in percent.
//!
//! Method.      What counts is the share of the `Normal` zone's free memory that lies in free blocks of order 9 and 10,
//!              of all types together, after this CPU's pagesets were drained. Contiguous-memory areas are no part of
//!              it, neither of what is free nor of the zone: these requests may not have them, so they always lie in
//!              large blocks. The zone is the machine's own, with what the boot left in it.
//!              `churn_o9_percent`: single pages are taken up to 90 % of the zone and freed at random down to 25 %
//!              live; then come 50 rounds, in each of which 5 % of the live pages are freed at random and as many
//!              allocated. `churn_zone_o9_percent`: the same with 5 % of the zone, which is 20 % of the live pages, a
//!              round. With 5 % of the live pages 8 % of the first pages are still where they were at the end, some ten
//!              in each block of order 9: no allocator that leaves pages where they are can have many such blocks.
//!              `aged_o9_percent`: blocks of orders 0 to 10 (consecutive 1 bits of a random number, so each order has
//!              about as many pages) fill the zone to 90 %; then, as many times as there are blocks, one is freed at
//!              random and new ones are taken until 90 % is reached again; then half of them are freed at random. The
//!              mean of 8 seeds.

use core::hint::black_box;

use mm::addr::{PAGE_SIZE, Pfn};
use mm::gfp::GfpFlags;
use mm::migrate::MigrateType;
use mm::order::Order;
use mm::platform::PhysMap;
use mm::zone::ZoneType;

use super::Wanted;
use super::pages::order_of;
use super::rng::Xorshift32;
use crate::ram::RAM;
use crate::system::{System, Zone, Zones};

/// Of the zone, what is taken at first and what of that stays, in percent.
pub(super) const FILL: u32 = 90;
pub(super) const LIVE: u32 = 25;
pub(super) const ROUNDS: u32 = 50;
/// Of the live pages or of the zone, what changes hands in a round, in percent.
pub(super) const SHARE: u32 = 5;
/// Runs of the aged row.
const SEEDS: u32 = 8;
/// Tries to place a block before the zone counts as full.
const TRIES: u32 = 64;

/// Prints the rows.
pub(super) fn run(system: &System, wanted: Wanted<'_>) {
    let names = ["churn_o9_percent", "churn_zone_o9_percent", "aged_o9_percent"];
    if !names.iter().any(|name| wanted.has(name)) {
        return;
    }
    let zones = system.booted.mm.allocator();
    let Some(zone) = zones.zones().iter().find(|zone| zone.name().zone == ZoneType::Normal) else { return };
    let Some((block, order, array)) = take_array(zones, pages_of(zone)) else {
        log::error!("bench: no memory for the frame numbers of a zone");
        return;
    };
    let mut use_ = Use { zones, zone, live: array, count: 0, pages: 0, chance: Xorshift32::new() };
    for name in names.iter().filter(|name| wanted.has(name)) {
        let (large, free) = match *name {
            "churn_o9_percent" => use_.churn(|live| live * SHARE / 100),
            "churn_zone_o9_percent" => use_.churn(|_| pages_of(zone) * SHARE / 100),
            _ => use_.aged_many(),
        };
        // A row has two digits behind the point.
        wanted.row(format_args!("{name}"), large.saturating_mul(100), free);
    }
    let _ = zones.free_pages(block, order);
}

/// Ordinary requests; a failure is no news here.
pub(super) const GFP: GfpFlags = GfpFlags::GFP_KERNEL.union(GfpFlags::NOWARN).union(GfpFlags::NORETRY);

/// Pages of a zone that ordinary requests can have.
pub(super) fn pages_of(zone: &Zone) -> u32 {
    let stats = zone.stats();
    stats.managed.saturating_sub(stats.cma)
}

/// Pages of free blocks of order 9 and 10, and of all free blocks, when the pagesets are empty.
pub(super) fn large_and_free(zone: &Zone) -> (u32, u32) {
    let large = Order::all().filter(|order| order.raw() >= 9).flat_map(|order| {
        let kinds = MigrateType::ALL.into_iter().filter(|kind| *kind != MigrateType::Cma);
        kinds.map(move |kind| zone.free_blocks(order, kind) * order.pages())
    });
    let counts = zone.stats().counts;
    (large.sum(), counts.free.saturating_sub(counts.cma))
}

/// Room for a word for each page of a zone, in one block.
pub(super) fn take_array(zones: &Zones, pages: u32) -> Option<(Pfn, Order, &'static mut [u32])> {
    let order = Order::covering(pages.checked_mul(4)?.div_ceil(PAGE_SIZE))?;
    let block = zones.alloc_pages(GfpFlags::GFP_KERNEL | GfpFlags::ZERO, order).ok()?;
    let bytes = RAM.frames_ptr(block, order.pages())?;
    // SAFETY: the block was just allocated from lowmem and zeroed, and holds that many words; `run` frees it when the
    // slice is out of use.
    let words = unsafe { core::slice::from_raw_parts_mut(bytes.cast::<u32>().as_ptr(), pages as usize) };
    Some((block, order, words))
}

/// A zone in use: the live blocks in the front of `live`, each as its frame number times 16 and its order.
struct Use<'a> {
    zones: &'a Zones,
    zone: &'a Zone,
    live: &'a mut [u32],
    count: usize,
    /// In all live blocks.
    pages: u32,
    chance: Xorshift32,
}

impl Use<'_> {
    /// Allocates a block; `false` when there is none, or no room to remember it.
    fn take(&mut self, order: Order) -> bool {
        let Some(place) = self.live.get_mut(self.count) else { return false };
        let Ok(pfn) = self.zones.alloc_pages(black_box(GFP), order) else { return false };
        *place = pfn.raw() << 4 | order.log2();
        self.count += 1;
        self.pages += order.pages();
        true
    }

    /// Frees a block of chance.
    fn free_one(&mut self) {
        let Some(last) = self.count.checked_sub(1) else { return };
        let victim = self.chance.below(self.count);
        self.live.swap(victim, last);
        let Some(word) = self.live.get(last) else { return };
        let order = order_of(word & 0xf);
        // A refused free would have been reported on the console by the allocator.
        let _ = self.zones.free_pages(Pfn::new(word >> 4), order);
        self.count = last;
        self.pages -= order.pages();
    }

    fn free_all(&mut self) {
        while self.count > 0 {
            self.free_one();
        }
        self.zones.drain_local();
    }

    /// Churn by single pages; `share` of the live pages says how many change hands in a round.
    fn churn(&mut self, share: impl Fn(u32) -> u32) -> (u32, u32) {
        self.chance = Xorshift32::new();
        let managed = pages_of(self.zone);
        while self.pages < managed / 100 * FILL && self.take(Order::ZERO) {}
        while self.pages > managed / 100 * LIVE {
            self.free_one();
        }
        let live = self.pages;
        for _ in 0..ROUNDS {
            (0..share(live)).for_each(|_| self.free_one());
            while self.pages < live && self.take(Order::ZERO) {}
        }
        self.zones.drain_local();
        let result = large_and_free(self.zone);
        self.free_all();
        result
    }

    /// The sums of [`Self::aged`] over some seeds.
    fn aged_many(&mut self) -> (u32, u32) {
        let mut sum = (0, 0);
        for seed in 1..=SEEDS {
            self.chance = Xorshift32::from(seed.wrapping_mul(0x9e37_79b9));
            let (large, free) = self.aged();
            // A hundredth is what the row shows; shares, not pages, have a mean.
            let share = (u64::from(large) * 10_000).checked_div(u64::from(free)).unwrap_or(0);
            sum = (sum.0 + u32::try_from(share).unwrap_or(0), sum.1 + 10_000);
        }
        sum
    }

    /// Takes blocks of mixed orders until `pages` are live.
    fn fill(&mut self, pages: u32) {
        let mut tries = TRIES;
        while self.pages < pages && tries > 0 {
            let order = order_of(self.chance.next().trailing_ones());
            tries = if self.take(order) { TRIES } else { tries - 1 };
        }
    }

    fn aged(&mut self) -> (u32, u32) {
        let full = pages_of(self.zone) / 100 * FILL;
        self.fill(full);
        for _ in 0..self.count {
            self.free_one();
            self.fill(full);
        }
        for _ in 0..self.count / 2 {
            self.free_one();
        }
        self.zones.drain_local();
        let result = large_and_free(self.zone);
        self.free_all();
        result
    }
}
