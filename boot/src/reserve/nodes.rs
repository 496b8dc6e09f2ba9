//! The regions of `/reserved-memory`.
//!
//! Theory.      First every static region is taken, in tree order; only then are dynamic ones placed and set up, each
//!              in turn, and last the static ones set up by address: that is the order of Linux's lines. A pool's
//!              fitness is judged when its region is taken, because later regions may hide what was wrong.
//! Refusals.    What Linux refuses goes back to free RAM as it does there. What Linux makes a pool of although it can't
//!              be one (someone else's bytes, no RAM, two zones) stays reserved, and is no pool.
//! Source.      Linux drivers/of/fdt.c: __reserved_mem_reserve_reg; drivers/of/of_reserved_mem.c:
//!              fdt_init_reserved_mem, __reserved_mem_alloc_size; kernel/dma/contiguous.c: rmem_cma_setup;
//!              kernel/dma/coherent.c: rmem_dma_setup.
#![forbid(unsafe_code)]

use core::fmt;

use mm::addr::{PhysAddr, PhysRange};
use mm::memblock::{AllocRequest, Memblock, MemblockError};

use super::{CMA_ALIGN, MAX_REGIONS, PHYS_LIMIT, RegionKind, ReserveConfig, ReserveError};
use super::{ReservedRegion, ReservedRegions};
use crate::info::ReservedNode;

/// The only `compatible` that makes a pool.
const POOL: &str = "shared-dma-pool";

/// Why a region is no pool.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Refusal {
    /// `cma=` beats `linux,cma-default`.
    Bypassed,
    /// Base or size of a CMA area is no multiple of [`CMA_ALIGN`].
    Misaligned,
    /// Neither `no-map` nor `reusable`.
    NeedsNoMap,
    /// Both `no-map` and `reusable`.
    Contradiction,
    /// Someone else has bytes of it.
    Shared,
    /// Not (all of) it is RAM that may be mapped.
    NotRam,
    /// It lies on both sides of the end of lowmem.
    TwoZones,
}

impl Refusal {
    /// Whether the region goes back to free RAM.
    const fn gives_back(self) -> bool {
        matches!(self, Self::Bypassed | Self::Misaligned | Self::NeedsNoMap | Self::Contradiction)
    }
}

/// A static region between being taken and being set up.
#[derive(Clone, Copy)]
struct Taken<'t> {
    name: &'t str,
    range: PhysRange,
    no_map: bool,
    /// It is in the reserved list; of no-map regions only dynamic ones are.
    reserved: bool,
    /// Someone else has taken bytes of it, before or after.
    shared: bool,
    kind: Result<RegionKind, Refusal>,
}

/// The static regions; at most as many as the table takes.
struct Statics<'t> {
    slots: [Option<Taken<'t>>; MAX_REGIONS],
    len: usize,
}

/// Takes and sets up all regions of `nodes`.
pub(super) fn reserve<'t>(
    memblock: &mut Memblock<'_>,
    config: &ReserveConfig,
    nodes: impl Iterator<Item = ReservedNode<'t>> + Clone,
    regions: &mut ReservedRegions<'t>,
) -> Result<(), ReserveError> {
    let mut statics = Statics { slots: [None; MAX_REGIONS], len: 0 };
    let mut dynamic = 0;
    for node in nodes.clone() {
        let mut reg = node.reg;
        let saved = statics.len + dynamic < MAX_REGIONS;
        if let Some(first) = reg.next() {
            if let Some(taken) = take_static(memblock, config, &node, first)? {
                statics.mark_shared(taken.range);
                if saved {
                    statics.push(taken);
                }
            }
            for more in reg {
                if let Some(taken) = take_static(memblock, config, &node, more)? {
                    statics.mark_shared(taken.range);
                }
            }
        } else if node.size.is_some() {
            dynamic += 1;
        }
        if !saved {
            log::error!("OF: reserved mem: not enough space for all defined regions.");
        }
    }
    statics.tell_overlaps();

    let room = MAX_REGIONS.saturating_sub(statics.len);
    for node in nodes.filter(|node| { node.reg }.next().is_none() && node.size.is_some()).take(room) {
        let size = node.size.unwrap_or(0);
        if let Some(range) = place_dynamic(memblock, &node, size)? {
            let kind = judge(memblock, config, &node, range, false);
            let taken = Taken { name: node.name, range, no_map: node.no_map, reserved: true, shared: false, kind };
            set_up(memblock, config, &taken, regions)?;
        }
    }
    statics.sort();
    for taken in statics.slots.iter().flatten() {
        let kind = match taken.kind {
            Ok(kind) if kind.is_cma() && taken.shared => Err(Refusal::Shared),
            kind => kind,
        };
        set_up(memblock, config, &Taken { kind, ..*taken }, regions)?;
    }
    Ok(())
}

