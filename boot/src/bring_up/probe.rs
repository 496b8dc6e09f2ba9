//! Whether there is RAM where the tree or `mem=` says so: absent RAM swallows writes without a fault.
//!
//! Theory.      A range is tried at its first frame and at its last one. One that ends early is a mistake of
//!              somebody's, and not to be trusted in its middle either: it is tried once a MiB, and cut where it first
//!              stops to answer, which halving finds. One whose ends answer may be two banks with nothing between them:
//!              it is tried at each multiple of 8 MiB. So a hole of 8 MiB or more is always found, unless no-map memory
//!              covers what would be tried; a smaller one only if it holds such a multiple.
//! Invariants.  No frame is tried that a write must not touch, not even for a moment: no-map regions (which may be
//!              somebody else's), what runs, and what was found to be RAM before. Those count as RAM.

use core::fmt;

use mm::addr::{PAGE_SIZE, Pfn, PfnRange, PhysAddr, PhysRange};

use super::no_map::NoMap;
use super::{FOUR_GIB, Given, Machine};

/// Frames from one that is tried of a range that ends early to the next: a MiB.
const STEP: u32 = 256;

/// Frames from one that is tried of a range whose ends answer to the next: 8 MiB, 64 Mbit of a DRAM of eight data
/// lines.
const PART: u32 = 2048;

/// How ranges are tried.
pub(super) struct Probe<'p, 'g, M> {
    pub(super) given: &'p Given<'g, M>,
    pub(super) no_map: &'p NoMap<'p, 'g, M>,
    /// RAM that has answered.
    pub(super) known: PhysRange,
}

impl<M: Machine> Probe<'_, '_, M> {
    /// The part of `range` up to its first hole; tells what is not there, and `who` says who named the range.
    pub(super) fn live_part(&self, range: PhysRange, who: fmt::Arguments<'_>) -> Option<PhysRange> {
        Some(self.up_to_hole(self.between_ends(range, who)?, who))
    }

    /// As [`Self::live_part`], but only the ends are tried: when both answer, the whole range counts.
    pub(super) fn between_ends(&self, range: PhysRange, who: fmt::Arguments<'_>) -> Option<PhysRange> {
        let frames = self.reachable(range);
        let (Some(first), Some(last)) = (self.first_to_try(frames), self.last_to_try(frames)) else {
            return Some(range);
        };
        if !self.given.machine.answers(first) {
            if self.known.overlaps(PhysRange::new(range.start, first.base())) {
                return Some(cut(range, first.base(), first, who));
            }
            log::error!("{who}: {range}: no RAM answers at {}, ignoring the bank", first.base());
            return None;
        }
        if self.given.machine.answers(last) {
            return Some(range);
        }
        let (alive, dead) = self.first_hole(PfnRange::new(first, last), STEP);
        Some(cut(range, self.end_of_ram(alive, dead.unwrap_or(last)).base(), last, who))
    }

    /// The part of a range whose ends answer up to its first hole.
    pub(super) fn up_to_hole(&self, range: PhysRange, who: fmt::Arguments<'_>) -> PhysRange {
        let (alive, Some(dead)) = self.first_hole(self.reachable(range), PART) else { return range };
        cut(range, self.end_of_ram(alive, dead).base(), dead, who)
    }

    /// What of `range` is used if it is RAM.
    fn reachable(&self, range: PhysRange) -> PfnRange {
        let start = PhysAddr::new(u64::from(self.given.head.phys_offset));
        range.intersection(PhysRange::new(start, FOUR_GIB)).whole_frames()
    }

    /// One past the frames that answer without a hole, from one that does to one above it that does not. What lies
    /// between them and may not be tried counts as RAM.
    fn end_of_ram(&self, mut alive: Pfn, mut dead: Pfn) -> Pfn {
        loop {
            let above = Pfn::new(alive.raw() + 1);
            let middle = Pfn::new(above.raw() + dead.pages_since(above) / 2);
            let upper = self.first_to_try(PfnRange::new(middle, dead));
            let Some(frame) = upper.or_else(|| self.last_to_try(PfnRange::new(above, middle))) else { return dead };
            if self.given.machine.answers(frame) {
                alive = frame;
            } else {
                dead = frame;
            }
        }
    }

    /// Of the frames at each multiple of `step`, the first that does not answer, and before it the last one that was
    /// tried; that is the first frame of all if none was.
    fn first_hole(&self, frames: PfnRange, step: u32) -> (Pfn, Option<Pfn>) {
        let mut alive = frames.start;
        loop {
            let next = alive.checked_add(1).and_then(|above| above.raw().checked_next_multiple_of(step));
            let next = next.map_or(frames.end, Pfn::new).min(frames.end);
            let Some(frame) = self.first_to_try(PfnRange::new(next, frames.end)) else { return (alive, None) };
            if !self.given.machine.answers(frame) {
                return (alive, Some(frame));
            }
            alive = frame;
        }
    }

    /// The lowest of `frames` that may be tried.
    fn first_to_try(&self, mut frames: PfnRange) -> Option<Pfn> {
        while !frames.is_empty() {
            let Some(taken) = self.not_to_try(frames.start) else { return Some(frames.start) };
            frames.start = taken.touched_frames().end;
        }
        None
    }

    /// The highest of `frames` that may be tried.
    fn last_to_try(&self, mut frames: PfnRange) -> Option<Pfn> {
        while !frames.is_empty() {
            let last = Pfn::new(frames.end.raw() - 1);
            let Some(taken) = self.not_to_try(last) else { return Some(last) };
            frames.end = taken.touched_frames().start;
        }
        None
    }

    /// What holds `frame` that must not be tried.
    fn not_to_try(&self, frame: Pfn) -> Option<PhysRange> {
        let page = PhysRange::new(frame.base(), frame.base().saturating_add(u64::from(PAGE_SIZE)));
        let given = self.given;
        let ours = [self.known, given.image.whole, given.table()].into_iter().find(|range| range.overlaps(page));
        ours.or_else(|| self.no_map.over(page))
    }
}

/// `range` with this end; tells of it.
fn cut(range: PhysRange, end: PhysAddr, dead: Pfn, who: fmt::Arguments<'_>) -> PhysRange {
    log::error!("{who}: {range}: no RAM answers at {}, it ends at {end}", dead.base());
    PhysRange::new(range.start, end)
}
