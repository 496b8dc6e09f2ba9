//! Several spaces over one kernel, against the model MMU and maps of what should be there.
#![expect(clippy::cast_possible_truncation, reason = "addresses of the tests are below 4 GiB")]

use std::collections::BTreeMap;
use std::vec::Vec;

use core::sync::atomic::AtomicU64;

use proptest::prelude::*;

use super::*;
use crate::addr::PhysRange;
use crate::paging::model::ModelMmu;
use crate::paging::{Access, Domain, Exec, FIRST_LEVEL_SIZE, MapError};
use crate::testing::{CountingTlb, FakeRam, scaled};

const PAGE: u64 = 1 << 12;
const MIB: u64 = 1 << 20;
const RAM: u64 = 0x4000_0000;
const KERNEL: u64 = RAM;
const POOL: u64 = RAM + MIB;
const POOL_PAGES: u64 = 64;
const SPACES: usize = 3;
/// Frames that users get: below the tables, so that nothing looks at their bytes.
const USER_FRAMES: u64 = 0x1000_0000;
/// Where the kernel's own mappings come and go.
const VMALLOC: u64 = 0xf000_0000;
const HALF: UserHalf = UserHalf::below(VirtAddr::new(0x8000_0000));

const fn root(space: usize) -> u64 {
    RAM + (space as u64 + 1) * FIRST_LEVEL_SIZE as u64
}

const fn va(at: u64) -> VirtAddr {
    VirtAddr::new(at as u32)
}

/// RAM that is full of words that look like mappings.
fn ram() -> FakeRam {
    let ram = FakeRam::new(&[PhysRange::new(PhysAddr::new(RAM), PhysAddr::new(RAM + 2 * MIB))]);
    let frames = PhysMap::frames_ptr(&ram, crate::addr::Pfn::new((RAM / PAGE) as u32), 512).unwrap();
    // SAFETY: all of the fake RAM, which nobody else uses yet.
    unsafe { std::slice::from_raw_parts_mut(frames.as_ptr().cast::<u32>(), (2 * MIB / 4) as usize) }.fill(0xdead_bfff);
    ram
}

struct Pool(Vec<PhysAddr>);

impl Pool {
    fn new() -> Self {
        Self((0..POOL_PAGES).map(|page| PhysAddr::new(POOL + page * PAGE)).collect())
    }

    fn taken(&self) -> usize {
        POOL_PAGES as usize - self.0.len()
    }
}

impl TableSource for Pool {
    fn take_table(&mut self) -> Option<PhysAddr> {
        self.0.pop()
    }

    fn give_back(&mut self, table: PhysAddr) {
        assert!(!self.0.contains(&table), "{table} was given back twice");
        self.0.push(table);
    }
}

/// What the kernel's tables tell: every change goes to the spaces at once.
struct Leader<'m> {
    kernel: Tables<'m, FakeRam>,
    spaces: Vec<Tables<'m, FakeRam>>,
    quiet: CountingTlb,
}

impl TlbControl for Leader<'_> {
    fn sync_table(&self, _ptr: core::ptr::NonNull<u8>, _bytes: usize) {}

    fn sync_first(&self, first: usize, words: &[AtomicU32]) {
        self.spaces.iter().for_each(|space| follow(space, HALF, &self.quiet, first, words));
    }

    fn flush_page(&self, va: VirtAddr) {
        let index = crate::paging::section_index(va);
        let own = self.kernel.first_word(index);
        assert!(self.spaces.iter().all(|space| space.first_word(index) == own), "{va}: flushed before it was told");
    }

    fn flush_all(&self) {
        (0..6).for_each(|mib| self.flush_page(va(VMALLOC + mib * MIB)));
    }
}

fn space(ram: &FakeRam, number: usize, pxn: bool) -> AddressSpace<'_, FakeRam> {
    // SAFETY: the test gives each space its own root, and no MMU walks it.
    unsafe { AddressSpace::new(ram, PhysAddr::new(root(number)), HALF, pxn) }.unwrap()
}

