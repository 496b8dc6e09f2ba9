//! The page allocator: zones, the walk over them, pagesets, and the hand-over from memblock.
//!
//! Theory.      A request names a highest zone and a migrate type. The zonelist of a node gives the zones to try, best
//!              first; each is asked whether its watermark allows the block, then for the block itself. Single pages
//!              come from the CPU's pageset without a lock. The first walk respects the low watermark (`walk`), those
//!              after it the min watermark less what the flags allow, and memory is freed between them (`slow`).
//! Invariants.  1. present = reserved + managed, managed = free + isolated + guard + allocated + in pagesets, in each
//!              zone. 2. A free is one compare-and-swap of the head's state: of two that race, one is refused. 3. On
//!              `Err` nothing has changed. 4. Zone locks are leaves: nothing else is locked under one.
//! Not here.    Who has memory that could be freed (`services`, shrinkers); which zones there are (`zone`).
//! Source.      Linux 4.1: `alloc_pages`, `buffered_rmqueue`, `__free_pages`.

mod bad_page;
mod bulk;
mod cma;
mod compaction;
mod compound;
mod contig;
mod counters;
mod error;
mod failure;
mod fault_inject;
mod free;
mod hand_over;
mod hooks;
mod isolate;
mod many;
mod movable;
mod node;
mod owned;
mod owner;
mod pageset;
mod policy;
mod resize;
mod route;
mod services;
mod setup;
mod slow;
mod stock;
mod task;
mod tune;
mod walk;
mod watch;
mod watermark;
mod zero;
mod zone;

#[cfg(test)]
pub(crate) mod tests;

pub use bad_page::PageDump;
pub use cma::{CmaArea, CmaError};
pub use compaction::{CompactOutcome, CompactStep};
pub use compound::{CompoundDtor, DtorId};
pub use contig::ContigError;
pub use counters::NumaStats;
pub use error::{AllocError, BrokenZone, HandOverError, SetupError};
pub use failure::GfpNames;
pub use fault_inject::FailPageAlloc;
pub use hand_over::HandOver;
pub use hooks::{Hooks, PAGE_POISON};
pub use isolate::IsolateError;
pub use movable::{MAX_OWNERS, MigrationOps, MoveError, OwnerId, Pinned};
pub use node::NodeStats;
pub use owned::{OwnedBatch, OwnedPages, OwnedRange, SharedPages};
pub use owner::{FreeRecord, OwnerRecord, PageOwner, PageOwnerInfo};
pub use pageset::{PAGESET_ORDER, Pageset, PagesetSize, RING_SLOTS};
pub use policy::{Policies, ReservePolicy};
pub use resize::{MIN_PAGELIST_FRACTION, ResizeError};
pub use services::{
    BackgroundReclaim, Compactor, DirtyLimits, OomHandler, Pages, Services, Shortage, ZoneReclaim, ZoneReclaimed,
};
pub use setup::{Needs, Options, Storage, frame_runs};
pub use slow::{Balance, SHRINKERS, Shrinker};
pub use task::{Mems, Scopes, Task, TaskContext, TaskScope};
pub use watch::{PageMapping, ShadowChecker};
pub use watermark::{AllocFlags, Mark, Watermarks};
pub use zone::{Traffic, Zone, ZoneStats};

use core::sync::atomic::AtomicU32;
use core::sync::atomic::Ordering::Relaxed;

use crate::addr::{NodeId, Pfn};
use crate::buddy::{FreeCore, Tally};
use crate::gfp::GfpFlags;
use crate::memmap::{MemMap, ZoneTag};
use crate::order::Order;
use crate::page_alloc::policy::ZonelistCache;
use crate::page_alloc::route::{LANES, Routes};
use crate::page_alloc::slow::Pressure;
use crate::platform::PhysMap;
use crate::sync::CurrentCpu;
use crate::vmstat::Counters;
use crate::zone::{ZoneRef, Zonelist};

/// The free-list core that the build chose: the classic one, or with feature `core_compact` the compact one.
#[cfg(not(feature = "core_compact"))]
pub type DefaultCore<'m> = crate::buddy::Classic<'m>;
/// The free-list core that the build chose: the compact one.
#[cfg(feature = "core_compact")]
pub type DefaultCore<'m> = crate::buddy::Compact<'m>;

/// Every zone of the machine, and how to allocate from them.
//
// In this order: the first CPU's hits look at the first two, where the shortest accesses reach, and at `routes`.
#[repr(C)]
pub struct PageAllocator<'m, M: CurrentCpu, C = DefaultCore<'m>> {
    /// The first CPU's pageset of each lane: where there is no other CPU, nothing is asked but whether there is this
    /// one.
    first_lanes: [Option<&'m Pageset<'m>>; LANES],
    map: MemMap<'m>,
    /// All CPUs' pagesets of each lane.
    lanes: [&'m [Pageset<'m>]; LANES],
    zones: &'m mut [Zone<'m, C, M>],
    /// Index into `zones` by [`ZoneTag::index`]; out of range for zones that are not there.
    by_tag: [u8; ZoneTag::COUNT],
    /// By node.
    zonelists: [Zonelist; NodeId::MAX_NODES],
    /// By node: its own zones only, for `THISNODE`.
    own_zonelists: [Zonelist; NodeId::MAX_NODES],
    /// By node: of its zonelist, and of its own zones'.
    caches: [[ZonelistCache; 2]; NodeId::MAX_NODES],
    /// The node whose zonelist serves requests that name none.
    local: NodeId,
    /// Where such requests for single pages go first.
    routes: Routes,
    /// Whether there is a DMA zone: without one all of lowmem serves.
    has_dma: bool,
    /// Whether migrate types are kept apart.
    grouping: bool,
    /// Whether zones are of more than one node.
    several_nodes: bool,
    policies: Policies,
    /// Whether a policy wants to know of zones that had nothing.
    looks_at_misses: bool,
    pressure: Pressure<'m, M>,
    counters: Counters<'m>,
    allowed: AtomicU32,
    /// [`Hooks`]: while there are any, no request is served by a hit.
    hooks: AtomicU32,
    ram: Option<&'m (dyn PhysMap + Sync)>,
    /// What follows pages besides.
    watch: watch::Watch<'m>,
}

