//! Page owner: who allocated each block, and who freed it.
//!
//! Theory.      A record a frame, written for heads, in memory that is taken at boot when it is switched on. A record
//!              outlives the block, so that a write after a free can be laid at somebody's door; the last frees stand
//!              in a ring besides, in their order.
//! Source.      Linux: mm/page_owner.c (`__set_page_owner`, `__reset_page_owner`, `print_page_owner`).

use core::fmt;
use core::panic::Location;
use core::sync::atomic::Ordering::{Acquire, Relaxed, Release};
use core::sync::atomic::{AtomicPtr, AtomicU32};

use crate::addr::{Pfn, PfnRange};
use crate::buddy::FreeCore;
use crate::gfp::GfpFlags;
use crate::memmap::PageState;
use crate::migrate::MigrateType;
use crate::order::Order;
use crate::page_alloc::PageAllocator;
use crate::sync::CurrentCpu;

/// A place in the source, or none yet.
#[derive(Debug, Default)]
struct CallSite(AtomicPtr<Location<'static>>);

impl CallSite {
    fn set(&self, caller: &'static Location<'static>) {
        self.0.store(core::ptr::from_ref(caller).cast_mut(), Release);
    }

    fn clear(&self) {
        self.0.store(core::ptr::null_mut(), Release);
    }

    fn get(&self) -> Option<&'static Location<'static>> {
        // SAFETY: valid because only `set` stores a pointer that is not null, and it has it from a `&'static`.
        unsafe { self.0.load(Acquire).as_ref() }
    }
}

/// What is known of the block that a frame heads, or headed last.
#[derive(Debug, Default)]
pub struct OwnerRecord {
    order: AtomicU32,
    gfp: AtomicU32,
    /// The number of the allocation among all: its time.
    time: AtomicU32,
    allocated: CallSite,
    freed: CallSite,
}

/// One of the last frees.
#[derive(Debug, Default)]
pub struct FreeRecord {
    pfn: AtomicU32,
    order: AtomicU32,
    time: AtomicU32,
    caller: CallSite,
}

/// The records of all frames, and the last frees.
#[derive(Debug)]
pub struct PageOwner<'m> {
    records: &'m [OwnerRecord],
    frames: PfnRange,
    frees: &'m [FreeRecord],
    next_free: AtomicU32,
    time: AtomicU32,
}

impl<'m> PageOwner<'m> {
    /// Records for `frames` in `records`, one each, and for as many frees as `frees` has; `None` when `records` are
    /// fewer or there is none for a free.
    #[must_use]
    pub fn new(frames: PfnRange, records: &'m [OwnerRecord], frees: &'m [FreeRecord]) -> Option<Self> {
        let records = records.get(..frames.pages() as usize).filter(|_| !frees.is_empty())?;
        Some(Self { records, frames, frees, next_free: AtomicU32::new(0), time: AtomicU32::new(1) })
    }

    fn record(&self, pfn: Pfn) -> Option<&OwnerRecord> {
        self.frames.contains(pfn).then(|| self.records.get(pfn.pages_since(self.frames.start) as usize))?
    }

    fn tick(&self) -> u32 {
        self.time.fetch_add(1, Relaxed)
    }

    pub(super) fn allocated(&self, pfn: Pfn, order: Order, gfp: GfpFlags, caller: &'static Location<'static>) {
        let Some(record) = self.record(pfn) else { return };
        record.order.store(u32::from(order.raw()), Relaxed);
        record.gfp.store(gfp.bits(), Relaxed);
        record.time.store(self.tick(), Relaxed);
        record.freed.clear();
        record.allocated.set(caller);
    }

    /// The block at `old` lies at `new` now (Linux: `__copy_page_owner`).
    pub(super) fn moved(&self, old: Pfn, new: Pfn) {
        let (Some(from), Some(to)) = (self.record(old), self.record(new)) else { return };
        for (source, target) in [(&from.order, &to.order), (&from.gfp, &to.gfp), (&from.time, &to.time)] {
            target.store(source.load(Relaxed), Relaxed);
        }
        to.freed.clear();
        if let Some(caller) = from.allocated.get() {
            to.allocated.set(caller);
        }
    }

    /// Each page of the block at `pfn` is one of its own now (Linux: `split_page_owner`).
    pub(super) fn split(&self, pfn: Pfn, order: Order) {
        let Some(head) = self.record(pfn) else { return };
        head.order.store(0, Relaxed);
        for tail in (1..order.pages()).map(|offset| Pfn::new(pfn.raw() | offset)) {
            self.moved(pfn, tail);
        }
    }

