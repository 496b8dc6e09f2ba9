//! The sizes of all zones of all nodes, from the map of memory and the limits.
//!
//! Theory.      The machine's zones are address ranges that follow each other from the first frame of memory: DMA (only
//!              with a limit below lowmem's), Normal up to the lowmem limit, HighMem up to the end. A node's zone is
//!              the part of that range inside the node's span, less what [`crate::zone::movable`] cuts off for
//!              Movable. Holes are inside spans and absent; no-map frames are present.
//!              The memmap of a zone is paid by the zone itself when it is in lowmem: `real_size` = present − pages of
//!              memmap for the whole span. HighMem pays nothing, because no kernel data can lie there.
//! Invariants.  1. The zones of one node do not overlap and lie inside its span. 2. Each frame of memory is present in
//!              exactly one zone: the sum of present equals the pages given. 3. real_size <= present <= span.
//! Picture.     memory   |#######|   |####|######|      node 0
//!              zones    |---Normal-------|-HighMem-|   span to the limit, clipped to the node
//! Not here.    Where the memmap lies, the usemap's bytes (pageblock), managed pages (the hand-over counts them).
//! Source.      Linux mm/page_alloc.c: free_area_init, zone_spanned_pages_in_node, calc_memmap_size,
//!              free_area_init_core; arch/arm/mm/init.c: zone_sizes_init.
#![forbid(unsafe_code)]

use core::fmt;

use crate::addr::{NodeId, PAGE_SIZE, Pfn, PfnRange, PhysRange};
use crate::zone::movable::{self, MovableRequest, MovableStarts};
use crate::zone::{MAX_NR_ZONES, NodePlan, NodeSet, PerZone, ZoneSize, ZoneType};

#[cfg(test)]
mod tests;

/// Bytes of a `Page`, which each frame of a span costs.
pub const PAGE_STRUCT_BYTES: u32 = 32;

/// Takes one line of the boot log, without its end.
pub type Sink<'a> = &'a mut dyn FnMut(fmt::Arguments<'_>);

/// One run of frames that exist.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct MemoryRange {
    /// Its whole frames.
    pub frames: PfnRange,
    /// The node that they belong to.
    pub node: NodeId,
    /// They can be unplugged (the device tree's `hotpluggable`).
    pub hotplug: bool,
}

impl MemoryRange {
    /// The whole frames of `bytes`, which belong to `node` and cannot be unplugged.
    #[must_use]
    pub const fn of_bytes(bytes: PhysRange, node: NodeId) -> Self {
        Self { frames: bytes.whole_frames(), node, hotplug: false }
    }
}

/// What the plan is made for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct PlanRequest {
    /// One past the last frame that every device reaches; `None` when all devices reach all memory.
    pub dma_limit: Option<Pfn>,
    /// One past the last frame of the linear mapping; can be above the end of memory.
    pub lowmem_limit: Pfn,
    /// `kernelcore=`, `movablecore=`, `movable_node`.
    pub movable: MovableRequest,
    /// Nodes that exist (have CPUs, say) also when they have no memory.
    pub memoryless: NodeSet,
    /// Bytes of memmap that a frame costs: [`PAGE_STRUCT_BYTES`].
    pub page_bytes: u32,
}

impl PlanRequest {
    /// A machine without DMA limit, of one node, with our own memmap.
    #[must_use]
    pub fn new(lowmem_limit: Pfn) -> Self {
        Self {
            dma_limit: None,
            lowmem_limit,
            movable: MovableRequest::default(),
            memoryless: NodeSet::EMPTY,
            page_bytes: PAGE_STRUCT_BYTES,
        }
    }
}

/// Why there is no plan.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum PlanError {
    /// No range has a whole frame.
    NoMemory,
    /// This range begins before the one in front of it ends.
    Unsorted(PfnRange),
}

