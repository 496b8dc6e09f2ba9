//! The table of reserved regions and pools.
#![forbid(unsafe_code)]

use mm::addr::{PhysAddr, PhysRange};
use mm::memblock::Memblock;

/// How many regions the table holds (Linux: `MAX_RESERVED_REGIONS`).
pub const MAX_REGIONS: usize = 64;

/// What a reserved region is for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum RegionKind {
    /// Taken and mapped; its device's driver knows what it is for.
    Reserved,
    /// Taken and not mapped.
    NoMap,
    /// A DMA pool of its device: `shared-dma-pool` with `no-map`.
    DmaPool,
    /// A CMA area of its device, lent to movable allocations: `shared-dma-pool` with `reusable`.
    Cma,
    /// The CMA area of every device that has none of its own.
    DefaultCma,
}

impl RegionKind {
    /// Whether it is lent to movable allocations, and mapped by small pages.
    #[must_use]
    pub const fn is_cma(self) -> bool {
        matches!(self, Self::Cma | Self::DefaultCma)
    }
}

/// One region that was reserved for somebody.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ReservedRegion<'t> {
    /// Its node's name with the unit address; `reserved` for the default CMA area that no node asks for.
    pub name: &'t str,
    /// Its bytes: of a node with several `reg` entries the first.
    pub range: PhysRange,
    /// What it is for.
    pub kind: RegionKind,
}

/// Regions in the order in which they were set up: dynamic ones, static ones by address, the default CMA area.
#[derive(Debug)]
pub struct ReservedRegions<'t> {
    slots: [ReservedRegion<'t>; MAX_REGIONS],
    len: usize,
}

impl Default for ReservedRegions<'_> {
    fn default() -> Self {
        Self::new()
    }
}

impl<'t> ReservedRegions<'t> {
    /// No regions.
    #[must_use]
    pub const fn new() -> Self {
        let none = ReservedRegion {
            name: "",
            range: PhysRange::new(PhysAddr::ZERO, PhysAddr::ZERO),
            kind: RegionKind::Reserved,
        };
        Self { slots: [none; MAX_REGIONS], len: 0 }
    }

    /// The regions.
    pub fn iter(&self) -> impl DoubleEndedIterator<Item = &ReservedRegion<'t>> + Clone {
        self.slots.iter().take(self.len)
    }

    /// The CMA areas among them.
    pub fn cma_areas(&self) -> impl Iterator<Item = &ReservedRegion<'t>> + Clone {
        self.iter().filter(|region| region.kind.is_cma())
    }

    /// The CMA area of devices that have none of their own.
    #[must_use]
    pub fn default_cma(&self) -> Option<&ReservedRegion<'t>> {
        self.iter().find(|region| region.kind == RegionKind::DefaultCma)
    }

    /// Takes out, with a line, every CMA area whose RAM has left the map since: the second look at the lowmem limits
    /// drops RAM when there is no highmem.
    pub fn drop_lost(&mut self, memblock: &Memblock<'_>) {
        let mut kept = 0;
        for index in 0..self.len {
            let Some(region) = self.slots.get(index).copied() else { break };
            if region.kind.is_cma() && !memblock.contains_map_memory(region.range) {
                log::error!("cma: {} at {} is lost: its RAM is not in use", region.name, region.range);
            } else if let Some(slot) = self.slots.get_mut(kept) {
                *slot = region;
                kept += 1;
            }
        }
        self.len = kept;
    }

    /// Takes out the CMA area of that very range.
    pub(crate) fn drop_area(&mut self, range: PhysRange) {
        let used = self.slots.get_mut(..self.len).unwrap_or_default();
        if let Some(at) = used.iter().position(|region| region.kind.is_cma() && region.range == range) {
            used.get_mut(at..).unwrap_or_default().rotate_left(1);
            self.len -= 1;
        }
    }

    /// How many there are.
    #[must_use]
    pub const fn len(&self) -> usize {
        self.len
    }

    /// Whether there are none.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Appends `region`; `false` (and nothing done) when the table is full.
    #[must_use]
    pub(super) fn push(&mut self, region: ReservedRegion<'t>) -> bool {
        let Some(slot) = self.slots.get_mut(self.len) else { return false };
        *slot = region;
        self.len += 1;
        true
    }
}
