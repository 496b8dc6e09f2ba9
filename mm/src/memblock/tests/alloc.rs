//! Where an allocation comes to lie: ends, limits, nodes, mirrors, and what of it is zeroed.

use super::{MIB, PAGE, addr, arrays, fake_ram, node, range};
use crate::addr::{Pfn, PhysAddr, PhysRange};
use crate::memblock::{AllocRequest, Direction, Memblock, MemblockError, RangeFilter, Region, RegionFlags};
use crate::platform::PhysMap;
use crate::testing::{FakeRam, with_log};

#[test]
fn a_bank_that_ends_at_4_gib_keeps_its_last_page() {
    let (mut m, mut r) = arrays();
    let mut mb = Memblock::new(&mut m, &mut r);
    mb.add(PhysRange::sized(addr(0x8000_0000), 0x8000_0000).unwrap()).unwrap();
    assert_eq!((mb.start_of_dram(), mb.end_of_dram()), (addr(0x8000_0000), addr(0x1_0000_0000)));
    let top = mb.alloc(&AllocRequest::new(PAGE, PAGE)).unwrap();
    assert_eq!(top, addr(0xffff_f000));
}

#[test]
fn bad_requests_are_named() {
    let (mut m, mut r) = arrays();
    let mut mb = Memblock::new(&mut m, &mut r);
    mb.add(range(0x1000, 0x9000)).unwrap();
    assert_eq!(mb.alloc(&AllocRequest::new(PAGE, 3)), Err(MemblockError::BadAlign(3)));
    assert_eq!(mb.alloc(&AllocRequest::new(0, 8)), Err(MemblockError::NoSize));
    let too_large = AllocRequest::new(u64::MAX, 0);
    assert_eq!(mb.alloc(&too_large), Err(MemblockError::OutOfMemory { size: u64::MAX, align: 64 }));
    assert_eq!(mb.trim_memory(24), Err(MemblockError::BadAlign(24)));
    assert!(mb.reserved().is_empty());
}

#[test]
fn page_0_is_never_given_out() {
    let (mut m, mut r) = arrays();
    let mut mb = Memblock::new(&mut m, &mut r);
    mb.add(range(0, 0x2000)).unwrap();
    mb.set_direction(Direction::BottomUp);
    assert_eq!(mb.alloc(&AllocRequest::new(PAGE, PAGE)).unwrap(), addr(0x1000));
    assert!(mb.alloc(&AllocRequest::new(PAGE, PAGE)).is_err());
}

#[test]
fn allocations_begin_at_the_end_that_the_direction_names() {
    let (mut m, mut r) = arrays();
    let mut mb = Memblock::new(&mut m, &mut r);
    mb.add(range(MIB, 2 * MIB)).unwrap();
    let page = AllocRequest::new(PAGE, PAGE);
    assert_eq!(mb.alloc(&page).unwrap(), addr(2 * MIB - PAGE));
    mb.set_direction(Direction::BottomUp);
    assert_eq!(mb.alloc(&page).unwrap(), addr(MIB));
    mb.set_direction(Direction::TopDown);
    assert_eq!(mb.alloc(&page).unwrap(), addr(2 * MIB - 2 * PAGE));
}

#[test]
fn an_allocation_stays_below_the_limit_and_a_physical_one_may_not() {
    let (mut m, mut r) = arrays();
    let mut mb = Memblock::new(&mut m, &mut r);
    mb.add(range(0x8000_0000, 0xa000_0000)).unwrap();
    mb.set_current_limit(addr(0x9000_0000));
    let anywhere = AllocRequest { max: PhysAddr::MAX, ..AllocRequest::new(MIB, MIB) };
    assert_eq!(mb.alloc(&anywhere).unwrap(), addr(0x8ff0_0000));
    assert_eq!(mb.alloc_phys(&anywhere).unwrap(), addr(0x9ff0_0000));
    assert_eq!(mb.alloc_phys(&AllocRequest::new(MIB, MIB)).unwrap(), addr(0x8fe0_0000));
    // The lower bound is given up by `alloc`, not by `alloc_phys`.
    let high = AllocRequest { min: addr(0x9000_0000), ..AllocRequest::new(MIB, MIB) };
    assert!(mb.alloc_phys(&high).is_err());
    assert_eq!(mb.alloc(&high).unwrap(), addr(0x8fd0_0000));
}

