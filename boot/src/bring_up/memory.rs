//! RAM and what is taken of it: from the tree's nodes to memblock's two lists.

use mm::addr::{PhysAddr, PhysRange};
use mm::layout::PAGE_OFFSET;
use mm::memblock::Memblock;
use mm::memmap::MemMap;
use mm::zone::plan::PAGE_STRUCT_BYTES;

use super::no_map::NoMap;
use super::probe::Probe;
use super::{BootError, FOUR_GIB, Given, Machine};
use crate::early_map::map_first_bank;
use crate::info::MemoryBank;
use crate::lowmem::{self, LowmemBounds, LowmemConfig};
use crate::reserve::{self, FixedRanges, ReserveConfig, ReservedRegions, banks};

/// Bytes that the boot needs beside the memory map: tables, per-CPU areas, the zones, and something to allocate.
///
/// A bank must hold the image, which ends its own size above 1 MiB, and have so many bytes free: 1,548 KiB is the least
/// with an image of 472 KiB (1,024 + 472, and 52 for the first table, the tree, and 32 bytes of memory map a frame of
/// the pageblocks that RAM touches). The boot says `too little RAM` below that.
pub const BASIC_NEED: u64 = 1 << 20;

/// The bank that the image lies in.
pub(super) struct ImageBank<'b> {
    /// As the tree names it.
    bank: MemoryBank<'b>,
    /// The part of it that answers; `None` when its start does not.
    live: Option<PhysRange>,
    /// One past its last mapped byte.
    pub(super) mapped_end: PhysAddr,
}

/// Maps the bank that holds the image by sections.
pub(super) fn map_image_bank<M: Machine>(
    given: &Given<'_, M>,
    no_map: &NoMap<'_, '_, M>,
    vmalloc: u32,
) -> Result<ImageBank<'static>, BootError> {
    let phys_offset = PhysAddr::new(u64::from(given.head.phys_offset));
    let image = given.image.whole;
    let holds = |bank: &MemoryBank<'_>| bank.range.contains_range(image) && bank.range.contains(phys_offset);
    let bank = given.fdt.memory_banks().find(holds).ok_or(BootError::ImageOutsideRam { image })?;
    let probe = Probe { given, no_map, known: PhysRange::default() };
    let ends = probe.between_ends(bank.range, format_args!("/{}: reg", bank.name));
    let bytes = ends.unwrap_or(image).intersection(PhysRange::new(PhysAddr::ZERO, FOUR_GIB));
    let (machine, touches_no_map) = (given.machine, |range| no_map.touches(range));
    let early = given.early_bank(bytes, &touches_no_map);
    // SAFETY: the head's table is in use, and its only mappings at PAGE_OFFSET and above are the image's sections.
    let mapped = unsafe { map_first_bank(machine.ram(), machine.tlb(), phys_offset, &early, vmalloc) }?;
    // SAFETY: these are the frames that were just mapped, on top of those that the head mapped.
    unsafe { machine.linear_map_is(mapped) }
    // Not before: a try through the linear map costs a tenth of one through a window.
    let live = ends.map(|range| probe.up_to_hole(range, format_args!("/{}: reg", bank.name)));
    let mapped_end = mapped.end.base().min(live.map_or(PhysAddr::MAX, |range| range.end));
    Ok(ImageBank { bank, live, mapped_end })
}

