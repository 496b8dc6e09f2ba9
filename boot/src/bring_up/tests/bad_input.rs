//! Trees and machines that leave nothing to go on with: one line, and no panic.

use super::{MIB, PAGE, boot, boots, range, refuses};
use crate::reserve::MAX_REGIONS;
use crate::testing::Board;
use crate::testing::tree::{Pair, Reserved, Tree};

const BASE: u64 = 0x8000_0000;
const RAM: [Pair; 1] = [(BASE, 64 * MIB)];

#[test]
fn without_a_usable_memory_node_there_is_no_place_for_the_image() {
    let nothing = "no enabled node of RAM has a page below 4 GiB (offset 0x0)";
    let no_place = "/memory: reg: no enabled bank of RAM holds the image at [mem 0x80100000-0x80175fff]";
    for (banks, line) in [
        (&[][..], format!("device tree: node /memory: property device_type = \"memory\": {nothing}")),
        (&[(BASE, 0)], format!("device tree: node /memory@80000000: property reg: {nothing}")),
        (&[(1 << 32, 64 * MIB)], format!("device tree: node /memory@100000000: property reg: {nothing}")),
        (&[(0x4000_0000, 64 * MIB)], no_place.to_owned()),
        (&[(BASE, MIB)], no_place.to_owned()),
    ] {
        assert_eq!(refuses(&RAM, &Tree::of(banks)), line, "{banks:x?}");
    }
}

#[test]
fn what_cannot_be_reached_of_memory_is_told_and_left() {
    let told = |banks: &[Pair], ram: &[Pair], line: &str| {
        let ram: Vec<_> = ram.iter().copied().map(range).collect();
        let booted = boot(&Board::new(&ram, &Tree::of(banks).blob())).unwrap();
        assert!(booted.has(line), "{}", booted.log.join("\n"));
        assert_eq!(booted.pages.present, 64 << 8);
    };
    told(&[RAM[0], (1 << 32, MIB)], &RAM, "OF: fdt: Ignoring memory block 0x100000000 - 0x100100000");
    let high = (0xfc00_0000, 64 * MIB);
    told(&[(high.0, 128 * MIB)], &[high], "OF: fdt: Ignoring memory range 0x100000000 - 0x104000000");
    told(
        &[RAM[0], RAM[0]],
        &RAM,
        "/memory@80000000: reg: [mem 0x80000000-0x83ffffff] overlaps RAM that is known already",
    );
    told(&[RAM[0], (0x1000, MIB)], &[RAM[0], (0x1000, MIB)], "OF: fdt: Ignoring memory block 0x1000 - 0x101000");
}

#[test]
fn absent_ram_is_found_out_and_left() {
    let boots_with = |told: &[Pair], there: &[Pair], pages: u64, line: &str| {
        let ram: Vec<_> = there.iter().copied().map(range).collect();
        let booted = boot(&Board::new(&ram, &Tree::of(told).blob())).unwrap();
        assert!(booted.has(line), "{line}:\n{}", booted.log.join("\n"));
        assert_eq!(u64::from(booted.pages.present), pages);
    };
    let line =
        "/memory@80000000: reg: [mem 0x80000000-0x87ffffff]: no RAM answers at 0x87fff000, it ends at 0x84000000";
    boots_with(&[(BASE, 128 * MIB)], &RAM, 64 << 8, line);
    let line =
        "/memory@80000000: reg: [mem 0x80000000-0x87ffffff]: no RAM answers at 0x87fff000, it ends at 0x84003000";
    boots_with(&[(BASE, 128 * MIB)], &[(BASE, 64 * MIB + 3 * PAGE)], (64 << 8) + 3, line);
    let line =
        "/memory@80000000: reg: [mem 0x80000000-0x87ffffff]: no RAM answers at 0x87fff000, it ends at 0x81800000";
    boots_with(&[(BASE, 128 * MIB)], &[(BASE, 24 * MIB), (BASE + 32 * MIB, 64 * MIB)], 24 << 8, line);
    // A hole of 2 MiB, of which no multiple of 4 MiB knows.
    let line =
        "/memory@80000000: reg: [mem 0x80000000-0x87ffffff]: no RAM answers at 0x87fff000, it ends at 0x81900000";
    boots_with(&[(BASE, 128 * MIB)], &[(BASE, 25 * MIB), (BASE + 27 * MIB, 64 * MIB)], 25 << 8, line);
    let line = "/memory@90000000: reg: [mem 0x90000000-0x93ffffff]: no RAM answers at 0x90000000, ignoring the bank";
    boots_with(&[RAM[0], (0x9000_0000, 64 * MIB)], &RAM, 64 << 8, line);
    // What lies below the linear map is not looked at.
    let line = "OF: fdt: Ignoring memory range 0x7f000000 - 0x80000000";
    boots_with(&[(BASE - 16 * MIB, 80 * MIB)], &RAM, 64 << 8, line);
}

