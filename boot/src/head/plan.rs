//! Where the image must run, and what must move first.
#![forbid(unsafe_code)]

use super::attributes::{NMRR, PRRR, ttbr0_bits};
use super::scan::{Found, Span, scan};
use super::{HeadInfo, TABLE_OFFSET, TABLE_SIZE, TEXT_OFFSET};

/// Physical memory, a word at a time.
pub trait Raw {
    /// The little-endian word at `address`, a multiple of 4.
    fn read(&self, address: u32) -> u32;
    /// Writes `word` at `address`, a multiple of 4.
    fn write(&self, address: u32, word: u32);
}

/// Bytes that a loader's image is taken to lie from the start of RAM at most, when no tree tells (Linux's head code
/// makes the same guess).
const GUESS_ALIGN: u32 = 128 << 20;

/// Fills in what [`HeadInfo`] says of the tree, of RAM and of the run address.
///
/// The scan's outcome is kept before RAM is tried: where that faults, [`plan_after_fault`] knows that the tree is good.
#[inline(always)]
pub fn plan<R: Raw>(info: &mut HeadInfo, raw: &R, multiprocessing: bool) {
    info.dtb_size = 0;
    let found = scan(raw, info.dtb_given, TEXT_OFFSET.wrapping_add(info.mem_size));
    info.dtb_size = found.size;
    info.initrd = found.initrd;
    // The accesses that follow may fault, and the vector reads these fields: they must be in memory by now.
    let info = core::hint::black_box(info);
    settle(info, raw, found, multiprocessing);
}

/// The same without the tree's banks, after an access has faulted: without a tree when the scan was not over, else with
/// the tree but for the bank that is not there.
#[inline(always)]
pub fn plan_after_fault<R: Raw>(info: &mut HeadInfo, raw: &R, multiprocessing: bool) {
    let found = Found { size: info.dtb_size, bank: Span::default(), initrd: info.initrd };
    settle(info, raw, found, multiprocessing);
}

#[inline(always)]
fn settle<R: Raw>(info: &mut HeadInfo, raw: &R, found: Found, multiprocessing: bool) {
    let guess = info.load & !(GUESS_ALIGN.wrapping_sub(1));
    let told = found.bank.end != 0 && holds(info, raw, found.bank.start);
    info.phys_offset = if told { found.bank.start } else { guess };
    info.table = info.phys_offset.wrapping_add(TABLE_OFFSET);
    info.run = info.phys_offset.wrapping_add(TEXT_OFFSET);
    info.stub = if overlaps_table(info) { info.run.wrapping_add(info.file_size) } else { info.table };
    info.ttbr0 = info.table | ttbr0_bits(multiprocessing);
    info.prrr = PRRR;
    info.nmrr = NMRR;
    info.clash_entry = 0;
    place_tree(info, found, if told { found.bank.end } else { u32::MAX });
    if !told && !holds(info, raw, guess) {
        info.run = 0;
    }
}

/// Whether the image was loaded over the place of the first-level table: below its run address then.
#[inline(always)]
fn overlaps_table(info: &HeadInfo) -> bool {
    let table = Span { start: info.table, end: info.table.wrapping_add(TABLE_SIZE) };
    table.overlaps(Span { start: info.load, end: info.load.wrapping_add(info.mem_size) })
}

/// Whether RAM answers at both ends of what the head will write: absent RAM swallows writes. What lies there is put
/// back.
#[inline(always)]
fn holds<R: Raw>(info: &HeadInfo, raw: &R, base: u32) -> bool {
    let run = base.wrapping_add(TEXT_OFFSET);
    let table = base.wrapping_add(TABLE_OFFSET);
    let last = run.wrapping_add(info.mem_size).wrapping_sub(4);
    answers(info, raw, table) && answers(info, raw, run) && answers(info, raw, last)
}

/// Whether the word at `address` keeps what is written to it. The image's own words do: they are being executed, and
/// must not change for a moment.
#[inline(always)]
fn answers<R: Raw>(info: &HeadInfo, raw: &R, address: u32) -> bool {
    if address.wrapping_sub(info.load) < info.file_size {
        return true;
    }
    let kept = raw.read(address);
    raw.write(address, !kept);
    let flipped = raw.read(address) == !kept;
    raw.write(address, kept);
    flipped
}

/// Moves the tree away from the table, from the image's run address and from where it lies now.
#[inline(always)]
fn place_tree(info: &mut HeadInfo, found: Found, bank_end: u32) {
    info.dtb = 0;
    info.dtb_size = found.size;
    if found.size == 0 {
        return;
    }
    info.dtb = info.dtb_given;
    let tree = Span { start: info.dtb_given, end: info.dtb_given.wrapping_add(found.size) };
    let table = Span { start: info.table, end: info.table.wrapping_add(TABLE_SIZE) };
    let run = Span { start: info.run, end: info.run.wrapping_add(info.mem_size) };
    let load = Span { start: info.load, end: info.load.wrapping_add(info.mem_size) };
    if !(tree.overlaps(table) || tree.overlaps(run) || info.load != info.run && tree.overlaps(load)) {
        return;
    }
    let higher = if load.end > run.end { load.end } else { run.end };
    let mut start = higher.wrapping_add(0xfff) & !0xfff;
    let size = found.size.wrapping_add(31) & !31;
    if (Span { start, end: start.saturating_add(size) }).overlaps(found.initrd) {
        start = found.initrd.end.wrapping_add(0xfff) & !0xfff;
    }
    // Without room behind the image the tree stays where it is: it will be found damaged and named.
    if start >= higher && bank_end.saturating_sub(start) >= size {
        info.dtb = start;
    }
}
