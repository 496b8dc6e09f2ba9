//! What a blob's faults are called, and what well-formed trees say.

use mm::addr::{NodeId, PhysAddr, PhysRange};

use super::builder::{Blob, Builder};
use super::*;
use crate::info::{BootInfo, Conduit, Distance, MemoryBank};

fn range(start: u64, end: u64) -> PhysRange {
    PhysRange::new(PhysAddr::new(start), PhysAddr::new(end))
}

fn fault(blob: &Blob) -> FdtError {
    validate(blob).expect_err("the blob is broken")
}

/// A small tree in which each part of a blob is used.
fn small() -> Builder {
    let mut tree = Builder::with_root(1, 1);
    tree.reserve(0x8000_0000, 0x1000);
    tree.begin("memory@80000000").text("device_type", "memory").cells("reg", &[0x8000_0000, 0x2000_0000]).end();
    tree
}

/// `small`, with the header's word `field` set to `value`.
fn with_header(field: usize, value: u32) -> Blob {
    let mut blob = small().finish();
    blob[field..field + 4].copy_from_slice(&value.to_be_bytes());
    blob
}

#[test]
fn a_small_tree_is_valid_and_reads_back() {
    let blob = small().finish();
    let fdt = validate(&blob).unwrap();
    assert_eq!(fdt.total_size() as usize, blob.len());
    assert_eq!(total_size(&blob), Ok(fdt.total_size()));
    let bank = MemoryBank {
        name: "memory@80000000",
        range: range(0x8000_0000, 0xa000_0000),
        node: NodeId::ZERO,
        hotplug: false,
    };
    assert_eq!(fdt.memory_banks().collect::<Vec<_>>(), [bank]);
    assert_eq!(fdt.reserve_map().collect::<Vec<_>>(), [range(0x8000_0000, 0x8000_1000)]);
    assert_eq!(fdt.reserved_memory().count(), 0);
    assert!(fdt.require_memory().is_ok());
}

#[test]
fn what_lies_behind_totalsize_is_not_looked_at() {
    let mut bytes = small().finish().to_vec();
    bytes.extend_from_slice(&[0xff; 13]);
    assert!(validate(&Blob::new(&bytes)).is_ok());
}

#[test]
fn every_truncation_is_refused() {
    let blob = small().finish();
    for len in 0..blob.len() {
        assert!(validate(&blob[..len]).is_err(), "{len} bytes");
        // The same, with a header that owns up to it.
        let mut short = Blob::new(&blob[..len]);
        if len >= 8 {
            short[4..8].copy_from_slice(&u32::try_from(len).unwrap().to_be_bytes());
        }
        assert!(validate(&short).is_err(), "{len} bytes, told");
    }
}

#[test]
fn a_blob_off_a_word_boundary_is_refused() {
    let mut bytes = vec![0];
    bytes.extend_from_slice(&small().finish());
    assert_eq!(validate(&Blob::new(&bytes)[1..]).unwrap_err().fault, Fault::Unaligned);
}

#[test]
fn faults_of_the_header_name_the_field() {
    let total = u32::try_from(small().finish().len()).unwrap();
    let cases = [
        (0, 0xd00d_feee, Fault::Magic(0xd00d_feee)),
        (4, total + 1, Fault::Truncated { promised: total + 1, present: total }),
        (4, u32::MAX, Fault::Truncated { promised: u32::MAX, present: total }),
        (4, 0, Fault::TotalSize(0)),
        (4, 39, Fault::TotalSize(39)),
        (8, 0x46, Fault::BlockAlign(Block::Structure, 0x46)),
        (8, 0xffff_fffc, Fault::BlockBounds(Block::Structure, 0xffff_fffc, 0x70)),
        (12, u32::MAX, Fault::BlockBounds(Block::Strings, u32::MAX, 0x2b)),
        (16, 0x2c, Fault::BlockAlign(Block::ReserveMap, 0x2c)),
        (16, 0xffff_fff8, Fault::BlockBounds(Block::ReserveMap, 0xffff_fff8, 0)),
        (20, 15, Fault::Version { version: 15, compatible: 16 }),
        (24, 18, Fault::Version { version: 17, compatible: 18 }),
        (32, u32::MAX, Fault::BlockBounds(Block::Strings, 0xb8, u32::MAX)),
        (36, u32::MAX, Fault::BlockBounds(Block::Structure, 0x48, u32::MAX)),
    ];
    for (field, value, expected) in cases {
        let error = fault(&with_header(field, value));
        assert_eq!(error.fault, expected, "field {field} = {value:#x}");
        assert_eq!(error.path.as_str(), "");
    }
}

