//! Where the linear mapping ends, and how far memblock may allocate before that mapping exists.
//!
//! Theory.      Lowmem is what fits between `PAGE_OFFSET` and the vmalloc area. Three addresses follow from it:
//!              `vmalloc_limit` (what would fit), `lowmem_limit` (what of it is there: the linear mapping's end) and
//!              `memblock_limit`. Early tables come from memblock before the linear mapping is whole, so they must
//!              come from where sections need no table: below the first bank edge that is not on a 2 MiB border.
//!              Without highmem, RAM above the linear mapping is of no use and leaves the map, from `memblock_limit`.
//!              All of it is computed twice: before the reservations, and after them, when no-map regions have turned
//!              one bank into several and moved its end.
//! Picture.     PHYS_OFFSET                    memblock_limit  lowmem_limit       vmalloc_limit
//!              |  bank  | no-map |    bank         |     | no-map |                   |
//!              |<----------- linear mapping ------------>|
//! Where ours is better. Linux clears its own mapping when RAM begins with a no-map region: its first bank then begins
//!              off a 2 MiB border, and its rules take the bytes up to that border away, or leave no room at all. Here
//!              the first bank may begin anywhere, because the head code has mapped it by sections.
//! Not here.    Where virtual areas lie, the tables themselves (paging_init).
//! Source.      Linux arch/arm/mm/mmu.c: adjust_lowmem_bounds, early_vmalloc.
#![forbid(unsafe_code)]

#[cfg(test)]
mod tests;

use core::fmt;

use mm::addr::{PGDIR_SIZE, PhysAddr, PhysRange, VirtAddr};
use mm::layout::{self, VMALLOC_OFFSET};
use mm::memblock::{Memblock, MemblockError, Region};

/// One past the last byte of the vmalloc area.
const VMALLOC_END: u32 = layout::VMALLOC_END.raw();
/// Bytes of the vmalloc area without `vmalloc=`.
pub const DEFAULT_VMALLOC: u32 = 240 << 20;
/// The smallest vmalloc area, in bytes.
const MIN_VMALLOC: u32 = 16 << 20;
/// Bytes of lowmem that the largest vmalloc area leaves.
const MIN_LOWMEM: u32 = 32 << 20;
/// Bank edges on multiples of this many bytes need no second-level table.
const PMD_SIZE: u64 = PGDIR_SIZE as u64;

/// What the limits depend on beside the map of memory.
#[derive(Clone, Copy, Debug)]
pub struct LowmemConfig {
    /// Where the linear mapping begins.
    pub page_offset: VirtAddr,
    /// The physical address behind [`Self::page_offset`].
    pub phys_offset: PhysAddr,
    /// Bytes kept for vmalloc, from [`vmalloc_bytes`].
    pub vmalloc_bytes: u32,
    /// RAM outside the linear mapping is wanted (`highmem=off` clears it).
    pub highmem: bool,
    /// So many bytes at the end of RAM are left to highmem, however much the linear mapping has room for
    /// (`highmem=`).
    pub highmem_bytes: Option<u64>,
    /// The data cache is VIPT and may alias: Linux has no highmem then.
    pub aliasing_cache: bool,
    /// What runs already: from the first-level table to the image's end. Never taken out of the linear mapping.
    pub in_use: PhysRange,
}

/// The limits (all physical addresses are one past the last byte).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct LowmemBounds {
    /// Where RAM would have to end to fit the linear mapping whole.
    pub vmalloc_limit: PhysAddr,
    /// Where the linear mapping ends: the Normal zone's upper bound, and memblock's limit once lowmem is mapped.
    pub lowmem_limit: PhysAddr,
    /// Memblock's limit until lowmem is mapped; a multiple of 2 MiB except where that would leave nothing.
    pub memblock_limit: PhysAddr,
    /// The linear address of [`Self::lowmem_limit`] (Linux: `high_memory`).
    pub high_memory: VirtAddr,
    /// RAM that was taken out of the map; `None` when all stays.
    pub ignored: Option<PhysRange>,
}

