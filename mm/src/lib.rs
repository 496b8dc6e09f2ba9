//! Linux-class memory management for 32-bit ARM (VMSAv7, short descriptors), without `std`.
//!
//! Theory.      Memory has three owners in turn. At first [`memblock`] knows which RAM exists and what is taken, in two
//!              sorted lists. Then the final translation tables ([`paging`], [`layout`]) say where RAM is reached. At
//!              the end every frame has a `Page` in the [`memmap`], and the free ones belong to the zones of the page
//!              allocator ([`page_alloc`]), whose free lists are a [`buddy`] system. Each step is a type that the next
//!              one consumes ([`phase`]), so that nothing is allocated from an owner of before.
//! Picture.
//! ```text
//! EarlyMm ---- paged(layout) ----> PagedMm -------- hand_over(zones, ram) -------> Mm
//! memblock: add, reserve           memblock: alloc                                 alloc_pages, free_pages
//!                                  zone::plan -> memmap -> PageAllocator::new
//! ```
//! Not here.    The device tree and the order of steps (`boot`), registers and interrupts (the kernel, behind the
//!              traits of [`platform`]).
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
//! A kernel of one's own brings three small traits: how frames are reached, how interrupts are masked, which CPU this
//! is. (One that also has its translation tables written brings a fourth, [`platform::TlbControl`].) This is all of it;
//! on the host a piece of heap at `heap` stands for the RAM:
//! ```
//! use core::ptr::NonNull;
//! use mm::addr::{Pfn, PhysAddr, PhysRange};
//! use mm::layout::{LinearMap, PAGE_OFFSET, VirtualLayout};
//! use mm::memblock::{Memblock, Region};
//! use mm::{gfp::GfpFlags, order::Order, page_alloc::OwnedPages, phase::{EarlyMm, Mm, Setup}};
//! use mm::{platform::{IrqControl, PhysMap}, sync::{CpuId, CurrentCpu}};
//! struct Ram { phys: PhysRange, at: usize }
//! unsafe impl PhysMap for Ram {
//!     fn frames_ptr(&self, first: Pfn, pages: u32) -> Option<NonNull<u8>> {
//!         let bytes = PhysRange::sized(first.base(), u64::from(pages) * 4096)?;
//!         let offset = first.base().bytes_since(self.phys.start) as usize;
//!         self.phys.contains_range(bytes).then(|| NonNull::new((self.at + offset) as *mut u8))?
//!     }
//! }
//! struct Cpu; // The only one, and nothing interrupts it.
//! unsafe impl IrqControl for Cpu { type Saved = (); fn save_and_disable() {} unsafe fn restore(_: ()) {} }
//! unsafe impl CurrentCpu for Cpu { fn current_cpu() -> CpuId { CpuId::new(0) } }
//! # // As large as the RAM below, and aligned to a page.
//! # let layout = std::alloc::Layout::from_size_align(16 << 20, 4096).unwrap();
//! # let heap = unsafe { std::alloc::alloc_zeroed(layout) }.expose_provenance();
//!
//! let ram = Ram { phys: PhysRange::sized(PhysAddr::new(0x8000_0000), 16 << 20).unwrap(), at: heap };
//! let (mut memory, mut reserved) = ([Region::EMPTY; 128], [Region::EMPTY; 128]);
//! let mut early = EarlyMm::new(Memblock::new(&mut memory, &mut reserved));
//! early.memblock().add(ram.phys).unwrap(); // What the boot loader tells of RAM, and of what lies in it.
//! early.memblock().reserve(PhysRange::sized(ram.phys.start, 1 << 20).unwrap()).unwrap();
//! let linear = LinearMap::new(PAGE_OFFSET, ram.phys.start, ram.phys.end).unwrap();
//! let mm: Mm<'_, Cpu> = early.paged(VirtualLayout::new(linear)).start(&ram, &Setup::default()).unwrap();
//! let mut page = OwnedPages::alloc(mm.allocator(), GfpFlags::GFP_KERNEL, Order::ZERO).unwrap();
//! page.bytes_mut().unwrap().fill(0x5a);
//! # assert_eq!(page.bytes().unwrap(), [0x5a; 4096]);
//! # drop(page);
//! # let tally = mm.validate().unwrap();
//! # assert_eq!(tally.free + tally.pageset + tally.reserved, 16 << 8);
//! # assert!(tally.reserved > 256 && tally.allocated == 0);
//! ```
//! [`page_alloc`] has the raw functions with Linux's names beside those that own what they allocate
//! ([`page_alloc::OwnedPages`] and its kin); [`phase::PagedMm::start`] is made of steps that can be taken one by one.
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
