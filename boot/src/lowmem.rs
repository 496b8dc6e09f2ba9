//! Where the linear mapping ends, and how far memblock may allocate before that mapping exists.
//!
//! Theory.      Lowmem is what fits between `PAGE_OFFSET` and the vmalloc area. Three addresses follow from it:
//!              `vmalloc_limit` (what would fit), `lowmem_limit` (what of it is there: the linear mapping's end) and
//!              `memblock_limit`. Early tables come from memblock before the linear mapping is whole, so they must
//!              come from where sections need no table: below the first bank edge that is not on a 2 MiB border.
//!              Without highmem, RAM above the linear mapping is of no use and leaves the map, from `memblock_limit`.
//!              All of it is computed twice: before the reservations, and after them, when no-map regions have turned
//!              one bank into several and moved its end.
//! Picture.     PHYS_OFFSET                    memblock_limit  lowmem_limit       vmalloc_limit
//!              |  bank  | no-map |    bank         |     | no-map |                   |
//!              |<----------- linear mapping ------------>|
//! Where ours is better. Linux clears its own mapping when RAM begins with a no-map region: its first bank then begins
//!              off a 2 MiB border, and its rules take the bytes up to that border away, or leave no room at all. Here
//!              the first bank may begin anywhere, because the head code has mapped it by sections.
//! Not here.    Where virtual areas lie, the tables themselves (paging_init).
//! Source.      Linux arch/arm/mm/mmu.c: adjust_lowmem_bounds, early_vmalloc.
#![forbid(unsafe_code)]

use core::fmt;

use mm::addr::{PGDIR_SIZE, PhysAddr, PhysRange, VirtAddr};
use mm::memblock::{Memblock, MemblockError, Region};

/// One past the last byte of the vmalloc area.
const VMALLOC_END: u32 = 0xff80_0000;
/// Hole between the linear mapping and the vmalloc area, in bytes: it catches overruns.
const VMALLOC_OFFSET: u32 = 8 << 20;
/// Bytes of the vmalloc area without `vmalloc=`.
pub const DEFAULT_VMALLOC: u32 = 240 << 20;
/// The smallest vmalloc area, in bytes.
const MIN_VMALLOC: u32 = 16 << 20;
/// Bytes of lowmem that the largest vmalloc area leaves.
const MIN_LOWMEM: u32 = 32 << 20;
/// Bank edges on multiples of this many bytes need no second-level table.
const PMD_SIZE: u64 = PGDIR_SIZE as u64;

/// What the limits depend on beside the map of memory.
#[derive(Clone, Copy, Debug)]
pub struct LowmemConfig {
    /// Where the linear mapping begins.
    pub page_offset: VirtAddr,
    /// The physical address behind [`Self::page_offset`].
    pub phys_offset: PhysAddr,
    /// Bytes kept for vmalloc, from [`vmalloc_bytes`].
    pub vmalloc_bytes: u32,
    /// RAM outside the linear mapping is wanted (`highmem=off` clears it).
    pub highmem: bool,
    /// The data cache is VIPT and may alias: Linux has no highmem then.
    pub aliasing_cache: bool,
    /// What runs already: from the first-level table to the image's end. Never taken out of the linear mapping.
    pub in_use: PhysRange,
}

/// The limits (all physical addresses are one past the last byte).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct LowmemBounds {
    /// Where RAM would have to end to fit the linear mapping whole.
    pub vmalloc_limit: PhysAddr,
    /// Where the linear mapping ends: the Normal zone's upper bound, and memblock's limit once lowmem is mapped.
    pub lowmem_limit: PhysAddr,
    /// Memblock's limit until lowmem is mapped; a multiple of 2 MiB except where that would leave nothing.
    pub memblock_limit: PhysAddr,
    /// The linear address of [`Self::lowmem_limit`] (Linux: `high_memory`).
    pub high_memory: VirtAddr,
    /// RAM that was taken out of the map; `None` when all stays.
    pub ignored: Option<PhysRange>,
}

