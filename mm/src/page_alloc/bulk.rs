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
use crate::memmap::{Page, StateWord, ZoneTag};
use crate::migrate::MigrateType;
use crate::order::Order;
use crate::page_alloc::pageset::Heat;
use crate::page_alloc::{AllocError, PageAllocator, Zone};
use crate::sync::CurrentCpu;

/// Most pages under one hold of a zone's lock: interrupts are off meanwhile.
const CHUNK: usize = 32;

/// Most pages of a run: it becomes a few blocks, each of which is given back under the lock.
const RUN: usize = 256;

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
                number(places, first);
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
            for pfn in pages {
                self.free_pages(*pfn, Order::ZERO)?;
            }
            return Ok(());
        }
        for chunk in pages.chunks(RUN) {
            self.free_chunk(chunk)?;
        }
        Ok(())
    }

    #[track_caller]
    fn free_chunk(&self, mut pages: &[Pfn]) -> Result<(), FreeError> {
        while !pages.is_empty() {
            let mut left = following(pages);
            while let Some(pfn) = pages.first().filter(|_| left > 0) {
                let freed = match self.free_run(*pfn, left) {
                    // Several owners, or an error: the usual way knows.
                    0 => {
                        self.release(*pfn, Order::ZERO, Heat::Hot)?;
                        1
                    }
                    freed => freed,
                };
                left -= freed;
                pages = pages.get(freed..).unwrap_or_default();
            }
        }
        Ok(())
    }

    /// Takes pages from their only owners, from `first` on, as long as they are of one zone, `most` of them; gives them
    /// to the zone and returns how many they are. Not inlined: the loop needs the registers.
    #[inline(never)]
    fn free_run(&self, first: Pfn, most: usize) -> usize {
        let pages = self.map.pages_from(first);
        let Some((head, rest)) = pages.get(..most).unwrap_or(pages).split_first() else { return 0 };
        let claim = |page: &Page| page.claim_as(Order::ZERO, StateWord::INSIDE);
        let (Some(owned), zone) = (claim(head), head.zone()) else { return 0 };
        let pages = 1 + rest.iter().take_while(|page| page.zone() == zone && claim(page).is_some()).count();
        // A run is short.
        let end = Pfn::new(first.raw().wrapping_add(u32::try_from(pages).unwrap_or(1)));
        self.finish(PfnRange::new(first, end), zone, owned);
        pages
    }

    /// Gives frames that were claimed to their zone; `owned` is what the state of the first of them was.
    #[inline(never)]
    fn finish(&self, frames: PfnRange, zone: ZoneTag, owned: StateWord) {
        // Every frame of the map has the tag of a zone that exists: it was allocated from there.
        let Some(zone) = self.zone_tagged(zone) else { return };
        if frames.pages() > 1 {
            zone.give_pages(frames);
        } else {
            self.map.at(frames.start).set_word(StateWord::pageset(Order::ZERO));
            let kind = MigrateType::new(owned.kind_bits()).unwrap_or(MigrateType::Movable);
            Zone::free(zone, frames.start, Order::ZERO, kind, Heat::Hot);
        }
    }
}

/// Writes down the frames from `first` on, several a turn.
fn number(places: &mut [Pfn], first: Pfn) {
    let write = |places: &mut [Pfn], first: u32| {
        places.iter_mut().zip(0..).for_each(|(place, offset)| *place = Pfn::new(first.wrapping_add(offset)));
    };
    let (eights, rest) = places.as_chunks_mut::<8>();
    let mut frame = first.raw();
    for eight in eights {
        write(eight, frame);
        frame = frame.wrapping_add(8);
    }
    write(rest, frame);
}

/// How many of the first of `pages` follow each other, several a turn.
fn following(pages: &[Pfn]) -> usize {
    let Some(first) = pages.first() else { return 0 };
    let is_next = |(pfn, offset): (&Pfn, u32)| pfn.raw() == first.raw().wrapping_add(offset);
    let (eights, _) = pages.as_chunks::<8>();
    let turns = eights.iter().zip((0..).step_by(8)).take_while(|(eight, start)| {
        let mut places = eight.iter().zip(*start..);
        places.all(is_next)
    });
    let sure = turns.map(|(eight, _)| eight.len()).sum();
    let rest = pages.get(sure..).unwrap_or_default().iter().zip((0..).skip(sure));
    sure + rest.take_while(|place| is_next(*place)).count()
}