#[test]
fn blocks_may_not_share_bytes() {
    let blocks = |field, value| match fault(&with_header(field, value)).fault {
        Fault::BlocksOverlap(one, other) => (one, other),
        other => panic!("{other:?}"),
    };
    assert_eq!(blocks(16, 0), (Block::Header, Block::ReserveMap));
    assert_eq!(blocks(8, 0x20), (Block::Header, Block::Structure));
    assert_eq!(blocks(8, 0x30), (Block::ReserveMap, Block::Structure));
    assert_eq!(blocks(12, 0x50), (Block::Structure, Block::Strings));
}

#[test]
fn a_reserve_map_without_an_end_is_refused() {
    let mut blob = small().finish();
    let from = blob.len().next_multiple_of(8) - 16;
    let mut bytes = blob.to_vec();
    bytes.resize(from, 0xff);
    bytes.resize(from + 24, 0xff);
    blob = Blob::new(&bytes);
    let total = u32::try_from(blob.len()).unwrap();
    blob[4..8].copy_from_slice(&total.to_be_bytes());
    blob[16..20].copy_from_slice(&u32::try_from(from).unwrap().to_be_bytes());
    assert_eq!(fault(&blob).fault, Fault::ReserveMapEnd);
}

#[test]
fn a_version_16_blob_ends_its_structure_at_its_end_token() {
    let mut blob = with_header(20, 16);
    blob[36..40].fill(0xff);
    let fdt = validate(&blob).unwrap();
    assert_eq!(fdt.memory_banks().count(), 1);
}

#[test]
fn faults_of_the_structure_name_node_and_property() {
    type Break = fn(&mut Builder);
    let cases: [(Break, Fault, &str, &str); 18] = [
        // One word is left: 5 bytes need two, 4 bytes fit and leave nothing for the end token.
        (|t| _ = t.word(3).word(5).word(0).word(0), Fault::PropertyLength(5), "/a", "#address-cells"),
        (|t| _ = t.word(3).word(4).word(0).word(0), Fault::StructureEnd, "/a", ""),
        (
            |t| {
                t.word(5);
            },
            Fault::Token(5),
            "/a",
            "",
        ),
        (
            |t| {
                t.word(3).word(0xffff_fffd).word(0);
            },
            Fault::PropertyLength(0xffff_fffd),
            "/a",
            "#address-cells",
        ),
        (
            |t| {
                t.word(3).word(u32::MAX).word(0);
            },
            Fault::PropertyLength(u32::MAX),
            "/a",
            "#address-cells",
        ),
        (
            |t| {
                t.word(3).word(4).word(0x1000);
            },
            Fault::PropertyName(0x1000),
            "/a",
            "",
        ),
        (
            |t| {
                t.word(3).word(4).word(u32::MAX);
            },
            Fault::PropertyName(u32::MAX),
            "/a",
            "",
        ),
        (
            |t| {
                t.word(3).word(0).word(14);
            },
            Fault::PropertyUnnamed,
            "/a",
            "",
        ),
        (
            |t| {
                t.begin("b").end().text("late", "x");
            },
            Fault::PropertyAfterChild,
            "/a",
            "late",
        ),
        (
            |t| {
                t.end().end().end();
            },
            Fault::EndNode,
            "",
            "",
        ),
        (
            |t| {
                t.end().end().text("late", "x");
            },
            Fault::PropertyOutside,
            "",
            "late",
        ),
        (
            |t| {
                t.end().end().begin("");
            },
            Fault::SecondRoot,
            "",
            "",
        ),
        (
            |t| {
                t.word(9);
            },
            Fault::OpenNodes(2),
            "/a",
            "",
        ),
        (
            |t| {
                t.begin("");
            },
            Fault::NameEmpty,
            "/a",
            "",
        ),
        (
            |t| {
                t.begin("x y");
            },
            Fault::NameByte(b' '),
            "/a",
            "",
        ),
        (
            |t| {
                t.begin("node/x");
            },
            Fault::NameByte(b'/'),
            "/a",
            "",
        ),
        (
            |t| {
                t.begin("long-name-\u{7f}");
            },
            Fault::NameByte(0x7f),
            "/a",
            "",
        ),
        (
            |t| {
                t.word(1).bytes(&[b'n'; 4]);
            },
            Fault::NameEnd,
            "/a",
            "",
        ),
    ];
    for (number, (spoil, expected, path, property)) in cases.into_iter().enumerate() {
        let mut tree = Builder::with_root(1, 1);
        tree.begin("a").word(4).text("ok", "yes").word(4);
        spoil(&mut tree);
        let error = fault(&tree.blob());
        assert_eq!((error.fault, error.path.as_str(), error.property.as_str()), (expected, path, property), "{number}");
    }
}

