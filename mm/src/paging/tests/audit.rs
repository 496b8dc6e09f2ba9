//! The judge: what it counts, and each thing that it refuses, spoilt alone.

use super::*;
use crate::layout::VirtualLayout;
use crate::paging::tests::fixture::{MIB, PAGE, Pool, supersection};
use crate::paging::tests::recording::Machine;
use crate::paging::{Access, Exec, Live, MemType};

const RW: Prot = Prot::KERNEL_RW;
const RO: Prot = Prot::KERNEL_RO;
const RX: Prot = Prot::KERNEL_RX;
/// In the vmalloc area; nothing of the linear map has these frames.
const ELSEWHERE: VirtAddr = VirtAddr::new(0x9000_0000);
const DEVICE: u64 = 0x1000_0000;

fn at(va: u32) -> VirtAddr {
    VirtAddr::new(va)
}

/// Maps ranges: address, bytes, frame, protection, largest size.
type Range = (u32, u64, u64, Prot, PageSize);

fn map(machine: &Machine, ranges: &[Range]) {
    let (mut mapper, mut pool) = (machine.mapper(Live::Broken), Pool::new(8));
    for &(va, bytes, pa, prot, largest) in ranges {
        mapper.map(at(va), bytes, (PhysAddr::new(pa), prot), largest, &mut pool).unwrap();
    }
}

/// Judges by a linear map of 8 MiB at 0x8000_0000, of which 64 KiB are no-map.
fn judged(machine: &Machine) -> Result<Audit, AuditError> {
    let start = PhysAddr::new(0x8000_0000);
    let linear = LinearMap::new(at(0x8000_0000), start, PhysAddr::new(0x8080_0000)).unwrap();
    let no_map = PhysRange::new(PhysAddr::new(0x8040_0000), PhysAddr::new(0x8041_0000));
    let rules =
        Rules { areas: &VirtualLayout::new(linear).areas(), linear, touches_no_map: &|range| range.overlaps(no_map) };
    audit(&machine.tables(), &rules)
}

fn judge_ranges(ranges: &[Range]) -> Result<Audit, AuditError> {
    let machine = Machine::new();
    map(&machine, ranges);
    judged(&machine)
}

use PageSize::{Large, Section, Small};

#[test]
fn descriptors_are_counted_by_size_and_what_can_be_executed_in_bytes() {
    let machine = Machine::new();
    let ranges = [
        (0x8000_0000, 3 * MIB, 0x8000_0000, RW, Section),
        (0x8030_0000, MIB, 0x8030_0000, RX, Section),
        (0x9000_0000, 3 * PAGE, DEVICE, RW, Small),
        (0x9000_3000, 2 * PAGE, DEVICE, RX, Small),
        (0x9001_0000, 32 * PAGE, DEVICE, RW, Large),
        (0x9010_0000, 16 * PAGE, DEVICE, RX, Large),
    ];
    map(&machine, &ranges);
    for index in 0xa00..0xa10 {
        *machine.first(index) = supersection(0x2000_0000, RX);
    }
    for index in 0xa10..0xa20 {
        *machine.first(index) = supersection(0x2100_0000, RW);
    }
    let executable_bytes = MIB + 2 * PAGE + 16 * PAGE + 16 * MIB;
    let right = Audit { small: 5, large: 48, sections: 4, supersections: 32, executable_bytes };
    assert_eq!(judged(&machine), Ok(right));
    assert_eq!(judge_ranges(&[]), Ok(Audit::default()));
}

#[test]
fn writing_and_executing_each_alone_is_right_and_both_are_not() {
    let elsewhere = |prot| judge_ranges(&[(ELSEWHERE.raw(), PAGE, DEVICE, prot, Small)]).map(drop);
    let rwx = Prot::EARLY_RWX;
    assert_eq!([RW, RO, RX].map(elsewhere), [Ok(()); 3]);
    assert_eq!(elsewhere(rwx), Err(AuditError::WritableExecutable(ELSEWHERE, rwx)));
    // Nobody may read it, so nobody executes it.
    assert_eq!(elsewhere(Prot { access: Access::None, exec: Exec::Allowed, ..RW }), Ok(()));
    for access in [Access::UserRo, Access::UserRw, Access::KernelRwUserRo] {
        let prot = Prot { access, ..RW };
        assert_eq!(elsewhere(prot), Err(AuditError::UserAccess(ELSEWHERE, prot)));
    }
}

