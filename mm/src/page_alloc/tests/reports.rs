//! What the console is told of failures, and failures that were asked for.

use super::fixture::Machine;
use super::services::exhausted;
use crate::addr::Pfn;
use crate::buddy::model::order;
use crate::gfp::GfpFlags;
use crate::order::Order;
use crate::page_alloc::{AllocError, FailPageAlloc};
use crate::testing::capture_log;

const EVERY: FailPageAlloc = FailPageAlloc {
    interval: 1,
    probability: 100,
    space: 0,
    times: None,
    ignore_gfp_wait: false,
    ignore_gfp_highmem: false,
    min_order: Order::ZERO,
    seed: 1,
};

#[test]
fn a_failure_is_reported_with_the_request_and_the_state_of_memory() {
    let (machine, ..) = exhausted(0);
    // A machine of one's own: the exhaustion itself was silent.
    let lines = capture_log(|| assert!(machine.alloc_pages(GfpFlags::GFP_ATOMIC | GfpFlags::ZERO, order(2)).is_err()));
    let expected = [
        "page allocation failure: order:2, mode:0x8020(GFP_ATOMIC|__GFP_ZERO)",
        "Mem-Info:",
        "Node 0 Normal free:0kB min:0kB low:0kB high:0kB present:16384kB managed:16384kB free_pcp:0kB free_cma:0kB \
         isolated:0kB reserved_highatomic:0kB",
        "lowmem_reserve[]: 0 0 0 0",
        "Node 0 Normal: 0*4kB 0*8kB 0*16kB 0*32kB 0*64kB 0*128kB 0*256kB 0*512kB 0*1024kB 0*2048kB 0*4096kB = 0kB",
        "Node 0 HighMem free:7792kB min:0kB low:0kB high:0kB present:7792kB managed:7792kB free_pcp:0kB free_cma:0kB \
         isolated:0kB reserved_highatomic:0kB",
        "lowmem_reserve[]: 0 0 0 0",
        // 1,948 pages: 1,024 and 512, 256, 128, 16, 8, 4.
        "Node 0 HighMem: 0*4kB 0*8kB 1*16kB (M) 1*32kB (M) 1*64kB (M) 0*128kB 0*256kB 1*512kB (M) 1*1024kB (M) \
         1*2048kB (M) 1*4096kB (M) = 7792kB",
    ];
    assert_eq!(lines, expected);
}

#[test]
fn nowarn_is_silent_and_many_failures_are_told_of_ever_less_often() {
    let (machine, ..) = exhausted(0);
    let reports = |gfp, times| {
        let lines = capture_log(|| (0..times).for_each(|_| assert!(machine.alloc_page(gfp).is_err())));
        lines.iter().filter(|line| line.starts_with("page allocation failure")).count()
    };
    assert_eq!(reports(GfpFlags::GFP_ATOMIC | GfpFlags::NOWARN, 20), 0);
    assert_eq!(reports(GfpFlags::GFP_ATOMIC, 100), 10 + 3);
}

#[test]
fn injected_failures_reach_hits_too_and_end_when_they_are_switched_off() {
    let machine = Machine::full().with_pagesets(1);
    let before = machine.totals();
    let page = machine.alloc_page(GfpFlags::GFP_KERNEL).unwrap();
    machine.free_pages(page, Order::ZERO).unwrap();
    machine.set_fail_page_alloc(Some(EVERY));
    let failed = AllocError::Injected { gfp: GfpFlags::GFP_KERNEL, order: Order::ZERO };
    let lines = capture_log(|| assert_eq!(machine.alloc_page(GfpFlags::GFP_KERNEL), Err(failed)));
    let line =
        "FAULT_INJECTION: forcing a failure. name fail_page_alloc, interval 1, probability 100, space 0, times -1";
    assert_eq!(lines, [line]);
    let page = machine.alloc_page(GfpFlags::GFP_KERNEL | GfpFlags::NOFAIL).unwrap();
    machine.set_fail_page_alloc(None);
    assert_eq!(machine.injected_failures(), 1);
    machine.free_pages(page, Order::ZERO).unwrap();
    assert_eq!(machine.alloc_page(GfpFlags::GFP_KERNEL), Ok(page));
    machine.set_fail_page_alloc(Some(EVERY));
    assert!(machine.alloc_page(GfpFlags::GFP_KERNEL).is_err());
    machine.set_fail_page_alloc(None);
    assert_eq!(machine.injected_failures(), 2, "since the boot");
    machine.free_pages(page, Order::ZERO).unwrap();
    machine.drain_local();
    assert_eq!(machine.totals(), before);
}

#[test]
fn a_page_is_dumped_with_all_that_is_known_of_it() {
    let machine = Machine::full();
    let pfn = machine.alloc_page(GfpFlags::GFP_KERNEL).unwrap();
    machine.get_page(pfn).unwrap();
    machine.add_mapping(pfn).unwrap();
    let dump = |pfn| std::format!("{}", machine.dump_page(pfn));
    let word = machine.map().page(pfn).unwrap().word().raw();
    let expected = std::format!(
        "page: pfn {pfn} count:2 mapcount:1 private:0x0 owner:0 word:{word:#x} flags:0x1 (allocated, order 0)\n\
         page: node 0 zone Normal, pageblock Unmovable"
    );
    assert_eq!(dump(pfn), expected);
    let hole = "page: pfn 0x1810 count:0 mapcount:0 private:0x0 owner:0 word:0x10 flags:0x0 (in a hole)";
    assert_eq!(dump(Pfn::new(0x1810)), hole);
    assert_eq!(dump(Pfn::new(0x3ff)), "page: pfn 0x3ff is in no zone");
    assert!(std::format!("{:?}", machine.dump_page(pfn)).contains(&std::format!("{pfn:?}")));
}
