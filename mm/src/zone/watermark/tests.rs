//! Linux's formulas fed with Linux's own managed counts.

use super::*;

/// Pages that the reference boots freed after the marks were set: 512 of init sections, 216 of the initramfs.
const FREED_LATER: u32 = 512 + 216;

/// A machine of one node.
fn one_node(managed: PerZone<u32>) -> PerNodeZone<u32> {
    [managed, [0; 4], [0; 4], [0; 4]]
}

/// What Linux 6.1 sets on a machine whose zones had `dma` and `highmem` managed pages when it looked.
fn linux6(dma: u32, highmem: u32, source: ZoneType) -> (u32, PerZone<Watermarks>) {
    let managed = one_node([dma, 0, highmem, 0]);
    let min_free = min_free_kbytes(buffer_pages(&managed, &Default::default()), Rules::Linux6);
    let tunables = Tunables::defaults(Rules::Linux6);
    (min_free, set_watermarks(&managed, min_free, source, &tunables)[0])
}

fn marks(min: u32, low: u32, high: u32) -> Watermarks {
    Watermarks { min, low, high }
}

#[test]
fn the_plain_512_mib_boots_marks_come_out() {
    let (min_free, zones) = linux6(124_332 - FREED_LATER, 0, ZoneType::Dma);
    assert_eq!(min_free, 2812);
    assert_eq!(zones, [marks(703, 878, 1053), marks(0, 0, 0), marks(32, 32, 32), marks(0, 0, 0)]);
}

#[test]
fn the_ast2500_like_boots_marks_come_out() {
    // HighMem has present pages, so Movable would be cut from it and has a highmem zone's marks, too.
    let (min_free, zones) = linux6(103_571 - FREED_LATER, 0, ZoneType::HighMem);
    assert_eq!(min_free, 2565);
    assert_eq!(zones, [marks(641, 801, 961), marks(0, 0, 0), marks(32, 32, 32), marks(32, 32, 32)]);
}

#[test]
fn the_2_gib_boots_marks_and_protection_come_out() {
    let (min_free, zones) = linux6(186_324 - FREED_LATER, 327_679, ZoneType::HighMem);
    assert_eq!(min_free, 3446);
    assert_eq!(zones, [marks(861, 1076, 1291), marks(0, 0, 0), marks(128, 508, 888), marks(32, 32, 32)]);
    let reserves = lowmem_reserve(&[186_324, 0, 327_679, 0], &Tunables::defaults(Rules::Linux6));
    assert_eq!(reserves, [[0, 0, 1279, 1279], [0; 4], [0; 4], [0; 4]]);
}

#[test]
fn the_benchmark_boots_marks_come_out_with_one_size_of_initramfs() {
    // Their initramfs is larger by an unknown amount; one amount must explain all three.
    const LATER: u32 = 767;
    let source = ZoneType::HighMem;
    assert_eq!(linux6(125_388 - LATER, 0, ZoneType::Dma).1[0], marks(706, 882, 1058));
    assert_eq!(linux6(104_627 - LATER, 0, source).1[0], marks(644, 805, 966));
    assert_eq!(linux6(187_380 - LATER, 327_679, source).1[0], marks(863, 1078, 1293));
    assert_eq!(linux6(187_380 - LATER, 327_679, source).1[2], marks(128, 506, 884));
}

#[test]
fn linux_6_spreads_the_marks_by_the_scale_factor_where_that_is_more() {
    let tunables = Tunables { watermark_scale_factor: 100, ..Tunables::defaults(Rules::Linux6) };
    let marks_of = set_watermarks(&one_node([186_324, 0, 0, 0]), 3446, ZoneType::Dma, &tunables);
    // 1 % of the zone is 1,863 pages, a quarter of 861 only 215.
    assert_eq!(marks_of[0][0], marks(861, 861 + 1863, 861 + 2 * 1863));
}

