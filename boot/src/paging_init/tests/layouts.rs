//! Machines that must come up, each odd in its own way.

use mm::layout::VmSplit;

use super::board::Board;
use super::{PAGE, model, range};

#[test]
fn the_ast2500_gets_sections_but_for_image_and_dma_areas() {
    let summary = Board::ast2500().proves();
    // Tables: 64 MiB of areas are 32; one each for the image, the vectors, pkmap.
    assert_eq!(summary.tables, 32 + 3);
    // 495 MiB of lowmem - 64 no-map - 64 areas - 1 image, and two for the device tree.
    assert_eq!(summary.sections, 495 - 64 - 64 - 1 + 2);
    // The areas, the image's MiB without two guards, console and vectors.
    assert_eq!(summary.pages, 64 * 256 + 256 - 2 + 2);
}

#[test]
fn two_gigabytes_with_highmem_are_right() {
    let board = Board {
        banks: vec![(0x8000_0000, 1 << 32, false)],
        lowmem_limit: 0xf000_0000,
        remap: vec![range(0xef00_0000, 0xf000_0000)],
        first_bank_end: 0xf000_0000,
        ..Board::ast2500()
    };
    board.proves();
}

#[test]
fn ram_at_0_and_at_1_gib_and_up_to_4_gib_is_right() {
    Board::plain(0, 0x3c00_0000).proves();
    Board::plain(0x4000_0000, 0x4800_0000).proves();
    Board::plain(0xc000_0000, 1 << 32).proves();
    Board::plain(0x1000_0000, 0x1400_0000).proves();
}

#[test]
fn three_to_one_is_right() {
    Board { split: VmSplit::ThreeOne, ..Board::ast2500() }.proves();
    Board { split: VmSplit::ThreeOne, ..Board::plain(0x4000_0000, 0x6000_0000) }.proves();
    Board { split: VmSplit::ThreeOne, ..Board::plain(0, 0x3000_0000) }.proves();
}

#[test]
fn a_no_map_region_at_the_very_start_of_ram_is_unmapped_and_the_rest_works() {
    let mut page = Board::plain(0, 0x1000_0000);
    page.banks = vec![(0, PAGE, true), (PAGE, 0x1000_0000, false)];
    page.proves();
    let mut mib = Board::plain(0x8000_0000, 0x9000_0000);
    mib.banks = vec![(0x8000_0000, 0x8010_0000, true), (0x8010_0000, 0x9000_0000, false)];
    (mib.image, mib.l1) = (0x8020_8000, 0x8020_4000);
    mib.proves();
}

#[test]
fn banks_with_odd_edges_are_mapped_to_the_page() {
    let mut board = Board::plain(0x8000_0000, 0x9000_0000);
    board.banks = vec![
        (0x8000_0000, 0x8300_3000, false),
        // Touches the bank below: together they fill their MiB.
        (0x8300_3000, 0x8400_0000, false),
        (0x8400_5000, 0x8401_2000, false),
        (0x8401_2000, 0x8401_3000, true),
        (0x8401_3000, 0x8410_0000, false),
        // Partial frames at both edges.
        (0x8510_0800, 0x8600_0c00, false),
        (0x8fff_f000, 0x9000_0000, false),
    ];
    board.remap = vec![range(0x8530_0000, 0x8550_0000), range(0x8401_0000, 0x8402_0000)];
    board.first_bank_end = 0x8300_3000;
    board.lowmem_limit = 0x9000_0000;
    board.dtb = Some(range(0x8200_0000, 0x8200_3000));
    let summary = board.proves();
    assert!(summary.tables >= 6);
    board.lowmem_limit = 0x8fff_f800;
    board.proves();
}

#[test]
fn an_area_in_the_images_own_mib_and_an_image_over_several_are_right() {
    let mut board = Board::plain(0x8000_0000, 0x9000_0000);
    board.image = 0x802e_0000;
    board.remap = vec![range(0x8038_0000, 0x8080_0000)];
    board.dtb = Some(range(0x8100_0000, 0x8100_2000));
    board.proves();
}

#[test]
fn an_image_whose_text_fills_whole_mibs_has_what_only_the_boot_needs_on_pages() {
    let mut board = Board::plain(0x8000_0000, 0x9000_0000);
    (board.image, board.text) = (0x8010_0000, 0x34_1000);
    let (ram, result) = board.run();
    result.unwrap();
    let shift = |pa| model(&ram, board.l1).translate(board.virt(pa)).unwrap().shift;
    // The second MiB of text has nothing that changes.
    assert_eq!((shift(0x8010_4000), shift(0x8010_0000), shift(0x8020_0000)), (12, 12, 20));
    board.proves();
}

#[test]
fn a_device_tree_beside_no_map_frames_shows_its_own_pages_only() {
    let mut board = Board::plain(0x8000_0000, 0x9000_0000);
    board.banks =
        vec![(0x8000_0000, 0x8818_0000, false), (0x8818_0000, 0x8820_0000, true), (0x8820_0000, 0x9000_0000, false)];
    board.dtb = Some(range(0x8810_c000, 0x8812_12b8));
    board.first_bank_end = 0x8818_0000;
    board.proves();
    board.dtb = None;
    board.proves();
}
