//! `mm`'s allocator over each free core: pagesets, watermarks, checked frees, as `PagedMm::start` sets it up.

use std::sync::OnceLock;

use mm::addr::{Pfn, PhysAddr, PhysRange};
use mm::buddy::{Classic, Compact, FreeCore};
use mm::gfp::GfpFlags;
use mm::layout::{LinearMap, PAGE_OFFSET, VirtualLayout};
use mm::memblock::{Memblock, Region};
use mm::order::Order;
use mm::phase::{EarlyMm, Mm, Setup};
use mm::platform::IrqControl;
use mm::sync::{CpuId, CurrentCpu};
use mm::testing::FakeRam;

use crate::FRAMES;
use crate::workloads::Frames;

/// The only CPU; nothing interrupts it.
struct Cpu;

// SAFETY: there are no interrupt handlers.
unsafe impl IrqControl for Cpu {
    type Saved = ();

    fn save_and_disable() {}

    unsafe fn restore((): ()) {}
}

// SAFETY: there is one CPU, the main thread.
unsafe impl CurrentCpu for Cpu {
    fn current_cpu() -> CpuId {
        CpuId::new(0)
    }
}

/// Bytes for the arrays, beside the frames.
const ARRAYS: u64 = 4 << 20;

/// The machine's, whichever allocator has it: the one before is dropped when the next one is built.
static RAM: OnceLock<FakeRam> = OnceLock::new();

struct Ours<C: FreeCore<'static> + 'static> {
    mm: Mm<'static, Cpu, C>,
    /// Where single frames of a bulk are put: the workloads know no `Pfn`.
    numbers: Vec<Pfn>,
}

/// What a kernel asks for its own data; nobody could free memory for it.
const GFP: GfpFlags = GfpFlags::GFP_KERNEL.union(GfpFlags::NOWARN);

fn build<C: FreeCore<'static> + 'static>() -> Box<dyn Frames> {
    let start = PhysAddr::new(0x8000_0000);
    let bytes = PhysRange::new(start, start.saturating_add((u64::from(FRAMES) << 12) + ARRAYS));
    let ram = RAM.get_or_init(|| FakeRam::new(&[bytes]));
    let list = || Box::leak(Box::new([Region::EMPTY; 16])).as_mut_slice();
    let mut early = EarlyMm::new(Memblock::new(list(), list()));
    early.memblock().add(bytes).expect("one region");
    let linear = LinearMap::new(PAGE_OFFSET, bytes.start, bytes.end).expect("lowmem");
    let mm = early.paged(VirtualLayout::new(linear)).start(ram, &Setup::default()).expect("room for the arrays");
    Box::new(Ours::<C> { mm, numbers: vec![Pfn::new(0); 512] })
}

pub(crate) fn classic() -> Box<dyn Frames> {
    build::<Classic<'static>>()
}

pub(crate) fn compact() -> Box<dyn Frames> {
    build::<Compact<'static>>()
}

fn order_of(raw: u32) -> Order {
    Order::of_log2(raw).unwrap_or_default()
}

impl<C: FreeCore<'static> + 'static> Frames for Ours<C> {
    fn alloc(&mut self, order: u32) -> Option<u32> {
        self.mm.allocator().alloc_pages(GFP, order_of(order)).ok().map(Pfn::raw)
    }

    fn free(&mut self, frame: u32, order: u32) {
        self.mm.allocator().free_pages(Pfn::new(frame), order_of(order)).expect("it was allocated");
    }

    fn bulk(&mut self, out: &mut [u32]) -> bool {
        let taken = self.mm.allocator().alloc_pages_bulk(GFP, &mut self.numbers);
        for (place, pfn) in out.iter_mut().zip(&self.numbers) {
            *place = pfn.raw();
        }
        taken == Ok(out.len())
    }

    fn free_bulk(&mut self, frames: &[u32]) -> bool {
        for (place, frame) in self.numbers.iter_mut().zip(frames) {
            *place = Pfn::new(*frame);
        }
        self.mm.allocator().free_pages_bulk(&self.numbers).is_ok()
    }

    fn drain(&mut self) {
        self.mm.allocator().drain_all();
    }
}
