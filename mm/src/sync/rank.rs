//! The order in which locks are taken, checked in debug builds.
//!
//! Theory.      Each kind of lock has a rank, and whoever holds some waits only for a lock whose rank is higher than
//!              all of theirs: then no two CPUs ever wait for each other. A CPU notes the ranks that it holds in one
//!              word, a bit each, so that the question costs one comparison. In release builds nothing of this is left.
//! Invariants.  In a CPU's word the bit of a rank is set exactly while a guard of a lock with that rank lives on it. A
//!              guard that was forgotten counts as alive until its lock is opened by force on that CPU.
//! Not here.    The table of all locks: docs/locks.md. Locks without a rank are not looked at.
//! Source.      Ours. Linux's lockdep learns the order while it runs; here it is said beforehand.
#![forbid(unsafe_code)]

#[cfg(debug_assertions)]
use crate::sync::InitOnce;

/// Where a lock stands in the order: below 32, and higher is taken later.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct LockRank {
    number: u8,
    name: &'static str,
}

impl LockRank {
    /// One area's lazy release; its holder moves pages.
    pub const CMA_RELEASE: Self = Self::new(16, "cma release");
    /// The turn of those who free a contiguous range.
    pub const CONTIG: Self = Self::new(17, "contiguous range");
    /// The turn of those who are out of memory.
    pub const OUT_OF_MEMORY: Self = Self::new(18, "out of memory");
    /// The list of shrinkers.
    pub const SHRINKERS: Self = Self::new(24, "shrinkers");
    /// The state of fault injection.
    pub const FAULTS: Self = Self::new(25, "fault injection");
    /// A contiguous-memory area's bitmap.
    pub const CMA_BITMAP: Self = Self::new(26, "cma bitmap");
    /// A zone's free lists: a leaf, but for what is said on the console.
    pub const ZONE: Self = Self::new(28, "zone");

    /// A rank of a kernel's own: mm's are from 16 to 28.
    ///
    /// # Panics
    /// `number` is not below 32; in a constant, at compile time.
    #[must_use]
    pub const fn new(number: u8, name: &'static str) -> Self {
        assert!(number < 32, "a rank is a bit of a word");
        Self { number, name }
    }

    /// Its place in the order.
    #[must_use]
    pub const fn number(self) -> u8 {
        self.number
    }

    /// What the lock is called in reports.
    #[must_use]
    pub const fn name(self) -> &'static str {
        self.name
    }
}

/// Sets, then clears bits of this CPU's word of held ranks, and returns what it was; of this task's, where a task may
/// hold a lock while it moves to another CPU. Called with interrupts as they are: the change must be one that an
/// interrupt handler cannot cut in two.
pub type HeldRanks = fn(set: u32, clear: u32) -> u32;

#[cfg(debug_assertions)]
static HELD: InitOnce<HeldRanks> = InitOnce::new();

/// From now on every lock that has a rank is checked in debug builds: one that is waited for out of order panics.
/// Returns whether it is: not in release builds, nor a second time.
pub fn check_lock_order(held: HeldRanks) -> bool {
    #[cfg(debug_assertions)]
    {
        HELD.set(held).is_ok()
    }
    #[cfg(not(debug_assertions))]
    {
        let _ = held;
        false
    }
}

/// The ranks that are held here, a bit each; 0 in release builds, too.
#[must_use]
pub fn held_ranks() -> u32 {
    change(0, 0)
}

#[cfg(debug_assertions)]
fn change(set: u32, clear: u32) -> u32 {
    #[cfg(any(test, feature = "testing"))]
    let held = Some(&(host::held_here as HeldRanks));
    #[cfg(not(any(test, feature = "testing")))]
    let held = HELD.get();
    held.map_or(0, |held| held(set, clear))
}

#[cfg(not(debug_assertions))]
fn change(_set: u32, _clear: u32) -> u32 {
    0
}

/// The rank of one lock, if it has one: nothing in release builds.
#[derive(Clone, Copy, Debug)]
pub(super) struct Ranked {
    #[cfg(debug_assertions)]
    rank: Option<LockRank>,
}

impl Ranked {
    #[cfg_attr(not(debug_assertions), expect(unused_variables, reason = "there are no ranks in release builds"))]
    pub(super) const fn new(rank: Option<LockRank>) -> Self {
        Self {
            #[cfg(debug_assertions)]
            rank,
        }
    }

