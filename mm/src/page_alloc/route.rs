//! The short way of small blocks: from flags, or from a page, to this CPU's pageset without a look at the zone.
//!
//! Theory.      The five flags that choose zone and migrate type make 32 combinations. For each, the first zone of the
//!              local node's zonelist that has pages, and the type, are found when the allocator gets its memory. A
//!              combination that no zone serves, or that contradicts itself, leads nowhere: then the long way finds out
//!              why. A block that is freed carries in its state word the type that it was allocated for: it goes back
//!              to that ring.
//! Invariants.  1. A lane has its zone's pagesets or none. 2. The flags that hits look at are those that
//!              [`PageAllocator::set_allowed_flags`] never takes away. 3. `first_lanes` has the first
//!              pageset of each of `lanes`.
#![forbid(unsafe_code)]

use crate::addr::Pfn;
use crate::buddy::FreeCore;
use crate::gfp::GfpFlags;
use crate::memmap::{StateWord, ZoneTag};
use crate::migrate::MigrateType;
use crate::order::Order;
use crate::page_alloc::pageset::{PAGESET_ORDER, RingIndex};
use crate::page_alloc::{PageAllocator, Pageset, Zone};
use crate::sync::{CurrentCpu, IrqOff};
use crate::zone::ZoneRef;

/// Bit 4 of a combination is `RECLAIMABLE`, the others are the zone bits as they are.
const RECLAIMABLE_SHIFT: u32 = GfpFlags::RECLAIMABLE.bits().trailing_zeros() - 4;
const COMBINATIONS: usize = 32;
/// Lanes by [`ZoneTag::index`], and more that are always empty.
pub(super) const LANES: usize = 2 * ZoneTag::COUNT;
/// Leads to a lane that is always empty.
const NOWHERE: u8 = 16 << 2;
/// What a hit cannot do.
const LONG_WAY: GfpFlags = GfpFlags::ZERO.union(GfpFlags::COLD).union(GfpFlags::COMP);

const _: () = assert!(NOWHERE as usize == ZoneTag::COUNT << 2 && LANES << 2 <= u8::MAX as usize);
const _: () = assert!(GfpFlags::ZONE_MASK.bits() == 0xf);

/// For each combination of flags where it leads.
#[derive(Debug)]
pub(super) struct Routes {
    /// The lane of the first zone, and in the lower two bits the type.
    lanes: [u8; COMBINATIONS],
    /// The number of that zone; out of range where there is none.
    zones: [u8; COMBINATIONS],
}

impl Default for Routes {
    fn default() -> Self {
        Self { lanes: [NOWHERE; COMBINATIONS], zones: [u8::MAX; COMBINATIONS] }
    }
}

impl Routes {
    #[inline]
    fn combination(gfp: GfpFlags) -> usize {
        let bits = gfp.bits() & GfpFlags::ZONE_MASK.bits() | gfp.bits() >> RECLAIMABLE_SHIFT & 0x10;
        bits as usize % COMBINATIONS
    }

    /// The number of the first zone's lane for these flags, and the bits of the type.
    #[inline]
    pub(super) fn of(&self, gfp: GfpFlags) -> (usize, u32) {
        let route = self.lanes[Self::combination(gfp)];
        (usize::from(route >> 2) % LANES, u32::from(route & 3))
    }

    /// The number of the first zone for these flags, and the type.
    #[inline]
    fn zone_of(&self, gfp: GfpFlags) -> (usize, MigrateType) {
        let combination = Self::combination(gfp);
        (usize::from(self.zones[combination]), kind_of(self.lanes[combination].into()))
    }
}

/// The type that the bits of a route stand for.
#[inline]
const fn kind_of(bits: u32) -> MigrateType {
    match MigrateType::new(bits & 3) {
        Some(kind) => kind,
        None => MigrateType::Movable,
    }
}

