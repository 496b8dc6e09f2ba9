//! Contiguous memory that is lent to movable pages, and taken back.

use core::sync::atomic::AtomicU32;
use core::sync::atomic::Ordering::Relaxed;

use mm::addr::{PAGE_SIZE, Pfn, PfnRange};
use mm::gfp::GfpFlags;
use mm::memmap::NO_FRAME;
use mm::order::Order;
use mm::page_alloc::{CmaArea, CmaError, ContigError, MigrationOps, MoveError, OwnerId, Pinned};
use mm::platform::{PageAccess, PhysMap};
use mm::sync::InitOnce;
use mm::zone::ZoneType;

use super::{Failed, Verdict};
use crate::arch::armv7::irq::ArmIrq;
use crate::ram::RAM;
use crate::system::{System, Zones};
use crate::vm::Vm;
use crate::{check, selftest};

selftest!(a_contiguous_area_full_of_movable_pages_is_taken_whole_and_given_back);
selftest!(a_pinned_page_keeps_a_contiguous_area_untouched);

/// The frames of the owner's pages by slot, in memory of its own while a test runs.
struct Slots {
    first: AtomicU32,
    count: AtomicU32,
}

static OWNER: Slots = Slots { first: AtomicU32::new(NO_FRAME), count: AtomicU32::new(0) };
static ID: InitOnce<OwnerId> = InitOnce::new();
/// The way to pages of highmem, for moves.
static VM: InitOnce<&Vm> = InitOnce::new();

impl Slots {
    /// The slot's word.
    fn place(&self, slot: u32) -> Option<&AtomicU32> {
        if slot >= self.count.load(Relaxed) {
            return None;
        }
        let bytes = RAM.frames_ptr(Pfn::new(self.first.load(Relaxed)), (slot * 4 / PAGE_SIZE) + 1)?;
        // SAFETY: the slot lies in the last of these frames.
        let word = unsafe { bytes.add(slot as usize * 4) }.cast::<AtomicU32>();
        // SAFETY: the frames are the slots' own while `count` says so, aligned, and used as atomics only.
        Some(unsafe { word.as_ref() })
    }

    fn get(&self, slot: u32) -> Option<Pfn> {
        self.place(slot).map(|place| Pfn::new(place.load(Relaxed)))
    }
}

/// Has `use_it` look at the first word of a page of ours, wherever the page lies; `false` where it cannot be mapped.
fn with_first_word(vm: &Vm, pfn: Pfn, mut use_it: impl FnMut(*mut u32)) -> bool {
    vm.with_frame(pfn, &mut |bytes| use_it(bytes.as_ptr().cast()))
}

impl MigrationOps for Slots {
    fn isolate_page(&self, pfn: Pfn, slot: u32) -> bool {
        self.get(slot) == Some(pfn)
    }

    fn migrate_page(&self, old: Pfn, new: Pfn, slot: u32) -> Result<(), MoveError> {
        let place = self.place(slot).ok_or(MoveError::Busy)?;
        let vm = VM.get().ok_or(MoveError::Busy)?;
        // SAFETY: both pages are the owner's for the time of the move.
        unsafe { vm.copy_highpage(new, old) }.map_err(|_| MoveError::Busy)?;
        place.store(new.raw(), Relaxed);
        Ok(())
    }

    fn putback_page(&self, _pfn: Pfn, _slot: u32) {}
}

/// Pages of all zones that no caller owns.
fn free_pages(system: &System) -> u32 {
    let zones = system.booted.mm.allocator().zones();
    zones.iter().map(|zone| zone.stats()).map(|stats| stats.managed - stats.allocated).sum()
}

/// An area that is full of the owner's pages; dropped by [`Filled::empty`].
struct Filled<'a> {
    system: &'a System,
    allocator: &'a Zones,
    area: &'static CmaArea<'static, ArmIrq>,
    slots: (Pfn, Order),
    before: u32,
}

impl<'a> Filled<'a> {
    /// Fills the smallest area of the machine; `None` when there is no area, or no room elsewhere for its pages.
    fn smallest(system: &'a System) -> Result<Option<Self>, Failed> {
        let allocator = system.booted.mm.allocator();
        let Some(area) = system.booted.cma.iter().min_by_key(|area| area.frames().pages()) else { return Ok(None) };
        let before = free_pages(system);
        let pages = area.frames().pages();
        if before < 3 * pages {
            return Ok(None);
        }
        // The same one at each test.
        let _ = VM.set(system.vm);
        let order = Order::covering((pages * 4).div_ceil(PAGE_SIZE)).ok_or(Failed)?;
        let slots = allocator.alloc_pages(GfpFlags::GFP_KERNEL, order).map_err(|_| Failed)?;
        OWNER.first.store(slots.raw(), Relaxed);
        OWNER.count.store(pages, Relaxed);
        let filled = Self { system, allocator, area, slots: (slots, order), before };
        filled.fill()?;
        Ok(Some(filled))
    }