#[test]
fn a_bank_with_a_hole_between_ram_ends_at_the_hole() {
    let hole = [range((BASE, 24 * MIB)), range((BASE + 32 * MIB, 96 * MIB))];
    let boots_with = |tree: &Tree, there: &[mm::addr::PhysRange], pages: u64, line: &str| {
        let booted = boot(&Board::new(there, &tree.blob())).unwrap();
        assert_eq!(booted.log.iter().filter(|had| had.contains("no RAM answers")).collect::<Vec<_>>(), [line]);
        assert_eq!(u64::from(booted.pages.present), pages);
        booted
    };
    // The image's bank, and one that overlaps another: what is left of that one begins behind the hole.
    let line =
        "/memory@80000000: reg: [mem 0x80000000-0x87ffffff]: no RAM answers at 0x81800000, it ends at 0x81800000";
    boots_with(&Tree::of(&[(BASE, 128 * MIB)]), &hole, 24 << 8, line);
    boots_with(&Tree::of(&[(BASE, 128 * MIB), (BASE + 32 * MIB, 96 * MIB)]), &hole, 120 << 8, line);
    // Another bank, and what is tried of it is not no-map: the hole begins where that ends.
    let far = [range((BASE, 64 * MIB)), range((BASE + 128 * MIB, 16 * MIB)), range((BASE + 160 * MIB, 16 * MIB))];
    let tree = || Tree::of(&[(BASE, 64 * MIB), (BASE + 128 * MIB, 48 * MIB)]);
    let line =
        "/memory@88000000: reg: [mem 0x88000000-0x8affffff]: no RAM answers at 0x89000000, it ends at 0x89000000";
    boots_with(&tree(), &far, 80 << 8, line);
    // A bank that begins between two of the places that are tried, and a hole from one to the next.
    let odd = [range((BASE, 64 * MIB)), range((BASE + 132 * MIB, 4 * MIB)), range((BASE + 144 * MIB, 4 * MIB))];
    let line =
        "/memory@88400000: reg: [mem 0x88400000-0x893fffff]: no RAM answers at 0x88800000, it ends at 0x88800000";
    boots_with(&Tree::of(&[(BASE, 64 * MIB), (BASE + 132 * MIB, 16 * MIB)]), &odd, 68 << 8, line);
    let secret = |at: u64, size: u64| Reserved {
        name: "secret".into(),
        reg: vec![(BASE + at, size)],
        no_map: true,
        ..Reserved::default()
    };
    let covered = Tree { reserved: vec![secret(144 * MIB, MIB)], ..tree() };
    let line =
        "/memory@88000000: reg: [mem 0x88000000-0x8affffff]: no RAM answers at 0x89100000, it ends at 0x89100000";
    boots_with(&covered, &far, 81 << 8, line);
    // In the image's bank, beside no-map memory: its MiB is not mapped yet.
    let beside = Tree { reserved: vec![secret(24 * MIB - PAGE, PAGE)], ..Tree::of(&[(BASE, 128 * MIB)]) };
    let line =
        "/memory@80000000: reg: [mem 0x80000000-0x87ffffff]: no RAM answers at 0x81800000, it ends at 0x81800000";
    boots_with(&beside, &hole, 24 << 8, line);
}

