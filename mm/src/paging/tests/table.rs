//! Where the words of a table lie, and which tables there are.

use super::*;
use crate::paging::tests::fixture::{POOL, ROOT};
use crate::paging::tests::recording::Machine;

const SECTION: u32 = 0x8000_0402;

/// Where words lie, from the begin of the table page at `page`, in words.
fn offset(machine: &Machine, page: u64, words: &[AtomicU32]) -> (usize, usize) {
    let start = machine.page(page).as_ptr().addr();
    ((words.as_ptr().addr() - start) / 4, words.len())
}

#[test]
fn tables_begin_at_a_multiple_of_16_kib_that_can_be_reached() {
    let machine = Machine::new();
    // SAFETY: the test uses these frames as tables only.
    let new = |root| unsafe { Tables::new(&machine.ram, PhysAddr::new(root)) }.map(|tables| tables.root().raw());
    assert_eq!((new(ROOT), new(ROOT + 0x4000)), (Ok(ROOT), Ok(ROOT + 0x4000)));
    for root in [ROOT + 0x1000, ROOT + 0x2000, ROOT - 0x4000, ROOT + (1 << 20), 1 << 45] {
        assert_eq!(new(root), Err(TableError::Unreachable(PhysAddr::new(root))));
    }
    assert_eq!(machine.tables().first_level().len(), 4096);
    *machine.first(4095) = 7;
    *machine.first(0) = 5;
    assert_eq!([0, 4095, 4096].map(|index| machine.tables().first_word(index)), [5, 7, 0]);
    *machine.first(1) = 0x8002;
    let undecodable = TableError::Undecodable(VirtAddr::new(0x10_0000), 0x8002);
    assert_eq!(machine.tables().first(1), Err(undecodable));
    assert_eq!(FIRST_LEVEL_SIZE, 4 * 4096);
}

#[test]
fn a_pair_has_the_table_of_either_half() {
    let machine = Machine::new();
    let table = |index| machine.tables().pair_table(index).map(PhysAddr::raw);
    for (even, odd) in [(true, true), (true, false), (false, true)] {
        *machine.first(0x802) = if even { word(POOL, 0x802) } else { SECTION };
        *machine.first(0x803) = if odd { word(POOL, 0x803) } else { 0 };
        assert_eq!([0x801, 0x802, 0x803, 0x804].map(table), [None, Some(POOL), Some(POOL), None]);
    }
    *machine.first(0x803) = SECTION;
    *machine.first(0x802) = 0;
    assert_eq!(table(0x802), None);
}

fn word(page: u64, index: usize) -> u32 {
    half_address(PhysAddr::new(page), index).as_u32().unwrap() | 1
}

#[test]
fn software_and_hardware_words_of_each_half_have_their_quarter_of_the_page() {
    let machine = Machine::new();
    let tables = machine.tables();
    let page = tables.page(PhysAddr::new(POOL)).unwrap();
    for half in [0, 1, 2, 0x801] {
        let odd = half & 1;
        assert_eq!(offset(&machine, POOL, page.software(half)), (odd * 256, 256));
        assert_eq!(offset(&machine, POOL, page.hardware(half)), (512 + odd * 256, 256));
        let table = half_address(PhysAddr::new(POOL), half);
        assert_eq!(table.raw(), POOL + 2048 + odd as u64 * 1024);
        assert_eq!(offset(&machine, POOL, tables.hardware(table).unwrap()), (512 + odd * 256, 256));
        *machine.first(half) = word(POOL, half);
        let words = tables.half(half).unwrap();
        assert_eq!(offset(&machine, POOL, words.software), (odd * 256, 256));
        assert_eq!(offset(&machine, POOL, words.hardware), (512 + odd * 256, 256));
        let (soft, hard) = words.run(250, 6);
        assert_eq!(offset(&machine, POOL, soft), (odd * 256 + 250, 6));
        assert_eq!(offset(&machine, POOL, hard), (512 + odd * 256 + 250, 6));
        assert_eq!((words.run(250, 7).0.len(), words.run(250, 7).1.len()), (0, 0), "beyond the table");
        for other in [0, SECTION, SECTION | 1] {
            *machine.first(half) = other;
            assert!(tables.half(half).is_none());
        }
    }
    assert_eq!(offset(&machine, POOL, page.all().unwrap()), (0, 1024));
    let (ptr, bytes) = page.bytes();
    assert_eq!((ptr.as_ptr().addr(), bytes), (machine.page(POOL).as_ptr().addr(), 4096));
    // A table in the last quarter ends with its page.
    assert!(tables.hardware(PhysAddr::new(POOL + 3072)).is_ok());
    let far = PhysAddr::new(ROOT - 4096);
    assert_eq!(tables.hardware(far).map(drop), Err(TableError::Unreachable(far)));
    assert_eq!(tables.page(far).map(drop), Err(TableError::Unreachable(far)));
    let unaligned = PhysAddr::new(POOL + 1024);
    assert_eq!(tables.page(unaligned).map(drop), Err(TableError::Unreachable(unaligned)));
}

#[test]
fn addresses_fall_apart_into_a_mib_and_a_page() {
    for (va, index, page) in
        [(0, 0, 0), (0x1000, 0, 1), (0xf_ffff, 0, 255), (0x8012_3456, 0x801, 0x23), (!0, 4095, 255)]
    {
        let va = VirtAddr::new(va);
        assert_eq!((section_index(va), page_index(va)), (index, page));
        let start = super::super::walk::page_va(index, page);
        assert_eq!(start, va.align_down(PAGE_SIZE));
        assert_eq!(section_va(index), va.align_down(SECTION_SIZE));
    }
}
