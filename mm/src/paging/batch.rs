//! TLB maintenance of one change of the tables, collected: a few addresses, or everything.
//!
//! Theory.      Every descriptor that was valid and was removed or narrowed is one address, whatever it maps: an
//!              operation by address drops the whole section or large page that the address lies in. Past [`EACH_MAX`]
//!              addresses the walks that a full flush costs later are fewer than the operations it saves now.
//! Source.      Arm ARM DDI 0406C B3.10.5; Linux `flush_tlb_kernel_range`, x86's `tlb_single_page_flush_ceiling` (33).
#![forbid(unsafe_code)]

use super::edit::Editor;
use crate::addr::{PAGE_SIZE, VirtAddr};
use crate::platform::{PhysMap, TlbControl};

/// Descriptors up to which each is flushed by itself.
pub(super) const EACH_MAX: usize = 32;

/// Addresses whose translations the TLBs have to forget.
#[derive(Debug)]
pub(super) struct Batch {
    at: [VirtAddr; EACH_MAX],
    /// How many; more than `EACH_MAX` for everything.
    len: usize,
}

impl Batch {
    pub(super) const fn new() -> Self {
        Self { at: [VirtAddr::new(0); EACH_MAX], len: 0 }
    }

    /// Adds the descriptor that maps `va`.
    pub(super) fn push(&mut self, va: VirtAddr) {
        if let Some(place) = self.at.get_mut(self.len) {
            *place = va;
        }
        self.len = self.len.saturating_add(1);
    }

    /// Adds `pages` small pages from `va`.
    pub(super) fn push_pages(&mut self, va: VirtAddr, pages: usize) {
        if self.len.saturating_add(pages) > EACH_MAX {
            self.len = EACH_MAX + 1;
            return;
        }
        let mut at = va;
        for _ in 0..pages {
            self.push(at);
            at = VirtAddr::new(at.raw().wrapping_add(PAGE_SIZE));
        }
    }

    /// Drops what was added from the TLBs.
    pub(super) fn flush<P: PhysMap + ?Sized, T: TlbControl + ?Sized>(self, editor: &Editor<'_, P, T>) {
        match self.at.get(..self.len) {
            Some(each) => each.iter().for_each(|va| editor.flush_page(*va)),
            None => editor.flush_all(),
        }
    }
}
