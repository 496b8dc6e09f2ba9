//! Compound pages: a block that is one page of its order to everyone.
//!
//! Theory.      The head's state is marked, and the number of a destructor stands in its link, which a block in use
//!              does not need. A reference to any page of it is one to the head. Nothing is written to tails: they are
//!              found to be tails as those of any block are.
//! Source.      Linux 4.1: `prep_compound_page`, `compound_head`, `compound_order`, `set_compound_page_dtor`,
//!              `free_compound_page`.
#![forbid(unsafe_code)]

use core::sync::atomic::Ordering::Relaxed;

use crate::addr::Pfn;
use crate::buddy::{FreeCore, FreeError};
use crate::memmap::{Marks, Page, PageState};
use crate::order::Order;
use crate::page_alloc::PageAllocator;
use crate::sync::{CurrentCpu, InitOnce};

/// How many destructors there can be (Linux: `NR_COMPOUND_DTORS`).
const MAX_DESTRUCTORS: usize = 8;

/// What is to be done when a compound page is given up.
pub trait CompoundDtor: Sync {
    /// The last reference to the page is gone; it is freed after this returns.
    fn destroy(&self, head: Pfn, order: Order);
}

/// The number of a registered destructor.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct DtorId(u8);

/// The destructors by number.
#[derive(Default)]
pub(super) struct Destructors<'m>([InitOnce<&'m dyn CompoundDtor>; MAX_DESTRUCTORS]);

impl<'m, M: CurrentCpu, C: FreeCore<'m>> PageAllocator<'m, M, C> {
    /// Registers a destructor for good; `None` when there are 8 already.
    pub fn register_compound_dtor(&self, destructor: &'m dyn CompoundDtor) -> Option<DtorId> {
        let places = (1u8..).zip(&self.watch.destructors.0);
        places.into_iter().find_map(|(number, place)| place.set(destructor).is_ok().then_some(DtorId(number)))
    }

    /// Says what is done when the compound page `head` is given up (Linux: `set_compound_page_dtor`).
    ///
    /// # Errors
    /// [`FreeError`] when `head` heads no compound page; nothing has changed.
    pub fn set_compound_dtor(&self, head: Pfn, id: DtorId) -> Result<(), FreeError> {
        let page = self.map.page(head).ok_or(FreeError::NoSuchFrame(head))?;
        if !page.word().marks().contains(Marks::COMPOUND) {
            let found = self.map.state(head).unwrap_or(PageState::Reserved);
            return Err(FreeError::NotAllocated { pfn: head, order: Order::ZERO, found });
        }
        page.next.store(u32::from(id.0), Relaxed);
        Ok(())
    }

    /// The head of the compound page that `pfn` is in, and `pfn` itself when it is in none (Linux: `compound_head`).
    #[must_use]
    pub fn compound_head(&self, pfn: Pfn) -> Pfn {
        match self.map.head_of(pfn) {
            Some((head, _)) if self.is_compound(head) => head,
            _ => pfn,
        }
    }

    /// The order of the compound page that `head` heads; 0 for any other page (Linux: `compound_order`).
    #[must_use]
    pub fn compound_order(&self, head: Pfn) -> Order {
        self.map
            .page(head)
            .filter(|_| self.is_compound(head))
            .and_then(|page| page.word().head_order())
            .unwrap_or_default()
    }

    fn is_compound(&self, head: Pfn) -> bool {
        self.map.page(head).is_some_and(|page| page.word().marks().contains(Marks::COMPOUND))
    }

    /// Makes a new block a compound page without a destructor.
    pub(super) fn prepare_compound(&self, head: Pfn) {
        if let Some(page) = self.map.page(head) {
            page.next.store(0, Relaxed);
            page.set_marks(Marks::COMPOUND);
        }
    }

    /// Runs the destructor of a compound page that was claimed.
    pub(super) fn destroy_compound(&self, page: &Page, head: Pfn, order: Order) {
        let number = page.next.swap(0, Relaxed) as usize;
        let destructor = number.checked_sub(1).and_then(|index| self.watch.destructors.0.get(index)?.get());
        if let Some(destructor) = destructor {
            destructor.destroy(head, order);
        }
    }
}
