//! The model MMU against words and registers whose meaning is written out: the judge is judged, too.

use super::*;
use crate::paging::descriptor::{FirstLevel, SecondLevel};
use crate::paging::tests::fixture::{POOL, ROOT, any_prot, expected, model};
use crate::paging::tests::recording::Machine;
use crate::paging::{Access, Domain, Exec, MemType, Prot};
use crate::testing::{FakeRam, scaled};
use proptest::prelude::*;

const RW: Prot = Prot::KERNEL_RW;

fn every_prot() -> Vec<Prot> {
    let mut all = Vec::new();
    for access in Access::ALL {
        for mem in MemType::ALL {
            for bits in 0..12 {
                let exec = [Exec::Allowed, Exec::UserOnly, Exec::Never][bits % 3];
                all.push(Prot { access, exec, mem, shareable: bits / 3 % 2 == 1, global: bits / 6 == 1 });
            }
        }
    }
    all
}

#[test]
fn sections_and_supersections_are_found_with_all_that_they_say() {
    let machine = Machine::new();
    let mmu = model(&machine.ram.ram);
    for prot in every_prot() {
        let base = PhysAddr::new(0xa5b0_0000);
        *machine.first(0x9c3) = FirstLevel::Section { base, prot, domain: Domain::KERNEL }.encode().unwrap();
        assert_eq!(mmu.translate(0x9c35_a5a5), Some(expected(0xa5b5_a5a5, prot, 20)), "{prot:?}");
        for high in [0, 0xa5_0000_0000_u64, 0x5a_0000_0000] {
            let base = PhysAddr::new(high | 0xa500_0000);
            *machine.first(0x9c4) = FirstLevel::Supersection { base, prot }.encode().unwrap();
            assert_eq!(mmu.translate(0x9c45_a5a5), Some(expected(high | 0xa545_a5a5, prot, 24)));
        }
    }
    assert_eq!((mmu.translate(0x9c2f_ffff), mmu.translate(0x9c50_0000)), (None, None));
}

#[test]
fn pages_of_tables_with_and_without_pxn_are_found_with_all_that_they_say() {
    let machine = Machine::new();
    let mmu = model(&machine.ram.ram);
    for (quarter, pxn) in [(0_usize, false), (1, true), (2, true), (3, false)] {
        machine.page(POOL).fill(0);
        let table = PhysAddr::new(POOL + quarter as u64 * 1024);
        *machine.first(0x9c3) = FirstLevel::PageTable { table, domain: Domain::KERNEL, pxn }.encode().unwrap();
        for said in every_prot().into_iter().filter(|prot| prot.exec != Exec::UserOnly) {
            let prot = if pxn && said.exec == Exec::Allowed { Prot { exec: Exec::UserOnly, ..said } } else { said };
            let word = &mut machine.page(POOL)[quarter * 256 + 0xa6];
            *word = SecondLevel::Small { base: PhysAddr::new(0x5a5a_9000), prot: said }.encode().unwrap();
            assert_eq!(mmu.translate(0x9c3a_65a5), Some(expected(0x5a5a_95a5, prot, 12)), "{prot:?}");
            *word = SecondLevel::Large { base: PhysAddr::new(0x5a5a_0000), prot: said }.encode().unwrap();
            assert_eq!(mmu.translate(0x9c3a_65a5), Some(expected(0x5a5a_65a5, prot, 16)), "{prot:?}");
        }
        assert_eq!((mmu.translate(0x9c3a_5fff), mmu.translate(0x9c3a_7000)), (None, None));
        // A fault, whatever its other bits.
        machine.page(POOL)[quarter * 256 + 0xa6] = 0xffff_fffc;
        assert_eq!(mmu.translate(0x9c3a_65a5), None);
    }
    *machine.first(0x9c3) = 0xffff_fffc;
    assert_eq!(mmu.translate(0x9c3a_65a5), None);
}

#[test]
fn only_a_domain_that_is_a_client_answers_and_supersections_are_in_domain_0() {
    let machine = Machine::new();
    for raw in 0..16_u8 {
        let domain = Domain::new(raw).unwrap();
        // Bit 18 of a table's word is its address.
        let table = PhysAddr::new(ROOT + (1 << 18));
        *machine.first(1) = FirstLevel::Section { base: PhysAddr::ZERO, prot: RW, domain }.encode().unwrap();
        *machine.first(2) = FirstLevel::PageTable { table, domain, pxn: false }.encode().unwrap();
        machine.page(table.raw())[0] = SecondLevel::Small { base: PhysAddr::ZERO, prot: RW }.encode().unwrap();
        // The high base stands in the bits of a domain.
        let high = PhysAddr::new(u64::from(raw) << 36);
        *machine.first(3) = FirstLevel::Supersection { base: high, prot: RW }.encode().unwrap();
        for (dacr, client) in [(1 << (2 * raw), true), (0, false), (2 << (2 * raw), false), (3 << (2 * raw), false)] {
            let mmu = ModelMmu { dacr, ..model(&machine.ram.ram) };
            let answers = [0x10_0000, 0x20_0000, 0x30_0000].map(|va| mmu.translate(va).is_some());
            assert_eq!(answers, [client, client, client && raw == 0], "domain {raw}, DACR {dacr:#x}");
            let others = ModelMmu { dacr: !(3 << (2 * raw)) & 0x5555_5555, ..mmu };
            let answers = [0x10_0000, 0x20_0000, 0x30_0000].map(|va| others.translate(va).is_some());
            assert_eq!(answers, [false, false, raw != 0]);
        }
    }
}

