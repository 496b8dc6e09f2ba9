//! What each change tells caches and TLBs, word by word and in its order, and which changes take the short way.
#![expect(clippy::cast_possible_truncation, reason = "addresses of the tests are below 4 GiB")]

use proptest::prelude::*;

use super::fixture::{MIB, PAGE, Pool, RO, RW, to};
use super::recording::Told::{All, First, Page, Table};
use super::recording::{Machine, Told, all_back, first_page, hardware};
use super::split::{any_op, apply};
use crate::addr::{Pfn, PhysAddr, VirtAddr};
use crate::paging::*;
use crate::testing::scaled;

/// The odd MiB of a pair, and its index.
const AT: VirtAddr = VirtAddr::new(0xa010_0000);
const MIB_AT: usize = 0xa01;
/// Where the first table of a `Pool::new(2)` lies.
const TABLE: u64 = first_page(2);

fn at(page: u64) -> VirtAddr {
    VirtAddr::new(AT.raw() + (page * PAGE) as u32)
}

/// The addresses of `count` descriptors of `step` pages from page `first` on.
fn pages(first: u64, count: u64, step: u64) -> Vec<Told> {
    (0..count).map(|i| Page(at(first + i * step).raw())).collect()
}

#[test]
fn a_new_table_is_visible_before_it_is_linked_and_pages_before_the_map_returns() {
    let (machine, mut pool) = (Machine::new(), Pool::new(2));
    let mut mapper = machine.mapper(Live::Broken);
    let mut map = |page, pages, prot, largest| {
        machine.record(|| mapper.map(at(page), pages * PAGE, to(page, prot), largest, &mut pool).unwrap())
    };
    let (told, _) = map(3, 5, RW, PageSize::Small);
    assert_eq!(told, [Table(TABLE, 4096), First(MIB_AT, 1), hardware(TABLE, 1, 3, 5)]);
    assert_eq!(map(9, 3, RO, PageSize::Small), (vec![hardware(TABLE, 1, 9, 3)], 1), "one look at the table");
    assert_eq!(map(16, 32, RO, PageSize::Large), (vec![hardware(TABLE, 1, 16, 32)], 1));
    assert_eq!(map(48, 15, RO, PageSize::Large), (vec![hardware(TABLE, 1, 48, 15)], 1), "too few for a large one");
    // Where some pages are large and some small, and beyond one table, the general way is taken.
    let (told, _) = map(70, 30, RO, PageSize::Large);
    assert_eq!(told, [hardware(TABLE, 1, 70, 30)]);
    let (told, _) = map(250, 10, RO, PageSize::Small);
    let other = first_page(1);
    let links = [Table(other, 4096), First(MIB_AT, 2)];
    assert_eq!(told[..2], links);
    assert_eq!(told[2..], [hardware(TABLE, 1, 250, 6), hardware(other, 0, 0, 4)]);
    let size = |page| machine.tables().walk(at(page)).unwrap().unwrap().size;
    assert_eq!([9, 16, 32, 48, 79, 80, 95, 96].map(size), {
        use PageSize::{Large, Small};
        [Small, Large, Large, Small, Small, Large, Large, Small]
    });
    machine.tlb.check_visible(&machine.ram.ram);
}

#[test]
fn pages_whose_ends_are_no_multiples_of_64_kib_are_large_only_in_between() {
    use PageSize::{Large, Small};
    let (machine, mut pool) = (Machine::new(), Pool::new(2));
    let mut mapper = machine.mapper(Live::Broken);
    mapper.map(at(0), PAGE, to(0, RW), Small, &mut pool).unwrap();
    for (first, count, frame, sizes) in [
        (1, 32, 64, [Small; 4]),
        (1, 31, 64, [Small; 4]),
        (17, 31, 97, [Small, Small, Large, Large]),
        (33, 32, 0x101, [Small, Small, Large, Small]),
        (16, 20, 64, [Large, Large, Small, Small]),
        (16, 32, 65, [Small; 4]),
    ] {
        mapper.map(at(first), count * PAGE, to(frame, RO), Large, &mut pool).unwrap();
        for (page, size) in [0, 14, 16, count - 1].into_iter().zip(sizes) {
            let found = mapper.tables().walk(at(first + page)).unwrap().unwrap();
            assert_eq!(
                (found.size, found.pa),
                (size, to(frame + page, RO).0),
                "page {page} of {count} from {first} on"
            );
        }
        assert_eq!(mapper.tables().mappings().count() as u64, 1 + count);
        mapper.unmap(at(first), count * PAGE, &mut pool).unwrap();
    }
}

