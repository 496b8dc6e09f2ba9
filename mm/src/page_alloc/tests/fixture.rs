//! A machine with a Normal and a `HighMem` zone that meet inside a pageblock, and a hole.

use core::mem::MaybeUninit;
use core::ops::{Deref, DerefMut};
use core::sync::atomic::AtomicU32;
use std::boxed::Box;
use std::vec::Vec;

use super::super::Core;
use crate::addr::{NodeId, Pfn, PfnRange};
use crate::buddy::model::range;
use crate::gfp::GfpFlags;
use crate::memmap::MemMap;
use crate::order::Order;
use crate::page_alloc::{Needs, Options, PageAllocator, Pageset, PagesetSize, Storage, frame_runs};
use crate::testing::HostIrq;
use crate::zone::{NodePlan, ZoneRef, ZoneSize, ZoneType, Zonelist};

pub(crate) const NORMAL: ZoneRef = ZoneRef { node: NodeId::ZERO, zone: ZoneType::Normal };
pub(crate) const HIGH: ZoneRef = ZoneRef { node: NodeId::ZERO, zone: ZoneType::HighMem };

type Allocator = PageAllocator<'static, HostIrq, Core>;

/// Pages of one machine by what they are.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Totals {
    pub(crate) managed: u32,
    pub(crate) free: u32,
    pub(crate) allocated: u32,
}

/// The allocator of a machine whose memory is never given back.
pub(crate) struct Machine(Allocator);

impl Deref for Machine {
    type Target = Allocator;

    fn deref(&self) -> &Allocator {
        &self.0
    }
}

impl DerefMut for Machine {
    fn deref_mut(&mut self) -> &mut Allocator {
        &mut self.0
    }
}

fn uninit<T>(count: usize) -> &'static mut [MaybeUninit<T>] {
    Box::leak((0..count).map(|_| MaybeUninit::uninit()).collect())
}

/// Normal 0x400-0x1400, HighMem 0x1400-0x1c00 with 100 frames missing from 0x1800. 0x1400 is a pageblock's border,
/// 0x1600 would not be.
pub(crate) fn plan() -> NodePlan {
    let mut zones = [ZoneSize::default(); 4];
    zones[1] = ZoneSize { span: range(0x400, 0x1400), present: 4096, real_size: 4096 };
    zones[2] = ZoneSize { span: range(0x1400, 0x1c00), present: 2048 - 100, real_size: 1948 };
    NodePlan { node: NodeId::ZERO, span: range(0x400, 0x1c00), zones }
}

pub(crate) fn free_memory() -> [PfnRange; 2] {
    [range(0x400, 0x1800), range(0x1800 + 100, 0x1c00)]
}

impl Machine {
    /// Everything is still reserved.
    pub(crate) fn empty() -> Self {
        Self::reserved(Options::default())
    }

    fn reserved(options: Options<'static>) -> Self {
        let plans = [plan()];
        let pages = uninit(MemMap::coverage(plans[0].span).pages() as usize);
        let memory = free_memory().map(|frames| (frames, NodeId::ZERO));
        let map = MemMap::init(pages, plans[0].span, frame_runs(&plans, memory)).unwrap();
        let needs = Needs::of::<Core>(&plans);
        let storage = Storage {
            zones: uninit(needs.zones),
            usemap_words: uninit(needs.usemap_words),
            core_words: uninit(needs.core_words),
        };
        let mut zonelist = Zonelist::default();
        assert!(zonelist.push(HIGH) && zonelist.push(NORMAL));
        Self(PageAllocator::new(map, &plans, &[zonelist], storage, options).unwrap())
    }

    pub(crate) fn with_options(options: Options<'static>) -> Self {
        let mut machine = Self::reserved(options);
        machine.free_all(free_memory(), []).unwrap();
        machine
    }

    /// All memory is free.
    pub(crate) fn full() -> Self {
        Self::with_options(Options::default())
    }

    /// Real pagesets for `cpus` CPUs, small enough that tests see their limits.
    pub(crate) fn with_pagesets(mut self, cpus: usize) -> Self {
        let size = PagesetSize { high: 42, batch: 7 };
        for zone in [NORMAL, HIGH] {
            let set = || {
                let slots: &'static [AtomicU32] =
                    Box::leak((0..Pageset::slots_for(size.high)).map(|_| AtomicU32::new(0)).collect());
                Pageset::new(slots, size).unwrap()
            };
            self.install_pagesets(zone, Box::leak((0..cpus).map(|_| set()).collect())).unwrap();
        }
        self
    }

    pub(crate) fn take_all(&self, gfp: GfpFlags, order: Order) -> Vec<Pfn> {
        core::iter::from_fn(|| self.alloc_pages(gfp, order).ok()).collect()
    }

    pub(crate) fn totals(&self) -> Totals {
        let stats: Vec<_> = self.zones().iter().map(|zone| zone.stats()).collect();
        Totals {
            managed: stats.iter().map(|zone| zone.managed).sum(),
            free: stats.iter().map(|zone| zone.counts.free).sum(),
            allocated: stats.iter().map(|zone| zone.allocated).sum(),
        }
    }
}
