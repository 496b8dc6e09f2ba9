//! The views, letter by letter.

use std::string::ToString;

use super::*;
use crate::buddy::model::range;
use crate::gfp::GfpFlags;
use crate::page_alloc::Watermarks;
use crate::page_alloc::tests::classic::cases::fixture::{Machine, NORMAL};

#[test]
fn the_memory_line_has_linuxs_words_and_must_add_up() {
    let image =
        ImageSizes { code: 11264 << 10, rwdata: 1700 << 10, rodata: 3732 << 10, init: 2048 << 10, bss: 377 << 10 };
    // 478032 + 29872 + 16384 = 524288 KiB.
    let line = MemoryLine::new(131_072, 119_508, 7_468 + 4_096, 4_096, 0, image).unwrap();
    assert_eq!(
        line.to_string(),
        "Memory: 478032K/524288K available (11264K kernel code, 1700K rwdata, 3732K rodata, 2048K init, 377K bss, \
         29872K reserved, 16384K cma-reserved, 0K highmem)"
    );
    let lost = MemoryLine::new(131_072, 119_507, 7_468 + 4_096, 4_096, 0, image);
    assert_eq!(lost, Err(Unbalanced { total: 131_072, available: 119_507, reserved: 7_468, cma: 4_096 }));
}

#[test]
fn the_memory_line_is_made_of_the_hand_over_and_of_the_map() {
    let mut machine = Machine::empty();
    let done = machine.free_all([range(0x407, 0x1200), range(0x1300, 0x1500)], []).unwrap();
    let tally = machine.validate().unwrap();
    let present = machine.zones().iter().map(|zone| zone.stats().present).sum();
    let line = MemoryLine::new(present, done.managed, tally.reserved, 0, done.highmem, ImageSizes::default()).unwrap();
    // 0xdf9 + 0x200 = 4089 pages free, 6044 present, 256 of the free ones in HighMem.
    assert!(line.to_string().starts_with("Memory: 16356K/24176K available ("));
    assert!(line.to_string().ends_with("7820K reserved, 0K cma-reserved, 1024K highmem)"));
}

#[test]
fn buddyinfo_has_a_line_a_zone_and_a_column_an_order() {
    let machine = Machine::full();
    machine.alloc_page(GfpFlags::GFP_KERNEL).unwrap();
    let expected = "\
Node 0, zone   Normal      1      1      1      1      1      1      1      1      1      1      3 
Node 0, zone  HighMem      0      0      1      1      1      0      0      1      1      1      1 
";
    assert_eq!(BuddyInfo(&machine).to_string(), expected);
}

#[test]
fn pagetypeinfo_counts_free_blocks_and_pageblocks_by_type() {
    let machine = Machine::full();
    machine.alloc_page(GfpFlags::GFP_KERNEL).unwrap();
    let text = PageTypeInfo(&machine).to_string();
    let lines: Vec<_> = text.lines().collect();
    assert_eq!(lines[..2], ["Page block order: 10", "Pages per block:  1024"]);
    assert_eq!(
        lines[3..5],
        [
            "Free pages count per migrate type at order       0      1      2      3      4      5      6      7      8      9     10 ",
            "Node    0, zone   Normal, type    Unmovable      1      1      1      1      1      1      1      1      1      1      0 ",
        ]
    );
    assert_eq!(
        lines[lines.len() - 3..],
        [
            "Number of blocks type     Unmovable  Reclaimable      Movable      Reserve          CMA      Isolate ",
            "Node 0, zone   Normal            1            0            3            0            0            0 ",
            // The block at 0x1800 begins with a hole, and does not count.
            "Node 0, zone  HighMem            0            0            1            0            0            0 ",
        ]
    );
}

