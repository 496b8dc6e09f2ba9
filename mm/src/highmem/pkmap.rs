//! The ring of long-lived windows, shared by all CPUs.
//!
//! Theory.      Each window has a count: 0, nothing is there; 1, a frame is still there but nobody uses it; more, its
//!              users and one. A frame that is asked for again within a round is found by a hash and costs no table
//!              write. A window that nobody uses is not taken anew before the ring wraps: then all of them are cleared
//!              and one flush serves them all. So a TLB never knows two frames of one window.
//!
//! ```text
//!              slot  0   1   2   3   4   5
//!              count 3   1   0   2   1   0        next: 5; then the ring wraps: 1 and 4 are cleared, one flush
//!                    |   |       '- one user
//!                    |   '- no user, the mapping stays
//!                    '- two users
//! ```
//! Invariants.  1. A window with a count holds a frame that no other window holds, and is in the chain of its hash.
//!              2. A window without one is in no chain, and no TLB knows it.
//! Source.      Linux `map_new_virtual`, `kmap_high`, `kunmap_high`, `flush_all_zero_pkmaps`, `page_address_htable`.

use core::fmt;

use crate::addr::Pfn;

/// Windows: 2 MiB of pages (Linux: `LAST_PKMAP`).
pub const PKMAP_SLOTS: usize = 512;
/// Chains of the hash.
const CHAINS: usize = 128;

/// Why a frame has no window, or keeps it; nothing has changed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum PkmapError {
    /// Every window is in use: a caller that can sleep waits until [`Pkmap::put`] says that one is not.
    Full,
    /// The frame has as many users as can be counted.
    TooManyUsers(Pfn),
    /// The frame has no user in any window.
    NotMapped(Pfn),
}

impl fmt::Display for PkmapError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Full => write!(f, "kmap: all {PKMAP_SLOTS} windows are in use"),
            Self::TooManyUsers(pfn) => write!(f, "kmap: frame {pfn} has too many users"),
            Self::NotMapped(pfn) => write!(f, "kunmap: frame {pfn} is not mapped"),
        }
    }
}

/// What is wrong with the ring.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum PkmapBroken {
    /// The window is in the wrong chain, in several, or in one without a count.
    Chained(usize),
    /// The window has a count and is in no chain.
    Lost(usize),
    /// Its frame is in another window, too.
    Twice(Pfn),
}

impl fmt::Display for PkmapBroken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Chained(slot) => write!(f, "pkmap: window {slot} is in a chain that it does not belong to"),
            Self::Lost(slot) => write!(f, "pkmap: window {slot} is in use and in no chain"),
            Self::Twice(pfn) => write!(f, "pkmap: frame {pfn} is in two windows"),
        }
    }
}

/// The table words behind the ring.
pub trait PkmapTable {
    /// Maps window `slot`, which no TLB knows, to `frame`.
    fn set(&mut self, slot: usize, frame: Pfn);

    /// Unmaps window `slot`; its translation may stay in TLBs until [`PkmapTable::flush`].
    fn clear(&mut self, slot: usize);

    /// Drops the windows' translations from all TLBs.
    fn flush(&mut self);
}

/// One window.
#[derive(Clone, Copy, Debug)]
struct Slot {
    frame: Pfn,
    count: u16,
    /// The next window of the chain, plus one; 0 for none.
    next: u16,
}

/// The ring's bookkeeping. All zero when nothing is mapped.
#[derive(Debug)]
pub struct Pkmap {
    slots: [Slot; PKMAP_SLOTS],
    /// The first window of each chain, plus one; 0 for none.
    chains: [u16; CHAINS],
    /// The window that was taken last.
    last: usize,
}

impl Pkmap {
    /// Nothing is mapped.
    #[must_use]
    pub const fn new() -> Self {
        let slot = Slot { frame: Pfn::new(0), count: 0, next: 0 };
        Self { slots: [slot; PKMAP_SLOTS], chains: [0; CHAINS], last: 0 }
    }

    /// Gives `frame` a window, or one user more of the one that it has; returns the window (Linux: `kmap_high`).
    ///
    /// # Errors
    /// [`PkmapError::Full`], [`PkmapError::TooManyUsers`].
    pub fn get<T: PkmapTable + ?Sized>(&mut self, frame: Pfn, table: &mut T) -> Result<usize, PkmapError> {
        let at = match self.find(frame) {
            Some(at) => at,
            None => self.take(frame, table)?,
        };
        if let Some(slot) = self.slots.get_mut(at) {
            slot.count = slot.count.checked_add(1).ok_or(PkmapError::TooManyUsers(frame))?;
        }
        Ok(at)
    }

    /// Gives up one user of `frame`'s window; `true` when that was the last one, so that somebody who waits for a
    /// window can be woken (Linux: `kunmap_high`).
    ///
    /// # Errors
    /// [`PkmapError::NotMapped`].
    pub fn put(&mut self, frame: Pfn) -> Result<bool, PkmapError> {
        let slot = self.find(frame).and_then(|at| self.slots.get_mut(at));
        let slot = slot.filter(|slot| slot.count > 1).ok_or(PkmapError::NotMapped(frame))?;
        slot.count -= 1;
        Ok(slot.count == 1)
    }

