//! Machines by chance: a boot ends in one line or in a state that holds in every way.
//!
//! `QUIRE_TEST_SCALE` multiplies the number of machines.

use std::panic::{AssertUnwindSafe, catch_unwind};

use mm::addr::PhysRange;

use super::{MIB, PAGE, boot, range};
use crate::testing::Board;
use crate::testing::tree::{Bank, Pair, Reserved, Tree};
use mm::testing::scaled;

/// Machines at scale 1.
const CASES: u32 = 300;

/// Xorshift.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 >> 12
    }

    /// 0 to `limit` − 1.
    fn below(&mut self, limit: u64) -> u64 {
        self.next() % limit.max(1)
    }

    fn one_in(&mut self, n: u64) -> bool {
        self.below(n) == 0
    }

    fn pick<T: Copy>(&mut self, from: &[T]) -> T {
        from[usize::try_from(self.below(from.len() as u64)).unwrap()]
    }

    /// Bytes up to about `most`, small ones as likely as large ones, in multiples of `unit`.
    fn size(&mut self, most: u64, unit: u64) -> u64 {
        let most = most >> self.below(u64::from(64 - most.max(1).leading_zeros()));
        self.below(most.max(unit)).next_multiple_of(unit).max(unit)
    }

    /// A range near or in one of `banks`, on a border of a page, a MiB or a byte.
    fn range_in(&mut self, banks: &[Pair]) -> Pair {
        let (start, size) = self.pick(banks);
        let unit = self.pick(&[1, 8, PAGE, PAGE, MIB, MIB, 4 * MIB, 16 * MIB]);
        let at = match self.below(8) {
            0 => start,
            1 => start + size.saturating_sub(self.below(size)),
            2 => self.below(1 << 32),
            _ => start + self.below(size),
        };
        (at / unit * unit, self.size(size / 2 + unit, unit))
    }
}

/// One to six banks that do not overlap; the first has room for the image.
fn banks(random: &mut Random) -> Vec<Bank> {
    let unit = random.pick(&[PAGE, PAGE, MIB, MIB, 2 * MIB, 16 * MIB]);
    let mut at =
        random.pick(&[0, 0x1000_0000, 0x4000_0000, 0x8000_0000, 0x8000_0000, 0xc000_0000, 0xf000_0000, 0xff00_0000]);
    if random.one_in(4) {
        at += random.size(4 * MIB, unit);
    }
    let mut banks = Vec::new();
    let nodes = random.pick(&[1, 1, 1, 2, 4]);
    for index in 0..=random.below(6) {
        let most = random.pick(&[8 * MIB, 64 * MIB, 64 * MIB, 256 * MIB, 1024 * MIB]);
        let least = if index == 0 { 4 * MIB } else { 0 };
        let size = (least + random.size(most, unit)).min((1 << 32) - at);
        let node = (nodes > 1).then(|| u32::try_from(random.below(nodes)).unwrap());
        banks.push(Bank { reg: (at, size), node, hotplug: random.one_in(12) });
        at += size;
        if random.one_in(2) {
            let most = random.pick(&[MIB, 64 * MIB, 512 * MIB]);
            at += random.size(most, unit);
        }
        if at >= 1 << 32 {
            break;
        }
    }
    if random.one_in(3) {
        banks.reverse();
    }
    banks
}

/// A region, sensible or not.
fn reserved(random: &mut Random, banks: &[Pair], index: u64) -> Reserved {
    let mut node = Reserved {
        name: format!("node{index:02}x"),
        no_map: random.one_in(3),
        reusable: random.one_in(3),
        cma_default: random.one_in(6),
        pool: random.one_in(2),
        ..Reserved::default()
    };
    if random.one_in(2) {
        node.reg = (0..=random.below(2)).map(|_| random.range_in(banks)).collect();
    } else {
        let unit = random.pick(&[1, PAGE, MIB, 4 * MIB]);
        node.size = Some(random.size(64 * MIB, unit));
        node.alignment = random.one_in(2).then(|| 1 << random.below(27));
        node.alloc_ranges = (0..random.below(3)).map(|_| random.range_in(banks)).collect();
    }
    node
}

fn bootargs(random: &mut Random, banks: &[Pair]) -> String {
    let mut args = String::new();
    for _ in 0..random.below(4) {
        let (start, _) = random.range_in(banks);
        let mib = random.size(1 << 11, 1);
        let arg = match random.below(14) {
            0 => format!("mem={mib}M"),
            1 => format!("mem={}K", random.size(1 << 21, 1)),
            // A bank that the tree has, or a part of one: what `mem=` names is believed.
            2 => {
                let (start, size) = random.pick(banks);
                format!("mem={}K@{start:#x}", random.size(size, 1024) / 1024)
            }
            3 => format!("cma={}M", random.size(256, 1)),
            4 => format!("cma=16M@{start:#x}"),
            5 => format!("cma={mib}M@{start:#x}-{:#x}", start + 256 * MIB),
            6 => format!("vmalloc={mib}M"),
            7 => format!("kernelcore={mib}M"),
            8 => format!("movablecore={mib}M"),
            9 => format!("movablecore={}%", random.below(101)),
            10 => "movable_node".into(),
            11 => "highmem=off".into(),
            12 => "memblock=debug".into(),
            _ => "numa_zonelist_order=z cma=0".into(),
        };
        args.push_str(&arg);
        args.push(' ');
    }
    args
}

