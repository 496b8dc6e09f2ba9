//! The invariants of the free lists, tested against the memory map.

use core::borrow::BorrowMut;

use crate::addr::Pfn;
use crate::buddy::list::{BlockLists, Lists, Row};
use crate::buddy::placement::groups;
use crate::buddy::{Broken, FreeCounts, FreeError, ZoneFrames};
use crate::memmap::{PageState, StateWord};
use crate::migrate::MigrateType;
use crate::order::Order;

/// A zone's pages, counted one by one from their states.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Tally {
    /// In free blocks that can be taken.
    pub free: u32,
    /// The part of `free` in contiguous-memory areas.
    pub cma: u32,
    /// In free blocks of isolated pageblocks.
    pub isolated: u32,
    /// In guard blocks.
    pub guard: u32,
    /// In the page allocator's hands: pagesets.
    pub pageset: u32,
    /// In callers' hands, whole or cut into objects.
    pub allocated: u32,
    /// Present, but never given to the allocator.
    pub reserved: u32,
}

impl ZoneFrames<'_> {
    /// Whether a block lies, aligned, in this zone.
    pub(crate) fn check_block(&self, pfn: Pfn, order: Order) -> Result<(), FreeError> {
        if !order.aligns(pfn) {
            return Err(FreeError::Misaligned { pfn, order });
        }
        let is_ours = |pfn: Pfn| {
            self.span.contains(pfn)
                && self.map.page(pfn).is_some_and(|page| page.zone() == self.zone && !page.word().is_hole())
        };
        let last = Pfn::new(pfn.raw() | (order.pages() - 1));
        if is_ours(pfn) && is_ours(last) { Ok(()) } else { Err(FreeError::OtherZone { pfn, order, zone: self.zone }) }
    }
}

/// Walks every list: each entry is a free block of that list, linked both ways, with a buddy that is not free. In a
/// pageblock whose type `is_changing` the types may mix. `row` says where a block of an order and a type belongs.
pub(super) fn lists<L: BorrowMut<Lists<ROWS>>, const ROWS: usize>(
    frames: &ZoneFrames<'_>,
    lists: &BlockLists<'_, L, ROWS>,
    row: impl Fn(Pfn, Order, u32) -> Row,
    is_changing: impl Fn(Pfn) -> bool,
) -> Result<(), Broken> {
    for (rows, kind) in groups::<ROWS>().flat_map(|rows| MigrateType::ALL.map(|kind| (rows, kind))) {
        let this = Row::new(rows, kind as u32);
        for order in Order::all() {
            let is_here = |pfn| row(pfn, order, kind as u32) == this;
            let found = list(frames, lists, (order, kind, this), is_here, &is_changing)?;
            let counter = lists.count(order, this);
            if counter != found {
                return Err(Broken::Count { what: "blocks on a list", counter, found });
            }
            if (lists.fitting(order, this) & order.pages() != 0) != (found > 0) {
                return Err(Broken::Count { what: "mask of non-empty lists", counter: u32::from(found == 0), found });
            }
        }
    }
    Ok(())
}

fn list<L: BorrowMut<Lists<ROWS>>, const ROWS: usize>(
    frames: &ZoneFrames<'_>,
    lists: &BlockLists<'_, L, ROWS>,
    (order, kind, row): (Order, MigrateType, Row),
    is_here: impl Fn(Pfn) -> bool,
    is_changing: &impl Fn(Pfn) -> bool,
) -> Result<u32, Broken> {
    let Some(first) = lists.first(order, row) else { return Ok(0) };
    let mut found = 0;
    let (mut pfn, mut before) = (first, None);
    loop {
        let Some(page) = frames.map.page(pfn) else { return Err(Broken::Listed { pfn, order, kind }) };
        let is_listed = page.word().is_free_in(order, frames.zone) && page.word().list() == Some(kind) && is_here(pfn);
        if !is_listed || frames.check_block(pfn, order).is_err() {
            return Err(Broken::Listed { pfn, order, kind });
        }
        found += 1;
        let (prev, next) = lists.neighbours(page);
        let is_last = lists.last(order, row) == Some(pfn);
        if prev != before || next.is_none() != is_last {
            return Err(Broken::Links { pfn });
        }
        let block = frames.usemap.get(pfn);
        one_block(frames, pfn, order, if is_changing(pfn) { block } else { kind })?;
        let Some(next) = next else { return Ok(found) };
        (before, pfn) = (Some(pfn), next);
    }
}