#[test]
fn a_structure_without_root_or_end_is_refused() {
    assert_eq!(fault(&Builder::new().word(9).blob()).fault, Fault::NoRoot);
    assert_eq!(fault(&Builder::new().word(4).blob()).fault, Fault::StructureEnd);
    assert_eq!(fault(&Builder::new().begin("").end().blob()).fault, Fault::StructureEnd);
    assert_eq!(fault(&Builder::new().begin("name").end().word(9).blob()).fault, Fault::RootName);
    assert_eq!(fault(&Builder::new().text("x", "y").blob()).fault, Fault::PropertyOutside);
}

#[test]
fn a_strings_block_that_is_not_text_is_refused() {
    let mut tree = Builder::with_root(1, 1);
    tree.cells("bad\u{1}name", &[1]);
    let error = fault(&tree.finish());
    assert_eq!(error.fault, Fault::StringByte(1));
}

#[test]
fn a_string_that_the_strings_block_does_not_end_is_refused() {
    let mut tree = Builder::with_root(1, 1);
    tree.cells("last", &[1]);
    let mut blob = tree.finish();
    let end = blob.len() - 1;
    blob[end] = b'x';
    assert!(matches!(fault(&blob).fault, Fault::PropertyName(_)));
    assert_eq!(fault(&blob).path.as_str(), "/");
}

#[test]
fn nodes_may_be_64_deep_and_no_deeper() {
    let nested = |levels: usize| {
        let mut tree = Builder::with_root(1, 1);
        for _ in 1..levels {
            tree.begin("n");
        }
        for _ in 1..levels {
            tree.end();
        }
        tree.finish()
    };
    let blob = nested(MAX_DEPTH);
    let fdt = validate(&blob).unwrap();
    assert!(fdt.find(&"/n".repeat(MAX_DEPTH - 1)).is_some());
    let error = fault(&nested(MAX_DEPTH + 1));
    assert_eq!(error.fault, Fault::TooDeep);
    assert!(error.path.as_str().starts_with("/n/n/n"));
}

#[test]
fn cells_of_the_root_are_1_or_2() {
    for bad in [0, 3, u32::MAX] {
        let error = fault(&Builder::with_root(1, bad).finish());
        assert_eq!((error.fault, error.property.as_str()), (Fault::Cells(bad), "#size-cells"));
        assert_eq!(error.path.as_str(), "/");
    }
    let error = fault(&Builder::new().begin("").prop("#address-cells", &[0, 1]).finish());
    assert_eq!(error.fault, Fault::CellsLength(2));
    let blob = Builder::new().begin("").finish();
    assert_eq!(validate(&blob).unwrap().root_cells(), (1, 1));
}

#[test]
fn no_operations_may_stand_anywhere() {
    let mut tree = Builder::new();
    tree.word(4).word(4).begin("").word(4).cells("#address-cells", &[1]).word(4).cells("#size-cells", &[1]).word(4);
    tree.begin("a").word(4).end().word(4).word(4).begin("b").word(4).text("x", "y").word(4).end().word(4).end().word(4);
    let blob = tree.word(9).blob();
    let fdt = validate(&blob).unwrap();
    let names: Vec<_> = fdt.root().children().map(|node| node.name()).collect();
    assert_eq!(names, ["a", "b"]);
    assert_eq!(fdt.find("/b").unwrap().property("x"), Some(b"y\0".as_slice()));
}

