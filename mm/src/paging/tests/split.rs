//! Cuts, joins and retired ranges, with a TLB that remembers everything and forgives nothing.
#![expect(clippy::cast_possible_truncation, reason = "addresses of the tests are below 4 GiB")]

use core::ptr::NonNull;
use std::cell::RefCell;
use std::collections::BTreeMap;
use std::vec::Vec;

use proptest::prelude::*;

use super::fixture::{MIB, PAGE, Pool, ROOT, any_prot, expected, model, ram, ram_words, supersection};
use crate::addr::{Pfn, PhysAddr, VirtAddr};
use crate::paging::model::Answer;
use crate::paging::*;
use crate::platform::{PhysMap, TlbControl};
use crate::testing::{CountingTlb, FakeRam, scaled};

/// Where the window of the tests begins: 4 MiB, at the end of the address space.
const BASE: u64 = (1 << 32) - 4 * MIB;
const PAGES: u64 = 1024;

/// The worst TLB that the architecture allows: it walks every page of the window at every chance and keeps what it
/// found until it is told to drop it.
struct StrictTlb<'m> {
    ram: &'m FakeRam,
    live: Live,
    held: RefCell<BTreeMap<u32, Answer>>,
}

impl<'m> StrictTlb<'m> {
    fn new(ram: &'m FakeRam, live: Live) -> Self {
        Self { ram, live, held: RefCell::default() }
    }

    /// Walks every page; what is held must not get a second translation beside it.
    fn walk_all(&self) {
        let mut held = self.held.borrow_mut();
        for va in (0..PAGES).map(|page| (BASE + page * PAGE) as u32) {
            let Some(now) = model(self.ram).translate(va) else { continue };
            let old = *held.entry(va).or_insert(now);
            let kind = |answer: Answer| (answer.pa, answer.kind, answer.cache, answer.shareable);
            assert_eq!(kind(old), kind(now), "{va:#x}: a frame or kind of memory is changed without a break");
            if self.live == Live::Broken {
                assert_eq!(old.shift, now.shift, "{va:#x}: two sizes at once");
            } else if old.shift != now.shift {
                assert_eq!((old.access, old.fetch), (now.access, now.fetch), "{va:#x}: two sizes that differ");
            }
        }
    }

    /// What a finished operation must leave behind: nothing that the tables do not say.
    fn check(&self) {
        self.walk_all();
        for (va, answer) in self.held.borrow().iter() {
            assert_eq!(model(self.ram).translate(*va), Some(*answer), "{va:#x} is stale");
        }
    }
}

impl TlbControl for StrictTlb<'_> {
    fn sync_table(&self, _ptr: NonNull<u8>, _bytes: usize) {
        self.walk_all();
    }

    fn flush_page(&self, va: VirtAddr) {
        let hit = |(at, answer): (&u32, &Answer)| at >> answer.shift == va.raw() >> answer.shift;
        self.held.borrow_mut().retain(|at, answer| !hit((at, answer)));
        self.walk_all();
    }

    fn flush_all(&self) {
        self.held.borrow_mut().clear();
        self.walk_all();
    }
}

fn mapper<'m, T: TlbControl>(ram: &'m FakeRam, tlb: &'m T, live: Live) -> Mapper<'m, FakeRam, T> {
    // SAFETY: the test uses these frames as tables only.
    let tables = unsafe { Tables::new(ram, PhysAddr::new(ROOT)) }.unwrap();
    // SAFETY: the only editor; no MMU walks these tables.
    Mapper::with_live(unsafe { Editor::new(tables, tlb) }, live)
}

fn at(page: u64) -> VirtAddr {
    VirtAddr::new((BASE + page * PAGE) as u32)
}

#[derive(Clone, Debug)]
pub(super) enum Op {
    Map {
        page: u64,
        pages: u64,
        prot: Prot,
        largest: PageSize,
    },
    Unmap {
        page: u64,
        pages: u64,
    },
    Protect {
        page: u64,
        pages: u64,
        prot: Prot,
    },
    Retire {
        page: u64,
        pages: u64,
    },
    /// Retires, and maps again without a flush.
    Revive {
        page: u64,
        pages: u64,
    },
}

