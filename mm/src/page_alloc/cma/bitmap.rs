//! Which frames of an area are out: a bit each.

use crate::addr::Pfn;
use crate::order::Order;

/// The bits, and how many count.
#[derive(Debug)]
pub(super) struct Bitmap<'m> {
    words: &'m mut [u32],
    bits: u32,
}

impl<'m> Bitmap<'m> {
    /// A map of `bits` bits in `words`.
    pub(super) fn new(words: &'m mut [u32], bits: u32) -> Self {
        Self { words, bits }
    }

    fn is_set(&self, bit: u32) -> bool {
        self.words.get(bit as usize / 32).is_none_or(|word| word >> (bit % 32) & 1 != 0)
    }

    fn write(&mut self, first: u32, count: u32, set: bool) {
        for bit in first..first.saturating_add(count) {
            if let Some(word) = self.words.get_mut(bit as usize / 32) {
                *word = *word & !(1 << (bit % 32)) | u32::from(set) << (bit % 32);
            }
        }
    }

    /// How many bits are set.
    pub(super) fn count(&self) -> u32 {
        self.words.iter().map(|word| word.count_ones()).sum()
    }

    /// The first clear bit of `count` from `first` on.
    pub(super) fn first_clear(&self, first: u32, count: u32) -> Option<u32> {
        (first..first.saturating_add(count)).find(|bit| !self.is_set(*bit))
    }

    /// Sets the first `count` clear bits in a row at or behind `from` that begin at a frame aligned to `align`, where bit
    /// 0 stands for the frame `base`; returns the first (Linux: `bitmap_find_next_zero_area_off`).
    pub(super) fn take(&mut self, count: u32, align: Order, base: Pfn, from: u32) -> Option<u32> {
        let mut first = from;
        loop {
            let aligned = base.raw().checked_add(first)?.checked_next_multiple_of(align.pages())?;
            first = aligned - base.raw();
            let end = first.checked_add(count).filter(|end| *end <= self.bits)?;
            match (first..end).rev().find(|bit| self.is_set(*bit)) {
                Some(taken) => first = taken + 1,
                None => break,
            }
        }
        self.write(first, count, true);
        Some(first)
    }

    /// Clears `count` bits from `first` on.
    pub(super) fn clear(&mut self, first: u32, count: u32) {
        self.write(first, count, false);
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
        assert_eq!(map.take(5, Order::ZERO, base, 0), Some(0));
        // Frames 0x1008, 0x1010: the first multiple of 8 behind the five.
        assert_eq!(map.take(2, Order::new(3).unwrap(), base, 0), Some(5));
        assert_eq!(map.take(2, Order::new(3).unwrap(), base, 0), Some(13));
        assert_eq!(map.take(6, Order::ZERO, base, 0), Some(7));
        assert_eq!((map.count(), map.first_clear(0, 20)), (15, Some(15)));
        assert_eq!(map.take(86, Order::ZERO, base, 0), None);
        assert_eq!(map.take(85, Order::ZERO, base, 3), Some(15));
        map.clear(13, 2);
        assert_eq!(map.take(2, Order::ZERO, base, 14), None);
        assert_eq!(map.take(2, Order::ZERO, base, 13), Some(13));
    }
}
