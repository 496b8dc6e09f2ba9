//! Whoever helps the allocator that is timed when memory is short: frees blocks that are live.

use core::sync::atomic::Ordering::Relaxed;
use core::sync::atomic::{AtomicBool, AtomicU32, AtomicUsize};

use mm::addr::Pfn;
use mm::order::Order;
use mm::page_alloc::{BackgroundReclaim, Pages, Shortage, Shrinker, ZoneReclaim, ZoneReclaimed};
use mm::zone::ZoneRef;

use super::super::pages::order_of;
use super::work::NONE;

/// Pages that a zone reclaim frees.
const CLUSTER: u32 = 32;

/// Every service in one.
pub(super) struct Helper {
    live: &'static [AtomicU32],
    /// The place that is looked at next.
    next: AtomicUsize,
    /// Whether it frees anything.
    pub(super) helps: AtomicBool,
    /// Whether background reclaim was woken.
    pub(super) woken: AtomicBool,
    /// How often pages were asked for, as a shrinker and as zone reclaim.
    pub(super) calls: [AtomicU32; 2],
}

impl Helper {
    pub(super) fn new(live: &'static [AtomicU32]) -> Self {
        Self {
            live,
            next: AtomicUsize::new(0),
            helps: AtomicBool::new(false),
            woken: AtomicBool::new(false),
            calls: [const { AtomicU32::new(0) }; 2],
        }
    }

    /// Frees live blocks, from where it ended last, until they have `wanted` pages; returns how many they had.
    fn free(&self, wanted: u32, pages: &dyn Pages) -> u32 {
        let mut freed = 0;
        for _ in 0..self.live.len() {
            if freed >= wanted {
                break;
            }
            let at = self.next.load(Relaxed);
            self.next.store((at + 1) % self.live.len(), Relaxed);
            let word = self.live.get(at).map_or(NONE, |place| place.swap(NONE, Relaxed));
            let order: Order = order_of(word & 0xf);
            if word != NONE && pages.free_pages(Pfn::new(word >> 4), order).is_ok() {
                freed += order.pages();
            }
        }
        freed
    }

    fn is_asked(&self, call: usize) -> bool {
        self.calls.get(call).into_iter().for_each(|calls| _ = calls.fetch_add(1, Relaxed));
        self.helps.load(Relaxed)
    }
}

impl Shrinker for Helper {
    fn count(&self, _: &Shortage) -> u32 {
        if self.is_asked(0) { u32::try_from(self.live.len()).unwrap_or(u32::MAX) } else { 0 }
    }

    fn scan(&self, _: &Shortage, wanted: u32, pages: &dyn Pages) -> u32 {
        self.free(wanted, pages)
    }
}

impl ZoneReclaim for Helper {
    fn allows(&self, _: ZoneRef, _: ZoneRef) -> bool {
        true
    }

    fn reclaim(&self, _: ZoneRef, shortage: &Shortage, pages: &dyn Pages) -> ZoneReclaimed {
        match self.is_asked(1) {
            true if self.free(CLUSTER.max(shortage.order.pages()), pages) > 0 => ZoneReclaimed::Success,
            _ => ZoneReclaimed::Full,
        }
    }
}

impl BackgroundReclaim for Helper {
    fn wake(&self, _: ZoneRef, _: Order) {
        self.woken.store(true, Relaxed);
    }
}
