//! What the lists answer: whether a range is memory, which frames are free, and what the frozen copy knows.

use std::vec;
use std::vec::Vec;

use super::{PAGE, addr, arrays, fake_ram, range};
use crate::addr::{Pfn, PfnRange};
use crate::memblock::{Memblock, RangeFilter, Region};

const KIB: u64 = 1 << 10;

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