fn tree(random: &mut Random) -> Tree {
    let banks = banks(random);
    let pairs: Vec<Pair> = banks.iter().map(|bank| bank.reg).collect();
    let regions = random.pick(&[0, 0, 1, 3, 8, 20, 90]);
    let entries = random.pick(&[0, 0, 0, 1, 3, 30, 150, 400]);
    // Many entries are small, or nothing would be left.
    let small = |random: &mut Random, (start, size): Pair| {
        (start, if entries > 3 { size.min(random.size(64 * PAGE, 1)) } else { size })
    };
    Tree {
        reserve_map: (0..entries)
            .map(|_| {
                let range = random.range_in(&pairs);
                small(random, range)
            })
            .collect(),
        reserved: (0..random.below(regions + 1)).map(|index| reserved(random, &pairs, index)).collect(),
        bootargs: bootargs(random, &pairs),
        initrd: random.one_in(3).then(|| random.range_in(&pairs)).map(|(start, size)| (start, start + size)),
        usable: if random.one_in(12) { vec![random.pick(&pairs), random.range_in(&pairs)] } else { vec![] },
        dma: random.one_in(4).then(|| (pairs[0].0, random.size(512 * MIB, MIB))),
        cpus: u32::try_from(1 + random.below(8)).unwrap(),
        cpu_nodes: if random.one_in(4) { (0..8).map(|_| random.pick(&[0, 0, 1, 2, 3, 4])).collect() } else { vec![] },
        distance: random.one_in(4).then_some(20),
        distances: vec![],
        banks,
    }
}

#[test]
fn machines_by_chance_boot_to_a_state_that_holds_or_end_in_one_line() {
    let first = std::env::var("QUIRE_TEST_SEED").ok().and_then(|seed| seed.parse().ok()).unwrap_or(1);
    let cases = scaled(CASES);
    let (mut booted, mut bad) = (0, Vec::new());
    let mut ends = std::collections::BTreeMap::<String, u32>::new();
    for seed in first..first + u64::from(cases) {
        let mut random = Random(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15));
        let tree = tree(&mut random);
        let pairs: Vec<Pair> = tree.banks.iter().map(|bank| bank.reg).collect();
        let ram: Vec<PhysRange> = pairs.iter().copied().map(range).collect();
        let blob = tree.blob();
        let (start, size) = random.pick(&pairs);
        let place = size.checked_sub(blob.len() as u64).map(|room| (start + 7 + random.below(room)) & !7);
        let tree_at = random.one_in(2).then_some(place).flatten().and_then(|place| u32::try_from(place).ok());
        let board = Board { tree_at, aliasing_cache: random.one_in(16), ..Board::new(&ram, &blob) };
        let outcome = catch_unwind(AssertUnwindSafe(|| boot(&board)));
        match outcome {
            Ok(Ok(_)) => booted += 1,
            Ok(Err(error)) if is_plausible(&error, &tree) => *ends.entry(kind(&error)).or_default() += 1,
            Ok(Err(error)) => bad.push((seed, error, tree)),
            Err(_) => bad.push((seed, "panic".into(), tree)),
        }
    }
    for (seed, error, tree) in &bad {
        println!("QUIRE_TEST_SEED={seed}: {error}\n{tree:#x?}");
    }
    assert!(bad.is_empty(), "{} of {cases} machines end badly", bad.len());
    println!("{booted} of {cases} boot; {ends:#?}");
    assert!(booted > cases / 2, "only {booted} of {cases} boot");
}

/// An error line without its numbers.
fn kind(error: &str) -> String {
    let line = error.lines().next().unwrap_or_default();
    line.chars().filter(|c| !c.is_ascii_digit()).take(60).collect()
}

/// Whether a boot of such a machine may end with this.
fn is_plausible(error: &str, tree: &Tree) -> bool {
    const WHYS: [&str; 8] = [
        "too little RAM",
        "/chosen: linux,initrd-start: initrd",
        "lies outside RAM",
        "no enabled bank of RAM holds the image",
        "mem=: the RAM that it leaves does not hold the image",
        "lowmem: no RAM between",
        "no RAM that can be used",
        // No bank has room for the image, and the head's guess is no RAM.
        "the first tables cannot be written",
    ];
    let line = error.lines().next().unwrap_or_default();
    let ram: u64 = tree.banks.iter().map(|bank| bank.reg.1).sum();
    let cramped = ram < 32 * MIB || tree.reserve_map.len() >= 30 || tree.reserved.len() >= 3;
    let in_pieces = ["no memory for", "list is full"].iter().any(|why| line.contains(why));
    WHYS.iter().any(|why| line.contains(why)) || cramped && in_pieces
}
