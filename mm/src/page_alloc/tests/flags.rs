//! Every combination of flags, on a machine with all four kinds of zone, at every depth of shortage.

use super::super::Core;
use crate::addr::{NodeId, Pfn};
use crate::buddy::model::{XorShift, range};
use crate::gfp::{GfpError, GfpFlags};
use crate::migrate::MigrateType;
use crate::order::Order;
use crate::page_alloc::tests::build::allocator_over;
use crate::page_alloc::{AllocError, Options, PageAllocator, Policies, ReservePolicy, Watermarks};
use crate::testing::HostIrq;
use crate::zone::{NodePlan, ZoneRef, ZoneSize, ZoneType};

type Allocator = PageAllocator<'static, HostIrq, Core>;

/// Borders of Dma, Normal, `HighMem` and Movable, at pageblocks' borders.
const BORDERS: [u32; 5] = [0x400, 0x800, 0xc00, 0x1000, 0x1400];
const MIN: u32 = 40;
/// Free pages of each zone, and what is below the mark there: nothing, `low`, `min`, that less a quarter, that less a
/// half, less both, and all.
const DEPTHS: [u32; 7] = [1024, 45, 35, 25, 18, 10, 0];

/// Bits that say how a request of one page is served, beside those of its zone.
const HOW: [GfpFlags; 12] = [
    GfpFlags::RECLAIMABLE,
    GfpFlags::WAIT,
    GfpFlags::HIGH,
    GfpFlags::MEMALLOC,
    GfpFlags::NOMEMALLOC,
    GfpFlags::NO_KSWAPD,
    GfpFlags::NORETRY,
    GfpFlags::NOFAIL,
    GfpFlags::THISNODE,
    GfpFlags::COLD,
    GfpFlags::COMP,
    GfpFlags::ZERO,
];

/// Bits that change nothing where there is one node, nobody who frees memory and nothing to tell.
const ELSE: GfpFlags = GfpFlags::IO
    .union(GfpFlags::FS)
    .union(GfpFlags::NOWARN)
    .union(GfpFlags::REPEAT)
    .union(GfpFlags::HARDWALL)
    .union(GfpFlags::NOTRACK)
    .union(GfpFlags::OTHER_NODE)
    .union(GfpFlags::WRITE);

fn machine() -> Allocator {
    let mut zones = [ZoneSize::default(); 4];
    for (zone, border) in zones.iter_mut().zip(BORDERS.windows(2)) {
        let span = range(border[0], border[1]);
        *zone = ZoneSize { span, present: span.pages(), real_size: span.pages() };
    }
    let all = range(BORDERS[0], BORDERS[4]);
    let list = ZoneType::ALL.map(|zone| ZoneRef { node: NodeId::ZERO, zone });
    let [dma, normal, high, movable] = list;
    let options =
        Options { policies: Policies { reserve: ReservePolicy::Off, ..Policies::default() }, ..Options::default() };
    let plan = NodePlan { node: NodeId::ZERO, span: all, zones };
    let mut machine = allocator_over(plan, [all], &[movable, high, normal, dma], options);
    machine.free_all([all], []).unwrap();
    for zone in list {
        machine.set_watermarks(zone, &Watermarks { min: MIN, low: 50, high: 60, lowmem_reserve: [0; 4] });
    }
    machine
}

/// Leaves `free` pages in each zone.
fn deplete(machine: &Allocator, free: u32) {
    for zone in machine.zones() {
        let top = match zone.name().zone {
            ZoneType::Dma => GfpFlags::DMA,
            ZoneType::Normal => GfpFlags::empty(),
            ZoneType::HighMem => GfpFlags::HIGHMEM,
            ZoneType::Movable => GfpFlags::HIGHMEM | GfpFlags::MOVABLE,
        };
        while zone.stats().counts.free > free {
            machine.alloc_page(top | GfpFlags::MEMALLOC).unwrap();
        }
    }
}

