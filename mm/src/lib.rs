//! Linux-class memory management for 32-bit ARM (VMSAv7, short descriptors), without `std`.
//!
//! Theory.      Memory has three owners in turn. At first [`memblock`] knows which RAM exists and what is taken, in two
//!              sorted lists. Then the final translation tables ([`paging`], [`layout`]) say where RAM is reached. At the
//!              end every frame has a `Page` in the [`memmap`], and the free ones belong to the zones of the page
//!              allocator ([`page_alloc`]), whose free lists are a [`buddy`] system. Each step is a type that the next
//!              one consumes ([`phase`]), so that nothing is allocated from an owner of before.
//! Picture.
//! ```text
//! EarlyMm ---- paged(layout) ----> PagedMm -------- hand_over(zones, ram) -------> Mm
//! memblock: add, reserve           memblock: alloc                                 alloc_pages, free_pages
//!                                  zone::plan -> memmap -> PageAllocator::new
//! ```
//! Not here.    The device tree and the order of steps (`boot`), registers and interrupts (the kernel, behind the traits
//!              of [`platform`]).
//!
//! | module | what it is |
//! | --- | --- |
//! | [`addr`], [`order`] | addresses, frame numbers, ranges, block sizes: types that carry the unit |
//! | [`platform`], [`sync`] | what a machine provides; locks, the current CPU |
//! | [`memblock`] | the early allocator |
//! | [`layout`], [`paging`] | the address space; translation tables, written, walked, audited |
//! | [`zone`] | nodes and zones: the plan, fallback order, watermarks' sizes |
//! | [`memmap`], [`migrate`] | a `Page` for each frame; kinds of pageblocks |
//! | [`buddy`], [`page_alloc`], [`gfp`] | free lists of one zone; the allocator over all zones; its flags |
//! | [`vmalloc`], [`highmem`] | addresses beyond the linear map: areas; windows on frames that have no address |
//! | [`space`] | user halves: their tables, rights and ASIDs |
//! | [`percpu`] | the per-CPU areas' first chunk |
//! | [`phase`] | the steps as types |
//! | [`vmstat`] | counters that several CPUs write |
//! | [`report`], [`trace`], [`fault`] | Linux's tables of numbers; what the allocator did; what an abort was |
//!
//! A kernel of one's own brings a `PhysMap` (how frames are reached) and a `CurrentCpu` (how interrupts are masked); on the
//! host `testing` has both:
//! ```
//! use core::mem::MaybeUninit;
//! use mm::addr::{NodeId, Pfn, PhysAddr, PhysRange};
//! use mm::layout::{LinearMap, PAGE_OFFSET, VirtualLayout};
//! use mm::memblock::{Memblock, Region};
//! use mm::memmap::MemMap;
//! use mm::page_alloc::{DefaultCore, Needs, Options, PageAllocator, Storage, frame_runs};
//! use mm::testing::{FakeRam, HostIrq};
//! use mm::zone::plan::{MachinePlan, MemoryRange, PlanRequest};
//! use mm::zone::{NodeSet, zonelist::{Topology, ZonelistOrder, Zonelists}};
//! use mm::{gfp::GfpFlags, order::Order, phase::EarlyMm};
//!
//! // On metal this comes from `Memblock::alloc`.
//! fn take<T>(count: usize) -> &'static mut [MaybeUninit<T>] {
//!     Box::leak((0..count).map(|_| MaybeUninit::uninit()).collect())
//! }
//!
//! // RAM, and what of it is taken already.
//! let bytes = PhysRange::sized(PhysAddr::new(0x8000_0000), 16 << 20).unwrap();
//! let ram: &FakeRam = Box::leak(Box::new(FakeRam::new(&[bytes])));
//! let lists = || Box::leak(Box::new([Region::EMPTY; 128])).as_mut_slice();
//! let mut early = EarlyMm::new(Memblock::new(lists(), lists()));
//! early.memblock().add(bytes).unwrap();
//! early.memblock().reserve(PhysRange::sized(bytes.start, 1 << 20).unwrap()).unwrap();
//!
//! // Translation tables would be written here; then zones are planned, and each frame gets its page.
//! let paged = early.paged(VirtualLayout::new(LinearMap::new(PAGE_OFFSET, bytes.start, bytes.end).unwrap()));
//! let ranges = [MemoryRange::of_bytes(bytes, NodeId::ZERO)];
//! let plan = MachinePlan::new(ranges.iter().copied(), &PlanRequest::new(Pfn::containing(bytes.end).unwrap())).unwrap();
//! let lists = Zonelists::build(plan.nodes(), &Topology::new(NodeSet::of(NodeId::ZERO)), ZonelistOrder::Default);
//! let span = bytes.whole_frames();
//! let pages = take(MemMap::coverage(span).pages() as usize);
//! let map = MemMap::init(pages, span, frame_runs(plan.nodes(), [(span, NodeId::ZERO)])).unwrap();
//!
//! // The allocator, still without a free page; the hand-over gives it what memblock has.
//! let needs = Needs::of::<DefaultCore<'_>>(plan.nodes());
//! let (zones, usemap_bytes, core_words) = (take(needs.zones), take(needs.usemap_bytes), take(needs.core_words));
//! let list = lists.node(NodeId::ZERO).unwrap().general;
//! let options = Options { ram: Some(ram), ..Options::default() };
//! let zones = Storage { zones, usemap_bytes, core_words };
//! let zones = PageAllocator::<HostIrq>::new(map, plan.nodes(), &[list], zones, options).unwrap();
//! let mm = paged.hand_over(zones, ram, &mut || ()).unwrap();
//!
//! let page = mm.allocator().alloc_pages(GfpFlags::GFP_KERNEL | GfpFlags::ZERO, Order::ZERO).unwrap();
//! mm.allocator().free_pages(page, Order::ZERO).unwrap();
//! let pages = mm.validate().unwrap();
//! // A page holds the copy of memblock's lists that stays.
//! assert_eq!(pages.free + pages.pageset, (15 << 20) / 4096 - 1);
//! ```
#![cfg_attr(not(any(test, feature = "testing")), no_std)]

pub mod addr;
pub mod buddy;
pub mod fault;
pub mod gfp;
pub mod highmem;
pub mod layout;
pub mod memblock;
pub mod memmap;
pub mod migrate;
pub mod order;
pub mod page_alloc;
pub mod paging;
pub mod percpu;
pub mod phase;
pub mod platform;
pub mod report;
pub mod space;
pub mod sync;
#[cfg(any(test, feature = "testing"))]
pub mod testing;
pub mod trace;
pub mod vmalloc;
pub mod vmstat;
pub mod zone;
