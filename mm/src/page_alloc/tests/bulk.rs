//! Many single pages at once: what is freed and what is not when one of them cannot be.

use std::vec::Vec;

use super::fixture::{Machine, NORMAL};
use crate::addr::Pfn;
use crate::buddy::FreeError;
use crate::buddy::model::range;
use crate::gfp::GfpFlags;
use crate::memmap::PageState;
use crate::order::Order;
use crate::page_alloc::Hooks;
use crate::testing::capture_log;

/// Pages that follow each other, longer than what is freed in one piece.
const LONG: (u32, u32) = (0x900, 0xb40);

fn with_pages((start, end): (u32, u32)) -> (Machine, Vec<Pfn>) {
    let machine = Machine::full();
    machine.alloc_contig_range(range(start, end)).unwrap();
    (machine, range(start, end).iter().collect())
}

fn is_allocated(machine: &Machine, pfn: Pfn) -> bool {
    machine.map().state(pfn) == Some(PageState::Allocated(Order::ZERO))
}

#[test]
fn pages_that_follow_each_other_are_freed_in_any_order_and_number() {
    for count in [1, 2, 7, 8, 9, 15, 16, 17, 255, 256, 257, 0x240] {
        let (machine, mut pages) = with_pages(LONG);
        let before = machine.totals();
        let rest = pages.split_off(count);
        machine.free_pages_bulk(&pages).unwrap();
        machine.validate().unwrap();
        assert!(pages.iter().all(|pfn| !is_allocated(&machine, *pfn)), "{count}");
        assert!(rest.iter().all(|pfn| is_allocated(&machine, *pfn)), "{count}");
        let backwards: Vec<_> = rest.into_iter().rev().collect();
        machine.free_pages_bulk(&backwards).unwrap();
        machine.validate().unwrap();
        assert_eq!(machine.totals().allocated + LONG.1 - LONG.0, before.allocated);
    }
}

#[test]
fn a_page_with_two_owners_in_the_middle_gives_up_one_and_the_others_are_free() {
    for at in [0, 1, 8, 300, 0x23f] {
        let (machine, pages) = with_pages(LONG);
        machine.get_page(pages[at]).unwrap();
        machine.free_pages_bulk(&pages).unwrap();
        machine.validate().unwrap();
        let left: Vec<_> = pages.iter().copied().filter(|pfn| is_allocated(&machine, *pfn)).collect();
        assert_eq!(left, [pages[at]]);
        machine.put_page(pages[at]).unwrap();
    }
}

#[test]
fn the_first_page_that_cannot_be_freed_ends_it_and_those_behind_are_as_they_were() {
    for at in [0, 1, 8, 300, 0x23f] {
        let (machine, pages) = with_pages(LONG);
        machine.free_pages(pages[at], Order::ZERO).unwrap();
        let error = machine.free_pages_bulk(&pages).unwrap_err();
        assert!(matches!(error, FreeError::NotAllocated { pfn, .. } if pfn == pages[at]), "{error}");
        assert!(pages[..at].iter().all(|pfn| !is_allocated(&machine, *pfn)));
        assert!(pages[at + 1..].iter().all(|pfn| is_allocated(&machine, *pfn)));
        machine.validate().unwrap();
    }
}

#[test]
fn numbers_of_no_frame_are_refused_also_the_last_there_is() {
    let machine = Machine::full();
    for raw in [0x1c00, u32::MAX - 1, u32::MAX] {
        let pages = [raw, raw.wrapping_add(1), raw.wrapping_add(2)].map(Pfn::new);
        assert_eq!(machine.free_pages_bulk(&pages), Err(FreeError::NoSuchFrame(Pfn::new(raw))));
    }
    machine.validate().unwrap();
}

#[test]
fn a_refused_page_is_reported_with_the_caller() {
    for follows in [false, true] {
        let machine = Machine::full();
        machine.set_hooks(Hooks::CHECK, follows);
        let log = capture_log(|| assert!(machine.free_pages_bulk(&[Pfn::new(0x900)]).is_err()));
        assert!(log.iter().any(|line| line.contains("tests/bulk.rs:")), "{log:?}");
    }
}

#[test]
fn pages_that_are_named_twice_are_freed_once_and_refused_then() {
    let named: [&[u32]; 3] = [&[0x900, 0x900], &[0x900, 0x901, 0x900], &[0x901, 0x902, 0x901, 0x902]];
    for raw in named {
        let (machine, _) = with_pages((0x900, 0x910));
        let pages: Vec<_> = raw.iter().copied().map(Pfn::new).collect();
        let error = machine.free_pages_bulk(&pages).unwrap_err();
        assert!(matches!(error, FreeError::NotAllocated { pfn, .. } if pfn == pages[0]), "{error}");
        machine.validate().unwrap();
    }
}

#[test]
fn a_block_or_a_mapped_page_among_the_pages_stops_it() {
    let (machine, mut pages) = with_pages((0x900, 0x910));
    machine.add_mapping(pages[8]).unwrap();
    assert_eq!(machine.free_pages_bulk(&pages), Err(FreeError::Mapped { pfn: pages[8], count: 1 }));
    machine.remove_mapping(pages[8]).unwrap();
    machine.free_pages_bulk(&pages[8..]).unwrap();
    let order = Order::new(2).unwrap();
    let block = machine.alloc_pages(GfpFlags::GFP_KERNEL, order).unwrap();
    pages = (0..4).map(|offset| Pfn::new(block.raw() + offset)).collect();
    let wrong = FreeError::WrongOrder { pfn: block, order: Order::ZERO, found: order };
    assert_eq!(machine.free_pages_bulk(&pages), Err(wrong));
    machine.free_pages(block, order).unwrap();
    machine.validate().unwrap();
}

#[test]
fn a_page_alone_goes_to_the_pageset_and_pages_that_follow_each_other_to_the_zone() {
    let machine = Machine::full().with_pagesets(1);
    machine.alloc_contig_range(range(0x900, 0x920)).unwrap();
    machine.drain_local();
    let counts = || {
        let stats = machine.zone(NORMAL).unwrap().stats();
        (stats.pageset, stats.counts.free)
    };
    let (_, free) = counts();
    let apart: Vec<_> = [0x900, 0x902, 0x904].map(Pfn::new).into();
    machine.free_pages_bulk(&apart).unwrap();
    assert_eq!(counts(), (3, free));
    let together: Vec<_> = range(0x910, 0x920).iter().collect();
    machine.free_pages_bulk(&together).unwrap();
    assert_eq!(counts(), (3, free + 16));
    machine.validate().unwrap();
}