/// Takes one static region; `None` when it is refused or empty.
fn take_static<'t>(
    memblock: &mut Memblock<'_>,
    config: &ReserveConfig,
    node: &ReservedNode<'t>,
    range: PhysRange,
) -> Result<Option<Taken<'t>>, ReserveError> {
    let name = node.name;
    let failed = |why: fmt::Arguments<'_>| {
        let (base, size) = (range.start, range.size() >> 20);
        log::error!(
            "OF: fdt: Reserved memory: failed to reserve memory for node '{name}': base {base}, size {size} MiB: {why}"
        );
    };
    if range.is_empty() {
        failed(format_args!("reg has no size"));
        return Ok(None);
    }
    if !memblock.contains_memory(range) {
        let how = if memblock.overlaps_memory(range) { "reaches out of RAM" } else { "lies outside RAM" };
        log::warn!("OF: reserved mem: node {name}: reg {range} {how}");
    }
    let reserved_before = memblock.overlaps_reserved(range);
    let owner = config.fixed.owner_in(range);
    if node.no_map && reserved_before && memblock.overlaps_memory(range) {
        failed(format_args!("no-map reg overlaps {}", owner.unwrap_or("memory reserved before")));
        return Ok(None);
    }
    if let Some(owner) = owner {
        log::warn!("OF: reserved mem: node {name}: reg {range} overlaps {owner}");
    }
    let nomap_before = memblock.memory().iter().any(|region| region.is_nomap() && region.range().overlaps(range));
    let shared = reserved_before || nomap_before;
    let kind = judge(memblock, config, node, range, shared);
    if node.no_map {
        memblock.mark_nomap(range)?;
    } else {
        memblock.reserve(range)?;
    }
    Ok(Some(Taken { name, range, no_map: node.no_map, reserved: !node.no_map, shared, kind }))
}

/// What `range` of `node` is good for, before it is taken.
fn judge(
    memblock: &Memblock<'_>,
    config: &ReserveConfig,
    node: &ReservedNode<'_>,
    range: PhysRange,
    shared: bool,
) -> Result<RegionKind, Refusal> {
    if node.compatible != POOL {
        return Ok(if node.no_map { RegionKind::NoMap } else { RegionKind::Reserved });
    }
    if config.cma.is_some() && node.cma_default {
        return Err(Refusal::Bypassed);
    }
    match (node.reusable, node.no_map) {
        (true, true) => Err(Refusal::Contradiction),
        (false, false) => Err(Refusal::NeedsNoMap),
        (false, true) if range.end > PHYS_LIMIT => Err(Refusal::NotRam),
        (false, true) => Ok(RegionKind::DmaPool),
        (true, false) if !range.start.is_aligned(CMA_ALIGN) || !range.end.is_aligned(CMA_ALIGN) => {
            Err(Refusal::Misaligned)
        }
        (true, false) if shared => Err(Refusal::Shared),
        (true, false) if !memblock.contains_map_memory(range) => Err(Refusal::NotRam),
        (true, false) if range.start < config.lowmem_limit && range.end > config.lowmem_limit => Err(Refusal::TwoZones),
        (true, false) if node.cma_default => Ok(RegionKind::DefaultCma),
        (true, false) => Ok(RegionKind::Cma),
    }
}

/// Finds and takes memory for a dynamic region; tells when there is none.
fn place_dynamic(
    memblock: &mut Memblock<'_>,
    node: &ReservedNode<'_>,
    size: u64,
) -> Result<Option<PhysRange>, ReserveError> {
    let name = node.name;
    let is_cma = node.compatible == POOL && node.reusable && !node.no_map;
    let align = if is_cma { node.alignment.max(CMA_ALIGN) } else { node.alignment };
    if align != 0 && !align.is_power_of_two() {
        log::error!("OF: reserved mem: invalid alignment property in '{name}' node: {align:#x}");
        return Ok(None);
    }
    if size == 0 {
        log::error!("OF: reserved mem: invalid size property in '{name}' node: 0");
        return Ok(None);
    }
    let anywhere = PhysRange::new(PhysAddr::ZERO, PhysAddr::MAX);
    let free_choice = { node.alloc_ranges }.next().is_none().then_some(anywhere);
    for window in node.alloc_ranges.chain(free_choice) {
        if window.is_empty() {
            continue;
        }
        let request = AllocRequest { min: window.start, max: window.end, ..AllocRequest::new(size, align) };
        match memblock.alloc_phys(&request) {
            Ok(start) => {
                let range = PhysRange::new(start, start.saturating_add(size));
                if node.no_map {
                    memblock.mark_nomap(range)?;
                }
                return Ok(Some(range));
            }
            Err(MemblockError::OutOfMemory { .. }) => {}
            Err(error) => return Err(error.into()),
        }
    }
    log::error!("OF: reserved mem: failed to allocate memory for node '{name}': size {} MiB", size >> 20);
    Ok(None)
}

