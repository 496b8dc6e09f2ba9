//! Watermarks: how low a zone's free pages may fall, and for whom.
//!
//! Source.      Linux 4.1: `zone_watermark_ok`, `gfp_to_alloc_flags`, `struct zone::lowmem_reserve`.

use core::sync::atomic::AtomicU32;
use core::sync::atomic::Ordering::Relaxed;

use bitflags::bitflags;

use crate::gfp::GfpFlags;
use crate::migrate::{MigrateType, PAGESET_TYPES};
use crate::order::Order;
use crate::page_alloc::{Policies, Scopes};
use crate::zone::{MAX_NR_ZONES, ZoneType};

/// One zone's limits, in pages; all 0 until they are set.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Watermarks {
    /// Below it only allocations with special rights succeed.
    pub min: u32,
    /// Below it background reclaim runs.
    pub low: u32,
    /// Up to it background reclaim runs.
    pub high: u32,
    /// What an allocation that prefers zone type i must leave here besides, by [`ZoneType::index`].
    pub lowmem_reserve: [u32; MAX_NR_ZONES],
}

/// The watermark that an attempt respects (Linux: `ALLOC_WMARK_*`).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Mark {
    /// `min`.
    Min,
    /// `low`.
    Low,
    /// `high`.
    High,
}

bitflags! {
    /// Rights of an attempt (Linux: `ALLOC_*`).
    #[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
    pub struct AllocFlags: u32 {
        /// No watermark at all.
        const NO_WATERMARKS = 0x04;
        /// A quarter below the mark.
        const HARDER = 0x10;
        /// Half below the mark.
        const HIGH = 0x20;
        /// Only nodes that the task may use.
        const CPUSET = 0x40;
        /// Lent pages will do.
        const CMA = 0x80;
        /// Only the local node's zones that have not given their share yet.
        const FAIR = 0x100;
    }
}

impl AllocFlags {
    /// What the attempts after the first may do, by the request's flags and the scopes that its task is in
    /// (Linux: `gfp_to_alloc_flags`).
    #[must_use]
    pub fn of(gfp: GfpFlags, scopes: Scopes) -> Self {
        let mut flags = Self::empty();
        let is_atomic = !gfp.intersects(GfpFlags::WAIT | GfpFlags::NO_KSWAPD);
        let may_use_reserves = !gfp.contains(GfpFlags::NOMEMALLOC);
        let needs_reserves =
            gfp.contains(GfpFlags::MEMALLOC) || scopes.intersects(Scopes::MEMALLOC | Scopes::OOM_VICTIM);
        flags.set(Self::HIGH, gfp.contains(GfpFlags::HIGH));
        flags.set(Self::HARDER, if is_atomic { may_use_reserves } else { scopes.contains(Scopes::REALTIME) });
        flags.set(Self::NO_WATERMARKS, needs_reserves && may_use_reserves);
        // A request that cannot wait would rather have memory of another node than none.
        flags.set(Self::CPUSET, !is_atomic);
        flags.set(Self::CMA, gfp.contains(GfpFlags::MOVABLE));
        flags
    }

    /// What the first attempt may do (Linux: `__alloc_pages_nodemask`).
    #[inline]
    pub(super) fn first(gfp: GfpFlags, policies: &Policies) -> Self {
        let mut flags = Self::CPUSET;
        flags.set(Self::CMA, gfp.contains(GfpFlags::MOVABLE));
        flags.set(Self::FAIR, policies.fair_zones);
        flags
    }
}

/// A zone's watermarks as they are read on every allocation and set seldom.
#[derive(Debug, Default)]
pub(super) struct Marks {
    marks: [AtomicU32; 3],
    lowmem_reserve: [AtomicU32; MAX_NR_ZONES],
    /// By how much `low` and `high` are raised for a while.
    boost: AtomicU32,
    /// Pages that are kept for requests that cannot wait: others must leave them besides.
    held_back: AtomicU32,
}

