//! The others. None of them has migrate types, watermarks or zones, none reports a wrong free, and none has a bulk
//! call.

use std::alloc::Layout;
use std::num::NonZeroUsize;
use std::ptr::NonNull;

use ax_allocator::{BaseAllocator, BitmapPageAllocator, PageAllocator};
use buddy_system_allocator::LockedFrameAllocator;
use frame_alloc::{
    DepotAllocator, NoCpuId, NoInterruptControl, PageSize, PhysRange, PhysicalAllocator, Provenance, RegionInit,
    SummaryBuddyAllocator,
};

use crate::FRAMES;
use crate::workloads::Frames;

const PAGE: usize = 4096;
const BASE: PageSize = PageSize::from_log2(12);
/// Blocks of up to 4 MiB, as ours.
const ORDERS: usize = 11;

/// Frames are pieces of heap whose addresses are their numbers.
struct Heap;

// SAFETY: the pool is one allocation of the heap, leaked, whose provenance is exposed.
unsafe impl Provenance for Heap {
    unsafe fn create(phys: usize) -> NonNull<u8> {
        NonNull::new(std::ptr::with_exposed_provenance_mut(phys)).expect("no frame is at address 0")
    }

    unsafe fn destroy<T>(pointer: NonNull<T>) -> usize {
        pointer.addr().get()
    }
}

type Summary = SummaryBuddyAllocator<ORDERS, Heap>;
/// One CPU; its magazine and the depot at the sizes that are the crate's defaults.
type Depot = DepotAllocator<Summary, NoCpuId, 1, 128, 512, NoInterruptControl>;

struct Summarised<A> {
    inner: Box<A>,
    pool: usize,
    layout: Layout,
}

/// As much memory as ours has for frames, and 4 MiB for what the allocator keeps in the pool itself.
fn summarised<A: RegionInit>(inner: A) -> Summarised<A> {
    let bytes = FRAMES as usize * PAGE + (4 << 20);
    let layout = Layout::from_size_align(bytes, PAGE << (ORDERS - 1)).expect("it fits the host");
    // SAFETY: the size is not 0.
    let pool = unsafe { std::alloc::alloc_zeroed(layout) }.expose_provenance();
    assert_ne!(pool, 0, "the host has memory for the pool");
    let built = Summarised { inner: Box::new(inner), pool, layout };
    let all = [PhysRange { base: pool, len: bytes }];
    // SAFETY: the pool is ours, as large and as aligned as that, and this is the one initialisation.
    unsafe { built.inner.try_init(pool, bytes, &all) }.expect("the pool is whole");
    built
}

pub(crate) fn frame_alloc() -> Box<dyn Frames> {
    Box::new(summarised(Summary::new(BASE)))
}

pub(crate) fn frame_alloc_depot() -> Box<dyn Frames> {
    Box::new(summarised(Depot::new(BASE, Summary::new(BASE))))
}

fn blocks(order: u32) -> NonZeroUsize {
    NonZeroUsize::MIN.saturating_add((1 << order) - 1)
}

impl<A: PhysicalAllocator> Frames for Summarised<A> {
    fn alloc(&mut self, order: u32) -> Option<u32> {
        let address = self.inner.allocate_physical(BASE, blocks(order)).ok()?;
        u32::try_from((address - self.pool) / PAGE).ok()
    }

    fn free(&mut self, frame: u32, order: u32) {
        // SAFETY: the workloads free what they were given, once, with the order that they asked for.
        unsafe { self.inner.deallocate_physical(BASE, blocks(order), self.pool + frame as usize * PAGE) }
    }

    fn bulk(&mut self, _out: &mut [u32]) -> bool {
        false
    }

    fn free_bulk(&mut self, _frames: &[u32]) -> bool {
        false
    }

    fn drain(&mut self) {}
}

impl<A> Drop for Summarised<A> {
    fn drop(&mut self) {
        // SAFETY: the pool came from this layout, and the allocator that uses it is never called again.
        unsafe { std::alloc::dealloc(std::ptr::with_exposed_provenance_mut(self.pool), self.layout) }
    }
}

/// Free blocks in ordered sets on the heap, behind a spin lock.
struct BuddySystem(LockedFrameAllocator<ORDERS>);

pub(crate) fn buddy_system() -> Box<dyn Frames> {
    let inner = LockedFrameAllocator::new();
    inner.lock().add_frame(0, FRAMES as usize);
    Box::new(BuddySystem(inner))
}

impl Frames for BuddySystem {
    fn alloc(&mut self, order: u32) -> Option<u32> {
        self.0.lock().alloc(1 << order).and_then(|frame| u32::try_from(frame).ok())
    }

    fn free(&mut self, frame: u32, order: u32) {
        self.0.lock().dealloc(frame as usize, 1 << order);
    }

    fn bulk(&mut self, _out: &mut [u32]) -> bool {
        false
    }

    fn free_bulk(&mut self, _frames: &[u32]) -> bool {
        false
    }

    fn drain(&mut self) {}
}

/// A tree of bitmaps, without a lock: the caller brings one, which is not counted here.
struct Bitmap(Box<BitmapPageAllocator<PAGE>>);

pub(crate) fn ax_bitmap() -> Box<dyn Frames> {
    let mut inner = Box::new(BitmapPageAllocator::new());
    // From address 0 on, so that page 0 is frame 0.
    inner.init(0, FRAMES as usize * PAGE);
    Box::new(Bitmap(inner))
}

impl Frames for Bitmap {
    fn alloc(&mut self, order: u32) -> Option<u32> {
        let address = self.0.alloc_pages(1 << order, PAGE << order).ok()?;
        u32::try_from(address / PAGE).ok()
    }

    fn free(&mut self, frame: u32, order: u32) {
        self.0.dealloc_pages(frame as usize * PAGE, 1 << order);
    }

    fn bulk(&mut self, _out: &mut [u32]) -> bool {
        false
    }

    fn free_bulk(&mut self, _frames: &[u32]) -> bool {
        false
    }

    fn drain(&mut self) {}
}
