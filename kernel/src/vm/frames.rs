//! Frames for areas, tables and nodes, from the page allocator.
//!
//! Theory.      A table that becomes empty goes back to where it came from. Memblock is gone by then, so one that it
//!              gave is kept here, and serves as the next table: its frame is reserved for ever, and no zone may have
//!              it.

use mm::addr::{Pfn, PhysAddr};
use mm::gfp::GfpFlags;
use mm::memmap::PageState;
use mm::order::Order;
use mm::paging::TableSource;
use mm::platform::PhysMap;
use mm::vmalloc::{FrameSource, NodePages};

use crate::ram::RAM;
use crate::system::Zones;

/// What an area's frames are asked for with: anywhere, and nobody hears of it when smaller blocks will do.
const AREA: GfpFlags = GfpFlags::GFP_KERNEL.union(GfpFlags::HIGHMEM).union(GfpFlags::NOWARN);

/// Tables that may stay although they are empty.
const POSTPONED: usize = 8;

/// The page allocator as the tables and areas see it.
#[derive(Debug)]
pub(super) struct Frames {
    zones: &'static Zones,
    /// The last of memblock's tables that is free; each holds the frame number of the one before in its first word.
    kept: Option<Pfn>,
    /// First-level pairs whose tables may be empty, until the next purge: a table that would come and go with one
    /// mapping stays.
    postponed: [usize; POSTPONED],
    postponed_len: usize,
}

impl Frames {
    pub(super) const fn new(zones: &'static Zones) -> Self {
        Self { zones, kept: None, postponed: [0; POSTPONED], postponed_len: 0 }
    }

    /// A first-level pair whose table may be empty; each one once.
    pub(super) fn next_postponed(&mut self) -> Option<usize> {
        self.postponed_len = self.postponed_len.checked_sub(1)?;
        self.postponed.get(self.postponed_len).copied()
    }

    /// Keeps a table of memblock's.
    fn keep(&mut self, table: Pfn) {
        if let Some(page) = RAM.frames_ptr(table, 1) {
            let word = page.cast::<u32>();
            // SAFETY: the frame was a table, lies in lowmem, and is nobody's now.
            unsafe { word.write_volatile(self.kept.map_or(u32::MAX, Pfn::raw)) }
            self.kept = Some(table);
        }
    }

    /// The last table that was kept.
    fn take_kept(&mut self) -> Option<Pfn> {
        let table = self.kept?;
        let word = RAM.frames_ptr(table, 1)?.cast::<u32>();
        // SAFETY: `keep` wrote this word, and the frame is nobody's since.
        let before = unsafe { word.read_volatile() };
        self.kept = (before != u32::MAX).then_some(Pfn::new(before));
        Some(table)
    }
}

/// Gives back a block of ours; the allocator reports one that it refuses.
fn give(zones: &Zones, block: Pfn, order: Order) {
    let freed = zones.free_pages(block, order);
    debug_assert!(freed.is_ok(), "{freed:?}");
}

impl TableSource for Frames {
    fn take_table(&mut self) -> Option<PhysAddr> {
        self.take_kept().or_else(|| self.zones.alloc_page(GfpFlags::GFP_KERNEL).ok()).map(Pfn::base)
    }

    fn give_back(&mut self, table: PhysAddr) {
        let Some(frame) = Pfn::containing(table) else { return };
        match self.zones.map().state(frame) {
            Some(PageState::Reserved) => self.keep(frame),
            _ => give(self.zones, frame, Order::ZERO),
        }
    }

    fn postpone(&mut self, pair: usize) -> bool {
        let (known, free) = self.postponed.split_at_mut(self.postponed_len.min(POSTPONED));
        if known.contains(&pair) {
            return true;
        }
        let Some(place) = free.first_mut() else { return false };
        *place = pair;
        self.postponed_len += 1;
        true
    }
}

impl FrameSource for Frames {
    fn alloc_blocks(&mut self, order: Order, out: &mut [Pfn]) -> usize {
        if order == Order::ZERO {
            return self.zones.alloc_pages_bulk(AREA, out).unwrap_or(0);
        }
        let mut had = 0;
        for place in out {
            let Ok(block) = self.zones.alloc_pages(AREA, order) else { break };
            *place = block;
            had += 1;
        }
        had
    }

    fn free_blocks(&mut self, order: Order, blocks: &[Pfn]) {
        if order == Order::ZERO {
            let freed = self.zones.free_pages_bulk(blocks);
            debug_assert!(freed.is_ok(), "{freed:?}");
            return;
        }
        blocks.iter().for_each(|block| give(self.zones, *block, order));
    }
}

/// The page allocator as the store of nodes sees it.
#[derive(Debug)]
pub(super) struct Pages(&'static Zones);

impl Pages {
    pub(super) const fn new(zones: &'static Zones) -> Self {
        Self(zones)
    }
}

impl NodePages for Pages {
    fn take_page(&mut self) -> Option<Pfn> {
        self.0.alloc_page(GfpFlags::GFP_KERNEL).ok()
    }

    fn give_back(&mut self, page: Pfn) {
        give(self.0, page, Order::ZERO);
    }
}
