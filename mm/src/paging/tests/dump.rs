//! The lines of a dump: every word of them, and where one ends.

use super::*;
use crate::addr::PhysAddr;
use crate::paging::Live;
use crate::paging::tests::fixture::{MIB, PAGE, Pool, supersection};
use crate::paging::tests::recording::Machine;

const RW: Prot = Prot::KERNEL_RW;

fn at(va: u32) -> VirtAddr {
    VirtAddr::new(va)
}

fn line(start: u32, end: u64, size: PageSize, prot: Prot, domain: Domain) -> String {
    DumpLine::Range { start: at(start), end, size, prot, domain }.to_string()
}

fn small(prot: Prot) -> String {
    line(0x9000_0000, 0x9000_1000, PageSize::Small, prot, Domain::KERNEL)
}

#[test]
fn every_attribute_has_its_place() {
    let begin = "0x90000000-0x90001000           4K PTE    ";
    let access = |access| small(Prot { access, ..RW });
    for (which, text) in [
        (Access::None, "    -- NX SHD MEM/CACHED/WBWA"),
        (Access::KernelRw, "    RW NX SHD MEM/CACHED/WBWA"),
        (Access::KernelRwUserRo, "USR RW NX SHD MEM/CACHED/WBWA"),
        (Access::UserRw, "USR RW NX SHD MEM/CACHED/WBWA"),
        (Access::KernelRo, "    ro NX SHD MEM/CACHED/WBWA"),
        (Access::UserRo, "USR ro NX SHD MEM/CACHED/WBWA"),
    ] {
        assert_eq!(access(which), format!("{begin}{text}"));
    }
    for (exec, text) in [(Exec::Allowed, "x "), (Exec::UserOnly, "ux"), (Exec::Never, "NX")] {
        assert_eq!(small(Prot { exec, ..RW }), format!("{begin}    RW {text} SHD MEM/CACHED/WBWA"));
    }
    let mem = |mem, shareable| small(Prot { mem, shareable, ..RW })[begin.len() + 10..].to_string();
    assert_eq!(mem(MemType::Device, true), "SHD DEV/SHARED");
    assert_eq!(mem(MemType::Device, false), "    DEV/NONSHARED");
    assert_eq!(mem(MemType::WriteBack, false), "    MEM/CACHED/WBRA");
    assert_eq!(small(Prot { global: false, ..RW }), format!("{begin}    RW NX SHD MEM/CACHED/WBWA nG"));
    let user = line(0x9000_0000, 0x9000_1000, PageSize::Small, RW, Domain::USER);
    assert_eq!(user, format!("{begin}    RW NX SHD MEM/CACHED/WBWA domain 1"));
    assert_eq!(DumpLine::Marker("Modules").to_string(), "---[ Modules ]---");
    let broken = TableError::Undecodable(at(0x9000_0000), 0x8002);
    assert_eq!(DumpLine::Broken(broken).to_string(), "broken: descriptor 0x00008002 of 0x90000000 has no meaning");
}

#[test]
fn amounts_are_in_the_largest_unit_that_divides_them() {
    for (bytes, text) in [
        (PAGE, "        4K"),
        (MIB - PAGE, "     1020K"),
        (MIB, "        1M"),
        (MIB + PAGE, "     1028K"),
        (3 * MIB, "        3M"),
        (1 << 30, "        1G"),
        (3 << 30, "        3G"),
        ((1 << 30) + MIB, "     1025M"),
        ((1 << 30) - MIB, "     1023M"),
        ((1 << 30) + PAGE, "  1048580K"),
    ] {
        let shown = line(0, bytes, PageSize::Section, RW, Domain::KERNEL);
        assert_eq!(&shown[24..34], text, "{shown}");
    }
    for (size, text) in [
        (PageSize::Small, "PTE"),
        (PageSize::Large, "LPG"),
        (PageSize::Section, "PMD"),
        (PageSize::Supersection, "SPM"),
    ] {
        assert!(line(0, PAGE, size, RW, Domain::KERNEL).contains(text));
    }
    assert_eq!(scaled(0), (0, 'K'));
}

