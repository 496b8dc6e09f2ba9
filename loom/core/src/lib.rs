//! `core` as loom needs it: atomics and cells that it watches, and a spin that lets others run.
//!
//! Theory.      A crate that names this one `core` compiles mm's files as they are, to the letter. loom's own types
//!              cannot be made in a `const fn`; these can, and become loom's at their first use inside a model.
//! Limits.      That first use is the object's birth, to loom: a model uses each once before it starts its threads.
//!              [`cell::UnsafeCell::get`] cannot know what its pointer is for, and counts as a write: in a model, two
//!              threads must not read one cell at the same time. What counts is the moment of the call.

pub use ::core::*;

use std::cell::OnceCell;

/// A value of loom's that is made at its first use.
struct Lazy<F, T> {
    first: F,
    real: OnceCell<T>,
}

// SAFETY: loom runs one thread at a time, and all of a model's on one thread of the host.
unsafe impl<F, T> Sync for Lazy<F, T> {}
// SAFETY: as above.
unsafe impl<F, T> Send for Lazy<F, T> {}

impl<F: Copy, T> Lazy<F, T> {
    const fn new(first: F) -> Self {
        Self { first, real: OnceCell::new() }
    }

    fn real(&self, make: fn(F) -> T) -> &T {
        self.real.get_or_init(|| make(self.first))
    }
}

/// A spin lets others run: without that a model never ends.
pub mod hint {
    pub use ::core::hint::*;

    /// Lets another thread of the model run.
    pub fn spin_loop() {
        loom::thread::yield_now();
    }
}

/// Atomics that loom watches.
pub mod sync {
    pub use ::core::sync::*;

    /// Atomics that loom watches.
    pub mod atomic {
        pub use loom::sync::atomic::{Ordering, fence};

        use crate::Lazy;

        macro_rules! atomics {
            ($($name:ident $value:ty,)*) => {$(
                /// The same as `core`'s, watched.
                pub struct $name(Lazy<$value, loom::sync::atomic::$name>);

                impl $name {
                    /// As `core`'s.
                    #[must_use]
                    pub const fn new(value: $value) -> Self {
                        Self(Lazy::new(value))
                    }

                    fn real(&self) -> &loom::sync::atomic::$name {
                        self.0.real(loom::sync::atomic::$name::new)
                    }

                    /// As `core`'s.
                    pub fn load(&self, order: Ordering) -> $value {
                        self.real().load(order)
                    }

                    /// As `core`'s.
                    pub fn store(&self, value: $value, order: Ordering) {
                        self.real().store(value, order);
                    }

                    /// As `core`'s.
                    pub fn compare_exchange(&self, old: $value, new: $value, ok: Ordering, bad: Ordering)
                        -> Result<$value, $value> {
                        self.real().compare_exchange(old, new, ok, bad)
                    }

                    /// As `core`'s; loom's never fails without a reason.
                    pub fn compare_exchange_weak(&self, old: $value, new: $value, ok: Ordering, bad: Ordering)
                        -> Result<$value, $value> {
                        self.real().compare_exchange(old, new, ok, bad)
                    }
                }

                impl core::fmt::Debug for $name {
                    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
                        f.write_str(stringify!($name))
                    }
                }

                impl Default for $name {
                    fn default() -> Self {
                        Self::new(<$value>::default())
                    }
                }
            )*};
        }

        macro_rules! arithmetic {
            ($($name:ident $value:ty,)*) => {$(
                impl $name {
                    /// As `core`'s.
                    pub fn fetch_add(&self, value: $value, order: Ordering) -> $value {
                        self.real().fetch_add(value, order)
                    }

                    /// As `core`'s.
                    pub fn swap(&self, value: $value, order: Ordering) -> $value {
                        self.real().swap(value, order)
                    }
                }
            )*};
        }

        impl AtomicU32 {
            /// As `core`'s.
            pub fn fetch_or(&self, bits: u32, order: Ordering) -> u32 {
                self.real().fetch_or(bits, order)
            }

            /// As `core`'s.
            pub fn fetch_and(&self, bits: u32, order: Ordering) -> u32 {
                self.real().fetch_and(bits, order)
            }

            /// As `core`'s.
            pub fn fetch_update(
                &self,
                ok: Ordering,
                bad: Ordering,
                change: impl FnMut(u32) -> Option<u32>,
            ) -> Result<u32, u32> {
                self.real().fetch_update(ok, bad, change)
            }
        }

        impl AtomicBool {
            /// As `core`'s, but where it would write what is there already it does not write: loom would let a CPU that
            /// waits read its own writes for ever.
            pub fn swap(&self, value: bool, order: Ordering) -> bool {
                let failed = match order {
                    Ordering::Relaxed | Ordering::Release => Ordering::Relaxed,
                    _ => Ordering::Acquire,
                };
                match self.compare_exchange(!value, value, order, failed) {
                    Ok(old) | Err(old) => old,
                }
            }
        }

        atomics! { AtomicBool bool, AtomicU8 u8, AtomicU32 u32, AtomicI32 i32, AtomicUsize usize, }
        arithmetic! { AtomicU32 u32, AtomicI32 i32, }
    }
}

/// Cells whose accesses loom orders.
pub mod cell {
    pub use ::core::cell::*;

    use crate::Lazy;

    /// The same as `core`'s; each [`get`](Self::get) must happen after the one before it.
    pub struct UnsafeCell<T> {
        value: ::core::cell::UnsafeCell<T>,
        watch: Lazy<(), loom::cell::UnsafeCell<()>>,
    }

    impl<T> UnsafeCell<T> {
        /// As `core`'s.
        pub const fn new(value: T) -> Self {
            Self { value: ::core::cell::UnsafeCell::new(value), watch: Lazy::new(()) }
        }

        /// As `core`'s; loom fails the model when another thread's access may happen at the same time.
        pub fn get(&self) -> *mut T {
            self.watch.real(loom::cell::UnsafeCell::new).with_mut(|_| ());
            self.value.get()
        }

        /// As `core`'s.
        pub fn get_mut(&mut self) -> &mut T {
            self.value.get_mut()
        }
    }
}