    pub(super) fn freed(&self, pfn: Pfn, order: Order, caller: &'static Location<'static>) {
        if let Some(record) = self.record(pfn) {
            record.freed.set(caller);
        }
        let number = self.next_free.fetch_add(1, Relaxed) as usize;
        let Some(place) = self.frees.get(number % self.frees.len()) else { return };
        place.pfn.store(pfn.raw(), Relaxed);
        place.order.store(u32::from(order.raw()), Relaxed);
        place.time.store(self.tick(), Relaxed);
        place.caller.set(caller);
    }

    /// Who allocated the block that `pfn` heads, or headed last; `None` when nobody did while records were kept.
    #[must_use]
    pub fn allocated_by(&self, pfn: Pfn) -> Option<&'static Location<'static>> {
        self.record(pfn)?.allocated.get()
    }

    /// Who freed the block that `pfn` headed last; `None` while it is allocated.
    #[must_use]
    pub fn freed_by(&self, pfn: Pfn) -> Option<&'static Location<'static>> {
        self.record(pfn)?.freed.get()
    }

    /// The frame's record, to be printed.
    #[must_use]
    pub fn record_of(&self, pfn: Pfn) -> RecordLine<'_> {
        RecordLine(self.record(pfn))
    }

    /// The last frees, the latest first: frame, order, time, who.
    pub fn recent_frees(&self) -> impl Iterator<Item = (Pfn, u32, u32, &'static Location<'static>)> + '_ {
        let (next, len) = (self.next_free.load(Relaxed) as usize, self.frees.len());
        (1..=next.min(len)).filter_map(move |back| {
            let record = self.frees.get((next - back) % len)?;
            let (order, time) = (record.order.load(Relaxed), record.time.load(Relaxed));
            Some((Pfn::new(record.pfn.load(Relaxed)), order, time, record.caller.get()?))
        })
    }
}

/// A record in a line.
#[derive(Debug)]
pub struct RecordLine<'a>(Option<&'a OwnerRecord>);

impl fmt::Display for RecordLine<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Some((record, caller)) = self.0.and_then(|record| Some((record, record.allocated.get()?))) else {
            return f.write_str("page_owner: no record");
        };
        let (order, gfp, time) = (&record.order, &record.gfp, &record.time);
        let (order, gfp, time) = (order.load(Relaxed), gfp.load(Relaxed), time.load(Relaxed));
        write!(f, "page_owner: allocated via order {order}, mask {gfp:#x}, time {time}, by {caller}")?;
        match record.freed.get() {
            Some(caller) => write!(f, "; freed by {caller}"),
            None => Ok(()),
        }
    }
}

/// Every allocated block that has a record, as Linux's `/sys/kernel/debug/page_owner` lists them, and the last frees.
pub struct PageOwnerInfo<'a, 'm, M: CurrentCpu, C>(pub &'a PageAllocator<'m, M, C>);

impl<'m, M: CurrentCpu, C: FreeCore<'m>> fmt::Display for PageOwnerInfo<'_, 'm, M, C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Some(records) = self.0.page_owner() else { return Ok(()) };
        for pfn in records.frames.iter() {
            let Some(PageState::Allocated(order) | PageState::Owned(order) | PageState::Slab(order)) =
                self.0.map.page(pfn).and_then(|page| page.word().head_state())
            else {
                continue;
            };
            let Some(caller) = records.allocated_by(pfn) else { continue };
            let Some(record) = records.record(pfn).filter(|record| record.freed.get().is_none()) else { continue };
            let gfp = GfpFlags::from_bits_retain(record.gfp.load(Relaxed));
            let kind = gfp.migrate_type().unwrap_or(MigrateType::Unmovable).name();
            let time = record.time.load(Relaxed);
            writeln!(f, "Page allocated via order {}, mask {:#x}, time {time}", order.raw(), gfp.bits())?;
            let zone = self.0.map.page(pfn).and_then(|page| self.0.zone_tagged(page.zone()));
            let block = zone.map_or("none", |zone| zone.block_type(pfn).name());
            writeln!(f, "PFN {pfn} type {kind} Block {} type {block}\n {caller}\n", pfn.raw() >> 10)?;
        }
        for (pfn, order, time, caller) in records.recent_frees() {
            writeln!(f, "Page freed: PFN {pfn} order {order}, time {time}, by {caller}")?;
        }
        Ok(())
    }
}

impl<M: CurrentCpu, C> fmt::Debug for PageOwnerInfo<'_, '_, M, C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("PageOwnerInfo")
    }
}
