//! Zones, the memory map, the page allocator and what it is tuned by.

use core::mem::MaybeUninit;
use core::sync::atomic::AtomicU32;

use mm::addr::{NodeId, PAGE_SIZE, Pfn, PfnRange, PhysRange};
use mm::buddy::CoreOptions;
use mm::gfp::GfpFlags;
use mm::memblock::{Memblock, RegionFlags};
use mm::memmap::{MemMap, Page};
use mm::migrate::MigrateType;
use mm::order::Order;
use mm::page_alloc::{CmaArea, DefaultCore, Needs, Options, PageAllocator, Pageset, Storage, frame_runs};
use mm::phase::Mm;
use mm::sync::CurrentCpu;
use mm::trace::{SLOT_WORDS, TraceRing};
use mm::vmstat::CpuCounters;
use mm::zone::pageblock::PAGEBLOCK_PAGES;
use mm::zone::pageset::PagesetSize;
use mm::zone::plan::{MachinePlan, MemoryRange, PlanRequest};
use mm::zone::watermark::Tunables;
use mm::zone::zonelist::{Zonelists, mobility_grouping};
use mm::zone::{ZoneRef, Zonelist};

use super::nodes::Nodes;
use super::{BootError, Given, Machine, slices};
use crate::lowmem::LowmemBounds;
use crate::reserve::{ReservedRegion, ReservedRegions};

/// The allocator of a machine.
pub(super) type Zones<M> = PageAllocator<'static, <M as Machine>::Irq, DefaultCore<'static>>;

/// Memblock's memory as the plan wants it.
fn memory_ranges<'a>(memblock: &'a Memblock<'_>) -> impl Iterator<Item = MemoryRange> + Clone + 'a {
    memblock.memory().iter().map(|region| MemoryRange {
        hotplug: region.flags().contains(RegionFlags::HOTPLUG),
        ..MemoryRange::of_bytes(region.range(), region.node())
    })
}

/// Sizes the zones and prints Linux's blocks on them.
pub(super) fn plan_zones<M: Machine>(
    memblock: &mut Memblock<'_>,
    bounds: &LowmemBounds,
    nodes: &Nodes,
    given: &Given<'_, M>,
) -> Result<MachinePlan, BootError> {
    let lowmem = Pfn::containing(bounds.lowmem_limit).unwrap_or_default();
    let request = PlanRequest {
        dma_limit: given.info.dma_limit.and_then(Pfn::containing),
        movable: given.args.movable(),
        memoryless: nodes.topology.with_cpus(),
        ..PlanRequest::new(lowmem)
    };
    let plan = MachinePlan::new(memory_ranges(memblock), &request)?;
    plan.log(memory_ranges(memblock));
    nodes.log_states(&plan);
    Ok(plan)
}

/// Takes the memory map from memblock and initialises it: one [`Page`] a frame of the machine's span.
pub(super) fn build_memmap<M: Machine>(
    memblock: &mut Memblock<'_>,
    plan: &MachinePlan,
    given: &Given<'_, M>,
) -> Result<MemMap<'static>, BootError> {
    // A node without memory has a span that lies nowhere.
    let spans = plan.nodes().iter().map(|node| node.span).filter(|span| !span.is_empty());
    let span =
        spans.reduce(|all, one| PfnRange::new(all.start.min(one.start), all.end.max(one.end))).unwrap_or_default();
    let pages = MemMap::coverage(span).pages() as usize;
    let storage = take::<Page, M>(memblock, given, "the memory map", pages)?;
    let memory = memory_ranges(memblock).map(|range| (range.frames, range.node));
    Ok(MemMap::init_by(given.machine.ram(), storage, span, frame_runs(plan.nodes(), memory))?)
}