#[test]
fn zoneinfo_shows_limits_sizes_and_pagesets_also_of_zones_that_are_not_there() {
    let machine = Machine::full().with_pagesets(1);
    machine.set_watermarks(NORMAL, &Watermarks { min: 10, low: 12, high: 15, lowmem_reserve: [0, 0, 7, 7] });
    machine.alloc_page(GfpFlags::GFP_KERNEL).unwrap();
    let text = ZoneInfo(&machine).to_string();
    let normal = "\
Node 0, zone   Normal
  pages free     4088
        min      10
        low      12
        high     15
        spanned  4096
        present  4096
        managed  4096
        cma      0
        protection: (0, 0, 7, 7)
      nr_free_pages 4089
      nr_alloc_batch 3
      numa_hit     1
      numa_miss    0
      numa_foreign 0
      numa_local   1
      numa_other   0
      nr_free_cma  0
  pagesets
    cpu: 0
              count: 7
              high:  42
              batch: 7
  vm stats threshold: 2
  start_pfn:           1024
";
    assert!(text.starts_with("Node 0, zone      DMA\n  pages free     0\n"));
    assert!(text.contains(normal), "{text}");
}

#[test]
fn meminfo_tells_low_from_high_memory() {
    let machine = Machine::full();
    machine.set_watermarks(NORMAL, &Watermarks { min: 10, low: 12, high: 15, lowmem_reserve: [0, 0, 7, 7] });
    machine.alloc_page(GfpFlags::GFP_KERNEL).unwrap();
    let users = MemUsers { slab: 400, slab_reclaimable: 100, vmalloc_total: 9, vmalloc_used: 4, vmalloc_chunk: 3 };
    let text = MemInfo(&machine, users).to_string();
    let value = |name: &str| {
        let line = text.lines().find(|line| line.starts_with(&std::format!("{name}:"))).unwrap();
        line.split_whitespace().nth(1).unwrap().parse::<u32>().unwrap()
    };
    // 6044 pages, 1948 of them in HighMem, one allocated.
    assert!(text.starts_with("MemTotal:          24176 kB\nMemFree:           24172 kB\n"), "{text}");
    assert_eq!(["HighTotal", "HighFree", "LowTotal", "LowFree"].map(value), [7792, 7792, 16384, 16380]);
    // 6043 pages free less 15 + 7 kept, and of the 100 KiB of caches all but the lesser of 50 and 12 pages.
    assert_eq!(value("MemAvailable"), (6043 - 22) * 4 + 100 - 48);
    assert_eq!(["Slab", "SUnreclaim", "VmallocTotal", "Cached", "CmaTotal"].map(value), [400, 300, 9, 0, 0]);
    let node = NodeMemInfo(&machine, NORMAL.node).to_string();
    assert!(node.starts_with("Node 0 MemTotal:          24176 kB\nNode 0 MemFree:           24172 kB\n"), "{node}");
    assert!(node.contains("\nNode 0 MemUsed:               4 kB\n"), "{node}");
}

#[test]
fn vmstat_has_a_name_and_a_number_a_line_and_counts_hits_too() {
    let machine = Machine::full().with_pagesets(1);
    let pages: Vec<_> = (0..5).map(|_| machine.alloc_page(GfpFlags::GFP_KERNEL).unwrap()).collect();
    machine.alloc_page(GfpFlags::GFP_HIGHUSER).unwrap();
    pages.iter().take(2).for_each(|page| machine.free_pages(*page, crate::order::Order::ZERO).unwrap());
    let text = VmStat { zones: &machine, more: &[("pgfault", 3)] }.to_string();
    let lines: Vec<_> = text.lines().map(|line| line.split_once(' ').unwrap()).collect();
    let value = |name| lines.iter().find(|line| line.0 == name).unwrap().1.parse::<u32>().unwrap();
    assert_eq!(["pgalloc_dma", "pgalloc_normal", "pgalloc_high", "pgfree"].map(value), [0, 5, 1, 2]);
    assert_eq!(["numa_hit", "numa_local", "numa_miss", "allocstall", "pgfault"].map(value), [6, 6, 0, 0, 3]);
    // Two refills of 8 pages: a block that is enough comes whole.
    assert_eq!(value("nr_free_pages"), 6044 - 16);
    let names: std::collections::BTreeSet<_> = lines.iter().map(|line| line.0).collect();
    assert_eq!(names.len(), lines.len());
}