    /// The window that `frame` has (Linux: `page_address`).
    #[must_use]
    pub fn find(&self, frame: Pfn) -> Option<usize> {
        self.chain(chain_of(frame)).find(|at| self.slots.get(*at).is_some_and(|slot| slot.frame == frame))
    }

    /// Unmaps every window that nobody uses (Linux: `kmap_flush_unused`).
    pub fn flush_unused<T: PkmapTable + ?Sized>(&mut self, table: &mut T) {
        let mut cleared = false;
        for at in 0..PKMAP_SLOTS {
            if self.slots.get(at).is_some_and(|slot| slot.count == 1) {
                self.unchain(at);
                table.clear(at);
                cleared = true;
            }
        }
        if cleared {
            table.flush();
        }
    }

    /// Windows with users.
    #[must_use]
    pub fn in_use(&self) -> usize {
        self.slots.iter().filter(|slot| slot.count > 1).count()
    }

    /// Every frame that has a window, with the window and its users.
    pub fn iter(&self) -> impl Iterator<Item = (usize, Pfn, u16)> {
        let slots = self.slots.iter().enumerate();
        slots.filter(|(_, slot)| slot.count > 0).map(|(at, slot)| (at, slot.frame, slot.count - 1))
    }

    /// Checks every invariant.
    ///
    /// # Errors
    /// [`PkmapBroken`].
    pub fn validate(&self) -> Result<(), PkmapBroken> {
        let mut seen = [false; PKMAP_SLOTS];
        for chain in 0..CHAINS {
            for at in self.chain(chain) {
                let (Some(slot), Some(seen)) = (self.slots.get(at), seen.get_mut(at)) else {
                    return Err(PkmapBroken::Chained(at));
                };
                if *seen || slot.count == 0 || chain_of(slot.frame) != chain {
                    return Err(PkmapBroken::Chained(at));
                }
                *seen = true;
                if self.find(slot.frame) != Some(at) {
                    return Err(PkmapBroken::Twice(slot.frame));
                }
            }
        }
        let lost = self.slots.iter().zip(seen).position(|(slot, seen)| slot.count > 0 && !seen);
        lost.map_or(Ok(()), |at| Err(PkmapBroken::Lost(at)))
    }

    /// A window for `frame`, with the count of a mapping without users.
    fn take<T: PkmapTable + ?Sized>(&mut self, frame: Pfn, table: &mut T) -> Result<usize, PkmapError> {
        let at = self.next_free(table).ok_or(PkmapError::Full)?;
        self.last = at;
        let chain = self.chains.get_mut(chain_of(frame));
        if let (Some(slot), Some(first)) = (self.slots.get_mut(at), chain) {
            *slot = Slot { frame, count: 1, next: *first };
            *first = link(at);
        }
        table.set(at, frame);
        Ok(at)
    }

    /// The next window behind the last one that nothing is in; all unused ones are cleared where the ring wraps.
    fn next_free<T: PkmapTable + ?Sized>(&mut self, table: &mut T) -> Option<usize> {
        let mut at = self.last;
        // The round that wraps clears, and the windows before `last` are looked at again behind it.
        for _ in 0..2 * PKMAP_SLOTS {
            at = (at + 1) % PKMAP_SLOTS;
            if at == 0 {
                self.flush_unused(table);
            }
            if self.slots.get(at).is_some_and(|slot| slot.count == 0) {
                return Some(at);
            }
        }
        None
    }

    /// The windows of a chain.
    fn chain(&self, chain: usize) -> impl Iterator<Item = usize> {
        let first = self.chains.get(chain).copied().unwrap_or(0);
        let next = |at: &usize| self.slots.get(*at).and_then(|slot| unlink(slot.next));
        core::iter::successors(unlink(first), next)
    }

    /// Takes window `at` out of its chain; it holds nothing any more.
    fn unchain(&mut self, at: usize) {
        let Some(gone) = self.slots.get(at).copied() else { return };
        let chain = chain_of(gone.frame);
        let before = self.chain(chain).find(|other| self.slots.get(*other).is_some_and(|slot| slot.next == link(at)));
        let link = match before {
            Some(before) => self.slots.get_mut(before).map(|slot| &mut slot.next),
            None => self.chains.get_mut(chain),
        };
        if let Some(link) = link {
            *link = gone.next;
        }
        if let Some(slot) = self.slots.get_mut(at) {
            *slot = Slot { frame: Pfn::new(0), count: 0, next: 0 };
        }
    }
}

impl Default for Pkmap {
    fn default() -> Self {
        Self::new()
    }
}

/// The chain of a frame: neighbours in different ones.
const fn chain_of(frame: Pfn) -> usize {
    (frame.raw() ^ frame.raw() >> 7 ^ frame.raw() >> 14) as usize % CHAINS
}

/// A window as a link of a chain.
#[expect(clippy::cast_possible_truncation, reason = "a window's number has 9 bits")]
const fn link(at: usize) -> u16 {
    at as u16 + 1
}

/// The window of a link.
fn unlink(link: u16) -> Option<usize> {
    usize::from(link).checked_sub(1)
}
