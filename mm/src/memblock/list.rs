//! One list of regions in its normal form.
//!
//! Theory.      A list is sorted by address; its regions share no byte, none is empty, and two that touch differ in an
//!              attribute (flags or node). There is one such list for any assignment of attributes to bytes, so a
//!              caller never sees how the list came about. Three edits keep the form: [`RegionList::insert`] fills the
//!              gaps of a range, [`RegionList::remove`] takes a range out, [`RegionList::update`] changes attributes.
//! Invariants.  1. The normal form above ([`RegionList::validate`]). 2. An edit needs no more slots than it announces
//!              (`slots_for_*`), so a caller that made room first can't fail half way.
//! Not here.    Where the array lies and how it grows (grow), which list means what (the face).
//! Source.      Linux mm/memblock.c: memblock_add_range, memblock_remove_range, memblock_isolate_range,
//!              memblock_merge_regions.
#![forbid(unsafe_code)]

use core::ops::Range;

use super::region::{Attrs, Region};
use crate::addr::{PhysAddr, PhysRange};

/// How a list fails to be in normal form.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Flaw {
    /// A region holds no byte.
    Empty,
    /// A region begins before the one in front of it ends.
    Disorder,
    /// A region touches the one in front of it and has equal attributes.
    NotMerged,
}

/// A part of a range that no region covers.
struct Gap {
    range: PhysRange,
    /// Where a region for it would be inserted.
    at: usize,
    joins_left: bool,
    joins_right: bool,
}

/// A sorted array of regions with room behind them (Linux: `struct memblock_type`).
#[derive(Debug)]
pub(super) struct RegionList<'a> {
    slots: &'a mut [Region],
    len: usize,
    /// The frames of the array when it was doubled out of memblock; `None` for the array given at the start.
    place: Option<PhysRange>,
}

impl<'a> RegionList<'a> {
    pub(super) const fn new(slots: &'a mut [Region]) -> Self {
        Self { slots, len: 0, place: None }
    }

    pub(super) fn regions(&self) -> &[Region] {
        self.slots.get(..self.len).unwrap_or(&[])
    }

    pub(super) const fn len(&self) -> usize {
        self.len
    }

    pub(super) const fn capacity(&self) -> usize {
        self.slots.len()
    }

    pub(super) const fn place(&self) -> Option<PhysRange> {
        self.place
    }

    /// Copies the regions to `array` at `place` and goes on there; returns where a doubled array lay before.
    /// `array` must be longer than the list; a shorter one changes nothing.
    pub(super) fn move_to(&mut self, array: &'a mut [Region], place: PhysRange) -> Option<PhysRange> {
        let target = array.get_mut(..self.len)?;
        target.copy_from_slice(self.slots.get(..self.len)?);
        self.slots = array;
        self.place.replace(place)
    }

    /// Index of the first region that ends above `addr`; the list's length when there is none.
    pub(super) fn first_ending_above(&self, addr: PhysAddr) -> usize {
        self.regions().partition_point(|region| region.end() <= addr)
    }

    /// The region that holds `addr`.
    pub(super) fn at(&self, addr: PhysAddr) -> Option<&Region> {
        self.regions().get(self.first_ending_above(addr)).filter(|region| region.base <= addr)
    }

    /// Whether a region shares a byte with `range`.
    pub(super) fn overlaps(&self, range: PhysRange) -> bool {
        self.regions().get(self.first_ending_above(range.start)).is_some_and(|region| region.range().overlaps(range))
    }

    /// Whether regions that satisfy `accept` hold every byte of `range`.
    pub(super) fn covers(&self, range: PhysRange, accept: impl Fn(&Region) -> bool) -> bool {
        let mut cursor = range.start;
        while cursor < range.end {
            match self.at(cursor) {
                Some(region) if accept(region) => cursor = region.end(),
                _ => return false,
            }
        }
        true
    }

    /// Bytes in all regions.
    pub(super) fn bytes(&self) -> u64 {
        self.regions().iter().fold(0, |sum, region| sum.saturating_add(region.size))
    }

