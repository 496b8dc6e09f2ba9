//! For tests: a machine that remembers every maintenance that it was told, in order, and how often the bytes of a table
//! were looked up.
#![expect(clippy::cast_possible_truncation, reason = "the machine's RAM is 1 MiB")]

use core::cell::{Cell, RefCell};
use core::ptr::NonNull;
use core::sync::atomic::AtomicU32;
use std::vec::Vec;

use super::fixture::{PAGE, POOL, Pool, ROOT, ram, ram_words};
use crate::addr::{Pfn, PhysAddr, VirtAddr};
use crate::paging::*;
use crate::platform::{PhysMap, TlbControl};
use crate::testing::FakeRam;

/// What the caches or TLBs were told.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(in crate::paging) enum Told {
    /// To make these bytes of a table page visible: where, how many.
    Table(u64, usize),
    /// To make these first-level words visible: the first, how many.
    First(usize, usize),
    /// To forget this address.
    Page(u32),
    /// To forget everything.
    All,
}

/// RAM that counts how often it is asked where a frame lies.
#[derive(Debug)]
pub(in crate::paging) struct CountedRam {
    pub(in crate::paging) ram: FakeRam,
    asked: Cell<usize>,
}

// SAFETY: every answer is `FakeRam`'s.
unsafe impl PhysMap for CountedRam {
    fn frames_ptr(&self, first: Pfn, pages: u32) -> Option<NonNull<u8>> {
        self.asked.set(self.asked.get() + 1);
        self.ram.frames_ptr(first, pages)
    }
}

/// Remembers what it is told, and what a walk that is not coherent sees: only what was made visible.
#[derive(Debug)]
pub(in crate::paging) struct RecordingTlb {
    base: NonNull<u8>,
    told: RefCell<Vec<Told>>,
    visible: RefCell<Vec<u32>>,
}

impl RecordingTlb {
    pub(in crate::paging) fn new(ram: &FakeRam) -> Self {
        let base = ram.frames_ptr(Pfn::containing(PhysAddr::new(ROOT)).unwrap(), 256).unwrap();
        Self { base, told: RefCell::default(), visible: RefCell::new(all_words(ram).to_vec()) }
    }

    /// What was told since the last call.
    pub(in crate::paging) fn told(&self) -> Vec<Told> {
        self.told.take()
    }

    /// Copies `bytes` bytes at `ptr` to what is visible; returns where they lie.
    fn show(&self, ptr: NonNull<u8>, bytes: usize) -> u64 {
        let offset = ptr.as_ptr().addr() - self.base.as_ptr().addr();
        // SAFETY: the bytes lie in the RAM of the test, which this thread alone uses.
        let words = unsafe { NonNull::slice_from_raw_parts(ptr.cast::<u32>(), bytes / 4).as_ref() };
        self.visible.borrow_mut()[offset / 4..][..words.len()].copy_from_slice(words);
        ROOT + offset as u64
    }

    /// The first level and every hardware word below it are visible as they are; of faults, that they are.
    pub(in crate::paging) fn check_visible(&self, ram: &FakeRam) {
        let (words, visible) = (all_words(ram), self.visible.borrow());
        let check = |at: usize| {
            let (now, seen) = (words[at], visible[at]);
            assert!(now == seen || (now | seen) & 3 == 0, "word {at:#x} is {now:#x} and seen as {seen:#x}");
        };
        (0..FIRST_LEVEL_WORDS).for_each(check);
        for first in words[..FIRST_LEVEL_WORDS].iter().filter(|first| **first & 3 == 1) {
            let table = u64::from(first & !0x3ff) - ROOT;
            (table / 4..).take(HALF_WORDS).for_each(|at| check(at as usize));
        }
    }
}

impl TlbControl for RecordingTlb {
    fn sync_table(&self, ptr: NonNull<u8>, bytes: usize) {
        let at = self.show(ptr, bytes);
        self.told.borrow_mut().push(Told::Table(at, bytes));
    }

    fn sync_first(&self, first: usize, words: &[AtomicU32]) {
        let at = self.show(NonNull::from(words).cast(), size_of_val(words));
        assert_eq!(at, ROOT + first as u64 * 4, "the words are those of the MiB that was named");
        self.told.borrow_mut().push(Told::First(first, words.len()));
    }

    fn flush_page(&self, va: VirtAddr) {
        self.told.borrow_mut().push(Told::Page(va.raw()));
    }

    fn flush_all(&self) {
        self.told.borrow_mut().push(Told::All);
    }
}

/// The 1 MiB that holds the tables.
fn all_words(ram: &FakeRam) -> &[u32] {
    ram_words(ram, ROOT, 1 << 18)
}

/// Tables, their machine and their frames.
pub(in crate::paging) struct Machine {
    pub(in crate::paging) ram: CountedRam,
    pub(in crate::paging) tlb: RecordingTlb,
}

impl Machine {
    pub(in crate::paging) fn new() -> Self {
        let ram = ram();
        Self { tlb: RecordingTlb::new(&ram), ram: CountedRam { ram, asked: Cell::new(0) } }
    }

    pub(in crate::paging) fn mapper(&self, live: Live) -> Mapper<'_, CountedRam, RecordingTlb> {
        Mapper::with_live(self.editor(), live)
    }

    pub(in crate::paging) fn tables(&self) -> Tables<'_, CountedRam> {
        // SAFETY: the test uses these frames as tables only.
        unsafe { Tables::new(&self.ram, PhysAddr::new(ROOT)) }.unwrap()
    }

    pub(in crate::paging) fn editor(&self) -> Editor<'_, CountedRam, RecordingTlb> {
        // SAFETY: a test changes the tables through one editor at a time, and no MMU walks them.
        unsafe { Editor::new(self.tables(), &self.tlb) }
    }

    /// Runs `body`; returns what was told meanwhile, and how often a frame was looked up.
    pub(in crate::paging) fn record<R>(&self, body: impl FnOnce() -> R) -> (Vec<Told>, usize) {
        self.tlb.told();
        self.ram.asked.set(0);
        body();
        (self.tlb.told(), self.ram.asked.get())
    }

    /// As [`Self::record`], for who wants no counts.
    pub(in crate::paging) fn told<R>(&self, body: impl FnOnce() -> R) -> Vec<Told> {
        self.record(body).0
    }

    /// The first-level word of the MiB `index`.
    pub(in crate::paging) fn first(&self, index: usize) -> &mut u32 {
        &mut ram_words(&self.ram.ram, ROOT, 4096)[index]
    }

    /// The 1,024 words of the table page at `page`.
    pub(in crate::paging) fn page(&self, page: u64) -> &mut [u32] {
        ram_words(&self.ram.ram, page, 1024)
    }
}

/// The table page that a [`Pool`] of `pages` gives first.
pub(in crate::paging) const fn first_page(pages: u64) -> u64 {
    POOL + (pages - 1) * PAGE
}

/// The hardware words of `count` pages from `page` on, of the half `half` of the table page at `table`, as a told sync.
pub(in crate::paging) const fn hardware(table: u64, half: u64, page: u64, count: usize) -> Told {
    Told::Table(table + (2 + half) * 1024 + page * 4, count * 4)
}

/// That all tables of `pool` are back.
pub(in crate::paging) fn all_back(pool: &Pool) -> bool {
    pool.taken() == 0
}
