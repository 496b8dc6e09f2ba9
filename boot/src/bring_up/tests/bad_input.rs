//! Trees and machines that leave nothing to go on with: one line, and no panic.

use super::{MIB, PAGE, refuses};
use crate::testing::tree::Tree;

const BASE: u64 = 0x8000_0000;

#[test]
fn no_memory_node_is_named() {
    assert_eq!(refuses(&[(BASE, 64 * MIB)], &Tree::of(&[])), "");
}
