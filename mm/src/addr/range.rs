//! Half-open ranges of bytes and of frames, and how one becomes the other.
#![forbid(unsafe_code)]

use core::fmt;

use super::{PAGE_SHIFT, PAGE_SIZE, Pfn, PhysAddr};

/// Physical bytes from `start` up to, not including, `end`.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub struct PhysRange {
    /// First byte.
    pub start: PhysAddr,
    /// One past the last byte.
    pub end: PhysAddr,
}

impl PhysRange {
    /// The range `start..end`; empty when `end` is not above `start`.
    #[must_use]
    pub const fn new(start: PhysAddr, end: PhysAddr) -> Self {
        Self { start, end }
    }

    /// `size` bytes from `start`; `None` when the end passes 2^64.
    #[must_use]
    pub const fn sized(start: PhysAddr, size: u64) -> Option<Self> {
        match start.checked_add(size) {
            Some(end) => Some(Self { start, end }),
            None => None,
        }
    }

    /// Bytes in the range.
    #[must_use]
    pub const fn size(self) -> u64 {
        self.end.raw().saturating_sub(self.start.raw())
    }

    /// Whether the range holds no byte.
    #[must_use]
    pub const fn is_empty(self) -> bool {
        self.end.raw() <= self.start.raw()
    }

    /// Whether `addr` lies inside.
    #[must_use]
    pub const fn contains(self, addr: PhysAddr) -> bool {
        self.start.raw() <= addr.raw() && addr.raw() < self.end.raw()
    }

    /// Whether all of `inner` lies inside.
    #[must_use]
    pub const fn contains_range(self, inner: Self) -> bool {
        self.start.raw() <= inner.start.raw() && inner.end.raw() <= self.end.raw()
    }

    /// Whether the two share a byte.
    #[must_use]
    pub const fn overlaps(self, other: Self) -> bool {
        !self.is_empty()
            && !other.is_empty()
            && self.start.raw() < other.end.raw()
            && other.start.raw() < self.end.raw()
    }

    /// The bytes in both; empty when there are none.
    #[must_use]
    pub fn intersection(self, other: Self) -> Self {
        Self { start: self.start.max(other.start), end: self.end.min(other.end) }
    }

    /// The whole frames inside: start rounded up, end rounded down (Linux: `PFN_UP`, `PFN_DOWN`). An end above
    /// 2^44 bytes is cut there.
    #[must_use]
    #[expect(clippy::cast_possible_truncation, reason = "both are cut to u32::MAX first")]
    pub const fn whole_frames(self) -> PfnRange {
        let max = u32::MAX as u64;
        let up = (self.start.raw() >> PAGE_SHIFT) + (self.start.raw() & (PAGE_SIZE as u64 - 1) != 0) as u64;
        let down = self.end.raw() >> PAGE_SHIFT;
        let start = if up > max { max } else { up };
        let end = if down > max { max } else { down };
        PfnRange { start: Pfn::new(start as u32), end: Pfn::new(if end < start { start } else { end } as u32) }
    }

    /// Every frame that the range touches: start rounded down, end rounded up.
    #[must_use]
    #[expect(clippy::cast_possible_truncation, reason = "both are cut to u32::MAX first")]
    pub const fn touched_frames(self) -> PfnRange {
        let max = u32::MAX as u64;
        let down = self.start.raw() >> PAGE_SHIFT;
        let up = (self.end.raw() >> PAGE_SHIFT) + (self.end.raw() & (PAGE_SIZE as u64 - 1) != 0) as u64;
        let start = if down > max { max } else { down };
        let end = if up > max { max } else { up };
        PfnRange { start: Pfn::new(start as u32), end: Pfn::new(if end < start { start } else { end } as u32) }
    }
}

impl fmt::Display for PhysRange {
    /// Linux's inclusive form: `[mem 0x80000000-0x9fffffff]`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "[mem {:#010x}-{:#010x}]", self.start.raw(), self.end.raw().saturating_sub(1))
    }
}

/// Page frames from `start` up to, not including, `end`.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub struct PfnRange {
    /// First frame.
    pub start: Pfn,
    /// One past the last frame.
    pub end: Pfn,
}

impl PfnRange {
    /// The range `start..end`; empty when `end` is not above `start`.
    #[must_use]
    pub const fn new(start: Pfn, end: Pfn) -> Self {
        Self { start, end }
    }

    /// Frames in the range.
    #[must_use]
    pub const fn pages(self) -> u32 {
        self.end.raw().saturating_sub(self.start.raw())
    }

    /// Whether the range holds no frame.
    #[must_use]
    pub const fn is_empty(self) -> bool {
        self.end.raw() <= self.start.raw()
    }

    /// Whether `pfn` lies inside.
    #[must_use]
    pub const fn contains(self, pfn: Pfn) -> bool {
        self.start.raw() <= pfn.raw() && pfn.raw() < self.end.raw()
    }

    /// The frames in both; empty when there are none.
    #[must_use]
    pub fn intersection(self, other: Self) -> Self {
        let start = self.start.max(other.start);
        Self { start, end: self.end.min(other.end).max(start) }
    }

    /// The bytes of all its frames.
    #[must_use]
    pub const fn bytes(self) -> PhysRange {
        PhysRange { start: self.start.base(), end: self.end.base() }
    }

    /// Each frame in turn, lowest first.
    pub fn iter(self) -> impl DoubleEndedIterator<Item = Pfn> + Clone {
        (self.start.raw()..self.end.raw()).map(Pfn::new)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_of_an_unaligned_range_round_inwards_and_outwards() {
        let range = PhysRange::new(PhysAddr::new(0x1001), PhysAddr::new(0x4fff));
        assert_eq!(range.whole_frames(), PfnRange::new(Pfn::new(2), Pfn::new(4)));
        assert_eq!(range.touched_frames(), PfnRange::new(Pfn::new(1), Pfn::new(5)));
        let inside = PhysRange::new(PhysAddr::new(0x1001), PhysAddr::new(0x1fff));
        assert!(inside.whole_frames().is_empty());
    }

    #[test]
    fn a_bank_that_ends_at_4_gib_keeps_its_last_page() {
        let bank = PhysRange::sized(PhysAddr::new(0x8000_0000), 0x8000_0000).unwrap();
        assert_eq!(bank.whole_frames().end, Pfn::new(0x10_0000));
        assert_eq!(bank.whole_frames().pages(), 0x8_0000);
    }
}
