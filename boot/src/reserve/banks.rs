//! RAM itself: the tree's banks, what caps them, and `mem=`.
//!
//! Theory.      Banks come in tree order; what one of them has named first keeps its node and flags. They are cut to
//!              whole pages and to what can have a linear address or be reached at all: from PHYS_OFFSET to 4 GiB. The
//!              exclusive end of a bank may be 2^32, so the last page below 4 GiB stays.
//! `mem=`.      `mem=SIZE` leaves what lies less than SIZE bytes above PHYS_OFFSET. `mem=SIZE@START` names a bank of
//! its
//!              own, whether the tree has it or not, if RAM answers there. The first `mem=` voids the tree's RAM,
//!              several add up.
//! Source.      Linux drivers/of/fdt.c: early_init_dt_add_memory_arch, early_init_dt_check_for_usable_mem_range;
//!              arch/arm/kernel/setup.c: early_mem, arm_add_memory.
#![forbid(unsafe_code)]

use mm::addr::{NodeId, PAGE_SIZE, PhysAddr, PhysRange};
use mm::memblock::{Memblock, MemblockError, RegionFlags};

use super::{PHYS_LIMIT, ReserveError};
use crate::info::MemoryBank;

const PAGE: u64 = PAGE_SIZE as u64;

/// One `mem=SIZE[@START]`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct MemOption {
    /// Bytes.
    pub size: u64,
    /// Where the bank begins; `None` trims the tree's RAM.
    pub start: Option<PhysAddr>,
}

/// Adds the tree's banks to memory; `phys_offset` is where the linear mapping begins.
///
/// # Errors
/// [`ReserveError::NoRam`] when nothing usable is among them; [`ReserveError::Memblock`].
pub fn add_banks<'b>(
    memblock: &mut Memblock<'_>,
    banks: impl Iterator<Item = MemoryBank<'b>>,
    phys_offset: PhysAddr,
) -> Result<(), ReserveError> {
    for bank in banks {
        let Some(range) = usable_part(bank.range, phys_offset) else { continue };
        if memblock.overlaps_memory(range) {
            log::warn!("/{}: reg: {range} overlaps RAM that is known already", bank.name);
        }
        let flags = if bank.hotplug { RegionFlags::HOTPLUG } else { RegionFlags::empty() };
        memblock.add_node(range, bank.node, flags)?;
    }
    some_ram(memblock)
}

/// Leaves only the RAM in `ranges` (`linux,usable-memory-range`: the first caps, the others add to it); without a range
/// nothing changes. No-map RAM stays. `live` gives the part of one that adds behind which there is RAM; what cannot
/// have a linear address or be reached is left out.
///
/// # Errors
/// [`ReserveError::NoRam`] when nothing is left; [`ReserveError::Memblock`].
pub fn cap_usable(
    memblock: &mut Memblock<'_>,
    mut ranges: impl Iterator<Item = PhysRange>,
    phys_offset: PhysAddr,
    live: impl Fn(PhysRange) -> Option<PhysRange>,
) -> Result<(), ReserveError> {
    let Some(first) = ranges.find(|range| !range.is_empty()) else { return Ok(()) };
    memblock.cap_memory_range(first);
    let reachable = PhysRange::new(phys_offset, PHYS_LIMIT);
    for range in ranges.filter_map(live) {
        memblock.add(whole_pages(range).intersection(reachable))?;
    }
    some_ram(memblock)
}