fn one_block(frames: &ZoneFrames<'_>, pfn: Pfn, order: Order, kind: MigrateType) -> Result<(), Broken> {
    let buddy = frames.map.page(order.buddy_of(pfn)).filter(|_| order < Order::LARGEST);
    if buddy.is_some_and(|page| page.word().is_free_of(order) && page.zone() == frames.zone) {
        return Err(Broken::FreeBuddies { pfn, order });
    }
    // Ordinary types mix inside a pageblock after a fallback; these three never do.
    let special = |kind| matches!(kind, MigrateType::Cma | MigrateType::Isolate | MigrateType::Reserve);
    let block = frames.usemap.get(pfn);
    if block != kind && (special(block) || special(kind)) {
        return Err(Broken::BlockType { pfn, kind });
    }
    Ok(())
}

/// Walks the zone's frames from block to block: heads are aligned, do not overlap and do not leave the zone.
pub(super) fn frames(frames: &ZoneFrames<'_>) -> Result<Tally, Broken> {
    let mut tally = Tally::default();
    let mut pfn = frames.span.start;
    while frames.span.contains(pfn) {
        let Some(page) = frames.map.page(pfn) else { return Err(Broken::Overlap { pfn }) };
        let word = page.word();
        let order = word.head_order();
        if word.is_hole() || page.zone() != frames.zone {
            pfn = pfn.checked_add(1).ok_or(Broken::Overlap { pfn })?;
            continue;
        }
        if let Some(order) = order {
            frames.check_block(pfn, order).map_err(|_| Broken::Overlap { pfn })?;
            tails(frames, pfn, order)?;
        }
        let pages = order.unwrap_or_default().pages();
        let count = match word.head_state() {
            Some(PageState::Free(_)) => &mut tally.free,
            Some(PageState::Isolated(_)) => &mut tally.isolated,
            Some(PageState::Guard(_)) => &mut tally.guard,
            Some(PageState::Pageset(_)) => &mut tally.pageset,
            Some(PageState::Allocated(_) | PageState::Slab(_) | PageState::Owned(_)) => &mut tally.allocated,
            _ => &mut tally.reserved,
        };
        *count += pages;
        if word.list() == Some(MigrateType::Cma) {
            tally.cma += pages;
        }
        pfn = pfn.checked_add(pages).ok_or(Broken::Overlap { pfn })?;
    }
    Ok(tally)
}

/// No frame behind a head is a head itself.
fn tails(frames: &ZoneFrames<'_>, head: Pfn, order: Order) -> Result<(), Broken> {
    for offset in 1..order.pages() {
        let pfn = Pfn::new(head.raw() | offset);
        if frames.map.page(pfn).is_none_or(|page| page.word() != StateWord::INSIDE) {
            return Err(Broken::Overlap { pfn });
        }
    }
    Ok(())
}

/// The core's counts equal the tally.
pub(super) fn counts(counts: &FreeCounts, tally: &Tally) -> Result<(), Broken> {
    let pairs = [
        ("free pages", counts.free, tally.free),
        ("free CMA pages", counts.cma, tally.cma),
        ("isolated pages", counts.isolated, tally.isolated),
        ("guard pages", counts.guard, tally.guard),
    ];
    match pairs.into_iter().find(|(_, counter, found)| counter != found) {
        Some((what, counter, found)) => Err(Broken::Count { what, counter, found }),
        None => Ok(()),
    }
}