/// The kernel's tables, with nothing in them.
fn kernel(ram: &FakeRam) -> Tables<'_, FakeRam> {
    // SAFETY: the test uses these frames as tables only.
    let tables = unsafe { Tables::new(ram, PhysAddr::new(KERNEL)) }.unwrap();
    tables.first_level().iter().for_each(|word| word.store(0, Ordering::Relaxed));
    tables
}

/// The registers' values are typed in. DACR with the users' domain (1) open.
fn model(ram: &FakeRam, ttbr: u64, dacr: u32) -> ModelMmu<'_, FakeRam> {
    ModelMmu { ram, ttbr, prrr: 0xff0a_81a8, nmrr: 0x40e0_40e0, dacr }
}

/// The context of a space that has `asid`.
fn runs(asid: u8) -> AtomicU64 {
    AtomicU64::new(1 << 8 | u64::from(asid))
}

#[derive(Clone, Debug)]
enum Op {
    Map {
        space: usize,
        at: u64,
        pages: u64,
        frame: u64,
        prot: Prot,
    },
    Unmap {
        space: usize,
        at: u64,
        pages: u64,
    },
    Protect {
        space: usize,
        at: u64,
        pages: u64,
        prot: Prot,
    },
    Clear {
        space: usize,
    },
    /// The kernel maps the MiB `mib` or, if `page`, one page there; what is there it unmaps.
    Kernel {
        mib: u64,
        page: bool,
    },
    /// The kernel unmaps the MiB `mib`, if all of it is mapped, in two steps.
    Retire {
        mib: u64,
    },
}

fn any_prot() -> impl Strategy<Value = Prot> {
    let none = Prot { access: Access::None, ..Prot::USER_RW };
    prop::sample::select(std::vec![Prot::USER_RW, Prot::USER_RO, Prot::USER_RX, none])
}

/// A page of the first 4 MiB or the last 2 MiB of the half, and how many.
fn any_range() -> impl Strategy<Value = (u64, u64)> {
    let last = u64::from(HALF.end().raw()) / PAGE - 512;
    (prop_oneof![1..1024_u64, last..last + 512], 1..40_u64)
        .prop_map(move |(at, pages)| (at, if at >= last { pages.min(last + 512 - at) } else { pages }))
}

fn any_op() -> impl Strategy<Value = Op> {
    let space = 0..SPACES;
    prop_oneof![
        4 => (space.clone(), any_range(), any::<u8>(), any_prot()).prop_map(|(space, (at, pages), skew, prot)| {
            // Half of them are aligned alike on both sides, as large pages want it.
            let frame = USER_FRAMES / PAGE + at + u64::from(skew & 1) * 3;
            Op::Map { space, at, pages, frame, prot }
        }),
        3 => (space.clone(), any_range()).prop_map(|(space, (at, pages))| Op::Unmap { space, at, pages }),
        2 => (space.clone(), any_range(), any_prot())
            .prop_map(|(space, (at, pages), prot)| Op::Protect { space, at, pages, prot }),
        1 => space.prop_map(|space| Op::Clear { space }),
        3 => (0..6_u64, any::<bool>()).prop_map(|(mib, page)| Op::Kernel { mib, page }),
        1 => (0..6_u64).prop_map(|mib| Op::Retire { mib }),
    ]
}

type Wanted = BTreeMap<u64, (u64, Prot)>;

fn expected(frame: u64, prot: Prot, pxn: bool) -> (u64, [bool; 4], [bool; 2], bool) {
    let access = match prot.access {
        Access::UserRw => [true; 4],
        Access::UserRo => [true, false, true, false],
        _ => [false; 4],
    };
    let fetch = prot.exec == Exec::Allowed;
    (frame * PAGE, access, [fetch && access[0] && !pxn, fetch && access[2]], true)
}

/// What the MMU finds in the user half, open or closed, is what was asked for.
fn compare(ram: &FakeRam, number: usize, wanted: &Wanted, pxn: bool) {
    let open = model(ram, root(number), 0b0101).all();
    let user = open.iter().filter(|(at, _)| *at < HALF.end().raw());
    let found: Vec<_> =
        user.map(|(at, to)| (u64::from(*at) / PAGE, to.pa, to.access, to.fetch, to.non_global)).collect();
    let want: Vec<_> = wanted
        .iter()
        .map(|(page, (frame, prot))| {
            let (pa, access, fetch, non_global) = expected(*frame, *prot, pxn);
            (*page, pa, access, fetch, non_global)
        })
        .collect();
    assert_eq!(found, want);
    let closed = model(ram, root(number), 0b0001);
    for page in wanted.keys() {
        assert_eq!(closed.translate((page * PAGE) as u32), None, "the kernel reaches user page {page:#x}");
    }
}

