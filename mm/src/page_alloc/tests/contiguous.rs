//! Isolation, migration, contiguous memory and compaction, under one owner.

use std::vec::Vec;

use core::sync::atomic::Ordering::SeqCst;

use super::fixture::{HIGH, Machine, NORMAL};
use super::owners::{AREA, Lent, snapshot};
use crate::addr::{NodeId, Pfn};
use crate::buddy::FreeError;
use crate::buddy::model::{XorShift, order, range};
use crate::gfp::GfpFlags;
use crate::memmap::{PageState, ZoneTag};
use crate::migrate::MigrateType;
use crate::order::Order;
use crate::page_alloc::{CmaError, CompactOutcome, ContigError, IsolateError, Pinned, Policies, Services};
use crate::platform::CrossCall;
use crate::sync::{CpuId, set_host_cpu};
use crate::testing::scaled;

const WHOLE: u32 = 2048;

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

fn riddled(movable: bool) -> Lent {
    Lent::new().riddle(movable)
}

#[test]
fn compaction_makes_a_largest_block_of_movable_pages_and_cannot_of_others() {
    let normal = ZoneTag::from(NORMAL);
    let lent = riddled(true);
    assert!(lent.machine.alloc_pages(GfpFlags::GFP_ATOMIC, order(1)).is_err());
    let free = lent.machine.zone(NORMAL).unwrap().stats().counts.free;
    assert_eq!(lent.machine.compact_zone(normal, Order::LARGEST), CompactOutcome::Success);
    lent.machine.drain_local();
    assert_eq!(lent.machine.zone(NORMAL).unwrap().stats().counts.free, free);
    lent.check();
    lent.machine.alloc_pages(GfpFlags::GFP_KERNEL, Order::LARGEST).unwrap();
    lent.check();

    let fixed = riddled(false);
    assert_eq!(fixed.machine.compact_zone(normal, order(1)), CompactOutcome::Complete);
    fixed.machine.drain_local();
    assert!(fixed.machine.alloc_pages(GfpFlags::GFP_KERNEL, order(1)).is_err());
    fixed.check();
}

#[test]
fn a_request_that_may_wait_has_movable_pages_moved_for_it() {
    for (gfp, movable) in [(GfpFlags::GFP_ATOMIC, true), (GfpFlags::GFP_KERNEL, false), (GfpFlags::GFP_KERNEL, true)] {
        let lent = riddled(movable);
        let block = lent.machine.alloc_pages(gfp, order(8));
        assert_eq!(block.is_ok(), movable && gfp.contains(GfpFlags::WAIT), "{gfp:?}, movable {movable}: {block:?}");
        lent.check();
    }
}

#[test]
fn of_a_large_free_block_compaction_takes_no_more_than_it_needs() {
    let lent = Lent::new();
    for pfn in lent.machine.take_all(GfpFlags::MOVABLE, Order::ZERO) {
        // Low: every second page is the owner's. High: all but the last page is free, in blocks of order 9 and less.
        if range(0x400, 0x800).contains(pfn) && pfn.raw() % 2 == 1 {
            lent.owner.adopt(&lent.machine, lent.id, pfn, Order::ZERO);
        } else if pfn.raw() != 0x13ff {
            lent.machine.free_pages(pfn, Order::ZERO).unwrap();
        }
    }
    lent.machine.drain_local();
    let free = lent.machine.zone(NORMAL).unwrap().stats().counts.free;
    assert_eq!(free, 512 + 1023 + 2048);
    assert_eq!(lent.machine.compact_zone(ZoneTag::from(NORMAL), Order::LARGEST), CompactOutcome::Success);
    lent.machine.drain_local();
    let stats = lent.machine.zone(NORMAL).unwrap().stats();
    assert_eq!((stats.counts.free, stats.pageset), (free, 0));
    lent.check();
}

#[test]
fn a_zone_that_compaction_could_not_help_is_passed_over_ever_more_often() {
    let fixed = riddled(false);
    let attempt = || fixed.machine.try_to_compact_pages(NodeId::ZERO, GfpFlags::GFP_KERNEL, order(1));
    let outcomes: Vec<_> = (0..9).map(|_| attempt()).collect();
    use CompactOutcome::{Complete, Deferred};
    // After the n-th failure 2^n - 1 attempts pass.
    assert_eq!(outcomes, [Complete, Deferred, Complete, Deferred, Deferred, Deferred, Complete, Deferred, Deferred]);
    let high = fixed.machine.compact_zone(ZoneTag::from(HIGH), Order::LARGEST);
    assert_eq!(high, CompactOutcome::Success);
    let full = Machine::full();
    full.take_all(GfpFlags::GFP_HIGHUSER, Order::ZERO);
    assert_eq!(full.compact_zone(ZoneTag::from(NORMAL), order(1)), CompactOutcome::Skipped);
}

