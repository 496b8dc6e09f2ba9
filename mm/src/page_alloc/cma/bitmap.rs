//! Which frames of an area are out: a bit each.

/// Bits that are looked at or changed at once, at most: interrupts are off meanwhile.
pub(super) const PIECE: u32 = 1024;

/// The bits, and how many count.
#[derive(Debug)]
pub(super) struct Bitmap<'m> {
    words: &'m mut [u32],
    /// How many are set.
    set: u32,
}

/// The pieces of `count` bits from `first` on: where each begins, and how many bits it has.
pub(super) fn pieces(first: u32, count: u32) -> impl DoubleEndedIterator<Item = (u32, u32)> {
    let end = first.saturating_add(count);
    (first / PIECE..end.div_ceil(PIECE)).map(move |piece| {
        let start = first.max(piece * PIECE);
        (start, end.min(piece.saturating_add(1).saturating_mul(PIECE)) - start)
    })
}

/// The words that hold `count` bits from `first` on, and which of their bits those are.
fn parts(first: u32, count: u32) -> impl DoubleEndedIterator<Item = (usize, u32)> {
    let end = first.saturating_add(count);
    (first / 32..end.div_ceil(32)).map(move |word| {
        let (start, stop) = (first.max(word * 32) % 32, end.min(word.saturating_add(1).saturating_mul(32)) - word * 32);
        // There is one bit at least: `stop` is above `start`.
        (word as usize, (u32::MAX >> (32 - stop)) & (u32::MAX << start))
    })
}

impl<'m> Bitmap<'m> {
    /// A map in `words`, which are 0.
    pub(super) fn new(words: &'m mut [u32]) -> Self {
        Self { words, set: 0 }
    }

    /// A word; beyond the map all bits are set.
    fn word(&self, index: usize) -> u32 {
        self.words.get(index).copied().unwrap_or(u32::MAX)
    }

    /// How many bits are set.
    pub(super) fn count(&self) -> u32 {
        self.set
    }

    /// The first clear bit of `count` from `first` on.
    pub(super) fn first_clear(&self, first: u32, count: u32) -> Option<u32> {
        parts(first, count).find_map(|(index, mask)| {
            let clear = !self.word(index) & mask;
            (clear != 0).then(|| u32::try_from(index).unwrap_or(u32::MAX) * 32 + clear.trailing_zeros())
        })
    }

    /// The last set bit of `count` from `first` on.
    pub(super) fn last_set(&self, first: u32, count: u32) -> Option<u32> {
        parts(first, count).rev().find_map(|(index, mask)| {
            let log2 = (self.word(index) & mask).checked_ilog2()?;
            Some(u32::try_from(index).unwrap_or(u32::MAX) * 32 + log2)
        })
    }

    /// Sets `count` bits from `first` on, which are clear.
    pub(super) fn set(&mut self, first: u32, count: u32) {
        for (index, mask) in parts(first, count) {
            self.words.get_mut(index).into_iter().for_each(|word| *word |= mask);
        }
        self.set += count;
    }

    /// Clears `count` bits from `first` on, which are set.
    pub(super) fn clear(&mut self, first: u32, count: u32) {
        for (index, mask) in parts(first, count) {
            self.words.get_mut(index).into_iter().for_each(|word| *word &= !mask);
        }
        self.set = self.set.saturating_sub(count);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bits_that_are_set_are_found_from_both_sides_and_counted() {
        let mut words = [0; 4];
        let mut map = Bitmap::new(&mut words);
        map.set(3, 70);
        assert_eq!((map.count(), map.first_clear(3, 100), map.first_clear(0, 100)), (70, Some(73), Some(0)));
        assert_eq!((map.last_set(0, 128), map.last_set(0, 70), map.last_set(73, 55)), (Some(72), Some(69), None));
        map.clear(40, 2);
        assert_eq!((map.count(), map.first_clear(3, 70), map.last_set(40, 2)), (68, Some(40), None));
        // Beyond the map all are set.
        assert_eq!(map.first_clear(128, 32), None);
    }

    #[test]
    fn pieces_hold_each_bit_once_and_none_has_more_than_may_be_looked_at_at_once() {
        for (first, count) in [(0, 1), (0, PIECE), (5, PIECE), (PIECE - 1, 2), (7, 5 * PIECE), (3 * PIECE, 2 * PIECE)] {
            assert!(pieces(first, count).flat_map(|(start, bits)| start..start + bits).eq(first..first + count));
            assert!(
                pieces(first, count).all(|(start, bits)| bits <= PIECE && start / PIECE == (start + bits - 1) / PIECE)
            );
        }
    }

    #[test]
    fn the_words_of_a_run_hold_each_of_its_bits_once() {
        for (first, count) in [(0, 1), (0, 32), (31, 1), (31, 2), (5, 27), (5, 91), (32, 64), (7, 0)] {
            let bits = parts(first, count).flat_map(|(word, mask)| {
                (0..32).filter(move |bit| mask >> bit & 1 == 1).map(move |bit| word * 32 + bit)
            });
            assert!(bits.eq(first as usize..(first + count) as usize), "{count} from {first}");
        }
    }
}