impl<'m, M: CurrentCpu, C: FreeCore<'m>> PageAllocator<'m, M, C> {
    /// Allocates a block of `order` for the local node; its bytes are whatever was there, unless `gfp` says `ZERO`.
    ///
    /// Context: any; under locks and in interrupt handlers only with `GFP_ATOMIC`. Linux: `alloc_pages`.
    ///
    /// # Errors
    /// [`AllocError`]; nothing has changed.
    #[inline]
    #[track_caller]
    pub fn alloc_pages(&self, gfp: GfpFlags, order: Order) -> Result<Pfn, AllocError> {
        match self.alloc_hit(gfp, order) {
            Some(pfn) => Ok(pfn),
            None => self.alloc_missed(gfp, order),
        }
    }

    /// Allocates a block that is in no pageset: from the preferred zone if that has plenty, else the long way.
    #[cold]
    #[inline(never)]
    #[track_caller]
    fn alloc_missed(&self, gfp: GfpFlags, order: Order) -> Result<Pfn, AllocError> {
        match self.alloc_easy(gfp, order) {
            Some(pfn) => Ok(pfn),
            None => self.alloc_pages_node(self.local, gfp, order),
        }
    }

    /// Allocates one page (Linux: `alloc_page`).
    ///
    /// # Errors
    /// See [`Self::alloc_pages`].
    #[inline]
    #[track_caller]
    pub fn alloc_page(&self, gfp: GfpFlags) -> Result<Pfn, AllocError> {
        self.alloc_pages(gfp, Order::ZERO)
    }

    /// Lets, of the flags that allow to wait, only those in `allowed` count from now on: [`GfpFlags::BOOT_MASK`] until
    /// interrupts can be taken, all of them after; the other flags count always (Linux: `gfp_allowed_mask`).
    pub fn set_allowed_flags(&self, allowed: GfpFlags) {
        let context = GfpFlags::GFP_KERNEL;
        self.allowed.store((allowed | !context).bits(), Relaxed);
    }

    /// The memory map.
    #[must_use]
    pub fn map(&self) -> MemMap<'m> {
        self.map
    }

    /// Every zone that exists, by node and type.
    #[must_use]
    pub fn zones(&self) -> &[Zone<'m, C, M>] {
        self.zones
    }

    /// A zone; `None` when the machine has none such.
    #[must_use]
    #[inline]
    pub fn zone(&self, zone: ZoneRef) -> Option<&Zone<'m, C, M>> {
        self.zone_tagged(ZoneTag::from(zone))
    }

    #[inline]
    fn zone_tagged(&self, tag: ZoneTag) -> Option<&Zone<'m, C, M>> {
        self.zones.get(usize::from(self.by_tag[tag.index()]))
    }

    /// Whether pages of different migrate types are kept apart (Linux: `page_group_by_mobility_disabled`, inverted).
    #[must_use]
    pub fn grouping(&self) -> bool {
        self.grouping
    }

    /// Which policies are on.
    #[must_use]
    pub fn policies(&self) -> &Policies {
        &self.policies
    }

    /// Sets a zone's watermarks; `false` when there is no such zone.
    pub fn set_watermarks(&self, zone: ZoneRef, marks: &Watermarks) -> bool {
        let Some(found) = self.zone(zone) else { return false };
        found.set_marks(marks);
        self.marks_were_set(zone);
        true
    }

    /// Tests every invariant of every zone and returns the sum of their pages. No CPU may allocate or free meanwhile.
    ///
    /// # Errors
    /// The first broken invariant, and its zone.
    pub fn validate(&self) -> Result<Tally, BrokenZone> {
        let mut sum = Tally::default();
        for zone in self.zones.iter() {
            let tally = zone.validate().map_err(|broken| BrokenZone { zone: zone.name(), broken })?;
            sum.free += tally.free;
            sum.cma += tally.cma;
            sum.isolated += tally.isolated;
            sum.guard += tally.guard;
            sum.pageset += tally.pageset;
            sum.allocated += tally.allocated;
            sum.reserved += tally.reserved;
        }
        Ok(sum)
    }
}

impl<M: CurrentCpu, C> core::fmt::Debug for PageAllocator<'_, M, C> {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("PageAllocator")
            .field("map", &self.map)
            .field("zones", &self.zones.len())
            .finish_non_exhaustive()
    }
}
