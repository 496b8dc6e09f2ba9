//! Changes to the two lists: add, remove, reserve, free, marks, limits.
//!
//! Theory.      Every change first makes room for the slots that it needs ([`Memblock::make_room`] may double the
//!              array) and then edits the list, which cannot fail any more.
//! Source.      Linux mm/memblock.c: memblock_add_node, memblock_remove, memblock_reserve, memblock_phys_free,
//!              memblock_setclr_flag, memblock_set_node, memblock_cap_memory_range, memblock_enforce_memory_limit.
#![forbid(unsafe_code)]

use super::region::{Attrs, RegionFlags};
use super::{List, Memblock, MemblockError};
use crate::addr::{NodeId, PhysAddr, PhysRange};

/// Changes. An empty range changes nothing; a range may reach over gaps and over region borders.
impl Memblock<'_> {
    /// Adds RAM of node 0; what exists already keeps its attributes.
    ///
    /// # Errors
    /// [`MemblockError::Full`], [`MemblockError::NotMapped`] when the array must grow and can't.
    #[track_caller]
    pub fn add(&mut self, range: PhysRange) -> Result<(), MemblockError> {
        self.say_range("memblock_add", range);
        self.insert(List::Memory, range, Attrs::default())
    }

    /// Adds RAM of `node` with `flags`; what exists already keeps its attributes.
    ///
    /// # Errors
    /// As [`Self::add`].
    #[track_caller]
    pub fn add_node(&mut self, range: PhysRange, node: NodeId, flags: RegionFlags) -> Result<(), MemblockError> {
        self.say_add_node(range, node, flags);
        self.insert(List::Memory, range, Attrs { flags, node })?;
        self.has_mirror |= flags.contains(RegionFlags::MIRROR) && !range.is_empty();
        Ok(())
    }

    /// Takes RAM out of the map, as if it never was; reservations stay.
    ///
    /// # Errors
    /// As [`Self::add`]: a region that is cut in two needs a slot more.
    #[track_caller]
    pub fn remove(&mut self, range: PhysRange) -> Result<(), MemblockError> {
        self.say_range("memblock_remove", range);
        self.take_out(List::Memory, range)
    }

    /// Marks bytes as taken, whether they exist, are taken already, or not.
    ///
    /// # Errors
    /// As [`Self::add`].
    #[track_caller]
    pub fn reserve(&mut self, range: PhysRange) -> Result<(), MemblockError> {
        self.say_range("memblock_reserve", range);
        self.insert(List::Reserved, range, Attrs::default())
    }

    /// Marks bytes as not taken (Linux: `memblock_phys_free`).
    ///
    /// # Errors
    /// As [`Self::add`]: a region that is cut in two needs a slot more.
    #[track_caller]
    pub fn free(&mut self, range: PhysRange) -> Result<(), MemblockError> {
        self.say_range("memblock_phys_free", range);
        self.take_out(List::Reserved, range)
    }

    /// RAM in `range` stays out of the linear mapping and is never given out.
    ///
    /// # Errors
    /// As [`Self::add`], for this and the other marks.
    pub fn mark_nomap(&mut self, range: PhysRange) -> Result<(), MemblockError> {
        self.mark(range, RegionFlags::NOMAP, true)
    }

    /// Takes [`Self::mark_nomap`] back.
    ///
    /// # Errors
    /// As [`Self::add`].
    pub fn clear_nomap(&mut self, range: PhysRange) -> Result<(), MemblockError> {
        self.mark(range, RegionFlags::NOMAP, false)
    }

    /// RAM in `range` may be unplugged.
    ///
    /// # Errors
    /// As [`Self::add`].
    pub fn mark_hotplug(&mut self, range: PhysRange) -> Result<(), MemblockError> {
        self.mark(range, RegionFlags::HOTPLUG, true)
    }

    /// Takes [`Self::mark_hotplug`] back.
    ///
    /// # Errors
    /// As [`Self::add`].
    pub fn clear_hotplug(&mut self, range: PhysRange) -> Result<(), MemblockError> {
        self.mark(range, RegionFlags::HOTPLUG, false)
    }

    /// RAM in `range` is mirrored; from now on allocations prefer such memory.
    ///
    /// # Errors
    /// As [`Self::add`].
    pub fn mark_mirror(&mut self, range: PhysRange) -> Result<(), MemblockError> {
        self.mark(range, RegionFlags::MIRROR, true)?;
        self.has_mirror = true;
        Ok(())
    }

    /// RAM in `range` belongs to `node`; regions are split at the range's edges (Linux: `memblock_set_node`).
    ///
    /// # Errors
    /// As [`Self::add`].
    pub fn set_node(&mut self, range: PhysRange, node: NodeId) -> Result<(), MemblockError> {
        self.update_memory(range, |attrs| Attrs { node, ..attrs })
    }

    /// Cuts every region of memory to multiples of `align`, a power of two in bytes (Linux: `memblock_trim_memory`).
    ///
    /// # Errors
    /// [`MemblockError::BadAlign`].
    pub fn trim_memory(&mut self, align: u64) -> Result<(), MemblockError> {
        if !align.is_power_of_two() {
            return Err(MemblockError::BadAlign(align));
        }
        self.memory.trim(align);
        Ok(())
    }

    /// Leaves only `range`: of other RAM only what is no-map stays, and no reservation (Linux:
    /// `memblock_cap_memory_range`). An empty range changes nothing.
    pub fn cap_memory_range(&mut self, range: PhysRange) {
        if range.is_empty() {
            return;
        }
        let below = PhysRange::new(PhysAddr::ZERO, range.start);
        let above = PhysRange::new(range.end, PhysAddr::MAX);
        for outside in [above, below] {
            self.drop_mapped(outside);
            self.reserved.remove(outside);
        }
    }

    /// Leaves the lowest `bytes` of memory, and nothing reserved above (Linux: `memblock_enforce_memory_limit`).
    /// With less memory than that nothing changes.
    pub fn enforce_memory_limit(&mut self, bytes: u64) {
        let mut left = bytes;
        let limit = self.memory().iter().find_map(|region| {
            let fits = left <= region.range().size();
            let end = region.range().start.saturating_add(left);
            left = left.saturating_sub(region.range().size());
            fits.then_some(end)
        });
        if let Some(limit) = limit {
            // Nothing lies above the range, so no region is cut in two and no slot is needed.
            let above = PhysRange::new(limit, PhysAddr::MAX);
            self.memory.remove(above);
            self.reserved.remove(above);
        }
    }

    /// Takes what may be mapped in `range` out of memory. Each of those regions is cut at an end, never in the middle,
    /// because `range` reaches to one end of the address space.
    fn drop_mapped(&mut self, range: PhysRange) {
        let mut cursor = range.start;
        while let Some(region) =
            self.memory().iter().find(|region| !region.is_nomap() && region.range().end > cursor).copied()
            && region.range().start < range.end
        {
            cursor = region.range().end;
            self.memory.remove(region.range().intersection(range));
        }
    }

    fn mark(&mut self, range: PhysRange, flag: RegionFlags, on: bool) -> Result<(), MemblockError> {
        self.update_memory(range, |attrs| {
            let mut flags = attrs.flags;
            flags.set(flag, on);
            Attrs { flags, ..attrs }
        })
    }

    fn update_memory(&mut self, range: PhysRange, change: impl Fn(Attrs) -> Attrs) -> Result<(), MemblockError> {
        if range.is_empty() {
            return Ok(());
        }
        self.make_room(List::Memory, range, |list| list.slots_for_update(range, &change))?;
        self.memory.update(range, change);
        Ok(())
    }

    fn insert(&mut self, list: List, range: PhysRange, attrs: Attrs) -> Result<(), MemblockError> {
        if range.is_empty() {
            return Ok(());
        }
        self.make_room(list, range, |list| list.slots_for_insert(range, attrs))?;
        self.list_mut(list).insert(range, attrs);
        Ok(())
    }

    fn take_out(&mut self, list: List, range: PhysRange) -> Result<(), MemblockError> {
        if range.is_empty() {
            return Ok(());
        }
        self.make_room(list, range, |list| list.slots_for_remove(range))?;
        self.list_mut(list).remove(range);
        Ok(())
    }
}
