//! Machines started in one call, and pages by their addresses.

use std::boxed::Box;

use super::*;
use crate::addr::{NodeId, PAGE_SIZE, Pfn, VirtAddr};
use crate::buddy::{Classic, Compact, FreeError};
use crate::gfp::GfpFlags;
use crate::layout::{LinearMap, PAGE_OFFSET};
use crate::memblock::{Region, RegionFlags};
use crate::memmap::PageState;
use crate::order::Order;
use crate::page_alloc::{AllocError, OwnedPages};
use crate::testing::{FakeRam, HostIrq, small_machine};
use crate::zone::{ZoneRef, ZoneType};

const MIB: u64 = 1 << 20;

fn bytes(start: u64, mib: u64) -> PhysRange {
    PhysRange::sized(PhysAddr::new(start), mib * MIB).unwrap()
}

/// RAM of two banks with a hole, of which all but the last 8 MiB is lowmem and the first MiB is taken.
fn paged() -> (PagedMm<'static>, &'static FakeRam) {
    let banks = [bytes(0x8000_0000, 24), bytes(0x8200_0000, 16)];
    let ram: &FakeRam = Box::leak(Box::new(FakeRam::new(&banks)));
    let list = || Box::leak(Box::new([Region::EMPTY; 16])).as_mut_slice();
    let mut early = EarlyMm::new(Memblock::new(list(), list()));
    for bank in banks {
        early.memblock().add(bank).unwrap();
    }
    early.memblock().reserve(bytes(0x8000_0000, 1)).unwrap();
    early.memblock().mark_nomap(bytes(0x8200_0000, 1)).unwrap();
    let linear = LinearMap::new(PAGE_OFFSET, PhysAddr::new(0x8000_0000), PhysAddr::new(0x8280_0000)).unwrap();
    (early.paged(VirtualLayout::new(linear)), ram)
}

/// The sizes that follow from the machine of [`paged`], whatever the core.
fn holds<C: FreeCore<'static>>(setup: &Setup) -> Mm<'static, HostIrq, C> {
    let (paged, ram) = paged();
    let mm: Mm<'static, HostIrq, C> = paged.start(ram, setup).unwrap();
    let tally = mm.validate().unwrap();
    let sum = tally.free + tally.pageset + tally.reserved;
    // 24 + 16 MiB; reserved is the first MiB, the no-map one, and the arrays: 32 bytes for each of 0x2c00 pages and
    // more.
    assert_eq!((sum, tally.allocated), (40 * 256, 0));
    assert!((512 + 88..512 + 128).contains(&tally.reserved), "{tally:?}");
    assert_eq!(mm.allocator().map().state(Pfn::new(0x8_2000)), Some(PageState::Reserved));
    assert_eq!(mm.allocator().map().state(Pfn::new(0x8_1800)), Some(PageState::Hole));
    mm
}

#[test]
fn one_call_starts_the_allocator_on_either_core() {
    for cpus in [0, 1, 3] {
        let setup = Setup { cpus, ..Setup::default() };
        let classic = holds::<Classic<'static>>(&setup);
        let compact = holds::<Compact<'static>>(&setup);
        assert!(classic.allocator().zones().iter().all(|zone| zone.pagesets().len() == cpus));
        assert!(compact.allocator().zones().iter().all(|zone| zone.pagesets().len() == cpus));
    }
}

#[test]
fn the_zones_have_the_setups_limits_and_linuxs_watermarks() {
    let setup = Setup { dma_limit: Some(PhysAddr::new(0x8080_0000)), ..Setup::default() };
    let mm = holds::<Classic<'static>>(&setup);
    let zone = |zone| mm.allocator().zone(ZoneRef { node: NodeId::ZERO, zone }).unwrap().stats();
    // 8 MiB below the limit, lowmem from there on, 8 MiB above lowmem.
    let present = [ZoneType::Dma, ZoneType::Normal, ZoneType::HighMem].map(|kind| zone(kind).present);
    assert_eq!(present, [8 * 256, 24 * 256, 8 * 256]);
    let managed = zone(ZoneType::Dma).managed + zone(ZoneType::Normal).managed;
    let min = zone(ZoneType::Dma).marks.min + zone(ZoneType::Normal).marks.min;
    // 4·√(lowmem in KiB) KiB, shared out to whole pages.
    let expected = (u64::from(managed) * 4 * 16).isqrt() / 4;
    assert!(u64::from(min) <= expected && expected <= u64::from(min) + 2, "{min} of {expected}");
    assert_eq!(zone(ZoneType::HighMem).marks.min, 32);
}

#[test]
fn a_machine_too_small_for_its_arrays_says_which_did_not_fit() {
    let ram = FakeRam::of_mib(8);
    let (mut memory, mut reserved) = ([Region::EMPTY; 8], [Region::EMPTY; 8]);
    let mut early = EarlyMm::new(Memblock::new(&mut memory, &mut reserved));
    early.memblock().add(bytes(0x8000_0000, 8)).unwrap();
    early.memblock().reserve(PhysRange::new(PhysAddr::new(0x8000_8000), PhysAddr::new(0x8080_0000))).unwrap();
    let linear = LinearMap::new(PAGE_OFFSET, PhysAddr::new(0x8000_0000), PhysAddr::new(0x8080_0000)).unwrap();
    let started = early.paged(VirtualLayout::new(linear)).start::<HostIrq, Classic<'_>>(&ram, &Setup::default());
    // 2,048 pages of 32 bytes each; 32 KiB are free.
    assert_eq!(started.unwrap_err(), StartError::NoMemory { what: "the memory map", bytes: 65_536 });
}

