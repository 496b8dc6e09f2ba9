//! The lines of the log: the configuration and every change, as Linux prints them.

use std::string::ToString;
use std::vec::Vec;

use super::{PAGE, arrays, fake_ram, node, range};
use crate::addr::{NodeId, PhysAddr};
use crate::memblock::{AllocRequest, Memblock, Region, RegionFlags};
use crate::testing::capture_log;

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
