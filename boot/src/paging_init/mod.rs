//! The final translation tables of the kernel, written in place into the first level that the head code built.
//!
//! Theory.      The code that runs here, its stack, the console and the tables themselves are mapped by the tables
//!              being changed. So no word goes through "nothing": a second-level table is complete and synced before
//!              one store of its first-level word replaces the section, and both say the same physical address. Memory
//!              that nobody uses at that moment (all of lowmem outside the image's MiBs) is broken before it is made
//!              anew, so that no TLB ever holds a section and a page of it together.
//! Steps.       As Linux's `paging_init`: prepare_page_table, map_lowmem, map_kernel, dma_contiguous_remap,
//!              early_fixmap_shutdown, devicemaps_init, kmap_init. The eighth, bootmem_init, is the caller's.
//! Entry.       The first level has sections for the image and the first bank of lowmem at their linear addresses,
//!              the device tree at `DTB_BASE`, the fixmap's table page, and an identity section.
//! Invariants.  1. At every moment each first-level word has its old or its final meaning (or, outside of what runs,
//!              none).
//!              2. Afterwards nothing else than the areas of `VirtualLayout` is mapped, nothing is writable and
//!              executable, and no no-map frame is in the linear map.
//! On `Err`     some words are final and others old: the code still runs, and can say why the boot stops.
//! Source.      Linux `arch/arm/mm/mmu.c`; Arm ARM DDI 0406C B3.10.1.
#![cfg_attr(not(test), forbid(unsafe_code))]

mod contents;
mod painter;
#[cfg(test)]
mod tests;

use core::fmt;

use mm::addr::{PhysAddr, PhysRange, VirtAddr};
use mm::layout::{DTB_BASE, DTB_SIZE, FIXADDR_START, FixmapSlot, VECTORS_BASE, VirtualLayout};
use mm::paging::{EditError, Editor, FIRST_LEVEL_SIZE, FIRST_LEVEL_WORDS, Prot, Run, page_index, section_index};
use mm::platform::{PhysMap, TlbControl};

use crate::image::ImageLayout;
use contents::{Contents, Cursor};
use painter::Painter;

/// A range of RAM as memblock knows it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Bank {
    /// Its bytes; partial frames at the edges are not mapped.
    pub range: PhysRange,
    /// It must not be in the linear map.
    pub no_map: bool,
}

/// The early memory as the tables need it: memblock behind a small face.
pub trait BootMemory {
    /// Bank `index` in ascending order, highmem included; `None` past the last one. Taking tables does not change the
    /// banks.
    fn bank(&self, index: usize) -> Option<Bank>;

    /// A 4 KiB frame for tables, mapped at its linear address by now; its bytes are whatever was there.
    fn take_table(&mut self) -> Option<PhysAddr>;

    /// All of lowmem is mapped: tables may come from anywhere in it from now on.
    fn lowmem_is_mapped(&mut self);
}

/// What the tables are made from.
#[derive(Clone, Copy)]
pub struct PagingInput<'a> {
    /// The areas; its linear map ends at lowmem's limit.
    pub layout: VirtualLayout,
    /// The running image.
    pub image: &'a ImageLayout,
    /// CMA areas and pools: small pages, so that attributes can change later.
    pub remap: &'a [PhysRange],
    /// The device tree.
    pub dtb: Option<PhysRange>,
    /// Memory is kept coherent among CPUs (S); must say what TTBR0 says.
    pub shareable: bool,
    /// Whether there is RAM behind a frame: absent RAM swallows writes without a fault.
    pub probe: &'a dyn Fn(PhysAddr) -> bool,
}

impl fmt::Debug for PagingInput<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PagingInput")
            .field("layout", &self.layout)
            .field("image", &self.image)
            .field("remap", &self.remap)
            .field("dtb", &self.dtb)
            .finish_non_exhaustive()
    }
}

/// What was written.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct PagingSummary {
    /// Table pages taken (the fixmap's is the image's own).
    pub tables: u32,
    /// Sections mapped.
    pub sections: u32,
    /// Small pages mapped.
    pub pages: u32,
}

/// Why the boot cannot go on.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum PagingError {
    /// A part of the image or the first-level table is not whole pages in lowmem, or not where it belongs.
    BadImage(PhysRange),
    /// No memory was left for the table of this address.
    NoTable(VirtAddr),
    /// There is no RAM behind this frame, which was to hold a table.
    DeadFrame(PhysAddr),
    /// The table of this address could not be written.
    Edit(VirtAddr, EditError),
}

