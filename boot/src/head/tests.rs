//! The head's planning over host memory that stands for a machine without an MMU.

#![expect(clippy::cast_possible_truncation, reason = "every length here is small")]

use core::cell::RefCell;
use std::collections::BTreeMap;
use std::vec::Vec;

use super::attributes::{FDT_FIXED_BASE, PAGE_OFFSET};
use super::plan::{Raw, plan, plan_after_fault};
use super::scan::Span;
use super::{HeadInfo, tables};

/// RAM in `banks`; everywhere else writes vanish and reads give 0.
struct Bus {
    banks: Vec<(u32, u32)>,
    words: RefCell<BTreeMap<u32, u32>>,
}

impl Bus {
    fn new(banks: &[(u32, u32)]) -> Self {
        Self { banks: banks.to_vec(), words: RefCell::default() }
    }

    fn load(&self, base: u32, bytes: &[u8]) {
        for (index, chunk) in bytes.chunks(4).enumerate() {
            let mut word = [0; 4];
            word[..chunk.len()].copy_from_slice(chunk);
            self.write(base + 4 * index as u32, u32::from_le_bytes(word));
        }
    }
}

impl Raw for Bus {
    fn read(&self, address: u32) -> u32 {
        assert_eq!(address & 3, 0, "an unaligned load faults with the MMU off");
        self.words.borrow().get(&address).copied().unwrap_or(0)
    }

    fn write(&self, address: u32, word: u32) {
        let there = |&(start, end): &(u32, u32)| start <= address && address - start < end.wrapping_sub(start);
        if self.banks.iter().any(there) {
            self.words.borrow_mut().insert(address, word);
        }
    }
}

/// Big-endian words.
fn be(words: &[u32]) -> Vec<u8> {
    words.iter().flat_map(|word| word.to_be_bytes()).collect()
}

const NAMES: &str = "#address-cells\0#size-cells\0device_type\0reg\0status\0linux,initrd-start\0linux,initrd-end\0";

fn prop(out: &mut Vec<u8>, name: &str, value: &[u8]) {
    let at = NAMES.find(&std::format!("{name}\0")).unwrap() as u32;
    out.extend(be(&[3, value.len() as u32, at]));
    out.extend(value);
    out.resize(out.len().next_multiple_of(4), 0);
}

fn begin(out: &mut Vec<u8>, name: &str) {
    out.extend(be(&[1]));
    out.extend(name.as_bytes());
    out.push(0);
    out.resize(out.len().next_multiple_of(4), 0);
}

/// A tree with one-cell numbers, an initrd, and one memory node for each `(reg, status)`.
fn tree(nodes: &[(&[u32], &str)], initrd: (u32, u32)) -> Vec<u8> {
    let mut body = Vec::new();
    begin(&mut body, "");
    prop(&mut body, "#address-cells", &be(&[1]));
    prop(&mut body, "#size-cells", &be(&[1]));
    for (reg, status) in nodes {
        begin(&mut body, "memory@0");
        prop(&mut body, "device_type", b"memory\0");
        prop(&mut body, "reg", &be(reg));
        prop(&mut body, "status", &[status.as_bytes(), b"\0"].concat());
        body.extend(be(&[2]));
    }
    begin(&mut body, "memory-controller@1");
    prop(&mut body, "reg", &be(&[0x1000, 0x4000_0000]));
    body.extend(be(&[2]));
    begin(&mut body, "chosen");
    prop(&mut body, "linux,initrd-start", &be(&[initrd.0]));
    prop(&mut body, "linux,initrd-end", &be(&[initrd.1]));
    body.extend(be(&[2, 2, 9]));
    let strings = 56 + body.len() as u32;
    let size = strings + NAMES.len() as u32;
    let mut blob =
        be(&[0xd00d_feed, size, 56, strings, 40, 17, 16, 0, NAMES.len() as u32, body.len() as u32, 0, 0, 0, 0]);
    blob.extend(body);
    blob.extend(NAMES.as_bytes());
    blob
}

fn info(load: u32, dtb: u32) -> HeadInfo {
    HeadInfo { load, file_size: 0x8_0000, mem_size: 0x10_0000, dtb_given: dtb, ..HeadInfo::default() }
}

