//! Register and descriptor values for the head, as plain numbers: constants of `mm` that need no address to read.
#![forbid(unsafe_code)]

use mm::addr::PhysAddr;
use mm::layout;
use mm::paging::descriptor::FirstLevel;
use mm::paging::regs::{self, ttbr0_attributes, ttbr0_attributes_uniprocessor};
use mm::paging::{Domain, MemType, Prot};

pub(crate) const PAGE_OFFSET: u32 = layout::PAGE_OFFSET.raw();
pub(crate) const FDT_FIXED_BASE: u32 = layout::DTB_BASE.raw();
pub(crate) const PRRR: u32 = regs::PRRR;
pub(crate) const NMRR: u32 = regs::NMRR;
/// A section at physical 0 for everything that the head maps: the final tables take its place.
pub(crate) const EARLY_RAM: u32 = section(Prot::EARLY_RWX);
/// A section at physical 0 for the device tree.
pub(crate) const EARLY_RAM_RO: u32 = section(Prot::KERNEL_RO);

const TTBR0_MP: u32 = ttbr0_attributes(Prot::KERNEL_RW.mem, Prot::KERNEL_RW.shareable);
const TTBR0_UP: u32 = ttbr0_attributes_uniprocessor(MemType::WriteBackWriteAllocate, false);

/// The low bits of TTBR0.
#[inline(always)]
pub(crate) const fn ttbr0_bits(multiprocessing: bool) -> u32 {
    if multiprocessing { TTBR0_MP } else { TTBR0_UP }
}

const fn section(prot: Prot) -> u32 {
    match (FirstLevel::Section { base: PhysAddr::ZERO, prot, domain: Domain::KERNEL }).encode() {
        Ok(word) => word,
        Err(_) => 0,
    }
}

const _: () = assert!(EARLY_RAM != 0 && EARLY_RAM_RO != 0, "both can be encoded");
