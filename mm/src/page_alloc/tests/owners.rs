//! An owner of movable pages, and a machine with an area that it can fill.

use std::boxed::Box;
use std::collections::BTreeMap;
use std::sync::Mutex;
use std::vec::Vec;

use core::sync::atomic::AtomicU32;
use core::sync::atomic::Ordering::SeqCst;

use super::fixture::{Machine, NORMAL};
use crate::addr::{Pfn, PfnRange};
use crate::buddy::model::range;
use crate::gfp::GfpFlags;
use crate::memmap::PageState;
use crate::order::Order;
use crate::page_alloc::{CmaArea, MigrationOps, MoveError, Options, OwnerId, Policies, ZoneStats};
use crate::platform::PhysMap;
use crate::testing::{FakeRam, HostIrq};

/// Two pageblocks of Normal.
pub(super) const AREA: PfnRange = PfnRange::new(Pfn::new(0x800), Pfn::new(0x1000));

/// Everything that must be as before after a refusal. It is too long to be printed.
#[derive(PartialEq)]
pub(super) struct Snapshot {
    states: Vec<Option<PageState>>,
    kinds: Vec<crate::migrate::MigrateType>,
    stats: Vec<ZoneStats>,
}

pub(super) fn snapshot(machine: &Machine) -> Snapshot {
    let frames = range(0x400, 0x1c00);
    let zone = machine.zone(NORMAL).unwrap();
    // What is free may merge and split; whose a frame is must not change.
    let state = |pfn| match machine.map().state(pfn).unwrap() {
        PageState::Allocated(order) => Some(PageState::Allocated(order)),
        PageState::Tail { head, order } if matches!(machine.map().state(head), Some(PageState::Allocated(_))) => {
            Some(PageState::Tail { head, order })
        }
        _ => None,
    };
    Snapshot {
        states: frames.iter().map(state).collect(),
        kinds: AREA.iter().map(|pfn| zone.block_type(pfn)).collect(),
        stats: machine.zones().iter().map(|zone| zone.stats()).collect(),
    }
}

/// Pages by handle; each page's first word is its handle.
pub(super) struct Owner {
    ram: &'static FakeRam,
    pub(super) pages: Mutex<BTreeMap<u32, (Pfn, Order)>>,
    /// A handle whose page is not to be isolated.
    pub(super) unwilling: AtomicU32,
    /// A handle whose page cannot be moved.
    pub(super) stuck: AtomicU32,
    /// How often the next move is to be asked for again.
    pub(super) again: AtomicU32,
    pub(super) isolated: AtomicU32,
    /// How often it was asked for a page, whatever it said.
    pub(super) asked: AtomicU32,
}

pub(super) const NOBODY: u32 = u32::MAX;

impl Owner {
    fn word(&self, pfn: Pfn) -> *mut u32 {
        self.ram.frames_ptr(pfn, 1).unwrap().as_ptr().cast()
    }

    /// Takes a new page.
    pub(super) fn adopt(&self, machine: &Machine, id: OwnerId, pfn: Pfn, order: Order) -> u32 {
        let mut pages = self.pages.lock().unwrap();
        let handle = pages.keys().next_back().map_or(0, |last| last + 1);
        pages.insert(handle, (pfn, order));
        // SAFETY: the page was just allocated, and FakeRam answers for its bytes.
        unsafe { self.word(pfn).write(handle) };
        machine.set_movable(pfn, order, id, handle).unwrap();
        handle
    }

    /// Frees a page, wherever it is now.
    pub(super) fn drop_page(&self, machine: &Machine, handle: u32) {
        let (pfn, order) = self.pages.lock().unwrap().remove(&handle).unwrap();
        machine.free_pages(pfn, order).unwrap();
    }

    /// Every page is allocated and holds what was written to it.
    pub(super) fn check(&self, machine: &Machine) {
        for (handle, (pfn, order)) in self.pages.lock().unwrap().iter() {
            assert_eq!(machine.map().state(*pfn), Some(PageState::Allocated(*order)), "handle {handle}");
            // SAFETY: the page is the owner's, and FakeRam answers for its bytes.
            assert_eq!(unsafe { self.word(*pfn).read() }, *handle, "{pfn} has another page's contents");
        }
    }

    pub(super) fn pages_in(&self, range: PfnRange) -> usize {
        self.pages.lock().unwrap().values().filter(|(pfn, _)| range.contains(*pfn)).count()
    }

    pub(super) fn handle_at(&self, wanted: Pfn) -> u32 {
        let pages = self.pages.lock().unwrap();
        pages.iter().find(|(_, (pfn, _))| *pfn == wanted).map(|(handle, _)| *handle).unwrap()
    }
}

impl MigrationOps for Owner {
    fn isolate_page(&self, pfn: Pfn, private: u32) -> bool {
        self.asked.fetch_add(1, SeqCst);
        let known = self.pages.lock().unwrap().get(&private).is_some_and(|(at, _)| *at == pfn);
        let willing = known && self.unwilling.load(SeqCst) != private;
        self.isolated.fetch_add(u32::from(willing), SeqCst);
        willing
    }

