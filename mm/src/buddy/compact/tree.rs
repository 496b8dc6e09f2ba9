//! Sets of pageblocks whose lowest member is found by counting trailing zeros.
//!
//! Theory.      A set is a bit a pageblock in leaf words, and above them a bit a leaf word that is not 0. One top word
//!              stands for 1,024 pageblocks, which is 4 GiB: all that 32 bits address. A longer zone has more top
//!              words, which are looked through one by one. There is a set for each migrate type and [`Class`].
//! Invariants.  1. A top bit is set exactly when its leaf word is not 0. 2. Bit `class` of `filled[kind]` is set exactly
//!              when that set has a member.

use crate::migrate::{MIGRATE_TYPES, MigrateType};
use crate::order::{MAX_ORDER, Order};

/// What the pageblocks of a set have in common.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Class {
    /// The order of the largest free chunk.
    Largest(Order),
    /// Some pages are free, but not all of the block in one chunk.
    Partial,
}

/// Sets of one migrate type.
const CLASSES: usize = MAX_ORDER + 1;
/// The bits of the classes [`Class::Largest`] in a word of `filled`.
const BY_ORDER: u32 = (1 << MAX_ORDER) - 1;

impl Class {
    #[inline]
    pub(super) const fn index(self) -> usize {
        match self {
            Self::Largest(order) => order.index(),
            Self::Partial => MAX_ORDER,
        }
    }
}

/// All sets of one zone.
#[derive(Debug)]
pub(super) struct Trees<'m> {
    /// For each type and class: the top words, then the leaf words.
    words: &'m mut [u32],
    tops: usize,
    /// Words of one set.
    stride: usize,
    filled: [u32; MIGRATE_TYPES],
}

impl<'m> Trees<'m> {
    const fn sizes(blocks: u32) -> (usize, usize) {
        let leaves = blocks.div_ceil(u32::BITS);
        (leaves.div_ceil(u32::BITS) as usize, leaves as usize)
    }

    /// Words that the sets of a zone of `blocks` pageblocks need.
    pub(super) const fn words_for(blocks: u32) -> usize {
        let (tops, leaves) = Self::sizes(blocks);
        MIGRATE_TYPES * CLASSES * (tops + leaves)
    }

    /// Empty sets in `words`, which are [`Self::words_for`] many.
    pub(super) fn new(words: &'m mut [u32], blocks: u32) -> Self {
        let (tops, leaves) = Self::sizes(blocks);
        words.fill(0);
        Self { words, tops, stride: tops + leaves, filled: [0; MIGRATE_TYPES] }
    }

    #[inline]
    fn start(&self, kind: MigrateType, class: Class) -> usize {
        (kind.index() * CLASSES + class.index()) * self.stride
    }

    /// Adds a pageblock.
    #[inline]
    pub(super) fn insert(&mut self, kind: MigrateType, class: Class, block: u32) {
        let start = self.start(kind, class);
        let leaf = block / u32::BITS;
        self.words[start + self.tops + leaf as usize] |= 1 << (block % u32::BITS);
        self.words[start + (leaf / u32::BITS) as usize] |= 1 << (leaf % u32::BITS);
        self.filled[kind.index()] |= 1 << class.index();
    }

    /// Takes a member out.
    #[inline]
    pub(super) fn remove(&mut self, kind: MigrateType, class: Class, block: u32) {
        let start = self.start(kind, class);
        let leaf = block / u32::BITS;
        let word = &mut self.words[start + self.tops + leaf as usize];
        *word &= !(1 << (block % u32::BITS));
        if *word != 0 {
            return;
        }
        self.words[start + (leaf / u32::BITS) as usize] &= !(1 << (leaf % u32::BITS));
        if self.words[start..start + self.tops].iter().all(|top| *top == 0) {
            self.filled[kind.index()] &= !(1 << class.index());
        }
    }

    /// The lowest pageblock of a set.
    #[inline]
    pub(super) fn first(&self, kind: MigrateType, class: Class) -> Option<u32> {
        if self.filled[kind.index()] & 1 << class.index() == 0 {
            return None;
        }
        let start = self.start(kind, class);
        let set = &self.words[start..start + self.stride];
        let (number, top) = (0u32..).zip(&set[..self.tops]).find(|(_, top)| **top != 0)?;
        let leaf = number * u32::BITS + top.trailing_zeros();
        Some(leaf * u32::BITS + set[self.tops + leaf as usize].trailing_zeros())
    }

    /// The smallest order of at least `order` that is the largest of some pageblock of `kind`.
    #[inline]
    pub(super) fn smallest(&self, kind: MigrateType, order: Order) -> Option<Order> {
        let fitting = self.filled[kind.index()] & BY_ORDER & !(order.pages() - 1);
        Order::of_log2(fitting.trailing_zeros())
    }

    /// Whether the pageblock is in a set.
    pub(super) fn contains(&self, kind: MigrateType, class: Class, block: u32) -> bool {
        let leaf = self.start(kind, class) + self.tops + (block / u32::BITS) as usize;
        self.words[leaf] & 1 << (block % u32::BITS) != 0
    }

    /// Whether each top word and each mask says what is below it.
    pub(super) fn is_sound(&self) -> bool {
        let classes = || Order::all().map(Class::Largest).chain([Class::Partial]);
        MigrateType::ALL.into_iter().flat_map(|kind| classes().map(move |class| (kind, class))).all(|(kind, class)| {
            let start = self.start(kind, class);
            let (tops, leaves) = self.words[start..start + self.stride].split_at(self.tops);
            let bit = |leaf: usize| tops[leaf / 32] & 1 << (leaf % 32) != 0;
            let is_filled = self.filled[kind.index()] & 1 << class.index() != 0;
            leaves.iter().enumerate().all(|(leaf, word)| bit(leaf) == (*word != 0))
                && is_filled == leaves.iter().any(|word| *word != 0)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::buddy::model::XorShift;
    use std::collections::BTreeSet;
    use std::vec;

    #[test]
    fn the_lowest_member_is_that_of_an_ordered_set_also_beyond_one_top_word() {
        let kind = MigrateType::Movable;
        for blocks in [1, 32, 33, 1024, 3000] {
            let mut words = vec![7; Trees::words_for(blocks)];
            let mut trees = Trees::new(&mut words, blocks);
            let mut set = BTreeSet::new();
            let mut rng = XorShift(0x1234_5678);
            for step in 0..4000 {
                let block = rng.below(blocks);
                // Few members at times, so that whole words become 0.
                if rng.below(8) < if step / 500 % 2 == 0 { 5 } else { 1 } {
                    trees.insert(kind, Class::Partial, block);
                    set.insert(block);
                } else {
                    let victim = set.range(block..).next().copied();
                    if let Some(victim) = victim {
                        trees.remove(kind, Class::Partial, victim);
                        set.remove(&victim);
                    }
                }
                assert_eq!(trees.first(kind, Class::Partial), set.first().copied());
            }
            assert!(trees.is_sound());
            assert_eq!(trees.first(MigrateType::Cma, Class::Partial), None);
        }
    }
}
