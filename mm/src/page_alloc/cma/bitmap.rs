//! Which frames of an area are out: a bit each.

use crate::addr::Pfn;
use crate::order::Order;

/// Places that are looked at in one search: interrupts are off meanwhile.
const TRIES: u32 = 32;

/// The bits, and how many count.
#[derive(Debug)]
pub(super) struct Bitmap<'m> {
    words: &'m mut [u32],
    bits: u32,
    /// How many are set.
    set: u32,
}

/// What a search came to.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Search {
    /// These bits were clear, from here on; they are set now.
    Found(u32),
    /// There are none.
    None,
    /// There are none before this one; it is time to let others in.
    Further(u32),
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
    /// A map of `bits` bits in `words`, which are 0.
    pub(super) fn new(words: &'m mut [u32], bits: u32) -> Self {
        Self { words, bits, set: 0 }
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
    fn last_set(&self, first: u32, count: u32) -> Option<u32> {
        parts(first, count).rev().find_map(|(index, mask)| {
            let log2 = (self.word(index) & mask).checked_ilog2()?;
            Some(u32::try_from(index).unwrap_or(u32::MAX) * 32 + log2)
        })
    }

    /// Sets the first `count` clear bits in a row at or behind `from` that begin at a frame aligned to `align`, where bit
    /// 0 stands for the frame `base`, unless that takes too long (Linux: `bitmap_find_next_zero_area_off`).
    pub(super) fn take(&mut self, count: u32, align: Order, base: Pfn, from: u32) -> Search {
        let aligned = |first: u32| {
            let frame = base.raw().checked_add(first)?.checked_next_multiple_of(align.pages())?;
            let first = frame - base.raw();
            first.checked_add(count).filter(|end| *end <= self.bits).map(|_| first)
        };
        let mut first = from;
        for _ in 0..TRIES {
            let Some(start) = aligned(first) else { return Search::None };
            match self.last_set(start, count) {
                Some(taken) => first = taken + 1,
                None => {
                    for (index, mask) in parts(start, count) {
                        self.words.get_mut(index).into_iter().for_each(|word| *word |= mask);
                    }
                    self.set += count;
                    return Search::Found(start);
                }
            }
        }
        Search::Further(first)
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
    fn a_run_is_the_first_that_is_long_enough_and_aligned_by_its_frame() {
        let mut words = [0; 4];
        let mut map = Bitmap::new(&mut words, 100);
        let base = Pfn::new(0x1003);
        assert_eq!(map.take(5, Order::ZERO, base, 0), Search::Found(0));
        // Frames 0x1008, 0x1010: the first multiple of 8 behind the five.
        assert_eq!(map.take(2, Order::new(3).unwrap(), base, 0), Search::Found(5));
        assert_eq!(map.take(2, Order::new(3).unwrap(), base, 0), Search::Found(13));
        assert_eq!(map.take(6, Order::ZERO, base, 0), Search::Found(7));
        assert_eq!((map.count(), map.first_clear(0, 20)), (15, Some(15)));
        assert_eq!(map.take(86, Order::ZERO, base, 0), Search::None);
        assert_eq!(map.take(85, Order::ZERO, base, 3), Search::Found(15));
        map.clear(13, 2);
        assert_eq!(map.take(2, Order::ZERO, base, 70), Search::None);
        assert_eq!(map.take(2, Order::ZERO, base, 13), Search::Found(13));
    }
    #[test]
    fn a_search_of_a_full_map_stops_for_others_and_goes_on_where_it_was() {
        let mut words = [0; 4];
        let mut map = Bitmap::new(&mut words, 128);
        assert_eq!(map.take(120, Order::ZERO, Pfn::new(0), 0), Search::Found(0));
        let further = map.take(1, Order::ZERO, Pfn::new(0), 0);
        assert_eq!(further, Search::Further(TRIES));
        assert_eq!(map.take(1, Order::ZERO, Pfn::new(0), 100), Search::Found(120));
        assert_eq!((map.count(), map.first_clear(0, 128)), (121, Some(121)));
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