/// Applies every `mem=` of the command line to the tree's RAM. `live` gives the part of a named bank behind which there
/// is RAM.
///
/// # Errors
/// [`ReserveError::NoRam`] when nothing is left; [`ReserveError::Memblock`].
pub fn apply_mem_options(
    memblock: &mut Memblock<'_>,
    options: impl Iterator<Item = MemOption> + Clone,
    phys_offset: PhysAddr,
    live: impl Fn(PhysRange) -> Option<PhysRange>,
) -> Result<(), ReserveError> {
    let window = move |option: &MemOption| {
        let start = option.start.unwrap_or(phys_offset);
        PhysRange::new(start, start.saturating_add(option.size))
    };
    for option in options.clone() {
        tell_cut(window(&option), phys_offset);
    }
    let reachable = PhysRange::new(phys_offset, PHYS_LIMIT);
    let windows = options
        .map(move |option| (whole_pages(window(&option)).intersection(reachable), option.start.is_some()))
        .filter(|(window, _)| !window.is_empty());
    if windows.clone().next().is_none() {
        return Ok(());
    }
    keep_only(memblock, windows.clone().map(|(window, _)| window))?;
    for (window, _) in windows.filter(|&(_, named)| named) {
        let Some(bank) = live(window) else { continue };
        memblock.add_node(bank, NodeId::ZERO, RegionFlags::empty())?;
    }
    some_ram(memblock)
}

/// Removes the RAM that lies in none of `windows`.
fn keep_only(
    memblock: &mut Memblock<'_>,
    windows: impl Iterator<Item = PhysRange> + Clone,
) -> Result<(), MemblockError> {
    let mut cursor = PhysAddr::ZERO;
    loop {
        // The gap from `cursor` to the next window; then on behind the windows that begin there.
        let next = windows.clone().filter(|window| window.end > cursor).map(|window| window.start).min();
        memblock.remove(PhysRange::new(cursor, next.unwrap_or(PhysAddr::MAX)))?;
        let Some(next) = next else { return Ok(()) };
        cursor = cursor.max(next);
        while let Some(window) = windows.clone().find(|window| window.contains(cursor)) {
            cursor = window.end;
        }
    }
}

fn some_ram(memblock: &Memblock<'_>) -> Result<(), ReserveError> {
    if memblock.memory().is_empty() { Err(ReserveError::NoRam) } else { Ok(()) }
}

/// The whole pages of a bank between `phys_offset` and 4 GiB; tells what is left out.
fn usable_part(bank: PhysRange, phys_offset: PhysAddr) -> Option<PhysRange> {
    let ignoring = |what: &str, from: PhysAddr, to: PhysAddr| {
        log::warn!("OF: fdt: Ignoring memory {what} {:#x} - {:#x}", from.raw(), to.raw());
    };
    let pages = whole_pages(bank);
    let usable = pages.intersection(PhysRange::new(phys_offset, PHYS_LIMIT));
    if usable.is_empty() {
        ignoring("block", bank.start, bank.end);
        return None;
    }
    if pages.end > PHYS_LIMIT {
        ignoring("range", PHYS_LIMIT, pages.end);
    }
    if pages.start < phys_offset {
        ignoring("range", pages.start, phys_offset);
    }
    Some(usable)
}

/// Tells what of a `mem=` bank is left out, with the lines that Linux has for those.
fn tell_cut(named: PhysRange, phys_offset: PhysAddr) {
    let pages = whole_pages(named);
    if pages.is_empty() {
        log::warn!("mem={:#x}@{:#x}: no whole page, ignored", named.size(), named.start.raw());
        return;
    }
    if pages.start >= PHYS_LIMIT {
        log::error!("Ignoring memory at {:#010x} outside 32-bit physical address space", named.start.raw());
        return;
    }
    if pages.end > PHYS_LIMIT {
        log::error!("Truncating memory at {:#010x} to fit in 32-bit physical address space", named.start.raw());
    }
    if pages.start < phys_offset {
        let end = pages.end.min(phys_offset);
        log::info!("Ignoring memory below PHYS_OFFSET: {:#010x}-{:#010x}", pages.start.raw(), end.raw());
    }
}

fn whole_pages(range: PhysRange) -> PhysRange {
    PhysRange::new(range.start.align_up(PAGE).unwrap_or(range.end), range.end.align_down(PAGE))
}
