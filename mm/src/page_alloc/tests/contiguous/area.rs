//! What is taken and given back: an area as a whole, blocks that jut into a range, releases that are wrong.

use std::vec::Vec;

use super::super::owners::{AREA, Lent};
use super::WHOLE;
use crate::addr::Pfn;
use crate::buddy::FreeError;
use crate::buddy::model::{order, range};
use crate::gfp::GfpFlags;
use crate::memmap::PageState;
use crate::order::Order;
use crate::page_alloc::CmaError;

#[test]
fn an_area_full_of_movable_pages_is_taken_whole_and_given_back_with_equal_counts() {
    let lent = Lent::filled();
    let before: Vec<_> = lent.machine.zones().iter().map(|zone| zone.stats()).collect();
    let taken = lent.machine.cma_alloc(&lent.area, WHOLE, Order::LARGEST).unwrap();
    assert_eq!(taken, AREA);
    assert!(std::format!("{:?}", lent.area).starts_with("CmaArea { name: \"linux,cma\", frames: "));
    assert_eq!((lent.area.used(), lent.owner.pages_in(AREA)), (WHOLE, 0));
    assert!(AREA.iter().all(|pfn| lent.machine.map().state(pfn) == Some(PageState::Allocated(Order::ZERO))));
    lent.check();
    assert_eq!(lent.machine.cma_alloc(&lent.area, 1, Order::ZERO), Err(CmaError::Full { pages: 1 }));
    lent.machine.cma_release(&lent.area, taken).unwrap();
    lent.machine.drain_local();
    lent.check();
    let after: Vec<_> = lent.machine.zones().iter().map(|zone| zone.stats()).collect();
    let plain = |stats: &[crate::page_alloc::ZoneStats]| {
        stats.iter().map(|zone| (zone.managed, zone.counts.free, zone.allocated)).collect::<Vec<_>>()
    };
    assert_eq!(plain(&after), plain(&before));
    assert_eq!((after[0].counts.cma, after[0].counts.isolated), (WHOLE, 0));
}

#[test]
fn a_block_that_juts_into_the_range_is_moved_as_a_whole() {
    let lent = Lent::new();
    let all = lent.machine.take_all(GfpFlags::MOVABLE, order(3));
    for block in all {
        if AREA.contains(block) {
            lent.owner.adopt(&lent.machine, lent.id, block, order(3));
        } else {
            lent.machine.free_pages(block, order(3)).unwrap();
        }
    }
    // 0x905-0x90a lies in the blocks 0x900 and 0x908: 16 pages go, 6 are taken.
    let wanted = range(0x905, 0x90b);
    lent.machine.alloc_contig_range(wanted).unwrap();
    assert_eq!(lent.owner.pages_in(AREA), 256 - 2);
    assert!(matches!(lent.machine.map().state(Pfn::new(0x904)), Some(PageState::Free(_))));
    lent.check();
    lent.machine.free_contig_range(wanted).unwrap();
    lent.check();
}

#[test]
fn wrong_releases_are_refused_and_change_nothing() {
    let lent = Lent::filled();
    let taken = lent.machine.cma_alloc(&lent.area, 64, order(6)).unwrap();
    assert!(order(6).aligns(taken.start));
    let past = range(taken.start.raw(), taken.end.raw() + 1);
    assert_eq!(lent.machine.cma_release(&lent.area, past), Err(CmaError::NotAllocated(taken.end)));
    let before = range(0x7ff, 0x801);
    assert_eq!(lent.machine.cma_release(&lent.area, before), Err(CmaError::NotAllocated(Pfn::new(0x7ff))));
    let held = Pfn::new(taken.start.raw() + 9);
    lent.machine.get_page(held).unwrap();
    let referenced = CmaError::Free(FreeError::NotReferenced { pfn: held, count: 2 });
    assert_eq!(lent.machine.cma_release(&lent.area, taken), Err(referenced));
    assert_eq!(lent.area.used(), 64);
    lent.machine.put_page(held).unwrap();
    lent.machine.cma_release(&lent.area, taken).unwrap();
    assert!(lent.machine.cma_release(&lent.area, taken).is_err());
    assert_eq!(lent.machine.cma_alloc(&lent.area, 0, Order::ZERO), Err(CmaError::Size { pages: 0 }));
    assert_eq!(lent.machine.cma_alloc(&lent.area, 2049, Order::ZERO), Err(CmaError::Size { pages: 2049 }));
    lent.check();
}
