//! The early allocator: which bytes are RAM, and which of them are taken.
//!
//! Theory.      Two lists of regions: `memory` (what exists) and `reserved` (what is taken, RAM or not). Free is what
//!              is in the first and not in the second. To allocate is to reserve a piece of what is free. Both lists
//!              start in arrays that the caller owns and double into memory that they themselves hand out.
//! Invariants.  1. Both lists are in normal form: sorted, disjoint, never empty, touching equals merged
//!              ([`Memblock::validate`]). 2. On `Err` nothing has changed. 3. The frames of a doubled array are
//!              reserved for as long as the list lives there.
//! Picture.     memory     |######|  |#########| no-map |######|
//!              reserved     |##|      |##|                |######|
//!              free       |#|  |#|  |#|  |####|        |##|
//! Not here.    What is RAM and what is taken on a machine (`boot::reserve`), the hand-over to the page allocator.
//! Source.      Linux mm/memblock.c, include/linux/memblock.h.

mod alloc;
mod array;
mod edit;
mod freeze;
mod iter;
mod list;
mod log_lines;
mod region;
#[cfg(test)]
mod tests;

use core::fmt;

use crate::addr::{PhysAddr, PhysRange};
use crate::platform::PhysMap;

pub use alloc::AllocRequest;
pub use freeze::FrozenMap;
pub use iter::{RangeFilter, Ranges};
pub use list::Flaw;
pub use region::{Region, RegionFlags};

use list::RegionList;

/// From which end an allocation searches.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Direction {
    /// Highest free address first: leaves low memory for devices.
    #[default]
    TopDown,
    /// Lowest free address first.
    BottomUp,
}

/// One of the two lists.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum List {
    /// What exists.
    Memory,
    /// What is taken.
    Reserved,
}

impl fmt::Display for List {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Memory => "memory",
            Self::Reserved => "reserved",
        })
    }
}

/// Why memblock refused; nothing has changed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum MemblockError {
    /// The list's array is full and could not be doubled.
    Full {
        /// Which list.
        list: List,
        /// Its regions, all in use.
        capacity: usize,
    },
    /// No free range fits.
    OutOfMemory {
        /// Bytes asked for.
        size: u64,
        /// Alignment asked for, in bytes.
        align: u64,
    },
    /// An alignment, in bytes, that is not a power of two.
    BadAlign(u64),
    /// An allocation of no bytes.
    NoSize,
    /// The bytes can't be reached through the linear mapping.
    NotMapped(PhysRange),
}

impl fmt::Display for MemblockError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Full { list, capacity } => write!(f, "the {list} list is full with {capacity} regions"),
            Self::OutOfMemory { size, align } => write!(f, "no free range has {size} bytes aligned to {align:#x}"),
            Self::BadAlign(align) => write!(f, "the alignment {align:#x} is not a power of two"),
            Self::NoSize => f.write_str("an allocation of 0 bytes"),
            Self::NotMapped(range) => write!(f, "{range} is not in the linear mapping"),
        }
    }
}

/// A list that is not in normal form: a bug of memblock's.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum MemblockBroken {
    /// The region at `index` shows the flaw.
    Form {
        /// Which list.
        list: List,
        /// What is wrong.
        flaw: Flaw,
        /// Index of the region that shows it.
        index: usize,
    },
    /// The frames of a doubled array are not reserved.
    ArrayNotReserved(PhysRange),
}

impl fmt::Display for MemblockBroken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Form { list, flaw, index } => write!(f, "memblock.{list}[{index:#x}]: {flaw:?}"),
            Self::ArrayNotReserved(range) => write!(f, "memblock: the array at {range} is not reserved"),
        }
    }
}

/// The early allocator of one machine (Linux: `struct memblock`).
pub struct Memblock<'a> {
    memory: RegionList<'a>,
    reserved: RegionList<'a>,
    /// How to reach the memory that arrays double into; `None` until [`Self::allow_resize`].
    ram: Option<&'a dyn PhysMap>,
    /// Where such arrays may lie.
    array_window: PhysRange,
    current_limit: PhysAddr,
    direction: Direction,
    /// Any region was ever marked as mirrored.
    has_mirror: bool,
    movable_node: bool,
    debug: bool,
}

impl fmt::Debug for Memblock<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Memblock")
            .field("memory", &self.memory())
            .field("reserved", &self.reserved())
            .field("current_limit", &self.current_limit)
            .field("direction", &self.direction)
            .finish_non_exhaustive()
    }
}

/// The two lists and what holds for the whole.
impl<'a> Memblock<'a> {
    /// No memory, nothing reserved; the lists live in the two arrays, whose contents don't matter.
    #[must_use]
    pub const fn new(memory: &'a mut [Region], reserved: &'a mut [Region]) -> Self {
        Self {
            memory: RegionList::new(memory),
            reserved: RegionList::new(reserved),
            ram: None,
            array_window: PhysRange::new(PhysAddr::ZERO, PhysAddr::MAX),
            current_limit: PhysAddr::MAX,
            direction: Direction::TopDown,
            has_mirror: false,
            movable_node: false,
            debug: false,
        }
    }

    /// From now on a full array doubles out of free memory below the current limit, reached through `ram`
    /// (Linux: `memblock_allow_resize`).
    pub const fn allow_resize(&mut self, ram: &'a dyn PhysMap) {
        self.ram = Some(ram);
    }