#[test]
fn the_first_of_two_properties_or_nodes_of_one_name_counts() {
    let mut tree = Builder::with_root(1, 1);
    tree.begin("chosen").text("bootargs", "one").text("bootargs", "two").end();
    tree.begin("chosen").text("bootargs", "three").end();
    let blob = tree.finish();
    assert_eq!(validate(&blob).unwrap().bootargs(), "one");
}

#[test]
fn memory_is_what_its_device_type_says_and_not_its_name() {
    let mut tree = Builder::with_root(2, 1);
    tree.begin("memory-controller@0").cells("reg", &[0, 0, 0x1000]).end();
    tree.begin("ram@1").text("device_type", "memory").cells("reg", &[1, 0, 0x1000, 0, 0, 0, 0, 0x8000, 0x2000]).end();
    tree.begin("memory@2").text("device_type", "memory").text("status", "disabled").cells("reg", &[0, 2, 2]).end();
    tree.begin("memory@3").text("device_type", "memory").text("status", "ok");
    tree.cells("numa-node-id", &[3]).prop("hotpluggable", &[]);
    tree.cells("reg", &[9, 9, 9]).cells("linux,usable-memory", &[0, 0x10_0000, 0x1000, 7]).end();
    tree.begin("memory@4").text("device_type", "memory").end();
    tree.begin("soc").begin("memory@5").text("device_type", "memory").cells("reg", &[0, 5, 5]).end().end();
    let blob = tree.finish();
    let fdt = validate(&blob).unwrap();
    fdt.report();
    let banks: Vec<_> = fdt.memory_banks().map(|bank| (bank.range, bank.node.raw(), bank.hotplug)).collect();
    assert_eq!(
        banks,
        [
            (range(1 << 32, (1 << 32) + 0x1000), 0, false),
            (range(0x8000, 0xa000), 0, false),
            (range(0x10_0000, 0x10_1000), 3, true),
        ]
    );
}

#[test]
fn a_tree_without_a_page_of_ram_is_refused_in_one_line() {
    let line = |tree: &mut Builder| validate(&tree.finish()).unwrap().require_memory().unwrap_err().to_string();
    let told = |node: &str, property: &str| {
        let what = "no enabled node of RAM has a page below 4 GiB (offset 0x0)";
        format!("device tree: node {node}: property {property}: {what}")
    };
    assert_eq!(line(&mut Builder::with_root(1, 1)), told("/memory", "device_type = \"memory\""));
    let mut above = Builder::with_root(2, 2);
    above.begin("memory@100000000").text("device_type", "memory").cells("reg", &[1, 0, 0, 0x1000_0000]).end();
    assert_eq!(line(&mut above), told("/memory@100000000", "reg"));
    let mut empty = Builder::with_root(1, 1);
    empty.begin("memory").text("device_type", "memory").cells("reg", &[0, 0]).end();
    assert_eq!(line(&mut empty), told("/memory", "reg"));
}

