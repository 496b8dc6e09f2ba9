//! Tables for tests: where they lie, who gives frames for them, and what the MMU should find.
#![expect(clippy::cast_possible_truncation, reason = "addresses of the tests are below 4 GiB")]

use std::vec::Vec;

use proptest::prelude::*;

use crate::addr::{PhysAddr, PhysRange, VirtAddr};
use crate::paging::model::{Answer, ModelMmu};
use crate::paging::*;
use crate::testing::FakeRam;

pub(in crate::paging) const MIB: u64 = 1 << 20;
pub(in crate::paging) const PAGE: u64 = 1 << 12;
/// Frames of the tables: the first level, then table pages.
pub(in crate::paging) const ROOT: u64 = 0x4000_0000;
pub(in crate::paging) const POOL: u64 = ROOT + 0x4000;

/// An even MiB, its index, and a page in it.
pub(in crate::paging) const AT: VirtAddr = VirtAddr::new(0xa000_0000);
pub(in crate::paging) const MIB_AT: usize = 0xa00;
pub(in crate::paging) fn at(page: u64) -> VirtAddr {
    VirtAddr::new(AT.raw() + (page * PAGE) as u32)
}

pub(in crate::paging) const RW: Prot = Prot::KERNEL_RW;
pub(in crate::paging) const RO: Prot = Prot::KERNEL_RO;

/// What a page is to be mapped to.
pub(in crate::paging) const fn to(frame: u64, prot: Prot) -> (PhysAddr, Prot) {
    (PhysAddr::new(frame * PAGE), prot)
}

/// Table frames that are counted, dirty when handed out, and finite.
pub(in crate::paging) struct Pool {
    pub(in crate::paging) free: Vec<PhysAddr>,
    total: usize,
}

impl Pool {
    pub(in crate::paging) fn new(pages: u64) -> Self {
        let free: Vec<_> = (0..pages).map(|page| PhysAddr::new(POOL + page * PAGE)).collect();
        Self { total: free.len(), free }
    }

    pub(in crate::paging) fn taken(&self) -> usize {
        self.total - self.free.len()
    }
}

impl TableSource for Pool {
    fn take_table(&mut self) -> Option<PhysAddr> {
        self.free.pop()
    }

    fn give_back(&mut self, table: PhysAddr) {
        assert!(!self.free.contains(&table), "{table} was given back twice");
        self.free.push(table);
    }
}

pub(in crate::paging) fn ram() -> FakeRam {
    let ram = FakeRam::new(&[PhysRange::new(PhysAddr::new(ROOT), PhysAddr::new(ROOT + MIB))]);
    // Miri would take longer for all of it than for the tests.
    let pages = if cfg!(miri) { 32 } else { (MIB - 0x4000) / PAGE };
    let pool = ram_words(&ram, POOL, (pages * PAGE) as usize / 4);
    // Table frames hold rubbish that looks like mappings until somebody clears them.
    pool.fill(0xdead_bfff);
    ram
}

#[expect(clippy::mut_from_ref, reason = "a test looks at and spoils RAM while nobody else does")]
pub(in crate::paging) fn ram_words(ram: &FakeRam, at: u64, words: usize) -> &mut [u32] {
    let frame = crate::addr::Pfn::containing(PhysAddr::new(at)).unwrap();
    let ptr = crate::platform::PhysMap::frames_ptr(ram, frame, words.div_ceil(1024) as u32).unwrap();
    // SAFETY: the frames are in the fake RAM, and this thread alone uses them.
    unsafe { std::slice::from_raw_parts_mut(ptr.as_ptr().cast(), words) }
}

pub(in crate::paging) fn model(ram: &FakeRam) -> ModelMmu<'_, FakeRam> {
    // The registers' values are typed in, so that a wrong constant in `regs` shows here.
    ModelMmu { ram, ttbr: ROOT, prrr: 0xff0a_81a8, nmrr: 0x40e0_40e0, dacr: 1 }
}

/// What the MMU should find for `prot` at `pa`.
pub(in crate::paging) fn expected(pa: u64, prot: Prot, shift: u32) -> Answer {
    let access = match prot.access {
        Access::None => [false; 4],
        Access::KernelRw => [true, true, false, false],
        Access::KernelRwUserRo => [true, true, true, false],
        Access::UserRw => [true; 4],
        Access::KernelRo => [true, false, false, false],
        Access::UserRo => [true, false, true, false],
    };
    let fetch = match prot.exec {
        Exec::Allowed => [access[0], access[2]],
        Exec::UserOnly => [false, access[2]],
        Exec::Never => [false; 2],
    };
    let (kind, policy) = match prot.mem {
        MemType::StronglyOrdered => (0, 0),
        MemType::Device => (1, 0),
        MemType::NormalNonCacheable => (2, 0),
        MemType::WriteBackWriteAllocate => (2, 1),
        MemType::WriteThrough => (2, 2),
        MemType::WriteBack => (2, 3),
    };
    let shareable = prot.shareable || prot.mem == MemType::StronglyOrdered;
    Answer { pa, access, fetch, kind, cache: [policy; 2], shareable, non_global: !prot.global, shift }
}

pub(in crate::paging) fn any_prot() -> impl Strategy<Value = Prot> {
    let access = prop::sample::select(Access::ALL.to_vec());
    let exec = prop::sample::select(vec![Exec::Allowed, Exec::Never]);
    let mem = prop::sample::select(MemType::ALL.to_vec());
    (access, exec, mem, any::<bool>(), any::<bool>()).prop_map(|(access, exec, mem, shareable, global)| Prot {
        access,
        exec,
        mem,
        shareable,
        global,
    })
}

/// A supersection, which `Mapper` does not make by itself.
pub(in crate::paging) fn supersection(base: u64, prot: Prot) -> u32 {
    descriptor::FirstLevel::Supersection { base: PhysAddr::new(base), prot }.encode().unwrap()
}
