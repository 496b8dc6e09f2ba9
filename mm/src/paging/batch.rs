//! TLB maintenance of one change of the tables, collected: a few addresses, or everything.
//!
//! Theory.      Every descriptor that was valid and was removed or narrowed is one address, whatever it maps: an
//!              operation by address drops the whole section or large page that the address lies in. Descriptors that
//!              follow each other make a range. Past [`EACH_MAX`] addresses the walks that a full flush costs later are
//!              fewer than the operations it saves now.
//! Source.      Arm ARM DDI 0406C B3.10.5; Linux `flush_tlb_kernel_range`, x86's `tlb_single_page_flush_ceiling` (33).
#![forbid(unsafe_code)]

use super::edit::Editor;
use crate::addr::{PAGE_SIZE, VirtAddr};
use crate::platform::{PhysMap, TlbControl};

/// Descriptors up to which each is flushed by itself.
pub(super) const EACH_MAX: u32 = 32;
/// Ranges that a change has before it is a matter of everything.
const RANGES: usize = 4;

/// Descriptors of one size behind each other.
#[derive(Clone, Copy, Debug)]
struct Range {
    first: VirtAddr,
    step: u32,
    count: u32,
}

/// Addresses whose translations the TLBs have to forget.
#[derive(Debug)]
pub(super) struct Batch {
    ranges: [Range; RANGES],
    /// Ranges in use; more than there are for everything.
    used: usize,
    /// Addresses in them.
    total: u32,
}

impl Batch {
    pub(super) const fn new() -> Self {
        Self { ranges: [Range { first: VirtAddr::new(0), step: 0, count: 0 }; RANGES], used: 0, total: 0 }
    }

    /// Adds the descriptor of `bytes` bytes that maps `va`.
    pub(super) fn push(&mut self, va: VirtAddr, bytes: u32) {
        self.push_all(va, bytes, 1);
    }

    /// Adds `pages` small pages from `va`.
    pub(super) fn push_pages(&mut self, va: VirtAddr, pages: usize) {
        self.push_all(va, PAGE_SIZE, u32::try_from(pages).unwrap_or(u32::MAX));
    }

    fn push_all(&mut self, first: VirtAddr, step: u32, count: u32) {
        self.total = self.total.saturating_add(count);
        let last = self.used.checked_sub(1).and_then(|last| self.ranges.get_mut(last));
        if let Some(last) = last
            && last.step == step
            && last.first.raw().wrapping_add(last.count.wrapping_mul(step)) == first.raw()
        {
            last.count = last.count.saturating_add(count);
            return;
        }
        if let Some(place) = self.ranges.get_mut(self.used) {
            *place = Range { first, step, count };
        }
        self.used = self.used.saturating_add(1);
    }

    /// Drops what was added from the TLBs.
    pub(super) fn flush<P: PhysMap + ?Sized, T: TlbControl + ?Sized>(&self, editor: &Editor<'_, P, T>) {
        let Some(ranges) = self.ranges.get(..self.used).filter(|_| self.total <= EACH_MAX) else {
            return editor.flush_all();
        };
        ranges.iter().for_each(|range| range.flush(editor));
    }
}

/// Drops the `count` descriptors of `step` bytes each from `va` on from the TLBs.
pub(super) fn flush_range<P, T>(editor: &Editor<'_, P, T>, first: VirtAddr, step: u32, count: u32)
where
    P: PhysMap + ?Sized,
    T: TlbControl + ?Sized,
{
    if count > EACH_MAX {
        return editor.flush_all();
    }
    Range { first, step, count }.flush(editor);
}

impl Range {
    #[inline]
    fn flush<P: PhysMap + ?Sized, T: TlbControl + ?Sized>(&self, editor: &Editor<'_, P, T>) {
        let mut va = self.first;
        for _ in 0..self.count {
            editor.flush_page(va);
            va = VirtAddr::new(va.raw().wrapping_add(self.step));
        }
    }
}

#[cfg(test)]
#[path = "tests/batch.rs"]
mod tests;
