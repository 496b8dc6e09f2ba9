//! Slots that several CPUs write and read at once, and none waits.
//!
//! Theory.      A slot has the number of what it holds, and its words. A writer takes the slot by changing the number
//!              to [`BUSY`], and gives it back with its own. One that finds its slot taken, or with a later number,
//!              leaves it alone: others have gone once round, or one that was lapped is still writing. Its event is
//!              lost, nothing is mixed.
//! Invariants.  1. Between `BUSY` and the next number one writer stores words. 2. A reader that finds the same number
//!              before and after has the words of that number.
//! Not here.    Who draws numbers, and what words mean (`ring`).
//! Source.      H. Boehm, Can seqlocks get along with programming language memory models? (MSPC 2012).

use core::sync::atomic::AtomicU32;
use core::sync::atomic::Ordering::{Acquire, Relaxed, Release};

/// Words of a slot: number and event.
pub const SLOT_WORDS: usize = 4;
/// The number of a slot that is being written.
const BUSY: u32 = u32::MAX;
/// The number of a slot that nothing was written to yet.
const EMPTY: u32 = u32::MAX - 1;

/// Slots in their caller's memory, taken in turn by number.
pub(super) struct Slots<'m>(&'m [[AtomicU32; SLOT_WORDS]]);

impl<'m> Slots<'m> {
    /// As many empty ones as `words` hold; `None` when they hold none.
    pub(super) fn new(words: &'m [AtomicU32]) -> Option<Self> {
        let slots = words.as_chunks().0;
        slots.iter().for_each(|slot: &[AtomicU32; SLOT_WORDS]| slot[0].store(EMPTY, Relaxed));
        (!slots.is_empty()).then_some(Self(slots))
    }

    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    fn slot(&self, number: u32) -> Option<&'m [AtomicU32; SLOT_WORDS]> {
        self.0.get(number as usize % self.0.len())
    }

    /// Writes what has this number, which nobody else has, or leaves it; the two highest numbers are always lost.
    pub(super) fn write(&self, number: u32, event: [u32; SLOT_WORDS - 1]) {
        let Some([holds, words @ ..]) = self.slot(number) else { return };
        let before = holds.load(Relaxed);
        let is_later = before < EMPTY && before.wrapping_sub(number).cast_signed() > 0;
        if number >= EMPTY || before == BUSY || is_later {
            return;
        }
        // Its words come after those of whoever had the slot before.
        if holds.compare_exchange(before, BUSY, Acquire, Relaxed).is_err() {
            return;
        }
        for (place, word) in words.iter().zip(event) {
            // Who reads it sees that the slot is taken.
            place.store(word, Release);
        }
        holds.store(number, Release);
    }

    /// The words of this number; `None` when they are overwritten, or not written yet.
    pub(super) fn read(&self, number: u32) -> Option<[u32; SLOT_WORDS - 1]> {
        let [holds, words @ ..] = self.slot(number).filter(|_| number < EMPTY)?;
        let is_there = || holds.load(Acquire) == number;
        if !is_there() {
            return None;
        }
        let event = words.each_ref().map(|word| word.load(Acquire));
        is_there().then_some(event)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_writer_that_was_lapped_leaves_later_words_and_a_slot_that_is_taken_alone() {
        let words = [const { AtomicU32::new(7) }; 2 * SLOT_WORDS];
        assert!(Slots::new(&words[..3]).is_none());
        let slots = Slots::new(&words).unwrap();
        assert_eq!((slots.len(), slots.read(0), slots.read(EMPTY), slots.read(BUSY)), (2, None, None, None));
        slots.write(4, [4; 3]);
        slots.write(2, [2; 3]);
        assert_eq!((slots.read(2), slots.read(4)), (None, Some([4; 3])));
        slots.write(6, [6; 3]);
        assert_eq!((slots.read(4), slots.read(6)), (None, Some([6; 3])));
        words[0].store(BUSY, Relaxed);
        slots.write(8, [8; 3]);
        assert_eq!((slots.read(8), words[1].load(Relaxed)), (None, 6));
        // Before 0 come the numbers that are lost, and before them others.
        slots.write(EMPTY - 1, [1; 3]);
        assert_eq!(slots.read(EMPTY - 1), Some([1; 3]));
        [EMPTY, BUSY].into_iter().for_each(|number| slots.write(number, [9; 3]));
        assert_eq!(slots.read(EMPTY - 1), Some([1; 3]));
        slots.write(1, [3; 3]);
        assert_eq!((slots.read(EMPTY - 1), slots.read(1)), (None, Some([3; 3])));
    }
}