impl fmt::Display for PlanError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoMemory => f.write_str("zones: no whole page of memory"),
            Self::Unsorted(range) => write!(f, "zones: memory {} is out of order", range.bytes()),
        }
    }
}

/// Which promise a plan does not keep.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum PlanBroken {
    /// The sum of present pages is not the memory given: pages of the zones, pages of memory.
    Present(u64, u64),
    /// Two zones of the node overlap, or one leaves the node's span.
    Overlap(NodeId, ZoneType),
    /// A zone's `real_size <= present <= span` does not hold.
    Size(NodeId, ZoneType),
}

/// The zones of the whole machine.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct MachinePlan {
    zones: PerZone<PfnRange>,
    movable: MovableStarts,
    movable_source: ZoneType,
    nodes: [NodePlan; NodeId::MAX_NODES],
    len: usize,
    page_bytes: u32,
}

impl MachinePlan {
    /// Sizes every zone of every node.
    ///
    /// `ranges`: memory (no-map ranges too), sorted and disjoint; empty ones are skipped. Linux: `free_area_init`.
    ///
    /// # Errors
    /// [`PlanError`], when there is no memory or the ranges are out of order.
    pub fn new<I>(ranges: I, request: &PlanRequest) -> Result<Self, PlanError>
    where
        I: Iterator<Item = MemoryRange> + Clone,
    {
        let ranges = ranges.filter(|range| !range.frames.is_empty());
        let zones = machine_zones(sorted_span(ranges.clone())?, request);
        let movable_source =
            ZoneType::ALL.into_iter().rev().find(|zone| !zones[zone.index()].is_empty()).unwrap_or(ZoneType::Normal);
        let movable = movable::starts(ranges.clone(), &request.movable, zones[movable_source.index()].start);
        let empty =
            NodePlan { node: NodeId::ZERO, span: PfnRange::default(), zones: [ZoneSize::default(); MAX_NR_ZONES] };
        let mut plan = Self {
            zones,
            movable,
            movable_source,
            nodes: [empty; NodeId::MAX_NODES],
            len: 0,
            page_bytes: request.page_bytes,
        };
        let online: NodeSet = ranges.clone().map(|range| range.node).collect();
        for node in online.union(request.memoryless).iter() {
            let sized = plan.size_node(node, ranges.clone());
            if let Some(slot) = plan.nodes.get_mut(plan.len) {
                *slot = sized;
                plan.len += 1;
            }
        }
        Ok(plan)
    }

    /// The nodes, by ascending number; numbers can be missing, and a node can be without memory.
    #[must_use]
    pub fn nodes(&self) -> &[NodePlan] {
        self.nodes.get(..self.len).unwrap_or(&[])
    }

    /// The machine's range of `zone`, holes and all nodes included; empty for Movable, which each node has its own of.
    #[must_use]
    pub const fn zone_range(&self, zone: ZoneType) -> PfnRange {
        self.zones[zone.index()]
    }

    /// The first frame of `node`'s Movable zone, if it has one.
    #[must_use]
    pub const fn movable_start(&self, node: NodeId) -> Option<Pfn> {
        self.movable[node.index()]
    }

    /// The zone type that Movable is cut from: the machine's highest (Linux: `movable_zone`).
    #[must_use]
    pub const fn movable_source(&self) -> ZoneType {
        self.movable_source
    }

    /// The sum of `real_size` over all zones: `Total pages` of the zonelists' line.
    #[must_use]
    pub fn total_pages(&self) -> u64 {
        self.nodes().iter().flat_map(|node| node.zones).map(|zone| u64::from(zone.real_size)).sum()
    }

    /// Frames that exist, over all nodes.
    #[must_use]
    pub fn present_pages(&self) -> u64 {
        self.nodes().iter().map(|node| u64::from(node.present())).sum()
    }

