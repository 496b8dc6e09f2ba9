//! Migrate types: what can be done with a page once someone owns it.
//!
//! Theory.      Pages that can be moved or reclaimed are kept apart from those that cannot, a pageblock (4 MiB) at a
//!              time: one unmovable page in each block would make every large block impossible for ever. A request is
//!              served from its own type's lists, and only when they are empty from another's, in a fixed order.
//! Not here.    The type of each pageblock (`memmap::Usemap`), the stealing (`buddy::fallback`).
//! Source.      Linux 4.1: `enum { MIGRATE_* }`, `fallbacks[]`, `pageblock_order`.
#![forbid(unsafe_code)]

use crate::addr::{Pfn, PfnRange};
use crate::order::Order;

/// Order of a pageblock: without huge pages it is the largest block (Linux: `pageblock_order` = `MAX_ORDER - 1`).
pub const PAGEBLOCK_ORDER: Order = Order::LARGEST;
/// Pages in a pageblock.
pub const PAGEBLOCK_PAGES: u32 = PAGEBLOCK_ORDER.pages();

/// Number of migrate types.
pub const MIGRATE_TYPES: usize = 6;
/// Number of types that pagesets keep a list of: the first three (Linux: `MIGRATE_PCPTYPES`).
pub const PAGESET_TYPES: usize = 3;

/// What can be done with the pages of a block (Linux 4.1: `MIGRATE_*`, in its order).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
#[repr(u8)]
pub enum MigrateType {
    /// Stays where it is until it is freed.
    Unmovable = 0,
    /// Stays where it is, but a shrinker can have it freed.
    Reclaimable = 1,
    /// Its owner can copy it elsewhere.
    Movable = 2,
    /// Kept for requests that nothing else can serve.
    Reserve = 3,
    /// A contiguous-memory area, lent to movable allocations only.
    Cma = 4,
    /// Taken out of service: nothing is allocated from here.
    Isolate = 5,
}

impl MigrateType {
    /// Every type.
    pub const ALL: [Self; MIGRATE_TYPES] =
        [Self::Unmovable, Self::Reclaimable, Self::Movable, Self::Reserve, Self::Cma, Self::Isolate];

    /// The type numbered `raw`; `None` for numbers that no type has.
    #[must_use]
    pub const fn new(raw: u32) -> Option<Self> {
        match raw {
            0 => Some(Self::Unmovable),
            1 => Some(Self::Reclaimable),
            2 => Some(Self::Movable),
            3 => Some(Self::Reserve),
            4 => Some(Self::Cma),
            5 => Some(Self::Isolate),
            _ => None,
        }
    }

    /// The type, for an array of [`MIGRATE_TYPES`].
    #[must_use]
    #[inline]
    pub const fn index(self) -> usize {
        self as usize
    }

    /// Linux's name in `/proc/pagetypeinfo`.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Unmovable => "Unmovable",
            Self::Reclaimable => "Reclaimable",
            Self::Movable => "Movable",
            Self::Reserve => "Reserve",
            Self::Cma => "CMA",
            Self::Isolate => "Isolate",
        }
    }

    /// Whose blocks a request of this type may take when its own lists are empty, best first. The reserve and CMA
    /// have rules of their own (Linux: `fallbacks[]`).
    #[must_use]
    pub const fn fallbacks(self) -> &'static [Self] {
        match self {
            Self::Unmovable => &[Self::Reclaimable, Self::Movable],
            Self::Reclaimable => &[Self::Unmovable, Self::Movable],
            Self::Movable => &[Self::Reclaimable, Self::Unmovable],
            Self::Reserve | Self::Cma | Self::Isolate => &[],
        }
    }

    /// Whether a request of this type that had to fall back to a block of `order` may take the whole pageblock over:
    /// always for a block that is at least half a pageblock's logarithm, and for the types that would otherwise soon
    /// spoil the next block too (Linux: `can_steal_fallback`).
    #[must_use]
    pub fn may_steal_pageblock(self, order: Order) -> bool {
        order.log2() >= PAGEBLOCK_ORDER.log2() / 2 || matches!(self, Self::Unmovable | Self::Reclaimable)
    }
}

/// The frames of the pageblock that holds `pfn`, whatever zone they belong to.
#[must_use]
pub fn pageblock_of(pfn: Pfn) -> PfnRange {
    let start = Pfn::new(pfn.raw() & !(PAGEBLOCK_PAGES - 1));
    PfnRange::new(start, start.checked_add(PAGEBLOCK_PAGES).unwrap_or(Pfn::new(u32::MAX)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_and_types_are_each_others_inverse() {
        for kind in MigrateType::ALL {
            assert_eq!(MigrateType::new(kind as u32), Some(kind));
        }
        assert_eq!(MigrateType::new(6), None);
    }

    #[test]
    fn no_type_falls_back_to_itself_or_to_isolated_or_lent_pages() {
        for kind in MigrateType::ALL {
            for other in kind.fallbacks() {
                assert!(*other != kind && !matches!(other, MigrateType::Cma | MigrateType::Isolate));
            }
        }
    }
}
