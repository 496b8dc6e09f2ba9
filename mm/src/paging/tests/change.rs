//! Protections and other frames: what is broken before it is made, what is flushed, what is refused.
#![expect(clippy::cast_possible_truncation, reason = "addresses of the tests are below 4 GiB")]

use super::fixture::{MIB, MIB_AT, PAGE, Pool, RO, RW, at, expected, model, supersection, to};
use super::recording::Told::{All, First, Page, Table};
use super::recording::{Machine, Told, all_back, first_page, hardware};
use crate::addr::PhysAddr;
use crate::paging::*;

/// Where the first table of a `Pool::new(2)` lies.
const TABLE: u64 = first_page(2);

/// Hardware words of the even half.
const fn words(page: u64, count: usize) -> Told {
    hardware(TABLE, 0, page, count)
}

fn flushed(page: u64) -> Told {
    Page(at(page).raw())
}

/// What the MMU finds at a page: frame number, protection, log2 of the size.
fn seen(machine: &Machine, page: u64) -> Option<(u64, Prot, PageSize)> {
    let found = machine.tables().walk(at(page)).unwrap()?;
    let answer = model(&machine.ram.ram).translate(at(page).raw()).unwrap();
    assert_eq!(answer, expected(found.pa.raw(), found.prot, found.size.bytes().trailing_zeros()));
    Some((found.pa.raw() / PAGE, found.prot, found.size))
}

/// Protections that differ from `RW` in one thing that says which kind of memory it is.
fn other_kinds() -> [Prot; 4] {
    // C, B; TEX[0]; S.
    let kind = |mem| Prot { mem, ..RW };
    [kind(MemType::WriteBack), kind(MemType::NormalNonCacheable), kind(MemType::Device), RW.with_shareable(false)]
}

/// Protections that differ from `RW` in nothing of the kind.
fn same_kinds() -> [Prot; 4] {
    [RO, Prot::KERNEL_RX, Prot { global: false, ..RW }, Prot { access: Access::UserRo, ..RW }]
}

#[test]
fn pages_whose_kind_of_memory_stays_are_rewritten_at_once_and_flushed_each() {
    for prot in same_kinds() {
        let (machine, mut pool) = (Machine::new(), Pool::new(2));
        let mut mapper = machine.mapper(Live::Broken);
        mapper.map(at(0), 100 * PAGE, to(0, RW), PageSize::Small, &mut pool).unwrap();
        for count in [1, 2, 3, 32] {
            let told = machine.record(|| mapper.protect(at(5), count * PAGE, prot, &mut pool).unwrap());
            let mut wanted = vec![words(5, count as usize)];
            wanted.extend((5..5 + count).map(flushed));
            assert_eq!(told, (wanted, 2), "two looks: the words, and whether they make a section");
            assert_eq!(seen(&machine, 5), Some((5, prot, PageSize::Small)));
            assert_eq!(seen(&machine, 4 + count), Some((4 + count, prot, PageSize::Small)));
            assert_eq!((seen(&machine, 4).unwrap().1, seen(&machine, 5 + count).unwrap().1), (RW, RW));
            mapper.protect(at(5), count * PAGE, RW, &mut pool).unwrap();
        }
        let told = machine.record(|| mapper.protect(at(5), 33 * PAGE, prot, &mut pool).unwrap());
        assert_eq!(told, (vec![words(5, 33), All], 2));
    }
}

#[test]
fn a_page_that_becomes_another_kind_of_memory_is_broken_before_it_is_made() {
    for prot in other_kinds() {
        let (machine, mut pool) = (Machine::new(), Pool::new(2));
        let mut mapper = machine.mapper(Live::Broken);
        mapper.map(at(0), 100 * PAGE, to(0, RW), PageSize::Small, &mut pool).unwrap();
        let broken = |page| [words(page, 1), flushed(page), words(page, 1)];
        let told = machine.told(|| mapper.protect(at(7), 2 * PAGE, prot, &mut pool).unwrap());
        assert_eq!(told, [broken(7), broken(8)].concat());
        assert_eq!(seen(&machine, 8), Some((8, prot, PageSize::Small)));
        // Three pages of which one, wherever it is, is of another kind: only that one is broken.
        for odd in 6..9_u64 {
            mapper.protect(at(6), 3 * PAGE, RW, &mut pool).unwrap();
            mapper.protect(at(odd), PAGE, prot, &mut pool).unwrap();
            let told = machine.told(|| mapper.protect(at(6), 3 * PAGE, RO, &mut pool).unwrap());
            let each = (6..9).flat_map(|page| if page == odd { broken(page).to_vec() } else { vec![words(page, 1)] });
            let wanted: Vec<_> = each.chain((6..9).filter(|page| *page != odd).map(flushed)).collect();
            assert_eq!(told, wanted);
            assert_eq!((6..9).map(|page| seen(&machine, page).unwrap().1).collect::<Vec<_>>(), [RO; 3]);
        }
    }
}