impl Marks {
    pub(super) fn set(&self, marks: &Watermarks) {
        for (place, value) in self.marks.iter().zip([marks.min, marks.low, marks.high]) {
            place.store(value, Relaxed);
        }
        for (place, value) in self.lowmem_reserve.iter().zip(marks.lowmem_reserve) {
            place.store(value, Relaxed);
        }
    }

    pub(super) fn get(&self) -> Watermarks {
        let [min, low, high] = &self.marks;
        let lowmem_reserve = core::array::from_fn(|i| self.reserve(i));
        Watermarks { min: min.load(Relaxed), low: low.load(Relaxed), high: high.load(Relaxed), lowmem_reserve }
    }

    fn reserve(&self, preferred: usize) -> u32 {
        self.lowmem_reserve.get(preferred).map_or(0, |reserve| reserve.load(Relaxed))
    }

    /// By how much `low` and `high` are raised.
    pub(super) fn boost(&self) -> u32 {
        self.boost.load(Relaxed)
    }

    pub(super) fn set_boost(&self, pages: u32) {
        self.boost.store(pages, Relaxed);
    }

    /// Pages that are kept for requests that cannot wait.
    pub(super) fn held_back(&self) -> u32 {
        self.held_back.load(Relaxed)
    }

    /// From now on `pages` are kept for requests that cannot wait.
    pub(super) fn set_held_back(&self, pages: u32) {
        self.held_back.store(pages, Relaxed);
    }

    /// What a first attempt that prefers `zone`, this one, must leave free.
    #[inline]
    pub(super) fn least_free(&self, zone: ZoneType) -> u32 {
        let floor = self.floor(&Attempt { mark: Mark::Low, flags: AllocFlags::empty(), preferred: zone });
        floor.mark.saturating_add(floor.reserve)
    }

    /// The mark and the reserve that an attempt must leave.
    #[inline]
    pub(super) fn floor(&self, attempt: &Attempt) -> Floor {
        let [min, low, high] = &self.marks;
        let min = min.load(Relaxed);
        let (mark, boost) = match attempt.mark {
            Mark::Min => (min, 0),
            Mark::Low => (low.load(Relaxed), self.boost()),
            // Whoever set it below `min` does not give the last attempt before the out-of-memory handler more rights.
            Mark::High => (high.load(Relaxed).max(min), self.boost()),
        };
        let held_back = if attempt.flags.contains(AllocFlags::HARDER) { 0 } else { self.held_back() };
        Floor {
            mark: mark.saturating_add(boost),
            reserve: self.reserve(attempt.preferred.index()).saturating_add(held_back),
        }
    }
}

/// The stocked types of which a zone with these free pages, of which it must keep `least`, may give a single page to a
/// first attempt that prefers it, a bit each: lent pages are for movable requests only.
#[inline]
pub(super) fn open_types(least: u32, free: u32, cma: u32) -> u32 {
    if free.saturating_sub(cma) > least {
        (1 << PAGESET_TYPES) - 1
    } else if free > least {
        1 << MigrateType::Movable as u32
    } else {
        0
    }
}

/// With more free largest blocks than this that are not lent, a zone that must keep `least` pages may give a block of
/// any order to a first attempt that prefers it, beyond doubt: one for the request, and the others hold what must stay.
pub(super) fn plenty(least: u32) -> u32 {
    least.div_ceil(Order::LARGEST.pages())
}

/// How an attempt looks at watermarks.
#[derive(Clone, Copy, Debug)]
pub(super) struct Attempt {
    pub(super) mark: Mark,
    pub(super) flags: AllocFlags,
    /// The first zone of the walk, which the lowmem reserves are for (Linux: `classzone_idx`).
    pub(super) preferred: ZoneType,
}

