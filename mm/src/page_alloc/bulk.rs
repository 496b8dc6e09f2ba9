//! Many single pages at once, past the pagesets: whole blocks are cut up, and runs of frames are merged before the lock
//! is taken.
//!
//! Theory.      An allocation takes as many pages as a free block has in one step, a chunk of them under one hold of
//!              the zone's lock. A free claims page after page, as every free does, and gives frames that follow each
//!              other to the zone as the few aligned blocks that they are: merging them one by one costs many times as
//!              much. Frames that stand alone go to the pageset.
//! Invariants.  The pages of a run that is on its way say that they head nothing: no free takes them, nothing merges
//!              with them.
//! Source.      Linux 5.13: `__alloc_pages_bulk`; the merging is ours.
#![forbid(unsafe_code)]

use crate::addr::{Pfn, PfnRange};
use crate::buddy::{FreeCore, FreeError};
use crate::gfp::GfpFlags;
use crate::memmap::{StateWord, ZoneTag};
use crate::migrate::MigrateType;
use crate::order::Order;
use crate::page_alloc::pageset::Heat;
use crate::page_alloc::{AllocError, PageAllocator, Zone};
use crate::sync::CurrentCpu;

/// Most pages under one hold of a zone's lock: interrupts are off meanwhile.
const CHUNK: usize = 32;

/// Most pages of a run: it becomes a few blocks, each of which is given back under the lock.
const RUN: usize = 256;

/// Frames that follow each other in one zone, claimed; not empty.
#[derive(Clone, Copy)]
struct Run {
    start: u32,
    end: u32,
    zone: ZoneTag,
    /// What the last of them was allocated for.
    kind_bits: u32,
}

impl<'m, M: CurrentCpu, C: FreeCore<'m>> PageAllocator<'m, M, C> {
    /// Fills `out` with single pages from its start; returns how many there were (Linux: `alloc_pages_bulk_array`).
    ///
    /// # Errors
    /// [`AllocError`] when not even one page could be had.
    pub fn alloc_pages_bulk(&self, gfp: GfpFlags, out: &mut [Pfn]) -> Result<usize, AllocError> {
        let easy = self.bulk_easy(gfp, out);
        for (done, place) in out.iter_mut().enumerate().skip(easy) {
            match self.alloc_page(gfp) {
                Ok(pfn) => *place = pfn,
                Err(error) if done == 0 => return Err(error),
                Err(_) => return Ok(done),
            }
        }
        Ok(out.len())
    }

    /// Fills the front of `out` from the zone that the flags prefer, as long as that has plenty; returns how far.
    fn bulk_easy(&self, gfp: GfpFlags, out: &mut [Pfn]) -> usize {
        let Some((zone, kind)) = self.easy_zone(gfp) else { return 0 };
        let mut done = 0;
        while let Some(rest) = out.get_mut(done..).filter(|rest| !rest.is_empty()) {
            let (mut rest, _) = rest.split_at_mut(rest.len().min(CHUNK));
            // A chunk is short.
            let wanted = u32::try_from(rest.len()).unwrap_or(u32::MAX);
            let each = |first: Pfn, pages: u32| {
                let (places, behind) =
                    core::mem::take(&mut rest).split_at_mut_checked(pages as usize).unwrap_or_default();
                for (place, offset) in places.iter_mut().zip(0..) {
                    *place = Pfn::new(first.raw() + offset);
                }
                rest = behind;
            };
            match zone.take_pages(wanted, kind, each) {
                0 => break,
                taken => done += taken as usize,
            }
        }
        done
    }

    /// Frees single pages, each of which gives up one reference.
    ///
    /// # Errors
    /// The first one that cannot be freed; the pages before it are free, it and those behind are as they were.
    #[track_caller]
    pub fn free_pages_bulk(&self, pages: &[Pfn]) -> Result<(), FreeError> {
        if !self.hooks().is_empty() {
            return pages.iter().try_for_each(|pfn| self.free_pages(*pfn, Order::ZERO));
        }
        for chunk in pages.chunks(RUN) {
            self.free_chunk(chunk)?;
        }
        Ok(())
    }

    fn free_chunk(&self, pages: &[Pfn]) -> Result<(), FreeError> {
        let mut pages = pages.iter();
        while let Some(pfn) = pages.next() {
            let Some((zone, kind_bits)) = self.claim_for_run(*pfn) else {
                // Several owners, or an error: the usual way knows.
                self.free_pages(*pfn, Order::ZERO)?;
                continue;
            };
            let mut run = Run { start: pfn.raw(), end: pfn.raw().wrapping_add(1), zone, kind_bits };
            // What does not follow is left to the next turn, unclaimed.
            let mut rest = pages.as_slice().iter();
            while let Some(next) = rest.next().filter(|next| next.raw() == run.end) {
                let Some((zone, kind_bits)) = self.claim_for_run(*next) else { break };
                if zone != run.zone {
                    self.finish(run);
                    run.start = next.raw();
                }
                run = Run { end: next.raw().wrapping_add(1), zone, kind_bits, ..run };
                pages = rest.clone();
            }
            self.finish(run);
        }
        Ok(())
    }

    /// Takes a page from its only owner, so that it heads nothing; its zone and the type that it was allocated for.
    #[inline(always)]
    fn claim_for_run(&self, pfn: Pfn) -> Option<(ZoneTag, u32)> {
        let page = self.map.page(pfn)?;
        let owned = page.claim_as(Order::ZERO, StateWord::INSIDE)?;
        Some((page.zone(), owned.kind_bits()))
    }

    /// Gives a run to its zone.
    #[inline(never)]
    fn finish(&self, run: Run) {
        let Run { start, end, zone, kind_bits } = run;
        let frames = PfnRange::new(Pfn::new(start), Pfn::new(end));
        // Every frame of the map has the tag of a zone that exists: it was allocated from there.
        let Some(zone) = self.zone_tagged(zone) else { return };
        if frames.pages() > 1 {
            zone.give_pages(frames);
        } else {
            self.map.at(frames.start).set_word(StateWord::pageset(Order::ZERO));
            let kind = MigrateType::new(kind_bits).unwrap_or(MigrateType::Movable);
            Zone::free(zone, frames.start, Order::ZERO, kind, Heat::Hot);
        }
    }
}
