//! The boot sequence: from a validated device tree to a live page allocator.
//!
//! Picture.
//! ```text
//! ValidFdt   banks, reservations          -> EarlyMm   memblock: the page lies in a free range
//! EarlyMm    final tables                 -> PagedMm   the page is mapped, or is highmem
//! PagedMm    zones sized, one Page a frame             Page: reserved
//! PagedMm    hand-over                    -> Mm        Page: head or inside of a free block
//! Mm         watermarks, pagesets, CMA                 pages can be allocated
//! ```
//! Each step prints Linux's lines, in Linux's order. Nothing here touches the machine but through [`Machine`].

mod arrays;
mod cpus;
mod error;
mod follow;
mod memory;
mod no_map;
mod nodes;
mod pages;
mod probe;
mod slices;
mod summary;
mod tables;
#[cfg(test)]
mod tests;

pub use cpus::PerCpu;
pub use error::BootError;
pub use memory::BASIC_NEED;
pub use mm::report::{ImageSizes, MemoryLine};
pub use summary::Timeline;

use mm::addr::{Pfn, PfnRange, PhysAddr, PhysRange};
use mm::layout::PAGE_OFFSET;
use mm::memblock::{Memblock, Region};
use mm::page_alloc::{CmaArea, DefaultCore};
use mm::phase::{EarlyMm, Mm};
use mm::platform::{PhysMap, TlbControl};
use mm::sync::CurrentCpu;
use no_map::NoMap;

use crate::cmdline::{BootArgs, FailArg};
use crate::early_map::EarlyBank;
use crate::fdt::ValidFdt;
use crate::head::{HeadInfo, TABLE_SIZE};
use crate::image::ImageLayout;
use crate::info::BootInfo;
use crate::lowmem::{self, LowmemBounds};
use crate::reserve::ReservedRegions;
use crate::shown::Shown;

/// One past the last byte that can be reached without LPAE.
const FOUR_GIB: PhysAddr = PhysAddr::new(1 << 32);

/// What the sequence asks of the machine.
pub trait Machine {
    /// Reaches frames through the linear map.
    type Ram: PhysMap + Sync + 'static;
    /// Maintains tables.
    type Tlb: TlbControl;
    /// Masks interrupts.
    type Irq: CurrentCpu;

    /// The linear map.
    fn ram(&self) -> &'static Self::Ram;

    /// Table maintenance.
    fn tlb(&self) -> &Self::Tlb;

    /// Tells the linear map which frames it reaches from now on.
    ///
    /// # Safety
    /// Every frame of `frames` that is RAM and not no-map must be mapped at its linear address. Until the tables are
    /// final that may leave out whole MiBs that no-map memory touches ([`crate::early_map`]): nothing there is used.
    unsafe fn linear_map_is(&self, frames: PfnRange);

    /// Whether the frame, mapped or not, keeps what is written to it (absent RAM swallows writes); what it held is put
    /// back.
    fn answers(&self, frame: Pfn) -> bool;

    /// The final tables are in use: the vectors lie at 0xffff_0000 now.
    fn tables_are_final(&self);

    /// Ticks of the cycle counter since the entry.
    fn cycles(&self) -> Option<u32>;
}

/// What the sequence is given.
#[derive(Debug)]
pub struct Given<'a, M> {
    /// The machine.
    pub machine: &'a M,
    /// What the head found.
    pub head: &'a HeadInfo,
    /// Where the image lies.
    pub image: ImageLayout,
    /// Bytes of the image's parts, for the log.
    pub sizes: ImageSizes,
    /// The device tree.
    pub fdt: ValidFdt<'static>,
    /// What it says besides memory.
    pub info: BootInfo<'static>,
    /// The boot arguments.
    pub args: BootArgs<'static>,
    /// MPIDR of the CPU that boots.
    pub mpidr: u32,
    /// The template of the per-CPU variables.
    pub percpu: &'static [u8],
    /// The first arrays of memblock: 128 regions each, as Linux's.
    pub arrays: (&'static mut [Region], &'static mut [Region]),
    /// Whether the CPU's data cache may alias.
    pub aliasing_cache: bool,
}

/// The machine after the boot.
#[derive(Debug)]
pub struct Booted<I: CurrentCpu + 'static> {
    /// The page allocator and what stays of memblock.
    pub mm: Mm<'static, I, DefaultCore<'static>>,
    /// Lowmem's limits.
    pub bounds: LowmemBounds,
    /// Contiguous-memory areas and device pools.
    pub regions: ReservedRegions<'static>,
    /// The contiguous-memory areas among them, to allocate from.
    pub cma: &'static [CmaArea<'static, I>],
    /// The per-CPU areas.
    pub percpu: PerCpu,
    /// When each phase was over.
    pub timeline: Timeline,
    /// What the `Memory:` line counts.
    pub memory: MemoryLine,
}