    /// Slots in use after [`Self::insert`] of the same.
    pub(super) fn slots_for_insert(&self, range: PhysRange, attrs: Attrs) -> usize {
        let (mut inserts, mut joins, mut cursor) = (0_usize, 0_usize, range.start);
        while let Some(gap) = self.next_gap(cursor, range, attrs) {
            inserts += usize::from(!gap.joins_left && !gap.joins_right);
            joins += usize::from(gap.joins_left && gap.joins_right);
            cursor = gap.range.end;
        }
        self.len.saturating_add(inserts).saturating_sub(joins)
    }

    /// Gives the bytes of `range` that are in no region the attributes `attrs`; bytes in a region keep theirs.
    ///
    /// Gaps that join a neighbour are filled first: so the list is never longer than before or after.
    pub(super) fn insert(&mut self, range: PhysRange, attrs: Attrs) {
        self.fill(range, attrs, true);
        self.fill(range, attrs, false);
    }

    fn fill(&mut self, range: PhysRange, attrs: Attrs, only_joins: bool) {
        let mut cursor = range.start;
        while let Some(gap) = self.next_gap(cursor, range, attrs) {
            cursor = gap.range.end;
            let left = gap.at.wrapping_sub(1);
            match (gap.joins_left, gap.joins_right) {
                (true, true) => {
                    let end = self.get(gap.at).map_or(cursor, |right| right.end());
                    self.edit(left, |region| PhysRange::new(region.start, end));
                    self.take_out(gap.at..gap.at + 1);
                }
                (true, false) => self.edit(left, |region| PhysRange::new(region.start, gap.range.end)),
                (false, true) => self.edit(gap.at, |region| PhysRange::new(gap.range.start, region.end)),
                (false, false) if only_joins => {}
                (false, false) => self.put_in(gap.at, Region::of(gap.range, attrs)),
            }
        }
    }

    /// The first part of `range` from `cursor` up that no region covers.
    fn next_gap(&self, mut cursor: PhysAddr, range: PhysRange, attrs: Attrs) -> Option<Gap> {
        let mut at = self.first_ending_above(cursor);
        while let Some(region) = self.get(at)
            && region.base <= cursor
        {
            cursor = region.end();
            at += 1;
        }
        if cursor >= range.end {
            return None;
        }
        let right = self.get(at);
        let end = right.map_or(range.end, |region| region.base.min(range.end));
        let left = at.checked_sub(1).and_then(|left| self.get(left));
        Some(Gap {
            range: PhysRange::new(cursor, end),
            at,
            joins_left: left.is_some_and(|region| region.end() == cursor && region.attrs() == attrs),
            joins_right: right.is_some_and(|region| region.base == end && region.attrs() == attrs),
        })
    }

    /// Slots in use while [`Self::remove`] of the same runs.
    pub(super) fn slots_for_remove(&self, range: PhysRange) -> usize {
        let splits = self.at(range.start).is_some_and(|region| region.base < range.start && range.end < region.end());
        self.len + usize::from(splits)
    }

    /// Takes the bytes of `range` out of every region.
    pub(super) fn remove(&mut self, range: PhysRange) {
        if range.is_empty() {
            return;
        }
        let mut first = self.first_ending_above(range.start);
        if let Some(region) = self.get(first).copied()
            && region.base < range.start
        {
            self.edit(first, |region| PhysRange::new(region.start, range.start));
            first += 1;
            let tail = PhysRange::new(range.end, region.end());
            if !tail.is_empty() {
                self.put_in(first, Region::of(tail, region.attrs()));
                return;
            }
        }
        let last = self.first_ending_above(range.end);
        self.edit(last, |region| PhysRange::new(region.start.max(range.end), region.end));
        self.take_out(first..last);
    }

    /// Slots in use while [`Self::update`] of the same runs.
    pub(super) fn slots_for_update(&self, range: PhysRange, change: impl Fn(Attrs) -> Attrs) -> usize {
        let splits = |addr| self.straddling(addr, &change).is_some();
        self.len + usize::from(splits(range.start)) + usize::from(splits(range.end))
    }

    /// Applies `change` to the attributes of all bytes of `range` that are in a region.
    pub(super) fn update(&mut self, range: PhysRange, change: impl Fn(Attrs) -> Attrs) {
        self.split(range.start, &change);
        self.split(range.end, &change);
        let first = self.first_ending_above(range.start);
        let mut last = first;
        while let Some(slot) = self.slot(last)
            && slot.base < range.end
        {
            // A region that `change` leaves alone was not split and may reach out of the range on either side.
            let attrs = change(slot.attrs());
            *slot = Region::of(slot.range(), attrs);
            last += 1;
        }
        self.merge(first.saturating_sub(1)..last);
    }

