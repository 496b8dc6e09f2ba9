//! What is done to the allocator that is timed while memory is short.

use core::sync::atomic::Ordering::Relaxed;

use mm::gfp::GfpFlags;
use mm::order::Order;
use mm::page_alloc::{Balance, FailPageAlloc, Policies, Services, Watermarks};
use mm::sync::CpuId;

use super::super::pages::order_of;
use super::model::NORMAL;
use super::work::{GFP, KINDS, MOVABLE, NONE, Path, Work};

/// The paths by the names of their rows.
pub(super) const PATHS: [Path; 1] = [("reclaim", Work::reclaim)];

/// What a zone on its own can have of policies that mask interrupts; fair shares and the cache of full zones never do.
pub(super) const POLICIES: Policies = Policies { zone_reclaim: true, watermark_boost: 15_000, ..Policies::new() };

/// Limits that background reclaim works for.
const MARKS: Watermarks = Watermarks { min: 500, low: 1000, high: 1500, lowmem_reserve: [0; 4] };
/// Limits that leave nearly all of the zone for requests.
const LOW_MARKS: Watermarks = Watermarks { min: 10, low: 20, high: 30, lowmem_reserve: [0; 4] };
/// Limits below which all requests are, with pages enough for those with rights.
const RIGHTS_MARKS: Watermarks = Watermarks { low: 30_000, high: 30_000, ..MARKS };

/// Requests that the slow path does all for.
const INSISTS: GfpFlags = GfpFlags::GFP_KERNEL.union(GfpFlags::NOWARN);
/// Requests that cannot wait.
const ATOMIC: GfpFlags = GfpFlags::GFP_ATOMIC.union(GfpFlags::NOWARN);
/// Requests of a kind while memory is short.
const REQUESTS: usize = 40;

impl Work {
    fn reclaim(&mut self) {
        let helper = self.helper;
        let services = Services { background: Some(helper), zone_reclaim: Some(helper), ..Services::default() };
        let is_ready = self.model.install_services(services) && self.model.register_shrinker(helper);
        let before = self.free_pages();
        let mut were_kept = 0;
        for are_hits_closed in [false, true] {
            // With the default attributes nothing fails, but every request is looked at.
            self.model.set_fail_page_alloc(are_hits_closed.then(FailPageAlloc::default));
            were_kept += self.keep();
            self.mix();
            self.run_short();
            self.stop();
            self.give_up();
        }
        self.model.set_fail_page_alloc(None);
        self.set_marks(&Watermarks::default());
        self.empty();
        let was_asked = helper.calls.iter().all(|calls| calls.load(Relaxed) > 0) && helper.woken.load(Relaxed);
        if !is_ready || !was_asked || were_kept == 0 {
            log::error!("bench: the paths of reclaim were not reached");
        }
        let (after, kept) = (self.free_pages(), self.kept_pages());
        if after != before || kept > 0 {
            log::error!("bench: reclaim left {after} pages free, not {before}, and {kept} kept");
        }
    }

    fn set_marks(&self, marks: &Watermarks) {
        // The zone exists.
        let _ = self.model.set_watermarks(NORMAL, marks);
    }

    fn free_pages(&self) -> u32 {
        self.model.zone(NORMAL).map_or(0, |zone| zone.stats().counts.free)
    }

    /// Pages in pageblocks that are kept for requests that cannot wait.
    fn kept_pages(&self) -> u32 {
        self.model.zone(NORMAL).map_or(0, |zone| zone.reserved_pages())
    }

    /// Allocates into places where nothing is until there have been so many requests, or one fails.
    fn take_some(&self, gfp: GfpFlags, order: Order, most: usize) {
        let is_empty = |place: &usize| self.live.get(*place).is_some_and(|place| place.load(Relaxed) == NONE);
        let places = (0..self.live.len()).filter(is_empty).take(most);
        let _ = places.take_while(|place| self.take(*place, gfp, order)).count();
    }

    /// Has pageblocks kept for requests that cannot wait, and given up for the others; returns how many pages were
    /// kept.
    fn keep(&mut self) -> u32 {
        self.helper.helps.store(false, Relaxed);
        self.pattern(|pfn| pfn & 2 != 0);
        self.set_marks(&RIGHTS_MARKS);
        let pair = order_of(1);
        self.take_some(ATOMIC, pair, 200);
        let kept = self.kept_pages();
        // Those that do not insist leave the kept pageblocks alone.
        self.take_some(GFP, pair, usize::MAX);
        self.take_some(INSISTS, pair, usize::MAX);
        self.empty();
        kept
    }

    /// Has all that is kept given up, which happens when there is nothing else.
    fn give_up(&mut self) {
        self.fill(self.live.len(), MOVABLE);
        self.take_some(INSISTS, Order::ZERO, usize::MAX);
        self.empty();
    }

    /// Unmovable and reclaimable pages among movable ones, which raises the marks until reclaim has made room.
    fn mix(&mut self) {
        self.set_marks(&LOW_MARKS);
        for gfp in [KINDS[0], KINDS[1]] {
            // Too few of each pageblock for it to be taken over.
            self.pattern(|pfn| pfn.is_multiple_of(64));
            self.take_some(gfp, Order::ZERO, usize::MAX);
            self.balance();
            self.empty();
        }
    }

    /// Requests of every order and type when all is in use, of those that wait and those that cannot.
    fn run_short(&mut self) {
        self.set_marks(&MARKS);
        self.helper.helps.store(false, Relaxed);
        self.fill(self.live.len(), MOVABLE);
        self.helper.helps.store(true, Relaxed);
        for order in Order::all() {
            for gfp in KINDS {
                self.take_some(gfp - GfpFlags::NORETRY, order, REQUESTS);
            }
            self.take_some(ATOMIC, order, REQUESTS);
        }
        self.balance();
        self.empty();
    }

    /// Reclaims as the background does until all is as it should be.
    fn balance(&self) {
        self.helper.helps.store(true, Relaxed);
        while let Balance::Freed(_) = self.model.balance_step(NORMAL.node) {}
        self.helper.helps.store(false, Relaxed);
    }

    /// The pageset of a CPU that has stopped: this one will do, as nobody uses it meanwhile.
    fn stop(&mut self) {
        self.set_marks(&Watermarks::default());
        self.stock_firsts();
        self.model.drain_cpu(CpuId::new(0));
    }
}
