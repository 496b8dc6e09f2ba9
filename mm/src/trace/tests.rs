//! Events survive their words; the ring keeps the latest.

use std::boxed::Box;
use std::vec::Vec;

use core::sync::atomic::AtomicU32;

use crate::addr::Pfn;
use crate::gfp::GfpFlags;
use crate::migrate::MigrateType;
use crate::order::Order;
use crate::sync::{CpuId, set_host_cpu};
use crate::testing::HostIrq;
use crate::trace::{Event, SLOT_WORDS, TraceRing, What};

fn ring(slots: usize) -> TraceRing<'static> {
    let words: &'static [AtomicU32] = Box::leak((0..slots * SLOT_WORDS).map(|_| AtomicU32::new(0)).collect());
    TraceRing::new::<HostIrq>(words).unwrap()
}

fn every_kind() -> Vec<What> {
    let (gfp, from, kind) = (GfpFlags::GFP_HIGHUSER_MOVABLE, Order::LARGEST, MigrateType::Isolate);
    std::vec![
        What::Request { gfp },
        What::Alloc { gfp },
        What::Failed { gfp },
        What::Free { cold: true },
        What::Free { cold: false },
        What::DrainLocal,
        What::Cut,
        What::Split { from, kind },
        What::Merge { from, kind },
        What::Fallback { wanted: MigrateType::Movable, from: kind, size: from },
        What::Steal { to: kind, pages: 1024 },
        What::Refill { kind, pages: 31 },
        What::Drain { pages: 31 },
    ]
}

#[test]
fn every_event_comes_out_of_the_ring_as_it_went_in() {
    let ring = ring(64);
    set_host_cpu(CpuId::new(3));
    let mut expected = Vec::new();
    for what in every_kind() {
        for pfn in [None, Some(Pfn::new(0)), Some(Pfn::new(0xf_ffff))] {
            ring.write(what, pfn, Order::LARGEST);
            expected.push(Event { what, cpu: CpuId::new(3), pfn, order: Order::LARGEST });
        }
    }
    assert_eq!(ring.events().collect::<Vec<_>>(), expected);
    set_host_cpu(CpuId::new(0));
}

#[test]
fn a_full_ring_keeps_the_latest_events_and_counts_them_all() {
    let ring = ring(4);
    for pfn in 0..10 {
        ring.write(What::Free { cold: false }, Some(Pfn::new(pfn)), Order::ZERO);
    }
    assert_eq!(ring.written(), 10);
    assert_eq!(ring.read(5), None);
    assert_eq!(ring.read(10), None);
    let kept: Vec<_> = ring.events().filter_map(|event| event.pfn).map(Pfn::raw).collect();
    assert_eq!(kept, [6, 7, 8, 9]);
}

#[test]
fn events_print_with_linuxs_names() {
    let ring = ring(4);
    set_host_cpu(CpuId::new(1));
    ring.write(What::Alloc { gfp: GfpFlags::GFP_KERNEL }, Some(Pfn::new(0x80000)), Order::ZERO);
    ring.write(What::Drain { pages: 7 }, None, Order::ZERO);
    set_host_cpu(CpuId::new(0));
    let lines = std::format!("{ring}");
    assert_eq!(
        lines,
        "[001] mm_page_alloc: pfn=0x80000 order=0 gfp_flags=0xd0\n[001] mm_page_pcpu_drain: order=0 pages=7\n"
    );
}
