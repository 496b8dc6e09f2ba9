//! The order of the kernel's own locks; docs/locks.md has the whole table.
//!
//! Theory.      The address space's locks come before those of the page allocator, which it asks for frames; the
//!              console's comes last, because anyone may have something to say. In debug builds each CPU notes what it
//!              holds.
//! Source.      Ours.

use core::sync::atomic::Ordering::Relaxed;

use mm::sync::{LockRank, check_lock_order};

use crate::percpu::Counter;

/// The areas of vmalloc.
pub const AREAS: LockRank = LockRank::new(2, "vmalloc areas");
/// The kernel's tables.
pub const TABLES: LockRank = LockRank::new(4, "kernel tables");
/// The tables of one address space.
pub const SPACE: LockRank = LockRank::new(5, "address space");
/// The list of all address spaces.
pub const SPACES: LockRank = LockRank::new(6, "list of spaces");
/// The windows of kmap.
pub const PKMAP: LockRank = LockRank::new(7, "pkmap");
/// The window through which text is changed.
pub const POKE: LockRank = LockRank::new(8, "text poking");
/// The windows of the early boot.
pub const EARLY_IO: LockRank = LockRank::new(9, "early windows");
/// Which space has which ASID, and which CPU runs it.
pub const ASIDS: LockRank = LockRank::new(10, "ASIDs");
/// The console.
pub const CONSOLE: LockRank = LockRank::new(31, "console");

/// The ranks that each CPU holds.
#[unsafe(link_section = ".percpu")]
static HELD: Counter = Counter::new(0);

/// From now on, in debug builds, locks are checked. Per-CPU variables are there.
pub fn start() {
    // Once: the cell is empty.
    let _ = check_lock_order(held);
}

fn held(set: u32, clear: u32) -> u32 {
    let Some(word) = HELD.of_this_cpu() else { return 0 };
    let before = word.fetch_or(set, Relaxed);
    if clear != 0 {
        word.fetch_and(!clear, Relaxed);
    }
    before
}
