//! mm's entry of the memory map, whose state word is what CPUs claim a block by.

#[path = "../../mm/src/memmap/page.rs"]
#[allow(dead_code, reason = "mm uses more of a page than its state word")]
mod page;
#[path = "../../mm/src/memmap/state.rs"]
#[allow(dead_code, reason = "as above")]
mod state;

pub use page::{NO_FRAME, Page, ZoneTag};
pub use state::{Marks, PageState, StateWord};

use crate::addr::NodeId;
use crate::migrate::MigrateType;
use crate::order::Order;
use crate::zone::ZoneType;

/// A block of two pages that a caller owns, and what `page_alloc` does to its state word, step by step as there.
pub struct Block(Page);

impl Block {
    const ORDER: Order = match Order::new(1) {
        Some(order) => order,
        None => Order::ZERO,
    };

    /// A block with one owner, looked at once.
    pub fn new() -> Self {
        let tag = ZoneTag::new(NodeId::ZERO, ZoneType::Normal);
        let block = Self(Page::new(tag, StateWord::allocated(Self::ORDER, MigrateType::Movable)));
        assert_eq!(block.0.word().references(), 1);
        block
    }

    /// How many own it.
    pub fn references(&self) -> u32 {
        self.0.word().references()
    }

    /// `get_page`: one owner more; `false` when nobody owns the block any more.
    pub fn get(&self) -> bool {
        self.0.update(|word| word.is_in_use().then(|| word.shared())?).is_ok()
    }

    /// `free_pages`: one owner less; `Some(true)` for who gave up the last reference, `None` when it is refused.
    pub fn free(&self) -> Option<bool> {
        if self.0.claim(Self::ORDER).is_some() {
            return Some(true);
        }
        loop {
            let word = self.0.word();
            if !word.is_allocated_of(Self::ORDER) {
                return None;
            }
            let left = word.unshared().unwrap_or(StateWord::pageset(Self::ORDER));
            if self.0.swap_word(word, left) {
                return Some(word.unshared().is_none());
            }
        }
    }

    /// Whoever moves the block marks it, as long as somebody owns it.
    pub fn mark_moving(&self) -> bool {
        let mark =
            |word: StateWord| word.is_allocated_of(Self::ORDER).then(|| word.marked(word.marks() | Marks::MOVING));
        self.0.update(mark).is_ok()
    }

    /// Whether somebody moves it.
    pub fn is_moving(&self) -> bool {
        self.0.word().marks().contains(Marks::MOVING)
    }
}

impl Default for Block {
    fn default() -> Self {
        Self::new()
    }
}
