//! The invariants of the compact core, tested against the memory map.

use core::sync::atomic::Ordering::Relaxed;

use crate::addr::Pfn;
use crate::buddy::compact::Compact;
use crate::buddy::compact::tree::Class;
use crate::buddy::{Broken, Tally, validate};
use crate::memmap::NO_FRAME;
use crate::migrate::{MIGRATE_TYPES, MigrateType};
use crate::order::{MAX_ORDER, Order};

impl Compact<'_> {
    /// Walks the records, then the frames: whatever one says of a chunk the other confirms.
    pub(super) fn check(&self) -> Result<Tally, Broken> {
        let mut listed = [[0; MAX_ORDER]; MIGRATE_TYPES];
        let mut chunks = 0;
        for block in 0..self.blocks.len() {
            let kind = self.blocks.kind(block);
            for order in Order::all() {
                for counted in MigrateType::ALL {
                    let found = self.check_list(block, order, counted)?;
                    listed[counted.index()][order.index()] += found;
                    chunks += found * order.pages();
                }
            }
            self.check_place(block, kind)?;
        }
        for kind in MigrateType::ALL {
            for order in Order::all() {
                let (counter, found) = (self.listed[kind.index()][order.index()], listed[kind.index()][order.index()]);
                count("blocks on a list", counter, found)?;
            }
        }
        if !self.trees.is_sound() {
            return Err(Broken::Count { what: "bit trees", counter: 0, found: 1 });
        }
        let tally = validate::frames(&self.frames)?;
        count("pages in chunks", chunks, tally.free + tally.isolated)?;
        validate::counts(&self.counts, &tally)?;
        Ok(tally)
    }

    /// Each chunk of a list is free, of its order and of its pageblock's type unless that is changing, in its pageblock, and
    /// linked both ways; returns how many are of the type `counted`.
    fn check_list(&self, block: u32, order: Order, counted: MigrateType) -> Result<u32, Broken> {
        let kind = self.blocks.kind(block);
        let is_moving = self.moving.is_some_and(|moving| moving.is_in(self.blocks.start_of(block)));
        let (mut found, mut before) = (0, NO_FRAME);
        let mut next = self.blocks.head(block, order);
        while let Some(pfn) = next {
            let Some(page) = self.frames.map.page(pfn) else { return Err(Broken::Listed { pfn, order, kind }) };
            let is_listed = page.word().is_free_of(order) && (is_moving || page.word().list() == Some(kind));
            let is_here = self.frames.check_block(pfn, order).is_ok() && self.blocks.index_of(pfn) == block;
            if !is_listed || !is_here {
                return Err(Broken::Listed { pfn, order, kind });
            }
            if page.prev.load(Relaxed) != before {
                return Err(Broken::Links { pfn });
            }
            validate::one_block(&self.frames, pfn, order, kind)?;
            (found, before) = (found + u32::from(page.word().list() == Some(counted)), pfn.raw());
            let link = page.next.load(Relaxed);
            next = (link != NO_FRAME).then_some(Pfn::new(link));
        }
        Ok(found)
    }

    /// The pageblock is in the sets that its chunks belong to, and in no other.
    fn check_place(&self, block: u32, kind: MigrateType) -> Result<(), Broken> {
        let orders = self.blocks.orders(block);
        for other in MigrateType::ALL {
            let place = orders.largest().filter(|_| other == kind);
            for order in Order::all() {
                let is_in = self.trees.contains(other, Class::Largest(order), block);
                count("pageblocks by largest chunk", u32::from(is_in), u32::from(place == Some(order)))?;
            }
            let is_in = self.trees.contains(other, Class::Partial, block);
            let is_partial = other == kind && orders.is_partial();
            count("partly free pageblocks", u32::from(is_in), u32::from(is_partial))?;
        }
        Ok(())
    }
}

fn count(what: &'static str, counter: u32, found: u32) -> Result<(), Broken> {
    if counter == found { Ok(()) } else { Err(Broken::Count { what, counter, found }) }
}
