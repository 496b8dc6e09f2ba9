//! What follows pages besides the allocator: whom [`Hooks`](super::Hooks) and owners bring in.
//!
//! Theory.      All of it hangs here, behind one field of the allocator, and is asked on the long ways only. Most of it
//!              is lent at boot, before any other CPU runs; owners and destructors register at any time, in tables of
//!              fixed size.

use crate::addr::Pfn;
use crate::buddy::FreeCore;
use crate::memmap::ZoneTag;
use crate::order::Order;
use crate::page_alloc::PageAllocator;
use crate::page_alloc::bad_page::Reports;
use crate::page_alloc::compaction::{Background, Deferral};
use crate::page_alloc::compound::Destructors;
use crate::page_alloc::movable::Owners;
use crate::page_alloc::owner::PageOwner;
use crate::platform::PageAccess;
use crate::sync::{CurrentCpu, InitOnce};
use crate::trace::{TraceRing, What};

/// Takes free frames out of the linear map and puts them back (Linux: `kernel_map_pages`).
pub trait PageMapping: Sync {
    /// Maps the frames again; they are about to be used. Called with frames that `unmap` was called with.
    fn map(&self, first: Pfn, pages: u32);

    /// Unmaps the frames: whoever touches them is wrong. `false` when they stay mapped, because they have no mapping of
    /// their own or are not in the linear map.
    fn unmap(&self, first: Pfn, pages: u32) -> bool;
}

/// Keeps book of which bytes may be touched (Linux: `kasan_alloc_pages`, `kmemcheck_pagealloc_alloc`).
pub trait ShadowChecker: Sync {
    /// The block was just handed out.
    fn on_alloc(&self, pfn: Pfn, order: Order);

    /// The block is about to be free.
    fn on_free(&self, pfn: Pfn, order: Order);
}

/// Everything that follows pages.
#[derive(Default)]
pub(super) struct Watch<'m> {
    pub(super) access: InitOnce<&'m dyn PageAccess>,
    pub(super) mapping: Option<&'m dyn PageMapping>,
    pub(super) shadow: Option<&'m dyn ShadowChecker>,
    pub(super) records: Option<PageOwner<'m>>,
    pub(super) trace: Option<&'m TraceRing<'m>>,
    pub(super) owners: Owners<'m>,
    pub(super) destructors: Destructors<'m>,
    pub(super) deferrals: [Deferral; ZoneTag::COUNT],
    pub(super) background: Background,
    pub(super) reports: Reports,
}

impl<'m, M: CurrentCpu, C: FreeCore<'m>> PageAllocator<'m, M, C> {
    /// How frames outside the linear map are reached from now on; `false`, and nothing changed, when that is known.
    pub fn set_page_access(&self, access: &'m dyn PageAccess) -> bool {
        self.watch.access.set(access).is_ok()
    }

    /// Who unmaps free frames while [`Hooks::DEBUG_PAGEALLOC`](super::Hooks::DEBUG_PAGEALLOC) is on.
    pub fn set_page_mapping(&mut self, mapping: &'m dyn PageMapping) {
        self.watch.mapping = Some(mapping);
    }

    /// Who keeps book while [`Hooks::SHADOW`](super::Hooks::SHADOW) is on.
    pub fn set_shadow_checker(&mut self, shadow: &'m dyn ShadowChecker) {
        self.watch.shadow = Some(shadow);
    }

    /// Where records are kept while [`Hooks::PAGE_OWNER`](super::Hooks::PAGE_OWNER) is on.
    pub fn set_page_owner(&mut self, records: PageOwner<'m>) {
        self.watch.records = Some(records);
    }

    /// The records of who allocated what.
    #[must_use]
    pub fn page_owner(&self) -> Option<&PageOwner<'m>> {
        self.watch.records.as_ref()
    }

    /// The ring of [`Options::trace`](super::Options::trace).
    #[must_use]
    pub fn trace(&self) -> Option<&'m TraceRing<'m>> {
        self.watch.trace
    }

    /// Writes an event to the trace, if it is on.
    #[inline]
    pub(super) fn note(&self, what: What, pfn: Option<Pfn>, order: Order) {
        if let Some(ring) = self.watch.trace.filter(|ring| ring.is_on()) {
            ring.write(what, pfn, order);
        }
    }
}
