//! What the memory map says of frames, before and after blocks are laid over them.

use core::mem::MaybeUninit;
use std::vec::Vec;

use super::*;
use crate::addr::NodeId;
use crate::migrate::MigrateType;
use crate::zone::ZoneType;

const NORMAL: ZoneTag = ZoneTag::new(NodeId::ZERO, ZoneType::Normal);
const HIGH: ZoneTag = ZoneTag::new(NodeId::ZERO, ZoneType::HighMem);

fn range(start: u32, end: u32) -> PfnRange {
    PfnRange::new(Pfn::new(start), Pfn::new(end))
}

fn storage(pages: usize) -> Vec<MaybeUninit<Page>> {
    (0..pages).map(|_| MaybeUninit::uninit()).collect()
}

#[test]
fn a_new_map_knows_holes_and_calls_every_other_frame_reserved() {
    let mut memory = storage(3 * 1024);
    let runs = [
        FrameRun { frames: range(1030, 2000), zone: NORMAL },
        FrameRun { frames: range(2000, 2100), zone: HIGH },
        FrameRun { frames: range(2200, 3500), zone: HIGH },
    ];
    let map = MemMap::init(&mut memory, range(1030, 3500), runs).unwrap();
    assert_eq!(map.span(), range(1024, 4096));
    for pfn in map.span().iter() {
        let run = runs.iter().find(|run| run.frames.contains(pfn));
        assert_eq!(map.is_present(pfn), run.is_some());
        assert_eq!(map.state(pfn), Some(if run.is_some() { PageState::Reserved } else { PageState::Hole }));
        if let Some(run) = run {
            assert_eq!(map.at(pfn).zone(), run.zone);
            assert_eq!((map.at(pfn).private(), map.at(pfn).mapcount()), (0, 0));
        }
        assert_eq!(map.pfn_of(map.at(pfn)), Some(pfn));
    }
    assert_eq!(map.state(Pfn::new(1023)), None);
    assert_eq!(map.state(Pfn::new(4096)), None);
    assert_eq!(map.state(Pfn::new(u32::MAX)), None);
}

#[test]
fn runs_out_of_order_or_outside_and_storage_of_a_wrong_length_are_refused() {
    let run = |start, end| FrameRun { frames: range(start, end), zone: NORMAL };
    let error = |len, runs: &[FrameRun]| MemMap::init(&mut storage(len), range(0, 1024), runs.iter().copied()).err();
    assert_eq!(error(1023, &[]), Some(MapError::WrongLength { entries: 1023, needed: 1024 }));
    assert_eq!(error(1024, &[run(10, 20), run(19, 30)]), Some(MapError::Unordered(run(19, 30))));
    assert_eq!(error(1024, &[run(10, 1025)]), Some(MapError::Unordered(run(10, 1025))));
    assert_eq!(error(1024, &[run(0, 1024)]), None);
}

#[test]
fn a_tail_is_found_from_its_head_alone_and_frames_behind_the_block_stay_reserved() {
    let mut memory = storage(1024);
    let map = MemMap::init(&mut memory, range(0, 1024), [FrameRun { frames: range(0, 1024), zone: NORMAL }]).unwrap();
    let order = Order::new(5).unwrap();
    let head = Pfn::new(64);
    map.at(head).set_word(StateWord::free(order, MigrateType::Movable, ZoneTag::NOWHERE));
    for pfn in map.span().iter() {
        let expected = match pfn.raw() {
            64 => PageState::Free(order),
            65..96 => PageState::Tail { head, order },
            _ => PageState::Reserved,
        };
        assert_eq!(map.state(pfn), Some(expected), "{pfn}");
    }
}

#[test]
fn the_map_of_ram_that_ends_at_4_gib_covers_the_last_frame() {
    assert_eq!(MemMap::coverage(range(0x8_0005, 0x10_0000)), range(0x8_0000, 0x10_0000));
    assert_eq!(MemMap::coverage(range(5, 1025)), range(0, 2048));
}

#[test]
fn tags_and_zones_are_each_others_inverse() {
    for node in 0..4 {
        for zone in ZoneType::ALL {
            let tag = ZoneTag::new(NodeId::new(node).unwrap(), zone);
            assert_eq!((tag.node().raw(), tag.zone()), (node, zone));
        }
    }
}

#[test]
fn each_pageblock_has_a_type_of_its_own_also_when_the_zone_begins_inside_one() {
    let span = range(1500, 1500 + 20 * 1024);
    let types: Vec<_> = (0..Usemap::bytes_for(span)).map(|_| core::sync::atomic::AtomicU8::new(0)).collect();
    // Frames 1500 to 21979 touch pageblocks 1 to 21: 21 blocks.
    assert_eq!(types.len(), 21);
    assert!(Usemap::new(&types[..20], span, MigrateType::Movable).is_none());
    let map = Usemap::new(&types, span, MigrateType::Movable).unwrap();
    map.set(Pfn::new(9 * 1024 + 5), MigrateType::Cma);
    for pfn in span.iter() {
        let expected = if pfn.raw() / 1024 == 9 { MigrateType::Cma } else { MigrateType::Movable };
        assert_eq!(map.get(pfn), expected, "{pfn}");
    }
}

#[test]
fn what_heads_a_block_is_no_tail_not_reserved_and_no_hole() {
    let mut memory = storage(1024);
    let runs = [FrameRun { frames: range(1024, 1536), zone: NORMAL }];
    let map = MemMap::init(&mut memory, range(1024, 2048), runs).unwrap();
    let heads = |pfn| map.at(Pfn::new(pfn)).heads_block();
    assert!(!heads(1024) && !heads(1536), "reserved, and a hole");
    map.at(Pfn::new(1024)).set_word(StateWord::free(Order::ZERO, MigrateType::Movable, NORMAL));
    map.at(Pfn::new(1025)).set_word(StateWord::allocated(Order::ZERO, MigrateType::Movable));
    assert!(heads(1024) && heads(1025) && !heads(1026));
    // The same entries from a frame on; none beside the map.
    let rest = map.pages_from(Pfn::new(1025));
    assert!(rest.len() == 1023 && rest[0].heads_block() && !rest[1].heads_block());
    assert!(map.pages_from(Pfn::new(1023)).is_empty());
}
