//! Where memblock's arrays may grow before every reservation is known.
//!
//! Theory.      The arrays of the image hold 128 regions. A tree may name more, and then an array doubles in the middle
//!              of the reservations: its place must not be one that the tree gives to somebody further on. So a window
//!              is looked for first, in the bank that is mapped, close above the image (`mem=` and lowmem's limits cut
//!              RAM from the end), clear of all that the tree names.
//! Not here.    Dynamic regions and the default CMA area: those are placed later, around the arrays.

use mm::addr::{PAGE_SIZE, PhysAddr, PhysRange, SECTION_SIZE};
use mm::memblock::Memblock;

use super::{Given, Machine};
use crate::info::ReservedNode;

const MIB: u64 = SECTION_SIZE as u64;

/// Bytes that both lists need at most while they double: 4,096 regions each, old array and new.
const WANTED: u64 = 1 << 20;
/// The least that helps: one list to 256 regions.
const LEAST: u64 = 8 << 10;

/// Lets memblock's arrays double into a window between the image and `mapped_end` that nothing of the tree touches.
/// Without such a window the arrays stay as they are.
pub(super) fn let_grow<M: Machine>(memblock: &mut Memblock<'static>, given: &Given<'_, M>, mapped_end: PhysAddr) {
    let mut size = WANTED;
    while size >= LEAST {
        if let Some(window) = find(given, size, mapped_end) {
            memblock.keep_arrays_in(window);
            memblock.allow_resize(given.machine.ram());
            return;
        }
        size /= 2;
    }
}

/// The lowest `size` bytes above the image that nobody has or will have.
fn find<M>(given: &Given<'_, M>, size: u64, mapped_end: PhysAddr) -> Option<PhysRange> {
    let mut start = given.image.whole.end;
    loop {
        let window = PhysRange::new(start, start.checked_add(size)?);
        if window.end > mapped_end {
            return None;
        }
        match last_end_in(given, window) {
            Some(end) => start = end.align_up(u64::from(PAGE_SIZE))?,
            None => return Some(window),
        }
    }
}

/// The highest end of what the tree names and of what lies in memory, of those that touch `window`.
fn last_end_in<M>(given: &Given<'_, M>, window: PhysRange) -> Option<PhysAddr> {
    // RAM that shares a MiB with no-map memory is not mapped yet.
    let whole = |node: &ReservedNode<'_>, range: PhysRange| {
        if !node.no_map {
            return range;
        }
        PhysRange::new(range.start.align_down(MIB), range.end.align_up(MIB).unwrap_or(PhysAddr::MAX))
    };
    let nodes = given.fdt.reserved_memory().flat_map(|node| node.reg.map(move |range| whole(&node, range)));
    let fixed = given.info.initrd.into_iter().chain([given.dtb()]);
    let named = given.fdt.reserve_map().chain(nodes).chain(fixed);
    named.filter(|range| range.overlaps(window)).map(|range| range.end).max()
}
