//! How much of the free memory lies in large blocks after long use by pages that may be moved, and what moving costs.
//!
//! Method.      `churn_movable_o9_percent` is `churn_o9_percent` ([`super::fragmentation`]) with pages whose owner lets
//!              them be moved, and with background compaction of the highest proactiveness after each round, as a
//!              daemon would run it. `compact_page` is what all its steps took a page that was moved: the scanners, the
//!              copy of the 4 KiB, the owner's part and the free of the old page.

use core::hint::black_box;
use core::sync::atomic::AtomicU32;
use core::sync::atomic::Ordering::Relaxed;

use mm::addr::{NodeId, Pfn};
use mm::gfp::GfpFlags;
use mm::order::Order;
use mm::page_alloc::{CompactStep, MigrationOps, MoveError, OwnerId};
use mm::sync::InitOnce;
use mm::zone::ZoneType;

use super::fragmentation::{FILL, GFP, LIVE, ROUNDS, SHARE, large_and_free, pages_of, take_array};
use super::rng::Xorshift32;
use super::{Wanted, count};
use crate::system::{System, Zone, Zones};
use crate::vm::Vm;

/// The frame number in each slot; 0 for none. A page's private word is its slot.
struct Slots {
    places: &'static [AtomicU32],
    vm: &'static Vm,
}

static SLOTS: InitOnce<Slots> = InitOnce::new();

impl MigrationOps for Slots {
    fn isolate_page(&self, _: Pfn, _: u32) -> bool {
        true
    }

    fn migrate_page(&self, old: Pfn, new: Pfn, slot: u32) -> Result<(), MoveError> {
        let place = self.places.get(slot as usize).ok_or(MoveError::Busy)?;
        // SAFETY: both pages are the owner's for the time of the move, and nobody else runs meanwhile.
        unsafe { self.vm.copy_highpage(new, old) }.map_err(|_| MoveError::Busy)?;
        place.store(new.raw(), Relaxed);
        Ok(())
    }

    fn putback_page(&self, _: Pfn, _: u32) {}
}

/// Prints the rows.
pub(super) fn run(system: &System, wanted: Wanted<'_>) {
    if !["churn_movable_o9_percent", "compact_page"].iter().any(|name| wanted.has(name)) {
        return;
    }
    let zones = system.booted.mm.allocator();
    let Some(zone) = zones.zones().iter().find(|zone| zone.name().zone == ZoneType::Normal) else { return };
    // The owner stays registered, and so its slots stay.
    let slots = take_array(zones, pages_of(zone)).and_then(|(_, _, places)| {
        // SAFETY: nobody else has the words, which are aligned and as large as an atomic; they are used as such from
        // now on.
        let places = unsafe { &*(core::ptr::from_mut(places) as *const [AtomicU32]) };
        SLOTS.set(Slots { places, vm: system.vm }).ok()
    });
    let Some((slots, owner)) = slots.and_then(|slots| Some((slots, zones.register_owner(slots)?))) else {
        log::error!("bench: no memory for the frame numbers of a zone, or no owner's place");
        return;
    };
    let mut use_ = Use { zones, zone, slots: slots.places, owner, live: 0, next: 0, chance: Xorshift32::new() };
    zones.set_compaction_proactiveness(100);
    let (large, free, moved, instructions) = use_.churn();
    zones.set_compaction_proactiveness(zones.policies().compaction_proactiveness);
    if wanted.has("churn_movable_o9_percent") {
        wanted.row(format_args!("churn_movable_o9_percent"), large.saturating_mul(100), free);
    }
    if wanted.has("compact_page") {
        wanted.row(format_args!("compact_page"), instructions, moved);
    }
}

/// A zone in use.
struct Use<'a> {
    zones: &'a Zones,
    zone: &'a Zone,
    slots: &'static [AtomicU32],
    owner: OwnerId,
    live: u32,
    /// The slot that is looked at first for a new page.
    next: usize,
    chance: Xorshift32,
}

impl Use<'_> {
    /// Allocates a movable page into the next slot that is empty.
    fn take(&mut self) -> bool {
        let empty = |at: &usize| self.slots.get(*at).is_some_and(|place| place.load(Relaxed) == 0);
        let Some(slot) = (self.next..self.slots.len()).chain(0..self.next).find(empty) else { return false };
        let Ok(pfn) = self.zones.alloc_pages(black_box(GFP | GfpFlags::MOVABLE), Order::ZERO) else { return false };
        let Some(place) = self.slots.get(slot) else { return false };
        place.store(pfn.raw(), Relaxed);
        // A refusal would have been reported on the console by the allocator.
        let _ = self.zones.set_movable(pfn, Order::ZERO, self.owner, u32::try_from(slot).unwrap_or(u32::MAX));
        self.next = slot + 1;
        self.live += 1;
        true
    }

    /// Frees the page in a slot, if there is one.
    fn free(&mut self, slot: usize) {
        let Some(frame) = self.slots.get(slot).map(|place| place.swap(0, Relaxed)).filter(|frame| *frame > 0) else {
            return;
        };
        let _ = self.zones.free_pages(Pfn::new(frame), Order::ZERO);
        self.live -= 1;
    }

    /// Frees pages of chance until `left` are live.
    fn free_to(&mut self, left: u32) {
        while self.live > left {
            let slot = self.chance.below(self.slots.len());
            self.free(slot);
        }
    }

    /// Pages in large blocks, and all free ones; pages that were moved, and the instructions for it.
    fn churn(&mut self) -> (u32, u32, u32, u32) {
        let percent = pages_of(self.zone) / 100;
        while self.live < percent * FILL && self.take() {}
        self.free_to(percent * LIVE);
        let live = self.live;
        let (mut moved, mut instructions) = (0, 0_u32);
        for _ in 0..ROUNDS {
            self.free_to(live - live * SHARE / 100);
            while self.live < live && self.take() {}
            instructions = instructions.saturating_add(count(|| moved += self.compact()));
        }
        self.zones.drain_local();
        let (large, free) = large_and_free(self.zone);
        (0..self.slots.len()).for_each(|slot| self.free(slot));
        self.zones.drain_local();
        (large, free, moved, instructions)
    }

    /// Steps until there is no more to do; how many pages were moved.
    fn compact(&self) -> u32 {
        let mut moved = 0;
        while let CompactStep::More { moved: pages } = self.zones.compact_step(NodeId::ZERO) {
            moved += pages;
        }
        moved
    }
}
