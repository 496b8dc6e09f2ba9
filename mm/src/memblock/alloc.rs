//! Finding and taking free memory.
//!
//! Theory.      A search walks the free ranges from one end, clips each to the window, and takes the first place that
//!              is large enough and aligned. What an allocation gives up when there is none: first its node (unless
//!              `exact_node`), then the mirror, then its lower bound.
//! Invariants.  Page 0 is never given out: its address reads as "none" elsewhere.
//! Source.      Linux mm/memblock.c: memblock_find_in_range_node, memblock_alloc_range_nid, memblock_alloc_internal.

use super::iter::RangeFilter;
use super::region::{Region, RegionFlags};
use super::{Direction, Memblock, MemblockError};
use crate::addr::{NodeId, PAGE_SIZE, PhysAddr, PhysRange};
use crate::platform::PhysMap;

/// Alignment, in bytes, of an allocation that names none: a cache line.
const DEFAULT_ALIGN: u64 = 64;

/// What an allocation asks for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct AllocRequest {
    /// Bytes; not 0.
    pub size: u64,
    /// Power of two in bytes; 0 for a cache line's.
    pub align: u64,
    /// The lowest byte that will do.
    pub min: PhysAddr,
    /// One past the highest byte that will do; [`PhysAddr::ZERO`] for the current limit (Linux:
    /// `MEMBLOCK_ALLOC_ACCESSIBLE`).
    pub max: PhysAddr,
    /// The node to prefer.
    pub node: Option<NodeId>,
    /// Rather fail than leave the node.
    pub exact_node: bool,
}

impl AllocRequest {
    /// `size` bytes aligned to `align`, anywhere below the current limit.
    #[must_use]
    pub const fn new(size: u64, align: u64) -> Self {
        Self { size, align, min: PhysAddr::ZERO, max: PhysAddr::ZERO, node: None, exact_node: false }
    }
}

/// A request with its defaults filled in.
#[derive(Clone, Copy)]
pub(super) struct Search {
    pub(super) size: u64,
    pub(super) align: u64,
    pub(super) window: PhysRange,
    pub(super) node: Option<NodeId>,
    pub(super) mirror: bool,
    /// Only bytes of frames that one region of RAM has whole: of others the linear mapping has nothing.
    pub(super) mapped: bool,
}

impl Search {
    /// Where in `free` the request fits, as near to the end that `direction` begins at as can be.
    fn place(&self, free: PhysRange, direction: Direction, avoid: &[PhysRange]) -> Option<PhysAddr> {
        let mut free = free.intersection(self.window);
        loop {
            if free.size() < self.size {
                return None;
            }
            let start = match direction {
                Direction::TopDown => PhysAddr::new(free.end.raw().checked_sub(self.size)?).align_down(self.align),
                Direction::BottomUp => free.start.align_up(self.align)?,
            };
            let found = PhysRange::sized(start, self.size)?;
            if !free.contains_range(found) {
                return None;
            }
            match (avoid.iter().find(|avoid| avoid.overlaps(found)), direction) {
                (None, _) => return Some(start),
                (Some(avoid), Direction::TopDown) => free.end = avoid.start,
                (Some(avoid), Direction::BottomUp) => free.start = avoid.end,
            }
        }
    }
}

