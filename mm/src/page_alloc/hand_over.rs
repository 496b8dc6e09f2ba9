//! The hand-over: memblock's free memory becomes the allocator's.
//!
//! Theory.      Every frame is reserved in a new memory map. Each free range is cut into its largest aligned blocks,
//!              and each block costs one store to its head's state and one list insertion; what is in no free range
//!              stays reserved without being touched. Contiguous-memory areas follow later, pageblock by pageblock.
//! Source.      Linux: `memblock_free_all`, `free_low_memory_core_early`, `__free_pages_memory`,
//!              `init_cma_reserved_pageblock`.
#![forbid(unsafe_code)]

use crate::addr::{Pfn, PfnRange, PhysRange};
use crate::buddy::FreeCore;
use crate::memmap::{PageState, StateWord};
use crate::migrate::{MigrateType, PAGEBLOCK_ORDER};
use crate::order::Order;
use crate::page_alloc::{HandOverError, PageAllocator};
use crate::sync::CurrentCpu;
use crate::zone::ZoneType;

/// What a hand-over moved, in pages.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct HandOver {
    /// Now managed: free ranges and retired arrays.
    pub managed: u32,
    /// The part of `managed` that lies in `HighMem` (Linux: `totalhigh_pages`).
    pub highmem: u32,
    /// The part of `managed` that memblock's own arrays were in.
    pub retired: u32,
    /// Blocks that were freed.
    pub blocks: u32,
}

impl<'m, M: CurrentCpu, C: FreeCore<'m>> PageAllocator<'m, M, C> {
    /// Frees every range of `free` (lowest first, so that highmem comes last) and of `retired`, the places of
    /// memblock's grown arrays. What was handed over before stays so.
    ///
    /// Cost: a few instructions a page at most; nothing is done for reserved frames. Linux: `memblock_free_all`.
    ///
    /// # Errors
    /// [`HandOverError`] for frames that are not reserved memory; what came before is handed over.
    pub fn free_all(
        &mut self,
        free: impl IntoIterator<Item = PfnRange>,
        retired: impl IntoIterator<Item = PhysRange>,
    ) -> Result<HandOver, HandOverError> {
        let mut done = HandOver::default();
        for range in free {
            self.free_range(range, &mut done)?;
        }
        let before = done.managed;
        for range in retired {
            self.free_range(range.whole_frames(), &mut done)?;
        }
        done.retired = done.managed - before;
        self.build_routes();
        Ok(done)
    }

    /// Frees memory that was kept for someone who turned out not to need it (Linux: `free_reserved_area`).
    ///
    /// # Errors
    /// [`HandOverError::NotReserved`] with the first frame that is not reserved memory; nothing has changed.
    pub fn free_reserved(&mut self, range: PfnRange) -> Result<HandOver, HandOverError> {
        if let Some(taken) = range.iter().find(|pfn| self.map.state(*pfn) != Some(PageState::Reserved)) {
            return Err(HandOverError::NotReserved(taken));
        }
        let mut done = HandOver::default();
        self.free_range(range, &mut done)?;
        self.build_routes();
        Ok(done)
    }

    /// Frees a range, zone by zone.
    fn free_range(&mut self, range: PfnRange, done: &mut HandOver) -> Result<(), HandOverError> {
        let mut next = range.start;
        while next < range.end {
            let page = self.map.page(next).ok_or(HandOverError::NotReserved(next))?;
            let index = usize::from(self.by_tag[page.zone().index()]);
            let zone = self.zones.get_mut(index).ok_or(HandOverError::NotReserved(next))?;
            let is_high = zone.tag().zone() == ZoneType::HighMem;
            let end = zone.frames.span.end.min(range.end);
            let before = done.managed;
            while let Some(order) = Order::largest_at(next, end.pages_since(next)) {
                let last = Pfn::new(next.raw() | (order.pages() - 1));
                let fresh = |pfn| self.map.state(pfn) == Some(PageState::Reserved);
                if !fresh(next) || !fresh(last) {
                    return Err(HandOverError::NotReserved(next));
                }
                zone.hand_over(next, order)?;
                done.managed += order.pages();
                done.blocks += 1;
                next = last.checked_add(1).unwrap_or(range.end);
            }
            if done.managed == before {
                return Err(HandOverError::NotReserved(next));
            }
            done.highmem += if is_high { done.managed - before } else { 0 };
        }
        Ok(())
    }

    /// Lends a contiguous-memory area, still reserved, to movable allocations: its pageblocks become CMA and free.
    ///
    /// Linux: `init_cma_reserved_pageblock` for each pageblock of the area.
    ///
    /// # Errors
    /// [`HandOverError::NotPageblocks`], or [`HandOverError::NotReserved`] with the first frame that is not reserved
    /// memory of the area's zone. Nothing has changed.
    pub fn release_cma(&self, area: PfnRange) -> Result<(), HandOverError> {
        if area.is_empty() || !PAGEBLOCK_ORDER.aligns(area.start) || !PAGEBLOCK_ORDER.aligns(area.end) {
            return Err(HandOverError::NotPageblocks(area));
        }
        let first = self.map.page(area.start).ok_or(HandOverError::NotReserved(area.start))?;
        let zone = self.zone_tagged(first.zone()).ok_or(HandOverError::NotReserved(area.start))?;
        // The area is whole largest blocks: a frame in it that heads nothing can only be the tail of a head in it.
        let fresh = |pfn: &Pfn| {
            self.map.page(*pfn).is_some_and(|page| page.word() == StateWord::INSIDE && page.zone() == zone.tag())
        };
        if let Some(taken) = area.iter().find(|pfn| !fresh(pfn)) {
            return Err(HandOverError::NotReserved(taken));
        }
        for block in area.iter().step_by(PAGEBLOCK_ORDER.pages() as usize) {
            zone.change_type(block, |_| Some(MigrateType::Cma));
            zone.with_core(|core| core.give(block, PAGEBLOCK_ORDER))?;
            zone.add_cma(PAGEBLOCK_ORDER.pages());
        }
        Ok(())
    }
}
