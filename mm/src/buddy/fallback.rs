//! Other places than a request's own lists: other groups of its type's, and other types'.
//!
//! Theory.      The largest block of another type is taken, not the smallest that fits: with it comes, where the rules
//!              allow, the whole pageblock, so that the next requests of this type find pages here and do not spoil
//!              another pageblock.
//! Source.      Linux 4.1: `__rmqueue_fallback`, `find_suitable_fallback`, `steal_suitable_fallback`.

use crate::addr::Pfn;
use crate::buddy::FreeCore;
use crate::buddy::free_lists::Buddy;
use crate::buddy::lanes::LANE_ORDER;
use crate::buddy::list::Row;
use crate::buddy::moving::Moving;
use crate::buddy::placement::{Placement, groups};
use crate::memmap::StateWord;
use crate::migrate::{MigrateType, PAGEBLOCK_ORDER};
use crate::order::Order;
use crate::trace::What;

impl<'m, P: Placement<'m, ROWS>, const ROWS: usize> Buddy<'m, P, ROWS> {
    /// Other places than the request's own lists, in the order in which they may be tried.
    #[cold]
    #[inline(never)]
    pub(super) fn take_elsewhere(&mut self, order: Order, kind: MigrateType, word: StateWord) -> Option<Pfn> {
        let others = self.take_others(order, kind, word);
        let found = others.or_else(|| match kind {
            MigrateType::Movable => self.take_any(order, MigrateType::Cma, word),
            _ => None,
        });
        let found = found.or_else(|| self.take_fallback(order, kind, word));
        if found.is_some() || self.options.keeps_reserve {
            return found;
        }
        self.take_any(order, MigrateType::Reserve, word)
    }

    /// Takes from all pageblocks of `kind`.
    fn take_any(&mut self, order: Order, kind: MigrateType, word: StateWord) -> Option<Pfn> {
        let found = self.take_listed(order, P::wanted(order), kind, word);
        found.or_else(|| self.take_others(order, kind, word))
    }

    /// Takes from pageblocks of `kind` that are for requests of other orders.
    fn take_others(&mut self, order: Order, kind: MigrateType, word: StateWord) -> Option<Pfn> {
        let (pfn, size) = self.smallest_other(order, kind)?;
        self.carve(pfn, size, order, kind, word);
        Some(pfn)
    }

    /// The smallest block of at least `order` of the first group of lists that has one; what is in lanes comes last.
    pub(super) fn smallest_other(&self, order: Order, kind: MigrateType) -> Option<(Pfn, Order)> {
        if !P::GATHERS {
            return None;
        }
        let listed = groups::<ROWS>().find_map(|rows| {
            let row = Row::new(rows, kind as u32);
            let size = Order::of_log2(self.lists.fitting(order, row).trailing_zeros())?;
            Some((self.lists.first(size, row)?, size))
        });
        listed.or_else(|| Some((self.placement.lanes()?.find(order, kind)?, order)))
    }

    /// Takes a block of `order` from the largest block that any fallback type has.
    fn take_fallback(&mut self, order: Order, kind: MigrateType, word: StateWord) -> Option<Pfn> {
        let left = P::leftovers(P::wanted(order));
        if let Some(pfn) = left.and_then(|rows| self.take_leftover(rows, order, kind, word)) {
            return Some(pfn);
        }
        let rows = |other: &MigrateType| {
            let bits = *other as u32;
            groups::<ROWS>().map(move |rows| Row::new(rows, bits))
        };
        let largest = |row: Row| self.lists.fitting(order, row).checked_ilog2().map(|log2| (log2, row));
        // Of several that are as large the first one counts: that of the type that is to be preferred.
        let all = kind.fallbacks().iter().flat_map(rows).filter_map(largest);
        let listed = all.reduce(|best, next| if next.0 > best.0 { next } else { best }).and_then(|(log2, row)| {
            let size = Order::of_log2(log2)?;
            Some((self.lists.first(size, row)?, size))
        });
        let is_larger_than_lanes = listed.is_some_and(|(_, size)| size >= LANE_ORDER);
        let in_lanes = if is_larger_than_lanes { None } else { self.largest_in_lanes(order, kind) };
        let (pfn, size) =
            listed.into_iter().chain(in_lanes).reduce(|best, next| if next.1 > best.1 { next } else { best })?;
        self.take_over(pfn, size, order, kind, word)
    }

    /// The largest run of at least `order` that a fallback type has in lanes.
    fn largest_in_lanes(&self, order: Order, kind: MigrateType) -> Option<(Pfn, Order)> {
        let lanes = self.placement.lanes()?;
        let sizes = (order.log2()..LANE_ORDER.log2()).rev().filter_map(Order::of_log2);
        let mut all = sizes.flat_map(|size| kind.fallbacks().iter().map(move |other| (size, *other)));
        all.find_map(|(size, other)| Some((lanes.find(size, other)?, size)))
    }

    /// Takes a block of `order` for an unmovable or reclaimable request from the largest movable block in the group
    /// `rows`, which has no whole pageblocks. Only from there: types that take from each other's would do so for ever.
    #[inline(always)]
    pub(super) fn take_leftover(&mut self, rows: u32, order: Order, kind: MigrateType, word: StateWord) -> Option<Pfn> {
        let row = Row::new(rows, MigrateType::Movable as u32);
        let fitting = self.lists.fitting(order, row);
        if fitting == 0 || !matches!(kind, MigrateType::Unmovable | MigrateType::Reclaimable) {
            return None;
        }
        let size = Order::of_log2(fitting.ilog2())?;
        let pfn = self.lists.first(size, row)?;
        self.take_over(pfn, size, order, kind, word)
    }

    #[cold]
    #[inline(never)]
    fn take_over(&mut self, pfn: Pfn, size: Order, order: Order, kind: MigrateType, word: StateWord) -> Option<Pfn> {
        let from = self.frames.map.at(pfn).word().list()?;
        self.frames.note(What::Fallback { wanted: kind, from, size }, Some(pfn), order);
        if kind.may_steal_pageblock(size) {
            self.steal(pfn, size, kind, order);
        }
        self.carve(pfn, size, order, kind, word);
        Some(pfn)
    }

    /// Brings what is free in the pageblock of `pfn` to `kind`, and the pageblock itself when that is half of it. A
    /// whole pageblock comes at once; else it is begun here, and goes on in steps. One whose type is being changed
    /// stays.
    fn steal(&mut self, pfn: Pfn, size: Order, kind: MigrateType, order: Order) {
        if self.is_changing(pfn) {
            return;
        }
        if size >= PAGEBLOCK_ORDER {
            self.frames.note(What::Steal { to: kind, pages: size.pages() }, Some(pfn), size);
            self.set_type(pfn, kind);
        } else if !self.is_moving() {
            self.start(Moving::steal(&self.frames, pfn, size, kind, order.pages()));
        }
    }
}
