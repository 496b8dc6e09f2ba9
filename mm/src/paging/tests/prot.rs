//! Every right and every kind of memory, value by value.

use super::*;

#[test]
fn rights_to_read_and_write_are_those_of_the_manuals_table() {
    // AP[2:0] by table B3-8 of DDI 0406C: may the kernel write, may users do anything, what is left without writing.
    let table = [
        (Access::None, 0b000, false, false, Access::None),
        (Access::KernelRw, 0b001, true, false, Access::KernelRo),
        (Access::KernelRwUserRo, 0b010, true, true, Access::UserRo),
        (Access::UserRw, 0b011, true, true, Access::UserRo),
        (Access::KernelRo, 0b101, false, false, Access::KernelRo),
        (Access::UserRo, 0b111, false, true, Access::UserRo),
    ];
    assert_eq!(table.map(|(access, ..)| access), Access::ALL);
    for (access, ap, writable, user, read) in table {
        assert_eq!((access.ap(), access.writable(), access.user()), (ap, writable, user), "{access:?}");
        assert_eq!(
            (access.without_writing(), Access::from_ap(ap), Access::from_ap(ap | 8)),
            (read, Some(access), Some(access))
        );
        assert_eq!(Prot { access, ..Prot::KERNEL_RW }.writable(), writable);
    }
    assert_eq!((Access::from_ap(0b100), Access::from_ap(0b110)), (None, Some(Access::UserRo)));
}

#[test]
fn kinds_of_memory_have_their_index_and_linux_name() {
    let table = [
        (MemType::StronglyOrdered, 0, false, "SO/UNCACHED"),
        (MemType::NormalNonCacheable, 1, true, "MEM/BUFFERABLE/WC"),
        (MemType::WriteThrough, 2, true, "MEM/CACHED/WT"),
        (MemType::WriteBack, 3, true, "MEM/CACHED/WBRA"),
        (MemType::Device, 4, false, "DEV/SHARED"),
        (MemType::WriteBackWriteAllocate, 7, true, "MEM/CACHED/WBWA"),
    ];
    assert_eq!(table.map(|(mem, ..)| mem), MemType::ALL);
    for (mem, index, normal, name) in table {
        assert_eq!((mem.remap_index(), mem.is_normal(), mem.name()), (index, normal, name));
        assert_eq!(MemType::from_remap_index(index), Some(mem));
    }
    assert_eq!([5, 6, 8, u32::MAX].map(MemType::from_remap_index), [None; 4]);
}

#[test]
fn what_can_be_executed_can_be_read_by_someone() {
    for access in Access::ALL {
        for (exec, may) in [(Exec::Allowed, true), (Exec::UserOnly, true), (Exec::Never, false)] {
            let prot = Prot { access, exec, ..Prot::KERNEL_RW };
            assert_eq!(prot.executable(), may && access != Access::None, "{prot:?}");
        }
    }
}

#[test]
fn the_protections_that_have_a_name_are_written_out() {
    let all = |access, exec, mem, global| Prot { access, exec, mem, shareable: true, global };
    let (cached, device) = (MemType::WriteBackWriteAllocate, MemType::Device);
    let (never, allowed) = (Exec::Never, Exec::Allowed);
    for (prot, wanted) in [
        (Prot::KERNEL_RW, all(Access::KernelRw, never, cached, true)),
        (Prot::KERNEL_RO, all(Access::KernelRo, never, cached, true)),
        (Prot::KERNEL_RX, all(Access::KernelRo, allowed, cached, true)),
        (Prot::EARLY_RWX, all(Access::KernelRw, allowed, cached, true)),
        (Prot::DEVICE_RW, all(Access::KernelRw, never, device, true)),
        (Prot::USER_RW, all(Access::UserRw, never, cached, false)),
        (Prot::USER_RO, all(Access::UserRo, never, cached, false)),
        (Prot::USER_RX, all(Access::UserRo, allowed, cached, false)),
    ] {
        assert_eq!(prot, wanted);
        assert_eq!(prot.with_shareable(false), Prot { shareable: false, ..prot });
        assert_eq!(prot.with_shareable(true), prot);
    }
}

#[test]
fn there_are_sixteen_domains() {
    for raw in 0..16 {
        assert_eq!(Domain::new(raw).map(Domain::raw), Some(raw));
    }
    assert_eq!([16, 17, 255].map(Domain::new), [None; 3]);
    assert_eq!((Domain::KERNEL.raw(), Domain::USER.raw(), Domain::default()), (0, 1, Domain::KERNEL));
}
