//! Memblock against a model: an array of pages, each with its attributes.

use std::vec;
use std::vec::Vec;

use proptest::prelude::*;

use super::{PAGE, arrays, node, range};
use crate::addr::{PhysAddr, PhysRange};
use crate::memblock::{AllocRequest, Direction, Memblock, RangeFilter, Region, RegionFlags};
use crate::testing::{FakeRam, scaled};

/// What one page of the model is.
type ModelPage = (Option<(u32, u32)>, bool);

/// Pages of the model.
const PAGES: usize = 96;
/// The model's first page: RAM in the middle of the address space.
const FIRST: u64 = 0x8000_0000 / PAGE;

#[derive(Clone, Debug)]
enum Edit {
    Add(u32, u32),
    Remove,
    Reserve,
    Free,
    Mark(u32, bool),
    SetNode(u32),
    Alloc { pages: usize, align: u32, node: Option<u32>, exact: bool, bottom_up: bool, limit: usize },
}

fn edits() -> impl Strategy<Value = (Edit, usize, usize)> {
    let flag = prop_oneof![Just(1_u32), Just(4)];
    let edit = prop_oneof![
        3 => (0..3_u32, prop_oneof![Just(0_u32), Just(1), Just(4)]).prop_map(|(n, f)| Edit::Add(n, f)),
        2 => Just(Edit::Remove),
        3 => Just(Edit::Reserve),
        2 => Just(Edit::Free),
        2 => (flag, any::<bool>()).prop_map(|(f, on)| Edit::Mark(f, on)),
        1 => (0..3_u32).prop_map(Edit::SetNode),
        4 => (1..6_usize, 0..3_u32, prop::option::of(0..3_u32), any::<bool>(), any::<bool>(), 0..=PAGES).prop_map(
            |(pages, align, node, exact, bottom_up, limit)| Edit::Alloc { pages, align, node, exact, bottom_up, limit }
        ),
    ];
    (edit, 0..PAGES, 0..16_usize)
}

fn bytes_of(first: usize, count: usize) -> PhysRange {
    let first = FIRST + first as u64;
    range(first * PAGE, (first + count as u64) * PAGE)
}

/// The model's pages, read back from the lists.
fn pages_of(mb: &Memblock<'_>) -> Vec<ModelPage> {
    let page = |index| {
        let start = bytes_of(index, 1).start;
        (mb.memory_at(start).map(|region| (region.flags().bits(), region.node().raw())), mb.is_reserved(start))
    };
    (0..PAGES).map(page).collect()
}

/// Where the model says that an allocation lands.
fn model_alloc(model: &[ModelPage], edit: &Edit) -> Option<usize> {
    let Edit::Alloc { pages, align, node, exact, bottom_up, limit } = *edit else { return None };
    let fits = |start: usize, node: Option<u32>| {
        (FIRST + start as u64).is_multiple_of(1 << align)
            && start + pages <= limit
            && model[start..start + pages].iter().all(|(memory, taken)| {
                memory.is_some_and(|(flags, on)| flags & 4 == 0 && node.is_none_or(|node| node == on)) && !taken
            })
            // A place never crosses from one region into another.
            && model[start..start + pages].iter().all(|(memory, _)| *memory == model[start].0)
    };
    let pick = |node| {
        let mut all = (0..=PAGES - pages).filter(|&start| fits(start, node));
        if bottom_up { all.next() } else { all.next_back() }
    };
    pick(node).or_else(|| if node.is_some() && !exact { pick(None) } else { None })
}

fn apply(mb: &mut Memblock<'_>, model: &mut [ModelPage], edit: &Edit, first: usize, count: usize) {
    let count = count.min(PAGES - first);
    let bytes = bytes_of(first, count);
    let touched = first..first + count;
    match *edit {
        Edit::Add(on, flags) => {
            mb.add_node(bytes, node(on), RegionFlags::from_bits_retain(flags)).unwrap();
            model[touched].iter_mut().for_each(|page| page.0 = page.0.or(Some((flags, on))));
        }
        Edit::Remove => {
            mb.remove(bytes).unwrap();
            model[touched].iter_mut().for_each(|page| page.0 = None);
        }
        Edit::Reserve => {
            mb.reserve(bytes).unwrap();
            model[touched].iter_mut().for_each(|page| page.1 = true);
        }
        Edit::Free => {
            mb.free(bytes).unwrap();
            model[touched].iter_mut().for_each(|page| page.1 = false);
        }
        Edit::Mark(flag, on) => {
            match (flag, on) {
                (1, true) => mb.mark_hotplug(bytes),
                (1, false) => mb.clear_hotplug(bytes),
                (_, true) => mb.mark_nomap(bytes),
                (_, false) => mb.clear_nomap(bytes),
            }
            .unwrap();
            for memory in model[touched].iter_mut().filter_map(|page| page.0.as_mut()) {
                memory.0 = if on { memory.0 | flag } else { memory.0 & !flag };
            }
        }
        Edit::SetNode(on) => {
            mb.set_node(bytes, node(on)).unwrap();
            model[touched].iter_mut().filter_map(|page| page.0.as_mut()).for_each(|memory| memory.1 = on);
        }
        Edit::Alloc { pages, align, node: on, exact, bottom_up, limit } => {
            mb.set_direction(if bottom_up { Direction::BottomUp } else { Direction::TopDown });
            mb.set_current_limit(bytes_of(limit, 0).start);
            let size = pages as u64 * PAGE;
            let request =
                AllocRequest { node: on.map(node), exact_node: exact, ..AllocRequest::new(size, PAGE << align) };
            let expected = model_alloc(model, edit);
            assert_eq!(mb.alloc(&request).ok(), expected.map(|at| bytes_of(at, 0).start));
            if let Some(at) = expected {
                model[at..at + pages].iter_mut().for_each(|page| page.1 = true);
            }
        }
    }
}

