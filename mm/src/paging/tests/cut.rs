//! What may be cut and what becomes of it: the borders of a range inside larger descriptors.
#![expect(clippy::cast_possible_truncation, reason = "addresses of the tests are below 4 GiB")]

use super::fixture::{AT, MIB, MIB_AT, PAGE, Pool, RO, RW, at, supersection, to};
use super::recording::{Machine, Told, all_back, first_page};
use crate::addr::PhysAddr;
use crate::paging::*;

/// A section can say it, a page cannot.
const USER_ONLY: Prot = Prot { exec: Exec::UserOnly, access: Access::UserRo, ..RW };

#[test]
fn what_pages_cannot_say_is_refused_where_a_section_would_be_cut_at_either_end() {
    let (machine, mut pool) = (Machine::new(), Pool::new(2));
    let mut mapper = machine.mapper(Live::Broken);
    mapper.map(at(0), 2 * MIB, to(0, RW), PageSize::Section, &mut pool).unwrap();
    let refused = Err(MapError::BadProt(USER_ONLY));
    let ranges = [(1, 255), (0, 255), (1, 511), (0, 511), (0, 257), (255, 257), (3, 4)];
    let told = machine.told(|| {
        for (first, count) in ranges {
            assert_eq!(mapper.protect(at(first), count * PAGE, USER_ONLY, &mut pool), refused, "{first}, {count}");
        }
    });
    assert_eq!(told, []);
    mapper.protect(at(0), 2 * MIB, USER_ONLY, &mut pool).unwrap();
    // Now the section itself says what no page can.
    let told = machine.told(|| {
        for (first, count) in ranges {
            assert_eq!(mapper.protect(at(first), count * PAGE, RW, &mut pool), refused, "{first}, {count}");
            assert_eq!(mapper.unmap(at(first), count * PAGE, &mut pool), refused);
        }
    });
    assert_eq!((told, mapper.tables().walk(at(511)).unwrap().unwrap().prot), (vec![], USER_ONLY));
    mapper.protect(at(256), MIB, RO, &mut pool).unwrap();
    mapper.unmap(at(0), 2 * MIB, &mut pool).unwrap();
}

#[test]
fn a_supersection_is_cut_if_all_of_it_lies_below_4_gib() {
    for (base, can) in [(0xff00_0000, true), (0x1_0000_0000, false), (0x1_ff00_0000, false)] {
        for (first, count) in [(0, 1), (15, 1), (3, 2), (0, 15), (1, 15)] {
            let (machine, mut pool) = (Machine::new(), Pool::new(1));
            let mut mapper = machine.mapper(Live::Broken);
            for index in MIB_AT..MIB_AT + 16 {
                *machine.first(index) = supersection(base, RW);
            }
            let wanted = if can { Ok(()) } else { Err(MapError::CutsLarger(AT)) };
            let protected = mapper.protect(at(first * 256), count * MIB, RO, &mut pool);
            assert_eq!((protected, mapper.unmap(at(first * 256), count * MIB, &mut pool)), (wanted, wanted));
            let left = if can { 16 - count as usize } else { 16 };
            assert_eq!((mapper.tables().mappings().count(), pool.taken()), (left, 0));
        }
        let (machine, mut pool) = (Machine::new(), Pool::new(1));
        for index in MIB_AT..MIB_AT + 16 {
            *machine.first(index) = supersection(base, RW);
        }
        machine.mapper(Live::Broken).unmap(AT, 16 * MIB, &mut pool).unwrap();
        assert_eq!(machine.tables().mappings().count(), 0, "whole, it may lie anywhere");
    }
}

#[test]
fn the_table_of_a_cut_maps_nothing_in_its_other_half_whichever_it_is() {
    for half in [0, 1] {
        let (machine, mut pool) = (Machine::new(), Pool::new(1));
        let mut mapper = machine.mapper(Live::Broken);
        let first = half * 256;
        mapper.map(at(first), MIB, to(0x500, RW), PageSize::Section, &mut pool).unwrap();
        mapper.unmap(at(first + 9), PAGE, &mut pool).unwrap();
        let words = machine.page(first_page(1));
        let other = (1 - half as usize) * 256;
        assert!([other, other + 512].iter().all(|from| words[*from..from + 256].iter().all(|word| *word == 0)));
        assert_eq!(mapper.tables().walk(at(first + 10)).unwrap().unwrap().pa, PhysAddr::new(0x50a * PAGE));
        mapper.unmap(at(first), 9 * PAGE, &mut pool).unwrap();
        mapper.unmap(at(first + 10), 246 * PAGE, &mut pool).unwrap();
        assert!(all_back(&pool));
    }
}

#[test]
fn a_cut_that_has_no_second_table_clears_the_half_that_it_filled() {
    let (machine, mut pool) = (Machine::new(), Pool::new(1));
    let mut mapper = machine.mapper(Live::Broken);
    // A page takes the only table; the sections beside it and in the next pair would be cut.
    mapper.map(at(0), PAGE, to(0, RW), PageSize::Small, &mut pool).unwrap();
    mapper.map(at(256), 2 * MIB, to(256, RW), PageSize::Section, &mut pool).unwrap();
    let before = machine.page(first_page(1))[..256].to_vec();
    let told = machine.told(|| {
        let result = mapper.unmap(at(300), 256 * PAGE, &mut pool);
        assert_eq!(result, Err(MapError::NoTable(at(556))));
    });
    let filled = Told::Table(first_page(1), 4096);
    assert_eq!(told, [filled], "a table that was filled in vain, and nothing live");
    let words = machine.page(first_page(1));
    assert_eq!(words[..256], before);
    assert!([256, 768].iter().all(|from| words[*from..from + 256].iter().all(|word| *word == 0)));
    assert_eq!(pool.taken(), 1);
}

