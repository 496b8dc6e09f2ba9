//! The layout of the first chunk, its images and its offsets.
//!
//! Theory.      A unit is the static image, the reserved part and at least the wanted dynamic part; the dynamic part
//!              takes what is left to a whole page. A unit has at least 32 KiB; of a smaller need the tail goes back.
//! Invariants.  static + reserved + dynamic = used, a whole number of pages, used <= unit.
//! Source.      Linux mm/percpu.c: pcpu_build_alloc_info, pcpu_embed_first_chunk, pcpu_dump_alloc_info.
#![forbid(unsafe_code)]

use core::fmt;

use crate::addr::{PAGE_SIZE, VirtAddr};
use crate::zone::plan::Sink;

/// Bytes reserved for per-CPU variables of modules (Linux: `PERCPU_MODULE_RESERVE`).
pub const MODULE_RESERVE: u32 = 8 << 10;
/// The least bytes for dynamic allocations on 32 bit (Linux: `PERCPU_DYNAMIC_RESERVE`).
pub const DYNAMIC_RESERVE: u32 = 20 << 10;
/// The least bytes of a unit, and the most of one allocation (Linux: `PCPU_MIN_UNIT_SIZE`).
pub const MIN_UNIT_SIZE: u32 = 32 << 10;

/// How the first chunk is made (`percpu_alloc=`).
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum FirstChunk {
    /// Whatever suits the machine: embedded.
    #[default]
    Auto,
    /// In one piece in the linear mapping.
    Embed,
    /// Page by page, mapped in the vmalloc area.
    Page,
}

impl FirstChunk {
    /// The way that `text` names; `None` for any other text.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        match text {
            "auto" => Some(Self::Auto),
            "embed" => Some(Self::Embed),
            "page" => Some(Self::Page),
            _ => None,
        }
    }
}

/// Why there is no layout or no image.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum LayoutError {
    /// No CPU.
    NoCpu,
    /// The chunk would not fit into 32 bits of address.
    TooLarge,
    /// The chunk's memory has this many bytes, the layout another number.
    ChunkSize(usize),
    /// The static image has this many bytes, the layout another number.
    ImageSize(usize),
}

impl fmt::Display for LayoutError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoCpu => f.write_str("percpu: no CPU to lay out units for"),
            Self::TooLarge => f.write_str("percpu: the first chunk does not fit the address space"),
            Self::ChunkSize(bytes) => write!(f, "percpu: a chunk of {bytes} bytes does not match the layout"),
            Self::ImageSize(bytes) => write!(f, "percpu: a static image of {bytes} bytes does not match the layout"),
        }
    }
}

/// Sizes of the first chunk, in bytes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ChunkLayout {
    static_size: u32,
    reserved_size: u32,
    dynamic_size: u32,
    unit_size: u32,
    cpus: u32,
}

impl ChunkLayout {
    /// The layout of an embedded chunk for `cpus` CPUs (Linux: `pcpu_build_alloc_info` for pages).
    ///
    /// `static_size`: bytes of the image's per-CPU section. `reserved`, `dynamic`: bytes wanted; dynamic grows to a
    /// whole page.
    ///
    /// # Errors
    /// [`LayoutError::NoCpu`], [`LayoutError::TooLarge`].
    pub fn embed(static_size: u32, reserved: u32, dynamic: u32, cpus: u32) -> Result<Self, LayoutError> {
        if cpus == 0 {
            return Err(LayoutError::NoCpu);
        }
        let fixed = static_size.checked_add(reserved).ok_or(LayoutError::TooLarge)?;
        let used = fixed
            .checked_add(dynamic)
            .and_then(|sum| sum.checked_next_multiple_of(PAGE_SIZE))
            .ok_or(LayoutError::TooLarge)?;
        let unit_size = used.max(MIN_UNIT_SIZE);
        unit_size.checked_mul(cpus).ok_or(LayoutError::TooLarge)?;
        Ok(Self { static_size, reserved_size: reserved, dynamic_size: used - fixed, unit_size, cpus })
    }

    /// The layout with Linux's reserves.
    ///
    /// # Errors
    /// As [`Self::embed`].
    pub fn first(static_size: u32, cpus: u32) -> Result<Self, LayoutError> {
        Self::embed(static_size, MODULE_RESERVE, DYNAMIC_RESERVE, cpus)
    }

    /// Bytes of the static image.
    #[must_use]
    pub const fn static_size(&self) -> u32 {
        self.static_size
    }

    /// Bytes reserved behind it.
    #[must_use]
    pub const fn reserved_size(&self) -> u32 {
        self.reserved_size
    }

    /// Bytes for dynamic allocations behind those.
    #[must_use]
    pub const fn dynamic_size(&self) -> u32 {
        self.dynamic_size
    }

    /// Bytes from one unit to the next, whole pages.
    #[must_use]
    pub const fn unit_size(&self) -> u32 {
        self.unit_size
    }

    /// Bytes of a unit that are in use, whole pages; what is behind them in the unit can be given back.
    #[must_use]
    pub const fn used_size(&self) -> u32 {
        self.static_size + self.reserved_size + self.dynamic_size
    }