#[test]
fn reserved_nodes_are_static_or_dynamic() {
    let mut tree = Builder::with_root(1, 1);
    tree.begin("reserved-memory").cells("#address-cells", &[1]).cells("#size-cells", &[1]).prop("ranges", &[]);
    tree.begin("vga@9f000000").cells("reg", &[0x9f00_0000, 0x100_0000]).prop("no-map", &[]).end();
    tree.begin("two").cells("reg", &[1, 2, 3, 4]).cells("size", &[9]).end();
    tree.begin("off@1").text("status", "disabled").cells("reg", &[1, 2]).end();
    tree.begin("framebuffer").cells("size", &[0x100_0000]).cells("alignment", &[0x10_0000]).prop("reusable", &[]);
    tree.text("compatible", "vendor,x\0shared-dma-pool").prop("linux,cma-default", &[]);
    tree.cells("alloc-ranges", &[0x9000_0000, 0x1000_0000]).end();
    tree.begin("odd-reg").cells("reg", &[1, 2, 3]).end();
    tree.begin("odd-size").cells("size", &[0, 1]).end();
    tree.begin("odd-alignment").cells("size", &[1]).prop("alignment", &[1]).end();
    tree.begin("alignment-of-3").cells("size", &[1]).cells("alignment", &[3]).end();
    tree.begin("size-of-0").cells("size", &[0]).end();
    tree.begin("odd-ranges").cells("size", &[1]).cells("alloc-ranges", &[1]).end();
    tree.begin("nothing").end();
    let blob = tree.end().finish();
    let fdt = validate(&blob).unwrap();
    fdt.report();
    let nodes: Vec<_> = fdt.reserved_memory().collect();
    assert_eq!(nodes.iter().map(|node| node.name).collect::<Vec<_>>(), ["vga@9f000000", "two", "framebuffer"]);
    assert_eq!(nodes[0].reg.collect::<Vec<_>>(), [range(0x9f00_0000, 0xa000_0000)]);
    assert!(nodes[0].no_map && !nodes[0].reusable && nodes[0].size.is_none());
    assert_eq!(nodes[1].reg.collect::<Vec<_>>(), [range(1, 3), range(3, 7)]);
    assert_eq!((nodes[2].size, nodes[2].alignment), (Some(0x100_0000), 0x10_0000));
    assert_eq!(nodes[2].alloc_ranges.collect::<Vec<_>>(), [range(0x9000_0000, 0xa000_0000)]);
    assert!(nodes[2].reusable && nodes[2].cma_default);
    assert_eq!(nodes[2].compatible, "shared-dma-pool");
}

#[test]
fn reserved_memory_with_other_cells_than_the_root_is_dropped_whole() {
    let count = |address: u32, size: u32, ranges: bool| {
        let mut tree = Builder::with_root(1, 1);
        tree.begin("reserved-memory").cells("#address-cells", &[address]).cells("#size-cells", &[size]);
        if ranges {
            tree.prop("ranges", &[]);
        }
        tree.begin("a@1").cells("reg", &[1, 2]).end().end();
        let blob = tree.finish();
        let fdt = validate(&blob).unwrap();
        fdt.report();
        fdt.reserved_memory().count()
    };
    assert_eq!([count(1, 1, true), count(2, 1, true), count(1, 2, true), count(1, 1, false)], [1, 0, 0, 0]);
}

