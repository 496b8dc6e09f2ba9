//! From the tables to the page allocator in one call, for a machine without wishes of its own.
//!
//! Theory.      Everything that the allocator needs memory for is sized by the plan of zones, which follows from
//!              memblock's map: so one call can plan, take the arrays from memblock, build, hand over, set the
//!              watermarks and open the pagesets. A boot that prints as it goes, probes memory or knows of more nodes
//!              does the same steps one by one (`boot::bring_up`).
//! Invariants.  What is taken from memblock here stays reserved: the hand-over consumes memblock in the same call.
//! Source.      Linux: `paging_init`, `free_area_init`, `build_all_zonelists`, `mem_init`, `setup_per_cpu_pageset`.

use core::fmt;
use core::mem::MaybeUninit;
use core::sync::atomic::AtomicU32;

use crate::addr::{NodeId, PAGE_SIZE, Pfn, PfnRange, PhysAddr, PhysRange};
use crate::buddy::{CoreOptions, FreeCore};
use crate::memblock::{AllocRequest, Memblock, RegionFlags};
use crate::memmap::{MapError, MemMap, write_front};
use crate::page_alloc::{
    Needs, Options, PageAllocator, Pageset, PagesetSize, Policies, SetupError, Storage, frame_runs,
};
use crate::phase::{Mm, PagedMm, PhaseError};
use crate::platform::PhysMap;
use crate::sync::CurrentCpu;
use crate::vmstat::CpuCounters;
use crate::zone::pageblock::PAGEBLOCK_PAGES;
use crate::zone::plan::{MachinePlan, MemoryRange, PlanError, PlanRequest};
use crate::zone::watermark::Tunables;
use crate::zone::zonelist::{Topology, ZonelistOrder, Zonelists, mobility_grouping};
use crate::zone::{NodeSet, Zonelist, pageset};

/// What [`PagedMm::start`] should know of a machine; the default fits one with a CPU and devices that reach all memory.
#[derive(Clone, Copy, Debug)]
pub struct Setup {
    /// One past the last byte that every device reaches; `None` when they reach all memory.
    pub dma_limit: Option<PhysAddr>,
    /// CPUs, numbered from 0: each has pagesets. Without any, every page is taken from a zone under its lock.
    pub cpus: usize,
    /// What the walk prefers and keeps back.
    pub policies: Policies,
    /// Switches of the free cores.
    pub core: CoreOptions,
    /// What the watermarks are made by.
    pub watermarks: Tunables,
}

impl Default for Setup {
    fn default() -> Self {
        Self {
            dma_limit: None,
            cpus: 1,
            policies: Policies::default(),
            core: CoreOptions::default(),
            watermarks: Tunables::default(),
        }
    }
}

/// Why the page allocator did not start.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum StartError {
    /// No zones can be made of memblock's memory.
    Plan(PlanError),
    /// Memblock has no room for something, or it lies where `ram` does not reach.
    NoMemory {
        /// What for.
        what: &'static str,
        /// Its size in bytes.
        bytes: u64,
    },
    /// No memory map can be made of memblock's memory.
    Map(MapError),
    /// The allocator refused what it was built from.
    Setup(SetupError),
    /// The hand-over failed.
    Phase(PhaseError),
}

impl fmt::Display for StartError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Plan(error) => error.fmt(f),
            Self::NoMemory { what, bytes } => write!(f, "no {bytes} bytes for {what}"),
            Self::Map(error) => error.fmt(f),
            Self::Setup(error) => error.fmt(f),
            Self::Phase(error) => error.fmt(f),
        }
    }
}

impl core::error::Error for StartError {}

impl From<PlanError> for StartError {
    fn from(error: PlanError) -> Self {
        Self::Plan(error)
    }
}

impl From<MapError> for StartError {
    fn from(error: MapError) -> Self {
        Self::Map(error)
    }
}

impl From<SetupError> for StartError {
    fn from(error: SetupError) -> Self {
        Self::Setup(error)
    }
}

