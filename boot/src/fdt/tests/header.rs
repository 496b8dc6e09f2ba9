//! The blob around the tree: its header, its blocks and the map of what is reserved.

use mm::addr::NodeId;

use super::{fault, range};
use crate::fdt::builder::{Blob, Builder};
use crate::fdt::{Block, Fault, total_size, validate};
use crate::info::MemoryBank;

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