impl fmt::Display for PagingError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::BadImage(range) => write!(f, "paging: image part {range} is not whole pages inside lowmem"),
            Self::NoTable(va) => write!(f, "paging: no memory for the table of {va}"),
            Self::DeadFrame(pa) => write!(f, "paging: no RAM behind table frame {pa}"),
            Self::Edit(va, error) => write!(f, "paging: cannot write the table of {va}: {error:?}"),
        }
    }
}

/// Writes the final tables (Linux: `paging_init`). See the module.
///
/// Cost: about 7 instructions a small page and 250 a section (optimised).
///
/// # Errors
/// [`PagingError`]; the boot cannot go on, but code and console still run.
pub fn paging_init<P, T, M>(
    editor: &mut Editor<'_, P, T>,
    input: &PagingInput<'_>,
    memory: &mut M,
) -> Result<PagingSummary, PagingError>
where
    P: PhysMap + ?Sized,
    T: TlbControl + ?Sized,
    M: BootMemory + ?Sized,
{
    check_image(editor.tables().root(), input)?;
    let contents = Contents::new(&input.layout.linear, input.image, editor.tables().root(), input.shareable);
    let mut painter = Painter::new(editor, memory, input, &contents);
    prepare_page_table(&mut painter);
    map_lowmem(&mut painter)?;
    painter.memory.lowmem_is_mapped();
    map_kernel(&mut painter)?;
    dma_contiguous_remap(&mut painter)?;
    early_fixmap_shutdown(&mut painter)?;
    devicemaps_init(&mut painter)?;
    kmap_init(&mut painter)?;
    Ok(painter.summary)
}

/// The image's parts are whole pages in lowmem; what lies inside another part does.
fn check_image(l1: PhysAddr, input: &PagingInput<'_>) -> Result<(), PagingError> {
    let (image, lowmem) = (input.image, input.layout.linear.phys_range());
    let page = |at: PhysAddr| PhysRange::new(at, at.saturating_add(u64::from(mm::addr::PAGE_SIZE)));
    let table = PhysRange::new(l1, l1.saturating_add(u64::from(FIRST_LEVEL_SIZE)));
    let [lower_guard, upper_guard] = image.guards;
    let parts = [
        (table, lowmem),
        (image.text, lowmem),
        (image.rodata, lowmem),
        (image.data, lowmem),
        (lower_guard, image.data),
        (upper_guard, image.data),
        (page(image.vectors), image.text),
        (page(image.fixmap_table), image.data),
    ];
    for (part, around) in parts {
        let whole = part.whole_frames().bytes() == part;
        if !part.is_empty() && (!whole || !around.contains_range(part)) {
            return Err(PagingError::BadImage(part));
        }
    }
    Ok(())
}

/// Clears everything outside lowmem that the rest of the boot does not run on: also the identity mapping.
fn prepare_page_table<P, T, M>(painter: &mut Painter<'_, '_, P, T, M>)
where
    P: PhysMap + ?Sized,
    T: TlbControl + ?Sized,
    M: BootMemory + ?Sized,
{
    let lowmem = painter.lowmem_indices();
    let dtb = section_index(DTB_BASE);
    let dtb_end = if painter.input.dtb.is_some() { dtb + (DTB_SIZE >> 20) as usize } else { dtb };
    let fixmap = section_index(FIXADDR_START);
    painter.editor.clear_first(0, lowmem.start);
    painter.editor.clear_first(lowmem.end, dtb);
    painter.editor.clear_first(dtb_end, fixmap);
    painter.editor.clear_first((fixmap | 1) + 1, FIRST_LEVEL_WORDS);
    painter.finish();
}

/// Maps lowmem's RAM but for what is no-map: sections where it fills a MiB, pages elsewhere. The image's own MiBs stay
/// as they are (Linux: `map_lowmem`).
fn map_lowmem<P, T, M>(painter: &mut Painter<'_, '_, P, T, M>) -> Result<(), PagingError>
where
    P: PhysMap + ?Sized,
    T: TlbControl + ?Sized,
    M: BootMemory + ?Sized,
{
    let mut cursor = Cursor::default();
    for index in painter.lowmem_indices() {
        if !painter.contents.is_kernel(painter.mib(index)) {
            painter.paint_unused(index, &mut cursor)?;
        }
    }
    painter.finish();
    Ok(())
}

