//! Pageblocks: the unit that migrate types are kept for, and the size of a zone's map of them.
//!
//! Theory.      A pageblock is a block of the largest order. Each zone has a map of its own ("usemap"), four bits a
//!              block, that begins at the block in which the zone's first frame lies: a zone's border can lie inside
//!              a block, and then both zones have an entry for it.
//! Picture.     block     |   n    |  n+1   |  n+2   |
//!              zone           |--------------|            3 entries: n, n+1, n+2
//! Source.      Linux mm/page_alloc.c: setup_usemap, usemap_size.
#![forbid(unsafe_code)]

use crate::addr::{Pfn, PfnRange};
use crate::order::Order;

/// log2 pages of a pageblock (Linux: `pageblock_order` without huge pages is the largest order).
pub const PAGEBLOCK_ORDER: Order = Order::LARGEST;
/// Pages of a pageblock.
pub const PAGEBLOCK_PAGES: u32 = PAGEBLOCK_ORDER.pages();
/// Bits that the map keeps a block: the migrate type and the compaction hint (Linux: `NR_PAGEBLOCK_BITS`).
pub const PAGEBLOCK_BITS: u32 = 4;

/// Pageblocks of `pages` pages, a power of two, that `span` touches; 0 for an empty span.
#[must_use]
pub const fn blocks_touched(span: PfnRange, pages: u32) -> u32 {
    if span.is_empty() || !pages.is_power_of_two() {
        return 0;
    }
    let shift = pages.trailing_zeros();
    ((span.end.raw() - 1) >> shift) - (span.start.raw() >> shift) + 1
}

/// Bytes of the map of a zone with `span`, in whole 32-bit words, for pageblocks of `pages` pages, a power of two.
#[must_use]
pub const fn usemap_bytes(span: PfnRange, pages: u32) -> u32 {
    let blocks_a_word = u32::BITS / PAGEBLOCK_BITS;
    blocks_touched(span, pages).div_ceil(blocks_a_word) * 4
}

/// The entry of `pfn` in the map of a zone with `span`; `None` outside the zone.
#[must_use]
pub const fn usemap_index(span: PfnRange, pfn: Pfn) -> Option<u32> {
    if !span.contains(pfn) {
        return None;
    }
    let shift = PAGEBLOCK_PAGES.trailing_zeros();
    Some((pfn.raw() >> shift) - (span.start.raw() >> shift))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn span(start: u32, end: u32) -> PfnRange {
        PfnRange::new(Pfn::new(start), Pfn::new(end))
    }

    #[test]
    fn the_maps_of_the_three_reference_boots_have_linux_sizes() {
        // Linux 6.1 there has blocks of 2,048 pages; its `setup_usemap` lines name the bytes.
        assert_eq!(usemap_bytes(span(524_288, 655_360), 2048), 32);
        assert_eq!(usemap_bytes(span(524_288, 651_008), 2048), 32);
        assert_eq!(usemap_bytes(span(651_008, 655_360), 2048), 4);
        assert_eq!(usemap_bytes(span(524_288, 720_896), 2048), 48);
        assert_eq!(usemap_bytes(span(720_896, 1_048_575), 2048), 80);
    }

    #[test]
    fn a_border_inside_a_block_gives_both_zones_an_entry_for_it() {
        let (lower, upper) = (span(0x80000, 0x9ef00), span(0x9ef00, 0xa0000));
        let last = usemap_index(lower, Pfn::new(0x9eeff)).unwrap();
        assert_eq!(last + 1, blocks_touched(lower, PAGEBLOCK_PAGES));
        assert_eq!(usemap_index(upper, Pfn::new(0x9ef00)), Some(0));
        assert_eq!(usemap_index(upper, Pfn::new(0x9f000)), Some(1));
        assert_eq!(usemap_index(upper, Pfn::new(0x9eeff)), None);
        assert_eq!(blocks_touched(span(7, 7), PAGEBLOCK_PAGES), 0);
        assert_eq!(blocks_touched(span(0, u32::MAX), 1024), 1 << 22);
    }
}
