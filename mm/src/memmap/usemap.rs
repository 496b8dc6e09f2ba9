//! The migrate type of each pageblock of a zone.
#![forbid(unsafe_code)]

use core::sync::atomic::AtomicU8;
use core::sync::atomic::Ordering::Relaxed;

use crate::addr::{Pfn, PfnRange};
use crate::migrate::{MigrateType, PAGEBLOCK_ORDER, PAGEBLOCK_PAGES};
use crate::zone::pageblock::blocks_touched;

/// The bits of the type; for an isolated block those above them are the type that it had before.
const TYPE_MASK: u8 = 0xf;
const BEFORE_SHIFT: u32 = 4;

/// One zone's pageblock types, a byte each: every free looks one up. Zones have maps of their own, because a border can
/// lie inside a block (Linux: `zone->pageblock_flags`). Written under the zone's lock, read without.
#[derive(Clone, Copy)]
pub struct Usemap<'m> {
    types: &'m [AtomicU8],
    /// Number of the pageblock that the first byte is for.
    first: u32,
}

impl<'m> Usemap<'m> {
    /// How many bytes the map of a zone with this span needs.
    #[must_use]
    pub const fn bytes_for(span: PfnRange) -> usize {
        blocks_touched(span, PAGEBLOCK_PAGES) as usize
    }

    /// The map of the zone `span` in `types`, every block of type `kind`; `None` when there are too few bytes.
    #[must_use]
    pub fn new(types: &'m [AtomicU8], span: PfnRange, kind: MigrateType) -> Option<Self> {
        let types = types.get(..Self::bytes_for(span))?;
        types.iter().for_each(|block| block.store(kind as u8, Relaxed));
        Some(Self { types, first: span.start.raw() >> PAGEBLOCK_ORDER.log2() })
    }

    #[inline]
    fn place(&self, pfn: Pfn) -> Option<&'m AtomicU8> {
        self.types.get((pfn.raw() >> PAGEBLOCK_ORDER.log2()).wrapping_sub(self.first) as usize)
    }

    /// The type of the block that holds `pfn`, a frame of the zone (Linux: `get_pageblock_migratetype`).
    #[must_use]
    #[inline]
    pub fn get(&self, pfn: Pfn) -> MigrateType {
        let raw = self.place(pfn).map_or(0, |block| block.load(Relaxed));
        MigrateType::new(u32::from(raw & TYPE_MASK)).unwrap_or(MigrateType::Unmovable)
    }

    /// As [`Self::get`], the type's number.
    #[inline(always)]
    pub(crate) fn bits(&self, pfn: Pfn) -> u32 {
        self.place(pfn).map_or(0, |block| u32::from(block.load(Relaxed) & TYPE_MASK))
    }

    /// Makes `kind` the type of the block that holds `pfn`; the caller holds the zone's lock
    /// (Linux: `set_pageblock_migratetype`).
    pub(crate) fn set(&self, pfn: Pfn, kind: MigrateType) {
        let Some(block) = self.place(pfn) else { return };
        let before = if kind == MigrateType::Isolate { block.load(Relaxed) << BEFORE_SHIFT } else { 0 };
        block.store(kind as u8 | before, Relaxed);
    }

    /// The type that the isolated block that holds `pfn` had before; `None` for one that is not isolated.
    pub(crate) fn before_isolation(&self, pfn: Pfn) -> Option<MigrateType> {
        let raw = self.place(pfn)?.load(Relaxed);
        let is_isolated = raw & TYPE_MASK == MigrateType::Isolate as u8;
        if is_isolated { MigrateType::new(u32::from(raw >> BEFORE_SHIFT)) } else { None }
    }
}

impl core::fmt::Debug for Usemap<'_> {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("Usemap").field("first", &self.first).field("blocks", &self.types.len()).finish()
    }
}