/// Builds the zones over the map, and the zonelists, with Linux's line on them.
pub(super) fn build_allocator<M: Machine>(
    memblock: &mut Memblock<'_>,
    map: MemMap<'static>,
    plan: &MachinePlan,
    nodes: &Nodes,
    given: &Given<'_, M>,
) -> Result<Zones<M>, BootError> {
    let lists = Zonelists::build(plan.nodes(), &nodes.topology, given.args.zonelist_order);
    lists.log(plan.nodes(), plan.total_pages(), PAGEBLOCK_PAGES);
    let mut by_node = [Zonelist::default(); NodeId::MAX_NODES];
    for node in plan.nodes() {
        if let (Some(slot), Some(lists)) = (by_node.get_mut(node.node.index()), lists.node(node.node)) {
            *slot = lists.general;
        }
    }
    let needs = Needs::of::<DefaultCore<'static>>(plan.nodes());
    let storage = Storage {
        zones: take(memblock, given, "the zones", needs.zones)?,
        usemap_bytes: take(memblock, given, "the pageblock types", needs.usemap_bytes)?,
        core_words: take(memblock, given, "the free lists", needs.core_words)?,
    };
    let trace = if given.args.torture_trace.is_some() { trace_ring::<M>(memblock, given)? } else { None };
    let guard_minorder = Order::new(given.args.guardpage_minorder).unwrap_or(Order::ZERO);
    let options = Options {
        core: CoreOptions { guard_minorder, ..CoreOptions::default() },
        grouping_off: !mobility_grouping(plan.total_pages(), PAGEBLOCK_PAGES),
        ram: Some(given.machine.ram()),
        local: Some(nodes.local),
        policies: given.args.policies,
        trace,
    };
    Ok(PageAllocator::new(map, plan.nodes(), &by_node, storage, options)?)
}

/// Events that the ring of `torture_trace=` keeps: more than one operation of the torture can write.
const TRACE_SLOTS: usize = 1 << 16;

/// The ring of `torture_trace=`, switched off.
fn trace_ring<M: Machine>(
    memblock: &mut Memblock<'_>,
    given: &Given<'_, M>,
) -> Result<Option<&'static TraceRing<'static>>, BootError> {
    let words: &'static [AtomicU32] =
        slices::fill(take(memblock, given, "the trace", TRACE_SLOTS * SLOT_WORDS)?, || AtomicU32::new(0));
    let place = take(memblock, given, "the trace", 1)?;
    let rings: &'static [TraceRing<'static>] = slices::fill_some(place, || TraceRing::new::<M::Irq>(words));
    Ok(rings.first())
}

/// Sets each zone's watermarks from what it manages (Linux: `init_per_zone_wmark_min`).
pub(super) fn set_watermarks<I: CurrentCpu>(mm: &Mm<'static, I, DefaultCore<'static>>, plan: &MachinePlan) {
    mm.allocator().init_watermarks(plan.movable_source(), &Tunables::default());
}

/// Gives each zone its real pagesets, in pages of its own (Linux: `setup_per_cpu_pageset`).
pub(super) fn install_pagesets<M: Machine>(
    mm: &mut Mm<'static, M::Irq, DefaultCore<'static>>,
    cpus: usize,
    given: &Given<'_, M>,
) -> Result<(), BootError> {
    let sizes: [Option<(ZoneRef, PagesetSize)>; 8] = {
        let mut sizes = [None; 8];
        for (slot, zone) in sizes.iter_mut().zip(mm.allocator().zones()) {
            *slot = Some((zone.name(), PagesetSize::linux4(zone.stats().managed)));
        }
        sizes
    };
    for (zone, size) in sizes.into_iter().flatten() {
        let size = mm::page_alloc::PagesetSize { high: size.high, batch: size.batch };
        let size = size.for_core::<DefaultCore<'static>>();
        let words: &'static mut [MaybeUninit<AtomicU32>] =
            pages(mm, given, "pagesets", Pageset::SLOTS.saturating_mul(cpus))?;
        let sets: &'static mut [MaybeUninit<Pageset<'static>>] = pages(mm, given, "pagesets", cpus)?;
        let words: &'static [AtomicU32] = slices::fill(words, || AtomicU32::new(0));
        let mut chunks = words.chunks_exact(Pageset::SLOTS);
        let sets = slices::fill_some(sets, || Pageset::new(chunks.next().unwrap_or(&[]), size));
        mm.allocator_mut().install_pagesets(zone, sets)?;
        log::debug!("{} zone: pageset high {}, batch {}", zone.zone.name(), size.high, size.batch);
    }
    Ok(())
}

/// Gives each CPU a place for its counters (Linux: `refresh_zone_stat_thresholds`).
pub(super) fn install_counters<M: Machine>(
    mm: &mut Mm<'static, M::Irq, DefaultCore<'static>>,
    cpus: usize,
    given: &Given<'_, M>,
) -> Result<(), BootError> {
    let places: &'static mut [MaybeUninit<CpuCounters>] = pages(mm, given, "counters", cpus)?;
    mm.allocator_mut().install_counters(slices::fill(places, CpuCounters::new));
    Ok(())
}