/// The highest zone for the four lowest bits: Linux's comment on `GFP_ZONE_TABLE`, line by line.
fn zone_of(bits: u32) -> Option<ZoneType> {
    use ZoneType::{Dma, HighMem, Movable, Normal};
    match bits & 0xf {
        0x0 | 0x4 | 0x8 | 0xc => Some(Normal),
        0x1 | 0x9 => Some(Dma),
        0x2 => Some(HighMem),
        0xa => Some(Movable),
        _ => None,
    }
}

/// What a request of one page must come to when each zone has `free` pages: its zone, or the error.
fn expected(gfp: GfpFlags, free: u32) -> Result<ZoneType, AllocError> {
    let zone = zone_of(gfp.bits()).ok_or(AllocError::Flags(GfpError::ZoneConflict(gfp)))?;
    if gfp.contains(GfpFlags::MOVABLE | GfpFlags::RECLAIMABLE) {
        return Err(AllocError::Flags(GfpError::MobilityConflict(gfp)));
    }
    let has = |flag| gfp.contains(flag);
    let cannot_wait = !has(GfpFlags::WAIT) && !has(GfpFlags::NO_KSWAPD);
    let mut mark = MIN;
    if has(GfpFlags::HIGH) {
        mark -= mark / 2;
    }
    if cannot_wait && !has(GfpFlags::NOMEMALLOC) {
        mark -= mark / 4;
    }
    if has(GfpFlags::MEMALLOC) && !has(GfpFlags::NOMEMALLOC) {
        mark = 0;
    }
    let order = Order::ZERO;
    match (free > mark, has(GfpFlags::ZERO), has(GfpFlags::NOFAIL)) {
        (true, false, _) => Ok(zone),
        // These frames have no bytes.
        (true, true, _) => Err(AllocError::Unreachable { pfn: Pfn::new(0), order }),
        (false, _, true) => Err(AllocError::MustNotFail { gfp, order }),
        (false, _, false) => Err(AllocError::NoMemory { gfp, order }),
    }
}

fn zone_at(pfn: Pfn) -> ZoneType {
    let mut zones = ZoneType::ALL.into_iter().zip(BORDERS);
    zones.rfind(|(_, border)| *border <= pfn.raw()).unwrap().0
}

/// The error without the frame.
fn anywhere(error: AllocError) -> AllocError {
    match error {
        AllocError::Unreachable { order, .. } => AllocError::Unreachable { pfn: Pfn::new(0), order },
        error => error,
    }
}

#[test]
fn every_combination_of_flags_is_served_from_its_zone_by_its_rights_or_refused_with_its_name() {
    let mut chance = XorShift(0x1234_5678);
    for free in DEPTHS {
        let machine = machine();
        deplete(&machine, free);
        let before: u32 = machine.zones().iter().map(|zone| zone.stats().counts.free).sum();
        assert_eq!(before, 4 * free);
        for number in 0..1_u32 << (4 + HOW.len()) {
            let how = HOW.iter().zip(4..).filter(|(_, bit)| number >> bit & 1 != 0);
            let how = how.fold(GfpFlags::from_bits_retain(number & 0xf), |all, (flag, _)| all | *flag);
            let gfp = how | (GfpFlags::from_bits_retain(chance.next()) & ELSE);
            let found = machine.alloc_page(gfp);
            assert_eq!(found.map(zone_at).map_err(anywhere), expected(gfp, free), "{gfp:?} with {free} free");
            if let Ok(pfn) = found {
                machine.free_pages(pfn, Order::ZERO).unwrap();
            }
        }
        let after: u32 = machine.zones().iter().map(|zone| zone.stats().counts.free).sum();
        assert_eq!(after, before);
        machine.validate().unwrap();
    }
}

#[test]
fn every_set_of_flags_has_the_zone_and_the_type_that_its_own_bits_say() {
    for bits in 0..0x200_0000_u32 {
        let gfp = GfpFlags::from_bits_retain(bits);
        assert_eq!(gfp.zone().ok(), zone_of(bits));
        let kind = match (bits & 0x8 != 0, bits & 0x8_0000 != 0) {
            (false, false) => Some(MigrateType::Unmovable),
            (false, true) => Some(MigrateType::Reclaimable),
            (true, false) => Some(MigrateType::Movable),
            (true, true) => None,
        };
        assert_eq!(gfp.migrate_type().ok(), kind);
    }
}