    fn frames(&self) -> PfnRange {
        self.area.frames()
    }

    /// Takes every movable page there is, keeps those in the area, and frees the others.
    fn fill(&self) -> Verdict {
        let map = self.allocator.map();
        let zone = map.page(self.frames().start).map(|page| page.zone().zone());
        let highmem = if zone == Some(ZoneType::HighMem) { GfpFlags::HIGHMEM } else { GfpFlags::empty() };
        // Below every watermark: lent pages are given out when no others of their type are left.
        let gfp = GfpFlags::MOVABLE | GfpFlags::MEMALLOC | GfpFlags::NOWARN | highmem;
        let mut last = NO_FRAME;
        while let Ok(pfn) = self.allocator.alloc_page(gfp) {
            map.page(pfn).ok_or(Failed)?.set_private(last);
            last = pfn.raw();
        }
        let id = match ID.get() {
            Some(id) => *id,
            None => *ID.set(self.allocator.register_owner(&OWNER).ok_or(Failed)?).map_err(|_| Failed)?,
        };
        let mut slot = 0;
        while last != NO_FRAME {
            let pfn = Pfn::new(last);
            let page = map.page(pfn).ok_or(Failed)?;
            last = page.private();
            page.set_private(0);
            if !self.frames().contains(pfn) {
                check!(self.allocator.free_pages(pfn, Order::ZERO).is_ok(), "free of {pfn}");
                continue;
            }
            OWNER.place(slot).ok_or(Failed)?.store(pfn.raw(), Relaxed);
            // SAFETY: the page is ours.
            let written = with_first_word(self.system.vm, pfn, |word| unsafe { word.write_volatile(!slot) });
            check!(written, "{pfn} cannot be mapped");
            let owned = self.allocator.set_movable(pfn, Order::ZERO, id, slot);
            check!(owned.is_ok(), "{owned:?}");
            slot += 1;
        }
        check!(slot == self.frames().pages(), "only {slot} of the area's pages could be had");
        Ok(())
    }

    /// Each page holds what was written to it, and lies inside the area or not.
    fn check_pages(&self, inside: bool) -> Verdict {
        for slot in 0..self.frames().pages() {
            let pfn = OWNER.get(slot).ok_or(Failed)?;
            check!(self.frames().contains(pfn) == inside, "page {slot} is at {pfn}");
            let mut found = slot;
            // SAFETY: the page is ours.
            let read = with_first_word(self.system.vm, pfn, |word| found = unsafe { word.read_volatile() });
            check!(read && found == !slot, "{pfn}: {found:#x} instead of {:#x}", !slot);
        }
        Ok(())
    }

    /// Frees every page and the slots; every count is as before.
    fn empty(self) -> Verdict {
        for slot in 0..self.frames().pages() {
            let pfn = OWNER.get(slot).ok_or(Failed)?;
            let freed = self.allocator.free_pages(pfn, Order::ZERO);
            check!(freed.is_ok(), "{freed:?}");
        }
        OWNER.count.store(0, Relaxed);
        let freed = self.allocator.free_pages(self.slots.0, self.slots.1);
        check!(freed.is_ok(), "{freed:?}");
        let now = free_pages(self.system);
        check!(now == self.before, "{} pages were free, now {now}", self.before);
        check!(self.system.validate(), "an invariant is broken");
        Ok(())
    }
}

fn a_contiguous_area_full_of_movable_pages_is_taken_whole_and_given_back(system: &System) -> Verdict {
    let Some(filled) = Filled::smallest(system)? else { return Ok(()) };
    let (allocator, area) = (filled.allocator, filled.area);
    let taken = allocator.cma_alloc(area, filled.frames().pages(), Order::LARGEST);
    check!(taken == Ok(filled.frames()), "{taken:?}");
    filled.check_pages(false)?;
    check!(area.used() == filled.frames().pages(), "{} pages are out", area.used());
    check!(system.validate(), "an invariant is broken");
    let released = allocator.cma_release(area, filled.frames());
    check!(released.is_ok(), "{released:?}");
    filled.empty()
}

fn a_pinned_page_keeps_a_contiguous_area_untouched(system: &System) -> Verdict {
    let Some(filled) = Filled::smallest(system)? else { return Ok(()) };
    let (allocator, area) = (filled.allocator, filled.area);
    let pinned = Pfn::new(filled.frames().end.raw() - 1);
    check!(allocator.get_page(pinned).is_ok(), "{pinned} has an owner");
    let refused = allocator.cma_alloc(area, filled.frames().pages(), Order::ZERO);
    let expected = CmaError::Busy(ContigError::Pinned { pfn: pinned, why: Pinned::References(2) });
    check!(refused == Err(expected), "{refused:?}");
    filled.check_pages(true)?;
    check!(allocator.put_page(pinned).is_ok(), "the reference to {pinned}");
    filled.empty()
}