/// Maps the MiBs that the image and the first-level table touch, each part with its own protection (Linux:
/// `map_kernel`).
fn map_kernel<P, T, M>(painter: &mut Painter<'_, '_, P, T, M>) -> Result<(), PagingError>
where
    P: PhysMap + ?Sized,
    T: TlbControl + ?Sized,
    M: BootMemory + ?Sized,
{
    let mut cursor = Cursor::default();
    for index in painter.indices_of(painter.contents.kernel()) {
        let mib = painter.mib(index);
        if !painter.contents.is_kernel(mib) {
            continue;
        }
        let changes = painter.input.remap.iter().chain(&painter.input.image.init);
        if changes.into_iter().any(|range| range.overlaps(mib)) {
            painter.paint_linear_small(index, &mut cursor)?;
        } else {
            painter.paint_linear(index, &mut cursor)?;
        }
    }
    painter.finish();
    Ok(())
}

/// Turns the sections of CMA areas and pools into small pages (Linux: `dma_contiguous_remap`).
fn dma_contiguous_remap<P, T, M>(painter: &mut Painter<'_, '_, P, T, M>) -> Result<(), PagingError>
where
    P: PhysMap + ?Sized,
    T: TlbControl + ?Sized,
    M: BootMemory + ?Sized,
{
    for range in painter.input.remap {
        let mut cursor = Cursor::default();
        for index in painter.indices_of(*range) {
            painter.split_linear(index, &mut cursor)?;
        }
    }
    painter.finish();
    Ok(())
}

/// Leaves the fixmap's table page with the console alone, now as a device that cannot be executed (Linux:
/// `early_fixmap_shutdown`).
fn early_fixmap_shutdown<P, T, M>(painter: &mut Painter<'_, '_, P, T, M>) -> Result<(), PagingError>
where
    P: PhysMap + ?Sized,
    T: TlbControl + ?Sized,
    M: BootMemory + ?Sized,
{
    let console = FixmapSlot::EarlyConsole.address().unwrap_or(FIXADDR_START);
    let at = |error: EditError| PagingError::Edit(console, error);
    let registers = painter.editor.tables().walk(console).map_err(|error| at(error.into()))?;
    let (page, index, slot) = (painter.input.image.fixmap_table, section_index(console), page_index(console));
    if let Some(registers) = registers {
        let run = Run { index, page: slot, pages: 1 };
        painter.editor.fill_small(page, run, registers.pa, Prot::DEVICE_RW).map_err(at)?;
        painter.summary.pages += 1;
    }
    let below = Run { index, page: 0, pages: slot };
    let kept = usize::from(registers.is_some());
    let above = Run { index, page: slot + kept, pages: mm::paging::HALF_WORDS - slot - kept };
    painter.editor.clear_run(page, below).map_err(at)?;
    painter.editor.clear_run(page, above).map_err(at)?;
    painter.editor.clear_half(page, index ^ 1).map_err(at)?;
    painter.link_pair(index, page)?;
    painter.finish();
    Ok(())
}

/// Maps the device tree and the vectors, both read-only; vmalloc's area is empty since `prepare_page_table` (Linux:
/// `devicemaps_init`).
fn devicemaps_init<P, T, M>(painter: &mut Painter<'_, '_, P, T, M>) -> Result<(), PagingError>
where
    P: PhysMap + ?Sized,
    T: TlbControl + ?Sized,
    M: BootMemory + ?Sized,
{
    if let Some(dtb) = painter.input.dtb {
        painter.paint_dtb(dtb)?;
    }
    let index = section_index(VECTORS_BASE);
    let page = painter.new_pair_table(index)?;
    let run = Run { index, page: page_index(VECTORS_BASE), pages: 1 };
    let prot = Prot::KERNEL_RX.with_shareable(painter.input.shareable);
    let filled = painter.editor.fill_small(page, run, painter.input.image.vectors, prot);
    filled.map_err(|error| PagingError::Edit(VECTORS_BASE, error))?;
    painter.summary.pages += 1;
    painter.link_pair(index, page)?;
    painter.finish();
    Ok(())
}

/// Gives pkmap its table page, empty (Linux: `kmap_init`).
fn kmap_init<P, T, M>(painter: &mut Painter<'_, '_, P, T, M>) -> Result<(), PagingError>
where
    P: PhysMap + ?Sized,
    T: TlbControl + ?Sized,
    M: BootMemory + ?Sized,
{
    let index = section_index(painter.input.layout.pkmap_start());
    let page = painter.new_pair_table(index)?;
    painter.link_pair(index, page)?;
    painter.finish();
    Ok(())
}
