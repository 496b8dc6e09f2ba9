//! The classic core: lists by order and migrate type, last in first out.
//!
//! Theory.      A block that is freed goes to the front of its list, because its lines are still in the cache; unless
//!              the buddy of the block that it would merge into is free: then it goes to the back, to stay free until
//!              the merge. A request takes the first of the smallest blocks that fit, wherever that lies.
//! Source.      Linux 4.1 mm/page_alloc.c: `struct free_area`, `__rmqueue_smallest`.

use crate::addr::{Pfn, PfnRange};
use crate::buddy::free_lists::Buddy;
use crate::buddy::lanes::Lanes;
use crate::buddy::list::{LISTS, Lists, TYPES};
use crate::buddy::placement::{Placement, WHOLE};
use crate::buddy::{Broken, Work, ZoneFrames};
use crate::migrate::MigrateType;
use crate::order::Order;

/// Linux's design of free lists. One a zone.
pub type Classic<'m> = Buddy<'m, Anywhere, TYPES>;

/// Blocks come from wherever they are: there is one group of lists.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Anywhere;

impl<'m> Placement<'m, TYPES> for Anywhere {
    type Lists = Lists<TYPES>;

    const GATHERS: bool = false;
    const WORK: Work = Work::steps(41);
    const SEARCHES: u32 = 10;
    const ELSEWHERE: u32 = 5;
    const STEP: u32 = 80;

    fn words_for(_span: PfnRange) -> usize {
        0
    }

    fn new(_frames: &ZoneFrames<'m>, _words: &'m mut [u32]) -> Option<(Self, Self::Lists)> {
        Some((Self, [[[0; 4]; LISTS]; TYPES]))
    }

    #[inline(always)]
    fn home(&self, frames: &ZoneFrames<'m>, pfn: Pfn) -> u32 {
        WHOLE | frames.usemap.bits(pfn)
    }

    #[inline(always)]
    fn group(_home: u32) -> u32 {
        WHOLE
    }

    #[inline(always)]
    fn rows(&self, _pfn: Pfn) -> u32 {
        WHOLE
    }

    #[inline(always)]
    fn typed(&mut self, _pfn: Pfn, _kind: MigrateType) {}

    #[inline(always)]
    fn wanted(_order: Order) -> u32 {
        WHOLE
    }

    #[inline(always)]
    fn choose(rows: u32, filled: impl Fn(u32) -> u32) -> Option<(u32, Order)> {
        Some((rows, Order::of_log2(filled(rows).trailing_zeros())?))
    }

    #[inline(always)]
    fn leftovers(_rows: u32) -> Option<u32> {
        None
    }

    #[inline(always)]
    fn broken(&mut self, _pfn: Pfn, _rows: u32) {}

    #[inline(always)]
    fn row_of(home: u32, _log2: u32) -> u32 {
        home
    }

    #[inline(always)]
    fn lanes(&self) -> Option<&Lanes<'m>> {
        None
    }

    #[inline(always)]
    fn lanes_mut(&mut self) -> Option<&mut Lanes<'m>> {
        None
    }

    fn validate(&self, _frames: &ZoneFrames<'m>, _is_changing: impl Fn(Pfn) -> bool) -> Result<(), Broken> {
        Ok(())
    }
}
