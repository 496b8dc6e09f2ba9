//! Compound pages.

use std::boxed::Box;
use std::sync::Mutex;
use std::vec::Vec;

use super::fixture::Machine;
use crate::addr::Pfn;
use crate::buddy::FreeError;
use crate::buddy::model::order;
use crate::gfp::GfpFlags;
use crate::memmap::PageState;
use crate::order::Order;
use crate::page_alloc::CompoundDtor;

const COMPOUND: GfpFlags = GfpFlags::GFP_KERNEL.union(GfpFlags::COMP);

#[derive(Default)]
struct Destroyed(Mutex<Vec<(Pfn, Order)>>);

impl CompoundDtor for Destroyed {
    fn destroy(&self, head: Pfn, order: Order) {
        self.0.lock().unwrap().push((head, order));
    }
}

#[test]
fn heads_tails_order_and_destructor_of_a_compound_page_are_known() {
    for machine in [Machine::full(), Machine::full().with_pagesets(1)] {
        let before = machine.totals();
        let destroyed: &'static Destroyed = Box::leak(Box::default());
        let id = machine.register_compound_dtor(destroyed).unwrap();
        for raw in 1..=10 {
            let order = order(raw);
            let head = machine.alloc_pages(COMPOUND, order).unwrap();
            let tail = Pfn::new(head.raw() + order.pages() - 1);
            assert_eq!((machine.compound_head(tail), machine.compound_order(head)), (head, order));
            assert_eq!(machine.map().state(tail), Some(PageState::Tail { head, order }));
            machine.set_compound_dtor(head, id).unwrap();
            assert!(machine.set_compound_dtor(tail, id).is_err());
            // A reference to a tail is one to the head, and the last one ends the page, by whatever page it goes.
            machine.get_page(tail).unwrap();
            machine.free_pages(head, order).unwrap();
            assert_eq!(machine.map().count(head), Some(1));
            assert!(destroyed.0.lock().unwrap().is_empty());
            assert_eq!(machine.split_page(head, order), Err(FreeError::Whole { pfn: head }));
            machine.put_page(tail).unwrap();
            assert_eq!(destroyed.0.lock().unwrap().drain(..).collect::<Vec<_>>(), [(head, order)]);
            assert_eq!(machine.compound_head(tail), tail);
            machine.validate().unwrap();
        }
        machine.drain_local();
        assert_eq!(machine.totals(), before);
    }
}

#[test]
fn without_the_flag_and_at_order_0_a_block_is_no_compound_page() {
    let machine = Machine::full().with_pagesets(1);
    let block = machine.alloc_pages(GfpFlags::GFP_KERNEL, order(2)).unwrap();
    let tail = Pfn::new(block.raw() + 1);
    assert_eq!((machine.compound_head(tail), machine.compound_order(block)), (tail, Order::ZERO));
    assert!(machine.get_page(tail).is_err());
    let single = machine.alloc_page(COMPOUND).unwrap();
    machine.split_page(single, Order::ZERO).unwrap();
    machine.free_pages(single, Order::ZERO).unwrap();
    machine.free_pages(block, order(2)).unwrap();
    machine.validate().unwrap();
}

#[test]
fn a_compound_page_freed_with_another_order_or_by_its_tail_is_refused() {
    let machine = Machine::full();
    let head = machine.alloc_pages(COMPOUND, order(3)).unwrap();
    let wrong = FreeError::WrongOrder { pfn: head, order: order(2), found: order(3) };
    assert_eq!(machine.free_pages(head, order(2)), Err(wrong));
    let tail = Pfn::new(head.raw() + 4);
    assert!(matches!(machine.free_pages(tail, order(2)), Err(FreeError::NotAllocated { .. })));
    machine.free_pages(head, order(3)).unwrap();
    assert!(machine.free_pages(head, order(3)).is_err());
    machine.validate().unwrap();
}

#[test]
fn a_moved_compound_page_stays_one() {
    let lent = super::owners::Lent::new();
    let all = lent.machine.take_all(GfpFlags::MOVABLE | GfpFlags::COMP, order(4));
    let inside = *all.iter().find(|pfn| super::owners::AREA.contains(**pfn)).unwrap();
    all.iter().filter(|pfn| **pfn != inside).for_each(|pfn| lent.machine.free_pages(*pfn, order(4)).unwrap());
    let destroyed: &'static Destroyed = Box::leak(Box::default());
    let id = lent.machine.register_compound_dtor(destroyed).unwrap();
    lent.machine.set_compound_dtor(inside, id).unwrap();
    let handle = lent.owner.adopt(&lent.machine, lent.id, inside, order(4));
    lent.machine.alloc_contig_range(super::owners::AREA).unwrap();
    let (moved, _) = lent.owner.pages.lock().unwrap()[&handle];
    assert!(!super::owners::AREA.contains(moved));
    assert_eq!(lent.machine.compound_order(moved), order(4));
    lent.check();
    // What is to be done at its end is done to what it is then.
    assert!(destroyed.0.lock().unwrap().is_empty());
    lent.owner.drop_page(&lent.machine, handle);
    assert_eq!(destroyed.0.lock().unwrap().drain(..).collect::<Vec<_>>(), [(moved, order(4))]);
}

#[test]
fn a_compound_page_that_a_value_owns_stays_one_when_its_last_mapping_goes() {
    let machine = Machine::full();
    let destroyed: &'static Destroyed = Box::leak(Box::default());
    let id = machine.register_compound_dtor(destroyed).unwrap();
    let head = machine.alloc_pages(COMPOUND, order(2)).unwrap();
    machine.set_compound_dtor(head, id).unwrap();
    machine.add_mapping(head).unwrap();
    // SAFETY: the block was just allocated, and nobody uses its bytes.
    let block = unsafe { crate::page_alloc::OwnedPages::from_raw(&*machine, head, order(2)) }.unwrap();
    machine.remove_mapping(head).unwrap();
    drop(block);
    assert_eq!(*destroyed.0.lock().unwrap(), [(head, order(2))]);
    assert_eq!(machine.totals().allocated, 0);
    machine.validate().unwrap();
}
