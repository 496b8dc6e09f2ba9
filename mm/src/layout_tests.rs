//! The layout's figures against those of the study notes and of real kernels.

use super::*;

fn layout(split: VmSplit, phys: u64, limit: u64) -> VirtualLayout {
    VirtualLayout::new(LinearMap::new(split.page_offset(), PhysAddr::new(phys), PhysAddr::new(limit)).unwrap())
}

#[test]
fn the_ast2500_has_the_layout_of_the_notes() {
    let layout = layout(VmSplit::TwoTwo, 0x8000_0000, 0x9ef0_0000);
    assert_eq!(layout.modules_start(), VirtAddr::new(0x7f00_0000));
    assert_eq!(layout.pkmap_start(), VirtAddr::new(0x7fe0_0000));
    // 0x9ef0_0000 + 8 MiB = 0x9f70_0000, down to a multiple of 8 MiB.
    assert_eq!(layout.vmalloc_start(), VirtAddr::new(0x9f00_0000));
}

#[test]
fn two_gigabytes_leave_vmalloc_240_megabytes() {
    let layout = layout(VmSplit::TwoTwo, 0x8000_0000, 0xf000_0000);
    assert_eq!(layout.linear.high_memory(), VirtAddr::new(0xf000_0000));
    assert_eq!(layout.vmalloc_start(), VirtAddr::new(0xf080_0000));
}

#[test]
fn three_to_one_has_the_addresses_of_a_measured_linux() {
    let small = layout(VmSplit::ThreeOne, 0x8000_0000, 0x9ef0_0000);
    assert_eq!(small.modules_start(), VirtAddr::new(0xbf00_0000));
    assert_eq!(small.pkmap_start(), VirtAddr::new(0xbfe0_0000));
    assert_eq!(small.linear.high_memory(), VirtAddr::new(0xdef0_0000));
    assert_eq!(small.vmalloc_start(), VirtAddr::new(0xdf00_0000));
    assert_eq!(layout(VmSplit::ThreeOne, 0x8000_0000, 0xa000_0000).vmalloc_start(), VirtAddr::new(0xe080_0000));
}

#[test]
fn lowmem_addresses_convert_both_ways_and_others_not_at_all() {
    // RAM that ends at 2^32, at 0xc000_0000; RAM at 0.
    for (phys, limit) in [(0xc000_0000_u64, 1_u64 << 32), (0, 0x3c00_0000), (0x4000_0000, 0x4800_0000)] {
        let map = LinearMap::new(VirtAddr::new(0x8000_0000), PhysAddr::new(phys), PhysAddr::new(limit)).unwrap();
        for pa in [phys, phys + 1, limit - 1].map(PhysAddr::new) {
            assert_eq!(map.virt_to_phys(map.phys_to_virt(pa).unwrap()), Some(pa));
        }
        assert_eq!(map.phys_to_virt(PhysAddr::new(limit)), None);
        assert_eq!(phys.checked_sub(1).map(PhysAddr::new).and_then(|pa| map.phys_to_virt(pa)), None);
        assert_eq!(map.virt_to_phys(map.high_memory()), None);
        assert_eq!(map.virt_to_phys(VirtAddr::new(0x7fff_ffff)), None);
        assert_eq!(map.phys_to_virt(PhysAddr::MAX), None);
    }
}

#[test]
fn a_linear_map_that_cannot_be_is_refused() {
    let map = |phys, limit| LinearMap::new(VirtAddr::new(0x8000_0000), PhysAddr::new(phys), PhysAddr::new(limit));
    assert_eq!(map(0x8010_0000, 0x9000_0000), None, "PHYS_OFFSET is a multiple of 2 MiB");
    assert_eq!(map(0x8000_0000, 0x8000_0000), None, "empty");
    assert_eq!(map(0x8000_0000, 0x4000_0000), None, "upside down");
    // 0xff80_0000 - 8 MiB - 0x8000_0000 is the most.
    assert!(map(0, 0x7f00_0000).is_some());
    assert_eq!(map(0, 0x7f00_1000), None, "no room for vmalloc");
    assert_eq!(map(0xf000_0000, (1 << 32) + 0x1000), None, "above what the MMU reaches");
}

#[test]
fn areas_ascend_and_are_disjoint() {
    for (split, limit) in [(VmSplit::TwoTwo, 0xf000_0000), (VmSplit::ThreeOne, 0x9ef0_0000)] {
        let areas = layout(split, 0x8000_0000, limit).areas();
        for (lower, upper) in areas.iter().zip(&areas[1..]) {
            assert!(lower.start < lower.last && lower.last < upper.start, "{lower:?} {upper:?}");
        }
    }
}

#[test]
fn every_fixmap_slot_has_a_page_of_its_own_in_the_first_pgd() {
    assert_eq!(FixmapSlot::EarlyConsole.address(), Some(FIXADDR_START));
    let kmaps = (0..4).flat_map(|cpu| (0..16).map(move |depth| FixmapSlot::Kmap { cpu, depth }));
    let early = (0..7).flat_map(|window| (0..32).map(move |page| FixmapSlot::EarlyIoremap { window, page }));
    let fixed = [FixmapSlot::EarlyConsole, FixmapSlot::TextPoke0, FixmapSlot::TextPoke1];
    let pages: Vec<_> = fixed.into_iter().chain(kmaps).chain(early).map(|slot| slot.address().unwrap()).collect();
    let mut unique = pages.clone();
    unique.sort();
    unique.dedup();
    assert_eq!(unique.len(), 3 + 64 + 224);
    assert!(pages.iter().all(|page| *page >= FIXADDR_START && page.raw() < 0xffe0_0000));
    assert_eq!(FixmapSlot::Kmap { cpu: 4, depth: 0 }.address(), None);
    assert_eq!(FixmapSlot::EarlyIoremap { window: 0, page: 32 }.address(), None);
}

#[test]
fn the_layout_block_reads_as_linux_printed_it() {
    let part = |start, end| (VirtAddr::new(start), VirtAddr::new(end));
    let image = ImageSections {
        text: part(0x8000_8000, 0x8065_8750),
        init: part(0x8065_9000, 0x8078_2000),
        data: part(0x8078_2000, 0x807b_1920),
        bss: part(0x807b_1920, 0x807d_b378),
    };
    let lines = layout(VmSplit::TwoTwo, 0x8000_0000, 0x9ef0_0000).log_lines(&image).map(|line| line.to_string());
    let wanted = [
        "vector  : 0xffff0000 - 0xffff1000   (   4 kB)",
        "fixmap  : 0xffc80000 - 0xfff00000   (2560 kB)",
        "vmalloc : 0x9f000000 - 0xff800000   (1544 MB)",
        "lowmem  : 0x80000000 - 0x9ef00000   ( 495 MB)",
        "pkmap   : 0x7fe00000 - 0x80000000   (   2 MB)",
        "modules : 0x7f000000 - 0x7fe00000   (  14 MB)",
        // 0x65_0750 bytes are 6465.8 KiB, and so on.
        "  .text : 0x80008000 - 0x80658750   (6466 kB)",
        "  .init : 0x80659000 - 0x80782000   (1188 kB)",
        "  .data : 0x80782000 - 0x807b1920   ( 191 kB)",
        "   .bss : 0x807b1920 - 0x807db378   ( 167 kB)",
    ];
    assert_eq!(lines, wanted);
}
