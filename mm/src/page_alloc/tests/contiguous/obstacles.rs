//! What is in the way of a range: it is named, and nothing is touched.

use std::vec::Vec;

use core::sync::atomic::Ordering::SeqCst;

use super::super::owners::{AREA, Lent, snapshot};
use super::WHOLE;
use crate::addr::Pfn;
use crate::buddy::model::range;
use crate::gfp::GfpFlags;
use crate::memmap::PageState;
use crate::order::Order;
use crate::page_alloc::{CmaError, ContigError, Pinned, Services};
use crate::platform::CrossCall;
use crate::sync::{CpuId, set_host_cpu};

#[test]
fn a_pinned_page_fails_the_request_by_name_and_nothing_is_touched() {
    let lent = Lent::filled();
    let pinned = Pfn::new(0xabc);
    lent.machine.get_page(pinned).unwrap();
    let before = snapshot(&lent.machine);
    let error = lent.machine.cma_alloc(&lent.area, WHOLE, Order::ZERO).unwrap_err();
    let why = ContigError::Pinned { pfn: pinned, why: Pinned::References(2) };
    assert_eq!(error, CmaError::Busy(why));
    assert_eq!(std::format!("{error}"), "cma: pfn 0xabc cannot be moved: it has 2 references");
    assert!(snapshot(&lent.machine) == before);
    assert_eq!((lent.area.used(), lent.owner.asked.load(SeqCst)), (0, 0));
    lent.check();
    // The next run behind it will do: 0xabd to 0x1000 is 1,347 pages.
    let taken = lent.machine.cma_alloc(&lent.area, 1024, Order::ZERO).unwrap();
    assert_eq!(taken, range(0xabd, 0xebd));
    lent.check();
    lent.machine.put_page(pinned).unwrap();
    lent.machine.cma_release(&lent.area, taken).unwrap();
    assert_eq!(lent.machine.cma_alloc(&lent.area, WHOLE, Order::ZERO), Ok(AREA));
}

#[test]
fn a_page_without_an_owner_and_a_mapped_one_are_not_moved() {
    let lent = Lent::filled();
    let page = Pfn::new(0xfff);
    lent.machine.clear_movable(page).unwrap();
    let whole = || lent.machine.alloc_contig_range(AREA);
    assert_eq!(whole(), Err(ContigError::Pinned { pfn: page, why: Pinned::NoOwner }));
    lent.machine.set_movable(page, Order::ZERO, lent.id, lent.owner.handle_at(page)).unwrap();
    lent.machine.add_mapping(page).unwrap();
    assert_eq!(whole(), Err(ContigError::Pinned { pfn: page, why: Pinned::Mapped(1) }));
    lent.machine.remove_mapping(page).unwrap();
    lent.check();
    whole().unwrap();
    lent.check();
}

#[test]
fn an_owner_that_refuses_late_gets_every_page_back_where_it_was() {
    for willing in [false, true] {
        let lent = Lent::filled();
        let last = Pfn::new(0xfff);
        let handle = lent.owner.handle_at(last);
        let refusal = if willing { &lent.owner.stuck } else { &lent.owner.unwilling };
        refusal.store(handle, SeqCst);
        let before = snapshot(&lent.machine);
        let places = lent.owner.pages.lock().unwrap().clone();
        let error = lent.machine.alloc_contig_range(AREA);
        assert_eq!(error, Err(ContigError::Pinned { pfn: last, why: Pinned::Owner }));
        lent.machine.drain_local();
        assert_eq!(*lent.owner.pages.lock().unwrap(), places);
        assert!(snapshot(&lent.machine) == before);
        lent.check();
    }
}

#[test]
fn without_room_elsewhere_every_page_stays() {
    let lent = Lent::filled();
    // 1,000 pages are left for 2,048.
    let taken: Vec<_> = (0..1048).map(|_| lent.machine.alloc_page(GfpFlags::GFP_KERNEL).unwrap()).collect();
    lent.machine.drain_local();
    let before = snapshot(&lent.machine);
    let error = lent.machine.cma_alloc(&lent.area, WHOLE, Order::ZERO);
    assert!(matches!(error, Err(CmaError::Busy(ContigError::NoTarget { .. }))), "{error:?}");
    lent.machine.drain_local();
    assert!(snapshot(&lent.machine) == before);
    lent.check();
    lent.machine.free_pages_bulk(&taken).unwrap();
}

#[test]
fn an_owner_that_says_again_is_asked_again() {
    let lent = Lent::filled();
    lent.owner.again.store(2, SeqCst);
    lent.machine.alloc_contig_range(range(0x900, 0x901)).unwrap();
    lent.check();
    lent.owner.again.store(3, SeqCst);
    let error = lent.machine.alloc_contig_range(range(0x901, 0x902));
    assert_eq!(error, Err(ContigError::Pinned { pfn: Pfn::new(0x901), why: Pinned::Owner }));
    lent.check();
}

#[test]
fn other_cpus_stock_is_in_the_way_until_it_is_drained() {
    let lent = Lent::new();
    let all = lent.machine.take_all(GfpFlags::MOVABLE, Order::ZERO);
    let (inside, outside): (Vec<_>, Vec<_>) = all.into_iter().partition(|pfn| AREA.contains(*pfn));
    lent.machine.free_pages_bulk(&outside).unwrap();
    lent.machine.drain_local();
    set_host_cpu(CpuId::new(1));
    inside.iter().for_each(|pfn| lent.machine.free_pages(*pfn, Order::ZERO).unwrap());
    set_host_cpu(CpuId::new(0));
    let refused = lent.machine.alloc_contig_range(AREA);
    let is_stock = |error| matches!(error, ContigError::Pinned { why: Pinned::State(PageState::Pageset(_)), .. });
    assert!(refused.is_err_and(is_stock), "{refused:?}");
    lent.check();
    struct Obedient;
    impl CrossCall for Obedient {
        fn run_on(&self, cpu: CpuId, work: &(dyn Fn() + Sync)) -> bool {
            set_host_cpu(cpu);
            work();
            set_host_cpu(CpuId::new(0));
            true
        }
    }
    assert!(lent.machine.install_services(Services { cpus: Some(&Obedient), ..Services::default() }));
    lent.machine.alloc_contig_range(AREA).unwrap();
    lent.check();
}
