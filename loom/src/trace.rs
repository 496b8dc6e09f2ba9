//! mm's slots of the trace, which several CPUs write and read at once.

#[path = "../../mm/src/trace/slots.rs"]
#[allow(dead_code, unused_imports, unreachable_pub, reason = "mm does more with slots than a model")]
mod slots;

use core::sync::atomic::AtomicU32;

use slots::{SLOT_WORDS, Slots};

/// A single slot: every number is written to it, and read from it.
pub struct Slot(Slots<'static>);

impl Slot {
    /// One with number 0, which every CPU sees. Its words are never given back: a model is short.
    pub fn new() -> Self {
        let words: &'static [AtomicU32] = Box::leak((0..SLOT_WORDS).map(|_| AtomicU32::new(0)).collect());
        let slot = Self(Slots::new(words).unwrap());
        slot.write(0);
        assert!(slot.has(0));
        slot
    }

    /// Writes words that all say the number.
    pub fn write(&self, number: u32) {
        self.0.write(number, [number; SLOT_WORDS - 1]);
    }

    /// Whether the number is there. All of its words are, then.
    pub fn has(&self, number: u32) -> bool {
        match self.0.read(number) {
            Some(words) => {
                assert_eq!(words, [number; SLOT_WORDS - 1], "words of several numbers");
                true
            }
            None => false,
        }
    }
}

impl Default for Slot {
    fn default() -> Self {
        Self::new()
    }
}