fn place() -> impl Strategy<Value = (u64, u64)> {
    let align = prop::sample::select(vec![1_u64, 16, 256, 256]);
    (align, 0..PAGES, 1..600_u64).prop_map(|(align, page, pages)| {
        let page = page / align * align;
        (page, (pages.div_ceil(align) * align).min(PAGES - page))
    })
}

/// Few protections, so that MiBs become whole again.
fn few_prots() -> impl Strategy<Value = Prot> {
    prop_oneof![8 => prop::sample::select(vec![Prot::KERNEL_RW, Prot::KERNEL_RO, Prot::DEVICE_RW]), 1 => any_prot()]
}

pub(super) fn any_op() -> impl Strategy<Value = Op> {
    let largest = prop::sample::select(vec![PageSize::Small, PageSize::Large, PageSize::Section, PageSize::Section]);
    prop_oneof![
        3 => (place(), few_prots(), largest)
            .prop_map(|((page, pages), prot, largest)| Op::Map { page, pages, prot, largest }),
        1 => place().prop_map(|(page, pages)| Op::Unmap { page, pages }),
        4 => (place(), few_prots()).prop_map(|((page, pages), prot)| Op::Protect { page, pages, prot }),
        1 => place().prop_map(|(page, pages)| Op::Retire { page, pages }),
        2 => place().prop_map(|(page, pages)| Op::Revive { page, pages }),
    ]
}

/// Every frame is its page's own, so that neighbours are contiguous however they were mapped.
const FRAME: u64 = 0x5000_0000;

pub(super) type Wanted = BTreeMap<u64, Prot>;

/// Applies `op` to both; whether it was accepted.
pub(super) fn apply<P: PhysMap, T: TlbControl>(
    mapper: &mut Mapper<'_, P, T>,
    pool: &mut Pool,
    wanted: &mut Wanted,
    op: &Op,
) -> bool {
    let whole = |wanted: &Wanted, page: u64, pages: u64| (page..page + pages).all(|page| wanted.contains_key(&page));
    let result = match *op {
        Op::Map { page, pages, prot, largest } => {
            let to = (PhysAddr::new(FRAME + page * PAGE), prot);
            let result = mapper.map(at(page), pages * PAGE, to, largest, pool);
            if result.is_ok() {
                assert!(wanted.range(page..page + pages).next().is_none());
                wanted.extend((page..page + pages).map(|page| (page, prot)));
            }
            result
        }
        Op::Unmap { page, pages } => {
            let result = mapper.unmap(at(page), pages * PAGE, pool);
            assert!(result.is_ok() == whole(wanted, page, pages) || matches!(result, Err(MapError::NoTable(_))));
            if result.is_ok() {
                wanted.retain(|at, _| !(page..page + pages).contains(at));
            }
            result
        }
        Op::Protect { page, pages, prot } => {
            let result = mapper.protect(at(page), pages * PAGE, prot, pool);
            assert!(result.is_ok() == whole(wanted, page, pages) || matches!(result, Err(MapError::NoTable(_))));
            if result.is_ok() {
                wanted.range_mut(page..page + pages).for_each(|(_, old)| *old = prot);
            }
            result
        }
        Op::Retire { page, pages } => {
            let result = mapper.retire(at(page), pages * PAGE).map(drop);
            if result.is_ok() {
                assert!(whole(wanted, page, pages));
                assert!(mapper.tables().walk(at(page)).unwrap().is_none());
                let taken = mapper.map(at(page), PAGE, (PhysAddr::ZERO, Prot::KERNEL_RW), PageSize::Small, pool);
                assert_eq!(taken, Err(MapError::AlreadyMapped(at(page))), "a retired page is not free");
                mapper.flush_all();
                let mut frames = Vec::new();
                mapper
                    .reap(at(page), pages * PAGE, PageSize::Small, pool, |_, out| frames.extend_from_slice(out))
                    .unwrap();
                let own: Vec<_> =
                    (page..page + pages).map(|page| Pfn::new(((FRAME + page * PAGE) / PAGE) as u32)).collect();
                assert_eq!(frames, own);
                wanted.retain(|at, _| !(page..page + pages).contains(at));
            }
            result
        }
        Op::Revive { page, pages } => {
            let result = mapper.retire(at(page), pages * PAGE);
            let mut prots: Vec<_> = wanted.range(page..page + pages).map(|(_, prot)| *prot).collect();
            prots.dedup();
            match result {
                Ok(Some(said)) => {
                    let &[prot] = prots.as_slice() else { panic!("{op:?}: {prots:?}") };
                    let other = Prot { global: !prot.global, ..prot };
                    assert_eq!(mapper.revive(at(page), pages * PAGE, other, said), Err(MapError::BadProt(other)));
                    mapper.revive(at(page), pages * PAGE, prot, said).unwrap();
                    let again = mapper.revive(at(page), pages * PAGE, prot, said);
                    assert_eq!(again, Err(MapError::NotMapped(at(page))), "what is mapped is not retired");
                }
                Ok(None) => {
                    mapper.flush_all();
                    mapper.reap(at(page), pages * PAGE, PageSize::Small, pool, |_, _| ()).unwrap();
                    wanted.retain(|at, _| !(page..page + pages).contains(at));
                }
                Err(_) => {}
            }
            result.map(drop)
        }
    };
    result.is_ok()
}

