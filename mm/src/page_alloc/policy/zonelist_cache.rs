//! Which zones of a zonelist were found full lately.
//!
//! Theory.      A bit a zone of the list. It is looked at only after a zone of the walk was found low, and never in a
//!              walk's last pass: so it can send a request to a farther zone, but never make one fail. The bits are
//!              forgotten after a number of walks, and when reclaim has freed something.
//! Source.      Linux 4.1: `zlc_setup`, `zlc_zone_worth_trying`, `zlc_mark_zone_full`, `zlc_clear_zones_full`; Linux
//!              forgets after a second, which this crate has no clock for.
#![forbid(unsafe_code)]

use core::sync::atomic::AtomicU32;
use core::sync::atomic::Ordering::Relaxed;

/// Walks after which the cache is forgotten.
const WALKS: u32 = 1024;

/// The cache of one zonelist.
#[derive(Debug, Default)]
pub(in crate::page_alloc) struct ZonelistCache {
    /// A bit an entry of the list.
    full: AtomicU32,
    walks: AtomicU32,
}

impl ZonelistCache {
    /// A walk begins to use the cache (Linux: `zlc_setup`).
    pub(in crate::page_alloc) fn set_up(&self) {
        if self.walks.fetch_add(1, Relaxed) % WALKS == WALKS - 1 {
            self.clear();
        }
    }

    /// Whether entry `index` was found full.
    pub(in crate::page_alloc) fn is_full(&self, index: usize) -> bool {
        self.full.load(Relaxed) >> (index % 32) & 1 != 0
    }

    /// Entry `index` is full.
    pub(in crate::page_alloc) fn mark_full(&self, index: usize) {
        self.full.fetch_or(1 << (index % 32), Relaxed);
    }

    /// Forgets everything.
    pub(in crate::page_alloc) fn clear(&self) {
        self.full.store(0, Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_full_is_forgotten_after_a_number_of_walks() {
        let cache = ZonelistCache::default();
        cache.mark_full(3);
        (1..WALKS).for_each(|_| cache.set_up());
        assert!(cache.is_full(3) && !cache.is_full(2));
        cache.set_up();
        assert!(!cache.is_full(3));
    }
}