    /// Doubled arrays lie inside `window` from now on: before all reservations are known an array could otherwise take
    /// bytes that are somebody's.
    pub const fn keep_arrays_in(&mut self, window: PhysRange) {
        self.array_window = window;
    }

    /// What exists, lowest first.
    #[must_use]
    pub fn memory(&self) -> &[Region] {
        self.memory.regions()
    }

    /// What is taken, lowest first; it need not exist.
    #[must_use]
    pub fn reserved(&self) -> &[Region] {
        self.reserved.regions()
    }

    /// Limit of allocations that name none: one past the last byte that may be given out.
    #[must_use]
    pub const fn current_limit(&self) -> PhysAddr {
        self.current_limit
    }

    /// Sets the limit of allocations that name none (Linux: `memblock_set_current_limit`).
    pub const fn set_current_limit(&mut self, limit: PhysAddr) {
        self.current_limit = limit;
    }

    /// Sets from which end allocations search.
    pub const fn set_direction(&mut self, direction: Direction) {
        self.direction = direction;
    }

    /// Keeps hot-pluggable memory out of allocations and free ranges (`movable_node`).
    pub const fn set_movable_node(&mut self, on: bool) {
        self.movable_node = on;
    }

    /// Logs every change from now on (`memblock=debug`).
    pub const fn set_debug(&mut self, on: bool) {
        self.debug = on;
    }

    /// Whether every change is logged.
    #[must_use]
    pub const fn debug(&self) -> bool {
        self.debug
    }

    /// Checks the invariants.
    ///
    /// # Errors
    /// The first one that does not hold.
    pub fn validate(&self) -> Result<(), MemblockBroken> {
        for (list, regions) in [(List::Memory, &self.memory), (List::Reserved, &self.reserved)] {
            regions.validate().map_err(|(flaw, index)| MemblockBroken::Form { list, flaw, index })?;
            if let Some(place) = regions.place()
                && !self.reserved.covers(place, |_| true)
            {
                return Err(MemblockBroken::ArrayNotReserved(place));
            }
        }
        Ok(())
    }
}

/// Questions.
impl<'a> Memblock<'a> {
    /// Bytes of RAM, no-map included (Linux: `memblock_phys_mem_size`).
    #[must_use]
    pub fn phys_mem_size(&self) -> u64 {
        self.memory.bytes()
    }

    /// Bytes taken (Linux: `memblock_reserved_size`).
    #[must_use]
    pub fn reserved_size(&self) -> u64 {
        self.reserved.bytes()
    }

    /// The lowest byte of RAM; 0 when there is none.
    #[must_use]
    pub fn start_of_dram(&self) -> PhysAddr {
        self.memory().first().map_or(PhysAddr::ZERO, |region| region.range().start)
    }

    /// One past the highest byte of RAM; 0 when there is none.
    #[must_use]
    pub fn end_of_dram(&self) -> PhysAddr {
        self.memory().last().map_or(PhysAddr::ZERO, |region| region.range().end)
    }

    /// The region of memory that holds `addr`.
    #[must_use]
    pub fn memory_at(&self, addr: PhysAddr) -> Option<&Region> {
        self.memory.at(addr)
    }

    /// Whether `addr` is RAM.
    #[must_use]
    pub fn is_memory(&self, addr: PhysAddr) -> bool {
        self.memory.at(addr).is_some()
    }

    /// Whether `addr` is RAM that may be mapped.
    #[must_use]
    pub fn is_map_memory(&self, addr: PhysAddr) -> bool {
        self.memory.at(addr).is_some_and(|region| !region.is_nomap())
    }

    /// Whether `addr` is taken.
    #[must_use]
    pub fn is_reserved(&self, addr: PhysAddr) -> bool {
        self.reserved.at(addr).is_some()
    }

    /// Whether RAM has a byte of `range` (Linux: `memblock_overlaps_region` on memory).
    #[must_use]
    pub fn overlaps_memory(&self, range: PhysRange) -> bool {
        self.memory.overlaps(range)
    }

    /// Whether a byte of `range` is taken (Linux: `memblock_is_region_reserved`).
    #[must_use]
    pub fn overlaps_reserved(&self, range: PhysRange) -> bool {
        self.reserved.overlaps(range)
    }

    /// Whether every byte of `range` is RAM (Linux: `memblock_is_region_memory`, which wants one region for all).
    #[must_use]
    pub fn contains_memory(&self, range: PhysRange) -> bool {
        self.memory.covers(range, |_| true)
    }

    /// Whether every byte of `range` is RAM that may be mapped.
    #[must_use]
    pub fn contains_map_memory(&self, range: PhysRange) -> bool {
        self.memory.covers(range, |region| !region.is_nomap())
    }

    /// The frames of the doubled arrays: reserved now, to be freed when memblock is consumed.
    pub fn retired_arrays(&self) -> impl Iterator<Item = PhysRange> + use<> {
        self.memory.place().into_iter().chain(self.reserved.place())
    }

    const fn list(&self, list: List) -> &RegionList<'a> {
        match list {
            List::Memory => &self.memory,
            List::Reserved => &self.reserved,
        }
    }

    const fn list_mut(&mut self, list: List) -> &mut RegionList<'a> {
        match list {
            List::Memory => &mut self.memory,
            List::Reserved => &mut self.reserved,
        }
    }
}