/// Enters a taken region in the table, or refuses the pool: what goes back then is freed, if it is nobody else's.
fn set_up<'t>(
    memblock: &mut Memblock<'_>,
    config: &ReserveConfig,
    taken: &Taken<'t>,
    regions: &mut ReservedRegions<'t>,
) -> Result<(), ReserveError> {
    let Taken { name, range, no_map, reserved, shared, kind } = *taken;
    let kind = match kind {
        Ok(kind) => kind,
        Err(refusal) => {
            tell_refusal(config, name, range, refusal);
            if refusal.gives_back() && !shared {
                if no_map {
                    memblock.clear_nomap(range)?;
                }
                if reserved {
                    memblock.free(range)?;
                }
                return Ok(());
            }
            if no_map { RegionKind::NoMap } else { RegionKind::Reserved }
        }
    };
    let (kind, pool) = match kind {
        RegionKind::DefaultCma if regions.default_cma().is_some() => (RegionKind::Cma, Some("CMA")),
        RegionKind::DefaultCma | RegionKind::Cma => (kind, Some("CMA")),
        RegionKind::DmaPool => (kind, Some("DMA")),
        RegionKind::Reserved | RegionKind::NoMap => (kind, None),
    };
    if !regions.push(ReservedRegion { name, range, kind }) {
        log::error!("OF: reserved mem: not enough space for all defined regions.");
        return Ok(());
    }
    if let Some(pool) = pool {
        let (start, size) = (range.start, range.size() >> 20);
        log::info!("Reserved memory: created {pool} memory pool at {start}, size {size} MiB");
        log::info!("OF: reserved mem: initialized node {name}, compatible id {POOL}");
    }
    Ok(())
}

fn tell_refusal(config: &ReserveConfig, name: &str, range: PhysRange, refusal: Refusal) {
    match refusal {
        Refusal::Bypassed => {
            log::info!("Reserved memory: bypass {name} node, using cmdline CMA params instead");
        }
        Refusal::Misaligned => {
            log::error!("Reserved memory: incorrect alignment of CMA region {name}: reg {range}, not {CMA_ALIGN:#x}");
        }
        Refusal::NeedsNoMap => {
            log::error!("Reserved memory: regions without no-map are not yet supported: {name} at {range}");
        }
        Refusal::Contradiction => log::error!("Reserved memory: {name} at {range} is both no-map and reusable"),
        Refusal::Shared => log::error!("Reserved memory: {name}: reg {range} is not all its own, no pool"),
        Refusal::NotRam => log::error!("Reserved memory: {name}: reg {range} is not all RAM, no pool"),
        Refusal::TwoZones => {
            let limit = config.lowmem_limit;
            log::error!("Reserved memory: {name}: reg {range} crosses the end of lowmem at {limit}, no pool");
        }
    }
    if refusal.gives_back() {
        log::info!("OF: reserved mem: node {name} compatible matching fail");
    }
}

impl<'t> Statics<'t> {
    fn push(&mut self, taken: Taken<'t>) {
        if let Some(slot) = self.slots.get_mut(self.len) {
            *slot = Some(taken);
            self.len += 1;
        }
    }

    fn sort(&mut self) {
        if let Some(used) = self.slots.get_mut(..self.len) {
            used.sort_unstable_by_key(|slot| slot.map(|taken| (taken.range.start, taken.range.end)));
        }
    }

    fn tell_overlaps(&self) {
        for (index, a) in self.slots.iter().flatten().enumerate() {
            for b in self.slots.iter().flatten().skip(index + 1).filter(|b| a.range.overlaps(b.range)) {
                let (low, high) = if b.range.start < a.range.start { (b, a) } else { (a, b) };
                log::error!(
                    "OF: reserved mem: OVERLAP DETECTED! {} ({}--{}) overlaps with {} ({}--{})",
                    low.name,
                    low.range.start,
                    low.range.end,
                    high.name,
                    high.range.start,
                    high.range.end
                );
            }
        }
    }

    /// Whoever has bytes of `range` does not have them alone any more.
    fn mark_shared(&mut self, range: PhysRange) {
        for taken in self.slots.iter_mut().flatten().filter(|taken| taken.range.overlaps(range)) {
            taken.shared = true;
        }
    }
}
