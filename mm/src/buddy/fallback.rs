//! Blocks of other migrate types, for a request whose own lists are empty.
//!
//! Theory.      The largest block of another type is taken, not the smallest that fits: with it comes, where the rules
//!              allow, the whole pageblock, so that the next requests of this type find pages here and do not spoil
//!              another pageblock.
//! Source.      Linux 4.1: `__rmqueue_fallback`, `find_suitable_fallback`, `steal_suitable_fallback`.

use crate::addr::Pfn;
use crate::buddy::moving::Moving;
use crate::buddy::{Classic, FreeCore, Holder};
use crate::migrate::{MigrateType, PAGEBLOCK_ORDER};
use crate::order::Order;
use crate::trace::What;

impl Classic<'_> {
    /// Takes a block of `order` from the largest block that any fallback type has.
    pub(super) fn take_fallback(&mut self, order: Order, kind: MigrateType, holder: Holder) -> Option<Pfn> {
        let (pfn, size) = Order::all().rev().take_while(|size| *size >= order).find_map(|size| {
            let first = |other: &MigrateType| self.lists.first(size, *other);
            kind.fallbacks().iter().find_map(first).map(|pfn| (pfn, size))
        })?;
        let from = self.frames.map.at(pfn).word().list()?;
        self.frames.note(What::Fallback { wanted: kind, from, size }, Some(pfn), order);
        if kind.may_steal_pageblock(size) {
            self.steal(pfn, size, kind, order);
        }
        self.carve(pfn, size, kind, order, holder);
        Some(pfn)
    }

    /// Brings what is free in the pageblock of `pfn` to `kind`, and the pageblock itself when that is half of it. A whole
    /// pageblock comes at once; else it is begun here, and goes on in steps.
    fn steal(&mut self, pfn: Pfn, size: Order, kind: MigrateType, order: Order) {
        if size >= PAGEBLOCK_ORDER {
            self.frames.note(What::Steal { to: kind, pages: size.pages() }, Some(pfn), size);
            self.frames.usemap.set(pfn, kind);
        } else if !self.is_moving() {
            self.start(Moving::steal(&self.frames, pfn, size, kind, order.pages()));
        }
    }
}
