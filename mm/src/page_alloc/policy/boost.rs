//! Higher marks for a while, when migrate types had to mix.
//!
//! Theory.      A page in a pageblock of another type may keep that block from ever being whole again. It happens when
//!              memory of the right type is short, so background reclaim is made to free more than usual: the `low`
//!              mark, which wakes it, and the `high` mark, at which it stops, are raised. The `min` mark is not: nobody
//!              fails because of it (in Linux somebody may).
//!              It is seen where a block comes the long way and lies in a pageblock of another type. A refill's first
//!              page does, so refills count; a pageblock that could be taken over counts as clean.
//! Source.      Linux 5.0: `boost_watermark`, `watermark_boost_factor`, `balance_pgdat`.

use crate::addr::Pfn;
use crate::buddy::FreeCore;
use crate::migrate::{MigrateType, PAGEBLOCK_PAGES};
use crate::page_alloc::Zone;
use crate::page_alloc::watermark::Marks;
use crate::sync::CurrentCpu;

impl<'m, C: FreeCore<'m>, M: CurrentCpu> Zone<'m, C, M> {
    /// Raises the marks by a pageblock if a page for `kind` came from another type's pageblock. `factor`: at most so
    /// many 1/10,000 of `high`, but never less than a pageblock. A zone of less than four pageblocks is left alone:
    /// reclaim could not make one of them whole.
    #[cold]
    #[inline(never)]
    pub(in crate::page_alloc) fn boost_if_mixed(&self, pfn: Pfn, kind: MigrateType, factor: u32) {
        let is_mixed = !matches!(self.block_type(pfn), MigrateType::Cma | MigrateType::Reserve | MigrateType::Isolate)
            && self.block_type(pfn) != kind;
        if !is_mixed || self.managed() < 4 * PAGEBLOCK_PAGES {
            return;
        }
        let most = u64::from(self.marks().get().high) * u64::from(factor) / 10_000;
        let most = u32::try_from(most).unwrap_or(u32::MAX).max(PAGEBLOCK_PAGES);
        self.adjust_marks(|marks| marks.set_boost(marks.boost().saturating_add(PAGEBLOCK_PAGES).min(most)));
    }

    /// Puts the marks back where they were, if they were raised.
    pub(in crate::page_alloc) fn end_boost(&self) {
        if self.marks().boost() > 0 {
            self.adjust_marks(|marks: &Marks| marks.set_boost(0));
        }
    }
}
