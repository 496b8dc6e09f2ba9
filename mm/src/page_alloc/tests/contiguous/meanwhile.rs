//! What others do while a page is moved: it is freed, mapped, referenced, or its new place is given up.

use std::boxed::Box;
use std::sync::OnceLock;

use core::sync::atomic::AtomicU32;
use core::sync::atomic::Ordering::SeqCst;

use super::super::fixture::Machine;
use super::super::owners::Lent;
use crate::addr::Pfn;
use crate::buddy::FreeError;
use crate::buddy::model::{order, range};
use crate::gfp::GfpFlags;
use crate::order::Order;
use crate::page_alloc::{ContigError, MigrationOps, MoveError, OwnerId, Pinned};

/// The owner's page is freed while it is being moved: by its owner, in the middle of each callback.
#[test]
fn a_page_that_is_freed_while_it_is_moved_is_freed_once() {
    struct Freeing {
        machine: Machine,
        when: AtomicU32,
    }
    impl Freeing {
        fn free_at(&self, moment: u32, pfn: Pfn) {
            if self.when.load(SeqCst) == moment {
                self.machine.free_pages(pfn, Order::ZERO).unwrap();
                assert!(self.machine.free_pages(pfn, Order::ZERO).is_err(), "freed twice while it was moved");
            }
        }
    }
    impl MigrationOps for Freeing {
        fn isolate_page(&self, pfn: Pfn, _private: u32) -> bool {
            self.free_at(0, pfn);
            self.free_at(1, pfn);
            self.when.load(SeqCst) != 1
        }
        fn migrate_page(&self, old: Pfn, new: Pfn, _private: u32) -> Result<(), MoveError> {
            self.free_at(2, old);
            self.free_at(3, new);
            if self.when.load(SeqCst) == 2 { Err(MoveError::Busy) } else { Ok(()) }
        }
        fn putback_page(&self, _pfn: Pfn, _private: u32) {}
    }
    for moment in 0..4 {
        let owner: &'static Freeing = Box::leak(Box::new(Freeing { machine: Machine::full(), when: moment.into() }));
        let machine = &owner.machine;
        let id = machine.register_owner(owner).unwrap();
        let page = machine.alloc_page(GfpFlags::MOVABLE).unwrap();
        machine.set_movable(page, Order::ZERO, id, 0).unwrap();
        let taken = machine.alloc_contig_range(range(page.raw(), page.raw() + 1));
        assert!(taken.is_ok(), "moment {moment}: {taken:?}");
        machine.validate().unwrap();
        assert_eq!(machine.totals().allocated, 1, "moment {moment}: only the range is out");
    }
}

#[test]
fn a_mapped_page_cannot_be_freed_while_it_is_moved_and_a_freed_one_not_mapped() {
    struct Mapping(Machine);
    impl MigrationOps for Mapping {
        fn isolate_page(&self, pfn: Pfn, _private: u32) -> bool {
            self.0.add_mapping(pfn).unwrap();
            assert_eq!(self.0.free_pages(pfn, Order::ZERO), Err(FreeError::Mapped { pfn, count: 1 }));
            self.0.remove_mapping(pfn).unwrap();
            self.0.free_pages(pfn, Order::ZERO).unwrap();
            assert!(self.0.add_mapping(pfn).is_err());
            true
        }
        fn migrate_page(&self, _old: Pfn, _new: Pfn, _private: u32) -> Result<(), MoveError> {
            Err(MoveError::Busy)
        }
        fn putback_page(&self, _pfn: Pfn, _private: u32) {}
    }
    let owner: &'static Mapping = Box::leak(Box::new(Mapping(Machine::full())));
    let machine = &owner.0;
    let id = machine.register_owner(owner).unwrap();
    let page = machine.alloc_page(GfpFlags::MOVABLE).unwrap();
    machine.set_movable(page, Order::ZERO, id, 0).unwrap();
    machine.alloc_contig_range(range(page.raw(), page.raw() + 1)).unwrap();
    machine.validate().unwrap();
    assert_eq!(machine.totals().allocated, 1);
}

#[test]
fn frames_given_up_before_a_move_is_undone_are_not_taken_for_the_block_that_was_there() {
    struct Handing {
        machine: Machine,
        id: OnceLock<OwnerId>,
        place: OnceLock<Pfn>,
    }
    impl MigrationOps for Handing {
        fn isolate_page(&self, _pfn: Pfn, _private: u32) -> bool {
            true
        }
        /// Block 0 moves, and is given up while block 1 refuses: its frames become a single page, 2.
        fn migrate_page(&self, _old: Pfn, new: Pfn, private: u32) -> Result<(), MoveError> {
            assert_ne!(private, 2, "a page has moved to a block of another order");
            if private == 0 {
                return self.place.set(new).map_err(|_| MoveError::Busy);
            }
            let (machine, place) = (&self.machine, *self.place.get().unwrap());
            machine.free_pages(place, order(1)).unwrap();
            for page in machine.take_all(GfpFlags::MOVABLE | GfpFlags::NOWARN, Order::ZERO) {
                if page != place {
                    machine.free_pages(page, Order::ZERO).unwrap();
                }
            }
            machine.set_movable(place, Order::ZERO, *self.id.get().unwrap(), 2).unwrap();
            Err(MoveError::Busy)
        }
        fn putback_page(&self, _pfn: Pfn, _private: u32) {}
    }
    let machine = Machine::full();
    let owner: &'static Handing =
        Box::leak(Box::new(Handing { machine, id: Default::default(), place: Default::default() }));
    let machine = &owner.machine;
    let id = *owner.id.get_or_init(|| machine.register_owner(owner).unwrap());
    let mut blocks = [0, 1].map(|_| machine.alloc_pages(GfpFlags::MOVABLE, order(1)).unwrap());
    blocks.sort();
    for (handle, block) in (0..).zip(blocks) {
        machine.set_movable(block, order(1), id, handle).unwrap();
    }
    let wanted = range(blocks[0].raw(), blocks[1].raw() + 2);
    let refused = Err(ContigError::Pinned { pfn: blocks[1], why: Pinned::Owner });
    assert_eq!(machine.alloc_contig_range(wanted), refused);
    machine.validate().unwrap();
    assert_eq!(machine.totals().allocated, 1 + 2);
}

#[test]
fn references_that_come_and_go_do_not_keep_an_owner_from_registering() {
    let lent = Lent::new();
    let machine = &lent.machine;
    let page = machine.alloc_page(GfpFlags::MOVABLE).unwrap();
    std::thread::scope(|scope| {
        let other = scope.spawn(|| {
            for _ in 0..20_000 {
                machine.get_page(page).unwrap();
                machine.put_page(page).unwrap();
            }
        });
        while !other.is_finished() {
            machine.set_movable(page, Order::ZERO, lent.id, 9).unwrap();
            machine.clear_movable(page).unwrap();
        }
    });
    machine.free_pages(page, Order::ZERO).unwrap();
    machine.validate().unwrap();
}