    /// The region that has bytes on both sides of `addr`, if `change` changes it.
    fn straddling(&self, addr: PhysAddr, change: impl Fn(Attrs) -> Attrs) -> Option<usize> {
        let at = self.first_ending_above(addr);
        let region = self.get(at)?;
        (region.base < addr && change(region.attrs()) != region.attrs()).then_some(at)
    }

    fn split(&mut self, addr: PhysAddr, change: impl Fn(Attrs) -> Attrs) {
        if let Some(at) = self.straddling(addr, change)
            && let Some(region) = self.get(at)
        {
            let (range, attrs) = (region.range(), region.attrs());
            self.put_in(at, Region::of(PhysRange::new(range.start, addr), attrs));
            self.edit(at + 1, |region| PhysRange::new(addr, region.end));
        }
    }

    /// Merges the regions of `at` with each other and with the one behind them where they touch as equals.
    fn merge(&mut self, at: Range<usize>) {
        let mut left = at.start;
        let mut pairs = at.len();
        while pairs > 0
            && let (Some(a), Some(b)) = (self.get(left).copied(), self.get(left + 1).copied())
        {
            if a.end() == b.base && a.attrs() == b.attrs() {
                self.edit(left, |region| PhysRange::new(region.start, b.end()));
                self.take_out(left + 1..left + 2);
            } else {
                left += 1;
            }
            pairs -= 1;
        }
    }

    /// Cuts every region to multiples of `align`, a power of two in bytes; what has none left goes.
    pub(super) fn trim(&mut self, align: u64) {
        let mut at = 0;
        while let Some(region) = self.get(at).copied() {
            let start = region.base.align_up(align).unwrap_or(region.end());
            let inside = PhysRange::new(start, region.end().align_down(align));
            if inside.is_empty() {
                self.take_out(at..at + 1);
            } else {
                self.edit(at, |_| inside);
                at += 1;
            }
        }
    }

    fn get(&self, at: usize) -> Option<&Region> {
        self.regions().get(at)
    }

    fn slot(&mut self, at: usize) -> Option<&mut Region> {
        self.slots.get_mut(..self.len).and_then(|regions| regions.get_mut(at))
    }

    fn edit(&mut self, at: usize, range: impl Fn(PhysRange) -> PhysRange) {
        if let Some(slot) = self.slot(at) {
            slot.set_range(range(slot.range()));
        }
    }

    /// Inserts `region` before index `at`. Room was made before: a full array would drop the region, which
    /// `validate` and the sums of the callers' tests would show.
    fn put_in(&mut self, at: usize, region: Region) {
        debug_assert!(self.len < self.slots.len());
        if let Some(tail) = self.slots.get_mut(at..=self.len) {
            tail.rotate_right(1);
            if let Some(slot) = tail.first_mut() {
                *slot = region;
            }
            self.len += 1;
        }
    }

    fn take_out(&mut self, at: Range<usize>) {
        let count = at.len();
        if let Some(tail) = self.slots.get_mut(at.start..self.len)
            && count <= tail.len()
        {
            tail.rotate_left(count);
            self.len -= count;
        }
    }

    /// Puts another range into the region at `index`, whatever becomes of the form.
    #[cfg(test)]
    pub(super) fn spoil(&mut self, index: usize, range: PhysRange) {
        self.slots[index].set_range(range);
    }

    /// Checks the normal form; on a flaw also the index of the region that shows it.
    pub(super) fn validate(&self) -> Result<(), (Flaw, usize)> {
        let mut before: Option<&Region> = None;
        for (index, region) in self.regions().iter().enumerate() {
            if region.range().is_empty() {
                return Err((Flaw::Empty, index));
            }
            if let Some(before) = before {
                if region.base < before.end() {
                    return Err((Flaw::Disorder, index));
                }
                if region.base == before.end() && region.attrs() == before.attrs() {
                    return Err((Flaw::NotMerged, index));
                }
            }
            before = Some(region);
        }
        Ok(())
    }
}