#[test]
fn the_other_half_of_a_table_is_cleared_and_linked_without_another_table() {
    let (machine, mut pool) = (Machine::new(), Pool::new(2));
    let mut mapper = machine.mapper(Live::Broken);
    mapper.map(at(1), PAGE, to(1, RW), PageSize::Small, &mut pool).unwrap();
    let even = VirtAddr::new(AT.raw() - (2 * PAGE) as u32);
    let told = machine.told(|| mapper.map(even, PAGE, to(7, RW), PageSize::Section, &mut pool).unwrap());
    let end = First(MIB_AT - 1, 1);
    assert_eq!(told, [Table(TABLE, 4096), First(MIB_AT - 1, 1), hardware(TABLE, 0, 254, 1), end]);
    assert_eq!(pool.taken(), 1);
    // Clearing the half of a second MiB must leave the pages of the first.
    assert_eq!(mapper.tables().walk(at(1)).unwrap().unwrap().pa, PhysAddr::new(PAGE));
    assert_eq!(mapper.tables().mappings().count(), 2);
}

#[test]
fn scattered_frames_are_visible_table_by_table() {
    let (machine, mut pool) = (Machine::new(), Pool::new(2));
    let mut mapper = machine.mapper(Live::Broken);
    let frames: Vec<_> = [9, 5, 7, 3].map(Pfn::new).to_vec();
    let told = machine.told(|| mapper.map_frames(at(254), &frames, RW, &mut pool).unwrap());
    let other = first_page(1);
    let wanted = [
        Table(TABLE, 4096),
        Table(other, 4096),
        First(MIB_AT, 2),
        hardware(TABLE, 1, 254, 2),
        hardware(other, 0, 0, 2),
    ];
    assert_eq!(told, wanted);
    // A frame of 4 GiB and beyond is named, wherever it stands; the last one below is mapped.
    for (bad, place) in [(1 << 20, 1), (0x10_0001, 0), (1 << 20, 2)] {
        let mut frames = [Pfn::new(1), Pfn::new(0xf_ffff), Pfn::new(2)];
        frames[place] = Pfn::new(bad);
        let result = mapper.map_frames(at(10), &frames, RW, &mut pool);
        assert_eq!(result, Err(MapError::BadFrame(PhysAddr::new(u64::from(bad) * PAGE))));
    }
    let alike = mapper.map_frames(at(10), &[Pfn::new(1 << 20); 2], RW, &mut pool);
    assert_eq!(alike, Err(MapError::BadFrame(PhysAddr::new(1 << 32))));
    mapper.map_frames(at(10), &[Pfn::new(0xf_ffff)], RW, &mut pool).unwrap();
    assert_eq!(mapper.tables().walk(at(10)).unwrap().unwrap().pa, PhysAddr::new(0xffff_f000));
    // Two that together would have more than 20 bits, but for a sum.
    mapper.map_frames(at(11), &[Pfn::new(0xf_ffff), Pfn::new(0xf_ffff)], RW, &mut pool).unwrap();
    let bad = Prot { exec: Exec::UserOnly, ..RW };
    assert_eq!(mapper.map_frames(at(20), &frames, bad, &mut pool), Err(MapError::BadProt(bad)));
}

#[test]
fn pages_of_one_table_are_unmapped_by_one_look_and_one_flush_a_descriptor() {
    let (machine, mut pool) = (Machine::new(), Pool::new(2));
    let mut mapper = machine.mapper(Live::Broken);
    mapper.map(at(0), 200 * PAGE, to(0, RW), PageSize::Small, &mut pool).unwrap();
    mapper.map(at(208), 48 * PAGE, to(208, RW), PageSize::Large, &mut pool).unwrap();
    let mut unmap = |page, count| machine.record(|| mapper.unmap(at(page), count * PAGE, &mut pool).unwrap());
    // The second look is the one whether the table is empty.
    for (page, count) in [(2, 1), (3, 2), (5, 3), (16, 32)] {
        let mut wanted = vec![hardware(TABLE, 1, page, count as usize)];
        wanted.extend(pages(page, count, 1));
        assert_eq!(unmap(page, count), (wanted, 2));
    }
    assert_eq!(unmap(64, 33), (vec![hardware(TABLE, 1, 64, 33), All], 2));
    let large = vec![hardware(TABLE, 1, 208, 32), Page(at(208).raw()), Page(at(224).raw())];
    assert_eq!(unmap(208, 32), (large, 2));
    // Large pages that are cut go the general way, also where both ends have the same offset.
    let (told, looks) = unmap(241, 1);
    let small = hardware(TABLE, 1, 240, 16);
    let cut = [small, Page(at(240).raw()), small];
    let gone = [hardware(TABLE, 1, 241, 1), First(MIB_AT, 1), Page(at(241).raw())];
    assert_eq!((told, looks > 2), ([&cut[..], &gone[..]].concat(), true));
    machine.tlb.check_visible(&machine.ram.ram);
}

