//! vmalloc: frames from anywhere, contiguous by address.
//!
//! Theory.      All blocks of an area have one size: 1 MiB or 64 KiB if the caller allows it and the bytes are a
//!              multiple, else pages. If there are no such blocks, smaller ones are tried. Whatever fails for want of
//!              addresses, nodes or frames is tried again after a purge, since retired areas hold all three.
//! Again.       A retired area of the very size, kind of blocks and protection is mapped again as it was: addresses,
//!              node, frames and tables are all there, and no TLB knows anything else of it.
#![forbid(unsafe_code)]

use core::panic::Location;

use super::error::{VmallocError, check_prot};
use super::info::InfoLine;
use super::node::{Area, AreaKind, NodeStore};
use super::retired::Retired;
use super::tree::Areas;
use crate::addr::{PAGE_SIZE, Pfn, VirtAddr};
use crate::order::Order;
use crate::paging::{MapError, Mapper, PageSize, Prot, TableSource};
use crate::platform::{PhysMap, TlbControl};

/// Blocks that are allocated by one call of the source, and mapped in one go.
const CHUNK: usize = 64;

/// Gives frames for areas, and for tables.
pub trait FrameSource: TableSource {
    /// Fills `out` from its start with blocks of `order`; returns how many there were.
    fn alloc_blocks(&mut self, order: Order, out: &mut [Pfn]) -> usize;

    /// Takes back blocks of `order` that no table and no TLB refers to any more.
    fn free_blocks(&mut self, order: Order, blocks: &[Pfn]);
}

/// What a call works on: the tables, and who gives frames.
#[derive(Debug)]
pub struct Space<'a, 'm, P: ?Sized, T: ?Sized, S> {
    /// Changes the tables.
    pub mapper: &'a mut Mapper<'m, P, T>,
    /// Gives frames.
    pub frames: &'a mut S,
}

/// What is asked of [`Vmalloc::vmalloc`].
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Request {
    /// Bytes, rounded up to pages.
    pub bytes: u32,
    /// Alignment in bytes, a power of two; at least a page is kept.
    pub align: u32,
    /// What the pages allow.
    pub prot: Prot,
    /// The largest blocks that may be used.
    pub largest: PageSize,
}

impl Request {
    /// `bytes` bytes of data, in pages (Linux: `vmalloc`).
    #[must_use]
    pub const fn new(bytes: u32) -> Self {
        Self { bytes, align: PAGE_SIZE, prot: Prot::KERNEL_RW, largest: PageSize::Small }
    }

    /// The same, in large blocks where they fit (Linux: `vmalloc_huge`).
    #[must_use]
    pub const fn large(self) -> Self {
        Self { largest: PageSize::Section, ..self }
    }
}

/// How a [`Vmalloc`] behaves.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Config {
    /// Retired pages beyond which a vfree purges (Linux: `lazy_max_pages`, 8,192 for one CPU).
    pub retired_max: u32,
    /// Whether memory is shared among CPUs (S).
    pub shareable: bool,
}

/// Areas and what is mapped in them.
#[derive(Debug)]
pub struct Vmalloc<N> {
    pub(super) areas: Areas<N>,
    pub(super) config: Config,
    /// The areas that were retired, by size.
    pub(super) retired: Retired,
    pub(super) retired_pages: u32,
}

impl<N: NodeStore> Vmalloc<N> {
    /// Nothing is mapped yet in `areas`.
    #[must_use]
    pub const fn new(areas: Areas<N>, config: Config) -> Self {
        Self { areas, config, retired: Retired::new(), retired_pages: 0 }
    }

    /// The areas, to read and to validate.
    #[must_use]
    pub const fn areas(&self) -> &Areas<N> {
        &self.areas
    }

    /// Pages that wait for a purge.
    #[must_use]
    pub const fn retired_pages(&self) -> u32 {
        self.retired_pages
    }

    /// The lines of `vmallocinfo`, lowest address first.
    pub fn info(&self) -> impl Iterator<Item = InfoLine> {
        self.areas.iter().map(|area| InfoLine(*area))
    }

