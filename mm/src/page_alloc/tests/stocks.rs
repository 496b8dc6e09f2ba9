//! What a CPU's stock exchanges with its zone.

use std::vec::Vec;

use super::super::Core;
use super::fixture::{Machine, NORMAL};
use crate::addr::Pfn;
use crate::buddy::FreeCore;
use crate::buddy::model::{order, range};
use crate::gfp::GfpFlags;
use crate::migrate::MigrateType;
use crate::order::Order;
use crate::page_alloc::pageset::{Pageset, RingIndex};
use crate::page_alloc::{PagesetSize, Watermarks};

const KERNEL: GfpFlags = GfpFlags::GFP_KERNEL.union(GfpFlags::NOWARN);
const RING: fn() -> RingIndex = || RingIndex::of(Order::ZERO, MigrateType::Unmovable);

fn set(machine: &Machine) -> &Pageset<'static> {
    machine.zone(NORMAL).unwrap().pagesets().first().unwrap()
}

/// A machine with one pageset whose lowmem is all taken, and with nothing in stock.
fn taken(size: PagesetSize) -> Machine {
    let machine = Machine::full().with_pagesets(1);
    machine.resize_pagesets(NORMAL, size).unwrap();
    assert_eq!(machine.take_all(KERNEL, Order::ZERO).len(), 4096);
    assert_eq!(set(&machine).count(), 0);
    machine
}

fn free(machine: &Machine, pages: impl IntoIterator<Item = Pfn>) {
    pages.into_iter().for_each(|page| machine.free_pages(page, Order::ZERO).unwrap());
}

#[test]
fn a_free_that_fills_the_stock_drains_a_whole_batch_however_long_the_merges_take() {
    let machine = taken(PagesetSize { high: 60, batch: 31 });
    // Each of the pages that are left merges six times.
    let (last, rest): (Vec<_>, Vec<_>) = range(0x400, 0x1400).iter().partition(|pfn| pfn.raw() % 64 == 0);
    free(&machine, rest);
    machine.drain_local();
    free(&machine, last.iter().copied().take(60));
    let before = set(&machine).count();
    free(&machine, last.iter().copied().skip(60).take(1));
    assert_eq!((before, set(&machine).count()), (60, 30));
    machine.validate().unwrap();
}

#[test]
fn a_refill_brings_no_more_than_fits() {
    let machine = Machine::full().with_pagesets(1);
    let pages: Vec<_> = (0..40).map(|_| machine.alloc_page(KERNEL).unwrap()).collect();
    machine.drain_local();
    free(&machine, pages);
    let before = set(&machine).count();
    let pair = machine.alloc_pages(KERNEL, order(1)).unwrap();
    assert!(before == 40 && set(&machine).count() <= 40, "{before}, then {}", set(&machine).count());
    machine.free_pages(pair, order(1)).unwrap();
    machine.validate().unwrap();
}

#[test]
fn hits_end_below_the_low_mark_and_are_allowed_again_above_it() {
    let machine = Machine::full().with_pagesets(1);
    let is_open = || set(&machine).is_open(RING());
    machine.set_watermarks(NORMAL, &Watermarks { min: 100, low: 125, high: 150, lowmem_reserve: [0; 4] });
    for _ in 0..2 {
        assert!(is_open());
        let pages = machine.take_all(KERNEL | GfpFlags::NORETRY, Order::ZERO);
        assert!(!is_open());
        free(&machine, pages);
        machine.drain_local();
    }
    machine.validate().unwrap();
}

#[test]
fn a_request_for_many_pages_goes_past_the_stock() {
    let machine = Machine::full().with_pagesets(1);
    let mut pages = [Pfn::new(0); 100];
    assert_eq!(machine.alloc_pages_bulk(KERNEL, &mut pages), Ok(100));
    assert_eq!(set(&machine).count(), 0);
    free(&machine, pages);
    machine.validate().unwrap();
}

#[test]
fn the_front_of_a_core_that_gathers_comes_down_to_a_lower_pageblock_and_never_goes_up_by_a_free() {
    if !Core::GATHERS {
        return;
    }
    let machine = taken(PagesetSize { high: 20, batch: 5 });
    let front = || set(&machine).front(RING()).unwrap();
    let one_is_free = |pfn: u32| {
        free(&machine, [Pfn::new(pfn)]);
        machine.drain_local();
    };
    let fill_from = |pfn: u32| {
        free(&machine, range(pfn, pfn + 30).iter());
        front()
    };
    // A refill sets it behind the pageblock that served.
    one_is_free(0xc10);
    assert_eq!(machine.alloc_page(KERNEL), Ok(Pfn::new(0xc10)));
    assert_eq!(front(), Pfn::new(0x1000));
    // Pages are to be had from the last pageblock only.
    one_is_free(0x1010);
    assert_eq!(fill_from(0xd00), Pfn::new(0x1000));
    machine.drain_local();
    one_is_free(0x410);
    assert_eq!(fill_from(0xe00), Pfn::new(0x800));
    // From then on pages of higher pageblocks wait to be returned, and are not handed out again.
    assert!((1..=20).contains(&set(&machine).returns()), "{}", set(&machine).returns());
    machine.drain_local();
    assert_eq!(machine.alloc_page(KERNEL), Ok(Pfn::new(0x410)));
    machine.validate().unwrap();
}
