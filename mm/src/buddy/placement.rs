//! Where blocks come from, and which lists what is free of a pageblock is on: what makes a core of the free lists.

use core::borrow::BorrowMut;

use crate::addr::{Pfn, PfnRange};
use crate::buddy::list::{Lists, TYPES};
use crate::buddy::{Broken, SEARCHES, ZoneFrames};
use crate::migrate::MigrateType;
use crate::order::Order;

/// The first row of the lists that whole pageblocks are on, and what no placement keeps apart.
pub(super) const WHOLE: u32 = 0;

/// Where blocks come from, and which lists those of a pageblock are on.
///
/// Lists stand in groups, each with a row for every type; a group is named by its first row. Blocks of the largest order
/// are in [`WHOLE`], smaller ones in the group of their pageblock.
pub trait Placement<'m, const ROWS: usize>: Sized + Send {
    /// Where the lists lie.
    type Lists: BorrowMut<Lists<ROWS>> + Send;

    /// See [`FreeCore::GATHERS`].
    const GATHERS: bool;

    /// See [`FreeCore::words_for`].
    fn words_for(span: PfnRange) -> usize;

    /// For a zone with nothing free, in `words`, and room for lists; `None` when the words are too few.
    fn new(frames: &ZoneFrames<'m>, words: &'m mut [u32]) -> Option<(Self, Self::Lists)>;

    /// The group of the pageblock of `pfn`.
    fn rows(&self, pfn: Pfn) -> u32;

    /// The group that a request for `order` prefers.
    fn wanted(order: Order) -> u32;

    /// The first group and order to take a block of at least `order` from, for a request that prefers `rows`; `filled` says
    /// which orders of at least that have blocks in a group, a bit each. `None` when there is none but in groups that are for
    /// others.
    fn choose(rows: u32, filled: impl Fn(u32) -> u32) -> Option<(u32, Order)>;

    /// The group of pageblocks that can never be whole, if a request that prefers `rows` should rather have such a one of
    /// another type than break a whole one.
    fn leftovers(rows: u32) -> Option<u32>;

    /// The block that a request for single pages of `kind` should come from, if there is a better one than the first of a
    /// list.
    fn find(&mut self, frames: &ZoneFrames<'m>, kind: MigrateType, search: &mut Search) -> Option<(Pfn, Order)>;

    /// Notes that a part of the listed block `pfn`, for a request that prefers `rows`, is taken and the rest will be listed;
    /// returns the group that the rest belongs to.
    fn broken(&mut self, pfn: Pfn, size: Order, rows: u32, kind: MigrateType) -> u32;

    /// Notes that the block around `pfn`, of the order `log2` and the type numbered `bits`, is listed in group `rows`;
    /// returns the group that it really belongs to.
    fn given(&mut self, pfn: Pfn, log2: u32, bits: u32, rows: u32) -> u32;

    /// See [`FreeCore::front`].
    fn front(&self, kind: MigrateType) -> Option<Pfn>;

    /// Tests the placement's own invariants.
    ///
    /// # Errors
    /// The first broken one.
    fn validate(&self, frames: &ZoneFrames<'m>) -> Result<(), Broken>;
}

/// The first rows of the groups.
pub(super) fn groups<const ROWS: usize>() -> impl Iterator<Item = u32> {
    (0..).step_by(TYPES).take(ROWS / TYPES)
}

/// Where a search for single pages goes on, and how long.
#[derive(Clone, Copy, Debug)]
pub struct Search {
    /// The frame to look at next, and where what is being looked at ends.
    pub(super) next: u32,
    pub(super) end: u32,
    /// How many blocks may still be found; a lane that is looked at counts as some.
    pub(super) left: u32,
}

impl Search {
    /// What a lane counts as.
    pub(super) const LANE: u32 = 2;

    /// For as many pages as one hold of the lock allows.
    pub(super) const fn many() -> Self {
        Self { next: 0, end: 0, left: SEARCHES }
    }

    /// For one page.
    pub(super) const fn one() -> Self {
        Self { next: 0, end: 0, left: 2 * Self::LANE }
    }
}
