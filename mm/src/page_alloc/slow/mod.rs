//! What is done when the first attempt found nothing: wake who reclaims, use rights, drain, compact, reclaim, give up.
//!
//! Theory.      A round goes down a ladder. Background reclaim is woken. The `min` mark counts instead of the `low`
//!              one, less what the flags and the task's scopes allow, down to no mark at all. Who cannot wait stops
//!              there. The others compact, reclaim and drain all CPUs' pagesets, look again after each, and start the
//!              next round when that freed something. When it did not, kept pageblocks are given up, and at last the
//!              out-of-memory handler is asked.
//! Invariants.  1. Who is in [`Scopes::MEMALLOC`] never reclaims: no service is entered twice by one task. 2. Every
//!              request ends: a round follows only when something was freed, and at most [`ROUNDS`] times in vain, but
//!              for `NOFAIL`, which goes on as long as a service says that it frees memory. When all of them say that
//!              there is nothing, `NOFAIL` fails too, as [`AllocError::MustNotFail`]: with nobody left who could free
//!              a page, trying on would hang the caller for ever (Linux does, or panics).
//! Source.      Linux 4.1: `__alloc_pages_slowpath`, `gfp_to_alloc_flags`, `should_alloc_retry`,
//!              `__alloc_pages_may_oom`, `__alloc_pages_high_priority`; Linux 4.7: `MAX_RECLAIM_RETRIES`.
#![forbid(unsafe_code)]

mod drain;
mod reclaim;

pub use reclaim::{Balance, SHRINKERS, Shrinker};

use crate::addr::Pfn;
use crate::buddy::FreeCore;
use crate::gfp::GfpFlags;
use crate::order::Order;
use crate::page_alloc::failure::RateLimit;
use crate::page_alloc::fault_inject::FaultInjection;
use crate::page_alloc::services::Services;
use crate::page_alloc::walk::{Goal, Walk, first_zone};
use crate::page_alloc::watermark::Attempt;
use crate::page_alloc::{AllocError, AllocFlags, CompactOutcome, Mark, PageAllocator, Scopes, Shortage, Task};
use crate::sync::{CurrentCpu, InitOnce, IrqLock, LockRank, TaskLock};
use crate::vmstat::VmEvent;
use crate::zone::{NodeSet, ZoneType};

/// Blocks up to this order are worth any number of rounds; larger ones may never come (Linux:
/// `PAGE_ALLOC_COSTLY_ORDER`).
const COSTLY_ORDER: u8 = 3;
/// Rounds in which memory was freed but the request got none (Linux: `MAX_RECLAIM_RETRIES`).
pub(super) const ROUNDS: u32 = 16;

/// What the allocator has for times when memory is short.
pub(super) struct Pressure<'m, M: CurrentCpu> {
    pub(super) services: InitOnce<Services<'m>>,
    /// Who asks, when nobody tells.
    pub(super) only_task: Task,
    shrinkers: IrqLock<[Option<&'m dyn Shrinker>; SHRINKERS], M>,
    pub(super) faults: IrqLock<FaultInjection, M>,
    /// Of reports of failures, of sleeping requests in atomic context, and of injected failures.
    pub(super) failures: RateLimit,
    pub(super) sleepers: RateLimit,
    pub(super) injected: RateLimit,
    /// Of whoever asks the out-of-memory handler (Linux: `oom_lock`).
    oom: TaskLock<()>,
    /// Of whoever takes contiguous memory out of an area (Linux: `cma_mutex`).
    pub(super) contig: TaskLock<()>,
}

impl<M: CurrentCpu> Pressure<'_, M> {
    pub(super) fn new() -> Self {
        Self {
            services: InitOnce::new(),
            only_task: Task::new(),
            shrinkers: IrqLock::ranked([None; SHRINKERS], LockRank::SHRINKERS),
            faults: IrqLock::ranked(FaultInjection::default(), LockRank::FAULTS),
            failures: RateLimit::default(),
            sleepers: RateLimit::default(),
            injected: RateLimit::default(),
            oom: TaskLock::ranked((), LockRank::OUT_OF_MEMORY),
            contig: TaskLock::ranked((), LockRank::CONTIG),
        }
    }
}

/// What a request has cost so far.
#[derive(Clone, Copy, Debug, Default)]
struct Effort {
    /// Rounds in which something was freed, in vain.
    rounds: u32,
    /// Calls of the out-of-memory handler, in vain.
    kills: u32,
    /// Pages that its rounds freed.
    reclaimed: u32,
}

