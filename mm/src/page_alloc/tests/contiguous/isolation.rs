//! Pageblocks that are isolated: they give nothing, and are theirs again afterwards.

use std::vec::Vec;

use super::super::fixture::{Machine, NORMAL};
use crate::addr::Pfn;
use crate::buddy::model::range;
use crate::gfp::GfpFlags;
use crate::memmap::PageState;
use crate::migrate::MigrateType;
use crate::order::Order;
use crate::page_alloc::IsolateError;

#[test]
fn isolated_blocks_give_nothing_and_get_their_types_back() {
    let machine = Machine::full().with_pagesets(1);
    let zone = machine.zone(NORMAL).unwrap();
    let page = machine.alloc_page(GfpFlags::GFP_KERNEL).unwrap();
    let before: Vec<_> = range(0x400, 0x1400).iter().map(|pfn| zone.block_type(pfn)).collect();
    let normal = range(0x400, 0x1400);
    machine.start_isolate_page_range(normal).unwrap();
    assert!(normal.iter().all(|pfn| zone.block_type(pfn) == MigrateType::Isolate));
    assert!(machine.alloc_page(GfpFlags::GFP_KERNEL).is_err());
    assert_eq!(zone.stats().counts.isolated, 4095);
    assert_eq!(machine.test_pages_isolated(normal), Err((page, PageState::Allocated(Order::ZERO))));
    let again = machine.start_isolate_page_range(range(0xc10, 0xc11));
    assert_eq!(again, Err(IsolateError::Isolated(Pfn::new(0xc10))));
    machine.free_pages(page, Order::ZERO).unwrap();
    assert_eq!(machine.test_pages_isolated(normal), Ok(()));
    machine.validate().unwrap();
    machine.undo_isolate_page_range(normal).unwrap();
    let after: Vec<_> = normal.iter().map(|pfn| zone.block_type(pfn)).collect();
    assert_eq!(after, before);
    assert_eq!(zone.stats().counts.free, 4096);
    // Part of a range is isolated: nothing of it may stay so.
    machine.start_isolate_page_range(range(0x1000, 0x1001)).unwrap();
    assert_eq!(machine.start_isolate_page_range(normal), Err(IsolateError::Isolated(Pfn::new(0x1000))));
    assert_eq!(zone.stats().counts.isolated, 1024);
    machine.undo_isolate_page_range(range(0x1000, 0x1001)).unwrap();
    let across = machine.start_isolate_page_range(range(0x1300, 0x1500));
    assert_eq!(across, Err(IsolateError::OtherZone(Pfn::new(0x1400))));
    assert_eq!(zone.stats().counts.isolated, 0);
    machine.validate().unwrap();
}