/// Why there is no linear mapping; nothing has changed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum LowmemError {
    /// No RAM lies between PHYS_OFFSET and the vmalloc limit.
    NoLowmem {
        /// Where the linear mapping would begin.
        phys_offset: PhysAddr,
        /// Where it would have to end.
        vmalloc_limit: PhysAddr,
    },
    /// The numbers leave no room for a linear mapping at all.
    NoRoom {
        /// Where the linear mapping would begin.
        page_offset: VirtAddr,
        /// Bytes kept for vmalloc.
        vmalloc_bytes: u32,
    },
    /// Memblock refused to change its map.
    Memblock(MemblockError),
}

impl From<MemblockError> for LowmemError {
    fn from(error: MemblockError) -> Self {
        Self::Memblock(error)
    }
}

impl fmt::Display for LowmemError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoLowmem { phys_offset, vmalloc_limit } => {
                write!(f, "lowmem: no RAM between {phys_offset} and {vmalloc_limit}")
            }
            Self::NoRoom { page_offset, vmalloc_bytes } => {
                write!(f, "lowmem: vmalloc={vmalloc_bytes} leaves no linear mapping above {page_offset}")
            }
            Self::Memblock(error) => write!(f, "lowmem: {error}"),
        }
    }
}

/// Bytes kept for vmalloc when `vmalloc=` asks for `asked` bytes; bounded with Linux's lines (Linux: `early_vmalloc`).
#[must_use]
pub fn vmalloc_bytes(asked: Option<u64>, page_offset: VirtAddr) -> u32 {
    let Some(asked) = asked else { return DEFAULT_VMALLOC };
    let most = VMALLOC_END.saturating_sub(page_offset.raw()).saturating_sub(MIN_LOWMEM + VMALLOC_OFFSET);
    let mut bytes = asked;
    if bytes < u64::from(MIN_VMALLOC) {
        bytes = u64::from(MIN_VMALLOC);
        log::warn!("vmalloc area is too small, limiting to {}MiB", bytes >> 20);
    }
    if bytes > u64::from(most) {
        bytes = u64::from(most);
        log::warn!("vmalloc area is too big, limiting to {}MiB", bytes >> 20);
    }
    u32::try_from(bytes).unwrap_or(most)
}

/// Computes the limits, sets memblock's current limit, and drops RAM that can't be used without highmem (Linux:
/// `adjust_lowmem_bounds`). Runs before and again after the reservations.
///
/// # Errors
/// [`LowmemError`]; nothing has changed.
pub fn adjust(memblock: &mut Memblock<'_>, config: &LowmemConfig) -> Result<LowmemBounds, LowmemError> {
    let vmalloc_limit = vmalloc_limit(config)?;
    let unmappable = unmappable_start(memblock, config);
    let usable = |region: &Region| {
        let whole = region.range();
        let start = unmappable.map_or(whole.start, |skipped| whole.start.max(skipped.end.min(whole.end)));
        PhysRange::new(start, whole.end)
    };
    let banks = memblock.memory().iter().filter(|region| !region.is_nomap()).map(usable);
    let low = banks.filter(|bank| !bank.is_empty() && bank.end > config.phys_offset && bank.start < vmalloc_limit);
    let limits = limits_of(low, vmalloc_limit);
    let Some((lowmem_limit, memblock_limit)) = limits else {
        return Err(LowmemError::NoLowmem { phys_offset: config.phys_offset, vmalloc_limit });
    };
    let high_memory = high_memory(config, lowmem_limit)?;

    let end = memblock.end_of_dram();
    let useless = (!config.highmem || config.aliasing_cache) && end > lowmem_limit;
    let ignored = useless.then_some(PhysRange::new(memblock_limit, end));
    if let Some(unmappable) = unmappable {
        memblock.mark_nomap(unmappable)?;
    }
    if let Some(ignored) = ignored {
        log::info!("Ignoring RAM at {}-{}", ignored.start, ignored.end);
        log::info!("Consider using a HIGHMEM enabled kernel.");
        // Nothing lies above the range, so no region is cut in two and no slot is needed.
        memblock.remove(ignored)?;
    }
    memblock.set_current_limit(memblock_limit);
    Ok(LowmemBounds { vmalloc_limit, lowmem_limit, memblock_limit, high_memory, ignored })
}

