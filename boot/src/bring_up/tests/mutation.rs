//! The AST2500's blob, spoilt: what the validator passes boots, or ends in one line; nothing panics.
//!
//! `QUIRE_TEST_SCALE` multiplies the number of cases.

use std::panic::{AssertUnwindSafe, catch_unwind};

use super::{end, range};
use crate::testing::Board;
use crate::testing::tree::Tree;
use mm::testing::scaled;

/// Blobs at scale 1.
const CASES: u32 = 3000;

/// Words at which arithmetic goes wrong, and addresses and sizes that mean something here.
const WORDS: [u32; 18] = [
    0,
    1,
    2,
    4,
    8,
    0x1000,
    0x10_0000,
    0x7fff_ffff,
    0x8000_0000,
    0x8010_0000,
    0x9fff_f000,
    0xa000_0000,
    0xf000_0000,
    0xffff_f000,
    0xffff_fff0,
    0xffff_fffc,
    0xffff_fffe,
    u32::MAX,
];

/// Changes a place or two: a bit, a byte, or a word; or the length.
fn spoil(blob: &mut Vec<u8>, mut next: impl FnMut(usize) -> usize) {
    for _ in 0..=next(3) / 2 {
        // The header ends most cases at once.
        let at = if next(16) == 0 { next(40) } else { 40 + next(blob.len() - 40) };
        let word = at & !3;
        match next(6) {
            0 | 1 => blob[at] ^= 1 << next(8),
            2 => blob[at] = u8::try_from(next(256)).unwrap(),
            3 if next(6) == 0 => {
                let length = 40 + next(blob.len() - 40);
                blob.truncate(length);
                blob[4..8].copy_from_slice(&u32::try_from(length).unwrap().to_be_bytes());
            }
            _ if word + 4 <= blob.len() => {
                blob[word..word + 4].copy_from_slice(&WORDS[next(WORDS.len())].to_be_bytes())
            }
            _ => {}
        }
    }
}

#[test]
fn a_spoilt_tree_boots_or_ends_in_one_line() {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut next = |limit: usize| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        usize::try_from(state >> 20).unwrap() % limit.max(1)
    };
    let mut tree =
        Tree { initrd: Some((0x8800_0000, 0x8810_0000)), ..Tree::ast2500() }.with_bootargs("cma=8M mem=500M");
    tree.reserve_map = vec![(0x8900_0000, 0x1234)];
    let original = tree.blob();
    let ram = [range((0x8000_0000, 512 << 20))];
    let cases = scaled(CASES);
    let (mut valid, mut booted) = (0, 0);
    for case in 0..cases {
        let mut blob = original.to_vec();
        spoil(&mut blob, &mut next);
        let outcome = catch_unwind(AssertUnwindSafe(|| match Board::new(&ram, &blob).boot() {
            Err(refusal) => Err(refusal.to_string()),
            Ok(run) => end(run, |run| match &run.outcome {
                Ok(booted) => Ok(Some(booted.mm.validate().is_ok())),
                Err(error) if error.to_string().contains('\n') => Err(format!("two lines: {error}")),
                Err(_) => Ok(None),
            }),
        }));
        match outcome {
            Ok(Ok(sound)) => {
                assert_ne!(sound, Some(false), "case {case} boots to a state that does not hold");
                valid += 1;
                booted += u32::from(sound.is_some());
            }
            Ok(Err(line)) => assert!(!line.contains('\n'), "case {case}: {line}"),
            Err(_) => panic!("case {case} panics"),
        }
    }
    println!("{valid} of {cases} are valid, {booted} boot");
    assert!(booted > cases / 8 && booted < valid, "{booted} boot of {valid} valid ones: the cases are of no use");
}
