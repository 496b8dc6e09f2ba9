//! The first lowmem bank by sections, before the tree is parsed into memblock.
//!
//! Theory.      The head maps only the image. Grown memblock arrays and new translation tables must be reached before
//!              the final tables exist, so the bank that holds the image is mapped here, writable and executable as
//!              the head's own sections are; `paging_init` replaces every one of these entries.
//! Not here.    No-map regions inside the bank: nothing is read or written there, and `paging_init` unmaps them.

use core::fmt;

use mm::addr::{PfnRange, PhysAddr, PhysRange, SECTION_SIZE};
use mm::layout::{PAGE_OFFSET, VMALLOC_END, VMALLOC_OFFSET};
use mm::paging::descriptor::FirstLevel;
use mm::paging::{Domain, EditError, Editor, Prot, TableError, Tables, section_index};
use mm::platform::{PhysMap, TlbControl};

/// Why the bank was not mapped.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum EarlyMapError {
    /// The first-level table is out of reach.
    Table(TableError),
    /// A descriptor was refused.
    Edit(EditError),
}

impl fmt::Display for EarlyMapError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the first translation table cannot be written: {self:?}")
    }
}

/// Maps the whole MiBs of `bank` from `phys_offset` on at [`PAGE_OFFSET`], as far as lowmem can go below vmalloc's
/// `vmalloc` bytes, in the first-level table at `root`. Returns the frames that are mapped now, from `phys_offset` on.
///
/// # Errors
/// The table cannot be written; then nothing has changed.
///
/// # Safety
/// `root` must be the first-level table in use, and nothing but the running image's sections may be mapped at
/// [`PAGE_OFFSET`] and above in the range that `bank` covers.
pub unsafe fn map_first_bank<P: PhysMap + ?Sized, T: TlbControl + ?Sized>(
    ram: &P,
    tlb: &T,
    root: PhysAddr,
    phys_offset: PhysAddr,
    bank: PhysRange,
    vmalloc: u32,
) -> Result<PfnRange, EarlyMapError> {
    let room =
        VMALLOC_END.raw().saturating_sub(vmalloc).saturating_sub(VMALLOC_OFFSET).saturating_sub(PAGE_OFFSET.raw());
    let end = bank.end.min(phys_offset.saturating_add(u64::from(room))).align_down(u64::from(SECTION_SIZE));
    // SAFETY: the caller vouches that these 16 KiB are the table in use.
    let tables = unsafe { Tables::new(ram, root) }.map_err(EarlyMapError::Table)?;
    // SAFETY: as above; what is replaced maps the same frames with the same attributes.
    let mut editor = unsafe { Editor::new(tables, tlb) };
    let first = section_index(PAGE_OFFSET);
    let mut index = first;
    let mut base = phys_offset;
    while base < end {
        let section = FirstLevel::Section { base, prot: Prot::EARLY_RWX, domain: Domain::KERNEL };
        editor.set_first(index, section).map_err(EarlyMapError::Edit)?;
        index += 1;
        base = base.saturating_add(u64::from(SECTION_SIZE));
    }
    editor.sync_first(first, index);
    editor.flush_all();
    Ok(PhysRange::new(phys_offset, end.max(phys_offset)).whole_frames())
}