/// The pieces that a walk should give: maximal runs of equal pages.
fn model_pieces(model: &[ModelPage], filter: RangeFilter, taken: bool) -> Vec<(PhysRange, u32, u32)> {
    let accepts = |page: &ModelPage| {
        page.0.filter(|&(flags, on)| {
            page.1 == taken
                && filter.node.is_none_or(|node| node.raw() == on)
                && (flags & 4 == 0 || filter.flags.contains(RegionFlags::NOMAP))
        })
    };
    let mut pieces: Vec<(PhysRange, u32, u32)> = Vec::new();
    for (index, page) in model.iter().enumerate() {
        let Some((flags, on)) = accepts(page) else { continue };
        let bytes = bytes_of(index, 1);
        match pieces.last_mut() {
            Some((last, f, n)) if last.end == bytes.start && (*f, *n) == (flags, on) => last.end = bytes.end,
            _ => pieces.push((bytes, flags, on)),
        }
    }
    pieces
}

fn walk_agrees(mb: &Memblock<'_>, model: &[ModelPage]) {
    let read = |region: Region| (region.range(), region.flags().bits(), region.node().raw());
    for on in [None, Some(node(0)), Some(node(2))] {
        for flags in [RegionFlags::empty(), RegionFlags::NOMAP] {
            let filter = RangeFilter { node: on, flags };
            for taken in [false, true] {
                let walk = || if taken { mb.reserved_ranges(filter) } else { mb.free_ranges(filter) };
                let expected = model_pieces(model, filter, taken);
                assert_eq!(walk().map(read).collect::<Vec<_>>(), expected);
                let mut back: Vec<_> = walk().rev().map(read).collect();
                back.reverse();
                assert_eq!(back, expected);
                // From both ends at once: every byte once, whatever the turn.
                let (mut ends, mut bytes) = (walk(), 0);
                while let Some(piece) = ends.next() {
                    bytes += piece.range().size() + ends.next_back().map_or(0, |piece| piece.range().size());
                }
                assert_eq!(bytes, expected.iter().map(|(range, _, _)| range.size()).sum::<u64>());
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: scaled(192), failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn every_edit_does_to_the_lists_what_it_does_to_an_array_of_pages(
        steps in prop::collection::vec(edits(), 1..80)
    ) {
        let (mut m, mut r) = arrays();
        let mut mb = Memblock::new(&mut m, &mut r);
        let mut model = vec![(None, false); PAGES];
        for (edit, first, count) in &steps {
            apply(&mut mb, &mut model, edit, *first, *count);
            mb.validate().unwrap();
            prop_assert_eq!(pages_of(&mb), &*model);
            let in_model = model.iter().filter(|page| page.0.is_some()).count() as u64;
            prop_assert_eq!(mb.phys_mem_size(), in_model * PAGE);
        }
        walk_agrees(&mb, &model);
    }

    #[test]
    fn lists_that_double_all_the_time_stay_as_large_arrays_say(
        steps in prop::collection::vec(edits(), 1..60)
    ) {
        // The arrays grow in a bank of their own, above all that the edits touch; it is no place for allocations.
        let arrays_bank = range(0xa000_0000, 0xa010_0000);
        let ram = FakeRam::new(&[arrays_bank]);
        let (mut m, mut r) = ([Region::EMPTY; 2], [Region::EMPTY; 1]);
        let mut mb = Memblock::new(&mut m, &mut r);
        mb.add(arrays_bank).unwrap();
        mb.allow_resize(&ram);
        let mut model = vec![(None, false); PAGES];
        for (edit, first, count) in &steps {
            if matches!(edit, Edit::Alloc { .. }) {
                continue;
            }
            mb.set_current_limit(PhysAddr::MAX);
            apply(&mut mb, &mut model, edit, *first, *count);
            mb.validate().unwrap();
            prop_assert_eq!(pages_of(&mb), &*model);
        }
        let own: u64 = mb.retired_arrays().map(PhysRange::size).sum();
        let taken = model.iter().filter(|page| page.1).count() as u64 * PAGE;
        prop_assert_eq!(mb.reserved_size(), taken + own);
    }

    #[test]
    fn an_edit_that_fails_for_want_of_slots_changes_nothing(
        steps in prop::collection::vec(edits(), 1..60)
    ) {
        let (mut m, mut r) = ([Region::EMPTY; 5], [Region::EMPTY; 4]);
        let mut mb = Memblock::new(&mut m, &mut r);
        for (edit, first, count) in &steps {
            let bytes = bytes_of(*first, (*count).min(PAGES - first));
            let before = pages_of(&mb);
            let result = match *edit {
                Edit::Add(on, flags) => mb.add_node(bytes, node(on), RegionFlags::from_bits_retain(flags)),
                Edit::Remove => mb.remove(bytes),
                Edit::Reserve => mb.reserve(bytes),
                Edit::Free => mb.free(bytes),
                Edit::Mark(1, on) => if on { mb.mark_hotplug(bytes) } else { mb.clear_hotplug(bytes) },
                Edit::Mark(_, on) => if on { mb.mark_nomap(bytes) } else { mb.clear_nomap(bytes) },
                Edit::SetNode(on) => mb.set_node(bytes, node(on)),
                Edit::Alloc { .. } => mb.alloc(&AllocRequest::new(PAGE, PAGE)).map(|_| ()),
            };
            mb.validate().unwrap();
            if result.is_err() {
                prop_assert_eq!(pages_of(&mb), before);
            }
        }
    }
}