#[test]
fn large_pages_stay_large_whatever_their_kind_of_memory() {
    for mem in MemType::ALL {
        let (machine, mut pool) = (Machine::new(), Pool::new(1));
        let mut mapper = machine.mapper(Live::Broken);
        let prot = |access| Prot { access, mem, ..RW };
        mapper.map(at(224), 64 * PAGE, to(224, prot(Access::KernelRw)), PageSize::Large, &mut pool).unwrap();
        // Within one table, and over two.
        for (first, count) in [(224, 16), (240, 32), (224, 64)] {
            for access in [Access::KernelRo, Access::KernelRw] {
                mapper.protect(at(first), count * PAGE, prot(access), &mut pool).unwrap();
                for page in first..first + count {
                    let found = mapper.tables().walk(at(page)).unwrap().unwrap();
                    assert_eq!((found.size, found.prot), (PageSize::Large, prot(access)), "page {page}");
                    assert_eq!(found.pa, PhysAddr::new(page * PAGE));
                }
            }
        }
    }
}

#[test]
fn a_border_between_two_mibs_needs_no_look_at_the_table_behind_it() {
    // The bit of a supersection is one of a table's address, too: tables with it and without.
    for tables in [2, 70] {
        let looks = |behind: u64| {
            let (machine, mut pool) = (Machine::new(), Pool::new(tables));
            let mut mapper = machine.mapper(Live::Broken);
            mapper.map(at(200), 312 * PAGE, to(200, RW), PageSize::Small, &mut pool).unwrap();
            if behind != 0 {
                mapper.map(at(512), behind * PAGE, to(512, RW), PageSize::Small, &mut pool).unwrap();
            }
            machine.record(|| mapper.protect(at(200), 312 * PAGE, RO, &mut pool).unwrap()).1
        };
        assert_eq!(looks(1), looks(0), "{tables} tables");
    }
    assert_eq!((first_page(70) & 1 << 18, first_page(2) & 1 << 18), (1 << 18, 0));
}

#[test]
fn large_pages_that_are_cut_at_the_same_offset_lose_nothing_else() {
    let (machine, mut pool) = (Machine::new(), Pool::new(1));
    let mut mapper = machine.mapper(Live::Broken);
    mapper.map(at(16), 32 * PAGE, to(16, RW), PageSize::Large, &mut pool).unwrap();
    mapper.unmap(at(21), 16 * PAGE, &mut pool).unwrap();
    let left: Vec<_> = mapper.tables().mappings().map(|mapping| mapping.unwrap().to).collect();
    assert!(left.len() == 16 && left.iter().all(|to| to.size == PageSize::Small), "{left:?}");
}

#[test]
fn what_is_mapped_already_is_named_by_its_first_page() {
    let (machine, mut pool) = (Machine::new(), Pool::new(3));
    let mut mapper = machine.mapper(Live::Broken);
    for taken in [3, 4, 200, 255, 256, 300] {
        mapper.map(at(taken), PAGE, to(1, RW), PageSize::Small, &mut pool).unwrap();
        for (first, count) in [(3, 298), (taken, 1), (taken.saturating_sub(1), 2), (taken, 9)] {
            let over = mapper.map(at(first), count * PAGE, to(7, RW), PageSize::Large, &mut pool);
            assert_eq!(over, Err(MapError::AlreadyMapped(at(taken))));
        }
        mapper.unmap(at(taken), PAGE, &mut pool).unwrap();
        assert!(all_back(&pool));
    }
    // A retired section is not free.
    mapper.map(at(256), MIB, to(256, RW), PageSize::Section, &mut pool).unwrap();
    mapper.retire(at(256), MIB).unwrap();
    let over = mapper.map(at(0), 3 * MIB, to(0, RW), PageSize::Section, &mut pool);
    assert_eq!((over, all_back(&pool)), (Err(MapError::AlreadyMapped(at(256))), true));
}

#[test]
fn what_is_free_or_retired_cannot_be_protected_or_unmapped_whatever_kind_it_would_be() {
    let (machine, mut pool) = (Machine::new(), Pool::new(1));
    let mut mapper = machine.mapper(Live::Broken);
    mapper.map(at(8), 8 * PAGE, to(8, RW), PageSize::Small, &mut pool).unwrap();
    mapper.retire(at(12), 2 * PAGE).unwrap();
    for mem in MemType::ALL {
        for shareable in [false, true] {
            let prot = Prot { mem, shareable, ..RW };
            for (first, count, missing) in [(5, 2, 5), (7, 2, 7), (15, 2, 16), (12, 1, 12), (11, 3, 12), (13, 1, 13)] {
                let result = mapper.protect(at(first), count * PAGE, prot, &mut pool);
                assert_eq!(result, Err(MapError::NotMapped(at(missing))), "{prot:?}");
                assert_eq!(mapper.unmap(at(first), count * PAGE, &mut pool), result);
                assert_eq!(mapper.retire(at(first), count * PAGE).map(drop), result);
            }
        }
    }
    assert_eq!(mapper.tables().mappings().count(), 6);
}

#[test]
fn how_descriptors_are_split_can_be_set_for_a_while() {
    let machine = Machine::new();
    let mut mapper = machine.mapper(Live::Broken);
    assert_eq!(mapper.set_live(Live::InPlace), Live::Broken);
    assert_eq!(mapper.set_live(Live::Broken), Live::InPlace);
    assert_eq!(mapper.set_live(Live::Broken), Live::Broken);
}
