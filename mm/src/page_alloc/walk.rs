//! The walk: from a request to the first zone that may and can serve it.
//!
//! Theory.      A node's zonelist gives the zones, best first. Each is asked whether the request may have its memory at
//!              all (highest zone, node mask, CPU set), whether a policy would rather have the next one (fair batches,
//!              dirty limits, zonelist cache), whether its watermark allows the block, and then for the block. Only
//!              what forbids counts in a walk's last pass; what merely prefers is dropped pass by pass.
//! Invariants.  1. Fair batches and the zonelist cache never make a request fail that would succeed without them. 2. A
//!              request that fails while its task's nodes were changed is tried anew.
//! Not here.    What is done when the first attempt finds nothing (`slow`).
//! Source.      Linux 4.1: `__alloc_pages_nodemask`, `get_page_from_freelist`, `first_zones_zonelist`, `gfp_zonelist`.
#![forbid(unsafe_code)]

use core::sync::atomic::Ordering::Relaxed;

use crate::addr::{NodeId, Pfn};
use crate::buddy::FreeCore;
use crate::gfp::GfpFlags;
use crate::migrate::MigrateType;
use crate::order::Order;
use crate::page_alloc::pageset::Heat;
use crate::page_alloc::policy::ZonelistCache;
use crate::page_alloc::watermark::Attempt;
use crate::page_alloc::{
    AllocError, AllocFlags, DirtyLimits, Hooks, Mark, Mems, PageAllocator, ReservePolicy, Scopes, Shortage, Zone,
    ZoneReclaimed,
};
use crate::sync::CurrentCpu;
use crate::trace::What;
use crate::vmstat::VmEvent;
use crate::zone::{NodeSet, ZoneRef, ZoneType, Zonelist};

/// A request, with its flags as they count on this machine.
#[derive(Clone, Copy, Debug)]
pub(super) struct Request {
    pub(super) gfp: GfpFlags,
    pub(super) order: Order,
    pub(super) highest: ZoneType,
    pub(super) kind: MigrateType,
}

impl Request {
    /// That nothing could be had for it.
    pub(super) fn no_memory(&self) -> AllocError {
        AllocError::NoMemory { gfp: self.gfp, order: self.order }
    }
}

/// What all attempts of a request have in common (Linux: `struct alloc_context`).
#[derive(Clone, Copy, Debug)]
pub(super) struct Walk<'a> {
    pub(super) request: Request,
    /// Whether it may wait: its flags say so, and so does the context.
    pub(super) may_wait: bool,
    pub(super) list: &'a Zonelist,
    pub(super) cache: &'a ZonelistCache,
    /// The caller's nodes.
    pub(super) nodes: Option<NodeSet>,
    /// The task's nodes.
    pub(super) mems: Mems,
    /// The first zone that may serve it: whose batch and reserves count.
    pub(super) preferred: ZoneRef,
}

/// What one attempt may do.
#[derive(Clone, Copy, Debug)]
pub(super) struct Goal {
    pub(super) mark: Mark,
    pub(super) flags: AllocFlags,
    /// The request's flags, with `HARDWALL` in the first attempt.
    pub(super) gfp: GfpFlags,
}

/// Which preferences count in a pass over the zones.
#[derive(Clone, Copy, Debug, Default)]
struct Pass {
    fair: bool,
    /// A zone was left out because it is depleted.
    skipped_depleted: bool,
    /// Full zones are looked up and remembered.
    caching: bool,
    /// That was so in this pass or in one before.
    has_cached: bool,
}

/// The first zone of a list that may serve a request (Linux: `first_zones_zonelist`).
pub(super) fn first_zone(list: &Zonelist, highest: ZoneType, nodes: NodeSet) -> Option<ZoneRef> {
    list.refs().iter().copied().find(|zone| zone.zone <= highest && nodes.contains(zone.node))
}

