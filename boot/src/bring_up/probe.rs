//! Whether there is RAM where the tree or `mem=` says so: absent RAM swallows writes without a fault.
//!
//! Theory.      A range is tried at its first frame and at its last one. One that ends early is a mistake of somebody's, and
//!              not to be trusted in its middle either: it is tried once a MiB, and cut where it first stops to answer,
//!              which halving finds. Smaller holes, and holes in ranges that end in RAM, are not looked for.
//! Invariants.  No frame is tried that a write must not touch, not even for a moment: no-map regions (which may be
//!              somebody else's), what runs, and what was found to be RAM before. Those count as RAM.

use core::fmt;

use mm::addr::{PAGE_SIZE, Pfn, PfnRange, PhysAddr, PhysRange};

use super::{FOUR_GIB, Given, Machine};
use crate::info::MemoryBank;

/// Frames from one that is tried of a range that ends early to the next: a MiB.
const STEP: u32 = 256;

/// How ranges are tried.
pub(super) struct Probe<'p, 'g, M> {
    pub(super) given: &'p Given<'g, M>,
    /// RAM that has answered.
    pub(super) known: PhysRange,
}

impl<M: Machine> Probe<'_, '_, M> {
    /// The part of a bank of the tree behind which there is RAM.
    pub(super) fn live_bank(&self, bank: &MemoryBank<'_>) -> Option<PhysRange> {
        self.live_part(bank.range, format_args!("/{}: reg", bank.name))
    }

    /// The part of `range` behind which there is RAM; tells what is not there, with `who` named the range.
    pub(super) fn live_part(&self, range: PhysRange, who: fmt::Arguments<'_>) -> Option<PhysRange> {
        let frames = range.intersection(PhysRange::new(PhysAddr::ZERO, FOUR_GIB)).whole_frames();
        let (Some(first), Some(last)) = (self.first_to_try(frames), self.last_to_try(frames)) else {
            return Some(range);
        };
        let cut = |end: PhysAddr, dead: Pfn| {
            log::error!("{who}: {range}: no RAM answers at {}, it ends at {end}", dead.base());
            Some(PhysRange::new(range.start, end))
        };
        if !self.given.machine.answers(first) {
            if self.known.overlaps(PhysRange::new(range.start, first.base())) {
                return cut(first.base(), first);
            }
            log::error!("{who}: {range}: no RAM answers at {}, ignoring the bank", first.base());
            return None;
        }
        if self.given.machine.answers(last) {
            return Some(range);
        }
        cut(self.end_of_ram(PfnRange::new(first, last)).base(), last)
    }

    /// One past the frames that answer without a hole, when the first of `frames` does and the one at its end does not. What
    /// lies between them and may not be tried counts as RAM.
    fn end_of_ram(&self, frames: PfnRange) -> Pfn {
        let (mut alive, mut dead) = self.first_hole(frames);
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

    /// The same to a MiB: a frame that answers, and one above it that does not.
    fn first_hole(&self, frames: PfnRange) -> (Pfn, Pfn) {
        let mut alive = frames.start;
        loop {
            let next = alive.checked_add(STEP).unwrap_or(frames.end).min(frames.end);
            let Some(frame) = self.first_to_try(PfnRange::new(next, frames.end)) else { return (alive, frames.end) };
            if !self.given.machine.answers(frame) {
                return (alive, frame);
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
        let no_map = given.fdt.reserved_memory().filter(|node| node.no_map).flat_map(|node| node.reg);
        [self.known, given.image.whole, given.table()].into_iter().chain(no_map).find(|range| range.overlaps(page))
    }
}
