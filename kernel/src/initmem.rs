//! Init memory: what only the boot needs, given to the page allocator at the boot's end.
//!
//! Theory.      The linker script gathers the boot's functions and its first arrays on pages of their own. They are
//!              made writable and execute-never by one store a page, so no page is ever writable and executable; then
//!              filled with an undefined instruction and freed. A call into them that should not be faults at once,
//!              first because no page of lowmem can be executed.
//! Invariants.  Nothing that runs after the boot leads there: `tests/tests/image.rs` looks at every reference of the
//!              linked image.
//! Source.      Linux: `free_initmem`, `poison_init_mem`, `fix_kernmem_perms`.

use core::fmt;

use mm::addr::{PAGE_SIZE, PfnRange, PhysAddr};
use mm::layout::LinearMap;
use mm::page_alloc::HandOverError;
use mm::paging::regs::TTBR0_S;
use mm::paging::{EditError, Editor, Prot, Run, TableError, Tables, page_index, section_index};
use mm::platform::PhysMap;

use boot::bring_up::Booted;
use boot::head::HeadInfo;

use crate::arch::armv7::irq::ArmIrq;
use crate::arch::armv7::mmu::ArmTlb;
use crate::image;
use crate::ram::RAM;

/// What freed instructions read as: `udf #18`, undefined for ever (Arm ARM DDI 0406C A8.8.247).
const POISON: u32 = 0xe7f0_01f2;

/// Why init memory was not freed.
#[derive(Clone, Copy, Debug)]
pub enum InitMemError {
    /// The tables cannot be read.
    Table(TableError),
    /// A page of it cannot be remapped.
    Edit(PhysAddr, EditError),
    /// A page of it is not mapped by a table.
    NotMapped(PhysAddr),
    /// The page allocator does not take it.
    HandOver(HandOverError),
}

impl fmt::Display for InitMemError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("init memory: ")?;
        match self {
            Self::Table(error) => error.fmt(f),
            Self::Edit(page, error) => write!(f, "{page} cannot be remapped: {error:?}"),
            Self::NotMapped(page) => write!(f, "{page} is not mapped by a page"),
            Self::HandOver(error) => error.fmt(f),
        }
    }
}

/// Frees it, with Linux's line.
///
/// # Errors
/// [`InitMemError`]; what came before is freed.
///
/// # Safety
/// No function and no variable of the boot may be used from now on; nobody else edits the tables meanwhile.
pub unsafe fn free(head: &HeadInfo, booted: &mut Booted<ArmIrq>) -> Result<(), InitMemError> {
    let linear = booted.mm.layout().linear;
    let mut pages = 0;
    for range in image::init_memory(head) {
        let frames = range.whole_frames();
        // SAFETY: the caller's.
        unsafe { make_data(head, &linear, frames) }?;
        if let Some(bytes) = RAM.frames_ptr(frames.start, frames.pages()) {
            let words = (frames.pages() * PAGE_SIZE / 4) as usize;
            // SAFETY: the frames are mapped, writable by now, and the caller says that nobody uses their bytes.
            let words = unsafe { core::slice::from_raw_parts_mut(bytes.cast::<u32>().as_ptr(), words) };
            words.fill(POISON);
        }
        pages += booted.mm.allocator_mut().free_reserved(frames).map_err(InitMemError::HandOver)?.managed;
    }
    log::info!("Freeing unused kernel image (initmem) memory: {}K", pages * (PAGE_SIZE / 1024));
    Ok(())
}

/// Maps `frames` in the linear map as all of lowmem is: writable, never executable.
///
/// # Safety
/// Nobody executes them, and nobody else edits the tables.
unsafe fn make_data(head: &HeadInfo, linear: &LinearMap, frames: PfnRange) -> Result<(), InitMemError> {
    // SAFETY: this is the table in use; it is used as tables only.
    let tables = unsafe { Tables::new(&RAM, PhysAddr::new(u64::from(head.table))) }.map_err(InitMemError::Table)?;
    let tlb = ArmTlb::detect();
    // SAFETY: the caller's; the pages stay mapped to the same frames.
    let mut editor = unsafe { Editor::new(tables, &tlb) };
    let prot = Prot::KERNEL_RW.with_shareable(head.ttbr0 & TTBR0_S != 0);
    for page in frames.iter().map(mm::addr::Pfn::base) {
        let va = linear.phys_to_virt(page).ok_or(InitMemError::NotMapped(page))?;
        let index = section_index(va);
        let table = tables.pair_table(index).ok_or(InitMemError::NotMapped(page))?;
        let run = Run { index, page: page_index(va), pages: 1 };
        let written = editor.fill_small(table, run, page, prot).and_then(|()| editor.sync_page(table));
        written.map_err(|error| InitMemError::Edit(page, error))?;
        editor.flush_page(va);
    }
    Ok(())
}
