//! Limits of machines, from the AST2500 to ones that Linux would spoil.

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
        highmem_bytes: None,
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
    let left = [(0x8000_0000, 0x9800_0000, false), (0x9800_0000, 0x9c00_0000, true), (0x9c00_0000, 0x9ee0_0000, false)];
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

#[test]
fn a_size_of_highmem_lowers_lowmem_and_one_that_leaves_too_little_is_ignored() {
    let bounds = |highmem_bytes: Option<u64>| {
        let mut map = Map::new();
        let mut memblock = map.with(&[(0x8000_0000, 0x1_0000_0000)], &[]);
        adjust(&mut memblock, &LowmemConfig { highmem_bytes, ..config() }).unwrap()
    };
    let usual = bounds(None);
    for (bytes, end) in [(1_u64 << 30, 0xc000_0000_u32), ((1 << 30) + 4096, 0xbfe0_0000)] {
        let forced = bounds(Some(bytes));
        assert_eq!((forced.lowmem_limit.raw(), forced.high_memory.raw()), (u64::from(end), end));
        assert_eq!(forced.ignored, None);
    }
    // More than that is highmem anyway; all of it is lowmem that somebody needs; more than there is.
    for bytes in [16 << 20, (2 << 30) - (16 << 20), 4 << 30] {
        assert_eq!(bounds(Some(bytes)), usual, "{bytes:#x}");
    }
}
