//! Where everything lies in the kernel's half of the address space, and the linear map between the two kinds of
//! address.
//!
//! ```text
//! 2G/2G                     3G/1G
//! 0x7f00_0000  0xbf00_0000  modules
//! 0x7fe0_0000  0xbfe0_0000  pkmap (2 MiB)
//! 0x8000_0000  0xc000_0000  PAGE_OFFSET: lowmem, one to one, up to high_memory
//!                           a hole of 8 to 16 MiB
//! high_memory + 8 MiB, rounded down to 8 MiB: vmalloc
//! 0xff80_0000               device tree, two sections, read-only
//! 0xffa0_0000               nothing
//! 0xffc8_0000               fixmap
//! 0xfff0_0000               nothing
//! 0xffff_0000               vectors, one page
//! ```
//! Invariants.  The areas are in ascending order and disjoint.
//! Not here.    Which frames lowmem has (memblock, `boot::lowmem`), the tables (`paging`).
//! Source.      Linux `Documentation/arch/arm/memory.rst`, `arch/arm/include/asm/{memory,pgtable,fixmap,highmem}.h`.
#![forbid(unsafe_code)]

use core::fmt;

use log::info;

use crate::addr::{PAGE_SIZE, PGDIR_SIZE, PhysAddr, PhysRange, VirtAddr};
use crate::paging::{Area, Marker};

/// End of vmalloc (Linux: `VMALLOC_END`).
pub const VMALLOC_END: VirtAddr = VirtAddr::new(0xff80_0000);
/// Least distance from the end of lowmem to vmalloc, and vmalloc's alignment (Linux: `VMALLOC_OFFSET`).
pub const VMALLOC_OFFSET: u32 = 8 << 20;
/// The device tree's mapping (Linux: `FDT_FIXED_BASE`).
pub const DTB_BASE: VirtAddr = VirtAddr::new(0xff80_0000);
/// Bytes of it: two sections (Linux: `FDT_FIXED_SIZE`).
pub const DTB_SIZE: u32 = 2 << 20;
/// Begin of the fixmap (Linux: `FIXADDR_START`).
pub const FIXADDR_START: VirtAddr = VirtAddr::new(0xffc8_0000);
/// End of the fixmap (Linux: `FIXADDR_END`).
pub const FIXADDR_END: VirtAddr = VirtAddr::new(0xfff0_0000);
/// The vectors' page with SCTLR.V = 1 (Linux: `VECTORS_BASE`).
pub const VECTORS_BASE: VirtAddr = VirtAddr::new(0xffff_0000);
/// Bytes below PAGE_OFFSET that modules and pkmap have together.
pub(crate) const MODULES_AND_PKMAP: u32 = 16 << 20;
/// Bytes of pkmap, just below PAGE_OFFSET.
const PKMAP_SIZE: u32 = 2 << 20;

/// How user and kernel share the 4 GiB.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum VmSplit {
    /// 2 GiB each.
    TwoTwo,
    /// 3 GiB for users, 1 GiB for the kernel.
    ThreeOne,
}

impl VmSplit {
    /// The split of this build: feature `vmsplit_3g` chooses [`VmSplit::ThreeOne`].
    pub const BUILT: Self = if cfg!(feature = "vmsplit_3g") { Self::ThreeOne } else { Self::TwoTwo };

    /// The first address of lowmem.
    #[must_use]
    pub const fn page_offset(self) -> VirtAddr {
        match self {
            Self::TwoTwo => VirtAddr::new(0x8000_0000),
            Self::ThreeOne => VirtAddr::new(0xc000_0000),
        }
    }
}

/// Where lowmem begins in this build.
pub const PAGE_OFFSET: VirtAddr = VmSplit::BUILT.page_offset();

/// The linear map: one offset between the physical and the virtual addresses of lowmem.
///
/// Plain data; it says which address belongs to which, not whether something is mapped there (no-map, holes).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct LinearMap {
    page_offset: VirtAddr,
    phys_offset: PhysAddr,
    bytes: u32,
}

