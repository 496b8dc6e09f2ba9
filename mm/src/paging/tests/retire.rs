//! Ranges that are unmapped in two steps: what they say, what is refused, and how the frames are handed out.
#![expect(clippy::cast_possible_truncation, reason = "addresses of the tests are below 4 GiB")]

use super::fixture::{AT, MIB, MIB_AT, PAGE, Pool, RO, RW, at, supersection, to};
use super::recording::Told::First;
use super::recording::{Machine, all_back, first_page, hardware};
use crate::addr::{Pfn, PhysAddr};
use crate::paging::retire::RETIRED;
use crate::paging::*;

/// Where the first table of a `Pool::new(2)` lies.
const TABLE: u64 = first_page(2);

/// What the descriptors of `size` with `prot` say.
fn said(size: PageSize, prot: Prot) -> Said {
    use descriptor::{FirstLevel, SecondLevel};
    let base = PhysAddr::ZERO;
    let bits = match size {
        PageSize::Small => SecondLevel::Small { base, prot }.encode(),
        PageSize::Large => SecondLevel::Large { base, prot }.encode(),
        _ => FirstLevel::Section { base, prot, domain: Domain::KERNEL }.encode(),
    };
    Said { size, bits: bits.unwrap() }
}

#[test]
fn small_pages_of_one_table_retire_and_revive_by_one_look_without_a_flush() {
    let (machine, mut pool) = (Machine::new(), Pool::new(2));
    let mut mapper = machine.mapper(Live::Broken);
    mapper.map(at(0), 100 * PAGE, to(0x300, RW), PageSize::Small, &mut pool).unwrap();
    for count in [1, 2, 3, 64] {
        let before = machine.page(TABLE).to_vec();
        let words = hardware(TABLE, 0, 9, count as usize);
        let told = machine.record(|| {
            assert_eq!(mapper.retire(at(9), count * PAGE), Ok(Some(said(PageSize::Small, RW))));
        });
        assert_eq!(told, (vec![words], 1));
        for page in 0..count as usize {
            let frame = (0x309 + page as u32) << 12;
            assert_eq!((machine.page(TABLE)[512 + 9 + page], machine.page(TABLE)[9 + page]), (frame | RETIRED, 0));
        }
        let told = machine.record(|| mapper.revive(at(9), count * PAGE, RW, said(PageSize::Small, RW)).unwrap());
        assert_eq!((told, &machine.page(TABLE)[..]), ((vec![words], 1), &before[..]));
    }
}

#[test]
fn pages_that_say_different_things_retire_and_say_nothing() {
    use PageSize::{Large, Section, Small};
    let (machine, mut pool) = (Machine::new(), Pool::new(2));
    let mut mapper = machine.mapper(Live::Broken);
    let mut retired = |places: &[(u64, u64, Prot, PageSize)]| {
        let (first, last) = (places[0].0, places.last().map_or(0, |last| last.0 + last.1));
        for &(page, count, prot, largest) in places {
            mapper.map(at(page), count * PAGE, to(page, prot), largest, &mut pool).unwrap();
        }
        let said = mapper.retire(at(first), (last - first) * PAGE).unwrap();
        let mut frames = Vec::new();
        mapper
            .reap(at(first), (last - first) * PAGE, Small, &mut pool, |_, out| frames.extend_from_slice(out))
            .unwrap();
        assert_eq!(frames, (first..last).map(|page| Pfn::new(page as u32)).collect::<Vec<_>>());
        assert!(all_back(&pool) && machine.first(MIB_AT + 1) == &0);
        said
    };
    let local = Prot { global: false, ..RW };
    assert_eq!(retired(&[(3, 1, RW, Small), (4, 1, RO, Small)]), None);
    assert_eq!(retired(&[(3, 1, RW, Small), (4, 1, local, Small), (5, 1, RW, Small)]), None);
    // Over two tables, where the general way is taken: within one piece, and between pieces.
    assert_eq!(retired(&[(250, 12, RW, Small)]), Some(said(Small, RW)));
    assert_eq!(retired(&[(250, 11, RW, Small)]), Some(said(Small, RW)));
    assert_eq!(retired(&[(250, 6, RW, Small), (256, 6, RO, Small)]), None);
    assert_eq!(retired(&[(250, 2, RW, Small), (252, 10, RO, Small)]), None);
    assert_eq!(retired(&[(250, 10, RW, Small), (260, 2, local, Small)]), None);
    assert_eq!(retired(&[(16, 32, RW, Large)]), Some(said(Large, RW)));
    assert_eq!(retired(&[(16, 16, RW, Large), (32, 16, RO, Large)]), None);
    assert_eq!(retired(&[(16, 16, RW, Large), (32, 16, RW, Small)]), None);
    assert_eq!(retired(&[(0, 512, RW, Section)]), Some(said(Section, RW)));
    assert_eq!(retired(&[(0, 256, RW, Section), (256, 256, RO, Section)]), None);
    assert_eq!(retired(&[(0, 256, RW, Section), (256, 4, RW, Small)]), None);
}

