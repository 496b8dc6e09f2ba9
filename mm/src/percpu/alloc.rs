//! Dynamic allocation inside the first chunk: hands out offsets that hold in every CPU's unit.
//!
//! Theory.      The reserved and the dynamic part are divided into grains of 4 bytes, one bit each in two maps: a grain
//!              is `used`, and it is the `first` of an allocation. An allocation's end is the next first grain, the
//!              next free grain or the end of its part, so that a free needs the offset alone. Search is first fit from
//!              the part's start, which keeps long-lived small objects together.
//! Invariants.  1. A first grain is used. 2. A used grain behind a free one, or at the start of a part, is a first
//!              one. 3. The counts of used grains equal the maps. 4. No bit is set outside both parts.
//! Not here.    The bytes: the caller zeroes an area in every unit; locking.
//! Source.      Linux mm/percpu.c: pcpu_alloc_area, pcpu_free_area.
#![forbid(unsafe_code)]

use core::fmt;
use core::ops::Range;

use super::bitmap;
use super::layout::{ChunkLayout, MIN_UNIT_SIZE};
use crate::addr::PAGE_SIZE;

#[cfg(test)]
mod tests;

/// Bytes of a grain: the least size and alignment (Linux: `PCPU_MIN_ALLOC_SIZE`).
pub const GRAIN: u32 = 4;

/// A part of the unit that is allocated from.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Area {
    /// For the per-CPU variables of modules.
    Reserved,
    /// For everybody.
    Dynamic,
}

/// Why there is no allocator or no allocation.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum AllocError {
    /// The maps need this many words, the storage has fewer.
    Storage(u32),
    /// A size of 0 or above 32 KiB, in bytes.
    Size(u32),
    /// An alignment that is not a power of two or above a page, in bytes.
    Align(u32),
    /// No free run of the part holds this many bytes at this alignment.
    NoSpace {
        /// Bytes asked for.
        size: u32,
        /// Alignment asked for.
        align: u32,
    },
}

/// Why a free is refused; nothing has changed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum FreeError {
    /// The offset lies in no part that is allocated from, or between two grains.
    Foreign(u32),
    /// Nothing is allocated there: a double free, say.
    NotAllocated(u32),
    /// It lies inside an allocation, not at its start.
    Inside(u32),
}

/// Which promise the maps do not keep, with the offset or the counts.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum AllocatorBroken {
    /// A first grain that is not used.
    FirstNotUsed(u32),
    /// A run of used grains whose first one is not marked.
    RunWithoutFirst(u32),
    /// Used bytes as counted and as the map has them.
    Count(u32, u32),
    /// A bit outside both parts.
    Outside,
}

impl fmt::Display for AllocError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Storage(words) => write!(f, "percpu: the allocation maps need {words} words"),
            Self::Size(size) => write!(f, "percpu: illegal size {size}"),
            Self::Align(align) => write!(f, "percpu: illegal alignment {align}"),
            Self::NoSpace { size, align } => {
                write!(f, "percpu: allocation failed, size={size} align={align}, no space left")
            }
        }
    }
}

/// The allocator of the first chunk.
#[derive(Debug)]
pub struct PerCpuAllocator<'a> {
    used: &'a mut [u32],
    first: &'a mut [u32],
    /// Offset of grain 0 in the unit, in bytes.
    base: u32,
    /// Grains of the reserved part, in front, and of the dynamic part.
    parts: [Range<u32>; 2],
    used_grains: [u32; 2],
}

impl<'a> PerCpuAllocator<'a> {
    /// Words of storage that the allocator of `layout` needs.
    #[must_use]
    pub const fn storage_words(layout: &ChunkLayout) -> u32 {
        2 * bitmap::words(layout.used_size().saturating_sub(grain_base(layout)) / GRAIN)
    }

    /// An allocator with everything free, its maps in `storage`.
    ///
    /// # Errors
    /// [`AllocError::Storage`] when that is too small.
    pub fn new(layout: &ChunkLayout, storage: &'a mut [u32]) -> Result<Self, AllocError> {
        let words = Self::storage_words(layout);
        let base = grain_base(layout);
        let end = layout.used_size().saturating_sub(base) / GRAIN;
        // An unaligned end of the static image costs the reserved part, an unaligned border the dynamic part.
        let border = (layout.static_size() + layout.reserved_size()).saturating_sub(base);
        let (reserved, dynamic) = (border / GRAIN, border.div_ceil(GRAIN).min(end));
        let maps = storage.get_mut(..words as usize).ok_or(AllocError::Storage(words))?;
        maps.fill(0);
        let (used, first) = maps.split_at_mut_checked(words as usize / 2).ok_or(AllocError::Storage(words))?;
        Ok(Self { used, first, base, parts: [0..reserved, dynamic..end], used_grains: [0; 2] })
    }

