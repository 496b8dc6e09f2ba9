//! Memblock by example, and its lines against Linux's.

mod model;
mod words;

use std::string::ToString;
use std::vec;
use std::vec::Vec;

use super::*;
use crate::addr::{NodeId, PAGE_SIZE, Pfn, PfnRange};
use crate::testing::{FakeRam, capture_log, with_log};

const PAGE: u64 = PAGE_SIZE as u64;
const KIB: u64 = 1 << 10;
const MIB: u64 = 1 << 20;

fn addr(raw: u64) -> PhysAddr {
    PhysAddr::new(raw)
}

fn range(start: u64, end: u64) -> PhysRange {
    PhysRange::new(addr(start), addr(end))
}

fn node(raw: u32) -> NodeId {
    NodeId::new(raw).unwrap()
}

fn arrays() -> (Vec<Region>, Vec<Region>) {
    (vec![Region::EMPTY; 128], vec![Region::EMPTY; 128])
}

fn lines(regions: &[Region]) -> Vec<(u64, u64, u32)> {
    regions.iter().map(|r| (r.range().start.raw(), r.range().end.raw(), r.flags().bits())).collect()
}

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
fn a_bank_that_ends_at_4_gib_keeps_its_last_page() {
    let (mut m, mut r) = arrays();
    let mut mb = Memblock::new(&mut m, &mut r);
    mb.add(PhysRange::sized(addr(0x8000_0000), 0x8000_0000).unwrap()).unwrap();
    assert_eq!((mb.start_of_dram(), mb.end_of_dram()), (addr(0x8000_0000), addr(0x1_0000_0000)));
    let top = mb.alloc(&AllocRequest::new(PAGE, PAGE)).unwrap();
    assert_eq!(top, addr(0xffff_f000));
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
fn bad_requests_are_named() {
    let (mut m, mut r) = arrays();
    let mut mb = Memblock::new(&mut m, &mut r);
    mb.add(range(0x1000, 0x9000)).unwrap();
    assert_eq!(mb.alloc(&AllocRequest::new(PAGE, 3)), Err(MemblockError::BadAlign(3)));
    assert_eq!(mb.alloc(&AllocRequest::new(0, 8)), Err(MemblockError::NoSize));
    let too_large = AllocRequest::new(u64::MAX, 0);
    assert_eq!(mb.alloc(&too_large), Err(MemblockError::OutOfMemory { size: u64::MAX, align: 64 }));
    assert_eq!(mb.trim_memory(24), Err(MemblockError::BadAlign(24)));
    assert!(mb.reserved().is_empty());
}

#[test]
fn page_0_is_never_given_out() {
    let (mut m, mut r) = arrays();
    let mut mb = Memblock::new(&mut m, &mut r);
    mb.add(range(0, 0x2000)).unwrap();
    mb.set_direction(Direction::BottomUp);
    assert_eq!(mb.alloc(&AllocRequest::new(PAGE, PAGE)).unwrap(), addr(0x1000));
    assert!(mb.alloc(&AllocRequest::new(PAGE, PAGE)).is_err());
}

#[test]
fn allocations_begin_at_the_end_that_the_direction_names() {
    let (mut m, mut r) = arrays();
    let mut mb = Memblock::new(&mut m, &mut r);
    mb.add(range(MIB, 2 * MIB)).unwrap();
    let page = AllocRequest::new(PAGE, PAGE);
    assert_eq!(mb.alloc(&page).unwrap(), addr(2 * MIB - PAGE));
    mb.set_direction(Direction::BottomUp);
    assert_eq!(mb.alloc(&page).unwrap(), addr(MIB));
    mb.set_direction(Direction::TopDown);
    assert_eq!(mb.alloc(&page).unwrap(), addr(2 * MIB - 2 * PAGE));
}

#[test]
fn a_list_that_is_not_in_normal_form_is_found_by_its_region() {
    let good = [(0x1000, 0x2000), (0x3000, 0x4000), (0x5000, 0x6000)];
    let spoilt = [
        (0, (0x1000, 0x1000), Some((Flaw::Empty, 0))),
        (1, (0x1800, 0x2800), Some((Flaw::Disorder, 1))),
        (2, (0x2800, 0x2900), Some((Flaw::Disorder, 2))),
        (1, (0x2000, 0x2800), Some((Flaw::NotMerged, 1))),
        (2, (0x4000, 0x5000), Some((Flaw::NotMerged, 2))),
        (2, (0x4001, 0x5000), None),
    ];
    for list in [List::Memory, List::Reserved] {
        for (index, (start, end), flaw) in spoilt {
            let (mut m, mut r) = arrays();
            let mut mb = Memblock::new(&mut m, &mut r);
            for (start, end) in good {
                match list {
                    List::Memory => mb.add(range(start, end)).unwrap(),
                    List::Reserved => mb.reserve(range(start, end)).unwrap(),
                }
            }
            mb.validate().unwrap();
            let regions = if list == List::Memory { &mut mb.memory } else { &mut mb.reserved };
            regions.spoil(index, range(start, end));
            let broken = flaw.map_or(Ok(()), |(flaw, index)| Err(MemblockBroken::Form { list, flaw, index }));
            assert_eq!(mb.validate(), broken);
        }
    }
}

#[test]
fn a_doubled_array_that_is_not_reserved_is_found_by_its_place() {
    let ram = FakeRam::new(&[range(MIB, 2 * MIB)]);
    let (mut m, mut r) = (vec![Region::EMPTY; 4], vec![Region::EMPTY; 4]);
    let mut mb = Memblock::new(&mut m, &mut r);
    mb.add(range(MIB, 2 * MIB)).unwrap();
    mb.allow_resize(&ram);
    (0..6).for_each(|page| mb.reserve(range(MIB + 2 * page * PAGE, MIB + (2 * page + 1) * PAGE)).unwrap());
    mb.validate().unwrap();
    let place = mb.reserved.place().unwrap();
    mb.free(place).unwrap();
    assert_eq!(mb.validate(), Err(MemblockBroken::ArrayNotReserved(place)));
}

#[test]
fn errors_name_what_was_asked_for_and_what_is_broken() {
    let told: [(&dyn fmt::Display, &str); 7] = [
        (&MemblockError::Full { list: List::Reserved, capacity: 128 }, "the reserved list is full with 128 regions"),
        (&MemblockError::OutOfMemory { size: 4096, align: 64 }, "no free range has 4096 bytes aligned to 0x40"),
        (&MemblockError::BadAlign(24), "the alignment 0x18 is not a power of two"),
        (&MemblockError::NoSize, "an allocation of 0 bytes"),
        (&MemblockError::NotMapped(range(PAGE, 2 * PAGE)), "[mem 0x00001000-0x00001fff] is not in the linear mapping"),
        (
            &MemblockBroken::Form { list: List::Memory, flaw: Flaw::NotMerged, index: 18 },
            "memblock.memory[0x12]: NotMerged",
        ),
        (
            &MemblockBroken::ArrayNotReserved(range(PAGE, 2 * PAGE)),
            "memblock: the array at [mem 0x00001000-0x00001fff] is not reserved",
        ),
    ];
    for (error, text) in told {
        assert_eq!(error.to_string(), text);
    }
}

#[test]
fn an_allocation_stays_below_the_limit_and_a_physical_one_may_not() {
    let (mut m, mut r) = arrays();
    let mut mb = Memblock::new(&mut m, &mut r);
    mb.add(range(0x8000_0000, 0xa000_0000)).unwrap();
    mb.set_current_limit(addr(0x9000_0000));
    let anywhere = AllocRequest { max: PhysAddr::MAX, ..AllocRequest::new(MIB, MIB) };
    assert_eq!(mb.alloc(&anywhere).unwrap(), addr(0x8ff0_0000));
    assert_eq!(mb.alloc_phys(&anywhere).unwrap(), addr(0x9ff0_0000));
    assert_eq!(mb.alloc_phys(&AllocRequest::new(MIB, MIB)).unwrap(), addr(0x8fe0_0000));
    // The lower bound is given up by `alloc`, not by `alloc_phys`.
    let high = AllocRequest { min: addr(0x9000_0000), ..AllocRequest::new(MIB, MIB) };
    assert!(mb.alloc_phys(&high).is_err());
    assert_eq!(mb.alloc(&high).unwrap(), addr(0x8fd0_0000));
}

#[test]
fn an_allocation_leaves_its_node_unless_told_not_to() {
    let (mut m, mut r) = arrays();
    let mut mb = Memblock::new(&mut m, &mut r);
    mb.add_node(range(MIB, 2 * MIB), node(0), RegionFlags::empty()).unwrap();
    mb.add_node(range(2 * MIB, 3 * MIB), node(1), RegionFlags::empty()).unwrap();
    let on_node = |raw| AllocRequest { node: Some(node(raw)), ..AllocRequest::new(MIB, PAGE) };
    assert_eq!(mb.alloc(&on_node(0)).unwrap(), addr(MIB));
    assert!(mb.alloc(&AllocRequest { exact_node: true, ..on_node(0) }).is_err());
    assert_eq!(mb.alloc(&on_node(0)).unwrap(), addr(2 * MIB));
}

#[test]
fn mirrored_memory_is_preferred_and_then_given_up_with_a_line() {
    let (mut m, mut r) = arrays();
    let mut mb = Memblock::new(&mut m, &mut r);
    mb.add(range(MIB, 4 * MIB)).unwrap();
    mb.mark_mirror(range(MIB, 2 * MIB)).unwrap();
    assert_eq!(mb.alloc(&AllocRequest::new(MIB, PAGE)).unwrap(), addr(MIB));
    let (got, log) = with_log(|| mb.alloc(&AllocRequest::new(MIB, PAGE)));
    assert_eq!(got.unwrap(), addr(3 * MIB));
    assert_eq!(log, ["Could not allocate 1048576 bytes of mirrored memory"]);
}

#[test]
fn movable_node_keeps_hotpluggable_memory_free() {
    let (mut m, mut r) = arrays();
    let mut mb = Memblock::new(&mut m, &mut r);
    mb.add(range(MIB, 3 * MIB)).unwrap();
    mb.mark_hotplug(range(2 * MIB, 3 * MIB)).unwrap();
    mb.set_movable_node(true);
    assert_eq!(mb.alloc(&AllocRequest::new(PAGE, PAGE)).unwrap(), addr(2 * MIB - PAGE));
    let hotplug = RangeFilter { node: None, flags: RegionFlags::HOTPLUG };
    assert_eq!(mb.free_ranges(hotplug).next_back().unwrap().range(), range(2 * MIB, 3 * MIB));
    mb.clear_hotplug(range(2 * MIB, 3 * MIB)).unwrap();
    assert_eq!(mb.alloc(&AllocRequest::new(PAGE, PAGE)).unwrap(), addr(3 * MIB - PAGE));
}

#[test]
fn zeroed_memory_is_zero_to_its_last_byte_and_not_beyond() {
    const SIZE: usize = 16 << 12;
    let bank = range(MIB, MIB + SIZE as u64);
    let ram = FakeRam::new(&[bank]);
    let start = ram.frames_ptr(Pfn::new(0x100), 16).unwrap();
    // SAFETY: the pointer reaches the 16 frames of `ram`, which nobody else uses.
    unsafe { start.write_bytes(0xaa, SIZE) }
    let (mut m, mut r) = arrays();
    let mut mb = Memblock::new(&mut m, &mut r);
    mb.add(bank).unwrap();
    let got = mb.alloc_zeroed(&AllocRequest::new(100, 8), &ram).unwrap();
    assert_eq!(got, addr(MIB + SIZE as u64 - 104));
    let at = usize::try_from(got.raw() - MIB).unwrap();
    // SAFETY: as above, and all bytes were written.
    let bytes = unsafe { core::slice::from_raw_parts(start.as_ptr(), SIZE) };
    assert!(bytes[at..at + 100].iter().all(|&byte| byte == 0));
    assert!(bytes[..at].iter().chain(&bytes[at + 100..]).all(|&byte| byte == 0xaa));
    // What `ram` does not reach is refused, and nothing is taken.
    mb.add(range(4 * MIB, 5 * MIB)).unwrap();
    let taken = mb.reserved_size();
    assert!(matches!(mb.alloc_zeroed(&AllocRequest::new(100, 8), &ram), Err(MemblockError::NotMapped(_))));
    assert_eq!(mb.reserved_size(), taken);
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

#[test]
fn a_range_over_touching_regions_is_memory_and_one_over_a_gap_is_not() {
    let (mut m, mut r) = arrays();
    let mut mb = Memblock::new(&mut m, &mut r);
    mb.add(range(0x1000, 0x3000)).unwrap();
    mb.mark_nomap(range(0x2000, 0x3000)).unwrap();
    mb.add(range(0x4000, 0x5000)).unwrap();
    assert!(mb.contains_memory(range(0x1800, 0x3000)));
    assert!(!mb.contains_map_memory(range(0x1800, 0x3000)));
    assert!(!mb.contains_memory(range(0x2800, 0x4800)));
    assert!(mb.overlaps_memory(range(0x3800, 0x4001)));
    assert!(!mb.overlaps_memory(range(0x3000, 0x4000)));
    assert!(mb.is_memory(addr(0x2fff)) && !mb.is_map_memory(addr(0x2fff)) && !mb.is_memory(addr(0x3000)));
}

/// The AST2500 of the reference, as Linux's log shows it (the addresses of its kernel and device tree).
fn ast2500<'a>(m: &'a mut [Region], r: &'a mut [Region]) -> Memblock<'a> {
    let mut mb = Memblock::new(m, r);
    mb.add(range(0x8000_0000, 0xa000_0000)).unwrap();
    for taken in [
        range(0x8030_0000, 0x8160_7588),
        range(0x8800_0000, 0x880d_8000),
        range(0x8020_4000, 0x8020_8000),
        range(0x880d_8000, 0x880e_3634),
        range(0x9d00_0000, 0x9e00_0000),
        range(0x9600_0000, 0x9800_0000),
        range(0x9c00_0000, 0x9d00_0000),
    ] {
        mb.reserve(taken).unwrap();
    }
    for nomap in [range(0x9f00_0000, 0xa000_0000), range(0x9800_0000, 0x9c00_0000), range(0x9ef0_0000, 0x9f00_0000)] {
        mb.mark_nomap(nomap).unwrap();
    }
    mb
}

#[test]
fn the_configuration_reads_as_linux_prints_it() {
    let (mut m, mut r) = arrays();
    let mb = ast2500(&mut m, &mut r);
    let log = capture_log(|| mb.dump());
    let linux = "\
MEMBLOCK configuration:
 memory size = 0x20000000 reserved size = 0x053eebbc
 memory.cnt  = 0x4
 memory[0x0]\t[0x80000000-0x97ffffff], 0x18000000 bytes flags: 0x0
 memory[0x1]\t[0x98000000-0x9bffffff], 0x04000000 bytes flags: 0x4
 memory[0x2]\t[0x9c000000-0x9eefffff], 0x02f00000 bytes flags: 0x0
 memory[0x3]\t[0x9ef00000-0x9fffffff], 0x01100000 bytes flags: 0x4
 reserved.cnt  = 0x5
 reserved[0x0]\t[0x80204000-0x80207fff], 0x00004000 bytes flags: 0x0
 reserved[0x1]\t[0x80300000-0x81607587], 0x01307588 bytes flags: 0x0
 reserved[0x2]\t[0x88000000-0x880e3633], 0x000e3634 bytes flags: 0x0
 reserved[0x3]\t[0x96000000-0x97ffffff], 0x02000000 bytes flags: 0x0
 reserved[0x4]\t[0x9c000000-0x9dffffff], 0x02000000 bytes flags: 0x0";
    assert_eq!(log, linux.lines().collect::<Vec<_>>());
}

#[test]
fn the_configuration_names_the_node_where_there_are_several() {
    let (mut m, mut r) = arrays();
    let mut mb = Memblock::new(&mut m, &mut r);
    mb.add(range(0x4000_0000, 0x4800_0000)).unwrap();
    mb.add_node(range(0x4800_0000, 0x5000_0000), node(1), RegionFlags::empty()).unwrap();
    let log = capture_log(|| mb.dump());
    assert_eq!(log[4], " memory[0x1]\t[0x48000000-0x4fffffff], 0x08000000 bytes on node 1 flags: 0x0");
}

#[test]
fn debug_lines_read_as_linux_prints_them() {
    let (mut m, mut r) = arrays();
    let mut mb = Memblock::new(&mut m, &mut r);
    mb.add(range(0x8000_0000, 0xa000_0000)).unwrap();
    mb.set_debug(true);
    let who = |line: u32| std::format!("{}:{line}:", file!());
    let first = line!() + 2;
    let log = capture_log(|| {
        mb.reserve(range(0x8030_0000, 0x8160_7588)).unwrap();
        mb.alloc(&AllocRequest { node: Some(NodeId::ZERO), ..AllocRequest::new(4_718_592, 0x40) }).unwrap();
        mb.free(range(0x8030_0000, 0x8030_1000)).unwrap();
        mb.add_node(range(0xa000_0000, 0xa000_1000), node(1), RegionFlags::HOTPLUG).unwrap();
        mb.alloc_phys(&AllocRequest { max: PhysAddr::MAX, ..AllocRequest::new(4096, 0) }).unwrap();
    });
    let expected = [
        ("memblock_reserve: [0x80300000-0x81607587] ", first),
        ("memblock_alloc_try_nid_raw: 4718592 bytes align=0x40 nid=0 from=0x00000000 max_addr=0x00000000 ", first + 1),
        ("memblock_reserve: [0x9fb80000-0x9fffffff] ", first + 1),
        ("memblock_phys_free: [0x80300000-0x80300fff] ", first + 2),
        ("memblock_add_node: [0xa0000000-0xa0000fff] nid=1 flags=1 ", first + 3),
        ("memblock_phys_alloc_range: 4096 bytes align=0x0 from=0x00000000 max_addr=0xffffffffffffffff ", first + 4),
        ("memblock_reserve: [0xa0000000-0xa0000fff] ", first + 4),
    ];
    assert_eq!(log.len(), expected.len(), "{log:#?}");
    for (line, (text, caller)) in log.iter().zip(expected) {
        assert!(line.starts_with(&(text.to_string() + &who(caller))), "{line}");
    }
}

/// 64 MiB of RAM at 0x8000_0000 on the host's heap.
fn fake_ram() -> (FakeRam, PhysRange) {
    let bank = range(0x8000_0000, 0x8400_0000);
    (FakeRam::new(&[bank]), bank)
}

#[test]
fn the_reserved_list_grows_from_128_to_4096_regions() {
    let (ram, bank) = fake_ram();
    let (mut m, mut r) = arrays();
    let mut mb = Memblock::new(&mut m, &mut r);
    mb.add(bank).unwrap();
    mb.allow_resize(&ram);
    for index in 0..4096_u64 {
        let start = bank.start.raw() + 2 * PAGE * index;
        mb.reserve(range(start, start + PAGE)).unwrap();
        if index % 64 == 0 || index < 130 {
            mb.validate().unwrap();
        }
    }
    // 4096 pieces of ours and the list's own array; the arrays in between were given back.
    let own: Vec<_> = mb.retired_arrays().collect();
    assert_eq!(own.len(), 1);
    assert_eq!(mb.reserved_size(), 4096 * PAGE + own[0].size());
    assert!(mb.reserved().len() >= 4096);
    mb.validate().unwrap();
    // Free every second piece: each is found and cut out.
    for index in (0..4096_u64).step_by(2) {
        let start = bank.start.raw() + 2 * PAGE * index;
        mb.free(range(start, start + PAGE)).unwrap();
    }
    assert_eq!(mb.reserved_size(), 2048 * PAGE + mb.retired_arrays().map(PhysRange::size).sum::<u64>());
}

#[test]
fn the_memory_list_grows_from_128_to_4096_regions() {
    let (ram, bank) = fake_ram();
    let (mut m, mut r) = ([Region::EMPTY; 128], [Region::EMPTY; 1]);
    let mut mb = Memblock::new(&mut m, &mut r);
    mb.add(bank).unwrap();
    mb.allow_resize(&ram);
    mb.set_current_limit(bank.end);
    for index in 0..4096_u64 {
        mb.add(range(0x9000_0000 + 2 * PAGE * index, 0x9000_0000 + 2 * PAGE * index + PAGE)).unwrap();
    }
    assert_eq!(mb.memory().len(), 4097);
    assert_eq!(mb.phys_mem_size(), 64 * MIB + 4096 * PAGE);
    // Both lists have moved; only their last arrays are taken.
    assert_eq!(mb.retired_arrays().count(), 2);
    assert_eq!(mb.reserved_size(), mb.retired_arrays().map(PhysRange::size).sum::<u64>());
    mb.validate().unwrap();
}

#[test]
fn a_new_array_stays_out_of_the_range_that_the_change_is_about() {
    let (ram, bank) = fake_ram();
    let (mut m, mut r) = ([Region::EMPTY; 8], [Region::EMPTY; 8]);
    let mut mb = Memblock::new(&mut m, &mut r);
    mb.add(bank).unwrap();
    mb.allow_resize(&ram);
    for index in 0..8 {
        mb.reserve(range(0x8000_0000 + 2 * PAGE * index, 0x8000_0000 + 2 * PAGE * index + PAGE)).unwrap();
    }
    // All but the first 32 pages: the only place left for the array is the hole between them.
    let rest = range(0x8002_0000, 0x8400_0000);
    mb.reserve(rest).unwrap();
    let array = mb.retired_arrays().next().unwrap();
    assert!(!array.overlaps(rest) && bank.contains_range(array), "{array}");
    // The same for memory that goes away: the topmost page is free, but half of it is about to vanish.
    let (mut m, mut r) = ([Region::EMPTY; 1], [Region::EMPTY; 8]);
    let mut mb = Memblock::new(&mut m, &mut r);
    mb.add(bank).unwrap();
    mb.allow_resize(&ram);
    mb.remove(range(0x8200_0000, 0x83ff_fe00)).unwrap();
    assert_eq!(mb.retired_arrays().next().unwrap(), range(0x81ff_f000, 0x8200_0000));
    assert_eq!(lines(mb.memory()), [(0x8000_0000, 0x8200_0000, 0), (0x83ff_fe00, 0x8400_0000, 0)]);
}

#[test]
fn nothing_is_allocated_in_a_frame_that_is_not_mapped_because_of_its_no_map_part() {
    let (_, bank) = fake_ram();
    let (mut m, mut r) = ([Region::EMPTY; 8], [Region::EMPTY; 8]);
    let mut mb = Memblock::new(&mut m, &mut r);
    mb.add(bank).unwrap();
    mb.mark_nomap(range(0x83ff_f000, 0x83ff_f080)).unwrap();
    // The free rest of the top frame is in no whole frame of RAM, so the linear mapping has not got it.
    assert_eq!(mb.alloc(&AllocRequest::new(64, 64)), Ok(PhysAddr::new(0x83ff_efc0)));
    // A device's region need not be mapped.
    let device = AllocRequest { max: PhysAddr::MAX, ..AllocRequest::new(64, 64) };
    assert_eq!(mb.alloc_phys(&device), Ok(PhysAddr::new(0x83ff_ffc0)));
}

#[test]
fn doubled_arrays_keep_to_their_window() {
    let (ram, bank) = fake_ram();
    let (mut m, mut r) = ([Region::EMPTY; 8], [Region::EMPTY; 8]);
    let mut mb = Memblock::new(&mut m, &mut r);
    mb.add(bank).unwrap();
    mb.allow_resize(&ram);
    let window = range(0x8100_0000, 0x8100_4000);
    mb.keep_arrays_in(window);
    for index in 0..20 {
        mb.reserve(range(0x8000_0000 + 2 * PAGE * index, 0x8000_0000 + 2 * PAGE * index + PAGE)).unwrap();
    }
    assert!(window.contains_range(mb.retired_arrays().next().unwrap()));
}

#[test]
fn a_list_that_cannot_double_says_so_and_changes_nothing() {
    let (ram, bank) = fake_ram();
    let (mut m, mut r) = ([Region::EMPTY; 8], [Region::EMPTY; 2]);
    let mut mb = Memblock::new(&mut m, &mut r);
    mb.add(bank).unwrap();
    mb.allow_resize(&ram);
    mb.reserve(range(bank.start.raw(), bank.end.raw() - PAGE / 2)).unwrap();
    mb.reserve(range(0x9000_0000, 0x9000_1000)).unwrap();
    let before = (lines(mb.memory()), lines(mb.reserved()));
    let (got, log) = with_log(|| mb.reserve(range(0x9100_0000, 0x9100_1000)));
    assert_eq!(got, Err(MemblockError::Full { list: List::Reserved, capacity: 2 }));
    assert_eq!(log, ["memblock: Failed to double reserved array from 2 to 7 entries !"]);
    // Memory that the linear mapping does not reach is no place either.
    mb.add(range(0x9800_0000, 0x9900_0000)).unwrap();
    assert!(matches!(mb.reserve(range(0x9100_0000, 0x9100_1000)), Err(MemblockError::NotMapped(_))));
    mb.remove(range(0x9800_0000, 0x9900_0000)).unwrap();
    assert_eq!((lines(mb.memory()), lines(mb.reserved())), before);
    assert_eq!(mb.retired_arrays().count(), 0);
}

#[test]
fn doubling_is_told_in_debug_mode() {
    let (ram, bank) = fake_ram();
    let (mut m, mut r) = ([Region::EMPTY; 8], [Region::EMPTY; 8]);
    let mut mb = Memblock::new(&mut m, &mut r);
    mb.add(bank).unwrap();
    mb.allow_resize(&ram);
    for index in 0..8 {
        mb.reserve(range(0x8000_0000 + 2 * PAGE * index, 0x8000_0000 + 2 * PAGE * index + PAGE)).unwrap();
    }
    mb.set_debug(true);
    let log = capture_log(|| mb.reserve(range(0x8300_0000, 0x8300_1000)).unwrap());
    assert_eq!(log[1], "memblock_double_array: reserved is doubled to 16 at [0x83fff000-0x83ffffff]");
}

#[test]
fn the_frozen_map_outlives_memblock() {
    let (ram, bank) = fake_ram();
    let frozen = {
        // One lifetime for arrays and `ram`: arrays that end sooner would bound the copy's.
        let empty = || vec![Region::EMPTY; 4].leak();
        let mut mb = Memblock::new(empty(), empty());
        mb.add(bank).unwrap();
        mb.mark_nomap(range(0x8100_0000, 0x8200_0000)).unwrap();
        mb.reserve(range(0x8000_0000, 0x8000_1000)).unwrap();
        let frozen = mb.freeze(&ram).unwrap();
        assert_eq!(frozen.memory(), mb.memory());
        assert_eq!(frozen.reserved(), mb.reserved());
        frozen
    };
    assert!(frozen.is_memory(addr(0x8100_0000)) && !frozen.is_map_memory(addr(0x8100_0000)));
    assert!(frozen.is_map_memory(addr(0x8200_0000)) && !frozen.is_memory(addr(0x8400_0000)));
    assert!(frozen.is_reserved(addr(0x8000_0fff)) && !frozen.is_reserved(addr(0x8000_1000)));
    // Its own frames show as taken: the copy needs one page at the top.
    assert!(frozen.is_reserved(addr(bank.end.raw() - PAGE)));
    assert!(!frozen.is_reserved(addr(bank.end.raw() - 4 * KIB - 1)));
}

#[test]
fn whole_frames_of_the_free_ranges_leave_out_pages_that_are_taken_in_part() {
    let (mut m, mut r) = arrays();
    let mut mb = Memblock::new(&mut m, &mut r);
    mb.add(range(0x8000_0000, 0x8001_0000)).unwrap();
    mb.reserve(range(0x8000_1800, 0x8000_2001)).unwrap();
    let frames: Vec<PfnRange> = mb.free_ranges(RangeFilter::ANY).map(|free| free.range().whole_frames()).collect();
    let pfns = |from, to| PfnRange::new(Pfn::new(from), Pfn::new(to));
    assert_eq!(frames, [pfns(0x80000, 0x80001), pfns(0x80003, 0x80010)]);
}