#[test]
fn pages_of_two_tables_are_protected_table_by_table_and_flushed_together() {
    let (machine, mut pool) = (Machine::new(), Pool::new(2));
    let mut mapper = machine.mapper(Live::Broken);
    mapper.map(at(0), 512 * PAGE, to(1, RW), PageSize::Small, &mut pool).unwrap();
    let told = machine.record(|| mapper.protect(at(254), 4 * PAGE, RO, &mut pool).unwrap());
    let mut wanted = vec![words(254, 2), hardware(TABLE, 1, 0, 2)];
    wanted.extend((254..258).map(flushed));
    // The first page of each table is walked to (1 + 1), then the rest of the table is counted, words are found, and
    // what may be joined is looked at: no look for each page.
    assert_eq!(told.0, wanted);
    assert!(told.1 <= 12, "{} looks", told.1);
    let more = machine.record(|| mapper.protect(at(200), 112 * PAGE, RO, &mut pool).unwrap());
    assert_eq!(more.1, told.1, "however many pages there are");
    let twins = |mapping: Mapping| twins_agree(mapper.tables(), &mapping) == Ok(true);
    assert!(mapper.tables().mappings().all(|mapping| twins(mapping.unwrap())));
    for prot in other_kinds() {
        mapper.protect(at(254), 4 * PAGE, RW, &mut pool).unwrap();
        let told = machine.told(|| mapper.protect(at(254), 4 * PAGE, prot, &mut pool).unwrap());
        assert_eq!(told.len(), 4 * 3, "each is broken: {told:?}");
        mapper.protect(at(254), 4 * PAGE, prot, &mut pool).unwrap();
    }
    let bad = Prot { exec: Exec::UserOnly, ..RW };
    for (page, count) in [(3, 1), (254, 4)] {
        assert_eq!(mapper.protect(at(page), count * PAGE, bad, &mut pool), Err(MapError::BadProt(bad)));
    }
}

#[test]
fn whole_large_pages_sections_and_supersections_are_rewritten_by_their_own_words() {
    let (machine, mut pool) = (Machine::new(), Pool::new(2));
    let mut mapper = machine.mapper(Live::Broken);
    mapper.map(at(16), 32 * PAGE, to(16, RW), PageSize::Large, &mut pool).unwrap();
    let device = Prot::DEVICE_RW;
    let mut protect =
        |page, count, prot| machine.told(|| mapper.protect(at(page), count * PAGE, prot, &mut pool).unwrap());
    assert_eq!(protect(16, 32, RO), [words(16, 16), words(32, 16), flushed(16), flushed(32)]);
    assert_eq!(protect(32, 16, device), [words(32, 16), flushed(32), words(32, 16)]);
    assert_eq!(seen(&machine, 47), Some((47, device, PageSize::Large)));
    mapper.map(at(512), 2 * MIB, to(512, RW), PageSize::Section, &mut pool).unwrap();
    let mut protect =
        |page, count, prot| machine.told(|| mapper.protect(at(page), count * PAGE, prot, &mut pool).unwrap());
    let (one, two) = (First(MIB_AT + 2, 1), First(MIB_AT + 3, 1));
    assert_eq!(protect(512, 512, RO), [one, two, flushed(512), flushed(768)]);
    for prot in other_kinds() {
        assert_eq!(protect(768, 256, prot), [two, flushed(768), two]);
        assert_eq!(protect(768, 256, RO), [two, flushed(768), two]);
    }
    assert_eq!((seen(&machine, 768), seen(&machine, 512).unwrap().1), (Some((768, RO, PageSize::Section)), RO));
    for index in MIB_AT + 16..MIB_AT + 32 {
        *machine.first(index) = supersection(0x3000_0000, RW);
    }
    let mut protect =
        |page, count, prot| machine.told(|| mapper.protect(at(page), count * PAGE, prot, &mut pool).unwrap());
    let words = First(MIB_AT + 16, 16);
    assert_eq!(protect(16 * 256, 16 * 256, RO), [words, flushed(16 * 256)], "once for all sixteen");
    assert_eq!(protect(16 * 256, 16 * 256, device), [words, flushed(16 * 256), words]);
    assert_eq!(seen(&machine, 32 * 256 - 1), Some((0x3_0fff, device, PageSize::Supersection)));
}