/// Brings memory management up.
///
/// # Errors
/// [`BootError`]: bad input that leaves nothing to go on with, in one line.
pub fn bring_up<M: Machine>(mut given: Given<'_, M>) -> Result<Booted<M::Irq>, BootError>
where
    M::Irq: 'static,
{
    let mut timeline = Timeline::default();
    log::info!("OF: fdt: Machine model: {}", Shown(given.info.model));
    given.fdt.require_memory()?;
    let (memory, reserved) = (core::mem::take(&mut given.arrays.0), core::mem::take(&mut given.arrays.1));
    let mut early = EarlyMm::new(Memblock::new(memory, reserved));

    let vmalloc = lowmem::vmalloc_bytes(given.args.vmalloc.map(u64::from), PAGE_OFFSET);
    let no_map = NoMap::of(&given);
    let image_bank = memory::map_image_bank(&given, &no_map, vmalloc)?;
    let mapped_end = image_bank.mapped_end;
    log::info!("Memory policy: Data cache writealloc");
    arrays::let_grow(early.memblock(), &given, mapped_end);
    memory::add_banks(early.memblock(), &image_bank, &no_map, &given)?;
    let (bounds, mut regions) = memory::reserve_all(early.memblock(), vmalloc, mapped_end, &given)?;
    timeline.memblock = given.machine.cycles();

    let mut paged = tables::switch(early, &bounds, &regions, mapped_end, &no_map, &given)?;
    timeline.tables = given.machine.cycles();

    let nodes = nodes::Nodes::find(paged.memblock(), &given);
    let plan = pages::plan_zones(paged.memblock(), &bounds, &nodes, &given)?;
    timeline.memmap_start = given.machine.cycles();
    let map = pages::build_memmap(paged.memblock(), &plan, &given)?;
    timeline.memmap = given.machine.cycles();

    let percpu = cpus::first_chunk(paged.memblock(), &given)?;
    let mut zones = pages::build_allocator(paged.memblock(), map, &plan, &nodes, &given)?;
    follow::switch_on(paged.memblock(), &mut zones, &given)?;
    log::info!("Kernel command line: {}", Shown(given.info.bootargs));
    given.args.report();

    paged.memblock().validate()?;
    timeline.hand_over_start = given.machine.cycles();
    let mut at_highmem = || timeline.hand_over_lowmem = given.machine.cycles();
    let mut mm = paged.hand_over(zones, given.machine.ram(), &mut at_highmem)?;
    timeline.hand_over = given.machine.cycles();
    let memory = summary::memory_line(&mm, &regions, given.sizes)?;
    timeline.memory_line = given.machine.cycles();

    pages::set_watermarks(&mm, &plan);
    // Before the pagesets: their size follows from what each zone manages.
    pages::lend_cma(&mut mm, &mut regions)?;
    pages::install_pagesets(&mut mm, percpu.cpus() as usize, &given)?;
    pages::install_counters(&mut mm, percpu.cpus() as usize, &given)?;
    let cma = pages::cma_areas(&mm, &regions, &given)?;
    // Not before the boot has what it needs: it has no other way to get it.
    mm.allocator().set_fail_page_alloc(given.args.fail_page_alloc.map(FailArg::attributes));
    Ok(Booted { mm, bounds, regions, cma, percpu, timeline, memory })
}

impl<M> Given<'_, M> {
    /// Where the device tree lies.
    fn dtb(&self) -> PhysRange {
        let start = PhysAddr::new(u64::from(self.head.dtb));
        PhysRange::new(start, start.saturating_add(u64::from(self.fdt.total_size())))
    }

    /// What is mapped of the image's bank before the final tables are.
    fn early_bank<'t>(&self, bank: PhysRange, touches_no_map: &'t dyn Fn(PhysRange) -> bool) -> EarlyBank<'t> {
        EarlyBank { bank, image: self.image.whole, table: self.table(), touches_no_map }
    }

    /// The first-level table.
    fn table(&self) -> PhysRange {
        let start = PhysAddr::new(u64::from(self.head.table));
        PhysRange::new(start, start.saturating_add(u64::from(TABLE_SIZE)))
    }
}
