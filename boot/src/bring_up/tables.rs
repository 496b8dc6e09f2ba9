//! From the head's tables to the final ones.

use mm::addr::{PhysAddr, PhysRange, SECTION_SIZE};
use mm::layout::{LinearMap, PAGE_OFFSET, VirtualLayout};
use mm::memblock::{AllocRequest, Memblock};
use mm::paging::regs::TTBR0_S;
use mm::paging::{Editor, Tables};
use mm::phase::{EarlyMm, PagedMm};

use super::no_map::NoMap;
use super::{BootError, Given, Machine};
use crate::early_map::{EarlyBank, EarlyMapError};
use crate::lowmem::LowmemBounds;
use crate::paging_init::{Bank, BootMemory, PagingInput, paging_init};
use crate::reserve::{MAX_REGIONS, ReservedRegions};

/// Bytes of a table page, and its alignment.
const TABLE_PAGE: u64 = 4096;

/// Memblock as `paging_init` sees it.
struct TableMemory<'e, 'm, M> {
    memblock: &'e mut Memblock<'m>,
    machine: &'e M,
    lowmem: PhysRange,
    /// Where the sections of the image's bank end.
    mapped_end: PhysAddr,
    /// What is mapped; `None` when all of lowmem is.
    early: Option<EarlyBank<'e>>,
}

impl<M> TableMemory<'_, '_, M> {
    /// The highest free page below `limit` that is mapped by now.
    fn take_mapped(&mut self, mut limit: PhysAddr) -> Option<PhysAddr> {
        loop {
            let at = self.memblock.find(&AllocRequest { max: limit, ..AllocRequest::new(TABLE_PAGE, TABLE_PAGE) })?;
            let page = PhysRange::new(at, at.saturating_add(TABLE_PAGE));
            if self.early.is_none_or(|early| early.maps(page)) {
                return self.memblock.reserve(page).ok().map(|()| at);
            }
            limit = at.align_down(u64::from(SECTION_SIZE));
        }
    }
}

impl<M: Machine> BootMemory for TableMemory<'_, '_, M> {
    fn bank(&self, index: usize) -> Option<Bank> {
        let region = self.memblock.memory().get(index)?;
        Some(Bank { range: region.range(), no_map: region.is_nomap() })
    }

    fn take_table(&mut self) -> Option<PhysAddr> {
        self.take_mapped(self.memblock.current_limit()).or_else(|| {
            // The limit is Linux's, which has only as much of lowmem mapped by now as it needs no table for. Here
            // nearly all of the image's bank is.
            self.memblock.set_current_limit(self.memblock.current_limit().max(self.mapped_end));
            self.take_mapped(self.memblock.current_limit())
        })
    }

    fn lowmem_is_mapped(&mut self) {
        self.early = None;
        self.memblock.set_current_limit(self.lowmem.end);
        // SAFETY: `paging_init` calls this when every bank below lowmem's limit is mapped but for its no-map regions.
        unsafe { self.machine.linear_map_is(self.lowmem.whole_frames()) }
    }
}

/// Writes the final tables over the head's, in place, and moves the vectors.
pub(super) fn switch<'m, M: Machine>(
    mut early: EarlyMm<'m>,
    bounds: &LowmemBounds,
    regions: &ReservedRegions<'_>,
    mapped_end: PhysAddr,
    no_map: &NoMap<'_, '_, M>,
    given: &Given<'_, M>,
) -> Result<PagedMm<'m>, BootError> {
    let phys_offset = PhysAddr::new(u64::from(given.head.phys_offset));
    let linear = LinearMap::new(PAGE_OFFSET, phys_offset, bounds.lowmem_limit)
        .ok_or(BootError::ImageOutsideRam { image: given.image.whole })?;
    let layout = VirtualLayout::new(linear);
    let root = PhysAddr::new(u64::from(given.head.table));
    // SAFETY: these 16 KiB are the first-level table in use; nobody else reads or writes it during the boot.
    let tables = unsafe { Tables::new(given.machine.ram(), root) }.map_err(EarlyMapError::Table)?;
    // SAFETY: there is no other editor now, and `paging_init` never unmaps what the boot runs on.
    let mut editor = unsafe { Editor::new(tables, given.machine.tlb()) };
    let mut remap = [PhysRange::default(); MAX_REGIONS];
    let areas = regions.cma_areas().count();
    for (slot, area) in remap.iter_mut().zip(regions.cma_areas()) {
        *slot = area.range;
    }
    let input = PagingInput {
        layout,
        image: &given.image,
        remap: remap.get(..areas).unwrap_or(&remap),
        dtb: Some(given.dtb()),
        shareable: given.head.ttbr0 & TTBR0_S != 0,
        probe: &|frame| mm::addr::Pfn::containing(frame).is_some_and(|frame| given.machine.answers(frame)),
    };
    let lowmem = linear.phys_range();
    let touches_no_map = |range| no_map.touches(range);
    let bank = given.early_bank(PhysRange::new(phys_offset, mapped_end), &touches_no_map);
    let machine = given.machine;
    let mut memory = TableMemory { memblock: early.memblock(), machine, lowmem, mapped_end, early: Some(bank) };
    let summary = paging_init(&mut editor, &input, &mut memory)?;
    given.machine.tables_are_final();
    log::debug!("paging: {} sections, {} pages, {} tables", summary.sections, summary.pages, summary.tables);
    Ok(early.paged(layout))
}
