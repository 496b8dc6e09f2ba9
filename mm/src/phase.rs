//! The phases of memory management as types: each consumes the one before.
//!
//! Theory.      [`EarlyMm`] has memblock only. [`PagedMm`] has memblock and the final tables. [`Mm`] has the page
//!              allocator; memblock is gone, a frozen copy of its map stays. So nothing can be allocated from the
//!              zones before the hand-over, and nothing from memblock after it: neither compiles.
//! Invariants.  An early phase is owned by the one CPU that boots: it needs no lock.
//! Not here.    What else a machine's boot does between the phases (`boot::bring_up`); [`PagedMm::start`] goes from the
//!              second to the third in one call.
//!
//! Memblock cannot be used after the hand-over:
//! ```compile_fail,E0382
//! use mm::{buddy::Classic, page_alloc::PageAllocator, phase::PagedMm, testing::{FakeRam, HostIrq}};
//! fn hand_over<'m>(mut paged: PagedMm<'m>, zones: PageAllocator<'m, HostIrq, Classic<'m>>, ram: &'m FakeRam) {
//!     let mm = paged.hand_over(zones, ram, &mut || ());
//!     paged.memblock().dump();
//! }
//! ```

mod address;
mod start;
#[cfg(test)]
mod tests;

pub use address::AddressError;
pub use start::{Setup, StartError};

use core::fmt;

use crate::addr::{PfnRange, PhysAddr, PhysRange};
use crate::buddy::{FreeCore, Tally};
use crate::layout::VirtualLayout;
use crate::memblock::{FrozenMap, Memblock, MemblockError, RangeFilter};
use crate::page_alloc::{BrokenZone, DefaultCore, HandOver, HandOverError, PageAllocator};
use crate::platform::PhysMap;
use crate::sync::CurrentCpu;

/// Memblock alone.
#[derive(Debug)]
pub struct EarlyMm<'m> {
    memblock: Memblock<'m>,
}

impl<'m> EarlyMm<'m> {
    /// The first phase, over `memblock`.
    #[must_use]
    pub const fn new(memblock: Memblock<'m>) -> Self {
        Self { memblock }
    }

    /// The early allocator.
    pub const fn memblock(&mut self) -> &mut Memblock<'m> {
        &mut self.memblock
    }

    /// The next phase: the final tables are in use, and memblock may give out all of lowmem.
    #[must_use]
    pub fn paged(mut self, layout: VirtualLayout) -> PagedMm<'m> {
        self.memblock.set_current_limit(layout.linear.phys_range().end);
        PagedMm { memblock: self.memblock, layout }
    }
}

/// Memblock and the final tables.
#[derive(Debug)]
pub struct PagedMm<'m> {
    memblock: Memblock<'m>,
    layout: VirtualLayout,
}

impl<'m> PagedMm<'m> {
    /// The early allocator.
    pub const fn memblock(&mut self) -> &mut Memblock<'m> {
        &mut self.memblock
    }

    /// The address space.
    #[must_use]
    pub const fn layout(&self) -> VirtualLayout {
        self.layout
    }

    /// The last phase: every free range of memblock, and the arrays that it grew, become the zones' of `allocator`;
    /// lowmem first. `at_highmem` is called when lowmem is handed over.
    ///
    /// # Errors
    /// [`PhaseError`].
    pub fn hand_over<M: CurrentCpu, C: FreeCore<'m>>(
        mut self,
        mut allocator: PageAllocator<'m, M, C>,
        ram: &'m dyn PhysMap,
        at_highmem: &mut dyn FnMut(),
    ) -> Result<Mm<'m, M, C>, PhaseError> {
        let frozen = self.memblock.freeze(ram)?;
        // `movable_node` kept early allocations out of memory that can be unplugged; the zones get all of it.
        self.memblock.set_movable_node(false);
        let free = || self.memblock.free_ranges(RangeFilter::ANY).map(|free| free.range());
        let lowmem = PhysRange::new(PhysAddr::ZERO, self.layout.linear.phys_range().end);
        let highmem = PhysRange::new(lowmem.end, PhysAddr::MAX);
        let low = free().map(|range| range.intersection(lowmem).whole_frames());
        let lowmem_is_done = core::iter::once_with(|| {
            at_highmem();
            PfnRange::default()
        });
        let high = free().map(|range| range.intersection(highmem).whole_frames());
        let all = low.chain(lowmem_is_done).chain(high);
        let totals = allocator.free_all(all, self.memblock.retired_arrays())?;
        Ok(Mm { allocator, frozen, layout: self.layout, totals })
    }
}

/// The page allocator; memblock is consumed.
#[derive(Debug)]
pub struct Mm<'m, M: CurrentCpu, C = DefaultCore<'m>> {
    allocator: PageAllocator<'m, M, C>,
    frozen: FrozenMap<'m>,
    layout: VirtualLayout,
    totals: HandOver,
}

impl<'m, M: CurrentCpu, C: FreeCore<'m>> Mm<'m, M, C> {
    /// The page allocator.
    #[must_use]
    pub const fn allocator(&self) -> &PageAllocator<'m, M, C> {
        &self.allocator
    }

    /// The page allocator, to give it pagesets while nobody else uses it.
    pub const fn allocator_mut(&mut self) -> &mut PageAllocator<'m, M, C> {
        &mut self.allocator
    }

    /// Memblock's two lists as they were at the hand-over: what is RAM, what was reserved.
    #[must_use]
    pub const fn frozen(&self) -> &FrozenMap<'m> {
        &self.frozen
    }

    /// The address space.
    #[must_use]
    pub const fn layout(&self) -> VirtualLayout {
        self.layout
    }

    /// What the hand-over moved.
    #[must_use]
    pub const fn totals(&self) -> HandOver {
        self.totals
    }

    /// Tests every invariant of the zones, and that their frames are the RAM of the frozen map to the page. No CPU
    /// may allocate or free meanwhile.
    ///
    /// # Errors
    /// [`BrokenMm`].
    pub fn validate(&self) -> Result<Tally, BrokenMm> {
        let tally = self.allocator.validate().map_err(BrokenMm::Zone)?;
        let ram: u64 = self.frozen.memory().iter().map(|region| u64::from(region.range().whole_frames().pages())).sum();
        let zones = self.allocator.zones().iter().map(|zone| u64::from(zone.stats().present)).sum();
        if ram == zones { Ok(tally) } else { Err(BrokenMm::Ram { ram, zones }) }
    }
}

/// A phase could not be reached.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum PhaseError {
    /// The map could not be frozen.
    Freeze(MemblockError),
    /// A free range is no memory of the zones.
    HandOver(HandOverError),
}

impl From<MemblockError> for PhaseError {
    fn from(error: MemblockError) -> Self {
        Self::Freeze(error)
    }
}

impl From<HandOverError> for PhaseError {
    fn from(error: HandOverError) -> Self {
        Self::HandOver(error)
    }
}

impl fmt::Display for PhaseError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Freeze(error) => write!(f, "hand-over: the map cannot be kept: {error}"),
            Self::HandOver(error) => write!(f, "hand-over: {error}"),
        }
    }
}

/// An invariant of [`Mm`] that does not hold.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum BrokenMm {
    /// One of a zone.
    Zone(BrokenZone),
    /// RAM does not add up, in pages.
    Ram {
        /// In the frozen map.
        ram: u64,
        /// Present in the zones.
        zones: u64,
    },
}

impl fmt::Display for BrokenMm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Zone(broken) => broken.fmt(f),
            Self::Ram { ram, zones } => write!(f, "RAM has {ram} pages, the zones {zones}"),
        }
    }
}