    /// Number of units.
    #[must_use]
    pub const fn cpus(&self) -> u32 {
        self.cpus
    }

    /// Bytes of the whole chunk, which the caller takes from memblock at [`Self::align`].
    #[must_use]
    pub const fn chunk_size(&self) -> u32 {
        self.unit_size * self.cpus
    }

    /// Alignment of the chunk in bytes.
    #[must_use]
    pub const fn align(&self) -> u32 {
        PAGE_SIZE
    }

    /// Where the unit of `cpu` begins in the chunk, in bytes; `None` for a CPU that has none.
    #[must_use]
    pub const fn unit_offset(&self, cpu: u32) -> Option<u32> {
        if cpu < self.cpus { Some(cpu * self.unit_size) } else { None }
    }

    /// Fills `chunk`: the static image at the start of each unit, zeros behind it.
    ///
    /// # Errors
    /// [`LayoutError::ChunkSize`], [`LayoutError::ImageSize`]; nothing is written then.
    pub fn fill(&self, chunk: &mut [u8], image: &[u8]) -> Result<(), LayoutError> {
        if chunk.len() != self.chunk_size() as usize {
            return Err(LayoutError::ChunkSize(chunk.len()));
        }
        if image.len() != self.static_size as usize {
            return Err(LayoutError::ImageSize(image.len()));
        }
        for unit in chunk.chunks_exact_mut(self.unit_size as usize) {
            if let Some((copy, rest)) = unit.split_at_mut_checked(image.len()) {
                copy.copy_from_slice(image);
                rest.fill(0);
            }
        }
        Ok(())
    }

    /// Writes `percpu: Embedded N pages/cpu s… r… d… u…` to `sink`.
    pub fn write_summary(&self, sink: Sink<'_>) {
        let Self { static_size, reserved_size, dynamic_size, unit_size, .. } = self;
        let pages = self.used_size() / PAGE_SIZE;
        sink(format_args!(
            "percpu: Embedded {pages} pages/cpu s{static_size} r{reserved_size} d{dynamic_size} u{unit_size}"
        ));
    }

    /// Writes the `pcpu-alloc:` lines to `sink`: the sizes, then group and CPU of each unit.
    pub fn write_units(&self, sink: Sink<'_>) {
        let Self { static_size, reserved_size, dynamic_size, unit_size, cpus } = *self;
        let pages = unit_size / PAGE_SIZE;
        sink(format_args!(
            "pcpu-alloc: s{static_size} r{reserved_size} d{dynamic_size} u{unit_size} alloc={pages}*{PAGE_SIZE}"
        ));
        let mut first = 0;
        while first < cpus {
            let end = first.saturating_add(units_a_line(cpus)).min(cpus);
            sink(format_args!("pcpu-alloc: {}", UnitLine { first, end, cpus }));
            first = end;
        }
    }

    /// Both into the kernel's log, the second at debug level as in Linux.
    pub fn log(&self) {
        self.write_summary(&mut |line| log::info!("{line}"));
        self.write_units(&mut |line| log::debug!("{line}"));
    }
}

/// Digits of the highest CPU count, which every CPU number is padded to.
const fn cpu_digits(cpus: u32) -> u32 {
    match cpus.checked_ilog10() {
        Some(log) => log + 1,
        None => 1,
    }
}

/// Units that a log line shows: the power of two whose entries, `[0] ` and a padded number, fit into 60 characters.
const fn units_a_line(cpus: u32) -> u32 {
    let fit = 60 / (cpu_digits(cpus) + 5);
    1 << if fit == 0 { 0 } else { fit.ilog2() }
}

/// The units `first..end` as a log line shows them.
struct UnitLine {
    first: u32,
    end: u32,
    cpus: u32,
}

impl fmt::Display for UnitLine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let width = cpu_digits(self.cpus) as usize;
        (self.first..self.end).try_for_each(|cpu| write!(f, "[0] {cpu:0width$} "))
    }
}

/// Where the units lie, relative to the linked per-CPU section.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct UnitOffsets {
    layout: ChunkLayout,
    delta: u32,
}

impl UnitOffsets {
    /// The offsets of a chunk at `chunk` for a section linked at `section`.
    #[must_use]
    pub const fn new(layout: ChunkLayout, chunk: VirtAddr, section: VirtAddr) -> Self {
        Self { layout, delta: chunk.raw().wrapping_sub(section.raw()) }
    }

    /// What `cpu` adds (wrapping) to a per-CPU variable's link address: the value of its TPIDRPRW (Linux:
    /// `__per_cpu_offset`). `None` for a CPU without a unit.
    #[must_use]
    pub const fn offset(&self, cpu: u32) -> Option<u32> {
        match self.layout.unit_offset(cpu) {
            Some(unit) => Some(self.delta.wrapping_add(unit)),
            None => None,
        }
    }