#[test]
fn a_mapping_must_lie_in_one_area_with_all_its_bytes() {
    let judge_in = |start, last, ranges: &[Range]| {
        let machine = Machine::new();
        map(&machine, ranges);
        let linear = LinearMap::new(at(0x8000_0000), PhysAddr::new(0x8000_0000), PhysAddr::new(0x8080_0000)).unwrap();
        let areas = [Area { name: "one", start: at(start), last: at(last) }];
        audit(&machine.tables(), &Rules { areas: &areas, linear, touches_no_map: &|_| false }).map(drop)
    };
    let page = [(ELSEWHERE.raw(), PAGE, DEVICE, RW, Small)];
    let outside = Err(AuditError::OutsideAreas(ELSEWHERE));
    assert_eq!(judge_in(0x9000_0000, 0x9000_0fff, &page), Ok(()), "it fits exactly");
    assert_eq!(judge_in(0x9000_0000, 0x9000_0ffe, &page), outside);
    assert_eq!(judge_in(0x9000_0001, 0x9fff_ffff, &page), outside);
    assert_eq!(judge_in(0, 0x8fff_ffff, &page), outside);
    let section = [(ELSEWHERE.raw(), MIB, DEVICE, RW, Section)];
    assert_eq!(judge_in(0x9000_0000, 0x900f_ffff, &section), Ok(()));
    assert_eq!(judge_in(0x9000_0000, 0x900f_fffe, &section), outside);
    let middle = [(0x9000_5000, PAGE, DEVICE, RW, Small)];
    assert_eq!(judge_in(0x9000_5000, 0x9000_5fff, &middle), Ok(()), "no more than its own bytes count");
}

#[test]
fn the_linear_map_has_its_own_frames_and_none_that_is_no_map() {
    let linear = |va: u32, bytes, pa, size| judge_ranges(&[(va, bytes, pa, RW, size)]).map(drop);
    assert_eq!(linear(0x8041_0000, PAGE, 0x8041_0000, Small), Ok(()), "behind the no-map frames");
    assert_eq!(linear(0x803f_f000, PAGE, 0x803f_f000, Small), Ok(()), "before them");
    let refused = |va, pa| Err(AuditError::NoMapFrame(at(va), PhysAddr::new(pa)));
    assert_eq!(linear(0x8040_f000, PAGE, 0x8040_f000, Small), refused(0x8040_f000, 0x8040_f000));
    assert_eq!(linear(0x8040_0000, MIB, 0x8040_0000, Section), refused(0x8040_0000, 0x8040_0000));
    let wrong = AuditError::WrongFrame(at(0x8041_0000), PhysAddr::new(0x8041_1000));
    assert_eq!(linear(0x8041_0000, PAGE, 0x8041_1000, Small), Err(wrong));
    assert_eq!(judge_ranges(&[(0x9000_0000, PAGE, 0x8040_0000, Prot::DEVICE_RW, Small)]).map(drop), Ok(()));
}

#[test]
fn an_alias_of_the_linear_map_has_its_kind_of_memory_and_shareability() {
    let alias = |own: Prot, here: Prot| {
        let linear = (0x8000_0000, MIB, 0x8000_0000, own, Section);
        judge_ranges(&[linear, (0x9000_3000, PAGE, 0x8000_5000, here, Small)]).map(drop)
    };
    let (va, pa) = (at(0x9000_3000), PhysAddr::new(0x8000_5000));
    assert_eq!([alias(RW, RW), alias(RW, RO), alias(RO, RW), alias(RX, RX), alias(RX, RO)], [Ok(()); 5]);
    let mixed = Err(AuditError::MixedTypes(va, pa));
    assert_eq!(alias(RW, Prot { mem: MemType::WriteBack, ..RW }), mixed);
    assert_eq!(alias(RW, RW.with_shareable(false)), mixed);
    let writable = Err(AuditError::WritableAlias(va, pa));
    assert_eq!([alias(RW, RX), alias(RX, RW)], [writable; 2]);
    // The linear map need not have the frame.
    assert_eq!(judge_ranges(&[(0x9000_3000, PAGE, 0x8000_5000, RX, Small)]).map(drop), Ok(()));
}

#[test]
fn a_larger_alias_is_compared_page_by_page_and_the_page_is_named() {
    let linear = |page: u64, prot| {
        let frame = 0x8030_0000 + page * PAGE;
        (0x8030_0000 + u32::try_from(page * PAGE).unwrap(), PAGE, frame, prot, Small)
    };
    for page in [0, 1, 100, 255] {
        let section = (0x9000_0000, MIB, 0x8030_0000, RW, Section);
        let found = judge_ranges(&[linear(page, RX), section]);
        let va = at(0x9000_0000 | u32::try_from(page * PAGE).unwrap());
        assert_eq!(found, Err(AuditError::WritableAlias(va, PhysAddr::new(0x8030_0000 + page * PAGE))));
    }
}

/// 0x9000_0000: 16 small pages, then a large one.
fn twins() -> Machine {
    let machine = Machine::new();
    let pages = (0x9000_0000, 16 * PAGE, DEVICE, RW, Small);
    map(&machine, &[pages, (0x9001_0000, 16 * PAGE, DEVICE + 0x10_0000, RW, Large)]);
    machine
}

