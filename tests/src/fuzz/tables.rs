//! Translation tables in fake RAM, frames for them, and the MMU that judges them.

use std::collections::BTreeSet;

use mm::addr::{PAGE_SIZE, Pfn, PhysAddr, PhysRange};
use mm::order::Order;
use mm::paging::model::ModelMmu;
use mm::paging::{Editor, Mapper, TableSource, Tables};
use mm::testing::{CountingTlb, FakeRam};
use mm::vmalloc::FrameSource;

/// The first-level table.
const ROOT: u64 = 0x4000_0000;
/// The frames behind it, for tables and for areas.
const FIRST: u32 = 0x4_0010;

/// A page of RAM that has the tables, and `frames` frames more.
pub(super) fn ram(frames: u32) -> FakeRam {
    let end = u64::from(FIRST + frames) * u64::from(PAGE_SIZE);
    FakeRam::new(&[PhysRange::new(PhysAddr::new(ROOT), PhysAddr::new(end))])
}

/// Runs `body` with a mapper of empty tables in `ram`.
pub(super) fn with_mapper(ram: &FakeRam, body: impl FnOnce(&mut Mapper<'_, FakeRam, CountingTlb>)) {
    let tlb = CountingTlb::default();
    // SAFETY: the frames serve as tables only, and of these nobody else knows.
    let tables = unsafe { Tables::new(ram, PhysAddr::new(ROOT)) }.unwrap();
    // SAFETY: the only editor; no MMU walks these tables.
    body(&mut Mapper::new(unsafe { Editor::new(tables, &tlb) }));
}

/// The MMU over the tables in `ram`, with the registers as the image sets them.
pub(super) fn mmu(ram: &FakeRam) -> ModelMmu<'_, FakeRam> {
    ModelMmu { ram, ttbr: ROOT, prrr: 0xff0a_81a8, nmrr: 0x40e0_40e0, dacr: 1 }
}

/// A page allocator of a few lines: single frames that are free.
#[derive(Debug)]
pub(super) struct Frames {
    free: BTreeSet<u32>,
    total: usize,
}

impl Frames {
    pub(super) fn new(frames: u32) -> Self {
        Self { free: (FIRST..FIRST + frames).collect(), total: frames as usize }
    }

    pub(super) fn taken(&self) -> usize {
        self.total - self.free.len()
    }

    fn take(&mut self, order: Order) -> Option<Pfn> {
        let pages = order.pages();
        let is_whole = |first: &u32| {
            first.is_multiple_of(pages) && self.free.range(*first..first + pages).count() == pages as usize
        };
        let first = self.free.iter().copied().find(is_whole)?;
        (first..first + pages).for_each(|pfn| assert!(self.free.remove(&pfn)));
        Some(Pfn::new(first))
    }

    fn give(&mut self, first: Pfn, order: Order) {
        assert!(order.aligns(first));
        (first.raw()..first.raw() + order.pages())
            .for_each(|pfn| assert!(self.free.insert(pfn), "freed twice: {pfn:#x}"));
    }
}

impl TableSource for Frames {
    fn take_table(&mut self) -> Option<PhysAddr> {
        self.take(Order::ZERO).map(Pfn::base)
    }

    fn give_back(&mut self, table: PhysAddr) {
        self.give(Pfn::containing(table).unwrap(), Order::ZERO);
    }
}

impl FrameSource for Frames {
    fn alloc_blocks(&mut self, order: Order, out: &mut [Pfn]) -> usize {
        let mut had = 0;
        for place in out {
            let Some(pfn) = self.take(order) else { break };
            *place = pfn;
            had += 1;
        }
        had
    }

    fn free_blocks(&mut self, order: Order, blocks: &[Pfn]) {
        blocks.iter().for_each(|block| self.give(*block, order));
    }
}
