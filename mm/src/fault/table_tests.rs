//! [`Trace`] and [`Neighbours`] against tables that the mapper wrote.

use super::*;
use crate::addr::{PhysAddr, PhysRange, VirtAddr};
use crate::paging::{Editor, Mapper, PageSize, Prot, TableSource, Tables};
use crate::testing::{CountingTlb, FakeRam};

const ROOT: u64 = 0x4000_0000;

/// One table page, behind the first level.
struct OneTable(Option<PhysAddr>);

impl TableSource for OneTable {
    fn take_table(&mut self) -> Option<PhysAddr> {
        self.0.take()
    }

    fn give_back(&mut self, table: PhysAddr) {
        self.0 = Some(table);
    }
}

/// Tables with a section at 0x8000_0000 and a read-only page at 0x8010_2000.
fn with_tables(check: impl FnOnce(&Tables<'_, FakeRam>)) {
    let ram = FakeRam::new(&[PhysRange::new(PhysAddr::new(ROOT), PhysAddr::new(ROOT + 0x1_0000))]);
    let tlb = CountingTlb::default();
    // SAFETY: the test uses these frames as tables only.
    let tables = unsafe { Tables::new(&ram, PhysAddr::new(ROOT)) }.unwrap();
    // SAFETY: the only editor; no MMU walks these tables.
    let mut mapper = Mapper::new(unsafe { Editor::new(tables, &tlb) });
    let mut source = OneTable(Some(PhysAddr::new(ROOT + 0x4000)));
    let mut map = |va, bytes, pa, prot| {
        let to = (PhysAddr::new(pa), prot);
        mapper.map(VirtAddr::new(va), bytes, to, PageSize::Section, &mut source).unwrap();
    };
    map(0x8000_0000, 1 << 20, 0x9000_0000, Prot::KERNEL_RW);
    map(0x8010_2000, 1 << 12, 0x9000_5000, Prot::KERNEL_RO);
    check(&tables);
}

#[test]
fn a_section_has_one_level() {
    with_tables(|tables| {
        let trace = Trace::of(tables, VirtAddr::new(0x8000_1234)).unwrap();
        assert_eq!((trace.first & 0xfff0_0003, trace.second), (0x9000_0002, None));
        assert_eq!(trace.to_string(), format!("[80001234] *pgd={:08x}", trace.first));
        let words = trace.first_in_words().to_string();
        assert_eq!(words, "section 0x90000000, kernel RW, NX, MEM/CACHED/WBWA");
        assert_eq!(trace.leaf(), Some((PhysAddr::new(0x9000_0000), Prot::KERNEL_RW)));
    });
}

#[test]
fn a_page_has_two_levels_and_a_software_twin() {
    with_tables(|tables| {
        let trace = Trace::of(tables, VirtAddr::new(0x8010_2ffc)).unwrap();
        // The odd MiB's hardware words are the last quarter of the table page.
        assert_eq!(trace.first, 0x4000_4c01);
        let words = trace.second.unwrap();
        assert_eq!(words.hardware & 0xffff_f003, 0x9000_5003, "a small page, XN");
        assert_eq!(words.software & 0xffff_f001, 0x9000_5001);
        let line = format!("[80102ffc] *pgd=40004c01, *pte={:08x}, *ppte={:08x}", words.software, words.hardware);
        assert_eq!(trace.to_string(), line);
        assert_eq!(trace.first_in_words().to_string(), "table at 0x40004c00, domain 0");
        let second = trace.second_in_words().unwrap().to_string();
        assert_eq!(second, "small page 0x90005000, kernel ro, NX, MEM/CACHED/WBWA");
    });
}

#[test]
fn an_address_without_a_mapping_shows_the_level_that_ends_the_walk() {
    with_tables(|tables| {
        let first = Trace::of(tables, VirtAddr::new(0)).unwrap();
        assert_eq!((first.to_string().as_str(), first.leaf()), ("[00000000] *pgd=00000000", None));
        assert_eq!(first.first_in_words().to_string(), "nothing is mapped");
        let second = Trace::of(tables, VirtAddr::new(0x8010_1000)).unwrap();
        assert_eq!(second.to_string(), "[80101000] *pgd=40004c01, *pte=00000000, *ppte=00000000");
        assert_eq!(second.leaf(), None);
    });
}

#[test]
fn the_neighbours_of_a_hole_are_the_mappings_on_both_sides() {
    with_tables(|tables| {
        let at = |va| {
            let lines = Neighbours::of(tables, VirtAddr::new(va));
            lines.lines().map(|line| line.to_string().chars().take(28).collect()).collect::<Vec<String>>()
        };
        let (section, page) = ("0x80000000-0x80100000", "0x80102000-0x80103000");
        let hole = at(0x8010_1fff);
        assert_eq!(hole, [format!("below: {section}"), " here: nothing is mapped".into(), format!("above: {page}")]);
        let inside = at(0x8010_2000);
        assert_eq!(inside, [format!("below: {section}"), format!(" here: {page}"), "above: nothing".into()]);
        let bottom = at(0x7fff_ffff);
        assert_eq!(bottom, ["below: nothing".into(), " here: nothing is mapped".into(), format!("above: {section}")]);
        assert_eq!(
            at(0xffff_ffff),
            [format!("below: {page}"), " here: nothing is mapped".into(), "above: nothing".into()]
        );
    });
}
