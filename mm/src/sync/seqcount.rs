//! A count of changes: readers never wait for a lock, but find out whether what they read was being changed.
//!
//! Theory.      The count is odd while a writer is at work. A reader notes an even count, reads, and looks again: if
//!              the count is another one by then, what it read may be of two times, and it reads anew.
//! Invariants.  1. The count is odd exactly while a writer is at work. 2. One writer at a time. 3. A writer's
//!              interrupts are masked, so a reader in a handler never waits for the code that it interrupted.
//! Not here.    The data: readers race with the writer, so it must be atomics.
//! Source.      Linux: `seqcount_t`, `read_seqcount_begin`, `read_seqcount_retry`, `write_seqcount_begin`.
#![forbid(unsafe_code)]

use core::sync::atomic::Ordering::{Acquire, Relaxed, Release};
use core::sync::atomic::{AtomicU32, fence};

use crate::platform::IrqControl;
use crate::sync::IrqOff;

/// The count itself.
#[derive(Debug, Default)]
pub struct SeqCount(AtomicU32);

/// The count as a reader noted it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Snapshot(u32);

impl SeqCount {
    /// A count of no changes.
    #[must_use]
    pub const fn new() -> Self {
        Self(AtomicU32::new(0))
    }

    /// Begins a read; waits while a writer is at work (Linux: `read_seqcount_begin`).
    #[must_use]
    #[inline]
    pub fn begin(&self) -> Snapshot {
        loop {
            let count = self.0.load(Acquire);
            if count & 1 == 0 {
                return Snapshot(count);
            }
            core::hint::spin_loop();
        }
    }

    /// Whether a writer was at work since `begin` gave `seen`: what was read meanwhile may not belong together
    /// (Linux: `read_seqcount_retry`).
    #[must_use]
    #[inline]
    pub fn has_changed(&self, seen: Snapshot) -> bool {
        // What was read before stays before the second look at the count.
        fence(Acquire);
        self.0.load(Relaxed) != seen.0
    }

    /// Runs `change` as the only writer (Linux: `write_seqcount_begin` to `write_seqcount_end`).
    pub fn write<I: IrqControl, R>(&self, change: impl FnOnce() -> R) -> R {
        let _irq = IrqOff::<I>::new();
        let mut count = self.0.load(Relaxed);
        while count & 1 != 0 || self.0.compare_exchange_weak(count, count | 1, Acquire, Relaxed).is_err() {
            core::hint::spin_loop();
            count = self.0.load(Relaxed);
        }
        // The odd count is seen before anything of the change is.
        fence(Release);
        let result = change();
        self.0.store(count.wrapping_add(2), Release);
        result
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::HostIrq;

    #[test]
    fn a_read_is_told_of_a_change_and_of_nothing_else() {
        let seq = SeqCount::new();
        let seen = seq.begin();
        assert!(!seq.has_changed(seen));
        assert_eq!(seq.write::<HostIrq, _>(HostIrq::depth), 1);
        assert!(seq.has_changed(seen));
        assert!(!seq.has_changed(seq.begin()));
    }

    #[test]
    fn readers_never_see_half_a_change_while_threads_flip_it() {
        let seq = SeqCount::new();
        let words = [const { AtomicU32::new(0) }; 4];
        let read = || loop {
            let seen = seq.begin();
            let values = [0, 1, 2, 3].map(|i: usize| words[i].load(Relaxed));
            if !seq.has_changed(seen) {
                return values;
            }
        };
        std::thread::scope(|scope| {
            for writer in 1..=2u32 {
                let (seq, words) = (&seq, &words);
                scope.spawn(move || {
                    for round in 0..2_000u32 {
                        let value = round * 2 + writer;
                        seq.write::<HostIrq, _>(|| {
                            for word in words {
                                word.store(value, Relaxed);
                                if round % 64 == 0 {
                                    std::thread::yield_now();
                                }
                            }
                        });
                    }
                });
            }
            for _ in 0..2 {
                scope.spawn(|| {
                    for _ in 0..2_000 {
                        let values = read();
                        assert!(values.iter().all(|value| *value == values[0]), "{values:?}");
                    }
                });
            }
        });
        assert_eq!(seq.begin(), Snapshot(2 * 2 * 2_000));
    }
}