#[test]
fn an_allocation_leaves_its_node_unless_told_not_to() {
    let (mut m, mut r) = arrays();
    let mut mb = Memblock::new(&mut m, &mut r);
    mb.add_node(range(MIB, 2 * MIB), node(0), RegionFlags::empty()).unwrap();
    mb.add_node(range(2 * MIB, 3 * MIB), node(1), RegionFlags::empty()).unwrap();
    let on_node = |raw| AllocRequest { node: Some(node(raw)), ..AllocRequest::new(MIB, PAGE) };
    assert_eq!(mb.alloc(&on_node(0)).unwrap(), addr(MIB));
    assert!(mb.alloc(&AllocRequest { exact_node: true, ..on_node(0) }).is_err());
    assert_eq!(mb.alloc(&on_node(0)).unwrap(), addr(2 * MIB));
}

#[test]
fn mirrored_memory_is_preferred_and_then_given_up_with_a_line() {
    let (mut m, mut r) = arrays();
    let mut mb = Memblock::new(&mut m, &mut r);
    mb.add(range(MIB, 4 * MIB)).unwrap();
    mb.mark_mirror(range(MIB, 2 * MIB)).unwrap();
    assert_eq!(mb.alloc(&AllocRequest::new(MIB, PAGE)).unwrap(), addr(MIB));
    let (got, log) = with_log(|| mb.alloc(&AllocRequest::new(MIB, PAGE)));
    assert_eq!(got.unwrap(), addr(3 * MIB));
    assert_eq!(log, ["Could not allocate 1048576 bytes of mirrored memory"]);
}

#[test]
fn movable_node_keeps_hotpluggable_memory_free() {
    let (mut m, mut r) = arrays();
    let mut mb = Memblock::new(&mut m, &mut r);
    mb.add(range(MIB, 3 * MIB)).unwrap();
    mb.mark_hotplug(range(2 * MIB, 3 * MIB)).unwrap();
    mb.set_movable_node(true);
    assert_eq!(mb.alloc(&AllocRequest::new(PAGE, PAGE)).unwrap(), addr(2 * MIB - PAGE));
    let hotplug = RangeFilter { node: None, flags: RegionFlags::HOTPLUG };
    assert_eq!(mb.free_ranges(hotplug).next_back().unwrap().range(), range(2 * MIB, 3 * MIB));
    mb.clear_hotplug(range(2 * MIB, 3 * MIB)).unwrap();
    assert_eq!(mb.alloc(&AllocRequest::new(PAGE, PAGE)).unwrap(), addr(3 * MIB - PAGE));
}

#[test]
fn zeroed_memory_is_zero_to_its_last_byte_and_not_beyond() {
    const SIZE: usize = 16 << 12;
    let bank = range(MIB, MIB + SIZE as u64);
    let ram = FakeRam::new(&[bank]);
    let start = ram.frames_ptr(Pfn::new(0x100), 16).unwrap();
    // SAFETY: the pointer reaches the 16 frames of `ram`, which nobody else uses.
    unsafe { start.write_bytes(0xaa, SIZE) }
    let (mut m, mut r) = arrays();
    let mut mb = Memblock::new(&mut m, &mut r);
    mb.add(bank).unwrap();
    let got = mb.alloc_zeroed(&AllocRequest::new(100, 8), &ram).unwrap();
    assert_eq!(got, addr(MIB + SIZE as u64 - 104));
    let at = usize::try_from(got.raw() - MIB).unwrap();
    // SAFETY: as above, and all bytes were written.
    let bytes = unsafe { core::slice::from_raw_parts(start.as_ptr(), SIZE) };
    assert!(bytes[at..at + 100].iter().all(|&byte| byte == 0));
    assert!(bytes[..at].iter().chain(&bytes[at + 100..]).all(|&byte| byte == 0xaa));
    // What `ram` does not reach is refused, and nothing is taken.
    mb.add(range(4 * MIB, 5 * MIB)).unwrap();
    let taken = mb.reserved_size();
    assert!(matches!(mb.alloc_zeroed(&AllocRequest::new(100, 8), &ram), Err(MemblockError::NotMapped(_))));
    assert_eq!(mb.reserved_size(), taken);
}

#[test]
fn nothing_is_allocated_in_a_frame_that_is_not_mapped_because_of_its_no_map_part() {
    let (_, bank) = fake_ram();
    let (mut m, mut r) = ([Region::EMPTY; 8], [Region::EMPTY; 8]);
    let mut mb = Memblock::new(&mut m, &mut r);
    mb.add(bank).unwrap();
    mb.mark_nomap(range(0x83ff_f000, 0x83ff_f080)).unwrap();
    // The free rest of the top frame is in no whole frame of RAM, so the linear mapping has not got it.
    assert_eq!(mb.alloc(&AllocRequest::new(64, 64)), Ok(PhysAddr::new(0x83ff_efc0)));
    // A device's region need not be mapped.
    let device = AllocRequest { max: PhysAddr::MAX, ..AllocRequest::new(64, 64) };
    assert_eq!(mb.alloc_phys(&device), Ok(PhysAddr::new(0x83ff_ffc0)));
}