fn check(ram: &FakeRam, wanted: &Wanted) {
    let seen = model(ram).all();
    assert_eq!(seen.len(), wanted.len());
    for ((va, answer), (page, prot)) in seen.into_iter().zip(wanted) {
        assert_eq!(u64::from(va), BASE + page * PAGE);
        assert_eq!(answer, expected(FRAME + page * PAGE, *prot, answer.shift));
    }
}

/// A MiB that a section could map by now has one, or at least no more tables are taken than there are PGDs with pages.
fn check_tables(ram: &FakeRam, pool: &Pool, wanted: &Wanted) {
    let mut with_pages: Vec<_> = wanted.keys().map(|page| page / 512).collect();
    with_pages.dedup();
    let linked: Vec<_> =
        ram_words(ram, ROOT, 4096).iter().filter(|word| **word & 3 == 1).map(|word| word >> 12).collect();
    let mut pages = linked;
    pages.dedup();
    assert_eq!(pages.len(), pool.taken(), "every table that was taken is linked");
    assert!(pool.taken() <= with_pages.len());
}

fn run(ops: &[Op], live: Live, tables: u64) {
    let ram = ram();
    let tlb = StrictTlb::new(&ram, live);
    let (mut mapper, mut pool, mut wanted) = (mapper(&ram, &tlb, live), Pool::new(tables), Wanted::new());
    for op in ops {
        let (before, taken) = (ram_words(&ram, ROOT, 4096).to_vec(), pool.taken());
        if !apply(&mut mapper, &mut pool, &mut wanted, op) {
            assert_eq!(before[..], *ram_words(&ram, ROOT, 4096), "an error changes nothing");
            assert_eq!(taken, pool.taken());
        }
        tlb.check();
        check(&ram, &wanted);
        check_tables(&ram, &pool, &wanted);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: scaled(96), failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn cuts_and_joins_by_break_before_make_never_show_two_sizes_at_once(
        ops in prop::collection::vec(any_op(), 1..16), tables in 1..4_u64,
    ) {
        run(&ops, Live::Broken, tables);
    }

    #[test]
    fn cuts_and_joins_in_place_never_change_what_an_address_means(
        ops in prop::collection::vec(any_op(), 1..16), tables in 1..4_u64,
    ) {
        run(&ops, Live::InPlace, tables);
    }
}

#[test]
fn a_section_is_cut_at_both_ends_and_joined_again() {
    let (ram, tlb) = (ram(), CountingTlb::default());
    let (mut mapper, mut pool) = (mapper(&ram, &tlb, Live::InPlace), Pool::new(1));
    let to = (PhysAddr::new(FRAME), Prot::KERNEL_RW);
    mapper.map(at(0), 2 * MIB, to, PageSize::Section, &mut pool).unwrap();
    // Pages 17 to 260: the first MiB is cut inside a large page, the second one too.
    mapper.protect(at(17), 243 * PAGE, Prot::KERNEL_RO, &mut pool).unwrap();
    assert_eq!(pool.taken(), 1, "one table page serves both MiBs");
    let size = |page: u64| model(&ram).translate(at(page).raw()).unwrap().shift;
    assert_eq!([0, 16, 17, 32, 256, 260, 272].map(size), [16, 12, 12, 16, 12, 12, 16]);
    mapper.protect(at(17), 239 * PAGE, Prot::KERNEL_RW, &mut pool).unwrap();
    assert_eq!((size(0), size(256), pool.taken()), (20, 12, 1), "the first MiB is whole");
    mapper.protect(at(256), 4 * PAGE, Prot::KERNEL_RW, &mut pool).unwrap();
    assert_eq!((size(0), size(256), pool.taken()), (20, 20, 0), "and the second");
}

#[test]
fn a_table_whose_other_half_is_empty_goes_back_when_one_is_joined() {
    for (joined, other) in [(0, 256), (256, 0)] {
        let (ram, tlb) = (ram(), CountingTlb::default());
        let (mut mapper, mut pool) = (mapper(&ram, &tlb, Live::InPlace), Pool::new(1));
        // Small pages with other rights than a join would give them.
        mapper.map(at(0), 2 * MIB, (PhysAddr::new(FRAME), Prot::KERNEL_RW), PageSize::Small, &mut pool).unwrap();
        mapper.unmap(at(other), MIB, &mut pool).unwrap();
        assert_eq!(pool.taken(), 1, "the table is kept for the other half");
        mapper.protect(at(joined), MIB, Prot::KERNEL_RO, &mut pool).unwrap();
        assert_eq!((model(&ram).translate(at(joined).raw()).unwrap().shift, pool.taken()), (20, 0));
        assert!(model(&ram).translate(at(other).raw()).is_none());
        mapper.map(at(other), MIB, (PhysAddr::new(FRAME), Prot::KERNEL_RW), PageSize::Small, &mut pool).unwrap();
        assert_eq!(pool.taken(), 1);
    }
}

#[test]
fn rights_change_only_after_the_cut_is_flushed() {
    let ram = ram();
    let tlb = StrictTlb::new(&ram, Live::InPlace);
    let (mut mapper, mut pool) = (mapper(&ram, &tlb, Live::InPlace), Pool::new(1));
    let to = (PhysAddr::new(FRAME), Prot::KERNEL_RW);
    mapper.map(at(0), MIB, to, PageSize::Section, &mut pool).unwrap();
    tlb.check();
    // Large pages first, then a cut of one of them.
    for (page, pages) in [(16, 16), (40, 1)] {
        mapper.protect(at(page), pages * PAGE, Prot::KERNEL_RO, &mut pool).unwrap();
        tlb.check();
    }
}

#[test]
fn one_other_page_anywhere_keeps_a_table() {
    let (ram, tlb) = (ram(), CountingTlb::default());
    let (mut mapper, mut pool) = (mapper(&ram, &tlb, Live::Broken), Pool::new(1));
    mapper.map(at(0), MIB, (PhysAddr::new(FRAME), Prot::KERNEL_RW), PageSize::Small, &mut pool).unwrap();
    for other in [1, 100, 254] {
        mapper.protect(at(other), PAGE, Prot::KERNEL_RO, &mut pool).unwrap();
        mapper.protect(at(50), PAGE, Prot::KERNEL_RW, &mut pool).unwrap();
        assert_eq!(pool.taken(), 1);
        mapper.protect(at(other), PAGE, Prot::KERNEL_RW, &mut pool).unwrap();
        assert_eq!(pool.taken(), 0, "and now it is whole");
        mapper.protect(at(other), PAGE, Prot::KERNEL_RO, &mut pool).unwrap();
        mapper.protect(at(other), PAGE, Prot::KERNEL_RW, &mut pool).unwrap();
        assert_eq!(pool.taken(), 0);
        mapper.unmap(at(0), MIB, &mut pool).unwrap();
        mapper.map(at(0), MIB, (PhysAddr::new(FRAME), Prot::KERNEL_RW), PageSize::Small, &mut pool).unwrap();
    }
}

#[test]
fn a_cut_without_a_table_changes_nothing() {
    let (ram, tlb) = (ram(), CountingTlb::default());
    let (mut mapper, mut pool) = (mapper(&ram, &tlb, Live::Broken), Pool::new(1));
    mapper.map(at(0), 4 * MIB, (PhysAddr::new(FRAME), Prot::KERNEL_RW), PageSize::Section, &mut pool).unwrap();
    let before = ram_words(&ram, ROOT, 4096).to_vec();
    // Two cuts in two PGDs, one table.
    let result = mapper.protect(at(1), 600 * PAGE, Prot::KERNEL_RO, &mut pool);
    assert_eq!(result, Err(MapError::NoTable(at(601))));
    assert_eq!(mapper.unmap(at(1), 600 * PAGE, &mut pool), Err(MapError::NoTable(at(601))));
    assert_eq!((pool.taken(), tlb.pages.get(), tlb.all.get()), (0, 0, 0));
    assert_eq!(before[..], *ram_words(&ram, ROOT, 4096));
}

#[test]
fn a_supersection_becomes_sections_and_one_above_4_gib_cannot_be_cut() {
    let (ram, tlb) = (ram(), CountingTlb::default());
    let (mut mapper, mut pool) = (mapper(&ram, &tlb, Live::Broken), Pool::new(2));
    let word = |base| supersection(base, Prot::KERNEL_RW);
    ram_words(&ram, ROOT, 4096)[0xb00..0xb10].fill(word(0x3000_0000));
    ram_words(&ram, ROOT, 4096)[0xc00..0xc10].fill(word(0x1_3000_0000));
    let va = VirtAddr::new;
    mapper.unmap(va(0xb030_1000), MIB, &mut pool).unwrap();
    let seen = |va: u32| model(&ram).translate(va).map(|answer| (answer.pa, answer.shift));
    assert_eq!(seen(0xb020_0000), Some((0x3020_0000, 20)));
    assert_eq!(seen(0xb030_0000), Some((0x3030_0000, 12)));
    assert_eq!((seen(0xb030_1000), seen(0xb040_0fff)), (None, None));
    assert_eq!(seen(0xb040_1000), Some((0x3040_1000, 12)));
    assert_eq!(seen(0xb0ff_ffff), Some((0x30ff_ffff, 20)));
    let cut = mapper.protect(va(0xc010_0000), MIB, Prot::KERNEL_RO, &mut pool);
    assert_eq!(cut, Err(MapError::CutsLarger(va(0xc000_0000))));
}

#[test]
fn scattered_frames_are_mapped_in_their_order_and_handed_out_again() {
    let (ram, tlb) = (ram(), CountingTlb::default());
    let (mut mapper, mut pool) = (mapper(&ram, &tlb, Live::Broken), Pool::new(1));
    let frames: Vec<_> = (0..300_u32).map(|i| Pfn::new(0x1000 + i * 7 % 300)).collect();
    mapper.map_frames(at(100), &frames, Prot::KERNEL_RW, &mut pool).unwrap();
    for (page, frame) in (100..).zip(&frames) {
        assert_eq!(model(&ram).translate(at(page).raw()), Some(expected(frame.base().raw(), Prot::KERNEL_RW, 12)));
    }
    let again = mapper.map_frames(at(399), &frames[..2], Prot::KERNEL_RW, &mut pool);
    assert_eq!(again, Err(MapError::AlreadyMapped(at(399))));
    mapper.retire(at(100), 300 * PAGE).unwrap();
    assert_eq!((tlb.pages.get(), tlb.all.get(), pool.taken()), (0, 0, 1), "nothing is flushed, the table stays");
    let mut out = Vec::new();
    mapper.reap(at(100), 300 * PAGE, PageSize::Small, &mut pool, |_, some| out.extend_from_slice(some)).unwrap();
    assert_eq!(out, frames);
    assert_eq!(pool.taken(), 0);
}
