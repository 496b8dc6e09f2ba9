//! A spin lock that masks interrupts, and the mask alone.

use core::cell::UnsafeCell;
use core::fmt;
use core::marker::PhantomData;
use core::ops::{Deref, DerefMut};
use core::sync::atomic::{AtomicBool, Ordering};

use crate::platform::IrqControl;
use crate::sync::rank::{LockRank, Ranked};

/// Interrupts stay masked on this CPU until the value is dropped (Linux: `local_irq_save` to `local_irq_restore`).
pub struct IrqOff<I: IrqControl> {
    saved: I::Saved,
    /// Not `Send`: the mask is put back on the CPU that set it.
    on_this_cpu: PhantomData<*mut ()>,
}

impl<I: IrqControl> IrqOff<I> {
    /// Masks interrupts.
    #[must_use]
    #[inline]
    pub fn new() -> Self {
        Self { saved: I::save_and_disable(), on_this_cpu: PhantomData }
    }
}

impl<I: IrqControl> Default for IrqOff<I> {
    fn default() -> Self {
        Self::new()
    }
}

impl<I: IrqControl> fmt::Debug for IrqOff<I> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("IrqOff")
    }
}

impl<I: IrqControl> Drop for IrqOff<I> {
    #[inline]
    fn drop(&mut self) {
        // SAFETY: valid because `saved` came from this value's own `save_and_disable`; values of this type nest as
        // scopes do and are not `Send`, so it is this CPU's latest mask that is not restored yet.
        unsafe { I::restore(self.saved) }
    }
}

/// A value that one CPU at a time may use, with interrupts masked (Linux: `spin_lock_irqsave`).
#[repr(C)]
pub struct IrqLock<T, I: IrqControl> {
    // First: an exclusive access takes no offset.
    locked: AtomicBool,
    value: UnsafeCell<T>,
    irq: PhantomData<fn() -> I>,
    rank: Ranked,
}

// SAFETY: the lock gives the value to one CPU at a time, which is sound for any value that may move between CPUs.
unsafe impl<T: Send, I: IrqControl> Sync for IrqLock<T, I> {}

impl<T, I: IrqControl> IrqLock<T, I> {
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
        let rank = Ranked::new(rank);
        Self { locked: AtomicBool::new(false), value: UnsafeCell::new(value), irq: PhantomData, rank }
    }

    /// Masks interrupts, then waits until no other CPU holds the lock. Taking it twice on one CPU waits for ever.
    #[inline]
    pub fn lock(&self) -> IrqLockGuard<'_, T, I> {
        let irq = IrqOff::new();
        self.rank.wanted();
        // A swap is the shortest atomic; what it writes over is the same when the lock is taken.
        if self.locked.swap(true, Ordering::Acquire) {
            self.wait();
        }
        self.rank.taken();
        IrqLockGuard { lock: self, _irq: irq }
    }

    /// Takes the lock when another CPU has opened it.
    #[cold]
    #[inline(never)]
    fn wait(&self) {
        while self.locked.load(Ordering::Relaxed) || self.locked.swap(true, Ordering::Acquire) {
            core::hint::spin_loop();
        }
    }

    /// Takes the lock if nobody holds it, this CPU included; `None` (and interrupts as they were) otherwise.
    #[inline]
    pub fn try_lock(&self) -> Option<IrqLockGuard<'_, T, I>> {
        let irq = IrqOff::new();
        self.locked.compare_exchange(false, true, Ordering::Acquire, Ordering::Relaxed).ok()?;
        self.rank.taken();
        Some(IrqLockGuard { lock: self, _irq: irq })
    }

    /// Opens the lock in its holder's place: for the last words of a system that will not go on.
    ///
    /// # Safety
    /// The holder, if there is one, must never use its guard again.
    pub unsafe fn force_unlock(&self) {
        self.rank.opened();
        self.locked.store(false, Ordering::Release);
    }

    /// The value, without a lock: the exclusive borrow is proof enough.
    pub fn get_mut(&mut self) -> &mut T {
        self.value.get_mut()
    }
}

impl<T, I: IrqControl> fmt::Debug for IrqLock<T, I> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("IrqLock").field("locked", &self.locked.load(Ordering::Relaxed)).finish_non_exhaustive()
    }
}

/// The exclusive use of an [`IrqLock`]'s value; dropping it opens the lock, then restores the interrupt mask.
pub struct IrqLockGuard<'l, T, I: IrqControl> {
    lock: &'l IrqLock<T, I>,
    /// Dropped after this guard's own `drop`, so the lock is open before an interrupt can come in.
    _irq: IrqOff<I>,
}

impl<T, I: IrqControl> Deref for IrqLockGuard<'_, T, I> {
    type Target = T;

    #[inline]
    fn deref(&self) -> &T {
        // SAFETY: valid because the guard holds the lock, so nobody else has a reference to the value.
        unsafe { &*self.lock.value.get() }
    }
}

impl<T, I: IrqControl> DerefMut for IrqLockGuard<'_, T, I> {
    #[inline]
    fn deref_mut(&mut self) -> &mut T {
        // SAFETY: valid because the guard holds the lock and is itself borrowed exclusively.
        unsafe { &mut *self.lock.value.get() }
    }
}

impl<T, I: IrqControl> Drop for IrqLockGuard<'_, T, I> {
    #[inline]
    fn drop(&mut self) {
        self.lock.rank.opened();
        self.lock.locked.store(false, Ordering::Release);
    }
}

impl<T: fmt::Debug, I: IrqControl> fmt::Debug for IrqLockGuard<'_, T, I> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        (**self).fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::HostIrq;

    #[test]
    fn a_held_lock_is_not_taken_twice_and_the_try_restores_the_mask() {
        let lock = IrqLock::<u32, HostIrq>::new(7);
        let held = lock.lock();
        assert!(lock.try_lock().is_none());
        assert_eq!(HostIrq::depth(), 1);
        drop(held);
        assert_eq!(lock.try_lock().map(|guard| *guard), Some(7));
        assert_eq!(HostIrq::depth(), 0);
    }

    #[test]
    fn a_lock_whose_holder_is_gone_can_be_opened() {
        let lock = IrqLock::<u32, HostIrq>::new(7);
        core::mem::forget(lock.lock());
        assert!(lock.try_lock().is_none());
        // SAFETY: the guard is forgotten.
        unsafe { lock.force_unlock() }
        assert_eq!(lock.try_lock().map(|guard| *guard), Some(7));
    }

    #[test]
    fn interrupts_are_masked_exactly_while_a_guard_lives() {
        let lock: IrqLock<u32, HostIrq> = IrqLock::new(1);
        {
            let mut guard = lock.lock();
            assert_eq!(HostIrq::depth(), 1);
            *guard += 1;
            let _nested = IrqOff::<HostIrq>::new();
            assert_eq!(HostIrq::depth(), 2);
        }
        assert_eq!(HostIrq::depth(), 0);
        assert_eq!(*lock.lock(), 2);
    }

    #[test]
    fn increments_under_the_lock_are_not_lost_between_threads() {
        let lock: IrqLock<u32, HostIrq> = IrqLock::new(0);
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
}