/// Lends every contiguous-memory area to movable allocations (Linux: `cma_init_reserved_areas`). An area that cannot be
/// lent, because a zone's border lies in it, is told of, and is ordinary memory from then on.
pub(super) fn lend_cma<I: CurrentCpu>(
    mm: &mut Mm<'static, I, DefaultCore<'static>>,
    regions: &mut ReservedRegions<'_>,
) -> Result<(), BootError> {
    loop {
        let next = regions.cma_areas().find(|area| !is_lent(mm, area.range)).copied();
        let Some(area) = next else { return Ok(()) };
        let frames = area.range.whole_frames();
        if let Err(error) = mm.allocator().release_cma(frames) {
            log::error!("CMA area {} could not be activated: {}: {error}", area.name, area.range);
            mm.allocator_mut().free_reserved(frames)?;
            regions.drop_area(area.range);
        }
    }
}

/// The areas that are lent, each with its bitmap, in pages of their own (Linux: `cma_activate_area`).
pub(super) fn cma_areas<M: Machine>(
    mm: &Mm<'static, M::Irq, DefaultCore<'static>>,
    regions: &ReservedRegions<'static>,
    given: &Given<'_, M>,
) -> Result<&'static [CmaArea<'static, M::Irq>], BootError> {
    let count = regions.cma_areas().count();
    if count == 0 {
        return Ok(&[]);
    }
    let frames = |area: &ReservedRegion<'static>| area.range.whole_frames();
    let words_of = |area| CmaArea::<M::Irq>::words_for(frames(area).pages());
    let words: &'static mut [MaybeUninit<u32>] =
        pages(mm, given, "CMA areas", regions.cma_areas().map(words_of).sum())?;
    let mut words = slices::fill(words, || 0);
    let mut areas = regions.cma_areas();
    let places: &'static mut [MaybeUninit<CmaArea<'static, M::Irq>>] = pages(mm, given, "CMA areas", count)?;
    let built = slices::fill_some(places, || {
        let area = areas.next()?;
        let (own, rest) = core::mem::take(&mut words).split_at_mut_checked(words_of(area))?;
        words = rest;
        CmaArea::new(area.name, frames(area), own)
    });
    Ok(built)
}

/// Whether the area's pageblocks are lent.
fn is_lent<I: CurrentCpu>(mm: &Mm<'static, I, DefaultCore<'static>>, area: PhysRange) -> bool {
    let first = area.whole_frames().start;
    let zone = mm.allocator().map().page(first).map(|page| page.zone());
    let zone = mm.allocator().zones().iter().find(|found| Some(found.tag()) == zone);
    zone.is_some_and(|zone| zone.block_type(first) == MigrateType::Cma)
}

/// `count` places of `T` from memblock.
pub(super) fn take<T, M: Machine>(
    memblock: &mut Memblock<'_>,
    given: &Given<'_, M>,
    what: &'static str,
    count: usize,
) -> Result<&'static mut [MaybeUninit<T>], BootError> {
    slices::take(memblock, given.machine.ram(), &|frame| given.machine.answers(frame), what, count)
}

/// `count` places of `T` from the zones, for good.
fn pages<T, M: Machine>(
    mm: &Mm<'static, M::Irq, DefaultCore<'static>>,
    given: &Given<'_, M>,
    what: &'static str,
    count: usize,
) -> Result<&'static mut [MaybeUninit<T>], BootError> {
    let bytes = count.saturating_mul(size_of::<T>());
    let no_memory = BootError::NoMemory { what, bytes: bytes as u64 };
    let pages = u32::try_from(bytes.div_ceil(PAGE_SIZE as usize)).ok().and_then(Order::covering).ok_or(no_memory)?;
    let block = mm.allocator().alloc_pages(GfpFlags::GFP_KERNEL, pages).map_err(|_| no_memory)?;
    let places = slices::places(given.machine.ram(), block.base(), count).ok_or(no_memory)?;
    // SAFETY: the block was just allocated, and it is never freed.
    Ok(unsafe { slices::own(places) })
}
