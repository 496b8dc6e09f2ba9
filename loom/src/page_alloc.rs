//! mm's pagesets, which one CPU changes and others look at, open and close.

#[path = "../../mm/src/page_alloc/pageset/mod.rs"]
#[allow(dead_code, unused_imports, reason = "mm does more with a pageset than a model")]
mod pageset;

use core::sync::atomic::AtomicU32;

use pageset::{Pageset, PagesetSize, RingIndex, open_rings};

use crate::addr::Pfn;
use crate::migrate::MigrateType;
use crate::order::Order;

/// A pageset of single movable pages, and what `page_alloc` does to it.
pub struct Stock(Pageset<'static>);

impl Stock {
    /// Most pages.
    pub const HIGH: u32 = 4;

    /// One with a page that every CPU sees, open for hits. Its slots are never given back: a model is short.
    pub fn new() -> Self {
        let slots: &'static [AtomicU32] = Box::leak((0..Pageset::SLOTS).map(|_| AtomicU32::new(0)).collect());
        let set = Pageset::new(slots, PagesetSize { high: Self::HIGH, batch: 1 }).unwrap();
        set.set_open(open_rings(u32::MAX));
        let stock = Self(set);
        assert!(stock.free(1) && stock.count() == 1 && stock.freed() == 1);
        stock
    }

    fn ring() -> RingIndex {
        RingIndex::of(Order::ZERO, MigrateType::Movable)
    }

    /// A hit of its own CPU; `None` when it is closed or there is none.
    pub fn alloc(&self) -> Option<u32> {
        if self.0.is_open(Self::ring()) { self.0.pop_hot(Self::ring()).map(Pfn::raw) } else { None }
    }

    /// A free by its own CPU that is a hit; `false` when the page must go to the zone.
    pub fn free(&self, page: u32) -> bool {
        self.0.push_hit(Pfn::new(page), Order::ZERO, false, || Some(MigrateType::Movable as u32))
    }

    /// Its own CPU, or one that holds the zone's lock after that has stopped, takes the coldest page for the zone.
    pub fn drain(&self) -> Option<u32> {
        let mut page = None;
        self.0.take_coldest(1, false, |mut blocks, _| {
            page = blocks.next().map(Pfn::raw);
            blocks.left()
        });
        page
    }

    /// Pages that callers freed, on any CPU.
    pub fn freed(&self) -> u32 {
        self.0.freed()
    }

    /// Its own CPU looks after it; returns how many pages fit.
    pub fn look_after(&self) -> u32 {
        self.0.recount()
    }

    /// What a zone says to it with its lock held when hits are forbidden or allowed again.
    pub fn close(&self, closed: bool) {
        self.0.set_closed(closed);
        self.tell();
    }

    /// What a zone says to it with its lock held when there is enough free.
    pub fn tell(&self) {
        self.0.set_open(open_rings(u32::MAX));
    }

    /// Pages in stock, on any CPU.
    pub fn count(&self) -> u32 {
        self.0.count()
    }
}

impl Default for Stock {
    fn default() -> Self {
        Self::new()
    }
}