    /// The address, on `cpu`, of the variable linked at `link`. `None` for a CPU without a unit.
    #[must_use]
    pub const fn address(&self, link: VirtAddr, cpu: u32) -> Option<VirtAddr> {
        match self.offset(cpu) {
            Some(offset) => Some(VirtAddr::new(link.raw().wrapping_add(offset))),
            None => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::format;
    use std::string::String;
    use std::vec;
    use std::vec::Vec;

    use super::*;

    fn lines(layout: &ChunkLayout) -> Vec<String> {
        let mut lines = Vec::new();
        layout.write_summary(&mut |line| lines.push(format!("{line}")));
        layout.write_units(&mut |line| lines.push(format!("{line}")));
        lines
    }

    #[test]
    fn the_reference_boots_layout_and_lines_come_out() {
        // 45,012 + 8,192 + 20,480 = 73,684, rounded up to 18 pages: 44 bytes more for dynamic ones.
        let layout = ChunkLayout::first(45_012, 2).unwrap();
        assert_eq!(
            lines(&layout),
            [
                "percpu: Embedded 18 pages/cpu s45012 r8192 d20524 u73728",
                "pcpu-alloc: s45012 r8192 d20524 u73728 alloc=18*4096",
                "pcpu-alloc: [0] 0 [0] 1 ",
            ]
        );
        assert_eq!((layout.chunk_size(), layout.align()), (147_456, 4096));
    }

    #[test]
    fn the_boards_layout_comes_out() {
        let layout = ChunkLayout::first(35_148, 1).unwrap();
        assert_eq!(lines(&layout)[0], "percpu: Embedded 16 pages/cpu s35148 r8192 d22196 u65536");
    }

    #[test]
    fn a_small_image_still_has_a_unit_of_32_kib_and_a_tail_to_give_back() {
        let layout = ChunkLayout::first(0, 4).unwrap();
        assert_eq!((layout.used_size(), layout.unit_size()), (28_672, 32_768));
        assert_eq!(lines(&layout)[2], "pcpu-alloc: [0] 0 [0] 1 [0] 2 [0] 3 ");
    }

    #[test]
    fn many_cpus_take_several_lines_with_padded_numbers() {
        let lines = lines(&ChunkLayout::first(100, 10).unwrap());
        assert_eq!(lines[2], "pcpu-alloc: [0] 00 [0] 01 [0] 02 [0] 03 [0] 04 [0] 05 [0] 06 [0] 07 ");
        assert_eq!(lines[3], "pcpu-alloc: [0] 08 [0] 09 ");
    }

    #[test]
    fn sizes_that_cannot_be_are_refused() {
        assert_eq!(ChunkLayout::first(1, 0), Err(LayoutError::NoCpu));
        assert_eq!(ChunkLayout::first(u32::MAX, 1), Err(LayoutError::TooLarge));
        assert_eq!(ChunkLayout::first(u32::MAX - (30 << 10), 1), Err(LayoutError::TooLarge));
        assert_eq!(ChunkLayout::first(1 << 20, 4096), Err(LayoutError::TooLarge));
    }

    #[test]
    fn every_unit_gets_the_image_and_zeros_behind_it() {
        let layout = ChunkLayout::first(5, 3).unwrap();
        let mut chunk = vec![0xaa; layout.chunk_size() as usize];
        layout.fill(&mut chunk, b"quire").unwrap();
        for cpu in 0..3 {
            let unit = &chunk[layout.unit_offset(cpu).unwrap() as usize..][..layout.unit_size() as usize];
            assert!(unit.starts_with(b"quire") && unit[5..].iter().all(|&byte| byte == 0));
        }
        assert_eq!(layout.unit_offset(3), None);
    }

    #[test]
    fn a_wrong_image_or_chunk_is_refused_and_nothing_is_written() {
        let layout = ChunkLayout::first(5, 1).unwrap();
        let mut chunk = vec![0xaa; layout.chunk_size() as usize];
        assert_eq!(layout.fill(&mut chunk, b"four"), Err(LayoutError::ImageSize(4)));
        assert_eq!(layout.fill(&mut chunk[1..], b"quire"), Err(LayoutError::ChunkSize(32_767)));
        assert!(chunk.iter().all(|&byte| byte == 0xaa));
    }

    #[test]
    fn a_cpus_offset_leads_from_the_linked_section_to_its_unit() {
        let layout = ChunkLayout::first(45_012, 2).unwrap();
        // The chunk can lie below the section: the sum wraps.
        let offsets = UnitOffsets::new(layout, VirtAddr::new(0x8eb0_0000), VirtAddr::new(0xc010_0000));
        let variable = VirtAddr::new(0xc010_0040);
        assert_eq!(offsets.address(variable, 0), Some(VirtAddr::new(0x8eb0_0040)));
        assert_eq!(offsets.address(variable, 1), Some(VirtAddr::new(0x8eb1_2040)));
        assert_eq!(offsets.offset(2), None);
    }

    #[test]
    fn the_boot_argument_names_three_ways() {
        assert_eq!(FirstChunk::parse("auto"), Some(FirstChunk::Auto));
        assert_eq!(FirstChunk::parse("embed"), Some(FirstChunk::Embed));
        assert_eq!(FirstChunk::parse("page"), Some(FirstChunk::Page));
        assert_eq!(FirstChunk::parse("pages"), None);
    }
}
