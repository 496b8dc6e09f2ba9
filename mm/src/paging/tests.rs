//! The mapper, walk, dump and audit against the model MMU and a map of what should be there.
//!
//! Beside it tests of more than one module; those of one are in the file of its name, as a part of that module.
#![expect(clippy::cast_possible_truncation, reason = "addresses of the tests are below 4 GiB")]

mod change;
mod cut;
pub(super) mod fixture;
pub(super) mod recording;
mod retire;
mod split;
mod told;

use std::collections::BTreeMap;
use std::vec::Vec;

use proptest::prelude::*;

use super::*;
use crate::addr::{PhysAddr, PhysRange, VirtAddr};
use crate::layout::{LinearMap, VirtualLayout};
use crate::paging::tests::fixture::{MIB, PAGE, Pool, ROOT, any_prot, expected, model, ram, ram_words, supersection};
use crate::testing::{CountingTlb, FakeRam, scaled};

fn mapper<'m>(ram: &'m FakeRam, tlb: &'m CountingTlb) -> Mapper<'m, FakeRam, CountingTlb> {
    // SAFETY: the test uses these frames as tables only.
    let tables = unsafe { Tables::new(ram, PhysAddr::new(ROOT)) }.unwrap();
    // SAFETY: the only editor; no MMU walks these tables.
    Mapper::new(unsafe { Editor::new(tables, tlb) })
}

#[derive(Clone, Debug)]
enum Op {
    Map { page: u64, pages: u64, frame: u64, prot: Prot, largest: PageSize },
    Unmap { page: u64, pages: u64 },
    Protect { page: u64, pages: u64, prot: Prot },
    Remap { page: u64, pages: u64, frame: u64, prot: Prot },
}

/// Page numbers in an 8 MiB window at the top of the address space, often aligned to 64 KiB or 1 MiB.
fn place() -> impl Strategy<Value = (u64, u64)> {
    let align = prop::sample::select(vec![1_u64, 1, 16, 256]);
    (align, 0..2048_u64, 1..600_u64).prop_map(|(align, page, pages)| {
        let page = page / align * align;
        (0x10_0000 - 2048 + page, (pages.div_ceil(align) * align).min(2048 - page))
    })
}

fn any_op() -> impl Strategy<Value = Op> {
    let largest = prop::sample::select(vec![PageSize::Small, PageSize::Large, PageSize::Section]);
    let frame = prop_oneof![0..0xf_0000_u64, (0..0xf00_u64).prop_map(|mib| mib * 256)];
    prop_oneof![
        2 => (place(), frame.clone(), any_prot()).prop_map(|((page, pages), frame, prot)| {
            let frame = if frame % 2 == 0 { frame / 256 * 256 + page % 256 } else { frame };
            Op::Remap { page, pages, frame, prot }
        }),
        4 => (place(), frame, any_prot(), largest).prop_map(|((page, pages), frame, prot, largest)| {
            // Half of them with equal offsets in the MiB, so that sections fit.
            let frame = if frame % 2 == 0 { frame / 256 * 256 + page % 256 } else { frame };
            Op::Map { page, pages, frame, prot, largest }
        }),
        2 => place().prop_map(|(page, pages)| Op::Unmap { page, pages }),
        2 => (place(), any_prot()).prop_map(|((page, pages), prot)| Op::Protect { page, pages, prot }),
    ]
}

fn va(page: u64) -> VirtAddr {
    VirtAddr::new((page * PAGE) as u32)
}

/// A page of the model: frame, protection.
type Wanted = BTreeMap<u64, (u64, Prot)>;

