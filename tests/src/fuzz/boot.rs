//! Device trees and boot arguments: a whole boot on the host from each.

use std::fmt::Display;

use boot::cmdline::BootArgs;
use boot::testing::Board;
use boot::testing::tree::{Reserved, Tree};
use mm::addr::{PhysAddr, PhysRange};

const MIB: u64 = 1 << 20;

fn range(start: u64, bytes: u64) -> PhysRange {
    PhysRange::new(PhysAddr::new(start), PhysAddr::new(start + bytes))
}

/// RAM that is there, whatever the tree says: two banks with a gap.
fn ram() -> [PhysRange; 2] {
    [range(0x8000_0000, 24 * MIB), range(0x8200_0000, 8 * MIB)]
}

fn is_one_line(why: &dyn Display) {
    let why = why.to_string();
    assert!(!why.is_empty() && !why.contains('\n'), "not one line: {why}");
}

/// Boots; the end is one line, or a state that holds.
///
/// Every sixteenth input, by its bytes, is counted a second time frame by frame, which takes longer than the boot.
fn boots_or_tells(tree: &[u8]) {
    let is_counted = tree.iter().fold(0, |sum: u8, byte| sum.wrapping_add(*byte)).is_multiple_of(16);
    let ram = ram();
    let run = match Board::new(&ram, tree).boot() {
        Ok(run) => run,
        Err(refusal) => return is_one_line(&refusal),
    };
    match &run.outcome {
        Ok(booted) => {
            booted.mm.validate().unwrap();
            assert!(!run.log.iter().any(|line| line.contains('\n')), "a line of the log is two: {:#?}", run.log);
            if is_counted && let Err(why) = run.check_state() {
                panic!("{why}\n{}", run.log.join("\n"));
            }
        }
        Err(error) => is_one_line(error),
    }
    // SAFETY: nothing of the run is used any more.
    unsafe { run.reclaim() }
}

/// Bytes as a device tree: validate -> `BootInfo` -> memblock -> zones -> page allocator.
pub(super) fn device_tree(data: &[u8]) {
    boots_or_tells(data);
}

/// Bytes as boot arguments: parsed, told of, and booted with when they mean something.
pub(super) fn boot_args(data: &[u8]) {
    let text = String::from_utf8_lossy(data).replace('\0', " ");
    let args = BootArgs::parse(&text);
    args.report();
    let _ = args.movable();
    if text.contains('=') || text.contains("movable") {
        boots_or_tells(&small().with_bootargs(&text).blob());
    }
}

/// The banks of [`ram`].
fn small() -> Tree {
    let banks: Vec<_> = ram().iter().map(|bank| (bank.start.raw(), bank.size())).collect();
    Tree::of(&banks)
}

/// Trees to begin with: small, with everything that is read from a tree, and the AST2500's scaled down.
pub(super) fn trees() -> Vec<Vec<u8>> {
    let mut full = small().with_bootargs("mem=24M cma=2M kernelcore=8M");
    full.reserve_map = vec![(0x8100_0000, 0x1234), (0x8200_0000, 0x1000)];
    full.initrd = Some((0x8080_0000, 0x8081_0000));
    full.dma = Some((0x8000_0000, 16 * MIB));
    full.cpus = 2;
    full.distance = Some(20);
    let node = |name: &str| Reserved { name: name.into(), ..Reserved::default() };
    full.reserved = vec![
        Reserved { reg: vec![(0x8220_0000, MIB)], no_map: true, ..node("a@82200000") },
        Reserved { size: Some(MIB), alignment: Some(MIB), reusable: true, pool: true, ..node("b") },
        Reserved { size: Some(0x1000), alloc_ranges: vec![(0x8200_0000, MIB)], ..node("c") },
    ];
    let mut nodes = small();
    nodes.banks[1].node = Some(1);
    nodes.banks[1].hotplug = true;
    nodes.usable = vec![(0x8000_0000, 20 * MIB)];
    [small(), full, nodes].iter().map(|tree| tree.blob().to_vec()).collect()
}

/// Lines to begin with.
pub(super) fn lines() -> Vec<Vec<u8>> {
    let lines = [
        "mem=16M",
        "mem=8M@0x80000000 mem=4M@0x82000000",
        "cma=4M cma=4M@0x80800000-0x81000000",
        "vmalloc=256M highmem=off memblock=debug",
        "kernelcore=8M movablecore=25% movable_node numa_zonelist_order=z",
        "console=ttyS0 root=\"/dev/a b\" -- selftest=all debug_guardpage_minorder=2 dump=buddyinfo",
    ];
    lines.iter().map(|line| line.as_bytes().to_vec()).collect()
}
