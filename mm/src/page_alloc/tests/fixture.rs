//! A machine with a Normal and a `HighMem` zone that meet at a pageblock's border, and a hole inside a pageblock.

use core::ops::{Deref, DerefMut};
use std::vec::Vec;

use super::super::Core;
use crate::addr::{NodeId, Pfn, PfnRange};
use crate::buddy::model::range;
use crate::gfp::GfpFlags;
use crate::order::Order;
use crate::page_alloc::tests::build::{allocator_over, give_pagesets};
use crate::page_alloc::{Options, PageAllocator, PagesetSize};
use crate::testing::HostIrq;
use crate::zone::{NodePlan, ZoneRef, ZoneSize, ZoneType};

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

    pub(crate) fn reserved(options: Options<'static>) -> Self {
        Self(allocator_over(plan(), free_memory(), &[HIGH, NORMAL], options))
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
            give_pagesets(&mut self.0, zone, cpus, size);
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