#[test]
fn sections_of_users_stay_in_their_domain_when_they_are_protected() {
    let (machine, mut pool) = (Machine::new(), Pool::new(2));
    let mut mapper = Mapper::new(machine.editor().of_user(true));
    mapper.map(at(0), MIB, to(0, Prot::USER_RW), PageSize::Section, &mut pool).unwrap();
    mapper.protect(at(0), MIB, Prot::USER_RO, &mut pool).unwrap();
    let found = mapper.tables().walk(at(0)).unwrap().unwrap();
    assert_eq!((found.domain, found.prot), (Domain::USER, Prot::USER_RO));
    mapper.map(at(256), PAGE, to(0, Prot::USER_RX), PageSize::Small, &mut pool).unwrap();
    let found = mapper.tables().walk(at(256)).unwrap().unwrap();
    assert_eq!((found.domain, found.prot), (Domain::USER, Prot { exec: Exec::UserOnly, ..Prot::USER_RX }), "PXN");
}

#[test]
fn remapped_descriptors_are_broken_and_made_one_by_one() {
    let (machine, mut pool) = (Machine::new(), Pool::new(2));
    let mut mapper = machine.mapper(Live::Broken);
    mapper.map(at(240), 272 * PAGE, to(240, RW), PageSize::Section, &mut pool).unwrap();
    mapper.map(at(512), 2 * PAGE, to(3, RW), PageSize::Small, &mut pool).unwrap();
    let told = machine.told(|| mapper.remap(at(240), 274 * PAGE, to(1008, Prot::DEVICE_RW)).unwrap());
    let mut wanted = vec![words(240, 16), flushed(240), words(240, 16)];
    wanted.extend([First(MIB_AT + 1, 1), flushed(256), First(MIB_AT + 1, 1)]);
    for page in [0, 1] {
        let word = hardware(first_page(1), 0, page, 1);
        wanted.extend([word, flushed(512 + page), word]);
    }
    assert_eq!(told, wanted);
    let found = [240, 255, 256, 511, 512, 513].map(|page| seen(&machine, page).unwrap());
    let (large, section, small) = (PageSize::Large, PageSize::Section, PageSize::Small);
    let frames = [(1008, large), (1023, large), (1024, section), (1279, section), (1280, small), (1281, small)];
    assert_eq!(found, frames.map(|(frame, size)| (frame, Prot::DEVICE_RW, size)));
    machine.tlb.check_visible(&machine.ram.ram);
}

#[test]
fn a_remap_that_cannot_be_names_the_descriptor_and_changes_nothing() {
    let (machine, mut pool) = (Machine::new(), Pool::new(2));
    let mut mapper = machine.mapper(Live::Broken);
    mapper.map(at(16), 32 * PAGE, to(16, RW), PageSize::Large, &mut pool).unwrap();
    let told = machine.told(|| {
        let mut remap = |page, count, frame, prot| mapper.remap(at(page), count * PAGE, to(frame, prot));
        assert_eq!(remap(17, 15, 1, RW), Err(MapError::CutsLarger(at(16))));
        assert_eq!(remap(16, 31, 16, RW), Err(MapError::CutsLarger(at(32))));
        assert_eq!(remap(16, 32, 17, RW), Err(MapError::BadFrame(PhysAddr::new(17 * PAGE))));
        assert_eq!(remap(16, 33, 16, RW), Err(MapError::NotMapped(at(48))));
        assert_eq!(remap(15, 17, 16, RW), Err(MapError::NotMapped(at(15))));
        assert_eq!(remap(16, 32, 0xf_fff0, RW), Err(MapError::BadFrame(PhysAddr::new(0xffff_0000))));
        let bad = Prot { exec: Exec::UserOnly, ..RW };
        assert_eq!(remap(16, 32, 16, bad), Err(MapError::BadProt(bad)));
    });
    assert_eq!((told, seen(&machine, 16)), (vec![], Some((16, RW, PageSize::Large))));
    mapper.remap(at(16), 32 * PAGE, to(0xf_ffe0, RO)).unwrap();
    assert_eq!(seen(&machine, 47), Some((0xf_ffff, RO, PageSize::Large)), "up to 4 GiB");
}

