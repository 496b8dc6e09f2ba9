//! Background compaction: the free memory of a zone is gathered in large blocks before anybody asks for one.
//!
//! Theory.      A zone is as fragmented as the share of its free memory that lies in blocks smaller than [`LARGE`].
//!              Above the upper of two bounds a run begins: step by step, both scanners are sent through the zone,
//!              until it is not above the lower bound or they have met. A run ends before another begins. A zone in
//!              which one changed nothing is left alone the next [`PASSES`] times.
//! Invariants.  A step moves the pages of one pageblock at most. Between steps nothing is held.
//! Not here.    Who calls it, and how often.
//! Source.      Linux 5.9 mm/compaction.c: `kcompactd`, `proactive_compact_node`, `fragmentation_score_zone`,
//!              `fragmentation_score_wmark`; 4.6 for the first `kcompactd`.

use core::sync::atomic::AtomicU32;
use core::sync::atomic::Ordering::Relaxed;

use super::scan::Scanners;
use crate::addr::{NodeId, Pfn, PfnRange};
use crate::buddy::FreeCore;
use crate::memmap::ZoneTag;
use crate::migrate::{MigrateType, pageblock_of};
use crate::order::Order;
use crate::page_alloc::{PageAllocator, Policies, Zone};
use crate::sync::CurrentCpu;
use crate::vmstat::VmEvent;

/// What counts as large: 2 MiB (Linux: `COMPACTION_HPAGE_ORDER`).
const LARGE: u8 = 9;
/// Beginnings that are let pass after a run that was of no use (Linux: `1 << COMPACT_MAX_DEFER_SHIFT`).
const PASSES: u32 = 1 << super::deferral::MAX_DEFER_SHIFT;

/// What a step of background compaction came to.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum CompactStep {
    /// No zone of the node is worth the work: sleep.
    Balanced,
    /// There may be more to do: go on.
    More {
        /// Pages that this step moved.
        moved: u32,
    },
    /// Nothing that can be moved would help: sleep.
    Stuck,
}

/// Where the run of a zone is.
#[derive(Debug, Default)]
struct Run {
    /// What the scanners have not looked at yet; empty: no run.
    next: AtomicU32,
    end: AtomicU32,
    /// How fragmented the zone was when the run began.
    before: AtomicU32,
    /// Beginnings still to be let pass.
    passes: AtomicU32,
}

impl Run {
    /// What is left of it in a zone; two steps at once may have left any numbers.
    fn between(&self, zone: PfnRange) -> PfnRange {
        let (next, end) = (Pfn::new(self.next.load(Relaxed)), Pfn::new(self.end.load(Relaxed)));
        PfnRange::new(next.max(zone.start), end.min(zone.end))
    }

    fn is_at(&self, between: PfnRange) {
        self.next.store(between.start.raw(), Relaxed);
        self.end.store(between.end.raw(), Relaxed);
    }

    fn ends(&self) {
        self.is_at(PfnRange::default());
    }

    /// Whether a run may begin; one that may not is counted.
    fn may_begin(&self) -> bool {
        self.passes.fetch_update(Relaxed, Relaxed, |left| left.checked_sub(1)).is_err()
    }
}

/// The runs of all zones. Two steps at once do work twice, and nothing wrong.
#[derive(Debug, Default)]
pub(in crate::page_alloc) struct Background {
    runs: [Run; ZoneTag::COUNT],
    proactiveness: AtomicU32,
}

impl Background {
    pub(in crate::page_alloc) fn new(policies: &Policies) -> Self {
        Self { proactiveness: AtomicU32::new(policies.compaction_proactiveness), ..Self::default() }
    }
}

/// The share of free memory in smaller blocks, in percent, at which a run ends, and that above which one begins; `None`
/// when there are to be none (Linux: `fragmentation_score_wmark`, whose lower bound is never below 5; here the distance
/// of the two shrinks instead).
const fn bounds(proactiveness: u32) -> Option<(u32, u32)> {
    let low = match 100_u32.saturating_sub(proactiveness) {
        0 => 1,
        low => low,
    };
    match proactiveness {
        0 => None,
        1..=9 => Some((low, 100)),
        _ if low < 10 => Some((low, 2 * low)),
        _ => Some((low, low + 10)),
    }
}