/// Pages that must stay: the mark, which rights lower, and the reserve, which they do not.
#[derive(Clone, Copy, Debug)]
pub(super) struct Floor {
    pub(super) mark: u32,
    pub(super) reserve: u32,
}

impl Floor {
    /// Whether a zone with `free` pages, `cma` of them lent, may give a block of `order`; `blocks` tells how many free
    /// blocks of an order there are.
    ///
    /// Above the mark, half as much for each order is enough, but of pages in blocks of at least that order
    /// (Linux: `zone_watermark_ok`).
    #[inline]
    pub(super) fn allows(
        self,
        order: Order,
        flags: AllocFlags,
        free: u32,
        cma: u32,
        blocks: impl Fn(Order) -> u32,
    ) -> bool {
        if flags.contains(AllocFlags::NO_WATERMARKS) {
            return true;
        }
        let mut min = self.mark;
        if flags.contains(AllocFlags::HIGH) {
            min -= min / 2;
        }
        if flags.contains(AllocFlags::HARDER) {
            min -= min / 4;
        }
        let others = order.pages() - 1;
        let usable = free.saturating_sub(others);
        let lent = if flags.contains(AllocFlags::CMA) { 0 } else { cma };
        if usable.saturating_sub(lent) <= min.saturating_add(self.reserve) {
            return false;
        }
        if order == Order::ZERO {
            return true;
        }
        // Largest blocks beyond the mark alone would pass each step below: no need to count the smaller ones.
        let in_largest = blocks(Order::LARGEST) << Order::LARGEST.log2();
        if in_largest.saturating_sub(others) > min {
            return true;
        }
        let mut left = usable;
        for smaller in Order::all().take_while(|smaller| *smaller < order) {
            left = left.saturating_sub(blocks(smaller) << smaller.raw());
            min /= 2;
            if left <= min {
                return false;
            }
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NONE: AllocFlags = AllocFlags::empty();

    fn allows(mark: u32, order: u8, flags: AllocFlags, free: u32) -> bool {
        Floor { mark, reserve: 0 }.allows(Order::new(order).unwrap(), flags, free, 0, |_| 0)
    }

    #[test]
    fn lent_pages_open_hits_for_movable_requests_alone() {
        let (all, movable) = ((1 << PAGESET_TYPES) - 1, 1 << MigrateType::Movable as u32);
        let open = |free| open_types(100, free, 50);
        assert_eq!([100, 101, 150, 151].map(open), [0, movable, movable, all]);
    }

    #[test]
    fn a_single_page_needs_more_free_pages_than_the_mark() {
        assert!(!allows(100, 0, NONE, 100));
        assert!(allows(100, 0, NONE, 101));
        assert!(allows(0, 0, NONE, 1));
        assert!(!allows(0, 0, NONE, 0));
    }

    #[test]
    fn rights_lower_the_mark_to_a_half_and_by_a_quarter_and_to_nothing() {
        assert!(allows(100, 0, AllocFlags::HIGH, 51) && !allows(100, 0, AllocFlags::HIGH, 50));
        assert!(allows(100, 0, AllocFlags::HARDER, 76) && !allows(100, 0, AllocFlags::HARDER, 75));
        // 100 - 50 = 50, 50 - 12 = 38.
        let both = AllocFlags::HIGH | AllocFlags::HARDER;
        assert!(allows(100, 0, both, 39) && !allows(100, 0, both, 38));
        assert!(allows(100, 0, AllocFlags::NO_WATERMARKS, 0));
    }

    #[test]
    fn lowmem_reserves_come_on_top_and_are_not_lowered() {
        let floor = Floor { mark: 100, reserve: 30 };
        let allows = |flags, free| floor.allows(Order::ZERO, flags, free, 0, |_| 0);
        assert!(allows(NONE, 131) && !allows(NONE, 130));
        assert!(allows(AllocFlags::HIGH, 81) && !allows(AllocFlags::HIGH, 80));
    }

    #[test]
    fn lent_pages_count_only_for_those_who_may_have_them() {
        let floor = Floor { mark: 10, reserve: 0 };
        assert!(!floor.allows(Order::ZERO, NONE, 50, 45, |_| 0));
        assert!(floor.allows(Order::ZERO, AllocFlags::CMA, 50, 45, |_| 0));
    }

    #[test]
    fn small_blocks_do_not_help_a_large_request() {
        let floor = Floor { mark: 64, reserve: 0 };
        let order = Order::new(2).unwrap();
        // 203 - 3 = 200 usable; 180 of them single pages: 20 left, half the mark is 32.
        assert!(!floor.allows(order, NONE, 203, 0, |order| if order == Order::ZERO { 180 } else { 0 }));
        assert!(floor.allows(order, NONE, 203, 0, |order| if order == Order::ZERO { 150 } else { 0 }));
        // 50 left above order 0, 40 of them in pairs: 10 left, a quarter of the mark is 16.
        assert!(!floor.allows(order, NONE, 203, 0, |order| [150, 20, 0][order.index().min(2)]));
    }

    #[test]
    fn flags_and_scopes_give_their_rights() {
        const MEMALLOC: GfpFlags = GfpFlags::GFP_KERNEL.union(GfpFlags::MEMALLOC);
        const { assert!(!GfpFlags::GFP_ATOMIC.intersects(GfpFlags::WAIT)) };
        let of = |gfp| AllocFlags::of(gfp, Scopes::empty());
        let waits = AllocFlags::CPUSET;
        assert_eq!(of(GfpFlags::GFP_KERNEL), waits);
        assert_eq!(of(GfpFlags::GFP_ATOMIC), AllocFlags::HIGH | AllocFlags::HARDER);
        assert_eq!(of(GfpFlags::GFP_ATOMIC | GfpFlags::NOMEMALLOC), AllocFlags::HIGH);
        assert_eq!(of(GfpFlags::GFP_ATOMIC | GfpFlags::NO_KSWAPD), AllocFlags::HIGH | waits);
        assert_eq!(of(GfpFlags::GFP_HIGHUSER_MOVABLE), AllocFlags::CMA | waits);
        assert_eq!(of(MEMALLOC), AllocFlags::NO_WATERMARKS | waits);
        assert_eq!(of(MEMALLOC | GfpFlags::NOMEMALLOC), waits);
        for scope in [Scopes::MEMALLOC, Scopes::OOM_VICTIM] {
            assert_eq!(AllocFlags::of(GfpFlags::GFP_KERNEL, scope), AllocFlags::NO_WATERMARKS | waits);
            assert_eq!(AllocFlags::of(GfpFlags::GFP_KERNEL | GfpFlags::NOMEMALLOC, scope), waits);
        }
        assert_eq!(AllocFlags::of(GfpFlags::GFP_KERNEL, Scopes::REALTIME), AllocFlags::HARDER | waits);
        assert_eq!(AllocFlags::of(GfpFlags::GFP_KERNEL, Scopes::NO_IO), waits);
    }

    #[test]
    fn a_boost_raises_low_and_high_and_pages_held_back_are_for_those_who_try_harder() {
        let marks = Marks::default();
        marks.set(&Watermarks { min: 10, low: 20, high: 30, lowmem_reserve: [0, 5, 0, 0] });
        marks.set_boost(100);
        marks.set_held_back(1000);
        let floor = |mark, flags| {
            let floor = marks.floor(&Attempt { mark, flags, preferred: ZoneType::Normal });
            (floor.mark, floor.reserve)
        };
        assert_eq!([Mark::Min, Mark::Low, Mark::High].map(|mark| floor(mark, NONE).0), [10, 120, 130]);
        assert_eq!(floor(Mark::Min, NONE).1, 1005);
        assert_eq!(floor(Mark::Min, AllocFlags::HARDER).1, 5);
    }
}
