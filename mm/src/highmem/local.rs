//! The stack of one CPU's short-lived windows: which one is next, and which one may be given back.
//!
//! Theory.      Only its CPU touches a stack, and whoever interrupts the code there gives back what it took before it
//!              returns. So a plain load and store is enough, and the depth says everything.
//! Invariants.  The windows below the depth are in use; the last one taken is the first one given back.
//! Source.      Linux `kmap_local_idx_push`, `kmap_local_idx_pop`.

use core::fmt;
use core::num::NonZeroU32;
use core::sync::atomic::{AtomicU32, Ordering};

/// Why a window was not taken or given back; nothing has changed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum LocalError {
    /// All windows of this CPU are in use.
    Full {
        /// So many.
        windows: u32,
    },
    /// A window that is not the last one taken.
    NotLast {
        /// The one to be given back.
        window: u32,
        /// How many are in use.
        depth: u32,
    },
}

impl fmt::Display for LocalError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Full { windows } => write!(f, "kmap_local: all {windows} windows of this CPU are in use"),
            Self::NotLast { window, depth } => {
                write!(f, "kmap_local: window {window} is not the last of the {depth} in use")
            }
        }
    }
}

/// One CPU's stack of `windows` windows, whose depth is counted from `base`.
///
/// The base tells kinds of CPUs apart at no cost: on one of another kind no window can be had or given back by this
/// stack, as if all were in use.
#[derive(Clone, Copy, Debug)]
pub struct LocalStack<'a> {
    depth: &'a AtomicU32,
    base: u32,
    windows: u32,
}

impl<'a> LocalStack<'a> {
    /// The stack whose depth is kept in `depth`, a variable of this CPU alone.
    #[must_use]
    #[inline]
    pub const fn new(depth: &'a AtomicU32, base: u32, windows: u32) -> Self {
        Self { depth, base, windows }
    }

    /// Takes the next window; returns its number, from 1 on: the depth that the stack now has.
    ///
    /// # Errors
    /// [`LocalError::Full`].
    #[inline(always)]
    pub fn push(&self) -> Result<NonZeroU32, LocalError> {
        let depth = self.depth();
        let window = NonZeroU32::MIN.checked_add(depth).filter(|_| depth < self.windows);
        let window = window.ok_or(LocalError::Full { windows: self.windows })?;
        self.set_depth(window.get());
        Ok(window)
    }

    /// Gives back `window` after `unmap`: a handler that comes in meanwhile takes the window behind it.
    ///
    /// # Errors
    /// [`LocalError::NotLast`]; `unmap` has not run.
    #[inline(always)]
    pub fn pop(&self, window: NonZeroU32, unmap: impl FnOnce()) -> Result<(), LocalError> {
        let (window, depth) = (window.get(), self.depth());
        if depth != window {
            return Err(LocalError::NotLast { window, depth });
        }
        unmap();
        self.set_depth(window - 1);
        Ok(())
    }

    /// How many windows are in use; more than there are on a CPU of another kind.
    #[must_use]
    #[inline(always)]
    pub fn depth(&self) -> u32 {
        self.depth.load(Ordering::Relaxed).wrapping_sub(self.base)
    }

    #[inline(always)]
    fn set_depth(&self, depth: u32) {
        self.depth.store(depth.wrapping_add(self.base), Ordering::Relaxed);
    }
}
