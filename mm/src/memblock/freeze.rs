//! A copy of the map that outlives memblock.
//!
//! Theory.      After the hand-over someone still asks what a physical address is: `iomem`, `ioremap` (is it RAM that
//!              we map?), `pfn_valid`. Both lists are copied into frames taken from memblock itself; those stay
//!              reserved.
//! Invariants.  The copy never changes, and shows its own frames as reserved.

use super::array::{array_bytes, new_array};
use super::region::Region;
use super::{AllocRequest, Memblock, MemblockError};
use crate::addr::{PAGE_SIZE, PhysAddr, PhysRange};
use crate::platform::PhysMap;

/// Regions that reserving the copy's own frames may add: its frames, and the moves of an array that doubles for it.
const SLACK: usize = 4;

/// Both lists as they were at the hand-over.
#[derive(Clone, Copy, Debug)]
pub struct FrozenMap<'a> {
    memory: &'a [Region],
    reserved: &'a [Region],
}

impl<'a> FrozenMap<'a> {
    /// What exists, lowest first.
    #[must_use]
    pub const fn memory(&self) -> &'a [Region] {
        self.memory
    }

    /// What was taken when the copy was made, lowest first.
    #[must_use]
    pub const fn reserved(&self) -> &'a [Region] {
        self.reserved
    }

    /// Whether `addr` is RAM.
    #[must_use]
    pub fn is_memory(&self, addr: PhysAddr) -> bool {
        region_at(self.memory, addr).is_some()
    }

    /// Whether `addr` is RAM that may be mapped.
    #[must_use]
    pub fn is_map_memory(&self, addr: PhysAddr) -> bool {
        region_at(self.memory, addr).is_some_and(|region| !region.is_nomap())
    }

    /// Whether `addr` was taken when the copy was made.
    #[must_use]
    pub fn is_reserved(&self, addr: PhysAddr) -> bool {
        region_at(self.reserved, addr).is_some()
    }
}

fn region_at(regions: &[Region], addr: PhysAddr) -> Option<&Region> {
    let at = regions.partition_point(|region| region.range().end <= addr);
    regions.get(at).filter(|region| region.range().contains(addr))
}

impl<'a> Memblock<'a> {
    /// Copies both lists into frames of their own, which stay reserved for good.
    ///
    /// # Errors
    /// [`MemblockError::OutOfMemory`], or [`MemblockError::NotMapped`] when `ram` does not reach the frames.
    #[track_caller]
    pub fn freeze(&mut self, ram: &'a dyn PhysMap) -> Result<FrozenMap<'a>, MemblockError> {
        let count = self.memory().len().saturating_add(self.reserved().len()).saturating_add(SLACK);
        let align = u64::from(PAGE_SIZE);
        let size = array_bytes(count).ok_or(MemblockError::OutOfMemory { size: u64::MAX, align })?;
        let start = self.alloc(&AllocRequest::new(size, align))?;
        let place = PhysRange::new(start, start.saturating_add(size));
        // SAFETY: the frames were just taken from memblock and are never given back.
        let copy = unsafe { new_array(ram, place, count) };
        self.copy_lists(copy).ok_or(MemblockError::NotMapped(place)).or_else(|error| {
            self.free(place)?;
            Err(error)
        })
    }

    fn copy_lists(&self, copy: Result<&'a mut [Region], MemblockError>) -> Option<FrozenMap<'a>> {
        let (memory, rest) = copy.ok()?.split_at_mut_checked(self.memory().len())?;
        let reserved = rest.get_mut(..self.reserved().len())?;
        memory.copy_from_slice(self.memory());
        reserved.copy_from_slice(self.reserved());
        Some(FrozenMap { memory, reserved })
    }
}