/// Adds every bank that answers to memblock, then applies `linux,usable-memory-range` and `mem=`, whose banks must
/// answer too.
pub(super) fn add_banks<M: Machine>(
    memblock: &mut Memblock<'_>,
    image: &ImageBank<'_>,
    no_map: &NoMap<'_, '_, M>,
    given: &Given<'_, M>,
) -> Result<(), BootError> {
    let phys_offset = PhysAddr::new(u64::from(given.head.phys_offset));
    memblock.set_debug(given.args.memblock_debug);
    memblock.set_movable_node(given.args.movable_node);
    let probe = Probe { given, no_map, known: image.live.unwrap_or_default() };
    let live = |bank: MemoryBank<'static>| {
        let part = || probe.live_part(bank.range, format_args!("/{}: reg", bank.name));
        let live = if bank == image.bank { image.live } else { part() };
        Some(MemoryBank { range: live?, ..bank })
    };
    banks::add_banks(memblock, given.fdt.memory_banks().filter_map(live), phys_offset)?;
    let more = |range| probe.live_part(range, format_args!("/chosen: linux,usable-memory-range"));
    banks::cap_usable(memblock, given.info.usable_memory, phys_offset, more)?;
    let options = given.args.mem.as_slice().iter();
    let options = options.map(|arg| banks::MemOption { size: arg.size, start: arg.start });
    let named = |range| probe.live_part(range, format_args!("mem="));
    let applied = banks::apply_mem_options(memblock, options, phys_offset, named);
    let image = given.image.whole;
    if !given.args.mem.as_slice().is_empty() && (applied.is_err() || !memblock.contains_map_memory(image)) {
        return Err(BootError::MemArgument { image });
    }
    Ok(applied?)
}

/// Computes lowmem's limits, takes every reservation, and computes the limits again.
///
/// `mapped_end` is where the section-mapped first bank ends: nothing is allocated above it until lowmem is mapped.
pub(super) fn reserve_all<M: Machine>(
    memblock: &mut Memblock<'static>,
    vmalloc_bytes: u32,
    mapped_end: PhysAddr,
    given: &Given<'_, M>,
) -> Result<(LowmemBounds, ReservedRegions<'static>), BootError> {
    let tables = given.table();
    let config = LowmemConfig {
        page_offset: PAGE_OFFSET,
        phys_offset: PhysAddr::new(u64::from(given.head.phys_offset)),
        vmalloc_bytes,
        highmem: given.args.highmem,
        highmem_bytes: given.args.highmem_bytes,
        aliasing_cache: given.aliasing_cache,
        in_use: PhysRange::new(tables.start, given.image.whole.end),
    };
    check_initrd(given, tables)?;
    let first = lowmem::adjust(memblock, &config)?;
    memblock.set_current_limit(first.memblock_limit.min(mapped_end));
    let reserve_config = ReserveConfig {
        fixed: FixedRanges { image: given.image.whole, tables, dtb: given.dtb(), initrd: given.info.initrd },
        cma: given.args.cma.map(|cma| reserve::CmaOption { size: cma.size, base: cma.start, limit: cma.end }),
        default_cma_bytes: reserve::DEFAULT_CMA_BYTES,
        dma_limit: given.info.dma_limit.unwrap_or(FOUR_GIB),
        lowmem_limit: first.lowmem_limit,
        needed_bytes: needed_bytes(memblock),
    };
    let mut regions = ReservedRegions::new();
    let nodes = given.fdt.reserved_memory();
    reserve::reserve_all(memblock, &reserve_config, given.fdt.reserve_map(), nodes, &mut regions)?;
    let second = lowmem::adjust(memblock, &config)?;
    // What the first look took out is not there for the second one to see.
    let bounds = LowmemBounds { ignored: second.ignored.or(first.ignored), ..second };
    regions.drop_lost(memblock);
    reserve::require_room(memblock, bounds.lowmem_limit, needed_bytes(memblock))?;
    memblock.set_current_limit(bounds.memblock_limit.min(mapped_end));
    memblock.dump();
    Ok((bounds, regions))
}

/// The initrd is where the loader says, not where the head has moved the image.
fn check_initrd<M>(given: &Given<'_, M>, tables: PhysRange) -> Result<(), BootError> {
    let Some(initrd) = given.info.initrd else { return Ok(()) };
    let image = given.image.whole;
    if initrd.overlaps(image) || initrd.overlaps(tables) {
        return Err(BootError::InitrdUnderImage { initrd, image: PhysRange::new(tables.start, image.end) });
    }
    Ok(())
}

/// Free bytes without which the boot cannot end: the memory map, and [`BASIC_NEED`].
fn needed_bytes(memblock: &Memblock<'_>) -> u64 {
    let span = PhysRange::new(memblock.start_of_dram(), memblock.end_of_dram()).touched_frames();
    u64::from(MemMap::coverage(span).pages()) * u64::from(PAGE_STRUCT_BYTES) + BASIC_NEED
}
