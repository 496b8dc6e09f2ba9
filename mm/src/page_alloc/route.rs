//! Where a request for a single page goes first, by its flags, in two look-ups.
//!
//! Theory.      The five flags that choose zone and migrate type make 32 combinations. For each, the first zone of the
//!              local node's zonelist and the type are found when the allocator is built. A combination that no zone
//!              serves, or that contradicts itself, leads nowhere: then the long way finds out why.
#![forbid(unsafe_code)]

use crate::buddy::FreeCore;
use crate::gfp::GfpFlags;
use crate::migrate::MigrateType;
use crate::order::Order;
use crate::page_alloc::PageAllocator;
use crate::sync::CurrentCpu;

/// Bit 4 of a combination is `RECLAIMABLE`, the others are the zone bits as they are.
const RECLAIMABLE_SHIFT: u32 = GfpFlags::RECLAIMABLE.bits().trailing_zeros() - 4;
const COMBINATIONS: usize = 32;
/// The index of a zone that is not there.
const NOWHERE: u8 = u8::MAX;

/// The first zone, as an index into the allocator's, and the type of each combination.
#[derive(Debug)]
pub(super) struct Routes {
    zone: [u8; COMBINATIONS],
    kind: [MigrateType; COMBINATIONS],
}

impl Default for Routes {
    fn default() -> Self {
        Self { zone: [NOWHERE; COMBINATIONS], kind: [MigrateType::Unmovable; COMBINATIONS] }
    }
}

impl Routes {
    /// The index of the first zone for these flags, out of range if there is none, and the type.
    #[inline]
    pub(super) fn of(&self, gfp: GfpFlags) -> (usize, MigrateType) {
        let combination = gfp.bits() & GfpFlags::ZONE_MASK.bits() | gfp.bits() >> RECLAIMABLE_SHIFT & 0x10;
        let index = combination as usize % COMBINATIONS;
        (usize::from(self.zone[index]), self.kind[index])
    }
}

const _: () = assert!(GfpFlags::ZONE_MASK.bits() == 0xf);

impl<'m, M: CurrentCpu, C: FreeCore<'m>> PageAllocator<'m, M, C> {
    /// Finds the routes; until then every request takes the long way.
    pub(super) fn build_routes(&mut self) {
        for combination in 0..COMBINATIONS {
            let zone_bits = GfpFlags::from_bits_retain(combination as u32 & 0xf);
            let gfp = if combination & 0x10 == 0 { zone_bits } else { zone_bits | GfpFlags::RECLAIMABLE };
            let Ok(request) = self.request(gfp, Order::ZERO) else { continue };
            let list = &self.zonelists[self.local.index()];
            let Some(first) = list.refs().iter().find(|zone| zone.zone <= request.highest) else { continue };
            let index = self.by_tag[crate::memmap::ZoneTag::from(*first).index()];
            self.routes.zone[combination] = index;
            self.routes.kind[combination] = request.kind;
        }
    }
}
