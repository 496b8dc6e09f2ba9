//! Broken trees by the thousand: the validator never panics, and what it passes can be read to its end.
//!
//! Each case takes one of a handful of trees and spoils it by flipped bits, by a cut, by words set to the values at
//! which arithmetic goes wrong, or by words copied elsewhere. `QUIRE_TEST_SCALE` multiplies the number of cases.

use std::time::{Duration, Instant};

use super::builder::{Blob, Builder};
use super::tree::Step;
use super::*;
use crate::cmdline::BootArgs;
use crate::info::BootInfo;
use mm::testing::scaled;

/// Cases at scale 1.
const CASES: u32 = 10_000;

/// Xorshift: repeatable, and the same on 32 bit.
struct Random(u64);

impl Random {
    fn below(&mut self, limit: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from((self.0 >> 16) & 0x7fff_ffff).unwrap() % limit.max(1)
    }
}

/// Everything that the readers look at, in one tree; `wide`: two-cell addresses.
fn board(wide: bool) -> Blob {
    let cells = if wide { 2 } else { 1 };
    let pair = |start: u32, size: u32| if wide { vec![0, start, 0, size] } else { vec![start, size] };
    let mut tree = Builder::with_root(cells, cells);
    tree.reserve(0x8000_0000, 0x1000).reserve(u64::MAX, u64::MAX);
    tree.text("model", "board").text("compatible", "a,b\0c,d").word(4);
    tree.begin("chosen").text("bootargs", "mem=64M console=ttyS1 \"x y\"").text("stdout-path", "serial0:115200");
    tree.cells("linux,initrd-start", &[0x8800_0000]).cells("linux,initrd-end", &[0, 0x8810_0000]);
    tree.cells("linux,usable-memory-range", &pair(0x8000_0000, 0x1000_0000)).end();
    tree.begin("aliases").text("serial0", "/soc/uart@1000").text("serial1", "/soc/uart@2000").end();
    tree.begin("cpus").cells("#address-cells", &[1]).cells("#size-cells", &[0]);
    for id in 0..3 {
        tree.begin("cpu").text("device_type", "cpu").cells("reg", &[id]).cells("cpu-release-addr", &[0, 1]).end();
    }
    tree.end();
    for (numa, start) in [(1, 0x9000_0000), (0, 0x8000_0000)] {
        tree.begin("memory").text("device_type", "memory").cells("reg", &pair(start, 0x1000_0000));
        tree.cells("numa-node-id", &[numa]).end();
    }
    tree.begin("reserved-memory").cells("#address-cells", &[cells]).cells("#size-cells", &[cells]).prop("ranges", &[]);
    tree.begin("a@9f000000").cells("reg", &pair(0x9f00_0000, 0x100_0000)).prop("no-map", &[]).end();
    tree.begin("b")
        .text("compatible", "shared-dma-pool")
        .prop("reusable", &[])
        .cells("alloc-ranges", &pair(0, 1 << 31));
    tree.cells("size", &pair(0, 1 << 24)[..cells as usize]).cells("alignment", &pair(0, 1 << 20)[..cells as usize]);
    tree.end().end();
    tree.begin("psci").text("compatible", "arm,psci-0.2").text("method", "smc").cells("cpu_on", &[1]).end();
    tree.begin("distance-map").cells("distance-matrix", &[0, 0, 10, 0, 1, 20]).end();
    tree.begin("soc").cells("#address-cells", &[1]).cells("#size-cells", &[1]);
    tree.cells("ranges", &[&[0][..], &pair(0x1000_0000, 0x10_0000)[..cells as usize], &[0x10_0000]].concat());
    tree.cells("dma-ranges", &[&[0][..], &pair(0x8000_0000, 0)[..cells as usize], &[0x2000_0000]].concat());
    for (at, status) in [(0x1000, "disabled"), (0x2000, "okay")] {
        tree.begin(&format!("uart@{at:x}")).text("compatible", "ns16550a").cells("reg", &[at, 0x100]);
        tree.cells("reg-offset", &[u32::MAX]).text("status", status).end();
    }
    tree.end().finish()
}