/// Why there is no linear mapping; nothing has changed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum LowmemError {
    /// No RAM lies between PHYS_OFFSET and the vmalloc limit.
    NoLowmem {
        /// Where the linear mapping would begin.
        phys_offset: PhysAddr,
        /// Where it would have to end.
        vmalloc_limit: PhysAddr,
    },
    /// The numbers leave no room for a linear mapping at all.
    NoRoom {
        /// Where the linear mapping would begin.
        page_offset: VirtAddr,
        /// Bytes kept for vmalloc.
        vmalloc_bytes: u32,
    },
    /// Memblock refused to change its map.
    Memblock(MemblockError),
}

impl From<MemblockError> for LowmemError {
    fn from(error: MemblockError) -> Self {
        Self::Memblock(error)
    }
}

impl fmt::Display for LowmemError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoLowmem { phys_offset, vmalloc_limit } => {
                write!(f, "lowmem: no RAM between {phys_offset} and {vmalloc_limit}")
            }
            Self::NoRoom { page_offset, vmalloc_bytes } => {
                write!(f, "lowmem: vmalloc={vmalloc_bytes} leaves no linear mapping above {page_offset}")
            }
            Self::Memblock(error) => write!(f, "lowmem: {error}"),
        }
    }
}

/// Bytes kept for vmalloc when `vmalloc=` asks for `asked` bytes; bounded with Linux's lines (Linux: `early_vmalloc`).
#[must_use]
pub fn vmalloc_bytes(asked: Option<u64>, page_offset: VirtAddr) -> u32 {
    let Some(asked) = asked else { return DEFAULT_VMALLOC };
    let most = VMALLOC_END.saturating_sub(page_offset.raw()).saturating_sub(MIN_LOWMEM + VMALLOC_OFFSET);
    let mut bytes = asked;
    if bytes < u64::from(MIN_VMALLOC) {
        bytes = u64::from(MIN_VMALLOC);
        log::warn!("vmalloc area is too small, limiting to {}MiB", bytes >> 20);
    }
    if bytes > u64::from(most) {
        bytes = u64::from(most);
        log::warn!("vmalloc area is too big, limiting to {}MiB", bytes >> 20);
    }
    u32::try_from(bytes).unwrap_or(most)
}

/// Computes the limits, sets memblock's current limit, and drops RAM that can't be used without highmem (Linux:
/// `adjust_lowmem_bounds`). Runs before and again after the reservations.
///
/// # Errors
/// [`LowmemError`]; nothing has changed.
pub fn adjust(memblock: &mut Memblock<'_>, config: &LowmemConfig) -> Result<LowmemBounds, LowmemError> {
    let vmalloc_limit = forced_limit(memblock, config, vmalloc_limit(config)?);
    let unmappable = unmappable_start(memblock, config);
    let usable = |region: &Region| {
        let whole = region.range();
        let start = unmappable.map_or(whole.start, |skipped| whole.start.max(skipped.end.min(whole.end)));
        PhysRange::new(start, whole.end)
    };
    let banks = memblock.memory().iter().filter(|region| !region.is_nomap()).map(usable);
    let low = banks.filter(|bank| !bank.is_empty() && bank.end > config.phys_offset && bank.start < vmalloc_limit);
    let limits = limits_of(low, vmalloc_limit);
    let Some((lowmem_limit, memblock_limit)) = limits else {
        return Err(LowmemError::NoLowmem { phys_offset: config.phys_offset, vmalloc_limit });
    };
    let high_memory = high_memory(config, lowmem_limit)?;

    let end = memblock.end_of_dram();
    let useless = (!config.highmem || config.aliasing_cache) && end > lowmem_limit;
    let ignored = useless.then_some(PhysRange::new(memblock_limit, end));
    if let Some(unmappable) = unmappable {
        memblock.mark_nomap(unmappable)?;
    }
    if let Some(ignored) = ignored {
        log::info!("Ignoring RAM at {}-{}", ignored.start, ignored.end);
        log::info!("Consider using a HIGHMEM enabled kernel.");
        // Nothing lies above the range, so no region is cut in two and no slot is needed.
        memblock.remove(ignored)?;
    }
    memblock.set_current_limit(memblock_limit);
    Ok(LowmemBounds { vmalloc_limit, lowmem_limit, memblock_limit, high_memory, ignored })
}