/// The ranges of a dump of what `fill` maps, as (start, end).
fn ranges(machine: &Machine, markers: &[Marker]) -> Vec<(u32, u64)> {
    let lines = machine.tables().dump(markers);
    lines
        .filter_map(|line| match line {
            DumpLine::Range { start, end, .. } => Some((start.raw(), end)),
            _ => None,
        })
        .collect()
}

#[test]
fn a_line_ends_where_something_changes() {
    let machine = Machine::new();
    let (mut mapper, mut pool) = (machine.mapper(Live::Broken), Pool::new(4));
    let mut map = |va, bytes, prot, size| {
        mapper.map(at(va), bytes, (PhysAddr::ZERO, prot), size, &mut pool).unwrap();
    };
    map(0x9000_0000, 2 * PAGE, RW, PageSize::Small);
    map(0x9000_2000, PAGE, Prot::KERNEL_RO, PageSize::Small);
    map(0x9000_4000, 2 * PAGE, Prot::KERNEL_RO, PageSize::Small);
    map(0x9010_0000, 16 * PAGE, RW, PageSize::Large);
    map(0x9011_0000, 16 * PAGE, RW, PageSize::Small);
    map(0xfff0_0000, MIB, RW, PageSize::Section);
    *machine.first(0xffe) = *machine.first(0xfff) | 3 << 5;
    for index in 0xa00..0xa20 {
        *machine.first(index) = supersection(0x3000_0000, RW);
    }
    let wanted = [
        (0x9000_0000, 0x9000_2000),
        (0x9000_2000, 0x9000_3000),
        (0x9000_4000, 0x9000_6000),
        (0x9010_0000, 0x9011_0000),
        (0x9011_0000, 0x9012_0000),
        (0xa000_0000, 0xa200_0000),
        (0xffe0_0000, 0xfff0_0000),
        (0xfff0_0000, 1 << 32),
    ];
    assert_eq!(ranges(&machine, &[]), wanted);
    // A marker in the middle of a range parts it, one at its end does not.
    let marker = |va| Marker { va: at(va), name: "here" };
    let parted = ranges(&machine, &[marker(0x9000_1000), marker(0x9000_6000), marker(0xa010_0000)]);
    assert_eq!(parted[..2], [(0x9000_0000, 0x9000_1000), (0x9000_1000, 0x9000_2000)]);
    assert_eq!(parted[6..8], [(0xa000_0000, 0xa010_0000), (0xa010_0000, 0xa200_0000)]);
    assert_eq!(parted.len(), wanted.len() + 2);
}

#[test]
fn markers_stand_before_what_begins_at_them_and_the_rest_at_the_end() {
    let machine = Machine::new();
    let (mut mapper, mut pool) = (machine.mapper(Live::Broken), Pool::new(4));
    mapper.map(at(0x9000_0000), MIB, (PhysAddr::ZERO, RW), PageSize::Section, &mut pool).unwrap();
    *machine.first(0x901) = 0x8002;
    let marker = |va, name| Marker { va: at(va), name };
    let markers =
        [marker(0x8000_0000, "a"), marker(0x9000_0000, "b"), marker(0x9010_0000, "c"), marker(0xa000_0000, "d")];
    let lines: Vec<_> = machine.tables().dump(&markers).map(|line| line.to_string()).collect();
    let wanted = [
        "---[ a ]---",
        "---[ b ]---",
        "0x90000000-0x90100000           1M PMD        RW NX SHD MEM/CACHED/WBWA",
        "broken: descriptor 0x00008002 of 0x90100000 has no meaning",
        "---[ c ]---",
        "---[ d ]---",
    ];
    assert_eq!(lines, wanted);
}
