//! Pageblocks of other migrate types, for a request whose own have nothing that fits.
//!
//! Theory.      As in the classic core: the pageblock with the largest chunk serves, and where the rules allow it comes
//!              over as a whole. If less than half of it is free, only its chunks change their type, until the last of
//!              them is taken: pages that are freed there meanwhile join them.
//! Source.      Linux 4.1: `__rmqueue_fallback`, `find_suitable_fallback`, `steal_suitable_fallback`.

use crate::addr::Pfn;
use crate::buddy::compact::Compact;
use crate::buddy::compact::tree::Class;
use crate::buddy::moving::Moving;
use crate::buddy::{FreeCore, Holder};
use crate::migrate::{MigrateType, PAGEBLOCK_ORDER};
use crate::order::Order;
use crate::trace::What;

impl Compact<'_> {
    /// Takes a block of `order` from the pageblock with the largest chunk that any fallback type has.
    pub(super) fn take_fallback(&mut self, order: Order, kind: MigrateType, holder: Holder) -> Option<Pfn> {
        let (block, size) = Order::all().rev().take_while(|size| *size >= order).find_map(|size| {
            let first = |other: &MigrateType| self.trees.first(*other, Class::Largest(size));
            kind.fallbacks().iter().find_map(first).map(|block| (block, size))
        })?;
        let from = self.blocks.kind(block);
        let head = self.blocks.head(block, size);
        self.frames.note(What::Fallback { wanted: kind, from, size }, head, order);
        if kind.may_steal_pageblock(size) {
            let pfn = self.blocks.start_of(block).max(self.frames.span.start);
            if size >= PAGEBLOCK_ORDER {
                self.frames.note(What::Steal { to: kind, pages: size.pages() }, Some(pfn), size);
                self.frames.usemap.set(pfn, kind);
                self.change_kind(block, kind);
            } else if !self.is_moving() {
                self.change_kind(block, kind);
                self.start(Moving::steal(&self.frames, pfn, size, kind, order.pages()));
            }
        }
        self.take_from(block, order, holder)
    }
}
