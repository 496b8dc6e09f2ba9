//! The longest time with interrupts masked in the page allocator.
//!
//! Method.      A second page allocator, of the same core and the same code, runs over a zone of 512 MiB that is not
//!              there: the allocator never touches the pages that it hands out. Its interrupt mask is one that reads
//!              the cycle counter when the outermost mask is set and when it is taken back, and keeps the longest
//!              difference. The machine's own allocator has no part of that, and pays nothing for it. The workload:
//!              bursts of single pages freed in random order, blocks of every order and type until memory runs out and
//!              in part back again, four times over, bulk calls, draining, and the reading of all counts. The two
//!              readings (some ten instructions) are part of the figure.

use core::hint::black_box;
use core::mem::MaybeUninit;
use core::sync::atomic::AtomicU32;
use core::sync::atomic::Ordering::Relaxed;

use mm::addr::{NodeId, PAGE_SIZE, Pfn, PfnRange};
use mm::gfp::GfpFlags;
use mm::memmap::{MemMap, Page};
use mm::order::Order;
use mm::page_alloc::{DefaultCore, Needs, Options, PageAllocator, Pageset, PagesetSize, Storage, frame_runs};
use mm::platform::{IrqControl, PhysMap};
use mm::sync::{CpuId, CurrentCpu};
use mm::zone::{NodePlan, ZoneRef, ZoneSize, ZoneType, Zonelist};

use super::Wanted;
use super::pages::order_of;
use super::rng::Xorshift32;
use crate::arch::armv7::clock;
use crate::arch::armv7::irq::ArmIrq;
use crate::ram::RAM;
use crate::system::{System, Zones};

/// Masks as [`ArmIrq`] does, and times it.
struct TimedIrq;

/// How deep masks are nested, and when the outermost one was set: one CPU runs the benches.
static DEPTH: AtomicU32 = AtomicU32::new(0);
static SINCE: AtomicU32 = AtomicU32::new(0);
/// The longest time, in ticks of the cycle counter.
static LONGEST: AtomicU32 = AtomicU32::new(0);

// SAFETY: the masking is `ArmIrq`'s.
unsafe impl IrqControl for TimedIrq {
    type Saved = <ArmIrq as IrqControl>::Saved;

    fn save_and_disable() -> Self::Saved {
        let saved = ArmIrq::save_and_disable();
        let depth = DEPTH.load(Relaxed);
        DEPTH.store(depth + 1, Relaxed);
        if depth == 0 {
            SINCE.store(clock::cycles().unwrap_or(0), Relaxed);
        }
        saved
    }

    unsafe fn restore(saved: Self::Saved) {
        let depth = DEPTH.load(Relaxed).saturating_sub(1);
        DEPTH.store(depth, Relaxed);
        if depth == 0 {
            let time = clock::cycles().unwrap_or(0).wrapping_sub(SINCE.load(Relaxed));
            LONGEST.store(LONGEST.load(Relaxed).max(time), Relaxed);
        }
        // SAFETY: the caller's promise is `ArmIrq`'s condition.
        unsafe { ArmIrq::restore(saved) }
    }
}

// SAFETY: the number is `ArmIrq`'s.
unsafe impl CurrentCpu for TimedIrq {
    fn current_cpu() -> CpuId {
        ArmIrq::current_cpu()
    }
}

type Model = PageAllocator<'static, TimedIrq, DefaultCore<'static>>;

/// Pages of the zone that is not there: 512 MiB.
const PAGES: u32 = 128 * 1024;
const NORMAL: ZoneRef = ZoneRef { node: NodeId::ZERO, zone: ZoneType::Normal };
/// What a pageset of such a zone has.
const SIZE: PagesetSize = PagesetSize { high: 186, batch: 31 };
/// Blocks that are live at most.
const SLOTS: usize = 16_000;

/// Prints the row.
pub(super) fn run(system: &System, wanted: Wanted<'_>) {
    if !wanted.has("irqs_off_max") {
        return;
    }
    let mut lender = Lender { zones: system.booted.mm.allocator(), lent: [None; LOANS] };
    if measure(&mut lender).is_some() {
        wanted.number("irqs_off_max", LONGEST.load(Relaxed));
    } else {
        log::error!("bench: no memory for the model of a zone");
    }
    lender.take_back();
}

/// Memory of the machine's allocator for the model.
struct Lender<'a> {
    zones: &'a Zones,
    lent: [Option<(Pfn, Order)>; LOANS],
}

/// Arrays that the model needs.
const LOANS: usize = 8;

impl Lender<'_> {
    /// Room for `len` values.
    fn lend<T>(&mut self, len: usize) -> Option<&'static mut [MaybeUninit<T>]> {
        let bytes = u32::try_from(len.checked_mul(size_of::<T>())?).ok()?;
        let order = Order::covering(bytes.div_ceil(PAGE_SIZE))?;
        let place = self.lent.iter_mut().find(|place| place.is_none())?;
        let block = self.zones.alloc_pages(GfpFlags::GFP_KERNEL, order).ok()?;
        *place = Some((block, order));
        let first = RAM.frames_ptr(block, order.pages())?.cast::<MaybeUninit<T>>();
        // SAFETY: the block was just allocated, is aligned to a page and large enough; what may be uninitialised needs
        // no value. `take_back` frees it when nothing of the model is used any more.
        Some(unsafe { core::slice::from_raw_parts_mut(first.as_ptr(), len) })
    }

    fn take_back(&mut self) {
        for (block, order) in self.lent.iter_mut().filter_map(Option::take) {
            // A refused free would have been reported on the console by the allocator.
            let _ = self.zones.free_pages(block, order);
        }
    }
}