#[test]
fn a_section_is_cut_by_a_table_that_is_visible_before_it_is_linked() {
    for (live, words_told) in [(Live::Broken, 2), (Live::InPlace, 1)] {
        let (machine, mut pool) = (Machine::new(), Pool::new(2));
        let mut mapper = machine.mapper(live);
        mapper.map(at(0), 2 * MIB, to(0x500, RW), PageSize::Section, &mut pool).unwrap();
        let link = |half| {
            let first = First(MIB_AT + half, 1);
            let flush = flushed(half as u64 * 256);
            if words_told == 2 { vec![first, flush, first] } else { vec![first, flush] }
        };
        let told = machine.told(|| mapper.protect(at(20), PAGE, RO, &mut pool).unwrap());
        assert_eq!(told, [vec![Table(TABLE, 4096)], link(0), vec![words(20, 1), flushed(20)]].concat());
        let sizes = [15, 16, 31, 32].map(|page| seen(&machine, page).unwrap().2);
        assert_eq!(sizes, [PageSize::Large, PageSize::Small, PageSize::Small, PageSize::Large]);
        // At the border of two large pages no small page is needed.
        let told = machine.told(|| mapper.protect(at(256 + 32), 16 * PAGE, RO, &mut pool).unwrap());
        let large = hardware(TABLE, 1, 32, 16);
        assert_eq!(told, [vec![Table(TABLE, 4096)], link(1), vec![large, flushed(256 + 32)]].concat());
        for page in 0..256 {
            assert_eq!(seen(&machine, 256 + page).unwrap().2, PageSize::Large);
        }
        assert_eq!((pool.taken(), seen(&machine, 300).unwrap().0), (1, 0x500 + 300));
        machine.tlb.check_visible(&machine.ram.ram);
        // The last change makes each whole again.
        let whole = |half| [First(MIB_AT + half, 1), All, First(MIB_AT + half, 1)][..1 + words_told].to_vec();
        let told = machine.told(|| mapper.protect(at(20), PAGE, RW, &mut pool).unwrap());
        assert_eq!(told, [vec![words(20, 1), flushed(20)], whole(0)].concat());
        let told = machine.told(|| mapper.protect(at(288), 16 * PAGE, RW, &mut pool).unwrap());
        assert_eq!(told, [vec![large, flushed(288)], whole(1)].concat());
        assert!(all_back(&pool));
    }
}

#[test]
fn a_mib_in_the_middle_of_a_supersection_is_cut_out_of_it() {
    let (machine, mut pool) = (Machine::new(), Pool::new(2));
    let mut mapper = machine.mapper(Live::Broken);
    for index in MIB_AT + 16..MIB_AT + 32 {
        *machine.first(index) = supersection(0x3000_0000, RW);
    }
    let (all, page) = (First(MIB_AT + 16, 16), |mib: u64| flushed((16 + mib) * 256));
    // Words that are alike are not free.
    let over = mapper.map(at(16 * 256), 16 * MIB, to(0, RW), PageSize::Section, &mut pool);
    assert_eq!(over, Err(MapError::AlreadyMapped(at(16 * 256))));
    let told = machine.told(|| mapper.unmap(at(19 * 256), 2 * MIB, &mut pool).unwrap());
    assert_eq!(told, [all, page(0), all, First(MIB_AT + 19, 2), page(3), page(4)]);
    let seen = |mib: u64| seen(&machine, (16 + mib) * 256).map(|(frame, _, size)| (frame, size));
    assert_eq!([3, 4].map(seen), [None; 2]);
    for mib in [0, 1, 2, 5, 15] {
        assert_eq!(seen(mib), Some((0x3_0000 + mib * 256, PageSize::Section)));
    }
}

#[test]
fn a_large_page_that_only_users_may_execute_is_cut_to_pages_that_say_the_same() {
    let (machine, mut pool) = (Machine::new(), Pool::new(2));
    let mut mapper = Mapper::new(machine.editor().of_user(true));
    mapper.map(at(16), 16 * PAGE, to(16, Prot::USER_RX), PageSize::Large, &mut pool).unwrap();
    let before = mapper.tables().walk(at(16)).unwrap().unwrap();
    assert_eq!((before.prot.exec, before.size), (Exec::UserOnly, PageSize::Large));
    mapper.protect(at(20), PAGE, Prot::USER_RO, &mut pool).unwrap();
    for page in 16..32 {
        let found = mapper.tables().walk(at(page)).unwrap().unwrap();
        let exec = if page == 20 { Exec::Allowed } else { Exec::UserOnly };
        let prot = if page == 20 { Prot::USER_RO } else { Prot { exec, ..before.prot } };
        assert_eq!((found.prot, found.size, found.pa), (prot, PageSize::Small, PhysAddr::new(page * PAGE)));
    }
}

#[test]
fn a_hole_anywhere_in_a_range_over_two_tables_is_named() {
    for hole in [250, 251, 252, 254, 255, 256, 257, 260, 261] {
        let (machine, mut pool) = (Machine::new(), Pool::new(2));
        let mut mapper = machine.mapper(Live::Broken);
        mapper.map(at(250), 12 * PAGE, to(250, RW), PageSize::Small, &mut pool).unwrap();
        mapper.unmap(at(hole), PAGE, &mut pool).unwrap();
        let told = machine.told(|| {
            let missing = Err(MapError::NotMapped(at(hole)));
            assert_eq!(mapper.unmap(at(250), 12 * PAGE, &mut pool), missing);
            assert_eq!(mapper.protect(at(250), 12 * PAGE, RO, &mut pool), missing);
            assert_eq!(mapper.retire(at(250), 12 * PAGE).map(drop), missing);
        });
        assert_eq!((told, mapper.tables().mappings().count()), (vec![], 11));
    }
}
