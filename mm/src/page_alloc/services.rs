//! What others do for the allocator: each a small trait, installed once, used only where memory is short.
//!
//! Theory.      The allocator knows when memory is needed, not where it is. Whoever has some that can be freed, moved
//!              or written back says so by one of these traits. A service is handed the allocator as [`Pages`], so that
//!              it needs no reference of its own.
//! Invariants.  A service is called with no lock of the allocator held. One that frees or moves memory runs in
//!              [`Scopes::MEMALLOC`](super::Scopes::MEMALLOC): what it allocates may use every reserve, and never comes
//!              back to a service.
//! Not here.    Shrinkers, of which there are several (`slow::reclaim`).
//! Source.      Linux 4.1: `wakeup_kswapd`, `zone_reclaim`, `zone_dirty_ok`, `try_to_compact_pages`, `out_of_memory`.
#![forbid(unsafe_code)]

use crate::addr::Pfn;
use crate::buddy::{FreeCore, FreeError};
use crate::gfp::GfpFlags;
use crate::order::Order;
use crate::page_alloc::{AllocError, Hooks, PageAllocator, TaskContext};
use crate::platform::CrossCall;
use crate::sync::CurrentCpu;
use crate::zone::{NodeSet, ZoneRef, ZoneType};

/// The allocator as its services see it.
pub trait Pages {
    /// See [`PageAllocator::alloc_pages`].
    ///
    /// # Errors
    /// [`AllocError`]; nothing has changed.
    fn alloc_pages(&self, gfp: GfpFlags, order: Order) -> Result<Pfn, AllocError>;

    /// See [`PageAllocator::free_pages`].
    ///
    /// # Errors
    /// [`FreeError`]; nothing has changed.
    fn free_pages(&self, pfn: Pfn, order: Order) -> Result<(), FreeError>;
}

impl<'m, M: CurrentCpu, C: FreeCore<'m>> Pages for PageAllocator<'m, M, C> {
    fn alloc_pages(&self, gfp: GfpFlags, order: Order) -> Result<Pfn, AllocError> {
        PageAllocator::alloc_pages(self, gfp, order)
    }

    fn free_pages(&self, pfn: Pfn, order: Order) -> Result<(), FreeError> {
        PageAllocator::free_pages(self, pfn, order)
    }
}

/// A request that memory is short for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Shortage {
    /// Its flags: what may be done for it (`IO`, `FS`).
    pub gfp: GfpFlags,
    /// Its order.
    pub order: Order,
    /// The highest zone that would help.
    pub highest: ZoneType,
    /// The nodes that would help.
    pub nodes: NodeSet,
}

/// Reclaims in the background.
pub trait BackgroundReclaim: Sync {
    /// A zone has fallen below its low watermark: [`PageAllocator::balance_step`] should be called for its node soon,
    /// by somebody who may sleep. Context: any, also in interrupt handlers. Linux: `wakeup_kswapd`.
    fn wake(&self, zone: ZoneRef, order: Order);
}

/// Moves pages to make large blocks.
pub trait Compactor: Sync {
    /// Moves what can be moved in a zone until there is a block of the order; `true` when it moved anything, so that it
    /// is worth looking again. Linux: `compact_zone_order`.
    fn compact_zone(&self, zone: ZoneRef, shortage: &Shortage, pages: &dyn Pages) -> bool;
}

/// What reclaim in one zone came to.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ZoneReclaimed {
    /// It was not tried (Linux: `ZONE_RECLAIM_NOSCAN`).
    NotScanned,
    /// There is nothing that could be had (Linux: `ZONE_RECLAIM_FULL`).
    Full,
    /// Something, but not as much as was asked for (Linux: `ZONE_RECLAIM_SOME`).
    Some,
    /// Enough (Linux: `ZONE_RECLAIM_SUCCESS`).
    Success,
}

/// Reclaims in a zone before the walk goes on to a farther one.
pub trait ZoneReclaim: Sync {
    /// Whether `zone` is near enough to `preferred` for that (Linux: `zone_allows_reclaim`).
    fn allows(&self, preferred: ZoneRef, zone: ZoneRef) -> bool;

    /// Tries to free pages of `zone`. Linux: `zone_reclaim`.
    fn reclaim(&self, zone: ZoneRef, shortage: &Shortage, pages: &dyn Pages) -> ZoneReclaimed;
}

/// Knows how much of each zone is dirty.
pub trait DirtyLimits: Sync {
    /// Whether the zone may have one more dirty page (Linux: `zone_dirty_ok`).
    fn allows(&self, zone: ZoneRef) -> bool;
}

/// The last to be asked.
pub trait OomHandler: Sync {
    /// Frees memory at any price, ends tasks for it; `true` when memory was or will be freed. Linux: `out_of_memory`.
    fn out_of_memory(&self, shortage: &Shortage, pages: &dyn Pages) -> bool;
}

/// Every service; `None`: there is none.
#[derive(Clone, Copy, Default)]
pub struct Services<'m> {
    /// Who asks.
    pub task: Option<&'m dyn TaskContext>,
    /// Other CPUs, to drain their pagesets.
    pub cpus: Option<&'m dyn CrossCall>,
    /// Background reclaim.
    pub background: Option<&'m dyn BackgroundReclaim>,
    /// Compaction; without one the allocator asks registered owners of pages to move them.
    pub compactor: Option<&'m dyn Compactor>,
    /// Zone reclaim, with [`super::Policies::zone_reclaim`].
    pub zone_reclaim: Option<&'m dyn ZoneReclaim>,
    /// Dirty limits, with [`super::Policies::dirty_spread`].
    pub dirty: Option<&'m dyn DirtyLimits>,
    /// Out of memory.
    pub oom: Option<&'m dyn OomHandler>,
}

const NONE: Services<'static> =
    Services { task: None, cpus: None, background: None, compactor: None, zone_reclaim: None, dirty: None, oom: None };

impl core::fmt::Debug for Services<'_> {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("Services")
            .field("task", &self.task.is_some())
            .field("cpus", &self.cpus.is_some())
            .field("background", &self.background.is_some())
            .field("compactor", &self.compactor.is_some())
            .field("zone_reclaim", &self.zone_reclaim.is_some())
            .field("dirty", &self.dirty.is_some())
            .field("oom", &self.oom.is_some())
            .finish()
    }
}

impl<'m, M: CurrentCpu, C: FreeCore<'m>> PageAllocator<'m, M, C> {
    /// Installs the services, once for all; `false`, and nothing done, when there are some already.
    pub fn install_services(&self, services: Services<'m>) -> bool {
        if self.pressure.services.set(services).is_err() {
            return false;
        }
        // A pageset does not know how dirty its zone is.
        if self.policies.dirty_spread && services.dirty.is_some() {
            self.set_hooks(Hooks::DIRTY_SPREAD, true);
        }
        true
    }

    /// The services; none of any kind before they are installed.
    pub(super) fn services(&self) -> &Services<'m> {
        self.pressure.services.get().unwrap_or(&NONE)
    }
}