/// What a round came to.
enum Round {
    Got(Pfn),
    Again,
    GiveUp,
}

impl<'m, M: CurrentCpu, C: FreeCore<'m>> PageAllocator<'m, M, C> {
    /// The attempts after the first one (Linux: `__alloc_pages_slowpath`).
    #[cold]
    #[inline(never)]
    pub(super) fn alloc_slow(&self, first: &Walk<'_>) -> Result<Pfn, AllocError> {
        let task = self.task();
        let mut walk = *first;
        if task.scopes().contains(Scopes::NO_IO) {
            walk.request.gfp -= GfpFlags::IO | GfpFlags::FS;
        }
        let gfp = walk.request.gfp;
        let failed = first.request.no_memory();
        if self.several_nodes && gfp.contains(GfpFlags::THISNODE) && !walk.may_wait {
            // A guess, and there are other nodes to guess: not worth waking anybody for.
            return Err(failed);
        }
        let mut effort = Effort::default();
        loop {
            self.wake_background(&walk);
            let scopes = task.scopes();
            let flags = AllocFlags::of(gfp, scopes);
            if !flags.contains(AllocFlags::CPUSET) {
                let nodes = walk.nodes.unwrap_or(NodeSet::ALL);
                walk.preferred = first_zone(walk.list, walk.request.highest, nodes).unwrap_or(walk.preferred);
            }
            if let Some(pfn) = self.with_rights(&walk, flags) {
                return Ok(pfn);
            }
            let must_end = scopes.contains(Scopes::OOM_VICTIM) && !gfp.contains(GfpFlags::NOFAIL);
            let round = if !walk.may_wait || scopes.contains(Scopes::MEMALLOC) || must_end {
                self.drain_local();
                self.with_rights(&walk, flags).map_or(Round::GiveUp, Round::Got)
            } else {
                self.round(&walk, flags, &mut effort)
            };
            match round {
                Round::Got(pfn) => return Ok(pfn),
                Round::Again => {}
                Round::GiveUp if gfp.contains(GfpFlags::NOFAIL) => {
                    return Err(AllocError::MustNotFail { gfp: first.request.gfp, order: first.request.order });
                }
                Round::GiveUp => return Err(failed),
            }
        }
    }

    /// An attempt with the `min` mark, and one without any mark, by the local node's list, for those who may
    /// (Linux: `__alloc_pages_high_priority`).
    fn with_rights(&self, walk: &Walk<'_>, flags: AllocFlags) -> Option<Pfn> {
        let gfp = walk.request.gfp;
        let found = self.walk(walk, &Goal { mark: Mark::Min, flags: flags - AllocFlags::NO_WATERMARKS, gfp });
        if found.is_some() || !flags.contains(AllocFlags::NO_WATERMARKS) {
            return found;
        }
        let [general, _] = &self.caches[self.local.index()];
        let local = Walk { list: &self.zonelists[self.local.index()], cache: general, ..*walk };
        let walk = if gfp.contains(GfpFlags::THISNODE) { walk } else { &local };
        self.walk(walk, &Goal { mark: Mark::Min, flags, gfp })
    }

    /// Frees memory in every way that the request allows, and looks again after each.
    fn round(&self, walk: &Walk<'_>, flags: AllocFlags, effort: &mut Effort) -> Round {
        let gfp = walk.request.gfp;
        let again = || self.walk(walk, &Goal { mark: Mark::Min, flags: flags - AllocFlags::NO_WATERMARKS, gfp });
        if walk.request.order > Order::ZERO {
            let found = if self.compact(walk) { again() } else { None };
            self.counters.count::<M>(VmEvent::CompactStall, 1);
            let event = if found.is_some() { VmEvent::CompactSuccess } else { VmEvent::CompactFail };
            self.counters.count::<M>(event, 1);
            if let Some(pfn) = found {
                return Round::Got(pfn);
            }
        }
        let freed = self.reclaim(walk);
        if freed > 0 {
            walk.cache.clear();
            effort.rounds += 1;
            effort.reclaimed = effort.reclaimed.saturating_add(freed);
        }
        // What was freed lies in pagesets in part: of this CPU, and of those that freed it.
        self.drain_all();
        match again() {
            Some(pfn) => Round::Got(pfn),
            None => self.judge(walk, freed, effort),
        }
    }

    /// Whether there is another round (Linux: `should_alloc_retry`).
    fn judge(&self, walk: &Walk<'_>, freed: u32, effort: &mut Effort) -> Round {
        let (gfp, order) = (walk.request.gfp, walk.request.order);
        if gfp.contains(GfpFlags::NORETRY) {
            return Round::GiveUp;
        }
        let must = gfp.contains(GfpFlags::NOFAIL);
        let in_vain = freed == 0 || (effort.rounds > ROUNDS && !must);
        if in_vain && self.unreserve(walk.request.highest, walk.request.kind) {
            return Round::Again;
        }
        let insists = gfp.contains(GfpFlags::REPEAT) && effort.reclaimed < order.pages();
        if !must && order.raw() > COSTLY_ORDER && !insists {
            return Round::GiveUp;
        }
        if in_vain { self.out_of_memory(walk, effort) } else { Round::Again }
    }

    /// Asks the out-of-memory handler, one CPU at a time (Linux: `__alloc_pages_may_oom`).
    fn out_of_memory(&self, walk: &Walk<'_>, effort: &mut Effort) -> Round {
        let gfp = walk.request.gfp;
        let must = gfp.contains(GfpFlags::NOFAIL);
        effort.kills += 1;
        if effort.kills > ROUNDS && !must {
            return Round::GiveUp;
        }
        let Some(_turn) = self.pressure.oom.try_lock() else {
            // Another task frees memory: what it frees will do for this request too.
            drop(self.lock_as_task(&self.pressure.oom));
            return Round::Again;
        };
        self.last_resort(walk, must)
    }

    fn last_resort(&self, walk: &Walk<'_>, must: bool) -> Round {
        let (gfp, order) = (walk.request.gfp, walk.request.order);
        // Somebody may have freed much meanwhile; with the high mark only that is found.
        let flags = AllocFlags::of(gfp, Scopes::empty()) & (AllocFlags::CPUSET | AllocFlags::CMA);
        if let Some(pfn) = self.walk(walk, &Goal { mark: Mark::High, flags, gfp: gfp | GfpFlags::HARDWALL }) {
            return Round::Got(pfn);
        }
        // It frees single pages, from anywhere, and by writing files.
        let would_help = order.raw() <= COSTLY_ORDER
            && walk.request.highest >= ZoneType::Normal
            && gfp.contains(GfpFlags::FS)
            && !gfp.contains(GfpFlags::THISNODE);
        let Some(handler) = self.services().oom.filter(|_| would_help || must) else { return Round::GiveUp };
        let _scope = self.task().enter(Scopes::MEMALLOC);
        if !handler.out_of_memory(&self.shortage(walk), self) {
            return Round::GiveUp;
        }
        self.counters.count::<M>(VmEvent::OomKill, 1);
        Round::Again
    }

    /// What the services are told.
    pub(super) fn shortage(&self, walk: &Walk<'_>) -> Shortage {
        let request = walk.request;
        let nodes = walk.list.refs().iter().map(|zone| zone.node);
        let nodes = nodes.filter(|node| {
            walk.nodes.is_none_or(|nodes| nodes.contains(*node)) && walk.mems.allows(*node, request.gfp)
        });
        Shortage { gfp: request.gfp, order: request.order, highest: request.highest, nodes: nodes.collect() }
    }

    /// Wakes background reclaim for each zone that is not above its high mark (Linux: `wake_all_kswapds`).
    fn wake_background(&self, walk: &Walk<'_>) {
        let Some(background) = self.services().background else { return };
        if walk.request.gfp.contains(GfpFlags::NO_KSWAPD) {
            return;
        }
        for entry in walk.list.up_to(walk.request.highest) {
            let Some(zone) = self.zone(entry) else { continue };
            let attempt = Attempt { mark: Mark::High, flags: AllocFlags::CMA, preferred: walk.preferred.zone };
            if !zone.meets(walk.request.order, &attempt) {
                background.wake(entry, walk.request.order);
            }
        }
    }

    /// Compacts each zone that may serve the request; `true` when anything moved (Linux: `try_to_compact_pages`).
    fn compact(&self, walk: &Walk<'_>) -> bool {
        let shortage = self.shortage(walk);
        let _scope = self.task().enter(Scopes::MEMALLOC);
        let zones = walk.list.up_to(shortage.highest).filter(|zone| shortage.nodes.contains(zone.node));
        zones.fold(false, |moved, zone| {
            moved
                | match self.services().compactor {
                    Some(compactor) => compactor.compact_zone(zone, &shortage, self),
                    None => self.compact_for(zone, shortage.order) == CompactOutcome::Success,
                }
        })
    }
}