    /// Checks the module's invariants against the memory that the plan was made from.
    ///
    /// # Errors
    /// The first promise that does not hold.
    pub fn validate(&self, ranges: impl Iterator<Item = MemoryRange>) -> Result<(), PlanBroken> {
        for plan in self.nodes() {
            let mut free_from = plan.span.start;
            for (kind, zone) in ZoneType::ALL.into_iter().zip(&plan.zones).filter(|(_, zone)| !zone.span.is_empty()) {
                if zone.span.start < free_from || zone.span.end > plan.span.end {
                    return Err(PlanBroken::Overlap(plan.node, kind));
                }
                free_from = zone.span.end;
                if zone.real_size > zone.present || zone.present > zone.span.pages() {
                    return Err(PlanBroken::Size(plan.node, kind));
                }
            }
        }
        let memory = ranges.map(|range| u64::from(range.frames.pages())).sum();
        let present = self.present_pages();
        if present == memory { Ok(()) } else { Err(PlanBroken::Present(present, memory)) }
    }

    /// Writes Linux's lines on zones and nodes to `sink`: `Zone ranges:` to the last `Initmem setup node`.
    ///
    /// `ranges`: the memory that the plan was made from.
    pub fn write_log(&self, ranges: impl Iterator<Item = MemoryRange>, sink: Sink<'_>) {
        sink(format_args!("Zone ranges:"));
        for zone in [ZoneType::Dma, ZoneType::Normal, ZoneType::HighMem] {
            let range = self.zone_range(zone);
            if !range.is_empty() {
                sink(format_args!("  {:<8} {}", zone.name(), Wide(range)));
            } else if zone != ZoneType::Dma {
                sink(format_args!("  {:<8} empty", zone.name()));
            }
        }
        sink(format_args!("Movable zone start for each node"));
        for node in NodeSet::ALL.iter() {
            if let Some(start) = self.movable_start(node) {
                sink(format_args!("  Node {}: {:#018x}", node.raw(), start.base().raw()));
            }
        }
        sink(format_args!("Early memory node ranges"));
        for range in ranges.filter(|range| !range.frames.is_empty()) {
            sink(format_args!("  node {:3}: {}", range.node.raw(), Wide(range.frames)));
        }
        for plan in self.nodes() {
            self.write_node(plan, sink);
        }
    }

    /// The lines of one node: its span, and any zone whose memmap costs more than it has.
    fn write_node(&self, plan: &NodePlan, sink: Sink<'_>) {
        let node = plan.node.raw();
        if plan.span.is_empty() {
            return sink(format_args!("Initmem setup node {node} as memoryless"));
        }
        sink(format_args!("Initmem setup node {node} {}", Wide(plan.span)));
        for (kind, zone) in ZoneType::ALL.into_iter().zip(&plan.zones) {
            let memmap = memmap_pages(zone.span.pages(), self.page_bytes);
            if self.pays_memmap(kind) && u64::from(zone.present) < memmap {
                let (name, present) = (kind.name(), zone.present);
                sink(format_args!("  {name} zone: {memmap} memmap pages exceeds freesize {present}"));
            }
        }
    }

    /// [`Self::write_log`] into the kernel's log.
    pub fn log(&self, ranges: impl Iterator<Item = MemoryRange>) {
        self.write_log(ranges, &mut |line| log::info!("{line}"));
    }

    /// Sizes one node's zones.
    fn size_node<I>(&self, node: NodeId, ranges: I) -> NodePlan
    where
        I: Iterator<Item = MemoryRange> + Clone,
    {
        let own = ranges.filter(|range| range.node == node).map(|range| range.frames);
        let start = own.clone().next().map_or(Pfn::default(), |first| first.start);
        let span = PfnRange::new(start, own.clone().map(|range| range.end).last().unwrap_or(start));
        let mut zones = [ZoneSize::default(); MAX_NR_ZONES];
        for (kind, slot) in ZoneType::ALL.into_iter().zip(&mut zones) {
            let span = self.zone_in_node(kind, node, span);
            if !span.is_empty() {
                let present = own.clone().map(|range| range.intersection(span).pages()).sum();
                *slot = ZoneSize { span, present, real_size: self.real_size(kind, span, present) };
            }
        }
        NodePlan { node, span, zones }
    }

