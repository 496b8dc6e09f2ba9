//! What lies in memory already when the kernel starts: its image, first-level table, DTB, initrd.
//!
//! Source.      Linux arch/arm/mm/init.c: arm_memblock_init; init/initramfs.c: reserve_initrd_mem.
#![forbid(unsafe_code)]

use mm::addr::{PAGE_SIZE, PhysAddr, PhysRange};
use mm::memblock::Memblock;

use super::ReserveError;

const PAGE: u64 = PAGE_SIZE as u64;

/// The places of what lies in memory already, byte-exact.
#[derive(Clone, Copy, Debug)]
pub struct FixedRanges {
    /// Everything from the first byte of text to the end of `.bss` and stacks.
    pub image: PhysRange,
    /// The first-level translation table.
    pub tables: PhysRange,
    /// The device tree blob.
    pub dtb: PhysRange,
    /// The initrd that `/chosen` names.
    pub initrd: Option<PhysRange>,
}

impl FixedRanges {
    /// Who of these shares a byte with `range`, by the name that log lines give it.
    pub(super) fn owner_in(&self, range: PhysRange) -> Option<&'static str> {
        let initrd = self.initrd.unwrap_or_default();
        let all = [
            ("the kernel image", self.image),
            ("the first-level table", self.tables),
            ("the device tree blob", self.dtb),
            ("the initrd", initrd),
        ];
        all.into_iter().find(|(_, taken)| taken.overlaps(range)).map(|(name, _)| name)
    }
}

/// Reserves them all; returns the initrd if it can be used.
pub(super) fn reserve(memblock: &mut Memblock<'_>, fixed: &FixedRanges) -> Result<Option<PhysRange>, ReserveError> {
    if !memblock.contains_map_memory(fixed.image) {
        return Err(ReserveError::ImageOutsideRam(fixed.image));
    }
    memblock.reserve(fixed.image)?;
    let initrd = match fixed.initrd.filter(|initrd| !initrd.is_empty()) {
        Some(initrd) => reserve_initrd(memblock, initrd, fixed)?,
        None => None,
    };
    memblock.reserve(fixed.tables)?;
    memblock.reserve(fixed.dtb)?;
    Ok(initrd)
}

/// Whole pages are reserved, because they are freed as such once the initrd is unpacked. The table and the DTB count
/// by the byte: boot loaders put the DTB right behind the initrd, into its last page.
fn reserve_initrd(
    memblock: &mut Memblock<'_>,
    initrd: PhysRange,
    fixed: &FixedRanges,
) -> Result<Option<PhysRange>, ReserveError> {
    let end = initrd.end.align_up(PAGE).unwrap_or(PhysAddr::MAX);
    let pages = PhysRange::new(initrd.start.align_down(PAGE), end);
    let what = if !memblock.contains_map_memory(pages) {
        "is not a memory region"
    } else if memblock.overlaps_reserved(pages) || [fixed.tables, fixed.dtb].iter().any(|used| used.overlaps(initrd)) {
        "overlaps in-use memory region"
    } else {
        memblock.reserve(pages)?;
        return Ok(Some(initrd));
    };
    let (start, size) = (pages.start.raw(), pages.size());
    log::error!("INITRD: {start:#010x}+{size:#010x} {what} - disabling initrd");
    Ok(None)
}
