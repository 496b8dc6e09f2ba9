//! The allocator against a model that keeps every allocation in a map.

use std::collections::BTreeMap;
use std::vec;
use std::vec::Vec;

use proptest::prelude::*;

use super::*;
use crate::testing::scaled;

fn layout() -> ChunkLayout {
    ChunkLayout::first(45_013, 2).unwrap()
}

fn storage(layout: &ChunkLayout) -> Vec<u32> {
    // Garbage: memory from memblock is not zeroed.
    vec![0xdead_beef; PerCpuAllocator::storage_words(layout) as usize]
}

#[test]
fn both_parts_lie_behind_the_static_image_and_apart() {
    let layout = layout();
    let mut words = storage(&layout);
    let mut alloc = PerCpuAllocator::new(&layout, &mut words).unwrap();
    assert_eq!(alloc.validate(), Ok(()));
    // 45,013 + 8,192 = 53,205: grains from 45,016 to 53,204 and from 53,208 to 73,728.
    assert_eq!(alloc.free_bytes(Area::Reserved), 53_204 - 45_016);
    assert_eq!(alloc.free_bytes(Area::Dynamic), 73_728 - 53_208);
    assert_eq!(alloc.alloc(1, 1, Area::Reserved), Ok(45_016));
    assert_eq!(alloc.alloc(5, 1, Area::Dynamic), Ok(53_208));
    assert_eq!(alloc.alloc(4, 64, Area::Dynamic), Ok(53_248));
    assert_eq!(alloc.alloc(4, 4096, Area::Dynamic), Ok(53_248 + 4096));
    assert_eq!((alloc.used_bytes(Area::Reserved), alloc.used_bytes(Area::Dynamic)), (4, 16));
    assert_eq!(alloc.validate(), Ok(()));
}

#[test]
fn a_full_part_says_so_and_is_whole_again_after_the_frees() {
    let layout = layout();
    let mut words = storage(&layout);
    let mut alloc = PerCpuAllocator::new(&layout, &mut words).unwrap();
    let all = alloc.free_bytes(Area::Dynamic);
    let mut offsets = Vec::new();
    while let Ok(offset) = alloc.alloc(24, 8, Area::Dynamic) {
        offsets.push(offset);
    }
    // Nothing is left between neighbours: 20,520 / 24 = 855.
    assert_eq!((offsets.len(), alloc.used_bytes(Area::Dynamic)), (855, all));
    assert_eq!(alloc.alloc(24, 8, Area::Dynamic), Err(AllocError::NoSpace { size: 24, align: 8 }));
    assert!(alloc.alloc(24, 8, Area::Reserved).is_ok(), "a full dynamic part leaves the reserved one alone");
    assert!(offsets.into_iter().all(|offset| alloc.free(offset) == Ok(24)));
    assert_eq!((alloc.free_bytes(Area::Dynamic), alloc.validate()), (all, Ok(())));
    assert!(alloc.alloc(all, 4, Area::Dynamic).is_ok());
}

#[test]
fn wrong_sizes_and_alignments_are_refused() {
    let layout = layout();
    let mut words = storage(&layout);
    let mut alloc = PerCpuAllocator::new(&layout, &mut words).unwrap();
    for size in [0, 32_769, u32::MAX] {
        assert_eq!(alloc.alloc(size, 4, Area::Dynamic), Err(AllocError::Size(size)));
    }
    for align in [0, 3, 8192, u32::MAX] {
        assert_eq!(alloc.alloc(4, align, Area::Dynamic), Err(AllocError::Align(align)));
    }
    assert_eq!(alloc.used_bytes(Area::Dynamic), 0);
}

#[test]
fn a_wrong_free_is_named_and_changes_nothing() {
    let layout = layout();
    let mut words = storage(&layout);
    let mut alloc = PerCpuAllocator::new(&layout, &mut words).unwrap();
    let offset = alloc.alloc(12, 4, Area::Dynamic).unwrap();
    assert_eq!(alloc.free(offset + 4), Err(FreeError::Inside(offset + 4)));
    assert_eq!(alloc.free(offset + 12), Err(FreeError::NotAllocated(offset + 12)));
    for foreign in [0, 45_012, 53_204, offset + 1, 73_728, u32::MAX] {
        assert_eq!(alloc.free(foreign), Err(FreeError::Foreign(foreign)));
    }
    assert_eq!((alloc.used_bytes(Area::Dynamic), alloc.validate()), (12, Ok(())));
    assert_eq!(alloc.free(offset), Ok(12));
    assert_eq!(alloc.free(offset), Err(FreeError::NotAllocated(offset)));
}

#[test]
fn validation_sees_each_kind_of_damage() {
    let layout = layout();
    let mut words = storage(&layout);
    let mut alloc = PerCpuAllocator::new(&layout, &mut words).unwrap();
    alloc.alloc(8, 4, Area::Dynamic).unwrap();
    let grain = alloc.parts[1].start;
    let offset = alloc.base + grain * GRAIN;
    bitmap::put(alloc.first, grain, grain + 1, false);
    assert_eq!(alloc.validate(), Err(AllocatorBroken::RunWithoutFirst(offset)));
    bitmap::put(alloc.first, grain, grain + 1, true);
    bitmap::put(alloc.first, grain + 5, grain + 6, true);
    assert_eq!(alloc.validate(), Err(AllocatorBroken::FirstNotUsed(offset + 20)));
    bitmap::put(alloc.first, grain + 5, grain + 6, false);
    bitmap::put(alloc.used, grain + 2, grain + 3, true);
    assert_eq!(alloc.validate(), Err(AllocatorBroken::Count(8, 12)));
    bitmap::put(alloc.used, grain + 2, grain + 3, false);
    // The grain between the parts, which the unaligned border cost.
    bitmap::put(alloc.used, grain - 1, grain, true);
    assert_eq!(alloc.validate(), Err(AllocatorBroken::Outside));
}