    /// The frames from the first to the last of `node`'s zone `kind`, where `span` is the node's.
    fn zone_in_node(&self, kind: ZoneType, node: NodeId, span: PfnRange) -> PfnRange {
        match (kind, self.movable_start(node)) {
            (ZoneType::Movable, None) => PfnRange::default(),
            (ZoneType::Movable, Some(start)) => PfnRange::new(start.max(span.start), span.end),
            (_, None) => self.zone_range(kind).intersection(span),
            (_, Some(start)) => {
                let zone = self.zone_range(kind);
                PfnRange::new(zone.start, zone.end.min(start)).intersection(span)
            }
        }
    }

    /// Whether the memmap of zone `kind` is charged to the zone itself.
    fn pays_memmap(&self, kind: ZoneType) -> bool {
        !is_highmem(kind, self.movable_source)
    }

    /// What `present` pages are after the charge for a memmap of `span`; uncharged when they could not pay it.
    fn real_size(&self, kind: ZoneType, span: PfnRange, present: u32) -> u32 {
        let charge = if self.pays_memmap(kind) { memmap_pages(span.pages(), self.page_bytes) } else { 0 };
        u32::try_from(charge).ok().and_then(|charge| present.checked_sub(charge)).unwrap_or(present)
    }
}

/// Whether zone `kind` lies outside the linear mapping, when Movable is cut from `movable_source` (Linux:
/// `is_highmem_idx`).
#[must_use]
pub const fn is_highmem(kind: ZoneType, movable_source: ZoneType) -> bool {
    match kind {
        ZoneType::HighMem => true,
        ZoneType::Movable => matches!(movable_source, ZoneType::HighMem),
        ZoneType::Dma | ZoneType::Normal => false,
    }
}

/// Pages that the memmap of `frames` frames takes at `page_bytes` bytes each (Linux: `calc_memmap_size`).
#[must_use]
pub const fn memmap_pages(frames: u32, page_bytes: u32) -> u64 {
    (frames as u64 * page_bytes as u64).div_ceil(PAGE_SIZE as u64)
}

/// First frame of the first range to one past the last of the last.
fn sorted_span(ranges: impl Iterator<Item = MemoryRange>) -> Result<PfnRange, PlanError> {
    let mut span: Option<PfnRange> = None;
    for MemoryRange { frames, .. } in ranges {
        span = match span {
            None => Some(frames),
            Some(span) if frames.start < span.end => return Err(PlanError::Unsorted(frames)),
            Some(span) => Some(PfnRange::new(span.start, frames.end)),
        };
    }
    span.ok_or(PlanError::NoMemory)
}

/// The machine's zone ranges, each from where the one below ends.
fn machine_zones(dram: PfnRange, request: &PlanRequest) -> PerZone<PfnRange> {
    let lowmem_end = request.lowmem_limit.max(dram.start);
    let dma_end =
        request.dma_limit.filter(|&limit| limit < lowmem_end).map_or(dram.start, |limit| limit.max(dram.start));
    let mut zones = [PfnRange::default(); MAX_NR_ZONES];
    zones[ZoneType::Dma.index()] = PfnRange::new(dram.start, dma_end);
    zones[ZoneType::Normal.index()] = PfnRange::new(dma_end, lowmem_end);
    zones[ZoneType::HighMem.index()] = PfnRange::new(lowmem_end, dram.end.max(lowmem_end));
    zones
}

/// A range in the 64-bit inclusive form of these lines: `[mem 0x0000000080000000-0x000000009eefffff]`.
struct Wide(PfnRange);

impl fmt::Display for Wide {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let bytes = self.0.bytes();
        write!(f, "[mem {:#018x}-{:#018x}]", bytes.start.raw(), bytes.end.raw().saturating_sub(1))
    }
}
