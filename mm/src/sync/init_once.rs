//! A cell that is written once and then only read.

use core::cell::UnsafeCell;
use core::fmt;
use core::mem::MaybeUninit;
use core::sync::atomic::{AtomicU8, Ordering};

const EMPTY: u8 = 0;
const WRITING: u8 = 1;
const READY: u8 = 2;

/// A value that is set once, at boot, and then shared for ever. It is never dropped.
pub struct InitOnce<T> {
    state: AtomicU8,
    value: UnsafeCell<MaybeUninit<T>>,
}

// SAFETY: a shared `InitOnce` hands out `&T` (needs `T: Sync`) and takes a `T` from any CPU (needs `T: Send`); the
// state makes one writer the only one to touch the value before it is READY, and nobody writes it after.
unsafe impl<T: Send + Sync> Sync for InitOnce<T> {}

impl<T> InitOnce<T> {
    /// An empty cell.
    #[must_use]
    pub const fn new() -> Self {
        Self { state: AtomicU8::new(EMPTY), value: UnsafeCell::new(MaybeUninit::uninit()) }
    }

    /// Sets the value and returns it.
    ///
    /// # Errors
    /// The value itself, when the cell has one already or another CPU is just setting one. Nothing has changed.
    pub fn set(&self, value: T) -> Result<&T, T> {
        if self.state.compare_exchange(EMPTY, WRITING, Ordering::Relaxed, Ordering::Relaxed).is_err() {
            return Err(value);
        }
        // SAFETY: valid because EMPTY -> WRITING happens once, so this is the only writer, and nobody reads before
        // READY.
        let cell = unsafe { &mut *self.value.get() };
        let value = cell.write(value);
        self.state.store(READY, Ordering::Release);
        Ok(value)
    }

    /// The value; `None` before it is set.
    #[must_use]
    pub fn get(&self) -> Option<&T> {
        if self.state.load(Ordering::Acquire) != READY {
            return None;
        }
        // SAFETY: valid because the state is READY, after which nobody writes the cell.
        let cell = unsafe { &*self.value.get() };
        // SAFETY: valid because READY is stored, with release, after the value was written.
        Some(unsafe { cell.assume_init_ref() })
    }
}

impl<T> Default for InitOnce<T> {
    fn default() -> Self {
        Self::new()
    }
}

impl<T: fmt::Debug> fmt::Debug for InitOnce<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("InitOnce").field(&self.get()).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cell_keeps_its_first_value_and_gives_a_second_one_back() {
        let cell = InitOnce::new();
        assert_eq!(cell.get(), None);
        assert_eq!(cell.set(7), Ok(&7));
        assert_eq!(cell.set(8), Err(8));
        assert_eq!(cell.get(), Some(&7));
    }

    #[test]
    fn of_many_threads_that_set_a_cell_exactly_one_wins() {
        let cell = InitOnce::new();
        let wins: usize = std::thread::scope(|scope| {
            let threads: Vec<_> = (0..4)
                .map(|i| {
                    scope.spawn({
                        let cell = &cell;
                        move || usize::from(cell.set(i).is_ok())
                    })
                })
                .collect();
            threads.into_iter().map(|thread| thread.join().unwrap()).sum()
        });
        assert_eq!(wins, 1);
        assert!(cell.get().is_some());
    }
}