/// The owner's page is freed while it is being moved: by its owner, in the middle of each callback.
#[test]
fn a_page_that_is_freed_while_it_is_moved_is_freed_once() {
    use crate::page_alloc::{MigrationOps, MoveError};
    struct Freeing {
        machine: Machine,
        when: core::sync::atomic::AtomicU32,
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
fn random_requests_mixed_with_isolation_contiguous_memory_and_compaction_keep_every_invariant() {
    let lent = Lent::with_policies(2, Policies { compaction_proactiveness: 90, ..Policies::new() });
    let machine = &lent.machine;
    let before = machine.totals();
    let mut rng = XorShift(0x2545_f491);
    let (mut fixed, mut contiguous): (Vec<(Pfn, Order)>, Vec<_>) = Default::default();
    for _ in 0..scaled(1_500) {
        let order = order(rng.next().trailing_ones().min(5) as u8);
        match rng.below(10) {
            0..=3 => {
                if let Ok(pfn) = machine.alloc_pages(GfpFlags::MOVABLE, order) {
                    lent.owner.adopt(machine, lent.id, pfn, order);
                }
            }
            4 => fixed.extend(machine.alloc_pages(GfpFlags::GFP_KERNEL, order).map(|pfn| (pfn, order))),
            5 | 6 => {
                let handle = rng.below(2000);
                let found = lent.owner.pages.lock().unwrap().range(handle..).next().map(|(handle, _)| *handle);
                if let Some(handle) = found {
                    lent.owner.drop_page(machine, handle);
                } else if !fixed.is_empty() {
                    let (pfn, order) = fixed.swap_remove(rng.pick(fixed.len()));
                    machine.free_pages(pfn, order).unwrap();
                }
            }
            7 => contiguous.extend(machine.cma_alloc(&lent.area, 1 + rng.below(300), order)),
            8 if !contiguous.is_empty() => {
                let range = contiguous.swap_remove(rng.pick(contiguous.len()));
                machine.cma_release(&lent.area, range).unwrap();
            }
            8 => {
                let start = 0x400 + rng.below(0xf00);
                let wanted = range(start, start + 1 + rng.below(0x100));
                if machine.start_isolate_page_range(wanted).is_ok() {
                    machine.validate().unwrap();
                    machine.undo_isolate_page_range(wanted).unwrap();
                }
            }
            _ if rng.below(2) == 0 => {
                machine.compact_zone(ZoneTag::from(NORMAL), order);
            }
            _ => {
                machine.compact_step(NodeId::ZERO);
            }
        }
        lent.check();
        let owned: u32 = lent.owner.pages.lock().unwrap().values().map(|(_, order)| order.pages()).sum();
        let out: u32 = contiguous.iter().map(|range| range.pages()).sum();
        let kept: u32 = fixed.iter().map(|(_, order)| order.pages()).sum();
        assert_eq!(machine.totals().allocated, owned + out + kept);
        assert_eq!(lent.area.used(), out);
    }
    contiguous.into_iter().for_each(|range| machine.cma_release(&lent.area, range).unwrap());
    fixed.into_iter().for_each(|(pfn, order)| machine.free_pages(pfn, order).unwrap());
    let handles: Vec<_> = lent.owner.pages.lock().unwrap().keys().copied().collect();
    handles.into_iter().for_each(|handle| lent.owner.drop_page(machine, handle));
    machine.drain_local();
    assert_eq!(machine.totals(), before);
    lent.check();
}

#[test]
fn a_mapped_page_cannot_be_freed_while_it_is_moved_and_a_freed_one_not_mapped() {
    use crate::page_alloc::{MigrationOps, MoveError};
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
    use crate::page_alloc::{MigrationOps, MoveError, OwnerId};
    struct Handing {
        machine: Machine,
        id: std::sync::OnceLock<OwnerId>,
        place: std::sync::OnceLock<Pfn>,
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

#[test]
fn a_zone_with_less_free_than_twice_the_block_is_not_compacted() {
    let outcome = |free: usize| {
        let machine = Machine::full();
        let all = machine.take_all(GfpFlags::GFP_KERNEL, Order::ZERO);
        let singles: Vec<_> = all.into_iter().filter(|pfn| pfn.raw() % 2 == 0).take(free).collect();
        machine.free_pages_bulk(&singles).unwrap();
        machine.compact_zone(ZoneTag::from(NORMAL), order(3))
    };
    assert_eq!([15, 16].map(outcome), [CompactOutcome::Skipped, CompactOutcome::Complete]);
}