/// Applies `op` and, if it was accepted, to `wanted` too; checks that a refusal is one of the map's own state.
fn apply(mapper: &mut Mapper<'_, FakeRam, CountingTlb>, pool: &mut Pool, wanted: &mut Wanted, op: &Op) {
    match *op {
        Op::Map { page, pages, frame, prot, largest } => {
            let to = (PhysAddr::new(frame * PAGE), prot);
            let result = mapper.map(va(page), pages * PAGE, to, largest, pool);
            let taken = (page..page + pages).find(|page| wanted.contains_key(page));
            match (result, taken) {
                (Ok(()), None) => wanted.extend((0..pages).map(|i| (page + i, (frame + i, prot)))),
                (Err(MapError::AlreadyMapped(at)), Some(first)) => assert_eq!(u64::from(at.raw()) / PAGE, first),
                (Err(MapError::NoTable(_)), None) => {
                    let pgds = (page + pages - 1) / 512 - page / 512 + 1;
                    assert!(pgds > pool.free.len() as u64, "and all that were taken came back");
                }
                other => panic!("{op:?}: {other:?}"),
            }
        }
        Op::Unmap { page, pages } => match mapper.unmap(va(page), pages * PAGE, pool) {
            Ok(()) => (page..page + pages).for_each(|page| assert!(wanted.remove(&page).is_some())),
            Err(MapError::NotMapped(at)) => assert!(!wanted.contains_key(&(u64::from(at.raw()) / PAGE))),
            Err(MapError::NoTable(_)) => assert!(pool.free.len() <= 1, "two cuts need at most two tables"),
            Err(other) => panic!("{op:?}: {other}"),
        },
        Op::Protect { page, pages, prot } => match mapper.protect(va(page), pages * PAGE, prot, pool) {
            Ok(()) => (page..page + pages).for_each(|page| wanted.get_mut(&page).unwrap().1 = prot),
            Err(MapError::NotMapped(at)) => assert!(!wanted.contains_key(&(u64::from(at.raw()) / PAGE))),
            Err(MapError::NoTable(_)) => assert!(pool.free.len() <= 1, "two cuts need at most two tables"),
            Err(other) => panic!("{op:?}: {other}"),
        },
        Op::Remap { page, pages, frame, prot } => {
            let tables = *mapper.tables();
            let size = |at: VirtAddr| tables.walk(at).unwrap().map_or(0, |to| u64::from(to.size.bytes()));
            let sizes: Vec<_> = (page..page + pages).map(|page| size(va(page)) / PAGE).collect();
            match mapper.remap(va(page), pages * PAGE, (PhysAddr::new(frame * PAGE), prot)) {
                Ok(()) => (0..pages).for_each(|i| {
                    assert!(wanted.insert(page + i, (frame + i, prot)).is_some());
                    assert_eq!(size(va(page + i)) / PAGE, sizes[i as usize], "descriptors keep their sizes");
                }),
                Err(MapError::NotMapped(at)) => assert!(!wanted.contains_key(&(u64::from(at.raw()) / PAGE))),
                Err(MapError::BadFrame(at)) => {
                    let i = at.raw() / PAGE - frame;
                    assert!(!(frame + i).is_multiple_of(sizes[i as usize]), "{op:?}: {at}");
                }
                Err(MapError::CutsLarger(at)) => {
                    let (first, whole) = (u64::from(at.raw()) / PAGE, size(at) / PAGE);
                    assert!(first < page || first + whole > page + pages, "{op:?}: {at}");
                }
                Err(other) => panic!("{op:?}: {other}"),
            }
        }
    }
}

