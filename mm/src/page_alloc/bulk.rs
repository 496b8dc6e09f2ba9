//! Many single pages at once, past the pagesets: whole blocks are cut up, and runs of frames are merged before the lock
//! is taken.
//!
//! Theory.      An allocation takes as many pages as a free block has in one step, a chunk of them under one hold of the
//!              zone's lock. A free claims page after page, as every free does, and gives frames that follow each other
//!              to the zone as the few aligned blocks that they are: merging them one by one costs many times as much.
//!              Frames that stand alone go to the pageset.
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
const CHUNK: usize = 64;

/// Frames that follow each other in one zone, claimed; not empty.
#[derive(Clone, Copy)]
struct Run {
    frames: PfnRange,
    zone: ZoneTag,
    /// What the first of them was allocated for.
    kind: MigrateType,
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
        for chunk in out.chunks_mut(CHUNK) {
            // A chunk is short.
            let wanted = u32::try_from(chunk.len()).unwrap_or(u32::MAX);
            let mut places = chunk.iter_mut();
            let each = |pfn| {
                if let Some(place) = places.next() {
                    *place = pfn;
                }
            };
            let taken = zone.take_pages(wanted, kind, each);
            done += taken as usize;
            if taken < wanted {
                break;
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
        for chunk in pages.chunks(CHUNK) {
            self.free_chunk(chunk)?;
        }
        Ok(())
    }

    fn free_chunk(&self, pages: &[Pfn]) -> Result<(), FreeError> {
        let mut run: Option<Run> = None;
        for pfn in pages.iter().copied() {
            let claimed = self.map.page(pfn).and_then(|page| {
                page.claim_as(Order::ZERO, StateWord::INSIDE).map(|owned| (page.zone(), owned.kind_bits()))
            });
            let Some((zone, bits)) = claimed else {
                self.finish(run.take());
                // Several owners, or an error: the usual way knows.
                self.free_pages(pfn, Order::ZERO)?;
                continue;
            };
            match &mut run {
                Some(run) if run.frames.end == pfn && run.zone == zone => {
                    run.frames.end = Pfn::new(pfn.raw().wrapping_add(1));
                }
                _ => {
                    self.finish(run.take());
                    let frames = PfnRange::new(pfn, Pfn::new(pfn.raw().wrapping_add(1)));
                    let kind = MigrateType::new(bits).unwrap_or(MigrateType::Movable);
                    run = Some(Run { frames, zone, kind });
                }
            }
        }
        self.finish(run);
        Ok(())
    }

    /// Gives a run to its zone.
    #[inline]
    fn finish(&self, run: Option<Run>) {
        let Some(Run { frames, zone, kind }) = run else { return };
        // Every frame of the map has the tag of a zone that exists: it was allocated from there.
        let Some(zone) = self.zone_tagged(zone) else { return };
        if frames.pages() > 1 {
            zone.give_pages(frames);
        } else {
            self.map.at(frames.start).set_word(StateWord::pageset(Order::ZERO));
            Zone::free(zone, frames.start, Order::ZERO, kind, Heat::Hot);
        }
    }
}