fn info(tree: &mut Builder, check: impl FnOnce(BootInfo<'_>)) {
    let blob = tree.finish();
    check(BootInfo::parse(&validate(&blob).unwrap()));
}

#[test]
fn an_initrd_has_one_or_two_cells_whatever_the_root_has() {
    let cases: [(&[u32], &[u32], Option<PhysRange>); 6] = [
        (&[0x8800_0000], &[0x8810_0000], Some(range(0x8800_0000, 0x8810_0000))),
        (&[0, 0x8800_0000], &[0, 0x8810_0000], Some(range(0x8800_0000, 0x8810_0000))),
        (&[1, 0], &[1, 16], Some(range(1 << 32, (1 << 32) + 16))),
        (&[5], &[5], None),
        (&[6], &[5], None),
        (&[1, 2, 3], &[4], None),
    ];
    for (start, end, expected) in cases {
        let mut tree = Builder::with_root(2, 2);
        tree.begin("chosen").cells("linux,initrd-start", start).cells("linux,initrd-end", end).end();
        info(&mut tree, |info| assert_eq!(info.initrd, expected));
    }
}

#[test]
fn bootargs_that_are_not_text_are_cut_before_the_first_bad_byte() {
    let mut tree = Builder::with_root(1, 1);
    tree.begin("chosen").prop("bootargs", b"monitor \xff dump=x\0").end();
    info(&mut tree, |info| assert_eq!(info.bootargs, "monitor "));
}

/// A board with three UARTs behind two buses; the first is disabled.
fn with_uarts(chosen: impl FnOnce(&mut Builder)) -> Builder {
    let mut tree = Builder::with_root(2, 2);
    tree.begin("chosen");
    chosen(&mut tree);
    tree.end();
    tree.begin("smb").cells("#address-cells", &[2]).cells("#size-cells", &[1]);
    tree.cells("ranges", &[0, 0, 0, 0x800_0000, 0x400_0000, 3, 0, 0, 0x1c00_0000, 0x300_0000]);
    tree.begin("iofpga")
        .cells("#address-cells", &[1])
        .cells("#size-cells", &[1])
        .cells("ranges", &[0, 3, 0, 0x20_0000]);
    for (name, status, compatible) in
        [("90000", "disabled", "arm,pl011"), ("a0000", "okay", "ns16550a"), ("b0000", "okay", "arm,pl011")]
    {
        tree.begin(&format!("uart@{name}")).text("compatible", &format!("{compatible}\0arm,primecell"));
        tree.cells("reg", &[u32::from_str_radix(name, 16).unwrap(), 0x1000]).cells("reg-shift", &[2]);
        tree.cells("reg-io-width", &[4]).cells("clock-frequency", &[24_000_000]).text("status", status).end();
    }
    tree.begin("unreachable").begin("uart@1").text("compatible", "arm,pl011").cells("reg", &[1, 1]).end().end();
    tree.end().end();
    tree
}

fn stdout(tree: &mut Builder, check: impl FnOnce(&str, u64, &str)) {
    info(tree, |info| {
        let stdout = info.stdout.unwrap();
        assert_eq!((stdout.reg_shift, stdout.reg_io_width, stdout.clock), (2, 4, Some(24_000_000)));
        assert_eq!(stdout.reg.size(), 0x1000);
        check(stdout.path.as_str(), stdout.reg.start.raw(), stdout.options);
    });
}

#[test]
fn the_console_is_found_by_path_alias_argument_or_guess() {
    let first = "/smb/iofpga/uart@90000";
    let second = "/smb/iofpga/uart@a0000";
    let third = "/smb/iofpga/uart@b0000";
    let expect = |tree: &mut Builder, path: &str, start: u64, options: &str| {
        stdout(tree, |p, s, o| assert_eq!((p, s, o), (path, start, options)));
    };
    let aliases = |tree: &mut Builder| {
        tree.begin("aliases").text("serial0", first).text("serial1", third).text("io", "/smb/iofpga").end();
    };
    let mut tree = with_uarts(|t| {
        t.text("stdout-path", "/smb/iofpga/uart@b0000:115200n8");
    });
    expect(&mut tree, third, 0x1c0b_0000, "115200n8");
    let mut tree = with_uarts(|t| {
        t.text("stdout-path", "serial1:9600");
    });
    aliases(&mut tree);
    expect(&mut tree, third, 0x1c0b_0000, "9600");
    // A path that the loader names counts even when disabled, as in Linux.
    let mut tree = with_uarts(|t| {
        t.text("linux,stdout-path", "io/uart@90000");
    });
    aliases(&mut tree);
    expect(&mut tree, first, 0x1c09_0000, "");
    let mut tree = with_uarts(|t| {
        t.text("stdout-path", "/nowhere").text("bootargs", "console=ttyAMA1,115200");
    });
    aliases(&mut tree);
    expect(&mut tree, third, 0x1c0b_0000, "");
    // The alias serial0 is disabled, and so the guess is the first one that is not.
    let mut tree = with_uarts(|_| ());
    aliases(&mut tree);
    expect(&mut tree, second, 0x1c0a_0000, "");
}

#[test]
fn the_dma_limit_is_the_lowest_of_the_ends_that_enabled_buses_reach() {
    let mut tree = Builder::with_root(1, 1);
    info(&mut tree.clone(), |info| assert_eq!(info.dma_limit, None));
    tree.begin("soc").cells("#address-cells", &[1]).cells("#size-cells", &[1]);
    // Bus addresses from 0xc000_0000 are RAM from 0: 0 + 0x3f00_0000.
    tree.cells("dma-ranges", &[0xc000_0000, 0, 0x3f00_0000]);
    tree.begin("inner").cells("#address-cells", &[1]).cells("#size-cells", &[1]);
    // Through the outer bus: 0xc000_0000 is 0, so this reaches 0x1000_0000 + 0x1000_0000.
    tree.cells("dma-ranges", &[0, 0xc000_0000, 0x800_0000, 0x4000_0000, 0xd000_0000, 0x1000_0000]).end();
    tree.begin("off").text("status", "disabled").cells("dma-ranges", &[0, 0, 1]).end();
    tree.begin("one-to-one").prop("dma-ranges", &[]).end();
    tree.end();
    info(&mut tree.clone(), |info| assert_eq!(info.dma_limit, Some(PhysAddr::new(0x2000_0000))));
    tree.begin("pcie").cells("#address-cells", &[3]).cells("#size-cells", &[2]);
    tree.cells("dma-ranges", &[0x200_0000, 0, 0, 0, 0, 0x800_0000]).end();
    info(&mut tree, |info| assert_eq!(info.dma_limit, Some(PhysAddr::new(0x800_0000))));
}

#[test]
fn processors_firmware_and_distances_are_read() {
    let mut tree = Builder::with_root(1, 1);
    tree.text("model", "V2P-CA15").text("compatible", "arm,vexpress,v2p-ca15\0arm,vexpress");
    tree.begin("cpus").cells("#address-cells", &[1]).cells("#size-cells", &[0]).text("enable-method", "psci");
    tree.begin("cpu-map").end();
    tree.begin("cpu@0").text("device_type", "cpu").cells("reg", &[0]).end();
    tree.begin("other").text("device_type", "cpu").cells("reg", &[0x101]).text("enable-method", "spin-table");
    tree.cells("cpu-release-addr", &[0, 0x8000_0000]).end();
    tree.begin("cpu@2").cells("reg", &[2]).text("status", "fail-core").end();
    tree.begin("cpu@3").cells("reg", &[0xff00_0000]).end();
    tree.end();
    tree.begin("psci")
        .text("compatible", "arm,psci-0.2\0arm,psci")
        .text("method", "hvc")
        .cells("cpu_on", &[0x95c1_ba60]);
    tree.end();
    tree.begin("distance-map").cells("distance-matrix", &[0, 0, 10, 0, 1, 20, 7]).end();
    info(&mut tree, |info| {
        assert_eq!(info.model, "V2P-CA15");
        assert!(info.compatible.has("arm,vexpress"));
        let cpus: Vec<_> = info.cpus.as_slice().iter().map(|cpu| (cpu.mpidr, cpu.enable_method)).collect();
        assert_eq!(cpus, [(0, "psci"), (0x101, "spin-table")]);
        assert_eq!(info.cpus.as_slice()[1].release, Some(PhysAddr::new(0x8000_0000)));
        let psci = info.psci.unwrap();
        assert_eq!((psci.conduit, psci.standard), (Conduit::Hvc, true));
        assert_eq!((psci.cpu_on, psci.cpu_off), (Some(0x95c1_ba60), Some(0x8400_0002)));
        let distances: Vec<_> = info.distances.collect();
        let entry = |from, to, distance| Distance { from, to, distance };
        assert_eq!(distances, [entry(0, 0, 10), entry(0, 1, 20)]);
    });
}

#[test]
fn before_psci_0_2_only_the_tree_knows_the_numbers() {
    let mut tree = Builder::with_root(1, 1);
    tree.begin("psci").text("compatible", "arm,psci").text("method", "smc").cells("cpu_on", &[0x95c1_ba60]).end();
    info(&mut tree, |info| {
        let psci = info.psci.unwrap();
        assert_eq!(
            (psci.conduit, psci.standard, psci.cpu_on, psci.cpu_off),
            (Conduit::Smc, false, Some(0x95c1_ba60), None)
        );
    });
}

#[test]
fn more_processors_than_are_kept_are_counted() {
    let mut tree = Builder::with_root(1, 1);
    tree.begin("cpus").cells("#address-cells", &[1]);
    for id in 0..12 {
        tree.begin(&format!("cpu@{id}")).cells("reg", &[id]).end();
    }
    tree.end();
    info(&mut tree, |info| assert_eq!((info.cpus.found(), info.cpus.as_slice().len()), (12, 8)));
}
