//! Sets of pageblocks whose lowest member is found by counting trailing zeros.
//!
//! Theory.      A set is a bit a pageblock in leaf words, and above them a bit a leaf word that is not 0. One top word
//!              stands for 1,024 pageblocks, which is 4 GiB: all that 32 bits address. A longer zone has more top
//!              words, which are looked through one by one.
//! Invariants.  A top bit is set exactly when its leaf word is not 0.

/// Some sets of one zone's pageblocks, `COUNT` of them.
#[derive(Debug)]
pub(super) struct Sets<'m, const COUNT: usize> {
    /// For each set: the top words, then the leaf words.
    words: &'m mut [u32],
    tops: usize,
    /// Words of one set.
    stride: usize,
}

impl<'m, const COUNT: usize> Sets<'m, COUNT> {
    const fn sizes(blocks: u32) -> (usize, usize) {
        let leaves = blocks.div_ceil(u32::BITS);
        (leaves.div_ceil(u32::BITS) as usize, leaves as usize)
    }

    /// Words that the sets of a zone of `blocks` pageblocks need.
    pub(super) const fn words_for(blocks: u32) -> usize {
        let (tops, leaves) = Self::sizes(blocks);
        COUNT * (tops + leaves)
    }

    /// Empty sets in `words`, which are [`Self::words_for`] many.
    pub(super) fn new(words: &'m mut [u32], blocks: u32) -> Self {
        let (tops, leaves) = Self::sizes(blocks);
        words.fill(0);
        Self { words, tops, stride: tops + leaves }
    }

    /// A set: top words and leaf words; `None` for a number that is none's.
    #[inline]
    fn set(&self, set: usize) -> Option<(&[u32], &[u32])> {
        self.words.get(set * self.stride..)?.get(..self.stride)?.split_at_checked(self.tops)
    }

    #[inline]
    fn set_mut(&mut self, set: usize) -> Option<(&mut [u32], &mut [u32])> {
        self.words.get_mut(set * self.stride..)?.get_mut(..self.stride)?.split_at_mut_checked(self.tops)
    }

    /// Adds a pageblock.
    #[inline(never)]
    pub(super) fn insert(&mut self, set: usize, block: usize) {
        let Some((tops, leaves)) = self.set_mut(set) else { return };
        let leaf = block / 32;
        leaves[leaf] |= 1 << (block % 32);
        tops[leaf / 32] |= 1 << (leaf % 32);
    }

    /// Takes a member out.
    #[inline(never)]
    pub(super) fn remove(&mut self, set: usize, block: usize) {
        let Some((tops, leaves)) = self.set_mut(set) else { return };
        let leaf = block / 32;
        leaves[leaf] &= !(1 << (block % 32));
        if leaves[leaf] == 0 {
            tops[leaf / 32] &= !(1 << (leaf % 32));
        }
    }

    /// The lowest pageblock of a set.
    #[inline]
    pub(super) fn first(&self, set: usize) -> Option<u32> {
        let (tops, leaves) = self.set(set)?;
        let (number, top) = (0u32..).zip(tops).find(|(_, top)| **top != 0)?;
        let leaf = number * u32::BITS + top.trailing_zeros();
        Some(leaf * u32::BITS + leaves[leaf as usize].trailing_zeros())
    }

    /// Whether a pageblock is in a set.
    pub(super) fn has(&self, set: usize, block: usize) -> bool {
        self.set(set).is_some_and(|(_, leaves)| leaves[block / 32] >> (block % 32) & 1 != 0)
    }

    /// Whether each top word says what is below it.
    pub(super) fn is_sound(&self) -> bool {
        (0..COUNT).filter_map(|set| self.set(set)).all(|(tops, leaves)| {
            leaves.iter().enumerate().all(|(leaf, word)| (tops[leaf / 32] & 1 << (leaf % 32) != 0) == (*word != 0))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::buddy::model::XorShift;
    use crate::testing::scaled;
    use std::collections::BTreeSet;
    use std::vec;

    #[test]
    fn the_lowest_member_is_that_of_an_ordered_set_also_beyond_one_top_word() {
        let (bits, other) = (2, 1);
        for blocks in [1, 32, 33, 1024, 3000] {
            let mut words = vec![7; Sets::<3>::words_for(blocks)];
            let mut sets = Sets::<3>::new(&mut words, blocks);
            let mut set = BTreeSet::new();
            let mut rng = XorShift(0x1234_5678);
            for step in 0..scaled(4000) {
                let block = rng.below(blocks);
                // Few members at times, so that whole words become 0.
                if rng.below(8) < if step / 500 % 2 == 0 { 5 } else { 1 } {
                    sets.insert(bits, block as usize);
                    set.insert(block);
                } else {
                    let victim = set.range(block..).next().copied();
                    if let Some(victim) = victim {
                        sets.remove(bits, victim as usize);
                        set.remove(&victim);
                    }
                }
                assert_eq!(sets.first(bits), set.first().copied());
                assert_eq!(sets.has(bits, block as usize), set.contains(&block));
            }
            assert!(sets.is_sound());
            assert_eq!(sets.first(other), None);
            assert_eq!(sets.first(3), None);
        }
    }
}