#[test]
fn every_bit_of_a_software_entry_that_means_something_must_agree_with_the_hardware() {
    let right = Audit { small: 16, large: 16, ..Audit::default() };
    let machine = twins();
    assert_eq!(judged(&machine), Ok(right));
    let table = machine.tables().pair_table(0x900).unwrap().raw();
    for page in [0, 5, 15, 16, 20, 31] {
        let differ = Err(AuditError::TwinsDiffer(at(0x9000_0000 + page * PAGE_SIZE)));
        for bit in 0..32 {
            let word = &mut machine.page(table)[page as usize];
            *word ^= 1 << bit;
            let found = judged(&machine);
            *word ^= 1 << bit;
            assert_eq!(found, differ, "bit {bit} of page {page}");
        }
        // And no entry at all.
        let old = std::mem::replace(&mut machine.page(table)[page as usize], 0);
        assert_eq!(judged(&machine), differ);
        machine.page(table)[page as usize] = old;
    }
    assert_eq!(judged(&machine), Ok(right));
}

#[test]
fn twins_of_a_table_with_pxn_agree_by_what_the_page_itself_can_say() {
    let machine = Machine::new();
    let (mut mapper, mut pool) = (super::super::Mapper::new(machine.editor().of_user(true)), Pool::new(1));
    let mut map = |va, prot, size| {
        mapper.map(at(va), 16 * PAGE, (PhysAddr::new(DEVICE), prot), size, &mut pool).unwrap();
    };
    map(0x1000_0000, Prot::USER_RX, Large);
    map(0x1001_0000, Prot::USER_RW, Large);
    map(0x1002_0000, Prot::USER_RX, Small);
    let tables = machine.tables();
    for mapping in tables.mappings() {
        let mapping = mapping.unwrap();
        assert_eq!(twins_agree(&tables, &mapping), Ok(true), "{mapping:?}");
    }
    // A right that the hardware's word does not give.
    let table = tables.pair_table(0x100).unwrap().raw();
    machine.page(table)[3] ^= 1 << 7;
    let third = tables.mappings().nth(3).unwrap().unwrap();
    assert_eq!(twins_agree(&tables, &third), Ok(false));
    // A section has no twin.
    *machine.first(0x200) = 0x2000_0002 | 1 << 10;
    let section = tables.mappings().last().unwrap().unwrap();
    assert_eq!((section.to.size, twins_agree(&tables, &section)), (Section, Ok(false)));
}

#[test]
fn domains_and_broken_tables_are_named() {
    let machine = twins();
    *machine.first(0x900) |= 5 << 5;
    assert_eq!(judged(&machine), Err(AuditError::ForeignDomain(ELSEWHERE, Domain::new(5).unwrap())));
    *machine.first(0x900) = 0xfff0_0001;
    let far = PhysAddr::new(0xfff0_0000);
    assert_eq!(judged(&machine), Err(AuditError::Table(TableError::Unreachable(far))));
}

#[test]
fn every_error_says_what_is_wrong_and_where() {
    let (va, pa) = (ELSEWHERE, PhysAddr::new(0x8000_1000));
    let table = [
        (AuditError::WritableExecutable(va, RW), "0x90000000 is writable and executable"),
        (AuditError::NoMapFrame(va, pa), "no-map frame 0x80001000 is in the linear map at 0x90000000"),
        (AuditError::OutsideAreas(va), "0x90000000 is mapped outside every area"),
        (AuditError::WrongFrame(va, pa), "linear address 0x90000000 maps 0x80001000"),
        (AuditError::MixedTypes(va, pa), "0x90000000 maps 0x80001000 with another kind of memory than the linear map"),
        (
            AuditError::WritableAlias(va, pa),
            "0x80001000 is writable and executable: once at 0x90000000, once in the linear map",
        ),
        (AuditError::UserAccess(va, RW), "0x90000000 is the kernel's and open to users"),
        (AuditError::ForeignDomain(va, Domain::USER), "0x90000000 is in domain 1"),
        (AuditError::TwinsDiffer(va), "software and hardware entry of 0x90000000 differ"),
        (TableError::Unreachable(pa).into(), "translation table at 0x80001000 cannot be reached"),
    ];
    for (error, text) in table {
        assert_eq!(error.to_string(), text);
    }
    let linear = LinearMap::new(at(0x8000_0000), PhysAddr::new(0x8000_0000), PhysAddr::new(0x8080_0000)).unwrap();
    let areas = [Area { name: "one", start: va, last: va }];
    let shown = format!("{:?}", Rules { areas: &areas, linear, touches_no_map: &|_| false });
    assert!(shown.starts_with("Rules { areas: [Area { name: \"one\"") && shown.contains("linear: "), "{shown}");
}
