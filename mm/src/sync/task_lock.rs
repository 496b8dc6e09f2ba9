//! A lock for code that interrupt handlers never run: it masks nothing.

use core::cell::UnsafeCell;
use core::fmt;
use core::marker::PhantomData;
use core::ops::{Deref, DerefMut};
use core::sync::atomic::{AtomicBool, Ordering};

use crate::sync::rank::{LockRank, Ranked};

/// A value that one CPU at a time may use, with interrupts as they are (Linux: `mutex`, where it would sleep).
/// Interrupt handlers must not take it: the code that they interrupted may hold it.
pub struct TaskLock<T> {
    locked: AtomicBool,
    value: UnsafeCell<T>,
    rank: Ranked,
}

// SAFETY: the lock gives the value to one CPU at a time, which is sound for any value that may move between CPUs.
unsafe impl<T: Send> Sync for TaskLock<T> {}

impl<T> TaskLock<T> {
    /// An open lock around `value`.
    #[must_use]
    pub const fn new(value: T) -> Self {
        Self::of(value, None)
    }

    /// The same, taken in the order that `rank` says: debug builds check it.
    #[must_use]
    pub const fn ranked(value: T, rank: LockRank) -> Self {
        Self::of(value, Some(rank))
    }

    const fn of(value: T, rank: Option<LockRank>) -> Self {
        Self { locked: AtomicBool::new(false), value: UnsafeCell::new(value), rank: Ranked::new(rank) }
    }

    /// Whoever tries until they have it says so first: in debug builds its rank is checked.
    #[inline]
    pub(crate) fn wanted(&self) {
        self.rank.wanted();
    }

    /// Waits until nobody else holds the lock. Taking it twice waits for ever.
    #[inline]
    pub fn lock(&self) -> TaskLockGuard<'_, T> {
        self.rank.wanted();
        while self.locked.compare_exchange_weak(false, true, Ordering::Acquire, Ordering::Relaxed).is_err() {
            while self.locked.load(Ordering::Relaxed) {
                core::hint::spin_loop();
            }
        }
        self.rank.taken();
        TaskLockGuard { lock: self, on_this_cpu: PhantomData }
    }

    /// Takes the lock if nobody holds it: for reports of what went wrong.
    #[inline]
    pub fn try_lock(&self) -> Option<TaskLockGuard<'_, T>> {
        self.locked.compare_exchange(false, true, Ordering::Acquire, Ordering::Relaxed).ok()?;
        self.rank.taken();
        Some(TaskLockGuard { lock: self, on_this_cpu: PhantomData })
    }
}

impl<T> fmt::Debug for TaskLock<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TaskLock").field("locked", &self.locked.load(Ordering::Relaxed)).finish_non_exhaustive()
    }
}

/// The exclusive use of a [`TaskLock`]'s value; dropping it opens the lock.
pub struct TaskLockGuard<'l, T> {
    lock: &'l TaskLock<T>,
    /// Not `Send`: whoever took the lock opens it.
    on_this_cpu: PhantomData<*mut ()>,
}

impl<T> Deref for TaskLockGuard<'_, T> {
    type Target = T;

    #[inline]
    fn deref(&self) -> &T {
        // SAFETY: valid because the guard holds the lock, so nobody else has a reference to the value.
        unsafe { &*self.lock.value.get() }
    }
}

impl<T> DerefMut for TaskLockGuard<'_, T> {
    #[inline]
    fn deref_mut(&mut self) -> &mut T {
        // SAFETY: valid because the guard holds the lock and is itself borrowed exclusively.
        unsafe { &mut *self.lock.value.get() }
    }
}

impl<T> Drop for TaskLockGuard<'_, T> {
    #[inline]
    fn drop(&mut self) {
        self.lock.rank.opened();
        self.lock.locked.store(false, Ordering::Release);
    }
}

impl<T: fmt::Debug> fmt::Debug for TaskLockGuard<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        (**self).fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn increments_under_a_task_lock_are_not_lost_between_threads() {
        let lock = TaskLock::new(0_u32);
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    for _ in 0..1000 {
                        let mut held = lock.lock();
                        let before = *held;
                        // The others come and have to wait.
                        std::thread::yield_now();
                        *held = before + 1;
                    }
                });
            }
        });
        assert_eq!(*lock.lock(), 4000);
    }

    #[test]
    fn a_held_task_lock_is_not_taken_by_a_try() {
        let lock = TaskLock::new(7);
        let held = lock.lock();
        assert!(lock.try_lock().is_none());
        drop(held);
        assert_eq!(lock.try_lock().map(|guard| *guard), Some(7));
    }
}