#[test]
fn large_pages_and_sections_retire_and_revive_visibly_to_what_they_were() {
    for (page, count, size) in [(240, 32, PageSize::Large), (240, 32, PageSize::Small), (0, 512, PageSize::Section)] {
        let (machine, mut pool) = (Machine::new(), Pool::new(2));
        let mut mapper = machine.mapper(Live::Broken);
        mapper.map(at(page), count * PAGE, to(0x700 + page, RW), size, &mut pool).unwrap();
        let before: Vec<_> = mapper.tables().mappings().collect();
        let words = match size {
            PageSize::Section => [First(MIB_AT, 1), First(MIB_AT + 1, 1)],
            _ => [hardware(TABLE, 0, 240, 16), hardware(TABLE, 1, 0, 16)],
        };
        let told = machine.told(|| assert_eq!(mapper.retire(at(page), count * PAGE), Ok(Some(said(size, RW)))));
        assert_eq!((told, mapper.tables().mappings().count()), (words.to_vec(), 0));
        assert_eq!(mapper.revive(at(page), count * PAGE, RO, said(size, RW)), Err(MapError::BadProt(RO)));
        let other = said(if size == PageSize::Large { PageSize::Small } else { PageSize::Large }, RW);
        assert_eq!(mapper.revive(at(page), count * PAGE, RW, Said { size, ..other }), Err(MapError::BadProt(RW)));
        let told = machine.told(|| mapper.revive(at(page), count * PAGE, RW, said(size, RW)).unwrap());
        assert_eq!(told, words);
        assert_eq!(mapper.tables().mappings().collect::<Vec<_>>(), before);
        let rules = |mapping: &Mapping| twins_agree(mapper.tables(), mapping).unwrap();
        let pages = before.iter().map(|mapping| mapping.as_ref().unwrap()).filter(|_| size != PageSize::Section);
        assert!(pages.into_iter().all(rules), "the software entries are back");
        machine.tlb.check_visible(&machine.ram.ram);
    }
}

#[test]
fn what_would_be_cut_and_what_is_not_mapped_is_not_retired() {
    let (machine, mut pool) = (Machine::new(), Pool::new(2));
    let mut mapper = machine.mapper(Live::Broken);
    mapper.map(at(16), 32 * PAGE, to(16, RW), PageSize::Large, &mut pool).unwrap();
    mapper.map(at(256), MIB, to(256, RW), PageSize::Section, &mut pool).unwrap();
    for index in MIB_AT + 16..MIB_AT + 32 {
        *machine.first(index) = supersection(0x3000_0000, RW);
    }
    let told = machine.told(|| {
        let mut retire = |page, count| mapper.retire(at(page), count * PAGE);
        assert_eq!(retire(17, 15), Err(MapError::CutsLarger(at(16))), "cut at its begin");
        assert_eq!(retire(16, 15), Err(MapError::CutsLarger(at(16))), "cut at its end");
        assert_eq!(retire(16, 17), Err(MapError::CutsLarger(at(32))));
        assert_eq!(retire(16, 33), Err(MapError::NotMapped(at(48))));
        assert_eq!(retire(256, 255), Err(MapError::CutsLarger(at(256))));
        assert_eq!(retire(300, 212), Err(MapError::CutsLarger(at(256))));
        assert_eq!(retire(16 * 256, 16 * 256), Err(MapError::CutsLarger(at(16 * 256))), "a supersection");
    });
    assert_eq!(told, []);
    assert_eq!(mapper.retire(at(16), 32 * PAGE), Ok(Some(said(PageSize::Large, RW))), "exactly two");
}

