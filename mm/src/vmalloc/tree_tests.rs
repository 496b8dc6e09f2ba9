//! The tree of areas against a sorted map that is searched from the start.

use core::panic::Location;
use std::collections::BTreeMap;
use std::vec::Vec;

use super::*;
use crate::addr::VirtAddr;
use crate::testing::scaled;

const START: u32 = 0xf000_0000;
const END: u32 = 0xf800_0000;
const PAGE: u32 = 4096;

/// A generator of its own, so that a run can be repeated.
pub(super) struct Random(pub(super) u64);

impl Random {
    pub(super) fn below(&mut self, end: u32) -> u32 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 33) as u32 % end
    }
}

/// Start to bytes with guard.
type Model = BTreeMap<u32, u32>;

/// Where a first fit puts `need` bytes.
fn first_fit(model: &Model, start: u32, end: u32, need: u32, align: u32) -> Option<u32> {
    let (mut gaps, mut low) = (Vec::new(), start);
    for (at, bytes) in model {
        gaps.push((low, at - low));
        low = at + bytes;
    }
    let fits = |(low, gap): (u32, u32)| {
        let at = low.next_multiple_of(align);
        (at + need <= low + gap).then_some(at)
    };
    let sure = gaps.iter().copied().find(|(_, gap)| *gap >= need + align - PAGE).and_then(fits);
    sure.or_else(|| fits((low, end - low))).or_else(|| gaps.into_iter().find_map(fits))
}

fn area(bytes: u32) -> Area {
    Area { start: VirtAddr::new(0), bytes, kind: AreaKind::Vmap, caller: Location::caller() }
}

#[test]
fn ten_thousand_random_areas_lie_where_a_first_fit_puts_them() {
    let mut nodes = vec![Node::empty(); 2500];
    let mut areas = Areas::new(NodeArena::new(&mut nodes), VirtAddr::new(START), VirtAddr::new(END));
    let (mut model, mut random, mut made) = (Model::new(), Random(0x9e37_79b9_7f4a_7c15), 0);
    let (mut refused, wanted) = (0, scaled(10_000).max(10_000));
    while made < wanted {
        // Waves, so that the addresses run full and empty again.
        let filling = made / 1250 % 2 == 0;
        if random.below(4) < if filling { 3 } else { 1 } || model.is_empty() {
            let pages = if random.below(8) == 0 { 1 + random.below(600) } else { 1 + random.below(12) };
            let align = PAGE << if random.below(4) == 0 { random.below(9) } else { 0 };
            let wanted = first_fit(&model, START, END, (pages + 1) * PAGE, align);
            let nodes_left = model.len() < 2500;
            made += 1;
            match areas.insert(area(pages * PAGE), align) {
                Ok(va) => {
                    assert_eq!(Some(va.raw()), wanted);
                    model.insert(va.raw(), (pages + 1) * PAGE);
                }
                Err(VmallocError::NoAddresses { bytes, align: of }) => {
                    assert_eq!((wanted, bytes, of), (None, pages * PAGE, align));
                    refused += 1;
                }
                Err(VmallocError::NoNode { .. }) => assert!(!nodes_left),
                Err(other) => panic!("{other}"),
            }
        } else {
            let from = START + random.below(END - START);
            let (&at, &bytes) = model.range(from..).next().or(model.iter().next()).unwrap();
            let removed = areas.remove(VirtAddr::new(at)).unwrap();
            assert_eq!(removed.bytes + PAGE, bytes);
            model.remove(&at);
        }
        assert_eq!(areas.validate(), Ok(()));
        assert_eq!((areas.len() as usize, areas.store().used() as usize), (model.len(), model.len()));
    }
    assert!(refused > 0, "the addresses were exhausted on the way");
    let listed: Vec<_> = areas.iter().map(|area| (area.start.raw(), area.bytes + PAGE)).collect();
    assert_eq!(listed, model.iter().map(|(at, bytes)| (*at, *bytes)).collect::<Vec<_>>());
    for (at, bytes) in &model {
        let found = |va: u32| areas.containing(VirtAddr::new(va)).map(|area| area.start.raw());
        assert_eq!((found(*at), found(at + bytes - PAGE - 1)), (Some(*at), Some(*at)));
        assert_eq!(found(at + bytes - PAGE), None, "a guard belongs to nobody");
    }
    for at in model.keys() {
        assert!(areas.remove(VirtAddr::new(*at)).is_some());
    }
    assert_eq!((areas.len(), areas.store().used(), areas.validate()), (0, 0, Ok(())));
}

#[test]
fn addresses_run_out_and_come_back() {
    let mut nodes = vec![Node::empty(); 64];
    let mut areas = Areas::new(NodeArena::new(&mut nodes), VirtAddr::new(START), VirtAddr::new(START + 64 * PAGE));
    // 32 areas of a page and its guard.
    let all: Vec<_> = (0..32).map(|_| areas.insert(area(PAGE), 0).unwrap()).collect();
    assert_eq!(areas.insert(area(PAGE), 0), Err(VmallocError::NoAddresses { bytes: PAGE, align: PAGE }));
    areas.remove(all[7]).unwrap();
    assert!(areas.insert(area(2 * PAGE), 0).is_err(), "a hole of two pages has room for one and its guard");
    areas.remove(all[8]).unwrap();
    assert_eq!(areas.insert(area(3 * PAGE), 0), Ok(all[7]));
    assert_eq!(areas.validate(), Ok(()));
    assert_eq!(areas.remove(all[8]), None);
    assert!(areas.remove(all[7]).is_some());
    // 64 KiB-aligned addresses with 15 pages on either side taken: only the exhaustive search finds them.
    for va in &all {
        areas.remove(*va);
    }
    assert_eq!(areas.insert(area(15 * PAGE), 0), Ok(VirtAddr::new(START)));
    let hole = areas.insert(area(PAGE), 1 << 16).unwrap();
    assert_eq!(hole.raw(), START + (16 << 12));
    assert!(areas.insert(area(45 * PAGE), 0).is_ok());
    areas.remove(hole).unwrap();
    assert_eq!(areas.insert(area(PAGE), 1 << 16), Ok(hole));
}

#[test]
fn requests_that_make_no_sense_and_a_store_that_is_empty_change_nothing() {
    let mut nodes = vec![Node::empty(); 1];
    let mut areas = Areas::new(NodeArena::new(&mut nodes), VirtAddr::new(START), VirtAddr::new(END));
    for (bytes, align) in [(0, PAGE), (100, PAGE), (PAGE, 3 * PAGE), (u32::MAX - PAGE + 1, PAGE)] {
        assert_eq!(areas.insert(area(bytes), align), Err(VmallocError::Size { bytes, align }));
    }
    assert!(matches!(areas.insert(area(END - START), PAGE), Err(VmallocError::NoAddresses { .. })));
    areas.insert(area(PAGE), PAGE).unwrap();
    assert_eq!(areas.insert(area(PAGE), PAGE), Err(VmallocError::NoNode { bytes: PAGE }));
    assert_eq!((areas.len(), areas.validate()), (1, Ok(())));
    let line = InfoLine(Area {
        kind: AreaKind::Ioremap(crate::addr::PhysAddr::new(0x1c01_0000)),
        ..*areas.iter().next().unwrap()
    });
    let line = std::format!("{line}");
    assert!(line.starts_with("0xf0000000-0xf0002000    8192 mm/src/vmalloc/tree_tests.rs:"), "{line}");
    assert!(line.ends_with(" phys=0x1c010000 ioremap"), "{line}");
}
