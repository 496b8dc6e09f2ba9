//! Builds allocators in memory that is never given back.

use core::mem::MaybeUninit;
use core::sync::atomic::AtomicU32;
use std::boxed::Box;
use std::vec::Vec;

use crate::addr::{NodeId, PfnRange};
use crate::buddy::FreeCore;
use crate::memmap::MemMap;
use crate::page_alloc::{Needs, Options, PageAllocator, Pageset, PagesetSize, Storage, frame_runs};
use crate::testing::HostIrq;
use crate::zone::{NodePlan, ZoneRef, Zonelist};

fn uninit<T>(count: usize) -> &'static mut [MaybeUninit<T>] {
    Box::leak((0..count).map(|_| MaybeUninit::uninit()).collect())
}

/// An allocator for one node with `memory`, all of it reserved, that tries `zones` in this order.
pub(super) fn allocator_over<C: FreeCore<'static>>(
    plan: NodePlan,
    memory: impl IntoIterator<Item = PfnRange>,
    zones: &[ZoneRef],
    options: Options<'static>,
) -> PageAllocator<'static, HostIrq, C> {
    let memory = memory.into_iter().map(|frames| (frames, plan.node)).collect();
    allocator_of(&[plan], memory, &[list_of(zones)], options)
}

/// A zonelist.
pub(super) fn list_of(zones: &[ZoneRef]) -> Zonelist {
    let mut zonelist = Zonelist::default();
    assert!(zones.iter().all(|zone| zonelist.push(*zone)));
    zonelist
}

/// An allocator for several nodes with `memory`, all of it reserved.
pub(super) fn allocator_of<C: FreeCore<'static>>(
    plans: &[NodePlan],
    memory: Vec<(PfnRange, NodeId)>,
    zonelists: &[Zonelist],
    options: Options<'static>,
) -> PageAllocator<'static, HostIrq, C> {
    let spans = plans.iter().map(|plan| plan.span);
    let span = spans.reduce(|all, one| PfnRange::new(all.start.min(one.start), all.end.max(one.end))).unwrap();
    let pages = uninit(MemMap::coverage(span).pages() as usize);
    let map = MemMap::init(pages, span, frame_runs(plans, memory)).unwrap();
    let needs = Needs::of::<C>(plans);
    let storage = Storage {
        zones: uninit(needs.zones),
        usemap_bytes: uninit(needs.usemap_bytes),
        core_words: uninit(needs.core_words),
    };
    PageAllocator::new(map, plans, zonelists, storage, options).unwrap()
}

/// Gives a zone a pageset for each of `cpus` CPUs.
pub(super) fn give_pagesets<C: FreeCore<'static>>(
    allocator: &mut PageAllocator<'static, HostIrq, C>,
    zone: ZoneRef,
    cpus: usize,
    size: PagesetSize,
) {
    let set = || {
        let slots: &'static [AtomicU32] = Box::leak((0..Pageset::SLOTS).map(|_| AtomicU32::new(0)).collect());
        Pageset::new(slots, size).unwrap()
    };
    allocator.install_pagesets(zone, Box::leak((0..cpus).map(|_| set()).collect())).unwrap();
}
