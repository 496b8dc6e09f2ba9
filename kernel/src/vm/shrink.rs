//! What was vfreed comes back when memory is short.
//!
//! Theory.      A vfreed area keeps its frames until a purge. Reclaim asks for them by the allocator's shrinkers. The
//!              call may come from inside an allocation that is made for an area or a table, with the locks held: then
//!              there is nothing to be had this way, and `vmalloc` purges by itself.
//! Source.      Linux `vmap_node_shrink_scan` (6.9); before that, `purge_vmap_area_lazy` by `overflow`.

use mm::page_alloc::{Pages, Shortage, Shrinker};

use super::Vm;

impl Shrinker for Vm {
    fn count(&self, _shortage: &Shortage) -> u32 {
        self.areas.try_lock().map_or(0, |areas| areas.retired_pages())
    }

    /// A purge takes all: one flush serves it.
    fn scan(&self, _shortage: &Shortage, _wanted: u32, _pages: &dyn Pages) -> u32 {
        let Some(mut areas) = self.areas.try_lock() else { return 0 };
        let Some(mut tables) = self.tables.try_lock() else { return 0 };
        tables.purge(&mut areas).unwrap_or(0)
    }
}
