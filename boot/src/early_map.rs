//! The first lowmem bank by sections, before the tree is parsed into memblock.
//!
//! Theory.      The head maps only the image. Grown memblock arrays and new translation tables must be reached before
//!              the final tables exist, so the bank that holds the image is mapped here: the image's own MiBs as the
//!              head's sections are (code runs there), the others writable and never executable. `paging_init` replaces
//!              every one of these entries.
//! No-map.      A MiB that a no-map region of the tree touches is left out: a CPU may read ahead wherever normal memory
//! is
//!              mapped. So RAM that shares such a MiB cannot be used before the final tables; whoever takes memory for
//!              the time until then asks [`EarlyBank::maps`].

use core::fmt;

use mm::addr::{PfnRange, PhysAddr, PhysRange, SECTION_SIZE};
use mm::layout::{PAGE_OFFSET, VMALLOC_END, VMALLOC_OFFSET};
use mm::paging::descriptor::FirstLevel;
use mm::paging::{Domain, EditError, Editor, Prot, TableError, Tables, section_index};
use mm::platform::{PhysMap, TlbControl};

const MIB: u64 = SECTION_SIZE as u64;

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

/// What of the first bank is mapped until the final tables are in use.
#[derive(Clone, Copy)]
pub struct EarlyBank<'a> {
    /// The bank. Its MiBs are mapped from the start of the linear mapping on.
    pub bank: PhysRange,
    /// What runs: its MiBs are executable, and mapped whatever the tree says.
    pub image: PhysRange,
    /// The first-level table: its MiB is mapped whatever the tree says.
    pub table: PhysRange,
    /// Whether a range touches memory that must not be mapped.
    pub touches_no_map: &'a dyn Fn(PhysRange) -> bool,
}

impl fmt::Debug for EarlyBank<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { bank, image, table, touches_no_map: _ } = self;
        f.debug_struct("EarlyBank")
            .field("bank", bank)
            .field("image", image)
            .field("table", table)
            .finish_non_exhaustive()
    }
}

impl EarlyBank<'_> {
    /// How the MiB at `base` is mapped; `None` when it is not.
    #[must_use]
    pub fn prot(&self, base: PhysAddr) -> Option<Prot> {
        let mib = PhysRange::new(base, base.saturating_add(MIB));
        if self.image.overlaps(mib) {
            Some(Prot::EARLY_RWX)
        } else if self.table.overlaps(mib) || !(self.touches_no_map)(mib) {
            Some(Prot::KERNEL_RW)
        } else {
            None
        }
    }

    /// Whether all of `range`, which must lie in the bank, is mapped.
    #[must_use]
    pub fn maps(&self, range: PhysRange) -> bool {
        let mut base = range.start.align_down(MIB);
        while base < range.end {
            if self.prot(base).is_none() {
                return false;
            }
            base = base.saturating_add(MIB);
        }
        true
    }
}

/// Maps the whole MiBs of the bank from `phys_offset` on at [`PAGE_OFFSET`], as far as lowmem can go below vmalloc's
/// `vmalloc` bytes, in the first-level table in use. Returns the frames from `phys_offset` to the end of what is
/// mapped.
///
/// # Errors
/// The table cannot be written; then nothing has changed.
///
/// # Safety
/// `early.table` must be the first-level table in use, and nothing but the sections of the running image and of that
/// table may be mapped at [`PAGE_OFFSET`] and above in the range that the bank covers.
pub unsafe fn map_first_bank<P: PhysMap + ?Sized, T: TlbControl + ?Sized>(
    ram: &P,
    tlb: &T,
    phys_offset: PhysAddr,
    early: &EarlyBank<'_>,
    vmalloc: u32,
) -> Result<PfnRange, EarlyMapError> {
    let room =
        VMALLOC_END.raw().saturating_sub(vmalloc).saturating_sub(VMALLOC_OFFSET).saturating_sub(PAGE_OFFSET.raw());
    let end = early.bank.end.min(phys_offset.saturating_add(u64::from(room))).align_down(MIB);
    // SAFETY: the caller vouches that these 16 KiB are the table in use.
    let tables = unsafe { Tables::new(ram, early.table.start) }.map_err(EarlyMapError::Table)?;
    // SAFETY: as above; what is replaced maps the same frames, and the image's with the same attributes.
    let mut editor = unsafe { Editor::new(tables, tlb) };
    let first = section_index(PAGE_OFFSET);
    let mut index = first;
    let mut base = phys_offset;
    while base < end {
        if let Some(prot) = early.prot(base) {
            let section = FirstLevel::Section { base, prot, domain: Domain::KERNEL };
            editor.set_first(index, section).map_err(EarlyMapError::Edit)?;
        }
        index += 1;
        base = base.saturating_add(MIB);
    }
    editor.sync_first(first, index);
    editor.flush_all();
    Ok(PhysRange::new(phys_offset, end.max(phys_offset)).whole_frames())
}

#[cfg(test)]
mod tests {
    use mm::paging::Exec;
    use mm::testing::{CountingTlb, FakeRam};

    use super::*;

    const BASE: u64 = 0x8000_0000;

    fn range(from: u64, to: u64) -> PhysRange {
        PhysRange::new(PhysAddr::new(BASE + from), PhysAddr::new(BASE + to))
    }

    /// What the MiBs of a bank of 16 MiB are after [`map_first_bank`] with these no-map regions.
    fn mapped(no_map: &[PhysRange]) -> Vec<Option<Prot>> {
        let (bank, table) = (range(0, 16 << 20), range(0x4000, 0x8000));
        let ram = FakeRam::new(&[table]);
        let touches = |mib: PhysRange| no_map.iter().any(|range| range.overlaps(mib));
        let early = EarlyBank { bank, image: range(0x10_0000, 0x27_6000), table, touches_no_map: &touches };
        let tlb = CountingTlb::default();
        // SAFETY: the test uses the table as a table only.
        let frames = unsafe { map_first_bank(&ram, &tlb, bank.start, &early, 240 << 20) }.unwrap();
        assert_eq!(frames.bytes(), bank);
        // SAFETY: as above.
        let tables = unsafe { Tables::new(&ram, table.start) }.unwrap();
        let index = section_index(PAGE_OFFSET);
        let mib = |offset: usize| match tables.first(index + offset).unwrap() {
            FirstLevel::Section { base, prot, .. } => {
                assert_eq!(base.raw(), BASE + ((offset as u64) << 20));
                Some(prot)
            }
            _ => None,
        };
        (0..16).map(mib).collect()
    }

    #[test]
    fn nothing_but_the_images_mibs_is_executable_before_the_final_tables() {
        for (mib, prot) in mapped(&[]).into_iter().enumerate() {
            let wanted = if (1..3).contains(&mib) { Exec::Allowed } else { Exec::Never };
            assert_eq!(prot.map(|prot| (prot.writable(), prot.exec)), Some((true, wanted)), "MiB {mib}");
        }
    }

    #[test]
    fn no_map_memory_is_not_mapped_before_the_final_tables_but_for_the_mibs_that_run() {
        // In the table's MiB and in the image's, one byte of a MiB, and over a border.
        let no_map =
            [range(0, 0x1000), range(0x28_0000, 0x29_0000), range(0x5f_ffff, 0x60_0000), range(8 << 20, (9 << 20) + 1)];
        let holes: Vec<usize> =
            (0..16).zip(mapped(&no_map)).filter(|(_, prot)| prot.is_none()).map(|(mib, _)| mib).collect();
        assert_eq!(holes, [5, 8, 9]);
    }
}
