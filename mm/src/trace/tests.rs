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
use crate::trace::replay::ReplayError;
use crate::trace::story::{Story, StoryError};
use crate::trace::{END, Event, MAGIC, SLOT_WORDS, TraceRing, What};
use crate::zone::{MAX_NR_ZONES, ZoneType};

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

/// The story of a zone of one pageblock: all pages are given back, `last` happens, and `free` pages are left.
fn story(last: &[Event], free: &[u32]) -> Story {
    const PAGES: u32 = 1 << 10;
    // The kind of zone, its frames, its marks, a pageset that stocks nothing, and no reserves.
    let zone = [u32::try_from(ZoneType::Normal.index()).unwrap(), 0, PAGES, 0, 0, 0, 0, 1];
    let mut words = Vec::from([MAGIC, 1]);
    words.extend(zone.into_iter().chain([0; MAX_NR_ZONES]));
    words.extend([0, PAGES, END, END, MigrateType::Unmovable as u32]);
    let freed = (0..PAGES).map(|pfn| event(What::Free { cold: false }, Some(pfn)));
    words.extend(freed.chain(last.iter().copied()).flat_map(|event| event.words()));
    if !free.is_empty() {
        words.push(END);
        words.extend(free);
    }
    Story::read(&words).unwrap()
}

fn event(what: What, pfn: Option<u32>) -> Event {
    Event { what, cpu: CpuId::new(0), pfn: pfn.map(Pfn::new), order: Order::ZERO }
}

#[test]
fn a_story_that_ends_must_have_each_answer_and_one_that_breaks_off_may_lack_the_last() {
    let gfp = GfpFlags::GFP_KERNEL;
    let (request, answer) = (event(What::Request { gfp }, None), event(What::Alloc { gfp }, Some(0)));
    story(&[request, answer], &[1023]).replay().unwrap();
    story(&[request], &[]).replay().unwrap();
    let lost = story(&[request], &[1023]).replay();
    assert!(matches!(lost, Err(StoryError::Replay(ReplayError::NoAnswer(event))) if event == request), "{lost:?}");
    let other = story(&[request, answer], &[1022]).replay();
    assert!(matches!(other, Err(StoryError::End(now, then)) if (&now[..], &then[..]) == (&[1023], &[1022])));
}