impl LinearMap {
    /// The map of `phys_offset` (where RAM begins) to `page_offset`, up to `limit` (Linux: `arm_lowmem_limit`).
    ///
    /// `None` unless both offsets are multiples of 2 MiB, `limit` is above `phys_offset`, and vmalloc's hole of 8 MiB
    /// is left below [`VMALLOC_END`].
    #[must_use]
    pub const fn new(page_offset: VirtAddr, phys_offset: PhysAddr, limit: PhysAddr) -> Option<Self> {
        let room = (VMALLOC_END.raw() - VMALLOC_OFFSET).saturating_sub(page_offset.raw());
        let bytes = limit.bytes_since(phys_offset);
        if !page_offset.is_aligned(PGDIR_SIZE) || !phys_offset.is_aligned(PGDIR_SIZE as u64) {
            return None;
        }
        if bytes == 0 || bytes > room as u64 || limit.raw() > 1 << 32 {
            return None;
        }
        #[expect(clippy::cast_possible_truncation, reason = "at most `room`, which has 32 bits")]
        let bytes = bytes as u32;
        Some(Self { page_offset, phys_offset, bytes })
    }

    /// The first address of lowmem.
    #[must_use]
    pub const fn page_offset(&self) -> VirtAddr {
        self.page_offset
    }

    /// The first byte of RAM.
    #[must_use]
    pub const fn phys_offset(&self) -> PhysAddr {
        self.phys_offset
    }

    /// The physical addresses of lowmem.
    #[must_use]
    pub const fn phys_range(&self) -> PhysRange {
        PhysRange::new(self.phys_offset, self.phys_offset.saturating_add(self.bytes as u64))
    }

    /// One past the last address of lowmem (Linux: `high_memory`).
    #[must_use]
    pub const fn high_memory(&self) -> VirtAddr {
        VirtAddr::new(self.page_offset.raw().wrapping_add(self.bytes))
    }

    /// Where `pa` is in lowmem; `None` outside (Linux: `__phys_to_virt`, unchecked there).
    #[must_use]
    pub const fn phys_to_virt(&self, pa: PhysAddr) -> Option<VirtAddr> {
        let offset = pa.bytes_since(self.phys_offset);
        if pa.raw() < self.phys_offset.raw() || offset >= self.bytes as u64 {
            return None;
        }
        #[expect(clippy::cast_possible_truncation, reason = "below `bytes`, which has 32 bits")]
        self.page_offset.checked_add(offset as u32)
    }

    /// What lowmem address `va` is the address of; `None` outside (Linux: `__virt_to_phys`, unchecked there).
    #[must_use]
    pub const fn virt_to_phys(&self, va: VirtAddr) -> Option<PhysAddr> {
        match va.raw().checked_sub(self.page_offset.raw()) {
            Some(offset) if offset < self.bytes => self.phys_offset.checked_add(offset as u64),
            _ => None,
        }
    }
}

/// The areas of the address space, once the linear map is known.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct VirtualLayout {
    /// The linear map.
    pub linear: LinearMap,
}

/// Where the parts of the image lie, for the log: begin and end, in virtual addresses.
#[derive(Clone, Copy, Debug)]
pub struct ImageSections {
    /// Instructions and constants.
    pub text: (VirtAddr, VirtAddr),
    /// What only the boot needs; empty when there is none.
    pub init: (VirtAddr, VirtAddr),
    /// Variables.
    pub data: (VirtAddr, VirtAddr),
    /// Variables that begin as zero.
    pub bss: (VirtAddr, VirtAddr),
}

impl VirtualLayout {
    /// The layout around `linear`.
    #[must_use]
    pub const fn new(linear: LinearMap) -> Self {
        Self { linear }
    }

    /// Begin of modules (Linux: `MODULES_VADDR`).
    #[must_use]
    pub const fn modules_start(&self) -> VirtAddr {
        VirtAddr::new(self.linear.page_offset.raw().wrapping_sub(MODULES_AND_PKMAP))
    }