#[test]
fn usable_memory_is_added_as_far_as_it_is_ram() {
    let tree = Tree { usable: vec![RAM[0], (0x9000_0000, 64 * MIB)], ..Tree::of(&RAM) };
    let there = [range(RAM[0]), range((0x9000_0000, 8 * MIB))];
    let booted = boot(&Board::new(&there, &tree.blob())).unwrap();
    let line = "/chosen: linux,usable-memory-range: [mem 0x90000000-0x93ffffff]: no RAM answers at 0x93fff000, it ends at 0x90800000";
    assert!(booted.has(line), "{}", booted.log.join("\n"));
    assert_eq!(booted.pages.present, 72 << 8);
    // What has no linear address is no part of the machine.
    let below = Tree { usable: vec![RAM[0], (0x7000_0000, 16 * MIB)], ..Tree::of(&RAM) };
    assert_eq!(boot(&Board::new(&[range(RAM[0])], &below.blob())).unwrap().pages.present, 64 << 8);
}

#[test]
fn absent_ram_is_found_without_a_probe_of_no_map_frames() {
    let secret = |at: u64, size: u64| Reserved {
        name: format!("secret@{:x}", BASE + at),
        reg: vec![(BASE + at, size)],
        no_map: true,
        ..Reserved::default()
    };
    let present = |reserved: Vec<Reserved>, there| {
        let tree = Tree { reserved, ..Tree::of(&[(BASE, 128 * MIB)]) };
        let booted = boot(&Board::new(&[range((BASE, there))], &tree.blob())).unwrap();
        u64::from(booted.pages.present) * PAGE
    };
    // At the bank's end, to the page; below where RAM ends.
    for there in [64 * MIB, 65 * MIB + PAGE] {
        assert_eq!(present(vec![secret(112 * MIB, 16 * MIB)], there), there);
        assert_eq!(present(vec![secret(128 * MIB - PAGE, PAGE)], there), there);
        assert_eq!(present(vec![secret(32 * MIB, 16 * MIB)], there), there);
    }
    let above = 128 * MIB - 2 * PAGE;
    assert_eq!(present(vec![secret(128 * MIB - PAGE, PAGE)], above), above);
    // One that comes after as many as the table of regions has places is not tried either: only it keeps the end.
    let many = |last| (0..MAX_REGIONS as u64).map(|n| secret(48 * MIB + 2 * n * PAGE, PAGE)).chain(last).collect();
    assert_eq!(present(many(None), above), above);
    let kept = secret(8 * MIB, MIB);
    let holes = [range((BASE, 8 * MIB)), range((BASE + 9 * MIB, 119 * MIB))];
    let tree = Tree { reserved: many(Some(kept)), ..Tree::of(&[(BASE, 128 * MIB)]) };
    assert_eq!(boot(&Board::new(&holes, &tree.blob())).unwrap().pages.present, 128 << 8);
}

#[test]
fn a_bank_that_mem_names_where_no_ram_is_is_told_and_left() {
    let boots_with = |args: &str, pages: u64, line: &str| {
        let board_ram = [range(RAM[0]), range((0xb000_0000, 16 * MIB))];
        let booted = boot(&Board::new(&board_ram, &Tree::of(&RAM).with_bootargs(args).blob())).unwrap();
        assert_eq!(booted.log.iter().filter(|had| had.contains("no RAM answers")).collect::<Vec<_>>(), [line]);
        assert_eq!(u64::from(booted.pages.present), pages, "{args}");
    };
    let line = "mem=: [mem 0xf8000000-0xfbffffff]: no RAM answers at 0xf8000000, ignoring the bank";
    boots_with("mem=256M mem=64M@0xf8000000", 64 << 8, line);
    let line = "mem=: [mem 0xb0000000-0xb3ffffff]: no RAM answers at 0xb3fff000, it ends at 0xb1000000";
    boots_with("mem=256M mem=64M@0xb0000000", 80 << 8, line);
    // Over the tree's RAM, and on.
    let line = "mem=: [mem 0x80000000-0x87ffffff]: no RAM answers at 0x84000000, it ends at 0x84000000";
    boots_with("mem=128M@0x80000000", 64 << 8, line);
}