impl From<PhaseError> for StartError {
    fn from(error: PhaseError) -> Self {
        Self::Phase(error)
    }
}

impl<'m> PagedMm<'m> {
    /// The last phase in one call: plans the zones of memblock's memory, builds the memory map and the allocator in
    /// frames that memblock gives, hands over all free memory, sets the watermarks and gives each CPU its pagesets.
    ///
    /// `ram` reaches all of lowmem. Only this CPU runs. See [`Self::hand_over`] for the steps one by one.
    ///
    /// # Errors
    /// [`StartError`]; memblock is gone then, and what it knew with it.
    pub fn start<M: CurrentCpu, C: FreeCore<'m>>(
        mut self,
        ram: &'m (dyn PhysMap + Sync),
        setup: &Setup,
    ) -> Result<Mm<'m, M, C>, StartError> {
        let plan = plan(&self, setup)?;
        let map = build_map(&mut self.memblock, ram, &plan)?;
        let allocator: PageAllocator<'m, M, C> = build_allocator(&mut self.memblock, ram, &plan, map, setup)?;
        let zones = allocator.zones().len();
        let sets = take(&mut self.memblock, ram, "pagesets", zones.saturating_mul(setup.cpus))?;
        let slots = zones.saturating_mul(setup.cpus).saturating_mul(Pageset::SLOTS);
        let slots = take(&mut self.memblock, ram, "the slots of pagesets", slots)?;
        let counters = take(&mut self.memblock, ram, "counters", setup.cpus)?;
        let mut mm = self.hand_over(allocator, ram, &mut || ())?;
        mm.allocator().init_watermarks(plan.movable_source(), &setup.watermarks);
        mm.allocator_mut().install_counters(write_front(counters, core::iter::repeat_with(CpuCounters::new)));
        open_pagesets(&mut mm, setup.cpus, sets, slots)?;
        Ok(mm)
    }
}

/// Memblock's memory as the plan wants it.
fn memory_ranges<'a>(memblock: &'a Memblock<'_>) -> impl Iterator<Item = MemoryRange> + Clone + 'a {
    memblock.memory().iter().map(|region| MemoryRange {
        hotplug: region.flags().contains(RegionFlags::HOTPLUG),
        ..MemoryRange::of_bytes(region.range(), region.node())
    })
}

fn plan(paged: &PagedMm<'_>, setup: &Setup) -> Result<MachinePlan, PlanError> {
    let lowmem = Pfn::containing(paged.layout.linear.phys_range().end).unwrap_or_default();
    let dma_limit = setup.dma_limit.and_then(Pfn::containing);
    MachinePlan::new(memory_ranges(&paged.memblock), &PlanRequest { dma_limit, ..PlanRequest::new(lowmem) })
}

fn build_map<'m>(
    memblock: &mut Memblock<'m>,
    ram: &'m dyn PhysMap,
    plan: &MachinePlan,
) -> Result<MemMap<'m>, StartError> {
    let spans = plan.nodes().iter().map(|node| node.span).filter(|span| !span.is_empty());
    let span =
        spans.reduce(|all, one| PfnRange::new(all.start.min(one.start), all.end.max(one.end))).unwrap_or_default();
    let pages = take(memblock, ram, "the memory map", MemMap::coverage(span).pages() as usize)?;
    let memory = memory_ranges(memblock).map(|range| (range.frames, range.node));
    Ok(MemMap::init_by(ram, pages, span, frame_runs(plan.nodes(), memory))?)
}

