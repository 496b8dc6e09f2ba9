//! Isolation: pageblocks taken out of service, so that what is free in them stays free.
//!
//! Theory.      An isolated pageblock keeps, beside its new type, the one that it had. What is free in it is on the
//!              lists of isolated blocks, where nobody takes from; what is freed there joins it. Pages of it that lie
//!              in pagesets are no part of that: the pagesets are emptied once the type is set.
//!              While a zone has any, nothing of it is served by hits, which do not ask for types.
//! Invariants.  A pageblock is isolated by one range at a time.
//! Source.      Linux 4.1 mm/page_isolation.c: `start_isolate_page_range`, `undo_isolate_page_range`,
//!              `test_pages_isolated`, `set_migratetype_isolate`.
#![forbid(unsafe_code)]

use core::fmt;

use crate::addr::{Pfn, PfnRange};
use crate::buddy::FreeCore;
use crate::memmap::PageState;
use crate::migrate::{MigrateType, PAGEBLOCK_PAGES, pageblock_of};
use crate::page_alloc::{PageAllocator, Zone};
use crate::sync::CurrentCpu;

/// Why a range cannot be isolated. Nothing has changed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum IsolateError {
    /// The frame is in no zone, in another one than the first, or the range is empty.
    OtherZone(Pfn),
    /// The frame's pageblock is isolated already.
    Isolated(Pfn),
}

impl fmt::Display for IsolateError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::OtherZone(pfn) => write!(f, "pfn {pfn} is not in the zone of the range"),
            Self::Isolated(pfn) => write!(f, "pfn {pfn} is in a pageblock that is isolated already"),
        }
    }
}

impl core::error::Error for IsolateError {}

/// The first frame of every pageblock that a range of a zone touches, or, if the zone begins inside it, the zone's.
fn blocks(range: PfnRange) -> impl Iterator<Item = Pfn> + Clone {
    range.iter().filter(move |pfn| *pfn == range.start || pfn.raw() & (PAGEBLOCK_PAGES - 1) == 0)
}

impl<'m, M: CurrentCpu, C: FreeCore<'m>> PageAllocator<'m, M, C> {
    /// The zone of a range, all of whose frames exist in it.
    pub(super) fn zone_of_range(&self, range: PfnRange) -> Result<&Zone<'m, C, M>, IsolateError> {
        let no_zone = IsolateError::OtherZone(range.start);
        let first = self.map.page(range.start).filter(|_| !range.is_empty()).ok_or(no_zone)?;
        let zone = self.zone_tagged(first.zone()).ok_or(no_zone)?;
        let is_ours =
            |pfn: &Pfn| self.map.page(*pfn).is_some_and(|page| page.zone() == zone.tag() && !page.word().is_hole());
        match range.iter().find(|pfn| !is_ours(pfn)) {
            Some(foreign) => Err(IsolateError::OtherZone(foreign)),
            None => Ok(zone),
        }
    }

    /// Takes every pageblock that `range` touches out of service, then empties the pagesets of all CPUs
    /// (Linux: `start_isolate_page_range`).
    ///
    /// # Errors
    /// [`IsolateError`]; nothing has changed.
    pub fn start_isolate_page_range(&self, range: PfnRange) -> Result<(), IsolateError> {
        let zone = self.zone_of_range(range)?;
        // A hit does not look at the pageblock's type.
        zone.close_hits(true);
        for block in blocks(range) {
            let isolate = |kind| (kind != MigrateType::Isolate).then_some(MigrateType::Isolate);
            if zone.change_type(block, isolate).is_none() {
                self.unisolate(zone, PfnRange::new(range.start, block));
                zone.close_hits(false);
                return Err(IsolateError::Isolated(block));
            }
        }
        self.drain_all();
        Ok(())
    }

    /// Gives the isolated pageblocks that `range` touches the types that they had before, and what is free in them back
    /// (Linux: `undo_isolate_page_range`).
    ///
    /// # Errors
    /// [`IsolateError::OtherZone`]; nothing has changed.
    pub fn undo_isolate_page_range(&self, range: PfnRange) -> Result<(), IsolateError> {
        let zone = self.zone_of_range(range)?;
        self.unisolate(zone, range);
        zone.close_hits(false);
        Ok(())
    }

    fn unisolate(&self, zone: &Zone<'m, C, M>, range: PfnRange) {
        for block in blocks(range) {
            zone.change_type(block, |_| zone.frames.usemap.before_isolation(block));
        }
    }

    /// Whether every frame of `range` is free and isolated (Linux: `test_pages_isolated`).
    ///
    /// # Errors
    /// The first frame that is not, and what it is.
    pub fn test_pages_isolated(&self, range: PfnRange) -> Result<(), (Pfn, PageState)> {
        let mut next = range.start;
        while range.contains(next) {
            let found = self.map.state(next).unwrap_or(PageState::Hole);
            let (head, order) = self.map.head_of(next).ok_or((next, found))?;
            let is_isolated = matches!(self.map.state(head), Some(PageState::Isolated(_)));
            let is_guard = matches!(self.map.state(head), Some(PageState::Guard(_)));
            if !(is_isolated || is_guard && pageblock_of(head).contains(next)) {
                return Err((next, found));
            }
            next = head.checked_add(order.pages()).unwrap_or(range.end);
        }
        Ok(())
    }
}
