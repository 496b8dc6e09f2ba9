//! Edits of the lists: what joins, what is cut, and what a full list refuses.

use std::vec::Vec;

use super::{PAGE, addr, arrays, lines, node, range};
use crate::addr::{PhysAddr, PhysRange};
use crate::memblock::{List, Memblock, MemblockError, Region, RegionFlags};

#[test]
fn touching_equals_merge_and_touching_unequals_do_not() {
    let (mut m, mut r) = arrays();
    let mut mb = Memblock::new(&mut m, &mut r);
    mb.add(range(0x1000, 0x2000)).unwrap();
    mb.add(range(0x3000, 0x4000)).unwrap();
    mb.add(range(0x2000, 0x3000)).unwrap();
    assert_eq!(lines(mb.memory()), [(0x1000, 0x4000, 0)]);
    mb.add_node(range(0x4000, 0x5000), node(1), RegionFlags::HOTPLUG).unwrap();
    assert_eq!(lines(mb.memory()), [(0x1000, 0x4000, 0), (0x4000, 0x5000, 1)]);
    // What exists keeps its attributes, only the gaps are new.
    mb.add_node(range(0, 0x6000), node(2), RegionFlags::empty()).unwrap();
    let nodes: Vec<u32> = mb.memory().iter().map(|r| r.node().raw()).collect();
    assert_eq!(nodes, [2, 0, 1, 2]);
    mb.validate().unwrap();
}

#[test]
fn an_end_that_passes_2_64_is_cut_there() {
    let (mut m, mut r) = arrays();
    let mut mb = Memblock::new(&mut m, &mut r);
    let start = u64::MAX - 0x1000;
    mb.add(PhysRange::new(addr(start), addr(start).saturating_add(0x10_0000))).unwrap();
    assert_eq!(lines(mb.memory()), [(start, u64::MAX, 0)]);
    mb.mark_nomap(range(u64::MAX - 0x800, u64::MAX)).unwrap();
    mb.remove(range(0, u64::MAX)).unwrap();
    assert!(mb.memory().is_empty());
    assert_eq!(mb.end_of_dram(), PhysAddr::ZERO);
}

#[test]
fn a_full_list_is_an_error_that_changes_nothing() {
    let (mut m, mut r) = ([Region::EMPTY; 2], [Region::EMPTY; 2]);
    let mut mb = Memblock::new(&mut m, &mut r);
    mb.add(range(0x1000, 0x9000)).unwrap();
    mb.add(range(0x10000, 0x11000)).unwrap();
    let before = lines(mb.memory());
    let full = Err(MemblockError::Full { list: List::Memory, capacity: 2 });
    assert_eq!(mb.remove(range(0x2000, 0x3000)), full);
    assert_eq!(mb.mark_nomap(range(0x2000, 0x3000)), full);
    assert_eq!(mb.add(range(0x20000, 0x21000)), full);
    assert_eq!(lines(mb.memory()), before);
    // An edit that needs no slot in the end still works: the gap joins both neighbours.
    mb.add(range(0x9000, 0x10000)).unwrap();
    assert_eq!(lines(mb.memory()), [(0x1000, 0x11000, 0)]);
}

#[test]
fn a_full_list_takes_a_range_whose_gaps_join_as_many_regions_as_they_add() {
    let (mut m, mut r) = ([Region::EMPTY; 4], [Region::EMPTY; 1]);
    let mut mb = Memblock::new(&mut m, &mut r);
    for (start, on) in [(0x1000, 1), (0x3000, 1), (0x5000, 0), (0x7000, 0)] {
        mb.add_node(range(start, start + 0x1000), node(on), RegionFlags::empty()).unwrap();
    }
    // The first gap needs a slot, which the last one sets free.
    mb.add(range(0x1000, 0x8000)).unwrap();
    let nodes: Vec<u32> = mb.memory().iter().map(|r| r.node().raw()).collect();
    assert_eq!(nodes, [1, 0, 1, 0]);
    assert_eq!(mb.phys_mem_size(), 0x7000);
}

#[test]
fn a_mark_joins_the_marked_neighbours_on_both_sides() {
    let (mut m, mut r) = arrays();
    let mut mb = Memblock::new(&mut m, &mut r);
    mb.add(range(0x1000, 0x9000)).unwrap();
    mb.mark_nomap(range(0x2000, 0x3000)).unwrap();
    mb.mark_nomap(range(0x4000, 0x5000)).unwrap();
    mb.mark_nomap(range(0x3000, 0x4000)).unwrap();
    assert_eq!(lines(mb.memory()), [(0x1000, 0x2000, 0), (0x2000, 0x5000, 4), (0x5000, 0x9000, 0)]);
    mb.clear_nomap(range(0x2000, 0x5000)).unwrap();
    assert_eq!(lines(mb.memory()), [(0x1000, 0x9000, 0)]);
}

#[test]
fn memory_is_trimmed_capped_and_limited() {
    let (mut m, mut r) = arrays();
    let mut mb = Memblock::new(&mut m, &mut r);
    mb.add(range(0x1800, 0x5800)).unwrap();
    mb.add(range(0x6100, 0x6f00)).unwrap();
    mb.trim_memory(PAGE).unwrap();
    assert_eq!(lines(mb.memory()), [(0x2000, 0x5000, 0)]);

    mb.add(range(0x10000, 0x40000)).unwrap();
    mb.mark_nomap(range(0x2000, 0x3000)).unwrap();
    mb.mark_nomap(range(0x3_8000, 0x3_9000)).unwrap();
    mb.reserve(range(0x1_f000, 0x2_1000)).unwrap();
    mb.cap_memory_range(range(0x2_0000, 0x3_0000));
    // No-map memory stays whatever the window, the rest only inside it.
    assert_eq!(lines(mb.memory()), [(0x2000, 0x3000, 4), (0x2_0000, 0x3_0000, 0), (0x3_8000, 0x3_9000, 4)]);
    assert_eq!(lines(mb.reserved()), [(0x2_0000, 0x2_1000, 0)]);

    mb.enforce_memory_limit(0x1_3000);
    assert_eq!(mb.phys_mem_size(), 0x1_2000);
    mb.enforce_memory_limit(0x1000 + 0x800);
    assert_eq!(lines(mb.memory()), [(0x2000, 0x3000, 4), (0x2_0000, 0x2_0800, 0)]);
    assert_eq!(lines(mb.reserved()), [(0x2_0000, 0x2_0800, 0)]);
    mb.validate().unwrap();
}
