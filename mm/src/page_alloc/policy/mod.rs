//! Policies of the walk over the zones: which there are, and what each zone remembers for them.
//!
//! Theory.      A policy chooses between zones that could all serve a request, or keeps memory back for requests that
//!              could not be served later. Those that must see every allocation set a bit in [`Hooks`], which closes
//!              the way to the hits; the others are asked only on the long way. So none costs a hit anything while it
//!              is off.
//! Not here.    Watermarks and lowmem reserves, which are always on (`watermark`).
//! Source.      Linux 4.1: `get_page_from_freelist`, `setup_zone_migrate_reserve`, `reset_alloc_batches`, `zlc_setup`;
//!              Linux 4.4: `reserve_highatomic_pageblock`; Linux 5.0: `boost_watermark`.
#![forbid(unsafe_code)]

mod boost;
mod cpuset;
mod fair;
mod reserve;
mod zonelist_cache;

pub(super) use zonelist_cache::ZonelistCache;

use core::sync::atomic::{AtomicI32, AtomicU32};

use crate::page_alloc::Hooks;

/// Which pageblocks are kept for requests that nothing else can serve.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum ReservePolicy {
    /// None.
    Off,
    /// As many as the `min` mark is large, at most two a zone, from the start; the last resort of every request
    /// (Linux 4.1: `setup_zone_migrate_reserve`).
    Blocks,
    /// The pageblock of each block of order 1 or more that was found for a request that cannot wait, up to one in a
    /// hundred; for such requests alone, and given back before memory is said to be out (Linux 4.4:
    /// `reserve_highatomic_pageblock`). The default: it holds nothing back until somebody needs it, and what it holds
    /// is not eaten by single pages, as the reserve of [`Self::Blocks`] is.
    #[default]
    HighAtomic,
}

/// Which policies are on; fixed at boot.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Policies {
    /// Spread allocations over the zones of the local node in proportion to their sizes, so that pages age alike
    /// (Linux 3.12: `ALLOC_FAIR`). Off: every allocation must be counted, so there are no hits while it is on, and
    /// Linux dropped it in 4.8, when it began to reclaim by node.
    pub fair_zones: bool,
    /// Remember for a while which zones of several nodes were full (Linux: `CONFIG_NUMA`, `struct zonelist_cache`).
    /// Off: a walk over at most 16 zones costs little more than the look at the cache; Linux dropped it in 4.4.
    pub zonelist_cache: bool,
    /// Reclaim in near zones before going on to far ones (Linux: `vm.zone_reclaim_mode`). Off as in Linux: free memory
    /// on another node is mostly better than reclaim on this one.
    pub zone_reclaim: bool,
    /// Keep pages that will be dirtied out of zones that have their share of dirty pages. On; it does nothing until a
    /// [`DirtyLimits`](super::DirtyLimits) is installed, and there are no hits from then on.
    pub dirty_spread: bool,
    /// Report every sleeping request in atomic context, not only those that would really wait (Linux:
    /// `CONFIG_DEBUG_ATOMIC_SLEEP`). Off: hits would have to be looked at.
    pub check_context: bool,
    /// Pageblocks kept back.
    pub reserve: ReservePolicy,
    /// When a request had to go into a pageblock of another type, raise the zone's `low` and `high` marks, so that
    /// reclaim makes room: up to this many 1/10,000 of `high` (Linux 5.0: `watermark_boost_factor`, 15,000). 0 is off,
    /// the default: without background reclaim nobody lowers them again.
    pub watermark_boost: u32,
    /// How much background compaction does at first, in percent (Linux 5.9: `vm.compaction_proactiveness`, 20): a run
    /// ends when so much of a zone's free memory lies in blocks of 2 MiB and more, and begins at ten less. Below 10
    /// none begins. It costs nothing until somebody calls
    /// [`PageAllocator::compact_step`](super::PageAllocator::compact_step).
    pub compaction_proactiveness: u32,
}

impl Default for Policies {
    fn default() -> Self {
        Self::new()
    }
}

impl Policies {
    /// The defaults.
    #[must_use]
    pub const fn new() -> Self {
        Self {
            fair_zones: false,
            zonelist_cache: false,
            zone_reclaim: false,
            dirty_spread: true,
            check_context: false,
            reserve: ReservePolicy::HighAtomic,
            watermark_boost: 0,
            compaction_proactiveness: 20,
        }
    }

    /// What must see every allocation from the start.
    pub(super) fn hooks(&self) -> Hooks {
        let mut hooks = Hooks::empty();
        hooks.set(Hooks::FAIR_ZONES, self.fair_zones);
        hooks.set(Hooks::CHECK_CONTEXT, self.check_context);
        hooks
    }
}

/// What a zone remembers for the policies.
#[derive(Debug, Default)]
pub(super) struct ZonePolicy {
    /// Pages that may still be taken from it before it is another zone's turn (Linux: `NR_ALLOC_BATCH`).
    batch: AtomicI32,
    /// Pages in pageblocks that are kept back (Linux: `nr_reserved_highatomic`, `nr_migrate_reserve_block`).
    reserved: AtomicU32,
}