    /// Allocates `request.bytes` bytes, contiguous by address; their contents are whatever was there.
    ///
    /// Linux: `__vmalloc_node_range`.
    ///
    /// # Errors
    /// [`VmallocError`] with the request's numbers.
    #[track_caller]
    pub fn vmalloc<P, T, S>(
        &mut self,
        space: &mut Space<'_, '_, P, T, S>,
        request: Request,
    ) -> Result<VirtAddr, VmallocError>
    where
        P: PhysMap + ?Sized,
        T: TlbControl + ?Sized,
        S: FrameSource,
    {
        let caller = Location::caller();
        check_prot(request.prot)?;
        let Some(bytes) = request.bytes.checked_next_multiple_of(PAGE_SIZE) else {
            return Err(VmallocError::Size { bytes: request.bytes, align: request.align });
        };
        let request = Request { bytes, prot: request.prot.with_shareable(self.config.shareable), ..request };
        if let Some(va) = self.again(space, request, caller) {
            return Ok(va);
        }
        for block in [PageSize::Section, PageSize::Large] {
            if request.largest >= block
                && bytes.is_multiple_of(block.bytes())
                && let Ok(va) = self.allocate(space, request, block, caller)
            {
                return Ok(va);
            }
        }
        self.purging(space, |this, space| this.allocate(space, request, PageSize::Small, caller))
    }

    /// Gives back the area that [`Vmalloc::vmalloc`] returned. Its addresses fault at once, or when the TLBs forget
    /// them; its frames are freed by a later purge.
    ///
    /// Linux: `vfree`.
    ///
    /// # Errors
    /// [`VmallocError::NoArea`], [`VmallocError::WrongKind`] (twice freed, too); [`VmallocError::Map`] when part of it
    /// is not mapped any more.
    pub fn vfree<P, T, S>(&mut self, space: &mut Space<'_, '_, P, T, S>, va: VirtAddr) -> Result<(), VmallocError>
    where
        P: PhysMap + ?Sized,
        T: TlbControl + ?Sized,
        S: FrameSource,
    {
        let id = self.areas.find_id(va).ok_or(VmallocError::NoArea(va))?;
        let node = self.areas.node_mut(id).ok_or(VmallocError::NoArea(va))?;
        let AreaKind::Vmalloc(block) = node.area.kind else {
            return Err(VmallocError::WrongKind(va, node.area.kind));
        };
        let bytes = node.area.bytes;
        let said = space.mapper.retire(va, u64::from(bytes)).map_err(|error| VmallocError::Map { bytes, error })?;
        node.said = said;
        node.area.kind = AreaKind::Retired(block);
        node.next = self.retired.push(id, bytes);
        self.retired_pages = self.retired_pages.saturating_add(bytes / PAGE_SIZE);
        if self.retired_pages > self.config.retired_max {
            self.purge(space)?;
        }
        Ok(())
    }

    /// Maps the last retired area of the size again, if it is like the one that is asked for.
    fn again<P, T, S>(
        &mut self,
        space: &mut Space<'_, '_, P, T, S>,
        request: Request,
        caller: &'static Location<'static>,
    ) -> Option<VirtAddr>
    where
        P: PhysMap + ?Sized,
        T: TlbControl + ?Sized,
        S: FrameSource,
    {
        let node = self.areas.node_mut(self.retired.last(request.bytes)?)?;
        let (AreaKind::Retired(block), Some(said)) = (node.area.kind, node.said) else { return None };
        let (start, bytes) = (node.area.start, node.area.bytes);
        let align = request.align.max(PAGE_SIZE);
        let alike = bytes == request.bytes && block <= request.largest;
        if !alike || !align.is_power_of_two() || !start.is_aligned(align) {
            return None;
        }
        space.mapper.revive(start, u64::from(bytes), request.prot, said).ok()?;
        node.area.kind = AreaKind::Vmalloc(block);
        node.area.caller = caller;
        self.retired.pop(bytes, node.next.take());
        self.retired_pages = self.retired_pages.saturating_sub(bytes / PAGE_SIZE);
        Some(start)
    }

    /// Takes an area and fills it with blocks of one size.
    fn allocate<P, T, S>(
        &mut self,
        space: &mut Space<'_, '_, P, T, S>,
        request: Request,
        block: PageSize,
        caller: &'static Location<'static>,
    ) -> Result<VirtAddr, VmallocError>
    where
        P: PhysMap + ?Sized,
        T: TlbControl + ?Sized,
        S: FrameSource,
    {
        let area = Area { start: VirtAddr::new(0), bytes: request.bytes, kind: AreaKind::Vmalloc(block), caller };
        let start = self.areas.insert(area, request.align.max(block.bytes()))?;
        let mut done = 0;
        let filled = fill(space, Area { start, ..area }, request.prot, block, &mut done);
        if let Err(error) = filled {
            self.empty(space, start, block, done);
            return Err(error);
        }
        Ok(start)
    }