    /// Begin of pkmap, end of modules (Linux: `PKMAP_BASE`).
    #[must_use]
    pub const fn pkmap_start(&self) -> VirtAddr {
        VirtAddr::new(self.linear.page_offset.raw().wrapping_sub(PKMAP_SIZE))
    }

    /// Begin of vmalloc (Linux: `VMALLOC_START`).
    #[must_use]
    pub const fn vmalloc_start(&self) -> VirtAddr {
        // `LinearMap::new` leaves these 8 MiB below VMALLOC_END.
        VirtAddr::new(self.linear.high_memory().raw().wrapping_add(VMALLOC_OFFSET)).align_down(VMALLOC_OFFSET)
    }

    /// Every area in which something may be mapped, in ascending order.
    #[must_use]
    pub const fn areas(&self) -> [Area; 7] {
        let page_offset = self.linear.page_offset;
        [
            area("modules", self.modules_start(), self.pkmap_start()),
            area("pkmap", self.pkmap_start(), page_offset),
            area("lowmem", page_offset, self.linear.high_memory()),
            area("vmalloc", self.vmalloc_start(), VMALLOC_END),
            area("dtb", DTB_BASE, VirtAddr::new(DTB_BASE.raw() + DTB_SIZE)),
            area("fixmap", FIXADDR_START, FIXADDR_END),
            area("vector", VECTORS_BASE, VirtAddr::new(VECTORS_BASE.raw() + PAGE_SIZE)),
        ]
    }

    /// The markers of a dump, as Linux names them (pkmap shows under `Modules`).
    #[must_use]
    pub const fn markers(&self) -> [Marker; 7] {
        [
            Marker { va: self.modules_start(), name: "Modules" },
            Marker { va: self.linear.page_offset, name: "Kernel Mapping" },
            Marker { va: self.vmalloc_start(), name: "vmalloc() Area" },
            Marker { va: VMALLOC_END, name: "vmalloc() End" },
            Marker { va: FIXADDR_START, name: "Fixmap Area" },
            Marker { va: VECTORS_BASE, name: "Vectors" },
            Marker { va: VirtAddr::new(VECTORS_BASE.raw() + PAGE_SIZE), name: "Vectors End" },
        ]
    }

    /// Logs Linux's `Virtual kernel memory layout:` block (printed there until 5.x).
    pub fn log(&self, image: &ImageSections) {
        info!("Virtual kernel memory layout:");
        for line in self.log_lines(image) {
            info!("    {line}");
        }
    }

    /// The lines of the block, highest area first.
    fn log_lines(&self, image: &ImageSections) -> [LogLine; 10] {
        let [modules, pkmap, lowmem, vmalloc, _dtb, fixmap, vector] = self.areas();
        let area = |name, area: Area, unit| LogLine {
            name,
            start: area.start.raw(),
            end: area.last.raw().wrapping_add(1),
            unit,
        };
        let part = |name, (start, end): (VirtAddr, VirtAddr)| LogLine {
            name,
            start: start.raw(),
            end: end.raw(),
            unit: Unit::Kilobytes,
        };
        [
            area("vector ", vector, Unit::Kilobytes),
            area("fixmap ", fixmap, Unit::Kilobytes),
            area("vmalloc", vmalloc, Unit::Megabytes),
            area("lowmem ", lowmem, Unit::Megabytes),
            area("pkmap  ", pkmap, Unit::Megabytes),
            area("modules", modules, Unit::Megabytes),
            part("  .text", image.text),
            part("  .init", image.init),
            part("  .data", image.data),
            part("   .bss", image.bss),
        ]
    }
}

#[derive(Clone, Copy, Debug)]
enum Unit {
    Kilobytes,
    Megabytes,
}

/// One line of the layout block, without its indent.
#[derive(Clone, Copy, Debug)]
struct LogLine {
    name: &'static str,
    start: u32,
    end: u32,
    unit: Unit,
}