/// An allocator over the zone that is not there.
fn model(lender: &mut Lender<'_>) -> Option<Model> {
    let span = PfnRange::new(Pfn::new(0), Pfn::new(PAGES));
    let mut zones = [ZoneSize::default(); 4];
    *zones.get_mut(NORMAL.zone.index())? = ZoneSize { span, present: PAGES, real_size: PAGES };
    let plans = [NodePlan { node: NORMAL.node, span, zones }];
    let pages: &mut [MaybeUninit<Page>] = lender.lend(MemMap::coverage(span).pages() as usize)?;
    let map = MemMap::init(pages, span, frame_runs(&plans, [(span, NORMAL.node)])).ok()?;
    let needs = Needs::of::<DefaultCore<'_>>(&plans);
    let storage = Storage {
        zones: lender.lend(needs.zones)?,
        usemap_bytes: lender.lend(needs.usemap_bytes)?,
        core_words: lender.lend(needs.core_words.max(1))?,
    };
    let mut zonelist = Zonelist::default();
    zonelist.push(NORMAL);
    let mut model = Model::new(map, &plans, &[zonelist], storage, Options::default()).ok()?;
    model.free_all([span], []).ok()?;
    let slots = filled(lender.lend(Pageset::SLOTS)?, || AtomicU32::new(0));
    let set = Pageset::new(slots, SIZE.for_core::<DefaultCore<'_>>())?;
    let sets = lender.lend::<Pageset<'static>>(1)?;
    let sets: &'static [Pageset<'static>] = core::slice::from_ref(sets.first_mut()?.write(set));
    model.install_pagesets(NORMAL, sets).ok()?;
    Some(model)
}

/// Writes what `value` makes everywhere.
fn filled<T>(places: &'static mut [MaybeUninit<T>], value: impl Fn() -> T) -> &'static mut [T] {
    for place in places.iter_mut() {
        place.write(value());
    }
    // SAFETY: the loop wrote each place.
    unsafe { places.assume_init_mut() }
}

/// Runs the workload; `None` when there is no memory for it.
fn measure(lender: &mut Lender<'_>) -> Option<()> {
    let model = model(lender)?;
    let live = filled(lender.lend(SLOTS)?, || None);
    DEPTH.store(0, Relaxed);
    LONGEST.store(0, Relaxed);
    let mut chance = Xorshift32::new();
    for _ in 0..4 {
        burst(&model, live, &mut chance);
        fill_and_empty(&model, live, &mut chance);
        bulk(&model);
        model.drain_local();
        model.zones().iter().for_each(|zone| {
            black_box(zone.stats());
        });
    }
    Some(())
}

type Slot = Option<(Pfn, Order)>;

/// Requests of each type.
const KINDS: [GfpFlags; 3] = [GFP, GFP.union(GfpFlags::RECLAIMABLE), GFP.union(GfpFlags::MOVABLE)];
/// A failure is no news here.
const GFP: GfpFlags = GfpFlags::GFP_KERNEL.union(GfpFlags::NOWARN).union(GfpFlags::NORETRY);

fn free(model: &Model, slot: &mut Slot) {
    if let Some((pfn, order)) = slot.take() {
        // A refused free would have been reported on the console by the allocator.
        let _ = model.free_pages(pfn, order);
    }
}

/// Single pages, as many as there are slots, freed in random order.
fn burst(model: &Model, live: &mut [Slot], chance: &mut Xorshift32) {
    for slot in live.iter_mut() {
        *slot = model.alloc_page(GfpFlags::GFP_KERNEL).ok().map(|pfn| (pfn, Order::ZERO));
    }
    for left in (1..=live.len()).rev() {
        live.swap(chance.below(left), left - 1);
        live.get_mut(left - 1).into_iter().for_each(|slot| free(model, slot));
    }
}

/// Blocks of every order and type, more than there is memory for, then half of them back, each in random order; this
/// some times, and at the end all back.
fn fill_and_empty(model: &Model, live: &mut [Slot], chance: &mut Xorshift32) {
    for _ in 0..3 {
        for slot in live.iter_mut().filter(|slot| slot.is_none()) {
            let value = chance.next();
            let gfp = KINDS.get((value >> 16) as usize % KINDS.len()).copied().unwrap_or(GFP);
            let order = order_of(value.trailing_ones());
            *slot = model.alloc_pages(gfp, order).ok().map(|pfn| (pfn, order));
        }
        for _ in 0..live.len() / 2 {
            live.get_mut(chance.below(SLOTS)).into_iter().for_each(|slot| free(model, slot));
        }
    }
    live.iter_mut().for_each(|slot| free(model, slot));
}

/// Pages by one call, and back by one call.
fn bulk(model: &Model) {
    let mut pages = [Pfn::new(0); 512];
    for round in 0..16 {
        let gfp = KINDS.get(round % KINDS.len()).copied().unwrap_or(GFP);
        let taken = model.alloc_pages_bulk(gfp, &mut pages).unwrap_or(0);
        if let Some(pages) = pages.get(..taken) {
            let _ = model.free_pages_bulk(pages);
        }
    }
}