#[test]
fn storage_that_is_too_small_is_refused() {
    let layout = layout();
    let need = PerCpuAllocator::storage_words(&layout);
    let mut words = vec![0; need as usize - 1];
    assert_eq!(PerCpuAllocator::new(&layout, &mut words).err(), Some(AllocError::Storage(need)));
}

#[test]
fn a_unit_that_is_all_static_has_nothing_to_give() {
    for static_size in [4093, 4096] {
        let layout = ChunkLayout::embed(static_size, 0, 0, 1).unwrap();
        let mut alloc = PerCpuAllocator::new(&layout, &mut []).unwrap();
        assert_eq!(alloc.alloc(1, 1, Area::Reserved), Err(AllocError::NoSpace { size: 1, align: 1 }));
        assert_eq!(alloc.alloc(1, 1, Area::Dynamic), Err(AllocError::NoSpace { size: 1, align: 1 }));
        assert_eq!((alloc.free_bytes(Area::Dynamic), alloc.validate()), (0, Ok(())));
    }
}

#[derive(Clone, Debug)]
enum Step {
    Alloc(u32, u32, Area),
    Free(usize),
    Wild(u32),
}

fn step() -> impl Strategy<Value = Step> {
    let area = prop_oneof![Just(Area::Reserved), Just(Area::Dynamic)];
    prop_oneof![
        5 => (1_u32..1500, 0_u32..13, area).prop_map(|(size, log, area)| Step::Alloc(size, 1 << log, area)),
        4 => any::<usize>().prop_map(Step::Free),
        1 => (40_000_u32..80_000).prop_map(Step::Wild),
    ]
}

/// Whether `size` bytes at `align` fit anywhere in `from..to` between the live allocations.
fn fits(live: &BTreeMap<u32, u32>, from: u32, to: u32, size: u32, align: u32) -> bool {
    let starts = [from].into_iter().chain(live.iter().map(|(offset, size)| offset + size));
    starts.filter(|start| (from..to).contains(start)).any(|start| {
        let start = start.next_multiple_of(align.max(GRAIN));
        let end = start + size.next_multiple_of(GRAIN);
        end <= to && live.range(..end).next_back().is_none_or(|(other, bytes)| other + bytes <= start)
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(scaled(64)))]

    #[test]
    fn it_agrees_with_the_model(static_size in 44_000_u32..46_000, steps in prop::collection::vec(step(), 1..200)) {
        let layout = ChunkLayout::first(static_size, 1).unwrap();
        let mut words = storage(&layout);
        let mut alloc = PerCpuAllocator::new(&layout, &mut words).unwrap();
        let base = static_size.next_multiple_of(GRAIN);
        let border = static_size + layout.reserved_size();
        let bounds = |area| match area {
            Area::Reserved => (base, border / GRAIN * GRAIN),
            Area::Dynamic => (border.next_multiple_of(GRAIN), layout.used_size()),
        };
        let mut live = BTreeMap::new();
        for step in steps {
            match step {
                Step::Alloc(size, align, area) => {
                    let (from, to) = bounds(area);
                    match alloc.alloc(size, align, area) {
                        Ok(offset) => {
                            let bytes = size.next_multiple_of(GRAIN);
                            prop_assert!(offset >= from && offset + bytes <= to && offset % align.max(GRAIN) == 0);
                            let below: Option<(&u32, &u32)> = live.range(..offset + bytes).next_back();
                            prop_assert!(below.is_none_or(|(other, bytes)| other + bytes <= offset), "overlap");
                            live.insert(offset, bytes);
                        }
                        Err(error) => {
                            prop_assert_eq!(error, AllocError::NoSpace { size, align });
                            prop_assert!(!fits(&live, from, to, size, align), "there was room for {:?}", step);
                        }
                    }
                }
                Step::Free(pick) if !live.is_empty() => {
                    let (&offset, &bytes) = live.iter().nth(pick % live.len()).unwrap();
                    prop_assert_eq!(alloc.free(offset), Ok(bytes));
                    live.remove(&offset);
                }
                Step::Free(_) => {}
                Step::Wild(offset) => prop_assert_eq!(alloc.free(offset).ok(), live.remove(&offset)),
            }
            prop_assert_eq!(alloc.validate(), Ok(()));
            let used = alloc.used_bytes(Area::Reserved) + alloc.used_bytes(Area::Dynamic);
            prop_assert_eq!(used, live.values().sum::<u32>());
        }
        for offset in live.into_keys() {
            prop_assert!(alloc.free(offset).is_ok());
        }
        prop_assert_eq!((alloc.used_bytes(Area::Reserved), alloc.used_bytes(Area::Dynamic)), (0, 0));
    }
}