#[test]
fn an_unmap_of_several_kinds_flushes_each_descriptor_or_everything() {
    let (machine, mut pool) = (Machine::new(), Pool::new(2));
    let mut mapper = machine.mapper(Live::Broken);
    // Two pages, a section, three pages.
    mapper.map(at(254), 261 * PAGE, to(254, RW), PageSize::Section, &mut pool).unwrap();
    let told = machine.told(|| mapper.unmap(at(254), 261 * PAGE, &mut pool).unwrap());
    let (first, last) = (first_page(2), first_page(1));
    let pages_and_tables = [
        hardware(first, 1, 254, 2),
        hardware(last, 1, 0, 3),
        First(MIB_AT, 3),
        Page(at(254).raw()),
        Page(at(255).raw()),
        Page(at(256).raw()),
        Page(at(512).raw()),
        Page(at(513).raw()),
        Page(at(514).raw()),
        First(MIB_AT, 1),
        Page(AT.raw()),
        First(MIB_AT + 2, 1),
        Page(at(512).raw()),
    ];
    assert_eq!(told, pages_and_tables);
    assert!(all_back(&pool));
    mapper.map(at(224), 40 * PAGE, to(224, RW), PageSize::Small, &mut pool).unwrap();
    let told = machine.told(|| mapper.unmap(at(224), 33 * PAGE, &mut pool).unwrap());
    assert!(told.contains(&All) && !told.contains(&Page(at(230).raw())), "more than 32: {told:?}");
    machine.tlb.check_visible(&machine.ram.ram);
}

#[test]
fn sections_are_visible_at_once_and_flushed_one_by_one() {
    let (machine, mut pool) = (Machine::new(), Pool::new(2));
    let mut mapper = machine.mapper(Live::Broken);
    let told = machine.record(|| mapper.map(AT, 3 * MIB, to(256, RW), PageSize::Section, &mut pool).unwrap());
    assert_eq!(told, (vec![First(MIB_AT, 3)], 0), "no look at any table");
    let told = machine.record(|| mapper.unmap(AT, 3 * MIB, &mut pool).unwrap());
    let wanted = [vec![First(MIB_AT, 3)], pages(0, 3, 256)].concat();
    assert_eq!(told, (wanted, 0));
    for (count, each) in [(32, true), (33, false)] {
        mapper.map(AT, count * MIB, to(256, RW), PageSize::Section, &mut pool).unwrap();
        let told = machine.told(|| mapper.unmap(AT, count * MIB, &mut pool).unwrap());
        let flushes = if each { pages(0, count, 256) } else { vec![All] };
        assert_eq!(told, [vec![First(MIB_AT, count as usize)], flushes].concat());
    }
}

#[test]
fn a_table_that_makes_way_for_a_section_is_unlinked_visibly_and_flushed() {
    let (machine, mut pool) = (Machine::new(), Pool::new(2));
    let mut mapper = machine.mapper(Live::Broken);
    mapper.map(AT, PAGE, to(0, RW), PageSize::Small, &mut pool).unwrap();
    // A page that is neither mapped nor retired, and whose table stays linked.
    machine.page(TABLE)[3 * 256] = 0;
    machine.page(TABLE)[256] = 0;
    let told = machine.told(|| mapper.map(AT, MIB, to(256, RW), PageSize::Section, &mut pool).unwrap());
    assert_eq!(told, [First(MIB_AT, 1), Page(AT.raw()), First(MIB_AT, 1)]);
    assert!(all_back(&pool));
}

#[test]
fn a_map_that_fails_unlinks_what_it_linked_visibly() {
    let (machine, mut pool) = (Machine::new(), Pool::new(1));
    let mut mapper = machine.mapper(Live::Broken);
    let told = machine.told(|| {
        let result = mapper.map(at(255), 2 * PAGE, to(0, RW), PageSize::Small, &mut pool);
        assert_eq!(result, Err(MapError::NoTable(at(256))));
    });
    assert_eq!(told, [Table(first_page(1), 4096), First(MIB_AT, 1), Page(AT.raw())]);
    machine.tlb.check_visible(&machine.ram.ram);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: scaled(48), failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn every_word_that_changed_is_visible_to_a_walk_that_is_not_coherent(
        ops in prop::collection::vec(any_op(), 1..16), in_place in any::<bool>(),
    ) {
        let machine = Machine::new();
        let mut mapper = machine.mapper(if in_place { Live::InPlace } else { Live::Broken });
        let (mut pool, mut wanted) = (Pool::new(3), std::collections::BTreeMap::new());
        for op in &ops {
            apply(&mut mapper, &mut pool, &mut wanted, op);
            machine.tlb.check_visible(&machine.ram.ram);
        }
    }
}
