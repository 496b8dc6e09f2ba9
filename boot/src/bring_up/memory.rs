//! RAM and what is taken of it: from the tree's nodes to memblock's two lists.

use mm::addr::{PAGE_SIZE, Pfn, PfnRange, PhysAddr, PhysRange};
use mm::layout::PAGE_OFFSET;
use mm::memblock::Memblock;
use mm::memmap::MemMap;
use mm::zone::plan::PAGE_STRUCT_BYTES;

use super::{BootError, Given, Machine};
use crate::early_map::map_first_bank;
use crate::info::MemoryBank;
use crate::lowmem::{self, LowmemBounds, LowmemConfig};
use crate::reserve::{self, FixedRanges, ReserveConfig, ReservedRegions, banks};

/// Bytes that the boot needs beside the memory map: tables, per-CPU areas, the zones, and something to allocate.
const BASIC_NEED: u64 = 1 << 20;

/// One past the last byte that can be reached without LPAE.
const FOUR_GIB: PhysAddr = PhysAddr::new(1 << 32);

/// Maps the bank that holds the image by sections; returns one past its last mapped byte.
pub(super) fn map_image_bank<M: Machine>(given: &Given<'_, M>, vmalloc: u32) -> Result<PhysAddr, BootError> {
    let phys_offset = PhysAddr::new(u64::from(given.head.phys_offset));
    let root = PhysAddr::new(u64::from(given.head.table));
    let image = given.image.whole;
    let holds = |bank: &MemoryBank<'_>| bank.range.contains_range(image) && bank.range.contains(phys_offset);
    let bank = given.fdt.memory_banks().find(holds).ok_or(BootError::ImageOutsideRam { image })?;
    let range = live_part(given, bank).map_or(image, |bank| bank.range);
    let range = range.intersection(PhysRange::new(PhysAddr::ZERO, FOUR_GIB));
    // SAFETY: the head's table is in use, and its only mappings at PAGE_OFFSET and above are the image's sections.
    let mapped =
        unsafe { map_first_bank(given.machine.ram(), given.machine.tlb(), root, phys_offset, range, vmalloc) }?;
    // SAFETY: these are the frames that were just mapped, on top of those that the head mapped.
    unsafe { given.machine.linear_map_is(mapped) }
    Ok(mapped.end.base())
}

/// Adds every bank that answers to memblock, then applies `linux,usable-memory-range` and `mem=`.
pub(super) fn add_banks<M: Machine>(memblock: &mut Memblock<'_>, given: &Given<'_, M>) -> Result<(), BootError> {
    let phys_offset = PhysAddr::new(u64::from(given.head.phys_offset));
    memblock.set_debug(given.args.memblock_debug);
    memblock.set_movable_node(given.args.movable_node);
    let live = given.fdt.memory_banks().filter_map(|bank| live_part(given, bank));
    banks::add_banks(memblock, live, phys_offset)?;
    banks::cap_usable(memblock, given.info.usable_memory)?;
    let options = given.args.mem.as_slice().iter();
    let options = options.map(|arg| banks::MemOption { size: arg.size, start: arg.start });
    banks::apply_mem_options(memblock, options, phys_offset)?;
    Ok(())
}

/// The part of a bank behind which there is RAM: absent RAM swallows writes without a fault.
///
/// The first and the last frame that may be tried are: not those of no-map regions (which may be somebody else's), nor
/// those that run (which are there). A bank that ends early is cut where it stops to answer.
fn live_part<'b, M: Machine>(given: &Given<'_, M>, bank: MemoryBank<'b>) -> Option<MemoryBank<'b>> {
    let reachable = bank.range.intersection(PhysRange::new(PhysAddr::ZERO, FOUR_GIB));
    let frames = reachable.whole_frames();
    let (Some(first), Some(last)) = (first_to_try(given, frames), last_to_try(given, frames)) else {
        return Some(bank);
    };
    if !given.machine.answers(first) {
        log::error!("/{}: reg: {}: no RAM answers at {}, ignoring the bank", bank.name, bank.range, first.base());
        return None;
    }
    if given.machine.answers(last) {
        return Some(bank);
    }
    let end = end_of_ram(given, PfnRange::new(first, last)).base();
    log::error!("/{}: reg: {}: no RAM answers at {}, it ends at {end}", bank.name, bank.range, last.base());
    Some(MemoryBank { range: PhysRange::new(bank.range.start, end), ..bank })
}

/// One past the last frame that answers, when the first of `frames` does and the one at its end does not. What lies
/// between them and may not be tried counts as RAM.
fn end_of_ram<M: Machine>(given: &Given<'_, M>, frames: PfnRange) -> Pfn {
    let (mut alive, mut dead) = (frames.start, frames.end);
    loop {
        let above = Pfn::new(alive.raw() + 1);
        let middle = Pfn::new(above.raw() + dead.pages_since(above) / 2);
        let upper = first_to_try(given, PfnRange::new(middle, dead));
        let Some(frame) = upper.or_else(|| last_to_try(given, PfnRange::new(above, middle))) else { return dead };
        if given.machine.answers(frame) {
            alive = frame;
        } else {
            dead = frame;
        }
    }
}

/// The lowest of `frames` that may be tried.
fn first_to_try<M>(given: &Given<'_, M>, mut frames: PfnRange) -> Option<Pfn> {
    while !frames.is_empty() {
        let Some(taken) = not_to_try(given, frames.start) else { return Some(frames.start) };
        frames.start = taken.touched_frames().end;
    }
    None
}

/// The highest of `frames` that may be tried.
fn last_to_try<M>(given: &Given<'_, M>, mut frames: PfnRange) -> Option<Pfn> {
    while !frames.is_empty() {
        let last = Pfn::new(frames.end.raw() - 1);
        let Some(taken) = not_to_try(given, last) else { return Some(last) };
        frames.end = taken.touched_frames().start;
    }
    None
}

/// What holds `frame` that a write must not touch, not even for a moment: a no-map region, or what runs.
fn not_to_try<M>(given: &Given<'_, M>, frame: Pfn) -> Option<PhysRange> {
    let page = PhysRange::new(frame.base(), frame.base().saturating_add(u64::from(PAGE_SIZE)));
    let no_map = given.fdt.reserved_memory().filter(|node| node.no_map).flat_map(|node| node.reg);
    [given.image.whole, given.table()].into_iter().chain(no_map).find(|range| range.overlaps(page))
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
    let bounds = lowmem::adjust(memblock, &config)?;
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