fn build_allocator<'m, M: CurrentCpu, C: FreeCore<'m>>(
    memblock: &mut Memblock<'m>,
    ram: &'m (dyn PhysMap + Sync),
    plan: &MachinePlan,
    map: MemMap<'m>,
    setup: &Setup,
) -> Result<PageAllocator<'m, M, C>, StartError> {
    let first = plan.nodes().first().map_or(NodeId::ZERO, |node| node.node);
    let lists = Zonelists::build(plan.nodes(), &Topology::new(NodeSet::of(first)), ZonelistOrder::Default);
    let mut by_node = [Zonelist::default(); NodeId::MAX_NODES];
    for node in plan.nodes() {
        if let (Some(slot), Some(lists)) = (by_node.get_mut(node.node.index()), lists.node(node.node)) {
            *slot = lists.general;
        }
    }
    let needs = Needs::of::<C>(plan.nodes());
    let storage = Storage {
        zones: take(memblock, ram, "the zones", needs.zones)?,
        usemap_bytes: take(memblock, ram, "the types of pageblocks", needs.usemap_bytes)?,
        core_words: take(memblock, ram, "the free lists", needs.core_words)?,
    };
    let options = Options {
        core: setup.core,
        grouping_off: !mobility_grouping(plan.total_pages(), PAGEBLOCK_PAGES),
        policies: setup.policies,
        ram: Some(ram),
        ..Options::default()
    };
    Ok(PageAllocator::new(map, plan.nodes(), &by_node, storage, options)?)
}

/// Gives each zone a pageset for each CPU; both slices are as long as that takes.
fn open_pagesets<'m, M: CurrentCpu, C: FreeCore<'m>>(
    mm: &mut Mm<'m, M, C>,
    cpus: usize,
    mut sets: &'m mut [MaybeUninit<Pageset<'m>>],
    slots: &'m mut [MaybeUninit<AtomicU32>],
) -> Result<(), SetupError> {
    let slots: &'m [AtomicU32] = write_front(slots, core::iter::repeat_with(|| AtomicU32::new(0)));
    let mut slots = slots.chunks_exact(Pageset::SLOTS);
    let mut index = 0;
    while let Some(zone) = mm.allocator().zones().get(index) {
        let (name, size) = (zone.name(), pageset::PagesetSize::linux4(zone.stats().managed));
        let size = PagesetSize { high: size.high, batch: size.batch }.for_core::<C>();
        let (own, rest) = core::mem::take(&mut sets).split_at_mut(cpus);
        sets = rest;
        let own = write_front(own, slots.by_ref().take(cpus).map_while(|slots| Pageset::new(slots, size)));
        mm.allocator_mut().install_pagesets(name, own)?;
        index += 1;
    }
    Ok(())
}

/// `count` places of `T` in frames that memblock gives, to be kept for good.
fn take<'m, T>(
    memblock: &mut Memblock<'m>,
    ram: &'m dyn PhysMap,
    what: &'static str,
    count: usize,
) -> Result<&'m mut [MaybeUninit<T>], StartError> {
    let bytes = count.saturating_mul(size_of::<T>());
    let no_memory = StartError::NoMemory { what, bytes: bytes as u64 };
    // At least 64 bytes: the alignment of Linux's early allocations.
    let align = align_of::<T>().max(64) as u64;
    let start = memblock.alloc(&AllocRequest::new(bytes.max(1) as u64, align)).map_err(|_| no_memory)?;
    let frames = PhysRange::new(start, start.saturating_add(bytes.max(1) as u64)).touched_frames();
    let first = ram.frames_ptr(frames.start, frames.pages()).ok_or(no_memory)?;
    let offset = usize::try_from(start.raw() & u64::from(PAGE_SIZE - 1)).map_err(|_| no_memory)?;
    // SAFETY: the offset is below a page, and `frames_ptr` vouches for the frames.
    let places = unsafe { first.add(offset) }.cast::<MaybeUninit<T>>();
    if !places.is_aligned() {
        return Err(no_memory);
    }
    // SAFETY: memblock gave these bytes to nobody else and is consumed before anyone could free them; `ram` reaches
    // them for `'m`, and `MaybeUninit` asks nothing of what they hold.
    Ok(unsafe { core::slice::from_raw_parts_mut(places.as_ptr(), count) })
}
