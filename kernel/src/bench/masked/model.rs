//! The page allocator that is timed, over a zone that is not there, and the memory that it takes.

use core::mem::MaybeUninit;
use core::sync::atomic::AtomicU32;

use mm::addr::{NodeId, PAGE_SIZE, Pfn, PfnRange};
use mm::gfp::GfpFlags;
use mm::memmap::{MemMap, Page};
use mm::order::Order;
use mm::page_alloc::{DefaultCore, Needs, Options, PageAllocator, Pageset, PagesetSize, Policies, Storage, frame_runs};
use mm::platform::PhysMap;
use mm::zone::{NodePlan, ZoneRef, ZoneSize, ZoneType, Zonelist};

use super::TimedIrq;
use crate::ram::RAM;
use crate::system::Zones;

pub(super) type Model = PageAllocator<'static, TimedIrq, DefaultCore<'static>>;

/// Pages of the zone that is not there: 128 MiB.
pub(super) const PAGES: u32 = 32 * 1024;
/// The contiguous-memory area in it: the last 8 MiB.
pub(super) const AREA: PfnRange = PfnRange::new(Pfn::new(PAGES - 2048), Pfn::new(PAGES));
/// The zone's name.
pub(super) const NORMAL: ZoneRef = ZoneRef { node: NodeId::ZERO, zone: ZoneType::Normal };
/// What a pageset of a large zone has.
pub(super) const SIZE: PagesetSize = PagesetSize { high: 186, batch: 31 };

/// Memory of the machine's allocator for the model.
pub(super) struct Lender<'a> {
    zones: &'a Zones,
    lent: [Option<(Pfn, Order)>; LOANS],
}

/// Arrays that the model needs.
const LOANS: usize = 12;

impl<'a> Lender<'a> {
    pub(super) fn new(zones: &'a Zones) -> Self {
        Self { zones, lent: [None; LOANS] }
    }

    /// Room for `len` values.
    pub(super) fn lend<T>(&mut self, len: usize) -> Option<&'static mut [MaybeUninit<T>]> {
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

    /// A value that lives as long as the loan.
    pub(super) fn place<T>(&mut self, value: T) -> Option<&'static T> {
        Some(self.lend::<T>(1)?.first_mut()?.write(value))
    }

    pub(super) fn take_back(&mut self) {
        for (block, order) in self.lent.iter_mut().filter_map(Option::take) {
            // A refused free would have been reported on the console by the allocator.
            let _ = self.zones.free_pages(block, order);
        }
    }
}

/// An allocator with these policies over the zone that is not there; [`AREA`] is still reserved.
pub(super) fn model(lender: &mut Lender<'_>, policies: Policies) -> Option<Model> {
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
    let mut model = Model::new(map, &plans, &[zonelist], storage, Options { policies, ..Options::default() }).ok()?;
    model.free_all([PfnRange::new(span.start, AREA.start)], []).ok()?;
    let slots = filled(lender.lend(Pageset::SLOTS)?, || AtomicU32::new(0));
    let set = Pageset::new(slots, SIZE.for_core::<DefaultCore<'_>>())?;
    let sets = core::slice::from_ref(lender.place(set)?);
    model.install_pagesets(NORMAL, sets).ok()?;
    Some(model)
}

/// Writes what `value` makes everywhere.
pub(super) fn filled<T>(places: &'static mut [MaybeUninit<T>], value: impl Fn() -> T) -> &'static mut [T] {
    for place in places.iter_mut() {
        place.write(value());
    }
    // SAFETY: the loop wrote each place.
    unsafe { places.assume_init_mut() }
}
