//! The default CMA area.
//!
//! Theory.      All pages of an area must be of one zone. In a window that crosses the end of lowmem, highmem is tried
//!              first. `cma=SIZE@START` without an end is a fixed place; `cma=0` is no area at all.
//! Source.      Linux kernel/dma/contiguous.c: dma_contiguous_reserve; mm/cma.c: cma_declare_contiguous_nid.
#![forbid(unsafe_code)]

use mm::addr::{PhysAddr, PhysRange};
use mm::memblock::{AllocRequest, Memblock, MemblockError};

use super::{CMA_ALIGN, RegionKind, ReserveConfig, ReserveError, ReservedRegion, ReservedRegions};

/// Bytes of the default CMA area without `cma=`.
pub const DEFAULT_CMA_BYTES: u64 = 16 << 20;

/// `cma=SIZE[@BASE[-LIMIT]]`.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct CmaOption {
    /// Bytes; 0 for no area.
    pub size: u64,
    /// Where it may begin; `None` for anywhere.
    pub base: Option<PhysAddr>,
    /// One past where it must end; `None` with a base fixes the area at the base.
    pub limit: Option<PhysAddr>,
}

/// An area as it is asked for.
struct Wish {
    size: u64,
    base: PhysAddr,
    /// One past its last byte at most.
    limit: PhysAddr,
    fixed: bool,
}

impl Wish {
    fn new(config: &ReserveConfig) -> Self {
        let Some(option) = config.cma else {
            return Self {
                size: config.default_cma_bytes,
                base: PhysAddr::ZERO,
                limit: config.dma_limit,
                fixed: false,
            };
        };
        let base = option.base.unwrap_or(PhysAddr::ZERO);
        let end = base.saturating_add(option.size);
        let asked = option.limit.or(option.base.map(|_| end)).unwrap_or(PhysAddr::MAX);
        let fixed = base != PhysAddr::ZERO && asked == end;
        Self { size: option.size, base, limit: asked.min(config.dma_limit), fixed }
    }
}

/// Reserves the default area, unless a node of the tree is it.
pub(super) fn reserve_default(
    memblock: &mut Memblock<'_>,
    config: &ReserveConfig,
    regions: &mut ReservedRegions<'_>,
) -> Result<(), ReserveError> {
    let wish = Wish::new(config);
    if wish.size == 0 || regions.default_cma().is_some() {
        return Ok(());
    }
    let Some(range) = place(memblock, config, &wish)? else {
        log::error!("cma: Failed to reserve {} MiB", wish.size.div_ceil(CMA_ALIGN).saturating_mul(CMA_ALIGN) >> 20);
        return Ok(());
    };
    if !regions.push(ReservedRegion { name: "reserved", range, kind: RegionKind::DefaultCma }) {
        memblock.free(range)?;
        log::error!("cma: Not enough slots for CMA reserved regions!");
        return Ok(());
    }
    log::info!("cma: Reserved {} MiB at {}", range.size() >> 20, range.start);
    Ok(())
}

/// Finds and reserves a place; tells why when there is none.
fn place(memblock: &mut Memblock<'_>, config: &ReserveConfig, wish: &Wish) -> Result<Option<PhysRange>, MemblockError> {
    let Wish { base, fixed, .. } = *wish;
    if fixed && !base.is_aligned(CMA_ALIGN) {
        log::error!("cma: Region at {base} must be aligned to {CMA_ALIGN:#010x} bytes");
        return Ok(None);
    }
    let sized = wish.size.checked_next_multiple_of(CMA_ALIGN).zip(base.align_up(CMA_ALIGN));
    let Some((size, base)) = sized else { return Ok(None) };
    let end = base.saturating_add(size);
    let lowmem = config.lowmem_limit;
    if fixed && base < lowmem && end > lowmem {
        log::error!("cma: Region at {base} defined on low/high memory boundary ({lowmem})");
        return Ok(None);
    }
    let limit = wish.limit.align_down(CMA_ALIGN).min(memblock.end_of_dram());
    if end > limit {
        log::error!("cma: Size ({size:#010x}) of region at {base} exceeds limit ({limit})");
        return Ok(None);
    }
    if fixed {
        return place_fixed(memblock, PhysRange::new(base, end));
    }
    let mut window = PhysRange::new(base, limit);
    if base < lowmem && limit > lowmem {
        let high = PhysRange::new(lowmem, limit);
        match place_inside(memblock, high, size) {
            Err(MemblockError::OutOfMemory { .. }) => window.end = lowmem,
            found => return found.map(Some),
        }
    }
    match place_inside(memblock, window, size) {
        Err(MemblockError::OutOfMemory { .. }) => Ok(None),
        found => found.map(Some),
    }
}

fn place_fixed(memblock: &mut Memblock<'_>, range: PhysRange) -> Result<Option<PhysRange>, MemblockError> {
    let why = if !memblock.contains_map_memory(range) {
        "is not a memory region"
    } else if memblock.overlaps_reserved(range) {
        "overlaps in-use memory region"
    } else {
        return memblock.reserve(range).map(|()| Some(range));
    };
    log::error!("cma: Region at {} {why}", range.start);
    Ok(None)
}

fn place_inside(memblock: &mut Memblock<'_>, window: PhysRange, size: u64) -> Result<PhysRange, MemblockError> {
    let request = AllocRequest { min: window.start, max: window.end, ..AllocRequest::new(size, CMA_ALIGN) };
    let start = memblock.alloc_phys(&request)?;
    Ok(PhysRange::new(start, start.saturating_add(size)))
}