/// Unmaps all that the kernel has in a MiB of its own.
fn unmap_mib(kernel: &Tables<'_, FakeRam>, mapper: &mut Mapper<'_, FakeRam, Leader<'_>>, mib: u64, pool: &mut Pool) {
    let first = VMALLOC + mib * MIB;
    for at in (first..first + MIB).step_by(PAGE as usize).map(va) {
        if kernel.walk(at).unwrap().is_some() {
            mapper.unmap(at, PAGE, pool).unwrap();
        }
    }
}

fn run(ops: &[Op], pxn: bool) {
    let ram = ram();
    let (kernel, mut pool) = (kernel(&ram), Pool::new());
    let mut spaces: Vec<_> = (0..SPACES).map(|number| space(&ram, number, pxn)).collect();
    let leader =
        Leader { kernel, spaces: spaces.iter().map(|space| *space.tables()).collect(), quiet: CountingTlb::default() };
    // SAFETY: the only editor of the kernel's tables.
    let mut mapper = Mapper::new(unsafe { Editor::new(kernel, &leader) });
    let quiet = CountingTlb::default();
    let context = runs(7);
    let tlb = SpaceTlb::new(&quiet, &context);
    let mut wanted = std::vec![Wanted::new(); SPACES];
    for op in ops {
        match *op {
            Op::Map { space, at, pages, frame, prot } => {
                let to = (PhysAddr::new(frame * PAGE), prot);
                let result = spaces[space].map(va(at * PAGE), pages * PAGE, to, &tlb, &mut pool);
                match (result, (at..at + pages).any(|page| wanted[space].contains_key(&page))) {
                    (Ok(()), false) => wanted[space].extend((0..pages).map(|i| (at + i, (frame + i, prot)))),
                    (Err(SpaceError::Map(MapError::AlreadyMapped(_))), true) => {}
                    other => panic!("{op:?}: {other:?}"),
                }
            }
            Op::Unmap { space, at, pages } => match spaces[space].unmap(va(at * PAGE), pages * PAGE, &tlb, &mut pool) {
                Ok(()) => (at..at + pages).for_each(|page| assert!(wanted[space].remove(&page).is_some())),
                Err(SpaceError::Map(MapError::NotMapped(_))) => {
                    assert!((at..at + pages).any(|page| !wanted[space].contains_key(&page)));
                }
                Err(other) => panic!("{op:?}: {other}"),
            },
            Op::Protect { space, at, pages, prot } => {
                match spaces[space].protect(va(at * PAGE), pages * PAGE, prot, &tlb, &mut pool) {
                    Ok(()) => (at..at + pages).for_each(|page| wanted[space].get_mut(&page).unwrap().1 = prot),
                    Err(SpaceError::Map(MapError::NotMapped(_))) => {
                        assert!((at..at + pages).any(|page| !wanted[space].contains_key(&page)));
                    }
                    Err(other) => panic!("{op:?}: {other}"),
                }
            }
            Op::Clear { space } => {
                spaces[space].clear(&tlb, &mut pool);
                wanted[space].clear();
            }
            Op::Retire { mib } => {
                let at = va(VMALLOC + mib * MIB);
                if mapper.retire(at, MIB).is_ok() {
                    mapper.flush_all();
                    mapper.reap(at, MIB, PageSize::Section, &mut pool, |_, _| {}).unwrap();
                }
            }
            Op::Kernel { mib, page } => {
                let (at, bytes) = (va(VMALLOC + mib * MIB), if page { PAGE } else { MIB });
                let to = (PhysAddr::new(0x2000_0000 + mib * MIB), Prot::KERNEL_RW);
                let mapped = mapper.map(at, bytes, to, PageSize::Section, &mut pool);
                if let Err(MapError::AlreadyMapped(there)) = mapped {
                    // Of a section its first page at first, so that it is cut; then the rest, page by page.
                    mapper.unmap(there, PAGE, &mut pool).unwrap();
                    if !page {
                        unmap_mib(&kernel, &mut mapper, mib, &mut pool);
                    }
                }
            }
        }
        for (number, space) in spaces.iter().enumerate() {
            compare(&ram, number, &wanted[number], pxn);
            let pages = audit(space.tables(), &kernel, HALF, &|_| false).unwrap();
            assert_eq!(pages as usize, wanted[number].len(), "the audit counts every page");
        }
    }
    spaces.iter_mut().for_each(|space| space.clear(&tlb, &mut pool));
    (0..6).for_each(|mib| unmap_mib(&kernel, &mut mapper, mib, &mut pool));
    assert_eq!(pool.taken(), 0, "every table came back");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(scaled(24)))]

    #[test]
    fn spaces_show_each_its_own_pages_one_kernel_half_and_give_every_table_back(
        ops in prop::collection::vec(any_op(), 1..60),
        pxn in any::<bool>(),
    ) {
        run(&ops, pxn);
    }
}