/// The answer for a section of memory index `n` with S as given.
fn section(ram: &FakeRam, first: &mut u32, n: u32, s: u32, (prrr, nmrr): (u32, u32)) -> Answer {
    *first = 2 | (n & 3) << 2 | 1 << 10 | (n >> 2) << 12 | s << 16;
    ModelMmu { prrr, nmrr, ..model(ram) }.translate(0).unwrap()
}

#[test]
fn each_field_of_prrr_and_nmrr_counts_for_its_index_alone() {
    let machine = Machine::new();
    let ram = &machine.ram.ram;
    for n in 0..8 {
        // Inner and outer policies differ, and so do those of the other indices.
        for (inner, outer) in [(1, 2), (2, 1), (3, 0), (0, 3)] {
            let others = !(3_u32 << (2 * n)) & !(3 << (2 * n + 16));
            let nmrr = inner << (2 * n) | outer << (2 * n + 16) | others & 0x9999_9999;
            let normal = section(ram, machine.first(0), n, 0, (2 << (2 * n), nmrr));
            assert_eq!((normal.kind, normal.cache, normal.shareable), (2, [inner, outer], false));
            for kind in [0, 1] {
                let other = section(ram, machine.first(0), n, 0, (kind << (2 * n), nmrr));
                assert_eq!((other.kind, other.cache, other.shareable), (kind, [0, 0], kind == 0));
            }
        }
        // DS0, DS1, NS0, NS1: whether a device or normal memory is shareable with S as it is.
        for bit in 16..20 {
            for (kind, s) in [(1, 0), (1, 1), (2, 0), (2, 1)] {
                let found = section(ram, machine.first(0), n, s, (kind << (2 * n) | 1 << bit, 0));
                assert_eq!(found.shareable, bit == 14 + 2 * kind + s, "bit {bit}, kind {kind}, S {s}");
            }
        }
    }
}

#[test]
fn what_is_reserved_fails_the_test_that_meets_it() {
    let machine = Machine::new();
    *machine.first(0) = 2 | 4 >> 2 << 15;
    let panics = |mmu: ModelMmu<'_, FakeRam>| {
        std::panic::catch_unwind(core::panic::AssertUnwindSafe(|| mmu.translate(0))).is_err()
    };
    assert!(panics(model(&machine.ram.ram)), "AP 0b100");
    *machine.first(0) = 2 | 1 << 10;
    assert!(!panics(model(&machine.ram.ram)));
    assert!(panics(ModelMmu { prrr: 3, ..model(&machine.ram.ram) }), "TR 0b11");
    // AP 0b110 is deprecated and reads as 0b111.
    for ap in [6, 7] {
        *machine.first(0) = 2 | (ap & 3) << 10 | 1 << 15;
        let answer = model(&machine.ram.ram).translate(0).unwrap();
        assert_eq!(answer.access, [true, false, true, false]);
    }
}

#[test]
fn every_page_that_answers_is_listed_once_lowest_first() {
    let machine = Machine::new();
    assert_eq!(model(&machine.ram.ram).all(), []);
    machine.page(POOL).fill(0);
    *machine.first(0x801) =
        FirstLevel::PageTable { table: PhysAddr::new(POOL), domain: Domain::KERNEL, pxn: false }.encode().unwrap();
    for page in [0, 255] {
        machine.page(POOL)[page] = SecondLevel::Small { base: PhysAddr::new(0x5000), prot: RW }.encode().unwrap();
    }
    *machine.first(0xfff) =
        FirstLevel::Section { base: PhysAddr::ZERO, prot: RW, domain: Domain::KERNEL }.encode().unwrap();
    let all = model(&machine.ram.ram).all();
    let places: Vec<_> = all.iter().map(|(va, _)| *va).collect();
    let wanted: Vec<_> =
        [0x8010_0000, 0x801f_f000].into_iter().chain((0xfff0_0000..=0xffff_ffff).step_by(0x1000)).collect();
    assert_eq!(places, wanted);
    assert!(all.iter().all(|(va, answer)| Some(*answer) == model(&machine.ram.ram).translate(*va)));
    assert_eq!(ROOT % 0x4000, 0);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: scaled(64), failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_page_anywhere_is_found_at_its_byte(va in any::<u32>(), frame in 0..0x10_0000_u64, prot in any_prot()) {
        let machine = Machine::new();
        machine.page(POOL).fill(0);
        let table = PhysAddr::new(POOL + 2048);
        *machine.first((va >> 20) as usize) = FirstLevel::PageTable { table, domain: Domain::KERNEL, pxn: false }.encode().unwrap();
        let base = PhysAddr::new(frame << 12);
        machine.page(POOL)[512 + (va >> 12 & 255) as usize] = SecondLevel::Small { base, prot }.encode().unwrap();
        let found = model(&machine.ram.ram).translate(va);
        prop_assert_eq!(found, Some(expected(frame << 12 | u64::from(va & 0xfff), prot, 12)));
    }
}