#[test]
fn ram_begins_at_the_lowest_enabled_bank_wherever_the_image_was_loaded() {
    let bus = Bus::new(&[(0x4000_0000, 0x8000_0000), (0x8000_0000, 0xa000_0000)]);
    let banks: &[(&[u32], &str)] = &[
        (&[0x8000_0000, 0x2000_0000], "okay"),
        (&[0x2000_0000, 0x1000_0000], "disabled"),
        (&[0x4000_0000, 0x4000_0000], "ok"),
    ];
    bus.load(0x9000_0000, &tree(banks, (0, 0)));
    let mut info = info(0x8840_0000, 0x9000_0000);
    plan(&mut info, &bus, true);
    assert_eq!((info.phys_offset, info.table, info.run), (0x4000_0000, 0x4000_4000, 0x4010_0000));
    assert_eq!(info.dtb, 0x9000_0000, "the tree stays where it is");
}

#[test]
fn without_a_tree_ram_begins_at_the_load_address_rounded_down_to_128_mib() {
    let bus = Bus::new(&[(0x6000_0000, 0x8000_0000)]);
    let mut garbage = info(0x6001_0000, 0x6800_0000);
    plan(&mut garbage, &bus, false);
    assert_eq!((garbage.phys_offset, garbage.dtb), (0x6000_0000, 0));
    let mut none = info(0x6901_0000, 0);
    plan_after_fault(&mut none, &bus, false);
    assert_eq!(none.phys_offset, 0x6800_0000);
}

#[test]
fn a_bank_that_swallows_writes_is_not_used() {
    let bus = Bus::new(&[(0x8000_0000, 0xa000_0000)]);
    bus.load(0x9000_0000, &tree(&[(&[0x4000_0000, 0x4000_0000, 0x8000_0000, 0x2000_0000], "okay")], (0, 0)));
    let mut info = info(0x8001_0000, 0x9000_0000);
    plan(&mut info, &bus, true);
    assert_eq!(info.phys_offset, 0x8000_0000, "the guess, since 0x40000000 does not answer");
}

#[test]
fn a_bank_that_is_too_small_for_the_image_is_passed_over() {
    let bus = Bus::new(&[(0, 0x10_0000), (0x8000_0000, 0xa000_0000)]);
    bus.load(0x9000_0000, &tree(&[(&[0, 0x10_0000, 0x8000_0000, 0x2000_0000], "okay")], (0, 0)));
    let mut info = info(0x8001_0000, 0x9000_0000);
    plan(&mut info, &bus, true);
    assert_eq!(info.phys_offset, 0x8000_0000);
}

#[test]
fn a_tree_on_the_run_address_or_the_table_moves_behind_the_image_and_the_initrd() {
    for place in [0x8010_8000, 0x8000_5000, 0x8001_8000] {
        let bus = Bus::new(&[(0x8000_0000, 0xa000_0000)]);
        let initrd = (0x8020_0000, 0x8020_1234);
        bus.load(place, &tree(&[(&[0x8000_0000, 0x2000_0000], "okay")], initrd));
        let mut info = info(0x8001_0000, place);
        plan(&mut info, &bus, true);
        assert_eq!(info.dtb, 0x8020_2000, "from {place:#x} to the page after the initrd");
    }
}

#[test]
fn probing_leaves_every_word_as_it_was() {
    let bus = Bus::new(&[(0x8000_0000, 0xa000_0000)]);
    bus.load(0x9000_0000, &tree(&[(&[0x8000_0000, 0x2000_0000], "okay")], (0, 0)));
    for address in [0x8000_4000, 0x8010_0000, 0x801f_fffc] {
        bus.write(address, address ^ 0x5a5a_5a5a);
    }
    plan(&mut info(0x8001_0000, 0x9000_0000), &bus, true);
    for address in [0x8000_4000_u32, 0x8010_0000, 0x801f_fffc] {
        assert_eq!(bus.read(address), address ^ 0x5a5a_5a5a);
    }
}

#[test]
fn a_tree_cut_anywhere_is_scanned_without_a_read_outside_it() {
    let whole = tree(&[(&[0x8000_0000, 0x2000_0000], "okay")], (0x8800_0000, 0x8801_0000));
    for size in (40..whole.len()).step_by(4) {
        let bus = Bus::new(&[(0x8000_0000, 0xa000_0000)]);
        let mut cut = whole[..size].to_vec();
        cut[4..8].copy_from_slice(&(size as u32).to_be_bytes());
        bus.load(0x9000_0000, &cut);
        let mut info = info(0x8001_0000, 0x9000_0000);
        plan(&mut info, &bus, true);
        assert_eq!(info.phys_offset, 0x8000_0000);
    }
}