impl Memblock<'_> {
    /// A free place for `request`, which stays free; with an explicit `max` the current limit does not bind
    /// (Linux: `memblock_find_in_range_node`). `None` also for a bad request.
    #[must_use]
    pub fn find(&self, request: &AllocRequest) -> Option<PhysAddr> {
        let search = self.prepare(request, false).ok()?;
        self.search(&search, &[])
    }

    /// Takes memory of the linear mapping: below the current limit whatever `max` says, and from below `min` before
    /// failing. Its bytes are whatever was there (Linux: `memblock_alloc_try_nid_raw`).
    ///
    /// # Errors
    /// [`MemblockError::OutOfMemory`]; `BadAlign`, `NoSize`; `Full` or `NotMapped` when the list must grow and can't.
    #[track_caller]
    pub fn alloc(&mut self, request: &AllocRequest) -> Result<PhysAddr, MemblockError> {
        self.say_alloc("memblock_alloc_try_nid_raw", request);
        let found = self.find_accessible(request)?;
        self.reserve(PhysRange::new(found, found.saturating_add(request.size)))?;
        Ok(found)
    }

    /// As [`Self::alloc`], and zeroes the bytes through `ram` (Linux: `memblock_alloc_try_nid`).
    ///
    /// # Errors
    /// As [`Self::alloc`], and [`MemblockError::NotMapped`] when `ram` does not reach the bytes.
    #[track_caller]
    pub fn alloc_zeroed(&mut self, request: &AllocRequest, ram: &dyn PhysMap) -> Result<PhysAddr, MemblockError> {
        self.say_alloc("memblock_alloc_try_nid", request);
        let start = self.find_accessible(request)?;
        let found = PhysRange::new(start, start.saturating_add(request.size));
        let unreachable = MemblockError::NotMapped(found);
        let frames = found.touched_frames();
        let bytes = usize::try_from(request.size).map_err(|_| unreachable)?;
        let offset = usize::try_from(start.bytes_since(frames.start.base())).map_err(|_| unreachable)?;
        let first = ram.frames_ptr(frames.start, frames.pages()).ok_or(unreachable)?;
        self.reserve(found)?;
        // SAFETY: `offset` is below a page, and the pointer reaches all of the first frame.
        let first = unsafe { first.add(offset) };
        // SAFETY: the bytes lie in the frames that `ram` reaches, and were free until the line before: no one else
        // uses them.
        unsafe { first.write_bytes(0, bytes) };
        Ok(start)
    }

    /// Takes memory between `min` and `max`, mapped or not: an explicit `max` may lie above the current limit, and
    /// `min` holds (Linux: `memblock_phys_alloc_range`, `memblock_alloc_range_nid`).
    ///
    /// # Errors
    /// As [`Self::alloc`].
    #[track_caller]
    pub fn alloc_phys(&mut self, request: &AllocRequest) -> Result<PhysAddr, MemblockError> {
        self.say_alloc_phys(request);
        let found = self.find_with_fallbacks(request, false)?;
        self.reserve(PhysRange::new(found, found.saturating_add(request.size)))?;
        Ok(found)
    }

    fn find_accessible(&self, request: &AllocRequest) -> Result<PhysAddr, MemblockError> {
        match self.find_with_fallbacks(request, true) {
            Err(MemblockError::OutOfMemory { .. }) if request.min != PhysAddr::ZERO => {
                self.find_with_fallbacks(&AllocRequest { min: PhysAddr::ZERO, ..*request }, true)
            }
            answer => answer,
        }
    }

    fn find_with_fallbacks(&self, request: &AllocRequest, accessible: bool) -> Result<PhysAddr, MemblockError> {
        let search = self.prepare(request, accessible)?;
        if let Some(found) = self.search_nodes(&search, request.exact_node) {
            return Ok(found);
        }
        if search.mirror {
            log::warn!("Could not allocate {} bytes of mirrored memory", request.size);
            if let Some(found) = self.search_nodes(&Search { mirror: false, ..search }, request.exact_node) {
                return Ok(found);
            }
        }
        Err(MemblockError::OutOfMemory { size: request.size, align: search.align })
    }

    fn search_nodes(&self, search: &Search, exact: bool) -> Option<PhysAddr> {
        let found = self.search(search, &[]);
        if found.is_some() || exact || search.node.is_none() {
            return found;
        }
        self.search(&Search { node: None, ..*search }, &[])
    }

    fn prepare(&self, request: &AllocRequest, accessible: bool) -> Result<Search, MemblockError> {
        let align = if request.align == 0 { DEFAULT_ALIGN } else { request.align };
        if !align.is_power_of_two() {
            return Err(MemblockError::BadAlign(align));
        }
        if request.size == 0 {
            return Err(MemblockError::NoSize);
        }
        let mut max = if request.max == PhysAddr::ZERO { self.current_limit() } else { request.max };
        if accessible {
            max = max.min(self.current_limit());
        }
        let window = PhysRange::new(request.min, max);
        Ok(Search {
            size: request.size,
            align,
            window,
            node: request.node,
            mirror: self.has_mirror,
            mapped: accessible,
        })
    }

    /// The first place in the current direction that satisfies `search` and shares no byte with `avoid`.
    pub(super) fn search(&self, search: &Search, avoid: &[PhysRange]) -> Option<PhysAddr> {
        let first = search.window.start.max(PhysAddr::new(u64::from(PAGE_SIZE)));
        let search = Search { window: PhysRange::new(first, search.window.end), ..*search };
        let flags = if search.mirror { RegionFlags::MIRROR } else { RegionFlags::empty() };
        let mut free = self.free_ranges(RangeFilter { node: search.node, flags });
        let direction = self.direction;
        let place = |region: Region| search.place(self.trimmed(&search, region.range()), direction, avoid);
        match direction {
            Direction::BottomUp => free.find_map(place),
            Direction::TopDown => free.rev().find_map(place),
        }
    }

    /// The part of the free range `free` that will do.
    fn trimmed(&self, search: &Search, free: PhysRange) -> PhysRange {
        match self.memory_at(free.start) {
            Some(region) if search.mapped => free.intersection(region.range().whole_frames().bytes()),
            _ => free,
        }
    }
}
