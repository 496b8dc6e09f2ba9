//! Lists that double: how far, where the new array lies, and what is left when they cannot.

use std::vec::Vec;

use super::{MIB, PAGE, arrays, fake_ram, lines, range};
use crate::addr::PhysRange;
use crate::memblock::{List, Memblock, MemblockError, Region};
use crate::testing::with_log;

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