#[test]
fn what_is_no_users_is_refused_and_changes_nothing() {
    let ram = ram();
    let (kernel, mut pool, quiet) = (kernel(&ram), Pool::new(), CountingTlb::default());
    let mut space = space(&ram, 0, true);
    copy_kernel_half(space.tables(), HALF, &quiet, &kernel);
    let context = runs(1);
    let tlb = SpaceTlb::new(&quiet, &context);
    let end = u64::from(HALF.end().raw());
    assert_eq!(end, 0x7f00_0000);
    let to = (PhysAddr::new(USER_FRAMES), Prot::USER_RW);
    let mut map = |at: u64, bytes: u64, prot| space.map(va(at), bytes, (to.0, prot), &tlb, &mut pool);
    assert_eq!(map(0, PAGE, to.1), Err(SpaceError::NullPage(va(0))));
    assert_eq!(map(0, 2 * PAGE, to.1), Err(SpaceError::NullPage(va(0))));
    for (at, bytes) in [(end, PAGE), (end - PAGE, 2 * PAGE), (PAGE, end), (0xffff_f000, PAGE), (PAGE, 1 << 32)] {
        assert_eq!(map(at, bytes, to.1), Err(SpaceError::NotUser(va(at))), "{at:#x}+{bytes:#x}");
    }
    let writable_executable = Prot { exec: Exec::Allowed, ..Prot::USER_RW };
    let global = Prot { global: true, ..Prot::USER_RO };
    let read_only = Prot { access: Access::KernelRwUserRo, ..Prot::USER_RW };
    for prot in [writable_executable, global, read_only, Prot::KERNEL_RW, Prot::KERNEL_RO] {
        assert_eq!(map(PAGE, PAGE, prot), Err(SpaceError::BadProt(prot)));
    }
    assert_eq!(map(end - PAGE, PAGE, to.1), Ok(()), "the last page is a user's");
    assert_eq!(space.protect(va(end - PAGE), PAGE, global, &tlb, &mut pool), Err(SpaceError::BadProt(global)));
    assert_eq!(space.unmap(va(end - PAGE), 2 * PAGE, &tlb, &mut pool), Err(SpaceError::NotUser(va(end - PAGE))));
    assert_eq!(audit(space.tables(), &kernel, HALF, &|_| false), Ok(1));
    space.clear(&tlb, &mut pool);
    assert_eq!(pool.taken(), 0);
}

#[test]
fn a_space_that_is_cleared_flushes_its_number_and_not_everything() {
    let ram = ram();
    let (mut pool, quiet) = (Pool::new(), CountingTlb::default());
    let mut space = space(&ram, 0, false);
    let (ran, never) = (runs(5), AtomicU64::new(ContextId::NONE.raw()));
    let (used, unused) = (SpaceTlb::new(&quiet, &ran), SpaceTlb::new(&quiet, &never));
    // A table each 2 MiB: more than one round.
    for pgd in 0..40 {
        let to = (PhysAddr::new(USER_FRAMES), Prot::USER_RO);
        space.map(va((pgd << 21) + PAGE), PAGE, to, &unused, &mut pool).unwrap();
    }
    assert_eq!((pool.taken(), quiet.asids.get()), (40, 0), "no TLB knows a space that never ran");
    space.clear(&used, &mut pool);
    assert_eq!((pool.taken(), quiet.asids.get(), quiet.all.get()), (0, 2, 0), "32 tables, then 8");
}