/// The MMU, the walk and the mappings iterator all see exactly `wanted`.
fn check(ram: &FakeRam, mapper: &Mapper<'_, FakeRam, CountingTlb>, wanted: &Wanted) {
    let seen = model(ram).all();
    assert_eq!(seen.len(), wanted.len());
    for ((at, answer), (page, (frame, prot))) in seen.into_iter().zip(wanted) {
        assert_eq!(u64::from(at), page * PAGE);
        assert_eq!(answer, expected(frame * PAGE, *prot, answer.shift));
        let found = mapper.tables().walk(VirtAddr::new(at + 0x123)).unwrap().unwrap();
        assert_eq!((found.pa.raw(), found.prot), (frame * PAGE + 0x123, *prot));
        assert_eq!(1 << answer.shift, found.size.bytes());
    }
    let bytes: u64 = mapper.tables().mappings().map(|mapping| u64::from(mapping.unwrap().bytes())).sum();
    assert_eq!(bytes, wanted.len() as u64 * PAGE);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: scaled(48), failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn random_maps_unmaps_and_protects_are_what_the_mmu_sees(ops in prop::collection::vec(any_op(), 1..24)) {
        let (ram, tlb) = (ram(), CountingTlb::default());
        let (mut mapper, mut pool, mut wanted) = (mapper(&ram, &tlb), Pool::new(3), Wanted::new());
        for op in &ops {
            let before = ram_words(&ram, ROOT, 4096).to_vec();
            let (tables, old) = (pool.taken(), wanted.clone());
            apply(&mut mapper, &mut pool, &mut wanted, op);
            // A protection that is what it was already may still join pages: that is no error.
            let is_protected = matches!(op, Op::Protect { page, pages, .. }
                if (*page..*page + *pages).all(|at| wanted.contains_key(&at)));
            if old == wanted && !is_protected {
                prop_assert_eq!(&before[..], &*ram_words(&ram, ROOT, 4096), "an error changes nothing");
                prop_assert_eq!(tables, pool.taken());
            }
            check(&ram, &mapper, &wanted);
        }
        // Whatever is left can be taken away page by page or MiB by MiB, and every table comes back.
        while let Some((&page, _)) = wanted.first_key_value() {
            let size = u64::from(mapper.tables().walk(va(page)).unwrap().unwrap().size.bytes());
            mapper.unmap(va(page), size, &mut pool).unwrap();
            (0..size / PAGE).for_each(|i| assert!(wanted.remove(&(page + i)).is_some()));
        }
        prop_assert_eq!(pool.taken(), 0);
        prop_assert!(ram_words(&ram, ROOT, 4096).iter().all(|word| *word == 0));
    }
}

#[test]
fn a_map_that_runs_out_of_tables_gives_them_all_back_and_leaves_the_first_level_as_it_was() {
    let (ram, tlb) = (ram(), CountingTlb::default());
    let (mut mapper, mut pool) = (mapper(&ram, &tlb), Pool::new(2));
    let to = (PhysAddr::new(0x1000), Prot::KERNEL_RW);
    // 6 MiB of small pages in three PGDs: two tables are there.
    let result = mapper.map(VirtAddr::new(0xa000_0000), 6 * MIB, to, PageSize::Small, &mut pool);
    assert_eq!(result, Err(MapError::NoTable(VirtAddr::new(0xa040_0000))));
    assert_eq!(pool.taken(), 0);
    assert!(ram_words(&ram, ROOT, 4096).iter().all(|word| *word == 0));
    mapper.map(VirtAddr::new(0xa000_0000), 4 * MIB, to, PageSize::Small, &mut pool).unwrap();
    assert_eq!(pool.taken(), 2);
}

#[test]
fn ranges_and_protections_that_cannot_be_are_named() {
    let (ram, tlb) = (ram(), CountingTlb::default());
    let (mut mapper, mut pool) = (mapper(&ram, &tlb), Pool::new(2));
    let mut map = |va, bytes, pa, prot| {
        mapper.map(VirtAddr::new(va), bytes, (PhysAddr::new(pa), prot), PageSize::Section, &mut pool)
    };
    let rw = Prot::KERNEL_RW;
    assert_eq!(map(0x1001, PAGE, 0, rw), Err(MapError::Unaligned(VirtAddr::new(0x1001))));
    assert_eq!(map(0x1000, 0, 0, rw), Err(MapError::Unaligned(VirtAddr::new(0x1000))));
    assert_eq!(map(0xffff_f000, 2 * PAGE, 0, rw), Err(MapError::TooLong(VirtAddr::new(0xffff_f000))));
    assert_eq!(map(0x1000, !0xfff, 0, rw), Err(MapError::TooLong(VirtAddr::new(0x1000))));
    assert_eq!(map(0x1000, PAGE, 0x800, rw), Err(MapError::BadFrame(PhysAddr::new(0x800))));
    assert_eq!(map(0x1000, 2 * PAGE, 0xffff_f000, rw), Err(MapError::BadFrame(PhysAddr::new(0xffff_f000))));
    let user_only = Prot { exec: Exec::UserOnly, access: Access::UserRo, ..rw };
    assert_eq!(map(0x1000, PAGE, 0, user_only), Err(MapError::BadProt(user_only)));
    assert_eq!(map(0xfff0_0000, MIB, 0xfff0_0000, user_only), Ok(()), "a section can say it; it ends at 2^32");
    assert_eq!(model(&ram).translate(0xffff_ffff), Some(expected(0xffff_ffff, user_only, 20)));
}

