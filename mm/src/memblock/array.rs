//! Arrays of regions that lie in memblock's own memory, and how the lists double into them.
//!
//! Theory.      When an edit needs more slots than its array has, an array of at least twice the size is cut from free
//!              memory below the current limit (and inside the window that the caller may set), the regions are copied,
//!              and the new frames are reserved, which may itself need room in the reserved list: that list is then
//!              doubled first. Both places are found, and found to be mapped, before anything changes. The bytes that
//!              the edit is about are avoided: they may be about to vanish, to be unmapped, or to be taken by someone
//!              else.
//! Invariants.  The frames under a doubled array are reserved from before its first use until the hand-over.
//! Source.      Linux mm/memblock.c: memblock_double_array.

use core::mem::size_of;
use core::slice;

use super::alloc::Search;
use super::list::RegionList;
use super::region::{Attrs, Region};
use super::{List, Memblock, MemblockError};
use crate::addr::{PAGE_SIZE, PhysAddr, PhysRange};
use crate::platform::PhysMap;

/// Slots that a move to a new array may cost in the reserved list: the new frames, and the old ones cut out of the
/// middle of a region.
const SLOTS_OF_A_MOVE: usize = 2;

/// Frames in whole pages for `count` regions.
pub(super) fn array_bytes(count: usize) -> Option<u64> {
    let bytes = u64::try_from(count.checked_mul(size_of::<Region>())?).ok()?;
    bytes.checked_next_multiple_of(u64::from(PAGE_SIZE))
}

/// An array of `count` empty regions in the frames of `place`.
///
/// # Errors
/// [`MemblockError::NotMapped`] when `ram` does not reach them all, or `place` is too small or not on a page.
///
/// # Safety
/// While the array lives, nobody else may use the frames of `place`.
#[expect(clippy::mut_from_ref, reason = "the frames are reached through `ram`, they are no part of it")]
pub(super) unsafe fn new_array(
    ram: &dyn PhysMap,
    place: PhysRange,
    count: usize,
) -> Result<&mut [Region], MemblockError> {
    let unreachable = MemblockError::NotMapped(place);
    let frames = place.whole_frames();
    let needed = array_bytes(count).ok_or(unreachable)?;
    if frames.bytes() != place || place.size() < needed {
        return Err(unreachable);
    }
    let first = ram.frames_ptr(frames.start, frames.pages()).ok_or(unreachable)?.cast::<Region>();
    for index in 0..count {
        // SAFETY: index < count, and `count` regions fit in the frames that the pointer reaches (checked above).
        let slot = unsafe { first.add(index) };
        // SAFETY: the slot lies in those frames, page alignment is enough for a region, and the caller says that
        // nobody else uses them.
        unsafe { slot.write(Region::EMPTY) };
    }
    // SAFETY: all `count` regions were just written; `PhysMap` keeps the bytes valid while `ram` is borrowed; nobody
    // else uses them.
    Ok(unsafe { slice::from_raw_parts_mut(first.as_ptr(), count) })
}

/// Where an array will go: free now, and reachable.
#[derive(Clone, Copy)]
struct Plan<'a> {
    ram: &'a dyn PhysMap,
    place: PhysRange,
    capacity: usize,
}

impl<'a> Memblock<'a> {
    /// Makes sure that `list` has as many slots as `need` says, without placing an array inside `avoid`.
    pub(super) fn make_room(
        &mut self,
        list: List,
        avoid: PhysRange,
        need: impl Fn(&RegionList<'_>) -> usize,
    ) -> Result<(), MemblockError> {
        let wanted = need(self.list(list));
        if wanted <= self.list(list).capacity() {
            return Ok(());
        }
        // A move may split or merge reserved regions, so the edit can need as many slots more as a move does.
        let wanted = wanted.saturating_add(SLOTS_OF_A_MOVE);
        let first = self.plan_array(list, wanted, &[avoid])?;
        let reserved = &self.reserved;
        if list == List::Memory && reserved.capacity().saturating_sub(reserved.len()) < SLOTS_OF_A_MOVE {
            let wanted = reserved.len().saturating_add(2 * SLOTS_OF_A_MOVE);
            let second = self.plan_array(List::Reserved, wanted, &[avoid, first.place])?;
            self.adopt(List::Reserved, second)?;
        }
        self.adopt(list, first)
    }

    fn plan_array(&self, list: List, wanted: usize, avoid: &[PhysRange]) -> Result<Plan<'a>, MemblockError> {
        let current = self.list(list).capacity();
        let full = MemblockError::Full { list, capacity: current };
        let ram = self.ram.ok_or(full)?;
        let capacity = current.saturating_mul(2).max(wanted.saturating_add(SLOTS_OF_A_MOVE));
        let bytes = array_bytes(capacity).ok_or(full)?;
        let window = self.array_window.intersection(PhysRange::new(PhysAddr::ZERO, self.current_limit()));
        let search =
            Search { size: bytes, align: u64::from(PAGE_SIZE), window, node: None, mirror: false, mapped: true };
        let Some(start) = self.search(&search, avoid) else {
            log::error!("memblock: Failed to double {list} array from {current} to {capacity} entries !");
            return Err(full);
        };
        let place = PhysRange::new(start, start.saturating_add(bytes));
        let frames = place.whole_frames();
        ram.frames_ptr(frames.start, frames.pages()).ok_or(MemblockError::NotMapped(place))?;
        Ok(Plan { ram, place, capacity })
    }

    /// Moves `list` to its new array and reserves that array's frames; the reserved list has room for it.
    fn adopt(&mut self, list: List, plan: Plan<'a>) -> Result<(), MemblockError> {
        // SAFETY: the place was free a moment ago (`search`), no other array took it since (`avoid`), and it is
        // reserved below before anyone else can allocate.
        let array = unsafe { new_array(plan.ram, plan.place, plan.capacity) }?;
        self.say_doubled(list, plan.capacity, plan.place);
        let old = self.list_mut(list).move_to(array, plan.place);
        self.reserved.insert(plan.place, Attrs::default());
        if let Some(old) = old {
            self.reserved.remove(old);
        }
        Ok(())
    }
}