#[test]
fn the_first_table_maps_image_tree_and_the_code_that_runs() {
    let bus = Bus::new(&[(0x4000_0000, 0x6000_0000)]);
    let mut info = info(0x4001_0000, 0x4800_0000);
    (info.dtb, info.dtb_size) = (0x480f_f000, 0x2000);
    (info.phys_offset, info.table, info.run) = (0x4000_0000, 0x4000_4000, 0x4010_0000);
    tables::build(&mut info, &bus);
    let entry = |va: u32| bus.read(0x4000_4000 + (va >> 20) * 4);
    assert_eq!(entry(PAGE_OFFSET) >> 20, 0x400);
    assert_eq!(entry(PAGE_OFFSET + 0x10_0000) >> 20, 0x401);
    assert_eq!(entry(PAGE_OFFSET + 0x20_0000), 0, "the image ends at 2 MiB");
    assert_eq!((entry(FDT_FIXED_BASE) >> 20, entry(FDT_FIXED_BASE + 0x10_0000) >> 20), (0x480, 0x481));
    assert_eq!((entry(0x4010_0000) >> 20, info.clash_entry), (0x401, 0));
}

#[test]
fn a_one_to_one_section_inside_the_linear_map_is_put_back_later() {
    // RAM at 0x8000_0000 − 2 MiB: the image runs at 0x7ff0_0000 … and RAM at + 2 MiB runs inside the linear map.
    let bus = Bus::new(&[(0x8020_0000, 0xa000_0000)]);
    let mut info = info(0x8021_0000, 0);
    info.mem_size = 0x30_0000;
    (info.phys_offset, info.table, info.run) = (0x8020_0000, 0x8020_4000, 0x8030_0000);
    tables::build(&mut info, &bus);
    // Linear: 0x8030_0000 belongs to physical 0x8050_0000.
    assert_eq!((info.clash_index, info.clash_entry >> 20), (0x803, 0x805));
}

#[test]
fn a_bank_that_faults_leaves_the_tree_in_place() {
    let bus = Bus::new(&[(0x8000_0000, 0xa000_0000)]);
    bus.load(0x9000_0000, &tree(&[(&[0x4000_0000, 0x4000_0000], "okay")], (0x8800_0000, 0x8800_1000)));
    let mut info = info(0x8001_0000, 0x9000_0000);
    plan(&mut info, &bus, true);
    let (size, initrd) = (info.dtb_size, info.initrd);
    // What the vector does when the first access to 0x4000_4000 aborts.
    plan_after_fault(&mut info, &bus, true);
    assert_eq!((info.phys_offset, info.dtb, info.dtb_size, info.initrd), (0x8000_0000, 0x9000_0000, size, initrd));
}

#[test]
fn without_ram_at_the_run_address_there_is_no_place() {
    let bus = Bus::new(&[(0x8000_0000, 0x8010_0000)]);
    let mut info = info(0x8001_0000, 0);
    plan(&mut info, &bus, true);
    assert_eq!(info.run, 0);
}

#[test]
fn the_copy_of_the_moving_loop_lies_outside_the_image_and_where_it_goes() {
    for load in [0x8000_0000, 0x8000_4000, 0x8000_7ffc, 0x8001_0000, 0x8010_0000, 0x8014_0000, 0x9ff8_0000] {
        let bus = Bus::new(&[(0x8000_0000, 0xa000_0000)]);
        bus.load(0x9000_0000, &tree(&[(&[0x8000_0000, 0x2000_0000], "okay")], (0, 0)));
        let mut info = info(load, 0x9000_0000);
        plan(&mut info, &bus, true);
        let stub = Span { start: info.stub, end: info.stub + 128 };
        for start in [info.load, info.run] {
            assert!(!stub.overlaps(Span { start, end: start + info.file_size }), "loaded at {load:#x}: {stub:x?}");
        }
    }
}

#[test]
fn no_word_of_the_image_is_written_while_ram_is_tried() {
    /// A bus that tells of every write below the tree.
    struct Watched(Bus, RefCell<Vec<u32>>);
    impl Raw for Watched {
        fn read(&self, address: u32) -> u32 {
            self.0.read(address)
        }
        fn write(&self, address: u32, word: u32) {
            self.1.borrow_mut().push(address);
            self.0.write(address, word);
        }
    }
    for load in [0x8000_1f40, 0x8000_3ffc, 0x8000_4000, 0x800f_ff00, 0x8010_0000, 0x8018_0000] {
        let bus = Bus::new(&[(0x8000_0000, 0xa000_0000)]);
        bus.load(0x9000_0000, &tree(&[(&[0x8000_0000, 0x2000_0000], "okay")], (0, 0)));
        let watched = Watched(bus, RefCell::default());
        let mut info = info(load, 0x9000_0000);
        plan(&mut info, &watched, true);
        let inside = |address: &u32| (load..load + info.file_size).contains(address);
        assert_eq!(watched.1.borrow().iter().find(|address| inside(address)), None, "loaded at {load:#x}");
    }
}
