//! How much is done under one hold of the zone's lock: interrupts are off meanwhile.
#![forbid(unsafe_code)]

use crate::order::Order;

/// How many blocks of one order to take.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Wanted {
    /// With so many it is enough.
    pub least: u32,
    /// No more than that, even if a larger block must be cut for it.
    pub most: u32,
}

impl Wanted {
    /// Exactly as many, as far as there are.
    #[must_use]
    pub const fn exactly(blocks: u32) -> Self {
        Self { least: blocks, most: blocks }
    }

    /// What is wanted when `taken` blocks are there.
    #[inline]
    pub(super) const fn after(self, taken: u32) -> Self {
        Self { least: self.least - taken, most: self.most - taken }
    }

    /// The largest block to take when `taken` blocks of `order` are there: one that is enough, if that is not too much.
    #[inline]
    pub(super) fn largest(self, taken: u32, order: Order) -> Order {
        let pages = |blocks: u32| (blocks - taken) << order.log2();
        let enough = Order::covering(pages(self.least)).filter(|enough| enough.pages() <= pages(self.most));
        enough.or_else(|| Order::largest_within(pages(self.most))).unwrap_or(order).max(order)
    }
}

/// How much may still be given back under one hold of the zone's lock: interrupts are off meanwhile.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Work(i32);

impl Work {
    /// What a block costs besides its merges, when a merge costs 1. The order that it ends up with counts as merges.
    pub(super) const BLOCK: u32 = 3;
    /// What a block costs that becomes bits of a lane.
    pub(super) const IN_LANE: u32 = 2;
    /// What it costs more when the lane is full then.
    pub(super) const FULL_LANE: u32 = 8;

    /// For one hold of the lock: a step is some 50 instructions, and the last block may take more.
    pub(super) const fn steps(steps: i32) -> Self {
        Self(steps)
    }

    /// None.
    #[must_use]
    #[inline]
    pub const fn none() -> Self {
        Self(0)
    }

    /// Without a bound.
    #[must_use]
    #[inline]
    pub const fn all() -> Self {
        Self(i32::MAX)
    }

    /// What is left when as much was done as of `all`, which was without a bound.
    #[must_use]
    #[inline]
    pub const fn less(self, all: Self) -> Self {
        Self(self.0.saturating_sub(i32::MAX - all.0))
    }

    /// Whether one more block may be given back.
    #[must_use]
    #[inline(always)]
    pub const fn is_left(self) -> bool {
        self.0 > 0
    }

    /// What giving a block back costs that is part of a free one of order `log2` then.
    pub(super) const fn cost(log2: u32) -> u32 {
        log2 + Self::BLOCK
    }

    /// What is left when a block was given back that cost so much.
    #[must_use]
    #[inline(always)]
    pub const fn gave(self, cost: u32) -> Self {
        // Some steps: the cast loses nothing.
        Self(self.0.wrapping_sub(cost as i32))
    }
}