impl<'m, M: CurrentCpu, C: FreeCore<'m>> PageAllocator<'m, M, C> {
    /// Finds the routes; until then every request takes the long way. A zone that was given no page serves nobody, as
    /// the highmem of a machine where all of it is set aside.
    pub(super) fn build_routes(&mut self) {
        for (combination, bits) in (0..COMBINATIONS).zip(0u32..) {
            let zone_bits = GfpFlags::from_bits_retain(bits & 0xf);
            let gfp = if combination & 0x10 == 0 { zone_bits } else { zone_bits | GfpFlags::RECLAIMABLE };
            let Ok(request) = self.request(gfp, Order::ZERO) else { continue };
            let list = &self.zonelists[self.local.index()];
            let serves = |entry: &&ZoneRef| {
                entry.zone <= request.highest && self.zone(**entry).is_some_and(|zone| zone.managed() > 0)
            };
            let Some(first) = list.refs().iter().find(serves) else { continue };
            // `THISNODE` looks no different: where another node comes first, there is no short way.
            if first.node != self.local {
                continue;
            }
            let tag = ZoneTag::from(*first).index();
            let lane = u8::try_from(tag).unwrap_or(NOWHERE);
            self.routes.lanes[combination] = lane << 2 | request.kind as u8;
            // Where mixed pageblocks raise the marks, each block that is not stocked yet is looked at on the long way.
            let is_easy = self.policies.watermark_boost == 0;
            let zone = self.by_tag.get(tag).copied().filter(|_| is_easy);
            self.routes.zones[combination] = zone.unwrap_or(u8::MAX);
        }
    }

    /// Sets a zone's pagesets.
    pub(super) fn set_lane(&mut self, zone: ZoneTag, pagesets: &'m [Pageset<'m>]) {
        self.first_lanes[zone.index()] = pagesets.first();
        self.lanes[zone.index()] = pagesets;
    }

    /// This CPU's pageset in a lane. Where there is one CPU only, the compiler knows which arm it is.
    #[inline(always)]
    fn lane(&self, lane: usize) -> Option<&'m Pageset<'m>> {
        match M::current_cpu().index() {
            0 => self.first_lanes[lane],
            cpu => self.lanes[lane].get(cpu),
        }
    }

    /// Takes a block that no pageset stocks from the zone that the flags prefer; `None` when it is not that easy.
    #[inline(never)]
    fn alloc_large(&self, gfp: GfpFlags, order: Order) -> Option<Pfn> {
        let (zone, kind) = self.easy_zone(gfp)?;
        zone.alloc_plenty(order, kind)
    }

    /// Pops a block from this CPU's pageset of the zone that the flags prefer; `None` when it is not that easy.
    #[inline(always)]
    pub(super) fn alloc_hit(&self, gfp: GfpFlags, order: Order) -> Option<Pfn> {
        if order > PAGESET_ORDER {
            return self.alloc_large(gfp, order);
        }
        if gfp.intersects(LONG_WAY) {
            return None;
        }
        let (lane, bits) = self.routes.of(gfp);
        let ring = RingIndex::new(order, bits);
        let _irq = IrqOff::<M>::new();
        let set = self.lane(lane)?;
        if !set.is_open(ring) {
            return None;
        }
        let pfn = set.pop_hot(ring)?;
        let page = self.map.at(pfn);
        if page.word() != StateWord::pageset(order) {
            broken_stock(pfn, page.word());
        }
        page.set_word(StateWord::allocated_for(order, bits));
        Some(pfn)
    }

    /// Takes a block for which there was no hit from the zone that the flags prefer if that has plenty, without the
    /// walk; `None` when it is not that easy.
    #[inline]
    pub(super) fn alloc_easy(&self, gfp: GfpFlags, order: Order) -> Option<Pfn> {
        if order > PAGESET_ORDER {
            return None;
        }
        let (zone, kind) = self.easy_zone(gfp)?;
        zone.alloc_easy(order, kind)
    }

    /// The zone that the flags prefer, and the type; `None` when every block of theirs takes the long way.
    #[inline]
    pub(super) fn easy_zone(&self, gfp: GfpFlags) -> Option<(&Zone<'m, C, M>, MigrateType)> {
        if gfp.intersects(LONG_WAY) || !self.hooks().is_empty() {
            return None;
        }
        let (index, kind) = self.routes.zone_of(gfp);
        Some((self.zones.get(index)?, kind))
    }

    /// Frees a block that no pageset stocks and that has one owner; `false`, and nothing done, when it is not that
    /// easy.
    #[inline(never)]
    fn free_large(&self, pfn: Pfn, order: Order) -> bool {
        let Some(page) = self.map.page(pfn).filter(|_| self.hooks().is_empty()) else { return false };
        let Some(zone) = self.zone_tagged(page.zone()) else { return false };
        if page.claim(order).is_none() {
            return false;
        }
        zone.give_back(pfn, order);
        true
    }

    /// Frees a block that has one owner into this CPU's pageset; `false`, and nothing done, when it is not that easy.
    #[inline(always)]
    pub(super) fn free_hit(&self, pfn: Pfn, order: Order) -> bool {
        if order > PAGESET_ORDER {
            return self.free_large(pfn, order);
        }
        let Some(page) = self.map.page(pfn) else { return false };
        let lane = page.zone().index();
        let _irq = IrqOff::<M>::new();
        let Some(set) = self.lane(lane) else { return false };
        set.push_hit(pfn, order, C::GATHERS, || page.claim(order).map(StateWord::kind_bits))
    }
}

/// A page of the stock that is not in the state of one: memory was overwritten, and going on would hand it out twice.
#[cold]
#[inline(never)]
#[expect(clippy::panic, reason = "a broken invariant of ours")]
pub(super) fn broken_stock(pfn: Pfn, word: StateWord) -> ! {
    panic!("pfn {pfn} is in a pageset, but its state is {word:?}");
}