fn vmalloc_limit(config: &LowmemConfig) -> Result<PhysAddr, LowmemError> {
    let LowmemConfig { page_offset, phys_offset, vmalloc_bytes, .. } = *config;
    let mapped = VMALLOC_END
        .checked_sub(VMALLOC_OFFSET)
        .and_then(|end| end.checked_sub(vmalloc_bytes))
        .and_then(|end| end.checked_sub(page_offset.raw()))
        .filter(|&bytes| bytes > 0);
    let limit = mapped.and_then(|bytes| phys_offset.checked_add(u64::from(bytes)));
    limit.ok_or(LowmemError::NoRoom { page_offset, vmalloc_bytes })
}

fn high_memory(config: &LowmemConfig, lowmem_limit: PhysAddr) -> Result<VirtAddr, LowmemError> {
    let LowmemConfig { page_offset, phys_offset, vmalloc_bytes, .. } = *config;
    let bytes = u32::try_from(lowmem_limit.bytes_since(phys_offset)).ok();
    bytes.and_then(|bytes| page_offset.checked_add(bytes)).ok_or(LowmemError::NoRoom { page_offset, vmalloc_bytes })
}

/// The start of RAM up to the next 2 MiB border, when RAM does not begin on one (Linux marks it no-map). Not where RAM
/// begins with a no-map region, and not where we run.
fn unmappable_start(memblock: &Memblock<'_>, config: &LowmemConfig) -> Option<PhysRange> {
    let start = memblock.start_of_dram();
    let partial = PhysRange::new(start, start.align_up(PMD_SIZE)?);
    let first_is_ours = memblock.memory().first().is_some_and(|region| !region.is_nomap());
    (first_is_ours && !partial.is_empty() && !partial.overlaps(config.in_use)).then_some(partial)
}

/// The linear mapping's end and memblock's limit for `banks` of usable lowmem, lowest first.
fn limits_of(banks: impl Iterator<Item = PhysRange>, vmalloc_limit: PhysAddr) -> Option<(PhysAddr, PhysAddr)> {
    let mut first: Option<PhysRange> = None;
    let mut lowmem_limit = PhysAddr::ZERO;
    let mut unaligned: Option<PhysAddr> = None;
    for bank in banks {
        lowmem_limit = bank.end.min(vmalloc_limit);
        if unaligned.is_none() {
            if first.is_some() && !bank.start.is_aligned(PMD_SIZE) {
                unaligned = Some(bank.start);
            } else if !bank.end.is_aligned(PMD_SIZE) {
                unaligned = Some(lowmem_limit);
            }
        }
        first.get_or_insert(bank);
    }
    let first = first?;
    let rounded = unaligned.unwrap_or(lowmem_limit).align_down(PMD_SIZE);
    // A first bank that ends in its first 2 MiB would leave nothing: the head code has mapped all of it by sections.
    let limit = if rounded > first.start { rounded } else { first.end.min(vmalloc_limit) };
    Some((lowmem_limit, limit))
}

#[cfg(test)]
mod tests {
    use super::*;
    use mm::testing::{capture_log, with_log};

    const MIB: u64 = 1 << 20;

    fn range(start: u64, end: u64) -> PhysRange {
        PhysRange::new(PhysAddr::new(start), PhysAddr::new(end))
    }

    /// 2G/2G split, RAM at 0x8000_0000, tables and image in the first 4 MiB.
    fn config() -> LowmemConfig {
        LowmemConfig {
            page_offset: VirtAddr::new(0x8000_0000),
            phys_offset: PhysAddr::new(0x8000_0000),
            vmalloc_bytes: DEFAULT_VMALLOC,
            highmem: true,
            aliasing_cache: false,
            in_use: range(0x8000_4000, 0x8040_0000),
        }
    }

    struct Map {
        memory: [Region; 32],
        reserved: [Region; 8],
    }

    impl Map {
        fn new() -> Self {
            Self { memory: [Region::EMPTY; 32], reserved: [Region::EMPTY; 8] }
        }

