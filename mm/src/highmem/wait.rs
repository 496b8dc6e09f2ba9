//! What happens to who asks for a window while all of them are in use.
//!
//! Theory.      The ring says so by [`PkmapError::Full`]. Whether its user is refused or sleeps until somebody gives a
//!              window up is the machine's affair, since sleeping needs tasks: [`WindowWait`]. The number of wakes so
//!              far is taken before the ring is looked at, so that a wake between the look and the sleep is not lost.
//! Source.      Linux `kmap_high`: `pkmap_map_wait`.
#![forbid(unsafe_code)]

use super::pkmap::{Pkmap, PkmapError, PkmapTable};
use crate::addr::Pfn;
use crate::sync::TaskLock;

/// Puts tasks to sleep until a window is free.
pub trait WindowWait {
    /// How many wakes there were.
    fn wakes(&self) -> u32;

    /// Sleeps until there were other than `seen` wakes; `false` at once when the caller is to be refused instead.
    fn wait(&self, seen: u32) -> bool;

    /// A window has lost its last user: counts, and wakes who sleeps. Linux: `wake_up(&pkmap_map_wait)`.
    fn wake(&self);
}

/// Nobody sleeps: who finds all windows in use is refused.
#[derive(Clone, Copy, Debug)]
pub struct Refuse;

impl WindowWait for Refuse {
    fn wakes(&self) -> u32 {
        0
    }

    fn wait(&self, _seen: u32) -> bool {
        false
    }

    fn wake(&self) {}
}

/// As [`Pkmap::get`], but sleeps by `wait` while every window is in use. The lock is open meanwhile.
///
/// # Errors
/// [`PkmapError::TooManyUsers`]; [`PkmapError::Full`] when `wait` does not sleep.
pub fn get_window<T: PkmapTable + ?Sized>(
    ring: &TaskLock<Pkmap>,
    frame: Pfn,
    table: &mut T,
    wait: &(impl WindowWait + ?Sized),
) -> Result<usize, PkmapError> {
    loop {
        let seen = wait.wakes();
        let found = ring.lock().get(frame, table);
        if found != Err(PkmapError::Full) || !wait.wait(seen) {
            return found;
        }
    }
}

/// As [`Pkmap::put`]; wakes who sleeps for a window when that was its last user.
///
/// # Errors
/// [`PkmapError::NotMapped`].
pub fn put_window(ring: &TaskLock<Pkmap>, frame: Pfn, wait: &(impl WindowWait + ?Sized)) -> Result<(), PkmapError> {
    let was_last = ring.lock().put(frame)?;
    if was_last {
        wait.wake();
    }
    Ok(())
}