#[test]
fn reservations_over_everything_leave_too_little() {
    let whole = |no_map| Reserved { name: "all".into(), reg: vec![RAM[0]], no_map, ..Reserved::default() };
    let reserved = Tree { reserved: vec![whole(false)], ..Tree::of(&RAM) };
    assert_eq!(refuses(&RAM, &reserved), "too little RAM: 0K free, 1536K needed");
    let mapped = Tree { reserve_map: vec![(0, u64::MAX)], ..Tree::of(&RAM) };
    assert_eq!(refuses(&RAM, &mapped), "too little RAM: 0K free, 1536K needed");
    // A no-map region over the image is refused, and the boot goes on.
    boots(&Tree { reserved: vec![whole(true)], ..Tree::of(&RAM) });
}

#[test]
fn regions_outside_ram_and_larger_than_ram_are_told() {
    let node =
        |name: &str, reg: &[Pair], size| Reserved { name: name.into(), reg: reg.to_vec(), size, ..Reserved::default() };
    let reserved = vec![
        node("outside@1000", &[(0x1000, MIB)], None),
        node("high@f0000000", &[(0xf000_0000, 0x2000_0000)], None),
        Reserved { no_map: true, ..node("far", &[(0x6000_0000, MIB)], None) },
        node("large", &[], Some(128 * MIB)),
        node("half@83f00000", &[(BASE + 63 * MIB, 2 * MIB)], None),
    ];
    let booted = boots(&Tree { reserved, ..Tree::of(&RAM) });
    for line in [
        "OF: reserved mem: node outside@1000: reg [mem 0x00001000-0x00100fff] lies outside RAM",
        "OF: reserved mem: node high@f0000000: reg [mem 0xf0000000-0x10fffffff] lies outside RAM",
        "OF: reserved mem: node far: reg [mem 0x60000000-0x600fffff] lies outside RAM",
        "OF: reserved mem: node half@83f00000: reg [mem 0x83f00000-0x840fffff] reaches out of RAM",
        "OF: reserved mem: failed to allocate memory for node 'large': size 128 MiB",
    ] {
        assert!(booted.has(line), "{line}:\n{}", booted.log.join("\n"));
    }
}

#[test]
fn an_initrd_under_the_image_is_named() {
    let tree = Tree { initrd: Some((BASE + MIB, BASE + 2 * MIB)), ..Tree::of(&RAM) };
    assert_eq!(
        refuses(&RAM, &tree),
        "/chosen: linux,initrd-start: initrd [mem 0x80100000-0x801fffff] lies where the image runs, \
         [mem 0x80004000-0x80175fff]; load it higher"
    );
}

#[test]
fn mem_that_leaves_no_ram_for_the_image_is_named() {
    let outside = "mem=: the RAM that it leaves does not hold the image at [mem 0x80100000-0x80175fff]";
    for (arg, line) in [
        ("mem=1M", outside),
        ("mem=64K", outside),
        ("mem=4K@0x80000000", outside),
        ("mem=64M@0xfffff000", outside),
        ("mem=1500K", "too little RAM: 1012K free, 1056K needed"),
    ] {
        assert_eq!(refuses(&RAM, &Tree::of(&RAM).with_bootargs(arg)), line, "{arg}");
    }
    // Nothing of this one can be reached, so it says nothing.
    assert_eq!(boots(&Tree::of(&RAM).with_bootargs("mem=64M@0x10000000")).pages.present, 64 << 8);
    assert_eq!(boots(&Tree::of(&RAM).with_bootargs("mem=2M")).pages.present, 2 << 8);
}