#[test]
fn what_is_not_retired_is_named_by_a_revival_and_left_by_a_reaper() {
    let (machine, mut pool) = (Machine::new(), Pool::new(2));
    let mut mapper = machine.mapper(Live::Broken);
    let small = said(PageSize::Small, RW);
    for (first, count) in [(8, 6), (250, 12)] {
        mapper.map(at(first), count * PAGE, to(first, RW), PageSize::Small, &mut pool).unwrap();
        mapper.retire(at(first), count * PAGE).unwrap();
        for hole in first..first + count {
            mapper.revive(at(hole), PAGE, RW, small).unwrap();
            let told = machine.told(|| {
                let result = mapper.revive(at(first), count * PAGE, RW, small);
                assert_eq!(result, Err(MapError::NotMapped(at(hole))), "{hole} is mapped");
            });
            assert_eq!(told, []);
            mapper.retire(at(hole), PAGE).unwrap();
        }
        mapper.revive(at(first + 2), 2 * PAGE, RW, small).unwrap();
        let mut frames = Vec::new();
        let mut reap = |mapper: &mut Mapper<'_, _, _>| {
            mapper.reap(at(first), count * PAGE, PageSize::Small, &mut pool, |_, out| {
                frames.extend(out.iter().map(|frame| u64::from(frame.raw())));
            })
        };
        reap(&mut mapper).unwrap();
        reap(&mut mapper).unwrap();
        let retired: Vec<_> = (first..first + count).filter(|page| !(first + 2..first + 4).contains(page)).collect();
        assert_eq!(frames, retired, "once each");
        let mapped: Vec<_> = mapper.tables().mappings().map(|mapping| mapping.unwrap().va).collect();
        assert_eq!(mapped, [at(first + 2), at(first + 3)]);
        mapper.unmap(at(first + 2), 2 * PAGE, &mut pool).unwrap();
    }
    // Where the general way is taken no page is walked to: one look at each table to check, one to change.
    mapper.map(at(200), 112 * PAGE, to(200, RW), PageSize::Small, &mut pool).unwrap();
    assert_eq!(machine.record(|| mapper.retire(at(200), 112 * PAGE).unwrap()).1, 4);
    assert_eq!(machine.record(|| mapper.revive(at(200), 112 * PAGE, RW, small).unwrap()).1, 4);
    mapper.unmap(at(200), 112 * PAGE, &mut pool).unwrap();
    // A section: all of it or nothing.
    mapper.map(AT, MIB, to(256, RW), PageSize::Section, &mut pool).unwrap();
    mapper.retire(AT, MIB).unwrap();
    let section = said(PageSize::Section, RW);
    assert_eq!(mapper.revive(AT, 255 * PAGE, RW, section), Err(MapError::NotMapped(AT)));
    assert_eq!(mapper.revive(AT, 257 * PAGE, RW, section), Err(MapError::NotMapped(at(256))));
    mapper.revive(AT, MIB, RW, section).unwrap();
    assert_eq!(mapper.revive(AT, MIB, RW, section), Err(MapError::NotMapped(AT)));
}

#[test]
fn frames_are_handed_out_some_at_a_time() {
    for (count, sizes) in [(1, vec![1]), (16, vec![16]), (17, vec![17]), (128, vec![128]), (200, vec![128, 72])] {
        let (machine, mut pool) = (Machine::new(), Pool::new(2));
        let mut mapper = machine.mapper(Live::Broken);
        mapper.map(at(7), count * PAGE, to(0x900, RW), PageSize::Small, &mut pool).unwrap();
        mapper.retire(at(7), count * PAGE).unwrap();
        let mut out = Vec::new();
        mapper.reap(at(7), count * PAGE, PageSize::Small, &mut pool, |_, some| out.push(some.to_vec())).unwrap();
        assert_eq!(out.iter().map(Vec::len).collect::<Vec<_>>(), sizes);
        assert_eq!(out.concat(), (0..count as u32).map(|page| Pfn::new(0x900 + page)).collect::<Vec<_>>());
        assert!(all_back(&pool));
    }
}

#[test]
fn blocks_begin_at_multiples_of_their_size_from_the_begin_of_the_range() {
    use PageSize::{Large, Section, Small};
    let (machine, mut pool) = (Machine::new(), Pool::new(2));
    let mut mapper = machine.mapper(Live::Broken);
    // Page 250 is no multiple of 64 KiB: the range counts, also beyond the border of a table.
    for (first, largest, step, wanted) in [
        (250, Small, Large, vec![250, 266, 282]),
        (0, Section, Section, vec![0]),
        (0, Section, Large, (0..256).step_by(16).collect()),
        (0, Section, Small, (0..256).collect()),
        (512, Small, Section, vec![512]),
    ] {
        let count = if first == 250 { 48 } else { 256 };
        mapper.map(at(first), count * PAGE, to(0x4000 + first, RW), largest, &mut pool).unwrap();
        mapper.retire(at(first), count * PAGE).unwrap();
        let mut out = Vec::new();
        let told = machine.told(|| {
            mapper
                .reap(at(first), count * PAGE, step, &mut pool, |_, some| {
                    out.extend(some.iter().map(|frame| u64::from(frame.raw()) - 0x4000));
                })
                .unwrap();
        });
        assert_eq!(out, wanted);
        if largest == Section {
            assert_eq!(told, [First(MIB_AT, 1)], "the word is free again, visibly");
        }
        assert!(all_back(&pool) && mapper.tables().first(MIB_AT) == Ok(descriptor::FirstLevel::Fault));
        mapper.map(at(first), count * PAGE, to(0, RW), Section, &mut pool).unwrap();
        mapper.unmap(at(first), count * PAGE, &mut pool).unwrap();
    }
    assert_eq!(mapper.reap(at(1), 0, Small, &mut pool, |_, _| ()), Err(MapError::Unaligned(at(1))));
}
