//! What is out: slots of three words each, in memory of their own.

use core::sync::atomic::AtomicU32;
use core::sync::atomic::Ordering::Relaxed;

use mm::addr::{PAGE_SIZE, Pfn, PfnRange, VirtAddr};
use mm::gfp::GfpFlags;
use mm::order::Order;
use mm::platform::PhysMap;
use mm::sync::InitOnce;

use super::Defect;
use super::owner::{self, Owner};
use crate::ram::RAM;
use crate::system::System;

/// What one slot holds.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Held {
    /// Nothing.
    Nothing,
    /// A block of pages.
    Block(Pfn, Order),
    /// A page that may be moved: its owner is [`Owner`].
    Movable(Pfn),
    /// Pages in a row, each freed alone.
    Exact(PfnRange),
    /// Pages of the contiguous area of this number.
    Contiguous(u32, PfnRange),
    /// Memory of vmalloc, so many bytes.
    Area(VirtAddr, u32),
    /// A page, mapped once more at an address of vmalloc's.
    Window(VirtAddr, Pfn),
    /// A device.
    Device(VirtAddr),
    /// A page that has an address for all CPUs.
    Mapped(Pfn),
}

impl Held {
    fn words(self) -> [u32; 3] {
        match self {
            Self::Nothing => [0, 0, 0],
            Self::Block(pfn, order) => [1 | order.log2() << 8, pfn.raw(), 0],
            Self::Movable(pfn) => [2, pfn.raw(), 0],
            Self::Exact(range) => [3, range.start.raw(), range.end.raw()],
            Self::Contiguous(area, range) => [4 | area << 8, range.start.raw(), range.end.raw()],
            Self::Area(va, bytes) => [5, va.raw(), bytes],
            Self::Window(va, pfn) => [6, va.raw(), pfn.raw()],
            Self::Device(va) => [7, va.raw(), 0],
            Self::Mapped(pfn) => [8, pfn.raw(), 0],
        }
    }

    fn of([head, first, second]: [u32; 3]) -> Self {
        let range = PfnRange::new(Pfn::new(first), Pfn::new(second));
        let small = head >> 8;
        match head & 0xff {
            1 => match u8::try_from(small).ok().and_then(Order::new) {
                Some(order) => Self::Block(Pfn::new(first), order),
                None => Self::Nothing,
            },
            2 => Self::Movable(Pfn::new(first)),
            3 => Self::Exact(range),
            4 => Self::Contiguous(small, range),
            5 => Self::Area(VirtAddr::new(first), second),
            6 => Self::Window(VirtAddr::new(first), Pfn::new(second)),
            7 => Self::Device(VirtAddr::new(first)),
            8 => Self::Mapped(Pfn::new(first)),
            _ => Self::Nothing,
        }
    }
}

/// The slots. A page's owner changes them in the middle of an allocation: their words are atomics.
#[derive(Debug)]
pub(super) struct Table(&'static [[AtomicU32; 3]]);

static TABLE: InitOnce<Table> = InitOnce::new();

/// Pages of the machine for each slot. Half of the slots are full in the mean, with six pages each.
const PAGES_PER_SLOT: u32 = 3;
/// Of a slot's three words.
const SLOT_BYTES: u32 = 3 * u32::BITS / 8;

impl Table {
    /// The table, and the owner of what may be moved. It stays: what comes after only compares counts.
    pub(super) fn start(system: &System) -> Result<&'static Self, Defect> {
        let allocator = system.booted.mm.allocator();
        let pages: u32 = allocator.zones().iter().map(|zone| zone.stats().managed).sum();
        let bytes = (pages / PAGES_PER_SLOT).saturating_mul(SLOT_BYTES);
        let order = Order::covering(bytes.div_ceil(PAGE_SIZE)).unwrap_or(Order::LARGEST);
        let found = allocator.alloc_pages(GfpFlags::GFP_KERNEL | GfpFlags::ZERO, order);
        let Some(place) = found.ok().and_then(|block| RAM.frames_ptr(block, order.pages())) else {
            log::error!("torture: no memory for a table of {bytes} bytes");
            return Err(Defect);
        };
        let slots = (order.pages() * PAGE_SIZE / SLOT_BYTES) as usize;
        // SAFETY: the block was just allocated from lowmem and zeroed, is never freed, and holds that many slots.
        let slots = unsafe { core::slice::from_raw_parts(place.cast::<[AtomicU32; 3]>().as_ptr(), slots) };
        let Ok(table) = TABLE.set(Self(slots)) else {
            log::error!("torture: it runs once a boot");
            return Err(Defect);
        };
        owner::start(Owner { table, vm: system.vm }, allocator)?;
        Ok(table)
    }

    /// How many slots there are.
    pub(super) fn len(&self) -> u32 {
        u32::try_from(self.0.len()).unwrap_or(u32::MAX)
    }

    /// What `slot` holds.
    pub(super) fn get(&self, slot: u32) -> Held {
        self.0
            .get(slot as usize)
            .map_or(Held::Nothing, |words| Held::of(words.each_ref().map(|word| word.load(Relaxed))))
    }

    /// Puts `held` into `slot`.
    pub(super) fn set(&self, slot: u32, held: Held) {
        let Some(words) = self.0.get(slot as usize) else { return };
        for (place, word) in words.iter().zip(held.words()) {
            place.store(word, Relaxed);
        }
    }
}
