//! The compact core: pageblocks for single pages, for small and for large blocks, so that what is free gathers.
//!
//! Theory.      A pageblock becomes whole again when the last block in it is freed. With many small blocks that never
//!              happens by chance, with a few large ones it does: so where they mix, large memory is lost. When a whole
//!              pageblock has to be broken, it becomes one for single pages, for blocks up to order 6 or for larger
//!              ones, as the request is, until it is whole again. A request takes the smallest block that fits of its
//!              own pageblocks; else it breaks a whole one; and only when there is none it goes to the others'.
//!              Pageblocks that were never whole, the boot's leftovers, are for small blocks, and come first, even if a
//!              larger block of theirs has to be cut; those of other types come before a whole pageblock is broken.
//!              Order 6 is the best border by experiment: five or seven are nearly as good, and more kinds of
//!              pageblocks, or better choices among blocks of one size, gain less than 1 % of free memory.
//!              Single pages can do more: taken from the lowest of their pageblocks first, they drain the others. A
//!              list does not know what is low; pageblocks for single pages have lanes instead, which do.
//! Invariants.  A pageblock has lanes only while it is for single pages of an ordinary type and not whole.
//! Picture.     pageblock   | 0 0 - 0 | whole | 4 3 4 - | 9 9 | 0 - - 0 |
//!              lanes         yes                             yes
//! Not here.    Lanes (`lanes`). Which pages a CPU keeps for itself (`page_alloc::pageset`): reuse undoes the work if
//!              it keeps all.
//! Source.      Ours. LLFree (Wrenger et al., 2023) keeps allocations in partly free trees in the same spirit; Linux's
//!              grouping by mobility keeps pageblocks apart by who uses them.

use crate::addr::{Pfn, PfnRange};
use crate::buddy::free_lists::Buddy;
use crate::buddy::lanes::{LANED, Lanes};
use crate::buddy::list::{GROUP_ROWS, LISTS, Lists, TYPES, words_of};
use crate::buddy::placement::{Placement, WHOLE};
use crate::buddy::{Broken, Work, ZoneFrames};
use crate::migrate::MigrateType;
use crate::order::{MAX_ORDER, Order};

/// Free lists that work against fragmentation. One a zone.
pub type Compact<'m> = Buddy<'m, Gathered<'m>, ROWS>;

const ROWS: usize = 4 * TYPES;
/// The pageblocks of large blocks; the lists of whole ones are in the same rows.
const LARGE: u32 = WHOLE;
/// The pageblocks of blocks of order 1 to [`SMALL_MOST`].
const SMALL: u32 = GROUP_ROWS;
/// The pageblocks of single pages.
const SINGLES: u32 = 2 * GROUP_ROWS;
const _: () = assert!((SINGLES | LANED) as usize % ROWS == SINGLES as usize);
/// Those that were never whole: the boot's leftovers. Whole ones are said to be here, too, until they are first taken.
const LEFT: u32 = 3 * GROUP_ROWS;
/// The largest order that is small.
const SMALL_MOST: u32 = 6;

/// The bit of the largest order.
const TOP: u32 = 1 << (MAX_ORDER - 1);

/// Blocks come from pageblocks that have others like them.
#[derive(Debug)]
pub struct Gathered<'m>(Lanes<'m>);

impl<'m> Placement<'m, ROWS> for Gathered<'m> {
    type Lists = &'m mut Lists<ROWS>;

    const GATHERS: bool = true;
    // A little more is done at each block than in the classic core.
    const WORK: Work = Work::steps(28);
    const SEARCHES: u32 = 7;
    const ELSEWHERE: u32 = 5;
    const STEP: u32 = 50;

    fn words_for(span: PfnRange) -> usize {
        Lanes::words_for(span) + words_of(ROWS)
    }

    fn new(frames: &ZoneFrames<'m>, words: &'m mut [u32]) -> Option<(Self, Self::Lists)> {
        let (lanes, rest) = words.split_at_mut_checked(Lanes::words_for(frames.span))?;
        let (lists, _) = rest.as_chunks_mut().0.as_chunks_mut::<LISTS>().0.split_first_chunk_mut()?;
        let home = |pfn| LEFT | frames.usemap.bits(pfn);
        Some((Self(Lanes::new(frames.span, home, lanes)?), lists))
    }

    #[inline(always)]
    fn home(&self, _frames: &ZoneFrames<'m>, pfn: Pfn) -> u32 {
        self.0.home(pfn)
    }

    #[inline(always)]
    fn group(home: u32) -> u32 {
        home & !(GROUP_ROWS - 1)
    }

    #[inline(always)]
    fn rows(&self, pfn: Pfn) -> u32 {
        Self::group(self.0.home(pfn))
    }

    #[inline(always)]
    fn typed(&mut self, pfn: Pfn, kind: MigrateType) {
        self.0.set_type(pfn, kind);
    }

    #[inline(always)]
    fn wanted(order: Order) -> u32 {
        match order.log2() {
            0 => SINGLES,
            1..=SMALL_MOST => SMALL,
            _ => LARGE,
        }
    }

    #[inline(always)]
    fn choose(rows: u32, filled: impl Fn(u32) -> u32) -> Option<(u32, Order)> {
        let first = |rows| Some((rows, Order::of_log2(filled(rows).trailing_zeros())?));
        // What is never whole again costs nothing.
        if rows == SMALL
            && let found @ Some(_) = first(LEFT)
        {
            return found;
        }
        // Whole pageblocks come last in the lists of large blocks.
        if let found @ Some(_) = first(rows) {
            return found;
        }
        (filled(WHOLE) & TOP != 0).then_some((WHOLE, Order::LARGEST))
    }

    #[inline(always)]
    fn leftovers(rows: u32) -> Option<u32> {
        (rows == SMALL).then_some(LEFT)
    }

    #[inline(always)]
    fn broken(&mut self, pfn: Pfn, rows: u32) {
        self.0.set_group(pfn, rows);
    }

    #[inline(always)]
    fn row_of(home: u32, log2: u32) -> u32 {
        if log2 == Order::LARGEST.log2() { WHOLE | (home % GROUP_ROWS) } else { home }
    }

    #[inline(always)]
    fn lanes(&self) -> Option<&Lanes<'m>> {
        Some(&self.0)
    }

    #[inline(always)]
    fn lanes_mut(&mut self) -> Option<&mut Lanes<'m>> {
        Some(&mut self.0)
    }

    fn validate(&self, frames: &ZoneFrames<'m>, is_changing: impl Fn(Pfn) -> bool) -> Result<(), Broken> {
        self.0.validate(frames, is_changing)
    }
}
