//! The line that sums the boot up, and when each phase was over.

use core::fmt;

use mm::addr::PAGE_SIZE;
use mm::buddy::FreeCore;
use mm::phase::Mm;
use mm::sync::CurrentCpu;

use super::BootError;
use crate::image::ImageSizes;
use crate::reserve::Pools;

/// Ticks of the cycle counter since the entry, at the end of each phase; under `-icount shift=0` instructions.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Timeline {
    /// Memblock has every bank and reservation.
    pub memblock: Option<u32>,
    /// The final tables are in use.
    pub tables: Option<u32>,
    /// Just before the memory map is initialised.
    pub memmap_start: Option<u32>,
    /// The memory map is initialised.
    pub memmap: Option<u32>,
    /// Just before the hand-over.
    pub hand_over_start: Option<u32>,
    /// The zones have what memblock had.
    pub hand_over: Option<u32>,
    /// The `Memory:` line is printed.
    pub memory_line: Option<u32>,
}

/// What Linux's `Memory:` line counts, in pages; its parts are checked to be all of RAM.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct MemoryLine {
    /// Free.
    pub available: u64,
    /// Present in the zones.
    pub present: u64,
    /// Present, but neither free nor contiguous memory.
    pub reserved: u64,
    /// In contiguous-memory areas that are not lent yet.
    pub cma: u64,
    /// Managed pages of HighMem.
    pub highmem: u64,
    /// Bytes of the image's parts.
    pub image: ImageSizes,
}

impl MemoryLine {
    /// Counts the zones of `mm`, right after the hand-over and before contiguous memory is lent.
    ///
    /// # Errors
    /// [`BootError::DoesNotAddUp`] when the reserved frames, counted one by one, are not what free and contiguous
    /// pages leave of RAM.
    pub fn new<I: CurrentCpu, C: FreeCore<'static>>(
        mm: &Mm<'static, I, C>,
        pools: &Pools<'_>,
        image: &ImageSizes,
    ) -> Result<Self, BootError> {
        let stats = || mm.allocator().zones().iter().map(|zone| zone.stats());
        let present: u64 = stats().map(|zone| u64::from(zone.present)).sum();
        let available: u64 = stats().map(|zone| u64::from(zone.free)).sum();
        let cma: u64 = pools.reusable().map(|area| u64::from(area.whole_frames().pages())).sum();
        let managed: u64 = stats().map(|zone| u64::from(zone.managed)).sum();
        let reserved = present.saturating_sub(managed).saturating_sub(cma);
        let parts = available + reserved + cma;
        if parts != present {
            return Err(BootError::DoesNotAddUp { present, parts });
        }
        Ok(Self { available, present, reserved, cma, highmem: u64::from(mm.totals().highmem), image: *image })
    }

    /// Prints the line.
    pub fn log(&self) {
        log::info!("{self}");
    }
}

impl fmt::Display for MemoryLine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kib = |pages: u64| pages * u64::from(PAGE_SIZE >> 10);
        let ImageSizes { code, rwdata, rodata, init, bss } = self.image;
        write!(f, "Memory: {}K/{}K available (", kib(self.available), kib(self.present))?;
        write!(f, "{}K kernel code, {}K rwdata, {}K rodata, ", code >> 10, rwdata >> 10, rodata >> 10)?;
        write!(f, "{}K init, {}K bss, {}K reserved, ", init >> 10, bss >> 10, kib(self.reserved))?;
        write!(f, "{}K cma-reserved, {}K highmem)", kib(self.cma), kib(self.highmem))
    }
}