#[test]
fn what_was_unmapped_or_narrowed_is_flushed() {
    let (ram, tlb) = (ram(), CountingTlb::default());
    let (mut mapper, mut pool) = (mapper(&ram, &tlb), Pool::new(2));
    let (at, to) = (VirtAddr::new(0xa000_0000), (PhysAddr::new(0x1000), Prot::KERNEL_RW));
    mapper.map(at, 3 * PAGE, to, PageSize::Small, &mut pool).unwrap();
    assert_eq!((tlb.pages.get(), tlb.all.get()), (0, 0), "a fault is never in the TLB");
    mapper.protect(at, 3 * PAGE, Prot::KERNEL_RO, &mut pool).unwrap();
    assert_eq!(tlb.pages.get(), 3);
    mapper.protect(at, PAGE, Prot::DEVICE_RW, &mut pool).unwrap();
    assert_eq!(tlb.pages.get(), 3 + 1, "another kind of memory: broken before it is made");
    mapper.unmap(at, 3 * PAGE, &mut pool).unwrap();
    assert_eq!(tlb.pages.get(), 3 + 1 + 3 + 1, "the pages, and the walk to the freed table");
    mapper.map(at, 2 * MIB, (PhysAddr::ZERO, Prot::KERNEL_RW), PageSize::Section, &mut pool).unwrap();
    mapper.unmap(at, 2 * MIB, &mut pool).unwrap();
    assert_eq!((tlb.pages.get(), tlb.all.get()), (3 + 1 + 3 + 1 + 2, 0), "one a section");
    mapper.map(at, 33 * PAGE, to, PageSize::Small, &mut pool).unwrap();
    mapper.unmap(at, 33 * PAGE, &mut pool).unwrap();
    assert_eq!(tlb.all.get(), 1, "many pages: everything at once");
}

#[test]
fn a_dump_merges_equals_and_breaks_at_markers() {
    let (ram, tlb) = (ram(), CountingTlb::default());
    let (mut mapper, mut pool) = (mapper(&ram, &tlb), Pool::new(4));
    let mut map = |va, bytes, pa, prot| {
        mapper.map(VirtAddr::new(va), bytes, (PhysAddr::new(pa), prot), PageSize::Section, &mut pool).unwrap();
    };
    map(0x8000_0000, MIB, 0x8000_0000, Prot::KERNEL_RW);
    map(0x8010_0000, 3 * PAGE, 0x8010_0000, Prot::KERNEL_RX);
    map(0x8020_0000, 1022 * MIB, 0x8020_0000, Prot::KERNEL_RW);
    map(0xffc8_0000, PAGE, 0x1c09_0000, Prot::DEVICE_RW);
    map(0xffff_0000, PAGE, 0x8010_1000, Prot { access: Access::UserRo, shareable: false, ..Prot::KERNEL_RX });
    let linear = LinearMap::new(VirtAddr::new(0x8000_0000), PhysAddr::new(0x8000_0000), PhysAddr::new(0xc000_0000));
    let layout = VirtualLayout::new(linear.unwrap());
    let lines: Vec<_> = mapper.tables().dump(&layout.markers()).map(|line| line.to_string()).collect();
    let wanted = [
        "---[ Modules ]---",
        "---[ Kernel Mapping ]---",
        "0x80000000-0x80100000           1M PMD        RW NX SHD MEM/CACHED/WBWA",
        "0x80100000-0x80103000          12K PTE        ro x  SHD MEM/CACHED/WBWA",
        "0x80200000-0xc0000000        1022M PMD        RW NX SHD MEM/CACHED/WBWA",
        "---[ vmalloc() Area ]---",
        "---[ vmalloc() End ]---",
        "---[ Fixmap Area ]---",
        "0xffc80000-0xffc81000           4K PTE        RW NX SHD DEV/SHARED",
        "---[ Vectors ]---",
        "0xffff0000-0xffff1000           4K PTE    USR ro x      MEM/CACHED/WBWA",
        "---[ Vectors End ]---",
    ];
    assert_eq!(lines, wanted);
}