/// One tree with nodes as deep as they may be, and one with next to nothing.
fn extremes() -> [Blob; 2] {
    let mut deep = Builder::with_root(1, 1);
    for _ in 1..MAX_DEPTH {
        deep.begin("n").cells("dma-ranges", &[0, 0, 1]);
    }
    for _ in 1..MAX_DEPTH {
        deep.end();
    }
    [deep.finish(), Builder::new().begin("").finish()]
}

/// Spoils a copy of `blob`.
fn spoil(blob: &Blob, random: &mut Random) -> Blob {
    const WORDS: [u32; 16] = [
        0,
        1,
        2,
        3,
        4,
        5,
        8,
        9,
        0x7fff_ffff,
        0x8000_0000,
        0xffff_fff0,
        0xffff_fff4,
        0xffff_fffc,
        0xffff_fffd,
        0xffff_fffe,
        u32::MAX,
    ];
    let mut copy = Blob::new(blob);
    // Most faults of the header end the case at once: every other case leaves it alone.
    let from = if random.below(2) == 0 { 0 } else { 40 };
    for _ in 0..=random.below(3) {
        let at = from + random.below(copy.len() - from);
        let word = at & !3;
        match random.below(5) {
            0 => copy[at] ^= 1 << random.below(8),
            1 => copy[at] = u8::try_from(random.below(256)).unwrap(),
            2 if word + 4 <= copy.len() => {
                copy[word..word + 4].copy_from_slice(&WORDS[random.below(WORDS.len())].to_be_bytes());
            }
            3 if word + 4 <= copy.len() => {
                let source = random.below(copy.len() / 4) * 4;
                copy.copy_within(source..source + 4, word);
            }
            _ if random.below(4) == 0 => {
                let len = 8 + random.below(copy.len() - 8);
                copy = Blob::new(&copy[..len]);
                if random.below(2) == 0 {
                    copy[4..8].copy_from_slice(&u32::try_from(len).unwrap().to_be_bytes());
                }
                return copy;
            }
            _ => {}
        }
    }
    copy
}

/// Asks everything of a tree that can be asked; gives how many nodes it has.
fn read_all(fdt: &ValidFdt<'_>) -> usize {
    let mut nodes = 0;
    let mut at = 0;
    loop {
        at = match fdt.tree.step(at) {
            Step::Begin { node, next } => {
                let node = Node { tree: fdt.tree, at: node };
                assert_eq!(node.name().is_empty(), nodes == 0, "only the root has no name");
                assert!(node.properties().all(|property| !property.name().is_empty()));
                assert!(node.children().count() < fdt.tree.words.len());
                nodes += 1;
                next
            }
            Step::Property { next, .. } | Step::End { next } => next,
            Step::Done => break,
        };
    }
    fdt.report();
    let _ = fdt.require_memory();
    let banks = fdt.memory_banks().filter_map(|bank| bank.clipped()).count();
    let reserved = fdt.reserved_memory().map(|node| node.reg.count() + node.alloc_ranges.count()).sum::<usize>();
    assert!(banks + reserved + fdt.reserve_map().count() <= fdt.total_size() as usize);
    let info = BootInfo::parse(fdt);
    let _ = format!("{info:?}");
    BootArgs::parse(info.bootargs).report();
    nodes
}

#[test]
fn no_spoilt_tree_panics_and_what_passes_can_be_read() {
    let mut bases = vec![board(false), board(true)];
    bases.extend(extremes());
    let mut random = Random(0x9e37_79b9_7f4a_7c15);
    let (mut passed, mut slowest) = (0, Duration::ZERO);
    let cases = scaled(CASES);
    for _ in 0..cases {
        let blob = spoil(&bases[random.below(bases.len())], &mut random);
        let start = Instant::now();
        match validate(&blob) {
            Ok(fdt) => {
                passed += 1;
                assert!(read_all(&fdt) > 0, "a valid tree has a root");
            }
            Err(error) => assert!(!error.to_string().contains('\n')),
        }
        slowest = slowest.max(start.elapsed());
    }
    assert!(passed > cases / 10, "only {passed} of {cases} got past the validator: the readers were hardly tested");
    assert!(passed < cases * 9 / 10, "{passed} of {cases} passed: the validator was hardly tested");
    assert!(slowest < Duration::from_secs(2), "one case took {slowest:?}");
}