#[test]
fn linux_4_puts_the_marks_a_quarter_and_a_half_above_min() {
    // sqrt(125,476 * 4 * 16) = 2,833 KiB, 708 pages; 708 / 4 = 177.
    let managed = one_node([0, 125_476, 0, 0]);
    let min_free = min_free_kbytes(buffer_pages(&managed, &Default::default()), Rules::Linux4);
    assert_eq!(min_free, 2833);
    let marks_of = set_watermarks(&managed, min_free, ZoneType::Normal, &Tunables::default());
    assert_eq!(marks_of[0], [marks(0, 0, 0), marks(708, 885, 1062), marks(32, 32, 32), marks(0, 0, 0)]);
    assert_eq!(buffer_pages(&managed, &marks_of), 125_476 - 1062);
}

#[test]
fn linux_4_measures_highmem_from_its_share_above_a_token_min() {
    let managed = one_node([0, 455_168, 65_536, 0]);
    let zones = set_watermarks(&managed, 5396, ZoneType::HighMem, &Tunables::default())[0];
    // 1,349 pages: HighMem's share is 1,349 * 65,536 / 455,168 = 194; its min is 65,536 / 1,024 = 64.
    assert_eq!(zones[2], marks(64, 64 + 48, 64 + 97));
}

#[test]
fn the_least_free_memory_is_clamped() {
    assert_eq!(min_free_kbytes(0, Rules::Linux4), 128);
    assert_eq!(min_free_kbytes(256, Rules::Linux4), 128);
    assert_eq!(min_free_kbytes(u64::from(u32::MAX), Rules::Linux4), 65_536);
    assert_eq!(min_free_kbytes(u64::MAX, Rules::Linux6), 262_144);
}

#[test]
fn several_nodes_share_the_least_free_memory_by_their_pages() {
    let managed = [[0, 30_000, 0, 0], [0; 4], [0, 10_000, 0, 0], [0; 4]];
    let marks_of = set_watermarks(&managed, 400 * 4, ZoneType::Normal, &Tunables::default());
    assert_eq!((marks_of[0][1].min, marks_of[2][1].min), (300, 100));
}

#[test]
fn a_machine_without_lowmem_pages_has_no_marks_to_divide() {
    let marks_of = set_watermarks(&one_node([0; 4]), 128, ZoneType::Normal, &Tunables::default());
    assert_eq!(marks_of[0][1], marks(0, 0, 0));
}

#[test]
fn linux_4_also_reserves_in_zones_without_pages_and_below_highmem() {
    let reserves = lowmem_reserve(&[4096, 0, 65_536, 1024], &Tunables::default());
    assert_eq!(reserves[0], [0, 0, 256, 260]);
    assert_eq!(reserves[1], [0, 0, 2048, 2080]);
    assert_eq!(reserves[2], [0, 0, 0, 32]);
    assert_eq!(reserves[3], [0; 4]);
}

#[test]
fn a_ratio_of_0_is_1_in_linux_4_and_off_in_linux_6() {
    let with = |rules| Tunables { lowmem_reserve_ratio: [0; 4], ..Tunables::defaults(rules) };
    assert_eq!(lowmem_reserve(&[10, 20, 0, 0], &with(Rules::Linux4))[0], [0, 20, 20, 20]);
    assert_eq!(lowmem_reserve(&[10, 20, 0, 0], &with(Rules::Linux6))[0], [0; 4]);
}

#[test]
fn the_total_reserve_never_exceeds_the_pages_there_are() {
    assert_eq!(zone_total_reserve(&[0, 0, 1279, 1279], 1291, 186_324), 2570);
    assert_eq!(zone_total_reserve(&[0, 0, 1279, 1279], 1291, 2000), 2000);
    let managed = one_node([186_324, 0, 327_679, 0]);
    let (_, zones) = linux6(186_324 - FREED_LATER, 327_679, ZoneType::HighMem);
    let marks_of = [zones, Default::default(), Default::default(), Default::default()];
    // DMA: 1,279 + 1,291; HighMem: 888; Movable's mark is above its 0 pages.
    assert_eq!(total_reserve(&managed, &marks_of, &Tunables::defaults(Rules::Linux6)), 2570 + 888);
}
