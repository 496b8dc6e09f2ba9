//! Ranges at the borders of pages, MiBs and the address space.

use super::*;

const MIB: u64 = 1 << 20;
const PAGE: u64 = 1 << 12;

fn span(va: u64, bytes: u64) -> Span {
    Span::new(Span::at(va), bytes).unwrap()
}

#[test]
fn a_span_is_whole_pages_up_to_4_gib() {
    let new = |va, bytes| Span::new(VirtAddr::new(va), bytes).map(|span| (span.va, span.end));
    assert_eq!(new(0xffff_f000, PAGE), Ok((0xffff_f000, 1 << 32)));
    assert_eq!(new(0, 1 << 32), Ok((0, 1 << 32)));
    assert_eq!(new(0x1000, PAGE), Ok((PAGE, 2 * PAGE)));
    for (va, bytes) in [(1, PAGE), (0x800, PAGE), (0x1000, 0), (0x1000, 1), (0x1000, PAGE + 1), (0x1000, PAGE - 1)] {
        assert_eq!(new(va, bytes), Err(MapError::Unaligned(VirtAddr::new(va))));
    }
    for (va, bytes) in [(0xffff_f000, 2 * PAGE), (0x1000, 1 << 32), (0x1000, !(PAGE - 1))] {
        assert_eq!(new(va, bytes), Err(MapError::TooLong(VirtAddr::new(va))));
    }
}

#[test]
fn the_first_level_words_of_a_span_are_those_that_it_touches() {
    for (va, bytes, words) in [
        (0, PAGE, (0, 1)),
        (0, MIB, (0, 1)),
        (0, MIB + PAGE, (0, 2)),
        (MIB - PAGE, PAGE, (0, 1)),
        (MIB - PAGE, 2 * PAGE, (0, 2)),
        (3 * MIB, 2 * MIB, (3, 5)),
        ((1 << 32) - PAGE, PAGE, (4095, 4096)),
        (0, 1 << 32, (0, 4096)),
    ] {
        assert_eq!(span(va, bytes).sections(), words);
    }
}

#[test]
fn a_span_is_whole_sections_when_both_ends_are() {
    assert!(span(MIB, MIB).is_whole_sections() && span(0, 1 << 32).is_whole_sections());
    for (va, bytes) in [(MIB, PAGE), (MIB + PAGE, MIB), (MIB + PAGE, MIB - PAGE), (MIB - PAGE, MIB + PAGE)] {
        assert!(!span(va, bytes).is_whole_sections());
    }
    assert!(!span(MIB + PAGE, 2 * MIB).is_whole_sections(), "equal offsets on both sides");
}

#[test]
fn pieces_follow_each_other_and_end_at_mibs() {
    let pieces = |va, bytes| {
        let all = span(va, bytes).pieces().map(|piece| (piece.at, piece.end, piece.index(), piece.run().page));
        all.collect::<Vec<_>>()
    };
    assert_eq!(pieces(MIB, MIB), [(MIB, 2 * MIB, 1, 0)]);
    let wanted = [(MIB - PAGE, MIB, 0, 255), (MIB, 2 * MIB, 1, 0), (2 * MIB, 2 * MIB + PAGE, 2, 0)];
    assert_eq!(pieces(MIB - PAGE, MIB + 2 * PAGE), wanted);
    let last = (1 << 32) - 3 * PAGE;
    assert_eq!(pieces(last, 3 * PAGE), [(last, 1 << 32, 4095, 253)]);
    let run = span(MIB + 7 * PAGE, 5 * PAGE).pieces().next().unwrap().run();
    assert_eq!(run, Run { index: 1, page: 7, pages: 5 });
}

#[test]
fn a_piece_is_a_section_when_addresses_and_frames_are_whole_mibs() {
    let is_section = |at, end, frame| Piece { at, end }.is_section(PhysAddr::new(frame));
    assert!(is_section(MIB, 2 * MIB, 0) && is_section(MIB, 2 * MIB, 5 * MIB));
    assert!(!is_section(MIB, 2 * MIB, PAGE), "the frame is not");
    assert!(!is_section(MIB, 2 * MIB - PAGE, 0), "the end is not");
    assert!(!is_section(MIB + PAGE, 2 * MIB, 0) && !is_section(MIB + PAGE, 2 * MIB + PAGE, 0), "the begin is not");
}
