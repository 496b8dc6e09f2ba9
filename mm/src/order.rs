//! The size of a block of pages: a power of two, checked once.
#![forbid(unsafe_code)]

use crate::addr::Pfn;

/// Number of orders of the buddy allocator: 0 to 10, the largest block is 4 MiB (Linux 4.1: `MAX_ORDER`).
pub const MAX_ORDER: usize = 11;

/// log2 of a block's pages; an `Order` in hand is below [`MAX_ORDER`].
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
#[repr(transparent)]
pub struct Order(Log2);

/// The numbers that an order can be. The compiler knows them, so that neither shifts nor array accesses by an order
/// need a check.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
#[repr(u32)]
enum Log2 {
    #[default]
    O0,
    O1,
    O2,
    O3,
    O4,
    O5,
    O6,
    O7,
    O8,
    O9,
    O10,
}

impl Log2 {
    const ALL: [Self; MAX_ORDER] = {
        use Log2::{O0, O1, O2, O3, O4, O5, O6, O7, O8, O9, O10};
        [O0, O1, O2, O3, O4, O5, O6, O7, O8, O9, O10]
    };
}

impl Order {
    /// One page.
    pub const ZERO: Self = Self(Log2::O0);
    /// The largest block: 1,024 pages.
    pub const LARGEST: Self = Self(Log2::O10);

    /// Order `raw`; `None` for [`MAX_ORDER`] and above.
    #[must_use]
    pub const fn new(raw: u8) -> Option<Self> {
        Self::of_log2(raw as u32)
    }

    /// The order of blocks of 2^`log2` pages; `None` for [`MAX_ORDER`] and above.
    #[must_use]
    #[inline]
    pub const fn of_log2(log2: u32) -> Option<Self> {
        // Each arm's value is its number: this compiles to one comparison.
        Some(Self(match log2 {
            0 => Log2::O0,
            1 => Log2::O1,
            2 => Log2::O2,
            3 => Log2::O3,
            4 => Log2::O4,
            5 => Log2::O5,
            6 => Log2::O6,
            7 => Log2::O7,
            8 => Log2::O8,
            9 => Log2::O9,
            10 => Log2::O10,
            _ => return None,
        }))
    }

    /// The largest order of a naturally aligned block that starts at `pfn` and has at most `pages` pages; `None`
    /// when `pages` is 0.
    #[must_use]
    pub const fn largest_at(pfn: Pfn, pages: u32) -> Option<Self> {
        if pages == 0 {
            return None;
        }
        let align = pfn.raw().trailing_zeros();
        let size = pages.ilog2();
        let fits = if align < size { align } else { size };
        Some(match Self::of_log2(fits) {
            Some(order) => order,
            None => Self::LARGEST,
        })
    }

    /// The smallest order whose block holds `pages` pages; `None` when no block is that large.
    #[must_use]
    pub const fn covering(pages: u32) -> Option<Self> {
        if pages <= 1 {
            return Some(Self::ZERO);
        }
        Self::of_log2((pages - 1).ilog2() + 1)
    }

    /// The largest order whose block has at most `pages` pages; `None` when `pages` is 0.
    #[must_use]
    pub const fn largest_within(pages: u32) -> Option<Self> {
        Self::largest_at(Pfn::new(0), pages)
    }

    /// The logarithm.
    #[must_use]
    pub const fn raw(self) -> u8 {
        self.0 as u8
    }

    /// The logarithm, as wide as a register.
    #[must_use]
    #[inline]
    pub const fn log2(self) -> u32 {
        self.0 as u32
    }

    /// The logarithm, for an array of [`MAX_ORDER`].
    #[must_use]
    pub const fn index(self) -> usize {
        self.0 as usize
    }

    /// Pages in a block of this order.
    #[must_use]
    pub const fn pages(self) -> u32 {
        1 << self.log2()
    }

    /// Whether `pfn` can be the first page of a block of this order.
    #[must_use]
    pub const fn aligns(self, pfn: Pfn) -> bool {
        pfn.raw() & (self.pages() - 1) == 0
    }

    /// The other half of the block of the next order: `pfn` with bit `order` flipped (Linux: `__find_buddy_pfn`).
    #[must_use]
    pub const fn buddy_of(self, pfn: Pfn) -> Pfn {
        Pfn::new(pfn.raw() ^ self.pages())
    }

    /// The next larger order; `None` above the largest.
    #[must_use]
    pub const fn next(self) -> Option<Self> {
        Self::of_log2(self.log2() + 1)
    }

    /// The next smaller order; `None` below order 0.
    #[must_use]
    pub const fn previous(self) -> Option<Self> {
        Self::of_log2(self.log2().wrapping_sub(1))
    }

    /// Every order, smallest first.
    pub fn all() -> impl DoubleEndedIterator<Item = Self> + Clone {
        Log2::ALL.into_iter().map(Self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_largest_block_at_a_frame_is_bound_by_its_alignment_and_by_the_room() {
        assert_eq!(Order::largest_at(Pfn::new(0x404), 1024), Order::new(2));
        assert_eq!(Order::largest_at(Pfn::new(0x400), 1023), Order::new(9));
        assert_eq!(Order::largest_at(Pfn::new(0), u32::MAX), Some(Order::LARGEST));
        assert_eq!(Order::largest_at(Pfn::new(0), 0), None);
        assert_eq!(Order::largest_within(31), Order::new(4));
        assert_eq!(Order::largest_within(0), None);
    }

    #[test]
    fn the_covering_order_is_the_smallest_that_holds_the_pages() {
        assert_eq!(Order::covering(1), Order::new(0));
        assert_eq!(Order::covering(5), Order::new(3));
        assert_eq!(Order::covering(1024), Order::new(10));
        assert_eq!(Order::covering(1025), None);
    }
}
