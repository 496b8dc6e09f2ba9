//! Lanes against bitmaps.

use std::vec;
use std::vec::Vec;

use proptest::prelude::*;

use super::*;
use crate::testing::scaled;

const SPAN: u32 = 2 * PAGEBLOCK_PAGES;
const KIND: MigrateType = MigrateType::Movable;

fn lanes() -> Lanes<'static> {
    let span = PfnRange::new(Pfn::new(PAGEBLOCK_PAGES), Pfn::new(PAGEBLOCK_PAGES + SPAN));
    let words = vec![u32::MAX; Lanes::words_for(span)].leak();
    let mut lanes = Lanes::new(span, |_| 0, words).unwrap();
    for block in [1, 2] {
        lanes.begin(Pfn::new(block * PAGEBLOCK_PAGES), KIND as u32);
    }
    lanes
}

/// The aligned runs of `order` that are free, longer ones too.
fn runs(free: &[bool], order: Order) -> impl Iterator<Item = u32> {
    let chunks = (PAGEBLOCK_PAGES..).step_by(order.pages() as usize).zip(free.chunks(order.pages() as usize));
    chunks.filter(|(_, chunk)| chunk.iter().all(|free| *free)).map(|(first, _)| first)
}

fn check(lanes: &Lanes<'_>, free: &[bool]) {
    for order in Order::all().take(LEVELS) {
        let count = |order: Option<Order>| -> u32 { order.map_or(0, |order| runs(free, order).map(|_| 1).sum()) };
        let longer = order.next().filter(|next| next.index() < LEVELS);
        assert_eq!(lanes.count(order, KIND), count(Some(order)) - 2 * count(longer), "{order:?}");
        assert_eq!(lanes.find(order, KIND).map(Pfn::raw), runs(free, order).next(), "{order:?}");
    }
    let first = lanes.first(KIND).map(|(start, pages)| start.raw() + pages.trailing_zeros());
    assert_eq!(first, runs(free, Order::ZERO).next());
    assert_eq!(lanes.first(MigrateType::Unmovable), None);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: scaled(200), failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn counts_and_searches_are_those_of_a_bitmap(steps in prop::collection::vec((0..SPAN, 0..5u8, 0..4u8), 1..200)) {
        let (mut lanes, mut free) = (lanes(), vec![false; SPAN as usize]);
        for (offset, log2, what) in steps {
            // Most of it happens in two lanes, which so become full.
            let offset = if what > 0 { offset % 64 } else { offset };
            let order = Order::new(log2).unwrap();
            let first = offset & !(order.pages() - 1);
            let (pfn, place) = (Pfn::new(PAGEBLOCK_PAGES + first), first as usize..(first + order.pages()) as usize);
            let run: Vec<bool> = free[place.clone()].to_vec();
            if run.iter().all(|free| !free) {
                free[place].fill(true);
                let added = lanes.add(pfn, order.log2()).unwrap();
                let lane = (first / LANE * LANE) as usize..(first / LANE * LANE + LANE) as usize;
                assert_eq!(added.is_full, free[lane.clone()].iter().all(|free| *free));
                if added.is_full {
                    free[lane].fill(false);
                }
            } else if run.iter().all(|free| *free) {
                free[place].fill(false);
                lanes.remove(pfn, order.log2());
            } else if what == 3 {
                let start = (first / LANE * LANE) as usize;
                let word = lanes.word(pfn);
                let left = word & 0x0ff0_f00f;
                lanes.keep(pfn, left);
                (0..32).for_each(|bit| free[start + bit] = left >> bit & 1 != 0);
            }
            check(&lanes, &free);
        }
        for block in [1, 2] {
            lanes.stop(Pfn::new(block * PAGEBLOCK_PAGES));
            assert!(lanes.add(Pfn::new(block * PAGEBLOCK_PAGES), 0).is_none());
        }
    }
}

#[test]
fn a_lane_that_is_filled_at_once_is_as_one_filled_page_by_page() {
    for pages in [1, 0xf0f0_8001, 0xffff_fffe, 0xffff_0000] {
        let (mut at_once, mut one_by_one) = (lanes(), lanes());
        let start = Pfn::new(PAGEBLOCK_PAGES + LANE);
        at_once.fill(start, pages);
        let bits = (0..LANE).filter(|bit| pages >> bit & 1 != 0);
        bits.for_each(|bit| assert!(!one_by_one.add(Pfn::new(start.raw() + bit), 0).unwrap().is_full));
        assert_eq!(at_once.blocks, one_by_one.blocks);
        assert_eq!(at_once.runs, one_by_one.runs);
        assert_eq!(at_once.take_lane(start), pages);
        assert_eq!(at_once.runs, lanes().runs);
    }
}

#[test]
fn lanes_take_the_words_that_they_ask_for_and_no_fewer() {
    let span = PfnRange::new(Pfn::new(PAGEBLOCK_PAGES - 1), Pfn::new(3 * PAGEBLOCK_PAGES + 1));
    let mut words = vec![u32::MAX; Lanes::words_for(span)];
    assert!(Lanes::new(span, |_| 0, &mut words).is_some());
    let last = words.len() - 1;
    assert!(Lanes::new(span, |_| 0, &mut words[..last]).is_none());
}