impl fmt::Display for LogLine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let bytes = self.end.saturating_sub(self.start);
        let (amount, unit) = match self.unit {
            // Parts of the image do not end on KiB: rounded up, as Linux does.
            Unit::Kilobytes => (bytes.div_ceil(1 << 10), "kB"),
            Unit::Megabytes => (bytes >> 20, "MB"),
        };
        write!(f, "{} : {:#010x} - {:#010x}   ({amount:4} {unit})", self.name, self.start, self.end)
    }
}

/// The area from `start` up to `end`; one byte when `end` is not above `start`.
const fn area(name: &'static str, start: VirtAddr, end: VirtAddr) -> Area {
    let last = if end.raw() > start.raw() { end.raw() - 1 } else { start.raw() };
    Area { name, start, last: VirtAddr::new(last) }
}

/// CPUs that the fixmap has windows for.
pub const FIXMAP_CPUS: u32 = 4;
/// Atomic kmaps that a CPU can nest (Linux: `KM_MAX_IDX`).
pub const FIXMAP_KMAPS_PER_CPU: u32 = 16;
/// Windows of `early_ioremap` (Linux: `FIX_BTMAPS_SLOTS`).
pub const FIXMAP_EARLY_WINDOWS: u32 = 7;
/// Pages of such a window (Linux: `NR_FIX_BTMAPS`).
pub const FIXMAP_EARLY_PAGES: u32 = 32;

/// Pages with an address that is known when the image is built. All of them lie in the fixmap's first PGD
/// (0xffc8_0000–0xffdf_ffff), so one table page, known from the first instruction on, serves them.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum FixmapSlot {
    /// Registers of the console's UART.
    EarlyConsole,
    /// The page whose instructions are being patched.
    TextPoke0,
    /// The page behind it.
    TextPoke1,
    /// Nested short-lived mappings of highmem pages, for each CPU.
    Kmap {
        /// Below [`FIXMAP_CPUS`].
        cpu: u32,
        /// Below [`FIXMAP_KMAPS_PER_CPU`].
        depth: u32,
    },
    /// `early_ioremap`.
    EarlyIoremap {
        /// Below [`FIXMAP_EARLY_WINDOWS`].
        window: u32,
        /// Below [`FIXMAP_EARLY_PAGES`].
        page: u32,
    },
}

const FIX_KMAP: u32 = 3;
const FIX_EARLY: u32 = FIX_KMAP + FIXMAP_CPUS * FIXMAP_KMAPS_PER_CPU;
const FIX_END: u32 = FIX_EARLY + FIXMAP_EARLY_WINDOWS * FIXMAP_EARLY_PAGES;
const _: () = assert!(FIXADDR_START.raw() + FIX_END * PAGE_SIZE <= 0xffe0_0000, "one table page serves every slot");

impl FixmapSlot {
    /// Its page (Linux: `__fix_to_virt`); `None` when a number is out of range.
    #[must_use]
    pub const fn address(self) -> Option<VirtAddr> {
        let slot = match self {
            Self::EarlyConsole => 0,
            Self::TextPoke0 => 1,
            Self::TextPoke1 => 2,
            Self::Kmap { cpu, depth } if cpu < FIXMAP_CPUS && depth < FIXMAP_KMAPS_PER_CPU => {
                FIX_KMAP + cpu * FIXMAP_KMAPS_PER_CPU + depth
            }
            Self::EarlyIoremap { window, page } if window < FIXMAP_EARLY_WINDOWS && page < FIXMAP_EARLY_PAGES => {
                FIX_EARLY + window * FIXMAP_EARLY_PAGES + page
            }
            Self::Kmap { .. } | Self::EarlyIoremap { .. } => return None,
        };
        FIXADDR_START.checked_add(slot * PAGE_SIZE)
    }
}

#[cfg(test)]
#[path = "layout_tests.rs"]
mod tests;
