//! Contiguous ranges: what a free of one says, and where pages go that make way for one.

use std::vec::Vec;

use super::fixture::{HIGH, Machine, NORMAL};
use super::owners::{Lent, snapshot};
use super::services::{Context, Wakes, leak};
use crate::addr::Pfn;
use crate::buddy::FreeError;
use crate::buddy::model::range;
use crate::gfp::GfpFlags;
use crate::migrate::MigrateType;
use crate::order::Order;
use crate::page_alloc::{ContigError, Scopes, Services, Watermarks};
use crate::testing::capture_log;

#[test]
fn a_range_is_freed_whole_or_the_page_in_the_way_is_named() {
    let machine = Machine::full();
    let wanted = range(0x900, 0x910);
    machine.alloc_contig_range(wanted).unwrap();
    let page = Pfn::new(0x90a);
    let refusal = || {
        let before = snapshot(&machine);
        let error = machine.free_contig_range(wanted);
        assert!(snapshot(&machine) == before);
        error
    };
    machine.get_page(page).unwrap();
    assert_eq!(refusal(), Err(FreeError::NotReferenced { pfn: page, count: 2 }));
    machine.put_page(page).unwrap();
    machine.add_mapping(page).unwrap();
    assert_eq!(refusal(), Err(FreeError::Mapped { pfn: page, count: 1 }));
    machine.remove_mapping(page).unwrap();
    machine.free_contig_range(wanted).unwrap();
    assert!(matches!(refusal(), Err(FreeError::NotAllocated { pfn, .. }) if pfn == wanted.start));
    let beyond = range(0x1bff, 0x1c01);
    machine.alloc_contig_range(range(0x1bff, 0x1c00)).unwrap();
    assert_eq!(machine.free_contig_range(beyond), Err(FreeError::NoSuchFrame(Pfn::new(0x1c00))));
    machine.free_contig_range(range(0x1bff, 0x1c00)).unwrap();
    machine.validate().unwrap();
}

#[test]
fn a_run_of_pages_that_are_freed_together_ends_at_its_zones_border() {
    let machine = Machine::full();
    let before = machine.totals();
    let ranges = [range(0x13f8, 0x1400), range(0x1400, 0x1408)];
    ranges.iter().for_each(|range| machine.alloc_contig_range(*range).unwrap());
    let pages: Vec<_> = range(0x13f8, 0x1408).iter().collect();
    machine.free_pages_bulk(&pages).unwrap();
    machine.validate().unwrap();
    assert_eq!(machine.totals(), before);
    let free = [NORMAL, HIGH].map(|zone| machine.zone(zone).unwrap().stats().counts.free);
    assert_eq!(free, [4096, 1948]);
}

/// A machine with one movable page that is the owner's, in the zone that `gfp` prefers, and the page.
fn with_one_of_the_owners(gfp: GfpFlags) -> (Lent, Pfn, u32) {
    let lent = Lent::new();
    let page = lent.machine.alloc_page(gfp | GfpFlags::MOVABLE).unwrap();
    let handle = lent.owner.adopt(&lent.machine, lent.id, page, Order::ZERO);
    (lent, page, handle)
}

#[test]
fn a_page_that_makes_way_stays_in_its_kind_of_zone_and_movable() {
    for (gfp, zone) in [(GfpFlags::empty(), NORMAL), (GfpFlags::HIGHMEM, HIGH)] {
        let (lent, page, handle) = with_one_of_the_owners(gfp);
        lent.machine.alloc_contig_range(range(page.raw(), page.raw() + 1)).unwrap();
        let (new, _) = lent.owner.pages.lock().unwrap()[&handle];
        let moved = lent.machine.map().page(new).unwrap();
        assert_eq!((moved.zone().zone(), moved.word().kind_bits()), (zone.zone, MigrateType::Movable as u32));
        lent.check();
    }
}

#[test]
fn a_page_that_makes_way_takes_no_reserve_wakes_nobody_and_fails_in_silence() {
    let (lent, page, _) = with_one_of_the_owners(GfpFlags::HIGHMEM);
    let (context, wakes) = (Context::new(), leak(Wakes::default()));
    let services = Services { task: Some(context), background: Some(wakes), ..Services::default() };
    assert!(lent.machine.install_services(services));
    for zone in [NORMAL, HIGH] {
        let marks = Watermarks { min: 5000, low: 5000, high: 5000, lowmem_reserve: [0; 4] };
        lent.machine.set_watermarks(zone, &marks);
    }
    lent.machine.drain_local();
    let before = snapshot(&lent.machine);
    let _all_rights = context.task.enter(Scopes::MEMALLOC);
    let lines = capture_log(|| {
        let error = lent.machine.alloc_contig_range(range(page.raw(), page.raw() + 1));
        assert_eq!(error, Err(ContigError::NoTarget { pfn: page, order: Order::ZERO }));
    });
    assert_eq!((lines.len(), wakes.0.lock().unwrap().len()), (0, 0));
    assert!(snapshot(&lent.machine) == before);
    lent.check();
    // The same without these marks.
    for zone in [NORMAL, HIGH] {
        lent.machine.set_watermarks(zone, &Watermarks::default());
    }
    lent.machine.alloc_contig_range(range(page.raw(), page.raw() + 1)).unwrap();
    lent.check();
}