#[test]
fn hints_name_the_lanes_that_listed_blocks_head() {
    let mut lanes = lanes();
    let order = |raw| Order::new(raw).unwrap();
    let base = Pfn::new(PAGEBLOCK_PAGES);
    lanes.listed_halves(base, Order::LARGEST, order(6));
    // Halves of 2, 4, 8 and 16 lanes.
    assert_eq!(lanes.blocks[0][HINTS], 1 << 2 | 1 << 4 | 1 << 8 | 1 << 16);
    lanes.unlisted(Pfn::new(base.raw() + 2 * LANE));
    // What was at 4 and 0 is a block of eight lanes now.
    lanes.listed(base, 8);
    assert_eq!(lanes.blocks[0][HINTS], 1 | 1 << 8 | 1 << 16);
    assert_eq!(lanes.first(KIND), Some((base, 0)));
    assert_eq!(lanes.front(KIND), Some(Pfn::new(2 * PAGEBLOCK_PAGES)));
    lanes.end(base);
    assert_eq!(lanes.first(KIND), None);
}

#[test]
fn whatever_is_wrong_with_lanes_is_named() {
    use crate::buddy::Broken;
    use crate::buddy::model::{NORMAL, map_of, range, zone_of};
    use crate::memmap::{FrameRun, StateWord};

    let span = range(PAGEBLOCK_PAGES, PAGEBLOCK_PAGES + SPAN);
    let frames = zone_of(map_of(&[FrameRun { frames: span, zone: NORMAL }]), NORMAL, span);
    let fresh = || {
        let words = vec![0; Lanes::words_for(span)].leak();
        let mut lanes = Lanes::new(span, |_| KIND as u32, words).unwrap();
        lanes.begin(span.start, KIND as u32);
        lanes.add(Pfn::new(span.start.raw() + 2 * LANE), 1);
        lanes
    };
    let free = StateWord::free(Order::ZERO, KIND, NORMAL);
    for pfn in [0, 1] {
        frames.map.at(Pfn::new(span.start.raw() + 2 * LANE + pfn)).set_word(free);
    }
    let verdict = |lanes: &Lanes<'_>| match lanes.validate(&frames, |_| false) {
        Err(Broken::Count { what, .. }) => what,
        Err(other) => panic!("{other}"),
        Ok(()) => "nothing",
    };
    let wrong = |harm: &dyn Fn(&mut Lanes<'_>)| {
        let mut lanes = fresh();
        harm(&mut lanes);
        verdict(&lanes)
    };
    assert_eq!(wrong(&|_| ()), "nothing");
    assert_eq!(wrong(&|lanes| lanes.blocks[0][HOME] ^= 1), "type of a pageblock");
    assert_eq!(wrong(&|lanes| lanes.blocks[0][super::KIND] ^= 1), "type of lanes");
    for place in [0, LANES - 1, LANES, HINTS] {
        assert_eq!(wrong(&|lanes| lanes.blocks[1][place] = 1), "lanes with pages where there are none");
    }
    assert_eq!(wrong(&|lanes| lanes.blocks[0][2] ^= 1), "bits of free pages in a lane");
    assert_eq!(wrong(&|lanes| lanes.blocks[0][3] = 1), "bits of free pages in a lane");
    assert_eq!(wrong(&|lanes| lanes.blocks[0][HINTS] ^= 1 << 2), "hints at a lane");
    assert_eq!(wrong(&|lanes| lanes.blocks[0][HINTS] ^= 1 << 3), "hints at a lane");
    assert_eq!(wrong(&|lanes| lanes.hinted.remove(KIND as usize, 0)), "pageblocks with hints");
    assert_eq!(wrong(&|lanes| lanes.hinted.insert(KIND as usize, 1)), "pageblocks with hints");
    assert_eq!(wrong(&|lanes| lanes.hinted.insert(MigrateType::Unmovable as usize, 0)), "pageblocks with hints");
    for level in 1..LEVELS {
        assert_eq!(wrong(&|lanes| lanes.blocks[0][RUNS + level] += 1), "runs in a pageblock");
    }
    for level in 0..LEVELS {
        assert_eq!(wrong(&|lanes| lanes.runs[KIND as usize][level] += 1), "runs in lanes");
        assert_eq!(wrong(&|lanes| lanes.runs[MigrateType::Unmovable as usize][level] += 1), "runs in lanes");
    }
    // A lane that is full should have become a listed block.
    let lane = span.start.raw() + 3 * LANE;
    let all = |word| (lane..lane + LANE).for_each(|pfn| frames.map.at(Pfn::new(pfn)).set_word(word));
    all(free);
    assert_eq!(wrong(&|lanes| lanes.blocks[0][3] = u32::MAX), "full lanes");
    all(StateWord::INSIDE);
    // A largest block has no lanes.
    frames.map.at(span.start).set_word(StateWord::free(Order::LARGEST, KIND, NORMAL));
    assert_eq!(wrong(&|_| ()), "whole pageblocks with lanes");
}
