//! The short way of single pages: from flags, or from a page, to this CPU's pageset without a look at the zone.
//!
//! Theory.      The five flags that choose zone and migrate type make 32 combinations. For each, the first zone of the
//!              local node's zonelist and the type are found when the allocator is built. A combination that no zone
//!              serves, or that contradicts itself, leads nowhere: then the long way finds out why. A lane is what a
//!              hit needs of a zone.
//! Invariants.  A lane has its zone's pagesets and usemap, or none of either.
#![forbid(unsafe_code)]

use core::sync::atomic::Ordering::Relaxed;

use crate::addr::Pfn;
use crate::buddy::FreeCore;
use crate::gfp::GfpFlags;
use crate::memmap::{StateWord, Usemap, ZoneTag};
use crate::migrate::MigrateType;
use crate::order::Order;
use crate::page_alloc::{PageAllocator, Pageset};
use crate::sync::{CurrentCpu, IrqOff};

/// Bit 4 of a combination is `RECLAIMABLE`, the others are the zone bits as they are.
const RECLAIMABLE_SHIFT: u32 = GfpFlags::RECLAIMABLE.bits().trailing_zeros() - 4;
const COMBINATIONS: usize = 32;
/// Lanes by [`ZoneTag::index`], and more that are always empty.
pub(super) const LANES: usize = 2 * ZoneTag::COUNT;
/// The number of a lane that is always empty.
const NOWHERE: u8 = 16;
const _: () = assert!(NOWHERE as usize == ZoneTag::COUNT);

/// What a hit needs of a zone.
#[derive(Debug)]
pub(super) struct Lane<'m> {
    pub(super) sets: &'m [Pageset<'m>],
    pub(super) usemap: Usemap<'m>,
}

impl Lane<'_> {
    /// That of a zone without pagesets.
    pub(super) const EMPTY: Self = Self { sets: &[], usemap: Usemap::EMPTY };
}

/// The first zone's lane and the type of each combination.
#[derive(Debug)]
pub(super) struct Routes {
    lane: [u8; COMBINATIONS],
    kind: [MigrateType; COMBINATIONS],
}

impl Default for Routes {
    fn default() -> Self {
        Self { lane: [NOWHERE; COMBINATIONS], kind: [MigrateType::Unmovable; COMBINATIONS] }
    }
}

impl Routes {
    /// The number of the first zone's lane for these flags, and the type.
    #[inline]
    pub(super) fn of(&self, gfp: GfpFlags) -> (usize, MigrateType) {
        let combination = gfp.bits() & GfpFlags::ZONE_MASK.bits() | gfp.bits() >> RECLAIMABLE_SHIFT & 0x10;
        let index = combination as usize % COMBINATIONS;
        (usize::from(self.lane[index]) % LANES, self.kind[index])
    }
}

const _: () = assert!(GfpFlags::ZONE_MASK.bits() == 0xf);

impl<'m, M: CurrentCpu, C: FreeCore<'m>> PageAllocator<'m, M, C> {
    /// Finds the routes; until then every request takes the long way.
    pub(super) fn build_routes(&mut self) {
        for (combination, bits) in (0..COMBINATIONS).zip(0u32..) {
            let zone_bits = GfpFlags::from_bits_retain(bits & 0xf);
            let gfp = if combination & 0x10 == 0 { zone_bits } else { zone_bits | GfpFlags::RECLAIMABLE };
            let Ok(request) = self.request(gfp, Order::ZERO) else { continue };
            let list = &self.zonelists[self.local.index()];
            let Some(first) = list.refs().iter().find(|zone| zone.zone <= request.highest) else { continue };
            // `THISNODE` looks no different: where another node comes first, there is no short way.
            if first.node != self.local {
                continue;
            }
            self.routes.lane[combination] = u8::try_from(ZoneTag::from(*first).index()).unwrap_or(NOWHERE);
            self.routes.kind[combination] = request.kind;
        }
    }

    /// Whether anything besides allocating is switched on.
    #[inline]
    fn has_hooks(&self) -> bool {
        self.hooks.load(Relaxed) != 0
    }

    /// Pops a page from this CPU's pageset of the zone that the flags prefer; `None` when it is not that easy.
    #[inline(always)]
    pub(super) fn alloc_hit(&self, gfp: GfpFlags, order: Order) -> Option<Pfn> {
        let gfp = gfp & GfpFlags::from_bits_retain(self.allowed.load(Relaxed));
        if order != Order::ZERO || gfp.intersects(GfpFlags::ZERO.union(GfpFlags::COLD)) || self.has_hooks() {
            return None;
        }
        let (lane, kind) = self.routes.of(gfp);
        let _irq = IrqOff::<M>::new();
        let set = self.lanes[lane].sets.get(M::current_cpu().index())?;
        let pfn = set.pop_allowed(kind)?;
        let page = self.map.at(pfn);
        if page.word() != StateWord::pageset(Order::ZERO) {
            broken_stock(pfn, page.word());
        }
        page.set_word(StateWord::allocated(Order::ZERO));
        Some(pfn)
    }

    /// Takes a block of order 1 or more from the zone that the flags prefer if that has plenty; `None` when it is not
    /// that easy.
    #[inline]
    pub(super) fn alloc_easy(&self, gfp: GfpFlags, order: Order) -> Option<Pfn> {
        let gfp = gfp & GfpFlags::from_bits_retain(self.allowed.load(Relaxed));
        if order == Order::ZERO || gfp.contains(GfpFlags::ZERO) || self.has_hooks() {
            return None;
        }
        let (lane, kind) = self.routes.of(gfp);
        let index = self.by_tag.get(lane)?;
        self.zones.get(usize::from(*index))?.alloc_easy(order, kind)
    }

    /// Frees a page that has one owner into this CPU's pageset; `false`, and nothing done, when it is not that easy.
    #[inline(always)]
    pub(super) fn free_hit(&self, pfn: Pfn) -> bool {
        if self.has_hooks() {
            return false;
        }
        let Some(page) = self.map.page(pfn) else { return false };
        // A count of 1 is the caller's own reference: nobody else has one to pass on.
        if page.refcount.load(Relaxed) != 1 {
            return false;
        }
        let lane = &self.lanes[page.zone().index()];
        let _irq = IrqOff::<M>::new();
        let Some(set) = lane.sets.get(M::current_cpu().index()) else { return false };
        let Some(kind) = lane.usemap.stocked(pfn) else { return false };
        set.push_if(pfn, kind, C::GATHERS, || page.claim(Order::ZERO))
    }
}

/// A page of the stock that is not in the state of one: memory was overwritten, and going on would hand it out twice.
#[cold]
#[inline(never)]
#[expect(clippy::panic, reason = "a broken invariant of ours")]
pub(super) fn broken_stock(pfn: Pfn, word: StateWord) -> ! {
    panic!("pfn {pfn} is in a pageset, but its state is {word:?}");
}