#[test]
fn a_machine_without_memory_has_no_zones() {
    let ram = FakeRam::new(&[]);
    let early = EarlyMm::new(Memblock::new(&mut [], &mut []));
    let linear = LinearMap::new(PAGE_OFFSET, PhysAddr::new(0x8000_0000), PhysAddr::new(0x8080_0000)).unwrap();
    let started = early.paged(VirtualLayout::new(linear)).start::<HostIrq, Classic<'_>>(&ram, &Setup::default());
    assert_eq!(started.unwrap_err(), StartError::Plan(crate::zone::plan::PlanError::NoMemory));
}

#[test]
fn hot_pluggable_memory_is_of_the_plan() {
    let ram = FakeRam::of_mib(16);
    let (mut memory, mut reserved) = ([Region::EMPTY; 8], [Region::EMPTY; 8]);
    let mut early = EarlyMm::new(Memblock::new(&mut memory, &mut reserved));
    early.memblock().add_node(bytes(0x8000_0000, 16), NodeId::ZERO, RegionFlags::HOTPLUG).unwrap();
    let linear = LinearMap::new(PAGE_OFFSET, PhysAddr::new(0x8000_0000), PhysAddr::new(0x8100_0000)).unwrap();
    let mm: Mm<'_, HostIrq> = early.paged(VirtualLayout::new(linear)).start(&ram, &Setup::default()).unwrap();
    let tally = mm.validate().unwrap();
    assert_eq!(tally.free + tally.pageset + tally.reserved, 16 * 256);
}

#[test]
fn an_address_is_its_pages_and_frees_it() {
    let ram = FakeRam::of_mib(16);
    let mm: Mm<'_, HostIrq> = small_machine(&ram);
    let before = mm.validate().unwrap();
    let address = mm.get_free_pages(GfpFlags::GFP_KERNEL, Order::new(2).unwrap()).unwrap();
    let pfn = mm.virt_to_pfn(address).unwrap();
    assert_eq!(mm.allocator().map().state(pfn), Some(PageState::Allocated(Order::new(2).unwrap())));
    assert_eq!(mm.page_address(pfn), Some(address));
    assert_eq!(address.raw() - PAGE_OFFSET.raw(), (pfn.raw() - 0x8_0000) * PAGE_SIZE);
    let wrong = FreeError::WrongOrder { pfn, order: Order::ZERO, found: Order::new(2).unwrap() };
    assert_eq!(mm.free_page(address), Err(AddressError::Free(wrong)));
    mm.free_pages(address, Order::new(2).unwrap()).unwrap();
    mm.allocator().drain_all();
    assert_eq!(mm.validate().unwrap().allocated, before.allocated);
}

#[test]
fn a_zeroed_page_by_address_is_zeroed() {
    let ram = FakeRam::of_mib(16);
    let mm: Mm<'_, HostIrq> = small_machine(&ram);
    let mut dirty = OwnedPages::alloc(mm.allocator(), GfpFlags::GFP_KERNEL, Order::ZERO).unwrap();
    dirty.bytes_mut().unwrap().fill(0xff);
    let pfn = dirty.pfn();
    drop(dirty);
    // The hot end of the pageset gives the same page again.
    let address = mm.get_zeroed_page(GfpFlags::GFP_KERNEL).unwrap();
    assert_eq!(mm.virt_to_pfn(address), Some(pfn));
    // SAFETY: the page was just allocated for us.
    let page = unsafe { OwnedPages::from_raw(mm.allocator(), pfn, Order::ZERO) }.unwrap();
    assert_eq!(page.bytes().unwrap(), [0; PAGE_SIZE as usize]);
}

#[test]
fn an_address_is_not_asked_for_in_highmem_nor_made_up() {
    let mm = holds::<Classic<'static>>(&Setup::default());
    let (gfp, order) = (GfpFlags::GFP_KERNEL | GfpFlags::HIGHMEM, Order::new(1).unwrap());
    let error = mm.get_free_pages(gfp, order).unwrap_err();
    assert_eq!(error, AddressError::HighMem { gfp, order });
    assert_eq!(std::format!("{error}"), "a block of order 1 with flags 0xd2 may be in highmem and has no address then");
    assert_eq!(mm.validate().unwrap().allocated, 0);
    // In highmem, in the hole, not on a page's border, outside.
    assert_eq!(mm.page_address(Pfn::new(0x8_2800)), None);
    assert_eq!(mm.page_address(Pfn::new(0x8_1800)), None);
    for address in [PAGE_OFFSET.raw() + 0x180_0000, PAGE_OFFSET.raw() + 4, 0x1000].map(VirtAddr::new) {
        assert_eq!(mm.free_page(address), Err(AddressError::NoPage(address)));
    }
    let most = mm.get_free_pages(GfpFlags::DMA | GfpFlags::DMA32, Order::ZERO).unwrap_err();
    assert!(matches!(most, AddressError::Alloc(AllocError::Flags(_))), "{most}");
}
