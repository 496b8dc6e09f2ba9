//! What cannot be mapped is named, and what was spoilt afterwards is found.

use mm::addr::{PhysAddr, VirtAddr};
use mm::layout::VirtualLayout;
use mm::paging::descriptor::FirstLevel;
use mm::paging::{AuditError, Domain, Prot, TableError};

use super::board::Board;
use super::memory::Memory;
use super::{editor, range};
use crate::paging_init::{PagingError, PagingInput, paging_init};

#[test]
fn an_image_outside_lowmem_and_dead_or_missing_frames_are_named() {
    let mut outside = Board::ast2500();
    outside.lowmem_limit = 0x8003_0000;
    let input_error = {
        let ram = outside.ram();
        outside.head(&ram);
        let linear = outside.linear();
        let layout = outside.image_layout();
        let input = PagingInput {
            layout: VirtualLayout::new(linear),
            image: &layout,
            remap: &[],
            dtb: None,
            shareable: true,
            probe: &|_| true,
        };
        let mut memory = Memory { board: &outside, limit: 0, next: 0, left: 0 };
        paging_init(&mut editor(&ram, outside.l1), &input, &mut memory)
    };
    assert_eq!(input_error, Err(PagingError::BadImage(range(0x8000_8000, 0x8003_9000))));

    let board = Board::ast2500();
    let ram = board.ram();
    board.head(&ram);
    let dead = board.run_on(&ram, &|_| false, usize::MAX);
    // The highest free frame below the limit of 0x9ef0_0000.
    assert_eq!(dead, Err(PagingError::DeadFrame(PhysAddr::new(0x9eef_f000))));
    let ram = board.ram();
    board.head(&ram);
    let none = board.run_on(&ram, &|_| true, 1);
    assert_eq!(none, Err(PagingError::NoTable(VirtAddr::new(0x9d00_0000))));
}

#[test]
fn tables_that_were_spoiled_fail_the_audit() {
    let board = Board::ast2500();
    let spoiled = |index: usize, descriptor: FirstLevel| {
        let (ram, result) = board.run();
        result.unwrap();
        editor(&ram, board.l1).set_first(index, descriptor).unwrap();
        board.audit(&ram)
    };
    let section = |base: u64, prot| FirstLevel::Section { base: PhysAddr::new(base), prot, domain: Domain::KERNEL };
    let at = VirtAddr::new;
    let (rw, rwx) = (Prot::KERNEL_RW, Prot::EARLY_RWX);
    assert_eq!(spoiled(0x801, section(0x8010_0000, rwx)), Err(AuditError::WritableExecutable(at(0x8010_0000), rwx)));
    let flash = AuditError::NoMapFrame(at(0x9800_0000), PhysAddr::new(0x9800_0000));
    assert_eq!(spoiled(0x980, section(0x9800_0000, rw)), Err(flash));
    let wrong = AuditError::WrongFrame(at(0x8010_0000), PhysAddr::new(0x8020_0000));
    assert_eq!(spoiled(0x801, section(0x8020_0000, rw)), Err(wrong));
    assert_eq!(spoiled(0x400, section(0x8010_0000, rw)), Err(AuditError::OutsideAreas(at(0x4000_0000))));
    assert_eq!(spoiled(0x9ef, section(0x9ef0_0000, rw)), Err(AuditError::OutsideAreas(at(0x9ef0_0000))));
    let alias = AuditError::MixedTypes(at(0xf000_0000), PhysAddr::new(0x8010_0000));
    assert_eq!(spoiled(0xf00, section(0x8010_0000, Prot::DEVICE_RW)), Err(alias));
    let lost = FirstLevel::PageTable { table: PhysAddr::new(0x400), domain: Domain::KERNEL, pxn: false };
    assert_eq!(spoiled(0x801, lost), Err(AuditError::Table(TableError::Unreachable(PhysAddr::ZERO))));
}