#[test]
fn large_pages_and_supersections_walk_to_the_byte() {
    let (ram, tlb) = (ram(), CountingTlb::default());
    let (mut mapper, mut pool) = (mapper(&ram, &tlb), Pool::new(1));
    let to = (PhysAddr::new(0x5001_0000), Prot::KERNEL_RO);
    mapper.map(VirtAddr::new(0xa001_0000), 2 << 16, to, PageSize::Large, &mut pool).unwrap();
    assert_eq!(model(&ram).translate(0xa002_fabc), Some(expected(0x5002_fabc, Prot::KERNEL_RO, 16)));
    let supersection = supersection(0x12_3400_0000, Prot::DEVICE_RW);
    ram_words(&ram, ROOT, 4096)[0xb00..0xb10].fill(supersection);
    let found = mapper.tables().walk(VirtAddr::new(0xb0ab_cdef)).unwrap().unwrap();
    assert_eq!((found.pa.raw(), found.size), (0x12_34ab_cdef, PageSize::Supersection));
    assert_eq!(model(&ram).translate(0xb0ab_cdef), Some(expected(0x12_34ab_cdef, Prot::DEVICE_RW, 24)));
    mapper.protect(VirtAddr::new(0xb000_0000), 16 * MIB, Prot::KERNEL_RW, &mut pool).unwrap();
    assert_eq!(model(&ram).translate(0xb0f0_0000), Some(expected(0x12_34f0_0000, Prot::KERNEL_RW, 24)));
    mapper.unmap(VirtAddr::new(0xb000_0000), 16 * MIB, &mut pool).unwrap();
    assert_eq!(model(&ram).translate(0xb0f0_0000), None);
}

/// A pool that keeps every table that may be empty.
struct Postponing(Pool, Vec<usize>);

impl TableSource for Postponing {
    fn take_table(&mut self) -> Option<PhysAddr> {
        self.0.take_table()
    }

    fn give_back(&mut self, table: PhysAddr) {
        self.0.give_back(table);
    }

    fn postpone(&mut self, pair: usize) -> bool {
        self.1.push(pair);
        true
    }
}

#[test]
fn an_empty_table_that_was_kept_serves_again_makes_way_for_a_section_and_goes_back_once() {
    let (ram, tlb) = (ram(), CountingTlb::default());
    let (mut mapper, mut pool) = (mapper(&ram, &tlb), Postponing(Pool::new(2), Vec::new()));
    let (at, odd) = (VirtAddr::new(0xa000_0000), VirtAddr::new(0xa010_0000));
    let (page, mib) = ((PhysAddr::new(0x5000), Prot::KERNEL_RW), (PhysAddr::new(0x10_0000), Prot::KERNEL_RW));
    for va in [at, odd, at] {
        mapper.map(va, PAGE, page, PageSize::Section, &mut pool).unwrap();
        mapper.unmap(va, PAGE, &mut pool).unwrap();
        assert_eq!((pool.0.taken(), mapper.tables().mappings().count()), (1, 0), "the table stays");
    }
    mapper.map(odd, MIB, mib, PageSize::Section, &mut pool).unwrap();
    assert_eq!(mapper.tables().walk(odd).unwrap().unwrap().size, PageSize::Section);
    assert_eq!(pool.0.taken(), 1, "the even MiB still has it");
    mapper.map(at, PAGE, page, PageSize::Section, &mut pool).unwrap();
    let over = mapper.map(at, 2 * MIB, mib, PageSize::Section, &mut pool);
    assert_eq!(over, Err(MapError::AlreadyMapped(at)), "a page of it is mapped");
    mapper.unmap(at, PAGE, &mut pool).unwrap();
    mapper.map(at, MIB, mib, PageSize::Section, &mut pool).unwrap();
    assert_eq!(pool.0.taken(), 0, "no MiB is left to it");
    mapper.unmap(at, 2 * MIB, &mut pool).unwrap();
    mapper.map(at, PAGE, page, PageSize::Section, &mut pool).unwrap();
    while let Some(pair) = pool.1.pop() {
        mapper.drop_table_if_empty(pair, &mut pool).unwrap();
    }
    assert_eq!(pool.0.taken(), 1, "it is in use again");
    mapper.unmap(at, PAGE, &mut pool).unwrap();
    while let Some(pair) = pool.1.pop() {
        mapper.drop_table_if_empty(pair, &mut pool).unwrap();
    }
    assert_eq!(pool.0.taken(), 0);
    assert!(ram_words(&ram, ROOT, 4096).iter().all(|word| *word == 0));
}

