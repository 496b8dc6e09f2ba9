//! The migrate type of each pageblock of a zone.
#![forbid(unsafe_code)]

use core::sync::atomic::AtomicU32;
use core::sync::atomic::Ordering::Relaxed;

use crate::addr::{Pfn, PfnRange};
use crate::migrate::{MigrateType, PAGEBLOCK_ORDER};

const BITS: u32 = 4;
const BLOCKS_A_WORD: u32 = u32::BITS / BITS;

/// One zone's pageblock types, 4 bits each. Zones have maps of their own, because a border can lie inside a block
/// (Linux: `zone->pageblock_flags`). Written under the zone's lock, read without.
#[derive(Clone, Copy)]
pub struct Usemap<'m> {
    words: &'m [AtomicU32],
    /// Number of the pageblock that the first 4 bits are for.
    first: u32,
}

impl<'m> Usemap<'m> {
    /// How many words the map of a zone with this span needs.
    #[must_use]
    pub const fn words_for(span: PfnRange) -> usize {
        if span.is_empty() {
            return 0;
        }
        let last = (span.end.raw() - 1) >> PAGEBLOCK_ORDER.raw();
        let blocks = last - (span.start.raw() >> PAGEBLOCK_ORDER.raw()) + 1;
        blocks.div_ceil(BLOCKS_A_WORD) as usize
    }

    /// The map of the zone `span` in `words`, every block of type `kind`; `None` when there are too few words.
    #[must_use]
    pub fn new(words: &'m [AtomicU32], span: PfnRange, kind: MigrateType) -> Option<Self> {
        let words = words.get(..Self::words_for(span))?;
        // The type in all 8 places of a word.
        let pattern = kind as u32 * 0x1111_1111;
        words.iter().for_each(|word| word.store(pattern, Relaxed));
        Some(Self { words, first: span.start.raw() >> PAGEBLOCK_ORDER.raw() })
    }

    #[inline]
    fn place(&self, pfn: Pfn) -> (usize, u32) {
        let block = (pfn.raw() >> PAGEBLOCK_ORDER.raw()).wrapping_sub(self.first);
        ((block / BLOCKS_A_WORD) as usize, block % BLOCKS_A_WORD * BITS)
    }

    /// The type of the block that holds `pfn`, a frame of the zone (Linux: `get_pageblock_migratetype`).
    #[must_use]
    #[inline]
    pub fn get(&self, pfn: Pfn) -> MigrateType {
        let (word, shift) = self.place(pfn);
        let raw = self.words.get(word).map_or(0, |word| word.load(Relaxed) >> shift);
        MigrateType::new(raw & 0xf).unwrap_or(MigrateType::Unmovable)
    }

    /// Makes `kind` the type of the block that holds `pfn`; the caller holds the zone's lock
    /// (Linux: `set_pageblock_migratetype`).
    pub(crate) fn set(&self, pfn: Pfn, kind: MigrateType) {
        let (word, shift) = self.place(pfn);
        if let Some(word) = self.words.get(word) {
            word.store(word.load(Relaxed) & !(0xf << shift) | (kind as u32) << shift, Relaxed);
        }
    }
}

impl core::fmt::Debug for Usemap<'_> {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("Usemap").field("first", &self.first).field("words", &self.words.len()).finish()
    }
}