    fn migrate_page(&self, old: Pfn, new: Pfn, private: u32) -> Result<(), MoveError> {
        if self.again.fetch_update(SeqCst, SeqCst, |left| left.checked_sub(1)).is_ok() {
            return Err(MoveError::Again);
        }
        if self.stuck.load(SeqCst) == private {
            return Err(MoveError::Busy);
        }
        let mut pages = self.pages.lock().unwrap();
        let place = pages.get_mut(&private).ok_or(MoveError::Busy)?;
        assert_eq!(place.0, old);
        let bytes = place.1.pages() as usize * 4096;
        let (from, to) = (self.ram.frames_ptr(old, place.1.pages()), self.ram.frames_ptr(new, place.1.pages()));
        // SAFETY: both blocks are the owner's now, and FakeRam answers for all their bytes.
        unsafe { to.unwrap().copy_from_nonoverlapping(from.unwrap(), bytes) };
        // SAFETY: as above; a page that is still used after the move shows.
        unsafe { from.unwrap().write_bytes(0xee, bytes) };
        place.0 = new;
        self.isolated.fetch_sub(1, SeqCst);
        Ok(())
    }

    fn putback_page(&self, pfn: Pfn, private: u32) {
        let pages = self.pages.lock().unwrap();
        assert_eq!(pages.get(&private).map(|(at, _)| *at), Some(pfn));
        self.isolated.fetch_sub(1, SeqCst);
    }
}

/// A machine with a lent area, an owner, and RAM behind all of it.
pub(super) struct Lent {
    pub(super) machine: Machine,
    pub(super) owner: &'static Owner,
    pub(super) id: OwnerId,
    pub(super) area: CmaArea<'static, HostIrq>,
}

impl Lent {
    pub(super) fn new() -> Self {
        Self::with_pagesets(2)
    }

    /// For so many CPUs; 0: without pagesets.
    pub(super) fn with_pagesets(cpus: usize) -> Self {
        Self::with_policies(cpus, Policies::new())
    }

    pub(super) fn with_policies(cpus: usize, policies: Policies) -> Self {
        let ram: &'static FakeRam = Box::leak(Box::new(FakeRam::new(&[range(0x400, 0x1c00).bytes()])));
        let mut machine = Machine::reserved(Options { ram: Some(ram), policies, ..Options::default() });
        machine.free_all([range(0x400, 0x800), range(0x1000, 0x1800), range(0x1800 + 100, 0x1c00)], []).unwrap();
        machine.release_cma(AREA).unwrap();
        let machine = if cpus > 0 { machine.with_pagesets(cpus) } else { machine };
        let owner: &'static Owner = Box::leak(Box::new(Owner {
            ram,
            pages: Mutex::default(),
            unwilling: AtomicU32::new(NOBODY),
            stuck: AtomicU32::new(NOBODY),
            again: AtomicU32::new(0),
            isolated: AtomicU32::new(0),
            asked: AtomicU32::new(0),
        }));
        let id = machine.register_owner(owner).unwrap();
        let words = Box::leak(std::vec![0; CmaArea::<HostIrq>::words_for(AREA.pages())].into_boxed_slice());
        let area = CmaArea::new("linux,cma", AREA, words).unwrap();
        Self { machine, owner, id, area }
    }

    /// The owner has pages in every frame of the area, and there is room for them elsewhere.
    pub(super) fn filled() -> Self {
        Self::new().fill()
    }

    pub(super) fn fill(self) -> Self {
        let lent = self;
        let all = lent.machine.take_all(GfpFlags::MOVABLE, Order::ZERO);
        for pfn in all {
            if AREA.contains(pfn) {
                lent.owner.adopt(&lent.machine, lent.id, pfn, Order::ZERO);
            } else {
                lent.machine.free_pages(pfn, Order::ZERO).unwrap();
            }
        }
        lent.machine.drain_local();
        assert_eq!(lent.owner.pages_in(AREA), 2048);
        lent
    }

    /// Every second page of Normal but those of the area is the owner's, the others are free.
    pub(super) fn riddle(self, movable: bool) -> Self {
        for pfn in self.machine.take_all(GfpFlags::MOVABLE, Order::ZERO) {
            if pfn.raw() % 2 == 0 || AREA.contains(pfn) {
                self.machine.free_pages(pfn, Order::ZERO).unwrap();
            } else if movable {
                self.owner.adopt(&self.machine, self.id, pfn, Order::ZERO);
            }
        }
        self.machine.drain_local();
        self
    }

    pub(super) fn check(&self) {
        self.machine.validate().unwrap();
        self.owner.check(&self.machine);
        assert_eq!(self.owner.isolated.load(SeqCst), 0);
    }
}