        fn with(&mut self, banks: &[(u64, u64)], nomap: &[(u64, u64)]) -> Memblock<'_> {
            let mut memblock = Memblock::new(&mut self.memory, &mut self.reserved);
            for &(start, end) in banks {
                memblock.add(range(start, end)).unwrap();
            }
            for &(start, end) in nomap {
                memblock.mark_nomap(range(start, end)).unwrap();
            }
            memblock
        }
    }

    fn banks(memblock: &Memblock<'_>) -> Vec<(u64, u64, bool)> {
        let read = |region: &Region| (region.range().start.raw(), region.range().end.raw(), region.is_nomap());
        memblock.memory().iter().map(read).collect()
    }

    fn limits(bounds: &LowmemBounds) -> (u64, u64) {
        (bounds.lowmem_limit.raw(), bounds.memblock_limit.raw())
    }

    /// The AST2500's no-map regions: flash, coldfire, vga.
    const AST2500_NOMAP: [(u64, u64); 3] =
        [(0x9800_0000, 0x9c00_0000), (0x9ef0_0000, 0x9f00_0000), (0x9f00_0000, 0xa000_0000)];

    #[test]
    fn the_ast2500_without_highmem_loses_its_end_when_the_reservations_are_known() {
        let mut map = Map::new();
        let config = LowmemConfig { highmem: false, ..config() };
        let mut memblock = map.with(&[(0x8000_0000, 0xa000_0000)], &[]);
        let (first, log) = with_log(|| adjust(&mut memblock, &config).unwrap());
        assert_eq!(limits(&first), (0xa000_0000, 0xa000_0000));
        assert!(log.is_empty(), "{log:?}");

        for (start, end) in AST2500_NOMAP {
            memblock.mark_nomap(range(start, end)).unwrap();
        }
        let (second, log) = with_log(|| adjust(&mut memblock, &config).unwrap());
        assert_eq!(log, ["Ignoring RAM at 0x9ee00000-0xa0000000", "Consider using a HIGHMEM enabled kernel."]);
        // The zone ends at the lowmem limit, the RAM 1 MiB before: 0x9ef00000 is not on a 2 MiB border.
        assert_eq!(limits(&second), (0x9ef0_0000, 0x9ee0_0000));
        assert_eq!(second.high_memory, VirtAddr::new(0x9ef0_0000));
        assert_eq!(second.ignored, Some(range(0x9ee0_0000, 0xa000_0000)));
        assert_eq!(memblock.current_limit(), PhysAddr::new(0x9ee0_0000));
        let left =
            [(0x8000_0000, 0x9800_0000, false), (0x9800_0000, 0x9c00_0000, true), (0x9c00_0000, 0x9ee0_0000, false)];
        assert_eq!(banks(&memblock), left);
        // 505856 KiB: what `Memory:` gives as the total.
        assert_eq!(memblock.phys_mem_size() >> 10, 505_856);
    }

    #[test]
    fn the_ast2500_with_highmem_keeps_all_of_it() {
        let mut map = Map::new();
        let mut memblock = map.with(&[(0x8000_0000, 0xa000_0000)], &AST2500_NOMAP);
        let (bounds, log) = with_log(|| adjust(&mut memblock, &config()).unwrap());
        assert_eq!(limits(&bounds), (0x9ef0_0000, 0x9ee0_0000));
        assert_eq!(bounds.ignored, None);
        assert!(log.is_empty());
        assert_eq!(memblock.end_of_dram(), PhysAddr::new(0xa000_0000));
    }

    #[test]
    fn an_aliasing_cache_is_as_good_as_no_highmem() {
        let mut map = Map::new();
        let mut memblock = map.with(&[(0x8000_0000, 0xa000_0000)], &AST2500_NOMAP);
        let config = LowmemConfig { aliasing_cache: true, ..config() };
        assert!(adjust(&mut memblock, &config).unwrap().ignored.is_some());
    }

    #[test]
    fn two_gib_at_0x80000000_are_lowmem_up_to_0xf0000000() {
        let mut map = Map::new();
        let mut memblock = map.with(&[(0x8000_0000, 0x1_0000_0000)], &[]);
        let bounds = adjust(&mut memblock, &config()).unwrap();
        assert_eq!(limits(&bounds), (0xf000_0000, 0xf000_0000));
        assert_eq!(bounds.high_memory, VirtAddr::new(0xf000_0000));
        assert_eq!(memblock.end_of_dram(), PhysAddr::new(0x1_0000_0000));
        let log = capture_log(|| {
            adjust(&mut memblock, &LowmemConfig { highmem: false, ..config() }).unwrap();
        });
        assert_eq!(log[0], "Ignoring RAM at 0xf0000000-0x100000000");
    }

    #[test]
    fn a_three_to_one_split_ends_where_linux_measured() {
        let mut map = Map::new();
        let mut memblock = map.with(&[(0x8000_0000, 0x1_0000_0000)], &[]);
        let config = LowmemConfig { page_offset: VirtAddr::new(0xc000_0000), ..config() };
        let bounds = adjust(&mut memblock, &config).unwrap();
        assert_eq!(limits(&bounds), (0xb000_0000, 0xb000_0000));
        assert_eq!(bounds.high_memory, VirtAddr::new(0xf000_0000));
    }

    #[test]
    fn physical_and_virtual_addresses_may_differ_and_ram_may_begin_at_0() {
        for phys_offset in [0, 0x4000_0000] {
            let mut map = Map::new();
            let mut memblock = map.with(&[(phys_offset, phys_offset + 0x1000_0000)], &[]);
            let config = LowmemConfig { phys_offset: PhysAddr::new(phys_offset), ..config() };
            let bounds = adjust(&mut memblock, &config).unwrap();
            assert_eq!(limits(&bounds), (phys_offset + 0x1000_0000, phys_offset + 0x1000_0000));
            assert_eq!(bounds.high_memory, VirtAddr::new(0x9000_0000));
            // 0xff800000 - 240 MiB - 8 MiB - 0x80000000 = 0x70000000
            assert_eq!(bounds.vmalloc_limit, PhysAddr::new(phys_offset + 0x7000_0000));
        }
    }

    #[test]
    fn a_later_bank_that_begins_off_a_border_bounds_memblock_and_the_first_does_not() {
        let mut map = Map::new();
        let mut memblock = map.with(&[(0x8000_0000, 0x8800_0000), (0x8810_0000, 0x9000_0000)], &[]);
        assert_eq!(limits(&adjust(&mut memblock, &config()).unwrap()), (0x9000_0000, 0x8800_0000));

        // An unaligned end bounds too, and the first bound counts.
        let mut map = Map::new();
        let mut memblock = map.with(&[(0x8000_0000, 0x8790_0000), (0x8810_0000, 0x9000_0000)], &[]);
        assert_eq!(limits(&adjust(&mut memblock, &config()).unwrap()), (0x9000_0000, 0x8780_0000));
    }

    #[test]
    fn ram_that_begins_off_a_border_loses_the_part_before_it() {
        let mut map = Map::new();
        let mut memblock = map.with(&[(0x8010_0000, 0x9000_0000)], &[]);
        let config = LowmemConfig { in_use: range(0x8020_4000, 0x8060_0000), ..config() };
        let bounds = adjust(&mut memblock, &config).unwrap();
        assert_eq!(limits(&bounds), (0x9000_0000, 0x9000_0000));
        assert_eq!(banks(&memblock), [(0x8010_0000, 0x8020_0000, true), (0x8020_0000, 0x9000_0000, false)]);
        // The second run finds it marked and leaves it at that.
        assert_eq!(adjust(&mut memblock, &config).unwrap(), bounds);
        assert_eq!(memblock.memory().len(), 2);
    }

    #[test]
    fn ram_that_we_run_in_is_never_taken_out_of_the_mapping() {
        let mut map = Map::new();
        let mut memblock = map.with(&[(0x8010_0000, 0x9000_0000)], &[]);
        let config = LowmemConfig { in_use: range(0x8010_4000, 0x8060_0000), ..config() };
        assert_eq!(limits(&adjust(&mut memblock, &config).unwrap()), (0x9000_0000, 0x9000_0000));
        assert_eq!(banks(&memblock), [(0x8010_0000, 0x9000_0000, false)]);
    }

    #[test]
    fn a_no_map_region_at_the_very_start_of_ram_costs_nothing_else() {
        let mut map = Map::new();
        let mut memblock = map.with(&[(0x8000_0000, 0x9000_0000)], &[(0x8000_0000, 0x8000_1000)]);
        let bounds = adjust(&mut memblock, &config()).unwrap();
        assert_eq!(limits(&bounds), (0x9000_0000, 0x9000_0000));
        assert_eq!(banks(&memblock), [(0x8000_0000, 0x8000_1000, true), (0x8000_1000, 0x9000_0000, false)]);
        // Nor does it bound memblock to the first of two banks.
        let mut map = Map::new();
        let two = [(0x8000_0000, 0x8800_0000), (0x8c00_0000, 0x9000_0000)];
        let mut memblock = map.with(&two, &[(0x8000_0000, 0x8000_1000)]);
        assert_eq!(limits(&adjust(&mut memblock, &config()).unwrap()), (0x9000_0000, 0x9000_0000));
    }

    #[test]
    fn a_first_bank_that_ends_inside_its_first_2_mib_still_leaves_room() {
        let mut map = Map::new();
        let mut memblock = map.with(&[(0x8000_0000, 0x9000_0000)], &[(0x8010_0000, 0x8018_0000)]);
        assert_eq!(limits(&adjust(&mut memblock, &config()).unwrap()), (0x9000_0000, 0x8010_0000));
    }

    #[test]
    fn no_lowmem_is_an_error_that_changes_nothing() {
        let mut map = Map::new();
        let mut memblock = map.with(&[(0xf810_0000, 0x1_0000_0000)], &[]);
        let error = adjust(&mut memblock, &LowmemConfig { highmem: false, ..config() }).unwrap_err();
        assert_eq!(error.to_string(), "lowmem: no RAM between 0x80000000 and 0xf0000000");
        assert_eq!(banks(&memblock), [(0xf810_0000, 0x1_0000_0000, false)]);
        let mut map = Map::new();
        assert!(adjust(&mut map.with(&[], &[]), &config()).is_err());
        let mut map = Map::new();
        let all_nomap = adjust(&mut map.with(&[(0x8000_0000, 0x9000_0000)], &[(0x8000_0000, 0x9000_0000)]), &config());
        assert!(matches!(all_nomap, Err(LowmemError::NoLowmem { .. })));
        let mut map = Map::new();
        let huge = LowmemConfig { vmalloc_bytes: u32::MAX, ..config() };
        let no_room = adjust(&mut map.with(&[(0x8000_0000, 0x9000_0000)], &[]), &huge);
        assert!(matches!(no_room, Err(LowmemError::NoRoom { .. })));
    }

    #[test]
    fn vmalloc_is_bounded_with_linux_lines() {
        let page_offset = VirtAddr::new(0x8000_0000);
        let bounded = |asked| with_log(|| vmalloc_bytes(asked, page_offset));
        assert_eq!(bounded(None), (DEFAULT_VMALLOC, vec![]));
        assert_eq!(bounded(Some(256 * MIB)), (256 << 20, vec![]));
        let (bytes, log) = bounded(Some(4 * MIB));
        assert_eq!((bytes, log), (16 << 20, vec!["vmalloc area is too small, limiting to 16MiB".to_string()]));
        // 0xff800000 - 0x80000000 - 32 MiB - 8 MiB = 2000 MiB
        let (bytes, log) = bounded(Some(4096 * MIB));
        assert_eq!((bytes, log), (2000 << 20, vec!["vmalloc area is too big, limiting to 2000MiB".to_string()]));
        let mut map = Map::new();
        let mut memblock = map.with(&[(0x8000_0000, 0xa000_0000)], &[]);
        let config = LowmemConfig { vmalloc_bytes: 2000 << 20, ..config() };
        assert_eq!(adjust(&mut memblock, &config).unwrap().lowmem_limit, PhysAddr::new(0x8200_0000));
    }
}