    /// Allocates `size` bytes at a multiple of `align` in `area`; returns the offset in every unit, in bytes.
    ///
    /// The size is rounded up to 4 bytes. The bytes are whatever was there. Cost: a walk over the part's map. Linux:
    /// `__alloc_percpu`, `__alloc_reserved_percpu`.
    ///
    /// # Errors
    /// [`AllocError`]; nothing has changed.
    pub fn alloc(&mut self, size: u32, align: u32, area: Area) -> Result<u32, AllocError> {
        if size == 0 || size > MIN_UNIT_SIZE {
            return Err(AllocError::Size(size));
        }
        if !align.is_power_of_two() || align > PAGE_SIZE {
            return Err(AllocError::Align(align));
        }
        let grains = size.div_ceil(GRAIN);
        let start =
            self.find_free(self.part(area), grains, align.max(GRAIN)).ok_or(AllocError::NoSpace { size, align })?;
        bitmap::put(self.used, start, start + grains, true);
        bitmap::put(self.first, start, start + 1, true);
        self.used_grains[area as usize] += grains;
        Ok(self.base + start * GRAIN)
    }

    /// Frees what `alloc` gave at `offset`; returns its bytes, rounded as they were. Linux: `free_percpu`.
    ///
    /// # Errors
    /// [`FreeError`]; nothing has changed.
    pub fn free(&mut self, offset: u32) -> Result<u32, FreeError> {
        let grain = offset.checked_sub(self.base).filter(|bytes| bytes % GRAIN == 0).map(|bytes| bytes / GRAIN);
        let area = |grain| [Area::Reserved, Area::Dynamic].into_iter().find(|&area| self.part(area).contains(&grain));
        let (start, area) = grain.and_then(|grain| Some((grain, area(grain)?))).ok_or(FreeError::Foreign(offset))?;
        if !bitmap::get(self.used, start) {
            return Err(FreeError::NotAllocated(offset));
        }
        if !bitmap::get(self.first, start) {
            return Err(FreeError::Inside(offset));
        }
        let limit = bitmap::find(self.used, start, self.part(area).end, false);
        let end = bitmap::find(self.first, start + 1, limit, true);
        bitmap::put(self.used, start, end, false);
        bitmap::put(self.first, start, start + 1, false);
        self.used_grains[area as usize] -= end - start;
        Ok((end - start) * GRAIN)
    }

    /// Allocated bytes of `area`.
    #[must_use]
    pub const fn used_bytes(&self, area: Area) -> u32 {
        self.used_grains[area as usize] * GRAIN
    }

    /// Free bytes of `area`, in however many pieces.
    #[must_use]
    pub fn free_bytes(&self, area: Area) -> u32 {
        let part = self.part(area);
        (part.end.saturating_sub(part.start)) * GRAIN - self.used_bytes(area)
    }

    /// Checks the module's invariants.
    ///
    /// # Errors
    /// The first promise that does not hold.
    pub fn validate(&self) -> Result<(), AllocatorBroken> {
        let offset = |grain| self.base + grain * GRAIN;
        let mut inside = [0; 2];
        for (part, &counted) in self.parts.iter().zip(&self.used_grains) {
            for grain in part.clone() {
                let (used, first) = (bitmap::get(self.used, grain), bitmap::get(self.first, grain));
                if first && !used {
                    return Err(AllocatorBroken::FirstNotUsed(offset(grain)));
                }
                let begins = grain == part.start || !bitmap::get(self.used, grain - 1);
                if used && begins && !first {
                    return Err(AllocatorBroken::RunWithoutFirst(offset(grain)));
                }
            }
            let found = bitmap::count(self.used, part.start, part.end);
            if found != counted {
                return Err(AllocatorBroken::Count(counted * GRAIN, found * GRAIN));
            }
            inside[0] += found;
            inside[1] += bitmap::count(self.first, part.start, part.end);
        }
        let all = [&*self.used, &*self.first].map(|map| map.iter().map(|word| word.count_ones()).sum::<u32>());
        if all == inside { Ok(()) } else { Err(AllocatorBroken::Outside) }
    }

    /// The grains of `area`.
    fn part(&self, area: Area) -> Range<u32> {
        self.parts[area as usize].clone()
    }

    /// The first free run of `grains` grains in `part` whose offset is a multiple of `align` bytes.
    fn find_free(&self, part: Range<u32>, grains: u32, align: u32) -> Option<u32> {
        let mut from = part.start;
        loop {
            let free = bitmap::find(self.used, from, part.end, false);
            let start = ((self.base + free * GRAIN).next_multiple_of(align) - self.base) / GRAIN;
            let end = start + grains;
            if end > part.end {
                return None;
            }
            let taken = bitmap::find(self.used, start, end, true);
            if taken == end {
                return Some(start);
            }
            from = taken;
        }
    }
}

/// The offset of the first grain: the end of the static image, rounded up.
const fn grain_base(layout: &ChunkLayout) -> u32 {
    // The used size is a whole number of pages, so the multiple never passes it.
    layout.static_size().next_multiple_of(GRAIN)
}
