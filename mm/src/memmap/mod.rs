//! The memory map: one 32-byte [`Page`] for every page frame, in one flat array.
//!
//! Theory.      A page's state stands in one word that is written for heads only. A frame whose own word says nothing
//!              ("inside") is a tail when one of the 10 naturally aligned frames below it is the head of a block that
//!              covers it, and reserved when none is. So a block of any size changes hands with one store, and an
//!              array that has just been initialised says "reserved" of every frame.
//! Invariants.  1. A head is aligned to its order, and no head lies inside another head's block. 2. The array begins
//!              and ends on a whole largest block, so a buddy's page can always be looked at. 3. Every field is a
//!              relaxed atomic: another CPU's merge check may read a page while its state changes, and the map is only
//!              ever shared (`&[Page]`).
//! Picture.     pfn    0          4        6  7
//!              state  free o2 …  alloc o1 …  (inside: reserved)
//! Not here.    Who may change a state (`buddy` under the zone's lock, `page_alloc` for what it handed out).
//! Source.      Linux: `struct page`, `memmap_init_zone`, `__init_single_page`, `pfn_to_page`, `pfn_valid`.

mod init;
mod page;
mod state;
mod usemap;

#[cfg(test)]
mod tests;

pub(crate) use init::write_front;
pub use init::{FrameRun, MapError};
pub(crate) use page::FrameFlags;
pub use page::{NO_FRAME, Page, ZoneTag};
pub use state::{Marks, PageState, StateWord};
pub use usemap::Usemap;

use crate::addr::{Pfn, PfnRange};
use crate::order::{MAX_ORDER, Order};

const _: () = assert!(size_of::<Page>() == 32);

/// Frames of a largest block.
pub(crate) const GROUP: usize = Order::LARGEST.pages() as usize;
/// The entries of a naturally aligned largest block.
pub(crate) type Group = [Page; GROUP];

/// The array, and the frame number of its first entry.
#[derive(Clone, Copy)]
pub struct MemMap<'m> {
    pages: &'m [Page],
    /// A multiple of the largest block.
    base: u32,
}

impl<'m> MemMap<'m> {
    /// The frames that a map of `span` has entries for: `span`, rounded out to whole largest blocks.
    #[must_use]
    pub fn coverage(span: PfnRange) -> PfnRange {
        let block = Order::LARGEST.pages();
        let start = span.start.raw() & !(block - 1);
        let end = span.end.raw().max(span.start.raw()).checked_next_multiple_of(block);
        PfnRange::new(Pfn::new(start), Pfn::new(end.unwrap_or(!(block - 1))))
    }

    /// The frames that it has entries for; those in holes included.
    #[must_use]
    pub fn span(&self) -> PfnRange {
        // The array's length was checked against the span, which fits 32 bits.
        #[expect(clippy::cast_possible_truncation, reason = "the constructor took the length from a range of u32")]
        let pages = self.pages.len() as u32;
        PfnRange::new(Pfn::new(self.base), Pfn::new(self.base.wrapping_add(pages)))
    }