#[test]
fn single_pages_of_a_window_are_what_the_mmu_sees_and_the_audit_accepts() {
    let (ram, tlb) = (ram(), CountingTlb::default());
    let (mut mapper, mut pool) = (mapper(&ram, &tlb), Pool::new(1));
    let base = VirtAddr::new(0x7fe0_0000);
    // SAFETY: the test uses these frames as tables only.
    let none = unsafe { Slots::new(mapper.tables(), base, Prot::KERNEL_RW) };
    assert_eq!(none.map(drop), Err(EditError::Run(base)), "no table yet");
    // A page in each MiB links both halves.
    let to = (PhysAddr::new(0x1000), Prot::KERNEL_RO);
    mapper.map(VirtAddr::new(0x7fef_f000), 2 * PAGE, to, PageSize::Small, &mut pool).unwrap();
    // SAFETY: as above.
    let slots = unsafe { Slots::new(mapper.tables(), base, Prot::KERNEL_RW) }.unwrap();
    for (slot, frame) in [(0, 0x9_0001), (254, 0x9_0002), (300, 0xf_ffff), (511, 0x9_0003)] {
        let va = slots.address(slot);
        assert_eq!(va.raw(), base.raw() + slot as u32 * PAGE as u32);
        slots.set(slot, crate::addr::Pfn::new(frame));
        assert_eq!(model(&ram).translate(va.raw()), Some(expected(u64::from(frame) * PAGE, Prot::KERNEL_RW, 12)));
        let found = mapper.tables().walk(va).unwrap().unwrap();
        assert_eq!((found.pa.raw(), found.prot), (u64::from(frame) * PAGE, Prot::KERNEL_RW));
        assert!(slots.is_set(slot));
        slots.clear(slot);
        assert!(model(&ram).translate(va.raw()).is_none() && !slots.is_set(slot));
    }
    assert!(mapper.tables().walk(VirtAddr::new(0x7fef_f000)).unwrap().is_some(), "its neighbours stay");
    mapper.unmap(VirtAddr::new(0x7fef_f000), 2 * PAGE, &mut pool).unwrap();
    assert_eq!(pool.taken(), 0, "software entries are cleared, too");
}