    /// Takes back `done` bytes of an area that could not be filled, and the area.
    #[cold]
    fn empty<P, T, S>(&mut self, space: &mut Space<'_, '_, P, T, S>, start: VirtAddr, block: PageSize, done: u32)
    where
        P: PhysMap + ?Sized,
        T: TlbControl + ?Sized,
        S: FrameSource,
    {
        if done > 0 {
            let retired = space.mapper.retire(start, u64::from(done));
            debug_assert!(retired.is_ok(), "{retired:?}: what was just mapped can be retired");
            space.mapper.flush_all();
            let freed = super::purge::free_range(space, start, done, block);
            debug_assert_eq!(freed, Ok(()), "and freed");
        }
        self.areas.remove(start);
    }

    /// Runs `attempt`; if it failed and there is something to purge, purges and runs it again.
    pub(super) fn purging<P, T, S, R>(
        &mut self,
        space: &mut Space<'_, '_, P, T, S>,
        mut attempt: impl FnMut(&mut Self, &mut Space<'_, '_, P, T, S>) -> Result<R, VmallocError>,
    ) -> Result<R, VmallocError>
    where
        P: PhysMap + ?Sized,
        T: TlbControl + ?Sized,
        S: FrameSource,
    {
        let result = attempt(self, space);
        if result.is_ok() || self.retired_pages == 0 {
            return result;
        }
        self.purge(space)?;
        attempt(self, space)
    }
}

/// log2 pages of a block.
pub(super) const fn order_of(block: PageSize) -> Order {
    let raw = match block {
        PageSize::Small => 0,
        PageSize::Large => 4,
        PageSize::Section | PageSize::Supersection => 8,
    };
    match Order::new(raw) {
        Some(order) => order,
        None => Order::ZERO,
    }
}

/// Maps new blocks in all of `area`; `done`: bytes that are mapped when it returns.
fn fill<P, T, S>(
    space: &mut Space<'_, '_, P, T, S>,
    area: Area,
    prot: Prot,
    block: PageSize,
    done: &mut u32,
) -> Result<(), VmallocError>
where
    P: PhysMap + ?Sized,
    T: TlbControl + ?Sized,
    S: FrameSource,
{
    let order = order_of(block);
    let mut chunk = [Pfn::new(0); CHUNK];
    while *done < area.bytes {
        let left = ((area.bytes - *done) / block.bytes()) as usize;
        let wanted = chunk.get_mut(..left.min(CHUNK)).unwrap_or(&mut []);
        let had = space.frames.alloc_blocks(order, wanted);
        let blocks = wanted.get(..had).unwrap_or(&[]);
        if blocks.is_empty() {
            return Err(VmallocError::NoFrames { bytes: area.bytes, had: *done });
        }
        let at = VirtAddr::new(area.start.raw().wrapping_add(*done));
        let (mapped, result) = map_blocks(space, at, blocks, prot, block);
        *done += u32::try_from(mapped).unwrap_or(0) * block.bytes();
        if let Err(error) = result {
            space.frames.free_blocks(order, blocks.get(mapped..).unwrap_or(&[]));
            return Err(VmallocError::Map { bytes: area.bytes, error });
        }
    }
    Ok(())
}

/// Maps `blocks` one behind the other; returns how many of them were mapped.
fn map_blocks<P, T, S>(
    space: &mut Space<'_, '_, P, T, S>,
    va: VirtAddr,
    blocks: &[Pfn],
    prot: Prot,
    block: PageSize,
) -> (usize, Result<(), MapError>)
where
    P: PhysMap + ?Sized,
    T: TlbControl + ?Sized,
    S: FrameSource,
{
    if block == PageSize::Small {
        let result = space.mapper.map_frames(va, blocks, prot, space.frames);
        return (if result.is_ok() { blocks.len() } else { 0 }, result);
    }
    let mut at = va;
    for (done, first) in blocks.iter().enumerate() {
        let to = (first.base(), prot);
        if let Err(error) = space.mapper.map(at, u64::from(block.bytes()), to, block, space.frames) {
            return (done, Err(error));
        }
        at = VirtAddr::new(at.raw().wrapping_add(block.bytes()));
    }
    (blocks.len(), Ok(()))
}
