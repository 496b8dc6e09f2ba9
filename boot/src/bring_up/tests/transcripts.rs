//! The log held against the references that QEMU's boots are held against.

use super::{Booted, MIB, boots};
use crate::testing::tree::Tree;

/// Whether `line` is `wanted`, in which `…` stands for any text.
fn matches(wanted: &str, line: &str) -> bool {
    let Some((front, rest)) = wanted.split_once('…') else { return wanted == line };
    let Some(line) = line.strip_prefix(front) else { return false };
    (0..=line.len()).filter(|&at| line.is_char_boundary(at)).any(|at| matches(rest, &line[at..]))
}

/// Every line of `reference` comes, in its order; lines between them are free.
fn hold(reference: &str, booted: &Booted) {
    let mut log = booted.log.iter();
    for wanted in reference.lines().filter(|line| !line.starts_with('#') && !line.is_empty()) {
        assert!(
            log.any(|line| matches(wanted, line)),
            "{wanted:?} did not come in its place:\n{}",
            booted.log.join("\n")
        );
    }
}

#[test]
fn the_ast2500_prints_what_linux_prints() {
    let booted = boots(&Tree::ast2500());
    hold(include_str!("../../../../tests/reference/ast2500.txt"), &booted);
    assert_eq!((booted.pages.ram, booted.pages.present), (131_072, 131_072));
}

#[test]
fn the_ast2500_without_highmem_ignores_ram_from_0x9ee00000() {
    let booted = boots(&Tree::ast2500().with_bootargs("highmem=off"));
    hold(include_str!("../../../../tests/reference/ast2500-highmem-off.txt"), &booted);
    // 505856 KiB; what was dropped makes up the tree's 512 MiB.
    assert_eq!((booted.pages.ram, booted.pages.present), (131_072, 126_464));
}

#[test]
fn two_gib_to_the_last_page_below_4_gib_have_linuxs_zones() {
    let booted = boots(&Tree::of(&[(0x8000_0000, 2048 * MIB)]));
    hold(include_str!("../../../../tests/reference/vexpress-a15-2G.txt"), &booted);
    assert_eq!(booted.pages.present, 524_288);
}

#[test]
fn the_ast2500s_limits_are_computed_before_the_reservations_and_again_after() {
    let booted = boots(&Tree::ast2500().with_bootargs("highmem=off"));
    let at = |start: &str| booted.log.iter().position(|line| line.starts_with(start)).unwrap();
    assert!(at("cma: Reserved") < at("Ignoring RAM") && at("Ignoring RAM") < at("Zone ranges"));
    assert_eq!(booted.log.iter().filter(|line| line.starts_with("Ignoring RAM")).count(), 1);
}