/// A linear map of 4 MiB, all sections, that passes the audit; `spoil` then writes to the tables.
fn audit_after(
    spoil: impl FnOnce(&FakeRam, &mut Mapper<'_, FakeRam, CountingTlb>, &mut Pool),
) -> Result<Audit, AuditError> {
    let (ram, tlb) = (ram(), CountingTlb::default());
    let (mut mapper, mut pool) = (mapper(&ram, &tlb), Pool::new(8));
    let linear =
        LinearMap::new(VirtAddr::new(0x8000_0000), PhysAddr::new(0x8000_0000), PhysAddr::new(0x8080_0000)).unwrap();
    let to = (PhysAddr::new(0x8000_0000), Prot::KERNEL_RW);
    mapper.map(VirtAddr::new(0x8000_0000), 3 * MIB, to, PageSize::Section, &mut pool).unwrap();
    let to = (PhysAddr::new(0x8030_0000), Prot::KERNEL_RX);
    mapper.map(VirtAddr::new(0x8030_0000), MIB, to, PageSize::Small, &mut pool).unwrap();
    spoil(&ram, &mut mapper, &mut pool);
    let no_map = PhysRange::new(PhysAddr::new(0x8040_0000), PhysAddr::new(0x8041_0000));
    let rules =
        Rules { areas: &VirtualLayout::new(linear).areas(), linear, touches_no_map: &|range| range.overlaps(no_map) };
    audit(mapper.tables(), &rules)
}

#[test]
fn the_audit_counts_what_is_right_and_names_what_is_wrong() {
    let right = Audit { small: 256, sections: 3, executable_bytes: MIB, ..Audit::default() };
    assert_eq!(audit_after(|_, _, _| {}), Ok(right));

    let at = VirtAddr::new;
    let spoil = |page: u32, pa: u64, prot: Prot| {
        audit_after(|_, mapper, pool| {
            mapper.map(at(page), PAGE, (PhysAddr::new(pa), prot), PageSize::Small, pool).unwrap();
        })
    };
    let rwx = Prot::EARLY_RWX;
    assert_eq!(spoil(0x9000_0000, 0x1000, rwx), Err(AuditError::WritableExecutable(at(0x9000_0000), rwx)));
    assert_eq!(spoil(0x1000, 0x1000, Prot::KERNEL_RO), Err(AuditError::OutsideAreas(at(0x1000))));
    assert_eq!(spoil(0x8081_0000, 0x8081_0000, Prot::KERNEL_RW), Err(AuditError::OutsideAreas(at(0x8081_0000))));
    let frame = PhysAddr::new(0x8040_f000);
    assert_eq!(spoil(0x8040_f000, frame.raw(), Prot::KERNEL_RW), Err(AuditError::NoMapFrame(at(0x8040_f000), frame)));
    let wrong = PhysAddr::new(0x8051_1000);
    assert_eq!(spoil(0x8051_0000, wrong.raw(), Prot::KERNEL_RW), Err(AuditError::WrongFrame(at(0x8051_0000), wrong)));
    let alias = PhysAddr::new(0x8000_5000);
    assert_eq!(spoil(0x9000_0000, alias.raw(), Prot::DEVICE_RW), Err(AuditError::MixedTypes(at(0x9000_0000), alias)));
    let text = PhysAddr::new(0x8030_2000);
    assert_eq!(spoil(0x9000_0000, text.raw(), Prot::KERNEL_RW), Err(AuditError::WritableAlias(at(0x9000_0000), text)));
    assert!(spoil(0x9000_0000, text.raw(), Prot::KERNEL_RX).is_ok(), "the vectors are such an alias");
    let data = PhysAddr::new(0x8000_5000);
    assert_eq!(spoil(0x9000_0000, data.raw(), Prot::KERNEL_RX), Err(AuditError::WritableAlias(at(0x9000_0000), data)));
    // A section over frames that the linear map has as pages: the first that can be executed.
    let section = audit_after(|_, mapper, pool| {
        let to = (PhysAddr::new(0x8030_0000), Prot::KERNEL_RW);
        mapper.map(at(0x9000_0000), MIB, to, PageSize::Section, pool).unwrap();
    });
    assert_eq!(section, Err(AuditError::WritableAlias(at(0x9000_0000), PhysAddr::new(0x8030_0000))));
    assert!(spoil(0x9000_0000, 0x8040_0000, Prot::DEVICE_RW).is_ok(), "a driver may have a no-map frame elsewhere");

    let domain = audit_after(|ram, _, _| ram_words(ram, ROOT, 4096)[0x801] |= 3 << 5);
    assert_eq!(domain, Err(AuditError::ForeignDomain(at(0x8010_0000), Domain::new(3).unwrap())));
    let reserved = audit_after(|ram, _, _| ram_words(ram, ROOT, 4096)[0x801] = 2 | 1 << 15);
    assert_eq!(reserved, Err(AuditError::Table(TableError::Undecodable(at(0x8010_0000), 0x8002))));
    let twins = audit_after(|ram, mapper, _| {
        let page = mapper.tables().pair_table(0x803).unwrap();
        ram_words(ram, page.raw(), 1024)[256 + 7] &= !1;
    });
    assert_eq!(twins, Err(AuditError::TwinsDiffer(at(0x8030_7000))));
    // Of a page that is not dirty the hardware lets nobody write, of one that is not young it knows nothing.
    for flag in [1 << 1, 1 << 2] {
        let flagged = audit_after(|ram, mapper, pool| {
            let to = (PhysAddr::new(0x8050_0000), Prot::KERNEL_RW);
            mapper.map(at(0x8050_0000), 16 * PAGE, to, PageSize::Small, pool).unwrap();
            let page = mapper.tables().pair_table(0x805).unwrap();
            ram_words(ram, page.raw(), 1024)[256 + 7] &= !flag;
        });
        assert_eq!(flagged, Err(AuditError::TwinsDiffer(at(0x8050_7000))), "flag {flag:#x}");
    }
}