fn vmalloc_limit(config: &LowmemConfig) -> Result<PhysAddr, LowmemError> {
    let LowmemConfig { page_offset, phys_offset, vmalloc_bytes, .. } = *config;
    let mapped = VMALLOC_END
        .checked_sub(VMALLOC_OFFSET)
        .and_then(|end| end.checked_sub(vmalloc_bytes))
        .and_then(|end| end.checked_sub(page_offset.raw()))
        .filter(|&bytes| bytes > 0);
    let limit = mapped.and_then(|bytes| phys_offset.checked_add(u64::from(bytes)));
    limit.ok_or(LowmemError::NoRoom { page_offset, vmalloc_bytes })
}

/// The limit that `highmem=` asks for, a multiple of 2 MiB; `limit` where that is lower, or where it would take what
/// runs already or leave too little (Linux x86: `highmem_pfn_init`).
fn forced_limit(memblock: &Memblock<'_>, config: &LowmemConfig, limit: PhysAddr) -> PhysAddr {
    let Some(bytes) = config.highmem_bytes.filter(|_| config.highmem && !config.aliasing_cache) else { return limit };
    let least = config.phys_offset.saturating_add(u64::from(MIN_LOWMEM)).max(config.in_use.end);
    let end = memblock.end_of_dram().raw().checked_sub(bytes).map(|end| PhysAddr::new(end).align_down(PMD_SIZE));
    match end.filter(|end| *end >= least) {
        Some(end) => end.min(limit),
        None => {
            log::warn!("highmem={bytes} leaves no lowmem: ignored");
            limit
        }
    }
}

fn high_memory(config: &LowmemConfig, lowmem_limit: PhysAddr) -> Result<VirtAddr, LowmemError> {
    let LowmemConfig { page_offset, phys_offset, vmalloc_bytes, .. } = *config;
    let bytes = u32::try_from(lowmem_limit.bytes_since(phys_offset)).ok();
    bytes.and_then(|bytes| page_offset.checked_add(bytes)).ok_or(LowmemError::NoRoom { page_offset, vmalloc_bytes })
}

/// The start of RAM up to the next 2 MiB border, when RAM does not begin on one (Linux marks it no-map). Not where RAM
/// begins with a no-map region, and not where we run.
fn unmappable_start(memblock: &Memblock<'_>, config: &LowmemConfig) -> Option<PhysRange> {
    let start = memblock.start_of_dram();
    let partial = PhysRange::new(start, start.align_up(PMD_SIZE)?);
    let first_is_ours = memblock.memory().first().is_some_and(|region| !region.is_nomap());
    (first_is_ours && !partial.is_empty() && !partial.overlaps(config.in_use)).then_some(partial)
}

/// The linear mapping's end and memblock's limit for `banks` of usable lowmem, lowest first.
fn limits_of(banks: impl Iterator<Item = PhysRange>, vmalloc_limit: PhysAddr) -> Option<(PhysAddr, PhysAddr)> {
    let mut first: Option<PhysRange> = None;
    let mut lowmem_limit = PhysAddr::ZERO;
    let mut unaligned: Option<PhysAddr> = None;
    for bank in banks {
        lowmem_limit = bank.end.min(vmalloc_limit);
        if unaligned.is_none() {
            if first.is_some() && !bank.start.is_aligned(PMD_SIZE) {
                unaligned = Some(bank.start);
            } else if !bank.end.is_aligned(PMD_SIZE) {
                unaligned = Some(lowmem_limit);
            }
        }
        first.get_or_insert(bank);
    }
    let first = first?;
    let rounded = unaligned.unwrap_or(lowmem_limit).align_down(PMD_SIZE);
    // A first bank that ends in its first 2 MiB would leave nothing: the head code has mapped all of it by sections.
    let limit = if rounded > first.start { rounded } else { first.end.min(vmalloc_limit) };
    Some((lowmem_limit, limit))
}
