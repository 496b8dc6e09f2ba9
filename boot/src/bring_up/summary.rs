//! The line that sums the boot up, and when each phase was over.

use mm::addr::{Pfn, PhysRange};
use mm::buddy::FreeCore;
use mm::memblock::{FrozenMap, Region};
use mm::phase::Mm;
use mm::report::{ImageSizes, MemoryLine};
use mm::sync::CurrentCpu;

use super::BootError;
use crate::reserve::ReservedRegions;

/// Ticks of the cycle counter since the entry, at the end of each phase; under `-icount shift=0` instructions.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Timeline {
    /// Memblock has every bank and reservation.
    pub memblock: Option<u32>,
    /// The final tables are in use.
    pub tables: Option<u32>,
    /// Just before the memory map is taken.
    pub memmap_start: Option<u32>,
    /// The memory map is initialised.
    pub memmap: Option<u32>,
    /// Just before the hand-over.
    pub hand_over_start: Option<u32>,
    /// Lowmem is handed over.
    pub hand_over_lowmem: Option<u32>,
    /// The zones have what memblock had.
    pub hand_over: Option<u32>,
    /// The `Memory:` line is printed.
    pub memory_line: Option<u32>,
}

/// Counts RAM right after the hand-over, before contiguous memory is lent: what is free by the zones' lists, what is
/// taken by memblock's frozen lists. The two counts share nothing, so their sum proves that no page is lost.
///
/// # Errors
/// [`BootError::DoesNotAddUp`].
pub(super) fn memory_line<I: CurrentCpu, C: FreeCore<'static>>(
    mm: &Mm<'static, I, C>,
    regions: &ReservedRegions<'_>,
    image: ImageSizes,
) -> Result<MemoryLine, BootError> {
    let stats = || mm.allocator().zones().iter().map(|zone| zone.stats());
    let present = stats().map(|zone| zone.present).sum();
    let available = stats().map(|zone| zone.counts.free).sum();
    let cma = regions.cma_areas().map(|area| area.range.whole_frames().pages()).sum();
    let taken = taken_frames(mm.frozen()).saturating_sub(mm.totals().retired);
    let line = MemoryLine::new(present, available, taken, cma, mm.totals().highmem, image)?;
    log::info!("{line}");
    Ok(line)
}

/// Frames of memory that a reserved or no-map region touches, each once.
fn taken_frames(frozen: &FrozenMap<'_>) -> u32 {
    let mut no_map = frozen.memory().iter().filter(|region| region.is_nomap()).map(Region::range).peekable();
    let mut reserved = frozen.reserved().iter().map(Region::range).peekable();
    let mut taken = 0_u32;
    let mut counted = Pfn::new(0);
    loop {
        let next: Option<PhysRange> = match (no_map.peek(), reserved.peek()) {
            (Some(a), Some(b)) if a.start <= b.start => no_map.next(),
            (Some(_), None) => no_map.next(),
            (_, Some(_)) => reserved.next(),
            (None, None) => return taken,
        };
        let Some(range) = next else { return taken };
        let mut frames = range.touched_frames();
        frames.start = frames.start.max(counted);
        let inside = frozen.memory().iter().map(|region| region.range().whole_frames().intersection(frames).pages());
        taken = taken.saturating_add(inside.sum());
        counted = counted.max(frames.end);
    }
}
