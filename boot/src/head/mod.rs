//! The head: from the boot protocol to Rust at its linked address.
//!
//! Theory.      The image is linked at [`PAGE_OFFSET`](mm::layout::PAGE_OFFSET) + [`TEXT_OFFSET`] and may be loaded
//!              anywhere. `start.S` masks interrupts, drops from HYP to SVC, and calls [`plan`], which finds where RAM
//!              begins in the device tree ([`scan`]), where the image must run, and what stands in the way. The
//!              assembly moves the tree and the image, [`tables`] builds the first-level table at RAM base + 0x4000,
//!              and the MMU goes on.
//! Invariants.  1. Code of this folder runs before the MMU is on, at an address it was not linked for: it reads no
//!              `static`, no constant behind a pointer, and calls nothing that could panic. The tests read the ELF's
//!              relocations and fail when `.head.text` holds an absolute address.
//!              2. What must be written is the table, the run address and, for the copy of the moving loop, one of the
//!              two. A tree that lies there is moved first; an initrd there ends the boot with a line, later.
//! Picture.     base+0x4000   first-level table, 16 KiB
//!              base+1 MiB    image: text, rodata, data | .bss, stacks
//! Source.      Linux Documentation/arch/arm/booting.rst; Arm ARM DDI 0406C B3 (VMSA), B1.8 (exceptions).

pub(crate) mod attributes;
pub mod plan;
pub mod scan;
#[cfg(target_arch = "arm")]
mod start;
pub mod tables;
#[cfg(test)]
mod tests;

/// Bytes from the start of RAM to the image: below lie the first-level table and, at its start, what loaders leave.
pub const TEXT_OFFSET: u32 = 0x0010_0000;
/// Bytes from the start of RAM to the first-level translation table (Linux: `swapper_pg_dir`).
pub const TABLE_OFFSET: u32 = 0x4000;
/// Bytes of a first-level table: 4,096 descriptors.
pub const TABLE_SIZE: u32 = 0x4000;

/// Bytes that `start.S` keeps for [`HeadInfo`].
const HEAD_INFO_SPACE: usize = 80;

/// What the head found and did; `start.S` knows the offsets of the fields.
#[derive(Clone, Copy, Debug, Default)]
#[repr(C)]
pub struct HeadInfo {
    /// Where the loader put the image (physical).
    pub load: u32,
    /// Bytes of the image file.
    pub file_size: u32,
    /// Bytes of the image with `.bss` and stacks.
    pub mem_size: u32,
    /// r1: the machine type, `0xffff_ffff` on machines that only have a tree.
    pub machine: u32,
    /// r2 as it came.
    pub dtb_given: u32,
    /// The mode bits of the CPSR at entry: 0x13 SVC, 0x1a HYP.
    pub entry_mode: u32,
    /// Where the device tree lies now (physical); 0 when r2 led to none.
    pub dtb: u32,
    /// Start of RAM (physical), a multiple of 2 MiB: what [`PAGE_OFFSET`](mm::layout::PAGE_OFFSET) maps.
    pub phys_offset: u32,
    /// Where the image runs (physical).
    pub run: u32,
    /// The tree's `totalsize` in bytes.
    pub dtb_size: u32,
    /// The first-level table (physical).
    pub table: u32,
    /// Where the copy of the moving loop lies while the image moves (physical).
    pub stub: u32,
    /// TTBR0: the table with the walk's attributes.
    pub ttbr0: u32,
    /// The first-level entry that the one-to-one section took the place of.
    pub clash_index: u32,
    /// What belongs there; 0 when nothing does.
    pub clash_entry: u32,
    /// SCTLR at entry.
    pub entry_sctlr: u32,
    /// PRRR: the memory types of TEX remap.
    pub prrr: u32,
    /// NMRR: the cacheability of TEX remap.
    pub nmrr: u32,
    /// `linux,initrd-start` and `-end` as the scan found them; equal when there is none.
    pub initrd: scan::Span,
}

const _: () = {
    use core::mem::offset_of;
    assert!(offset_of!(HeadInfo, load) == 0);
    assert!(offset_of!(HeadInfo, file_size) == 4);
    assert!(offset_of!(HeadInfo, mem_size) == 8);
    assert!(offset_of!(HeadInfo, machine) == 12);
    assert!(offset_of!(HeadInfo, dtb_given) == 16);
    assert!(offset_of!(HeadInfo, entry_mode) == 20);
    assert!(offset_of!(HeadInfo, dtb) == 24);
    assert!(offset_of!(HeadInfo, phys_offset) == 28);
    assert!(offset_of!(HeadInfo, run) == 32);
    assert!(offset_of!(HeadInfo, dtb_size) == 36);
    assert!(offset_of!(HeadInfo, table) == 40);
    assert!(offset_of!(HeadInfo, stub) == 44);
    assert!(offset_of!(HeadInfo, ttbr0) == 48);
    assert!(offset_of!(HeadInfo, clash_index) == 52);
    assert!(offset_of!(HeadInfo, clash_entry) == 56);
    assert!(offset_of!(HeadInfo, entry_sctlr) == 60);
    assert!(offset_of!(HeadInfo, prrr) == 64);
    assert!(offset_of!(HeadInfo, nmrr) == 68);
    assert!(size_of::<HeadInfo>() <= HEAD_INFO_SPACE);
};
