//! Every wrong free is refused by name and changes nothing.

use super::fixture::Machine;
use crate::addr::Pfn;
use crate::buddy::FreeError;
use crate::buddy::model::{order, range};
use crate::gfp::GfpFlags;
use crate::memmap::PageState;
use crate::order::Order;

/// Frees and checks that it is refused with exactly this error and that every count and state is as before.
#[track_caller]
fn refused(machine: &Machine, pfn: Pfn, order: Order, expected: FreeError) {
    let before = (machine.totals(), machine.validate().unwrap(), machine.map().state(pfn));
    assert_eq!(machine.free_pages(pfn, order), Err(expected));
    assert_eq!((machine.totals(), machine.validate().unwrap(), machine.map().state(pfn)), before);
}

#[test]
fn a_double_free_is_refused_and_changes_nothing() {
    for machine in [Machine::full(), Machine::full().with_pagesets(1)] {
        for raw in 0..=10 {
            let order = order(raw);
            let pfn = machine.alloc_pages(GfpFlags::GFP_KERNEL, order).unwrap();
            machine.free_pages(pfn, order).unwrap();
            let found = machine.map().state(pfn).unwrap();
            refused(&machine, pfn, order, FreeError::NotAllocated { pfn, order, found });
        }
    }
}

#[test]
fn a_wrong_order_is_refused_and_changes_nothing() {
    let machine = Machine::full();
    let found = order(3);
    let pfn = machine.alloc_pages(GfpFlags::GFP_KERNEL, found).unwrap();
    for order in Order::all().filter(|order| *order != found && order.aligns(pfn)) {
        refused(&machine, pfn, order, FreeError::WrongOrder { pfn, order, found });
    }
    machine.free_pages(pfn, found).unwrap();
}

#[test]
fn a_tail_page_is_refused_with_the_name_of_its_head() {
    let machine = Machine::full();
    let head = machine.alloc_pages(GfpFlags::GFP_KERNEL, order(3)).unwrap();
    for tail in (1..8).map(|offset| Pfn::new(head.raw() + offset)) {
        let found = PageState::Tail { head, order: order(3) };
        refused(&machine, tail, Order::ZERO, FreeError::NotAllocated { pfn: tail, order: Order::ZERO, found });
    }
}

#[test]
fn reserved_missing_and_foreign_frames_are_refused() {
    let mut machine = Machine::empty();
    machine.free_all([range(0x401, 0x800)], []).unwrap();
    let not_allocated = |pfn, found| FreeError::NotAllocated { pfn, order: Order::ZERO, found };
    let reserved = Pfn::new(0x400);
    refused(&machine, reserved, Order::ZERO, not_allocated(reserved, PageState::Reserved));
    let hole = Pfn::new(0x1810);
    refused(&machine, hole, Order::ZERO, not_allocated(hole, PageState::Hole));
    for raw in [0, 0x3ff, 0x1c00, u32::MAX] {
        let foreign = Pfn::new(raw);
        refused(&machine, foreign, Order::ZERO, FreeError::NoSuchFrame(foreign));
    }
}

#[test]
fn a_frame_that_was_never_allocated_and_a_misaligned_one_are_refused() {
    let machine = Machine::full();
    let never = Pfn::new(0x800);
    let found = PageState::Free(Order::LARGEST);
    refused(&machine, never, Order::LARGEST, FreeError::NotAllocated { pfn: never, order: Order::LARGEST, found });
    let odd = Pfn::new(0x801);
    refused(&machine, odd, order(1), FreeError::Misaligned { pfn: odd, order: order(1) });
}

#[test]
fn of_many_cpus_that_free_one_block_at_once_exactly_one_succeeds() {
    let machine = Machine::full();
    for round in 0..200u8 {
        let order = order(round % 5);
        let pfn = machine.alloc_pages(GfpFlags::GFP_KERNEL, order).unwrap();
        let freed: usize = std::thread::scope(|scope| {
            let cpus: [_; 3] =
                core::array::from_fn(|_| scope.spawn(|| usize::from(machine.free_pages(pfn, order).is_ok())));
            cpus.into_iter().map(|cpu| cpu.join().unwrap()).sum()
        });
        assert_eq!(freed, 1);
    }
    assert_eq!(machine.totals().allocated, 0);
    machine.validate().unwrap();
}
