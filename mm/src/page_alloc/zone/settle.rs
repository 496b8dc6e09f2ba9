//! Changes of a pageblock's type, in steps between which the lock is dropped.
#![forbid(unsafe_code)]

use core::sync::atomic::Ordering::Relaxed;

use crate::addr::Pfn;
use crate::buddy::FreeCore;
use crate::migrate::MigrateType;
use crate::page_alloc::Zone;
use crate::sync::CurrentCpu;

impl<'m, C: FreeCore<'m>, M: CurrentCpu> Zone<'m, C, M> {
    /// Ends a change of a pageblock's type that is under way, if there is one.
    #[inline]
    pub(in crate::page_alloc) fn settle(&self) {
        if self.unsettled.load(Relaxed) {
            self.settle_now();
        }
    }

    /// As [`Self::settle`], in steps between which the lock is dropped and interrupts can come in.
    #[cold]
    #[inline(never)]
    pub(super) fn settle_now(&self) {
        while self.with_core(|core| core.move_some().is_some() && core.is_moving()) {}
    }

    /// Makes the type that `to` says, told the present one, the type of `pfn`'s pageblock, and moves what is free in it
    /// to that type's lists; returns how many pages those are. `None`, and nothing changed, when `to` says none.
    pub(in crate::page_alloc) fn change_type(
        &self,
        pfn: Pfn,
        to: impl Fn(MigrateType) -> Option<MigrateType>,
    ) -> Option<u32> {
        // Another pageblock's change goes first.
        while !self.with_core(|core| match to(self.block_type(pfn)) {
            _ if core.is_moving() => Some(false),
            Some(kind) => Some(core.start_move(pfn, kind)),
            None => None,
        })? {
            self.settle_now();
        }
        let mut moved = 0;
        while let Some(pages) = self.with_core(FreeCore::move_some) {
            moved += pages;
        }
        Some(moved)
    }
}