const _: () = {
    assert!(bounds(0).is_none());
    assert!(matches!(bounds(1), Some((99, 100))) && matches!(bounds(20), Some((80, 90))));
    assert!(matches!(bounds(95), Some((5, 10))) && matches!(bounds(100), Some((1, 2))));
    assert!(matches!(bounds(u32::MAX), Some((1, 2))));
};

impl<'m, M: CurrentCpu, C: FreeCore<'m>> PageAllocator<'m, M, C> {
    /// How much background compaction does from now on, in percent; more than 100 is 100
    /// (Linux: `vm.compaction_proactiveness`).
    pub fn set_compaction_proactiveness(&self, percent: u32) {
        self.watch.background.proactiveness.store(percent, Relaxed);
    }

    /// One step of background compaction: moves movable pages of one pageblock of a zone of `node`, if the zone is more
    /// fragmented than [`Policies::compaction_proactiveness`] allows. To be called now and then (Linux: every 500 ms)
    /// until it is balanced or stuck.
    ///
    /// Context: may sleep, no lock held: owners are called. Linux: a part of `proactive_compact_node`.
    pub fn compact_step(&self, node: NodeId) -> CompactStep {
        let bounds = bounds(self.watch.background.proactiveness.load(Relaxed));
        let ours = || {
            let zones = self.zones().iter().filter(|zone| zone.name().node == node);
            zones.filter_map(|zone| Some((zone, self.watch.background.runs.get(zone.tag().index())?)))
        };
        let Some((low, high)) = bounds else {
            ours().for_each(|(_, run)| run.ends());
            return CompactStep::Balanced;
        };
        let under_way = |(zone, run): &(&Zone<'m, C, M>, &Run)| !run.between(zone.frames.span).is_empty();
        for (zone, run) in ours().filter(under_way) {
            if fragmentation(zone) > low {
                return self.step_in(zone, run);
            }
            run.ends();
        }
        let mut came_to = CompactStep::Balanced;
        for (zone, run) in ours() {
            let now = fragmentation(zone);
            if now > high && run.may_begin() {
                self.counters.count::<M>(VmEvent::CompactDaemonWake, 1);
                run.before.store(now, Relaxed);
                run.is_at(zone.frames.span);
                return self.step_in(zone, run);
            }
            if now > high {
                came_to = CompactStep::Stuck;
            }
        }
        came_to
    }

    /// How much of the free memory of a zone that moving pages could gather lies in blocks of less than 2 MiB, in
    /// percent; 0 for a zone with too little to move pages to (Linux: `fragmentation_score_zone`).
    #[must_use]
    pub fn fragmentation(&self, zone: ZoneTag) -> u32 {
        self.zone_tagged(zone).map_or(0, fragmentation)
    }

    /// Moves the movable pages of the next pageblock of a run.
    fn step_in(&self, zone: &Zone<'m, C, M>, run: &Run) -> CompactStep {
        let between = run.between(zone.frames.span);
        let mut scanners = Scanners::new(between);
        let end = pageblock_of(between.start).end;
        let mut moved = 0;
        loop {
            let (taken, of_them) = self.move_cluster(zone, &mut scanners, end);
            moved += of_them;
            if taken == 0 {
                break;
            }
        }
        let between = self.end_scan(zone, scanners);
        run.is_at(between);
        // The scanners have met, and it was of no use.
        if between.is_empty() && fragmentation(zone) >= run.before.load(Relaxed) {
            run.passes.store(PASSES, Relaxed);
        }
        CompactStep::More { moved: u32::try_from(moved).unwrap_or(u32::MAX) }
    }
}

/// See [`PageAllocator::fragmentation`]. What is lent or isolated is left out: compaction makes no room there.
fn fragmentation<'m, C: FreeCore<'m>, M: CurrentCpu>(zone: &Zone<'m, C, M>) -> u32 {
    let stats = zone.stats();
    let free = stats.counts.free.saturating_sub(stats.counts.cma);
    if free < stats.marks.low.saturating_add(2 << LARGE) {
        return 0;
    }
    let kinds = || MigrateType::ALL.into_iter().filter(|kind| !matches!(kind, MigrateType::Cma | MigrateType::Isolate));
    let orders = Order::all().filter(|order| order.raw() >= LARGE);
    let large = orders.flat_map(|order| kinds().map(move |kind| zone.free_blocks(order, kind) * order.pages()));
    let small = free.saturating_sub(large.sum());
    u32::try_from(u64::from(small) * 100 / u64::from(free)).unwrap_or(100)
}