    /// The frame's entry; `None` outside the array (Linux: `pfn_to_page` behind `pfn_valid`).
    #[must_use]
    #[inline]
    pub fn page(&self, pfn: Pfn) -> Option<&'m Page> {
        self.pages.get(pfn.raw().wrapping_sub(self.base) as usize)
    }

    /// The entries of the frames from `first` on; none when there is no entry for it.
    #[must_use]
    pub fn pages_from(&self, first: Pfn) -> &'m [Page] {
        self.pages.get(first.raw().wrapping_sub(self.base) as usize..).unwrap_or(&[])
    }

    /// The entry of a frame that is known to be in the array: a link, or a buddy of such a frame.
    ///
    /// # Panics
    /// When it is not: then a link is broken, and going on would spread it.
    #[must_use]
    #[inline]
    pub(crate) fn at(&self, pfn: Pfn) -> &'m Page {
        &self.pages[pfn.raw().wrapping_sub(self.base) as usize]
    }

    /// The number of a frame's entry: what links between entries hold, because looking it up takes no more than a
    /// check.
    #[inline(always)]
    pub(crate) fn place_of(&self, pfn: Pfn) -> u32 {
        pfn.raw().wrapping_sub(self.base)
    }

    /// The frame of an entry's number.
    #[inline(always)]
    pub(crate) fn frame_at(&self, place: u32) -> Pfn {
        Pfn::new(place.wrapping_add(self.base))
    }

    /// An entry by its number; `None` for one beyond the array, such as `NO_FRAME`.
    #[inline(always)]
    pub(crate) fn entry(&self, place: u32) -> Option<&'m Page> {
        self.pages.get(place as usize)
    }

    /// The entries around `pfn`, which is known to be in the array: those of the naturally aligned largest block that
    /// it lies in. The buddy of a block is among them, and an index that is reduced to their number needs no check.
    ///
    /// # Panics
    /// As [`Self::at`].
    #[inline(always)]
    pub(crate) fn around(&self, pfn: Pfn) -> &'m Group {
        let (groups, _) = self.pages.as_chunks();
        &groups[pfn.raw().wrapping_sub(self.base) as usize / GROUP]
    }

    /// The frame of an entry; `None` for an entry of another array (Linux: `page_to_pfn`).
    #[must_use]
    pub fn pfn_of(&self, page: &Page) -> Option<Pfn> {
        let offset = core::ptr::from_ref(page).addr().checked_sub(self.pages.as_ptr().addr())? / size_of::<Page>();
        let pfn = Pfn::new(self.base.checked_add(u32::try_from(offset).ok()?)?);
        self.page(pfn).map(|_| pfn)
    }

    /// Whether the frame is RAM that the map knows: not outside, not in a hole (Linux: `pfn_valid`).
    #[must_use]
    pub fn is_present(&self, pfn: Pfn) -> bool {
        self.page(pfn).is_some_and(Page::is_present)
    }

    /// What the frame is; `None` outside the array. Cost: a load, and up to 10 more for a tail or a reserved frame.
    #[must_use]
    pub fn state(&self, pfn: Pfn) -> Option<PageState> {
        let word = self.page(pfn)?.word();
        Some(match word.head_state() {
            Some(state) => state,
            None => match self.covering_head(pfn) {
                Some((head, order)) => PageState::Tail { head, order },
                None => PageState::Reserved,
            },
        })
    }

    /// The head whose block covers `pfn`, when `pfn` is not one itself (Linux: `compound_head`).
    fn covering_head(&self, pfn: Pfn) -> Option<(Pfn, Order)> {
        for order in Order::all().skip(1).take(MAX_ORDER - 1) {
            let candidate = Pfn::new(pfn.raw() & !(order.pages() - 1));
            let word = self.page(candidate)?.word();
            if let Some(found) = word.head_order() {
                // A head that does not reach `pfn` is itself covered by nobody, so `pfn` is not either.
                return (found >= order && candidate != pfn).then_some((candidate, found));
            }
        }
        None
    }

    /// The head of the block that covers `pfn`, which may be `pfn` itself, and the block's order; `None` for what is
    /// in no block (Linux: `compound_head`, of blocks of every kind).
    #[must_use]
    pub fn head_of(&self, pfn: Pfn) -> Option<(Pfn, Order)> {
        match self.page(pfn)?.word().head_order() {
            Some(order) => Some((pfn, order)),
            None => self.covering_head(pfn),
        }
    }

    /// How many owners the frame's block has; 0 for what is not allocated (Linux: `page_count`).
    #[must_use]
    pub fn count(&self, pfn: Pfn) -> Option<u32> {
        Some(self.page(pfn)?.word().references())
    }
}

impl core::fmt::Debug for MemMap<'_> {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("MemMap").field("span", &self.span()).finish_non_exhaustive()
    }
}