    #[cfg(debug_assertions)]
    fn bit(self) -> u32 {
        self.rank.map_or(0, |rank| 1 << rank.number)
    }

    #[cfg(not(debug_assertions))]
    fn bit(self) -> u32 {
        0
    }

    /// The lock is about to be waited for.
    #[inline(always)]
    pub(super) fn wanted(self) {
        #[cfg(debug_assertions)]
        if let Some(rank) = self.rank {
            let held = held_ranks();
            if held >> rank.number != 0 {
                out_of_order(rank, held);
            }
        }
    }

    /// The lock is held.
    #[inline(always)]
    pub(super) fn taken(self) {
        if self.bit() != 0 {
            change(self.bit(), 0);
        }
    }

    /// The lock is about to be opened.
    #[inline(always)]
    pub(super) fn opened(self) {
        if self.bit() != 0 {
            change(0, self.bit());
        }
    }
}

#[cfg(debug_assertions)]
#[cold]
#[expect(clippy::panic, reason = "in debug builds only: two CPUs could wait for each other")]
fn out_of_order(rank: LockRank, held: u32) -> ! {
    // Whatever is said goes to a console that may have such a lock, too.
    change(0, u32::MAX);
    panic!("lock order: {} (rank {}) is waited for while ranks {held:#x} are held", rank.name, rank.number)
}

#[cfg(any(test, feature = "testing"))]
#[cfg(debug_assertions)]
mod host {
    use core::cell::Cell;

    std::thread_local! {
        static HELD: Cell<u32> = const { Cell::new(0) };
    }

    /// A thread stands for a CPU.
    pub(super) fn held_here(set: u32, clear: u32) -> u32 {
        HELD.replace((HELD.get() | set) & !clear)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sync::{IrqLock, TaskLock};
    use crate::testing::HostIrq;

    const LOW: LockRank = LockRank::new(3, "low");
    const HIGH: LockRank = LockRank::new(9, "high");

    fn locks() -> (TaskLock<u32>, IrqLock<u32, HostIrq>) {
        (TaskLock::ranked(1, LOW), IrqLock::ranked(2, HIGH))
    }

    fn panics(body: impl FnOnce() + Send + 'static) -> bool {
        std::thread::spawn(body).join().is_err()
    }

    #[test]
    fn locks_may_be_taken_in_order_and_opened_in_any() {
        let (low, high) = locks();
        let first = low.lock();
        assert_eq!(held_ranks(), 1 << 3);
        let second = high.lock();
        assert_eq!(held_ranks(), 1 << 3 | 1 << 9);
        drop(first);
        assert_eq!(held_ranks(), 1 << 9);
        drop(second);
        assert_eq!(held_ranks(), 0);
    }

    #[test]
    fn a_lock_that_is_waited_for_out_of_order_panics() {
        assert!(panics(|| {
            let (low, high) = locks();
            let _held = high.lock();
            drop(low.lock());
        }));
        assert!(panics(|| {
            let (low, _) = locks();
            let _held = low.lock();
            drop(TaskLock::ranked(0, LOW).lock());
        }));
        assert!(panics(|| {
            let (low, high) = locks();
            let _held = low.try_lock();
            drop(high.try_lock());
            drop(IrqLock::<u32, HostIrq>::ranked(0, LockRank::new(0, "lowest")).lock());
        }));
    }

    #[test]
    fn who_does_not_wait_may_try_any_lock_and_one_without_a_rank_is_not_looked_at() {
        let (low, high) = locks();
        let held = high.lock();
        assert_eq!(low.try_lock().map(|guard| *guard), Some(1));
        assert_eq!(*TaskLock::new(5).lock(), 5);
        assert_eq!(held_ranks(), 1 << 9);
        drop(held);
        assert_eq!(held_ranks(), 0);
    }

    #[test]
    fn nothing_is_held_by_who_failed_to_take_a_lock() {
        let (low, _) = locks();
        let held = low.lock();
        std::thread::scope(|scope| {
            scope.spawn(|| {
                assert!(low.try_lock().is_none());
                assert_eq!(held_ranks(), 0);
            });
        });
        drop(held);
    }
}
