//! Where blocks come from, and which lists what is free of a pageblock is on: what makes a core of the free lists.

use core::borrow::BorrowMut;

use crate::addr::{Pfn, PfnRange};
use crate::buddy::lanes::Lanes;
use crate::buddy::list::{Lists, TYPES};
use crate::buddy::{Broken, Work, ZoneFrames};
use crate::migrate::MigrateType;
use crate::order::Order;

/// The first row of the lists that whole pageblocks are on, and what no placement keeps apart.
pub(super) const WHOLE: u32 = 0;

/// Where blocks come from, and which lists those of a pageblock are on.
///
/// Lists stand in groups, each with a row for every type; a group is named by its first row. Blocks of the largest
/// order are in [`WHOLE`], smaller ones in the group of their pageblock.
pub trait Placement<'m, const ROWS: usize>: Sized + Send {
    /// Where the lists lie.
    type Lists: BorrowMut<Lists<ROWS>> + Send;

    /// See [`FreeCore::GATHERS`].
    const GATHERS: bool;

    /// See [`FreeCore::WORK`].
    const WORK: Work;
    /// Most searches of [`FreeCore::take_many`] among the request's own blocks.
    const SEARCHES: u32;
    /// How many of them one among others' blocks stands for.
    const ELSEWHERE: u32;
    /// What a step of a change of a pageblock's type may cost, in looks at an entry of the memory map.
    const STEP: u32;

    /// See [`FreeCore::words_for`].
    fn words_for(span: PfnRange) -> usize;

    /// For a zone with nothing free, in `words`, and room for lists; `None` when the words are too few.
    fn new(frames: &ZoneFrames<'m>, words: &'m mut [u32]) -> Option<(Self, Self::Lists)>;

    /// The group of the pageblock of `pfn` and the number of its type, which are the row of lists of what is freed in
    /// it; and [`LANED`](super::lanes::LANED) if it has lanes.
    fn home(&self, frames: &ZoneFrames<'m>, pfn: Pfn) -> u32;

    /// The group in it, and whether it has lanes.
    fn group(home: u32) -> u32;

    /// The group of the pageblock of `pfn`, and whether it has lanes.
    fn rows(&self, pfn: Pfn) -> u32;

    /// Notes that the pageblock of `pfn` has another type.
    fn typed(&mut self, pfn: Pfn, kind: MigrateType);

    /// The group that a request for `order` prefers.
    fn wanted(order: Order) -> u32;

    /// The first group and order to take a block of at least `order` from, for a request that prefers `rows`; `filled`
    /// says which orders of at least that have blocks in a group, a bit each. `None` when there is none but in groups
    /// that are for others.
    fn choose(rows: u32, filled: impl Fn(u32) -> u32) -> Option<(u32, Order)>;

    /// The group of pageblocks that can never be whole, if a request that prefers `rows` should rather have such a one
    /// of another type than break a whole one.
    fn leftovers(rows: u32) -> Option<u32>;

    /// Notes that the whole pageblock `pfn` or a part of it is taken, for a request that prefers the group `rows`: what
    /// is free in it, or will be, belongs there.
    fn broken(&mut self, pfn: Pfn, rows: u32);

    /// The row for a block of the order `log2` that was freed in a pageblock with this [`Self::home`].
    fn row_of(home: u32, log2: u32) -> u32;

    /// The lanes, if the placement knows such.
    fn lanes(&self) -> Option<&Lanes<'m>>;

    /// The same, to be changed.
    fn lanes_mut(&mut self) -> Option<&mut Lanes<'m>>;

    /// Tests the placement's own invariants; `is_changing` says which pageblock's type is being changed.
    ///
    /// # Errors
    /// The first broken one.
    fn validate(&self, frames: &ZoneFrames<'m>, is_changing: impl Fn(Pfn) -> bool) -> Result<(), Broken>;
}

/// The first rows of the groups.
pub(super) fn groups<const ROWS: usize>() -> impl Iterator<Item = u32> {
    (0..).step_by(TYPES).take(ROWS / TYPES)
}