/// While the words of a change are being made visible another CPU begins to run the space, under a new number.
struct Renumbers<'a> {
    context: &'a AtomicU64,
    flushed: std::cell::RefCell<Vec<u8>>,
}

impl TlbControl for Renumbers<'_> {
    fn sync_table(&self, _ptr: core::ptr::NonNull<u8>, _bytes: usize) {
        self.context.store(runs(9).into_inner(), Ordering::Relaxed);
    }

    fn flush_page(&self, _va: VirtAddr) {}

    fn flush_all(&self) {}

    fn flush_asid(&self, asid: u8) {
        self.flushed.borrow_mut().push(asid);
    }
}

#[test]
fn a_space_that_another_cpu_begins_to_run_meanwhile_is_flushed_under_the_number_that_it_got() {
    for before in [0, 5] {
        let (ram, mut pool, quiet) = (ram(), Pool::new(), CountingTlb::default());
        let mut space = space(&ram, 0, false);
        let context = AtomicU64::new(if before == 0 { 0 } else { runs(before).into_inner() });
        let to = (PhysAddr::new(USER_FRAMES), Prot::USER_RW);
        space.map(va(MIB), 40 * PAGE, to, &SpaceTlb::new(&quiet, &context), &mut pool).unwrap();
        let renumbers = Renumbers { context: &context, flushed: std::cell::RefCell::default() };
        let tlb = SpaceTlb::new(&renumbers, &context);
        space.unmap(va(MIB), 40 * PAGE, &tlb, &mut pool).unwrap();
        assert_eq!(*renumbers.flushed.borrow(), [9], "it had {before}");
    }
}

#[test]
fn each_thing_that_must_not_be_in_a_space_is_found() {
    let ram = ram();
    let (kernel, mut pool, quiet) = (kernel(&ram), Pool::new(), CountingTlb::default());
    let space = space(&ram, 0, false);
    let tables = *space.tables();
    // SAFETY: the only editor from now on: the space itself changes nothing any more.
    let raw = || unsafe { Editor::new(tables, &quiet) };
    let found = |kernels: &dyn Fn(PhysRange) -> bool| audit(&tables, &kernel, HALF, kernels);
    let frame = PhysAddr::new(USER_FRAMES);
    let mut judge = |at: u64, prot: Prot, user: bool, kernels: &dyn Fn(PhysRange) -> bool| {
        let mut mapper = Mapper::new(if user { raw().of_user(false) } else { raw() });
        mapper.map(va(at), PAGE, (frame, prot), PageSize::Small, &mut pool).unwrap();
        let verdict = found(kernels);
        mapper.unmap(va(at), PAGE, &mut pool).unwrap();
        verdict
    };
    let none = |_: PhysRange| false;
    let (at, own) = (va(0x10_0000), 0x10_0000);
    assert_eq!(judge(own, Prot::USER_RW, true, &none), Ok(1));
    assert_eq!(judge(0, Prot::USER_RO, true, &none), Err(SpaceFault::NullPage));
    let domain = Err(SpaceFault::ForeignDomain(at, Domain::KERNEL));
    assert_eq!(judge(own, Prot::USER_RW, false, &none), domain);
    let both = Prot { exec: Exec::Allowed, ..Prot::USER_RW };
    for prot in [both, Prot::KERNEL_RW, Prot { global: true, ..Prot::USER_RW }] {
        assert_eq!(judge(own, prot, true, &none), Err(SpaceFault::BadProt(at, prot)));
    }
    let all = |range: PhysRange| range.start == frame;
    assert_eq!(judge(own, Prot::USER_RW, true, &all), Err(SpaceFault::KernelFrame(at, frame)));
    let end = u64::from(HALF.end().raw());
    assert_eq!(judge(end, Prot::KERNEL_RW, false, &none), Err(SpaceFault::KernelHalf(HALF.end())));
    assert_eq!(found(&none), Ok(0));
}
