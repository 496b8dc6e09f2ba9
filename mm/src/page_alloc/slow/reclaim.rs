//! Reclaim: shrinkers, asked directly by who needs memory, or step by step in the background.
//!
//! Theory.      A shrinker owns pages that it could do without. It is asked for a small share of them at first and for
//!              more each time that this was not enough, until at the end it is asked for all.
//! Invariants.  A shrinker runs in [`Scopes::MEMALLOC`] and under no lock of the allocator.
//! Source.      Linux 4.1 mm/vmscan.c: `register_shrinker`, `shrink_slab`, `do_try_to_free_pages`, `balance_pgdat`.

use crate::addr::NodeId;
use crate::buddy::FreeCore;
use crate::gfp::GfpFlags;
use crate::order::Order;
use crate::page_alloc::services::Pages;
use crate::page_alloc::walk::Walk;
use crate::page_alloc::watermark::Attempt;
use crate::page_alloc::{AllocFlags, Mark, PageAllocator, Scopes, Shortage, Zone};
use crate::sync::CurrentCpu;
use crate::vmstat::VmEvent;
use crate::zone::{NodeSet, ZoneType};

/// How many shrinkers there can be.
pub const SHRINKERS: usize = 16;
/// The first round asks for a 4,096th of what a shrinker has (Linux: `DEF_PRIORITY`).
const DEF_PRIORITY: u32 = 12;
/// Pages that a reclaim is to free at least (Linux: `SWAP_CLUSTER_MAX`).
const CLUSTER: u32 = 32;
/// What is counted as asked for and as freed.
const DIRECT: [VmEvent; 2] = [VmEvent::PgScanDirect, VmEvent::PgStealDirect];
const BACKGROUND: [VmEvent; 2] = [VmEvent::PgScanKswapd, VmEvent::PgStealKswapd];

/// Owns pages that it could do without (Linux: `struct shrinker`).
pub trait Shrinker: Sync {
    /// How many pages it could free for the shortage; 0 when it must not touch them now (no I/O allowed, a lock held).
    fn count(&self, shortage: &Shortage) -> u32;

    /// Frees up to `wanted` pages; returns how many it freed.
    fn scan(&self, shortage: &Shortage, wanted: u32, pages: &dyn Pages) -> u32;
}

/// What a step of background reclaim found.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Balance {
    /// Every zone of the node is above its high mark: sleep until woken.
    Balanced,
    /// So many pages were freed, and it is not enough yet: go on.
    Freed(u32),
    /// Nothing could be freed: sleep until woken.
    Stuck,
}

impl<'m, M: CurrentCpu, C: FreeCore<'m>> PageAllocator<'m, M, C> {
    /// Registers a shrinker; `false` when there are [`SHRINKERS`] already (Linux: `register_shrinker`).
    #[must_use]
    pub fn register_shrinker(&self, shrinker: &'m dyn Shrinker) -> bool {
        let mut slots = self.pressure.shrinkers.lock();
        let Some(slot) = slots.iter_mut().find(|slot| slot.is_none()) else { return false };
        *slot = Some(shrinker);
        true
    }

    /// Takes a shrinker out; `false` when it is not registered. A reclaim that runs meanwhile may still ask it once
    /// (Linux: `unregister_shrinker`).
    pub fn unregister_shrinker(&self, shrinker: &dyn Shrinker) -> bool {
        let mut slots = self.pressure.shrinkers.lock();
        let is_it =
            |slot: &&mut Option<&'m dyn Shrinker>| slot.is_some_and(|other| core::ptr::addr_eq(other, shrinker));
        slots.iter_mut().find(is_it).and_then(Option::take).is_some()
    }

    /// Reclaims for a request; returns the pages freed (Linux: `__perform_reclaim`).
    pub(super) fn reclaim(&self, walk: &Walk<'_>) -> u32 {
        let shortage = self.shortage(walk);
        self.counters.count::<M>(VmEvent::AllocStall, 1);
        self.shrink(&shortage, CLUSTER.max(shortage.order.pages()), DIRECT)
    }

    /// Has the shrinkers free `wanted` pages; returns how many they freed. The two events count what was asked for and
    /// what was freed (Linux: `do_try_to_free_pages`).
    fn shrink(&self, shortage: &Shortage, wanted: u32, [scanned, stolen]: [VmEvent; 2]) -> u32 {
        let shrinkers = *self.pressure.shrinkers.lock();
        let _scope = self.task().enter(Scopes::MEMALLOC);
        let mut freed = 0_u32;
        for priority in (0..=DEF_PRIORITY).rev() {
            for shrinker in shrinkers.into_iter().flatten() {
                let count = shrinker.count(shortage);
                let share = (count >> priority).max(shortage.order.pages()).min(count);
                if share > 0 {
                    let had = shrinker.scan(shortage, share, self);
                    self.counters.count::<M>(scanned, share);
                    self.counters.count::<M>(stolen, had);
                    freed = freed.saturating_add(had);
                }
            }
            if freed >= wanted {
                break;
            }
        }
        freed
    }

    /// One step of background reclaim: frees what the zones of `node` lack to their high marks, as far as it can be
    /// had. Whoever was woken calls it until it is balanced or stuck. A balanced node's raised marks come down again.
    ///
    /// Context: may sleep, no lock held. Linux: a round of `balance_pgdat`.
    pub fn balance_step(&self, node: NodeId) -> Balance {
        let mut lacking = 0_u32;
        let mut highest = ZoneType::Dma;
        let ours = || self.zones().iter().filter(|zone| zone.name().node == node);
        for zone in ours() {
            let lack = lack(zone);
            if lack > 0 {
                lacking = lacking.saturating_add(lack);
                highest = highest.max(zone.name().zone);
            }
        }
        if lacking == 0 {
            ours().for_each(Zone::end_boost);
            return Balance::Balanced;
        }
        let shortage = Shortage { gfp: GfpFlags::GFP_KERNEL, order: Order::ZERO, highest, nodes: NodeSet::of(node) };
        self.counters.count::<M>(VmEvent::PageOutRun, 1);
        match self.shrink(&shortage, lacking.max(CLUSTER), BACKGROUND) {
            0 => Balance::Stuck,
            freed => Balance::Freed(freed),
        }
    }
}

/// Pages that a zone lacks to be above its high mark.
fn lack<'m, C: FreeCore<'m>, M: CurrentCpu>(zone: &Zone<'m, C, M>) -> u32 {
    let attempt = Attempt { mark: Mark::High, flags: AllocFlags::CMA, preferred: zone.name().zone };
    if zone.managed() == 0 || zone.meets(Order::ZERO, &attempt) {
        return 0;
    }
    let floor = zone.marks().floor(&attempt);
    floor.mark.saturating_add(floor.reserve).saturating_add(1).saturating_sub(zone.stats().counts.free)
}
