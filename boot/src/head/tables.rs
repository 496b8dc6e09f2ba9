//! The first translation table: just enough to run at the linked address.
#![forbid(unsafe_code)]

use super::attributes::{EARLY_RAM, EARLY_RAM_RO, FDT_FIXED_BASE, PAGE_OFFSET};
use super::plan::Raw;
use super::{HeadInfo, TABLE_SIZE, TEXT_OFFSET};

const SECTION_SHIFT: u32 = 20;
const SECTION_MASK: u32 = !((1 << SECTION_SHIFT) - 1);

/// Fills the table at `info.table`: RAM from its start to the image's end at
/// [`PAGE_OFFSET`](mm::layout::PAGE_OFFSET), the tree read-only in the two sections at
/// [`DTB_BASE`](mm::layout::DTB_BASE), and the section that the head itself runs in one to one. What the latter stands
/// in place of goes to `clash_index` and `clash_entry`.
#[inline(always)]
pub fn build<R: Raw>(info: &mut HeadInfo, raw: &R) {
    let table = info.table;
    let mut at = 0;
    while at < TABLE_SIZE {
        raw.write(table.wrapping_add(at), 0);
        at = at.wrapping_add(4);
    }
    let bytes = TEXT_OFFSET.wrapping_add(info.mem_size);
    let mut offset = 0;
    while offset < bytes {
        let entry = info.phys_offset.wrapping_add(offset) & SECTION_MASK | EARLY_RAM;
        set(raw, table, PAGE_OFFSET.wrapping_add(offset), entry);
        offset = offset.wrapping_add(1 << SECTION_SHIFT);
    }
    if info.dtb != 0 {
        let first = info.dtb & SECTION_MASK;
        set(raw, table, FDT_FIXED_BASE, first | EARLY_RAM_RO);
        // The second one only for a tree that reaches into it: behind it may be no RAM.
        if (info.dtb & !SECTION_MASK).wrapping_add(info.dtb_size) > 1 << SECTION_SHIFT {
            let second = first.wrapping_add(1 << SECTION_SHIFT);
            set(raw, table, FDT_FIXED_BASE.wrapping_add(1 << SECTION_SHIFT), second | EARLY_RAM_RO);
        }
    }
    let here = info.run & SECTION_MASK;
    info.clash_index = here >> SECTION_SHIFT;
    info.clash_entry = raw.read(slot(table, here));
    if info.clash_entry & SECTION_MASK == here {
        info.clash_entry = 0;
    }
    set(raw, table, here, here | EARLY_RAM);
}

/// Address of the first-level descriptor of `va`.
#[inline(always)]
const fn slot(table: u32, va: u32) -> u32 {
    table.wrapping_add((va >> SECTION_SHIFT) << 2)
}

#[inline(always)]
fn set<R: Raw>(raw: &R, table: u32, va: u32, entry: u32) {
    raw.write(slot(table, va), entry);
}
