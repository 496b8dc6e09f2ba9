//! Who takes which memory before the page allocator is there.
//!
//! Theory.      The order decides the addresses, and is Linux's: banks ([`banks`]), then the image, the initrd, the
//!              first-level table and the DTB (`fixed`), the reserve map, the static reserved-memory regions in tree
//!              order, the dynamic ones, and last the default CMA area (`nodes`, `cma`).
//! Invariants.  1. Every range is byte-exact. 2. No pool holds a byte that someone else has reserved, that is no-map
//!              where it should not be, or that is no RAM where it must be: such a pool is told of and not made. 3.
//!              What a refused pool gives back to free RAM was nobody else's.
//! Not here.    Reading the device tree (`crate::fdt`); these are plain data.
//! Source.      Linux drivers/of/fdt.c, drivers/of/of_reserved_mem.c, kernel/dma/{contiguous,coherent}.c, mm/cma.c,
//!              arch/arm/mm/init.c: arm_memblock_init; init/initramfs.c: reserve_initrd_mem.
#![forbid(unsafe_code)]

pub mod banks;
mod cma;
mod fixed;
mod nodes;
mod table;
#[cfg(test)]
mod tests;

use core::fmt;

use mm::addr::{PhysAddr, PhysRange};
use mm::memblock::{Memblock, MemblockError, RangeFilter};

use crate::info::ReservedNode;

pub use cma::{CmaOption, DEFAULT_CMA_BYTES};
pub use fixed::FixedRanges;
pub use table::{MAX_REGIONS, RegionKind, ReservedRegion, ReservedRegions};

/// Alignment of CMA areas in bytes: the largest of a pageblock and the buddy's largest block (Linux:
/// `CMA_MIN_ALIGNMENT_BYTES`).
pub const CMA_ALIGN: u64 = (mm::addr::PAGE_SIZE as u64) << (mm::order::MAX_ORDER - 1);

/// Addresses from here on can't be reached without LPAE.
pub(crate) const PHYS_LIMIT: PhysAddr = PhysAddr::new(1 << 32);

/// Why this machine can't go on.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ReserveError {
    /// No memory node (or `mem=`) names RAM that can be used.
    NoRam,
    /// The running image does not lie in RAM.
    ImageOutsideRam(PhysRange),
    /// Less lowmem is free after all reservations than the boot needs.
    TooLittleRam {
        /// Free bytes below memblock's limit.
        free: u64,
        /// Bytes needed.
        needed: u64,
    },
    /// Memblock refused a change.
    Memblock(MemblockError),
}

impl From<MemblockError> for ReserveError {
    fn from(error: MemblockError) -> Self {
        Self::Memblock(error)
    }
}

impl fmt::Display for ReserveError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoRam => f.write_str("/memory: reg: no RAM that can be used"),
            Self::ImageOutsideRam(image) => write!(f, "/memory: reg: the image at {image} lies outside RAM"),
            Self::TooLittleRam { free, needed } => {
                write!(f, "too little RAM: {}K free, {}K needed", free >> 10, needed >> 10)
            }
            Self::Memblock(error) => write!(f, "memblock: {error}"),
        }
    }
}

/// What the reservations depend on beside the device tree's regions.
#[derive(Clone, Copy, Debug)]
pub struct ReserveConfig {
    /// What lies in memory already.
    pub fixed: FixedRanges,
    /// `cma=`; `None` when it is not given.
    pub cma: Option<CmaOption>,
    /// Bytes of the default CMA area without `cma=`; 0 for none.
    pub default_cma_bytes: u64,
    /// One past the last byte that devices reach (Linux: `arm_dma_limit`).
    pub dma_limit: PhysAddr,
    /// Where lowmem ends, from the run of [`crate::lowmem::adjust`] before the reservations.
    pub lowmem_limit: PhysAddr,
    /// Free bytes in lowmem without which there is no point in going on.
    pub needed_bytes: u64,
}

/// What came of the reservations.
#[derive(Clone, Copy, Debug)]
pub struct Reservations {
    /// The initrd, byte-exact; `None` when there is none or it was disabled.
    pub initrd: Option<PhysRange>,
}

/// Takes everything, in Linux's order and with its lines (Linux: `arm_memblock_init`). `regions` receives the regions
/// and pools, the default CMA area last.
///
/// # Errors
/// [`ReserveError`]; the machine can't go on. What is wrong with one region of the tree is only told.
pub fn reserve_all<'t>(
    memblock: &mut Memblock<'_>,
    config: &ReserveConfig,
    reserve_map: impl Iterator<Item = PhysRange>,
    nodes: impl Iterator<Item = ReservedNode<'t>> + Clone,
    regions: &mut ReservedRegions<'t>,
) -> Result<Reservations, ReserveError> {
    let initrd = fixed::reserve(memblock, &config.fixed)?;
    for range in reserve_map {
        memblock.reserve(range)?;
    }
    nodes::reserve(memblock, config, nodes, regions)?;
    cma::reserve_default(memblock, config, regions)?;
    require_room(memblock, config.lowmem_limit, config.needed_bytes)?;
    Ok(Reservations { initrd })
}

/// Checks that `needed` bytes are free in lowmem, which ends at `limit`.
///
/// # Errors
/// [`ReserveError::TooLittleRam`].
pub fn require_room(memblock: &Memblock<'_>, limit: PhysAddr, needed: u64) -> Result<(), ReserveError> {
    let below = PhysRange::new(PhysAddr::ZERO, limit);
    let free = memblock
        .free_ranges(RangeFilter::ANY)
        .fold(0_u64, |sum, region| sum.saturating_add(region.range().intersection(below).size()));
    if free < needed { Err(ReserveError::TooLittleRam { free, needed }) } else { Ok(()) }
}