impl<'m, M: CurrentCpu, C: FreeCore<'m>> PageAllocator<'m, M, C> {
    /// Allocates a block by the zonelist of `node` (Linux: `alloc_pages_node`).
    ///
    /// # Errors
    /// See [`Self::alloc_pages`].
    #[inline]
    #[track_caller]
    pub fn alloc_pages_node(&self, node: NodeId, gfp: GfpFlags, order: Order) -> Result<Pfn, AllocError> {
        self.alloc_pages_nodemask(node, gfp, order, None)
    }

    /// Allocates a block by the zonelist of `node`, or with `THISNODE` from that node alone, and from `nodes` only if
    /// there are any given (Linux: `__alloc_pages_nodemask`).
    ///
    /// # Errors
    /// See [`Self::alloc_pages`].
    #[inline(never)]
    #[track_caller]
    pub fn alloc_pages_nodemask(
        &self,
        node: NodeId,
        gfp: GfpFlags,
        order: Order,
        nodes: Option<NodeSet>,
    ) -> Result<Pfn, AllocError> {
        let request = self.request(gfp, order)?;
        // Not in the trace: it changes nothing, and a replay has no such chance.
        if self.hooks().contains(Hooks::FAIL_PAGE_ALLOC) && self.should_fail(&request) {
            return Err(AllocError::Injected { gfp: request.gfp, order });
        }
        self.note(What::Request { gfp }, None, order);
        let may_wait = request.gfp.contains(GfpFlags::WAIT) && self.may_sleep(&request);
        let pfn = loop {
            let (mems, seen) = self.mems_of(self.task());
            let error = match self.alloc_once(node, request, may_wait, nodes, mems) {
                Ok(pfn) => break pfn,
                Err(error) => error,
            };
            if seen.is_none_or(|seen| !self.task().mems_changed(seen)) {
                self.note(What::Failed { gfp }, None, order);
                self.report_failure(&request, error);
                return Err(error);
            }
        };
        self.prepare_new(pfn, order, request.gfp)?;
        Ok(pfn)
    }

    /// What the flags mean on this machine.
    #[inline]
    pub(super) fn request(&self, gfp: GfpFlags, order: Order) -> Result<Request, AllocError> {
        let gfp = gfp & GfpFlags::from_bits_retain(self.allowed.load(Relaxed));
        let highest = match gfp.zone()? {
            ZoneType::Dma if !self.has_dma => ZoneType::Normal,
            zone => zone,
        };
        let kind = gfp.migrate_type()?;
        let kind = if self.grouping { kind } else { MigrateType::Unmovable };
        Ok(Request { gfp, order, highest, kind })
    }

    /// All attempts of a request, with its task's nodes as they are now.
    #[inline]
    fn alloc_once(
        &self,
        node: NodeId,
        request: Request,
        may_wait: bool,
        nodes: Option<NodeSet>,
        mems: Mems,
    ) -> Result<Pfn, AllocError> {
        let Request { gfp, order, highest, .. } = request;
        let [general, own] = &self.caches[node.index()];
        let (list, cache) = if gfp.contains(GfpFlags::THISNODE) {
            (&self.own_zonelists[node.index()], own)
        } else {
            (&self.zonelists[node.index()], general)
        };
        let preferred = first_zone(list, highest, nodes.unwrap_or(mems.own));
        let preferred = preferred.ok_or(AllocError::NoZone { node, gfp, order })?;
        let walk = Walk { request, may_wait, list, cache, nodes, mems, preferred };
        let flags = AllocFlags::first(gfp, &self.policies);
        match self.walk(&walk, &Goal { mark: Mark::Low, flags, gfp: gfp | GfpFlags::HARDWALL }) {
            Some(pfn) => Ok(pfn),
            None => self.alloc_slow(&walk),
        }
    }

    /// Tries each zone of the list that may serve the request, best first (Linux: `get_page_from_freelist`).
    pub(super) fn walk(&self, walk: &Walk<'_>, goal: &Goal) -> Option<Pfn> {
        let mut pass = Pass { fair: goal.flags.contains(AllocFlags::FAIR), ..Pass::default() };
        loop {
            let found = self.pass(walk, goal, &mut pass);
            if found.is_some() || !self.another_pass(walk, &mut pass) {
                return found;
            }
        }
    }

    /// One pass over the list.
    #[inline]
    fn pass(&self, walk: &Walk<'_>, goal: &Goal, pass: &mut Pass) -> Option<Pfn> {
        let dirty = self.dirty_limits(goal);
        let nodes = walk.nodes.unwrap_or(NodeSet::ALL);
        for (index, entry) in walk.list.refs().iter().enumerate() {
            if entry.zone > walk.request.highest || !nodes.contains(entry.node) {
                continue;
            }
            let Some(zone) = self.zone(*entry) else { continue };
            if pass.caching && walk.cache.is_full(index) {
                continue;
            }
            if goal.flags.contains(AllocFlags::CPUSET) && !walk.mems.allows(entry.node, goal.gfp) {
                continue;
            }
            if pass.fair {
                if entry.node != walk.preferred.node {
                    break;
                }
                if zone.policy.is_depleted() {
                    pass.skipped_depleted = true;
                    continue;
                }
            }
            if dirty.is_some_and(|dirty| !dirty.allows(*entry)) {
                continue;
            }
            let found = self.take(zone, walk, goal);
            let found = if found.is_some() || !self.looks_at_misses {
                found
            } else {
                self.missed(zone, index, walk, goal, pass)
            };
            if found.is_some() {
                return found;
            }
        }
        None
    }

    /// Whether there is a pass without the preferences that counted in the last one.
    fn another_pass(&self, walk: &Walk<'_>, pass: &mut Pass) -> bool {
        let (was_fair, was_caching) = (pass.fair, pass.caching);
        (pass.fair, pass.caching) = (false, false);
        if was_fair && pass.skipped_depleted {
            self.reset_batches(walk.preferred);
        }
        was_caching || was_fair && (pass.skipped_depleted || self.several_nodes)
    }

    /// The dirty limits, if they count for this attempt: the later ones would rather exceed them than reclaim.
    #[inline]
    fn dirty_limits(&self, goal: &Goal) -> Option<&'m dyn DirtyLimits> {
        let counts =
            goal.mark == Mark::Low && goal.gfp.contains(GfpFlags::WRITE) && self.hooks().contains(Hooks::DIRTY_SPREAD);
        if counts { self.services().dirty } else { None }
    }

    /// A block from one zone, if its watermark allows it (Linux: `buffered_rmqueue`).
    #[inline]
    fn take(&self, zone: &Zone<'m, C, M>, walk: &Walk<'_>, goal: &Goal) -> Option<Pfn> {
        let Request { gfp, order, kind, .. } = walk.request;
        let attempt = Attempt { mark: goal.mark, flags: goal.flags, preferred: walk.preferred.zone };
        let is_kept = self.policies.reserve == ReservePolicy::HighAtomic;
        let keeps = is_kept && order > Order::ZERO && goal.flags.contains(AllocFlags::HARDER);
        let reserved = if keeps { zone.take_reserved(order, kind, &attempt) } else { None };
        let heat = if gfp.contains(GfpFlags::COLD) { Heat::Cold } else { Heat::Hot };
        let pfn = match reserved {
            Some(pfn) => pfn,
            None => zone.alloc(order, kind, heat, &attempt).or_else(|| {
                // Who has rights gets what is kept when there is nothing else.
                let may = is_kept && goal.flags.intersects(AllocFlags::HARDER | AllocFlags::NO_WATERMARKS);
                if may { zone.take_reserved(order, kind, &attempt) } else { None }
            })?,
        };
        self.count_far(zone, walk.preferred, order);
        if self.policies.fair_zones {
            zone.policy.charge(order);
        }
        if keeps && self.grouping {
            zone.reserve_one(pfn);
        }
        if self.policies.watermark_boost > 0 {
            zone.boost_if_mixed(pfn, kind, self.policies.watermark_boost);
        }
        Some(pfn)
    }

    /// What is done about a zone that had nothing for an attempt: reclaim in it, or remember that it is full.
    #[cold]
    #[inline(never)]
    fn missed(
        &self,
        zone: &Zone<'m, C, M>,
        index: usize,
        walk: &Walk<'_>,
        goal: &Goal,
        pass: &mut Pass,
    ) -> Option<Pfn> {
        let order = walk.request.order;
        let attempt = Attempt { mark: goal.mark, flags: goal.flags, preferred: walk.preferred.zone };
        let mut is_full = true;
        if !zone.meets(order, &attempt) {
            if self.policies.zonelist_cache && self.several_nodes && !pass.has_cached {
                walk.cache.set_up();
                (pass.caching, pass.has_cached) = (true, true);
            }
            let is_known = pass.caching && walk.cache.is_full(index);
            if let Some(result) = self.reclaim_zone(zone.name(), is_known, walk) {
                let helps = matches!(result, ZoneReclaimed::Some | ZoneReclaimed::Success);
                if helps && zone.meets(order, &attempt) {
                    if let Some(pfn) = self.take(zone, walk, goal) {
                        return Some(pfn);
                    }
                } else {
                    // Between two marks a zone is not full: a later attempt with the lower one may succeed.
                    is_full = helps && (goal.mark == Mark::Min || result == ZoneReclaimed::Some);
                }
            }
        }
        if is_full && pass.caching {
            walk.cache.mark_full(index);
        }
        None
    }

    /// Reclaims in a zone, unless zone reclaim is off or the zone is too far away. `is_known`: it was full lately.
    fn reclaim_zone(&self, zone: ZoneRef, is_known: bool, walk: &Walk<'_>) -> Option<ZoneReclaimed> {
        let service = self.services().zone_reclaim.filter(|_| self.policies.zone_reclaim)?;
        if !service.allows(walk.preferred, zone) {
            return None;
        }
        if is_known || !walk.may_wait || self.task().scopes().contains(Scopes::MEMALLOC) {
            return Some(ZoneReclaimed::NotScanned);
        }
        let _scope = self.task().enter(Scopes::MEMALLOC);
        let shortage = Shortage { nodes: NodeSet::of(zone.node), highest: zone.zone, ..self.shortage(walk) };
        let result = service.reclaim(zone, &shortage, self);
        if matches!(result, ZoneReclaimed::NotScanned | ZoneReclaimed::Full) {
            self.counters.count::<M>(VmEvent::ZoneReclaimFailed, 1);
        }
        Some(result)
    }
}
