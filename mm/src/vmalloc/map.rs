//! vmap: the caller's frames at new addresses; ioremap: devices.
//!
//! Theory.      What is unmapped here is flushed at once: the caller may do anything with the frames afterwards.
#![forbid(unsafe_code)]

use core::panic::Location;

use super::alloc::{FrameSource, Space, Vmalloc};
use super::error::{VmallocError, check_prot};
use super::node::{Area, AreaKind, NodeStore};
use crate::addr::{PAGE_SIZE, Pfn, PhysAddr, PhysRange, VirtAddr};
use crate::paging::{MemType, PageSize, Prot};
use crate::platform::{PhysMap, TlbControl};

/// Kinds of memory that a device can be mapped as.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum IoKind {
    /// Registers: every access happens, in order (Linux: `ioremap`).
    Device,
    /// Buffers without caches, whose writes may be merged (Linux: `ioremap_wc`).
    WriteCombine,
    /// Memory with caches (Linux: `ioremap_cache`).
    Cached,
}

impl IoKind {
    /// What such a mapping allows.
    #[must_use]
    pub const fn prot(self) -> Prot {
        match self {
            Self::Device => Prot::DEVICE_RW,
            Self::WriteCombine => Prot { mem: MemType::NormalNonCacheable, ..Prot::KERNEL_RW },
            Self::Cached => Prot::KERNEL_RW,
        }
    }
}

impl<N: NodeStore> Vmalloc<N> {
    /// Maps `frames`, which stay the caller's, one behind the other (Linux: `vmap`). Shareability is set as the machine
    /// needs it.
    ///
    /// # Errors
    /// [`VmallocError`] with the bytes of `frames`.
    #[track_caller]
    pub fn vmap<P, T, S>(
        &mut self,
        space: &mut Space<'_, '_, P, T, S>,
        frames: &[Pfn],
        prot: Prot,
    ) -> Result<VirtAddr, VmallocError>
    where
        P: PhysMap + ?Sized,
        T: TlbControl + ?Sized,
        S: FrameSource,
    {
        check_prot(prot)?;
        let prot = prot.with_shareable(self.config.shareable);
        let bytes = u32::try_from(frames.len()).ok().and_then(|pages| pages.checked_mul(PAGE_SIZE));
        let bytes = bytes.ok_or(VmallocError::Size { bytes: u32::MAX, align: PAGE_SIZE })?;
        let area = Area { start: VirtAddr::new(0), bytes, kind: AreaKind::Vmap, caller: Location::caller() };
        self.purging(space, |this, space| {
            let start = this.areas.insert(area, PAGE_SIZE)?;
            let mapped = space.mapper.map_frames(start, frames, prot, space.frames);
            mapped.map(|()| start).map_err(|error| {
                this.areas.remove(start);
                VmallocError::Map { bytes, error }
            })
        })
    }

    /// Unmaps what [`Vmalloc::vmap`] returned (Linux: `vunmap`).
    ///
    /// # Errors
    /// [`VmallocError::NoArea`], [`VmallocError::WrongKind`], [`VmallocError::Map`].
    pub fn vunmap<P, T, S>(&mut self, space: &mut Space<'_, '_, P, T, S>, va: VirtAddr) -> Result<(), VmallocError>
    where
        P: PhysMap + ?Sized,
        T: TlbControl + ?Sized,
        S: FrameSource,
    {
        self.unmap_area(space, va, |kind| kind == AreaKind::Vmap)
    }

    /// Maps `bytes` bytes of physical memory from `pa`, which need not be whole pages; returns where `pa` is.
    ///
    /// Sections and large pages are used where `pa` is aligned. `is_mapped_ram` says whether some frame of a range is
    /// RAM that the linear map has or may have. Linux: `__arm_ioremap_caller`.
    ///
    /// # Errors
    /// [`VmallocError::MappedRam`], [`VmallocError::OutOfReach`]; else as [`Vmalloc::vmalloc`].
    #[track_caller]
    pub fn ioremap<P, T, S>(
        &mut self,
        space: &mut Space<'_, '_, P, T, S>,
        pa: PhysAddr,
        bytes: u32,
        kind: IoKind,
        is_mapped_ram: &dyn Fn(PhysRange) -> bool,
    ) -> Result<VirtAddr, VmallocError>
    where
        P: PhysMap + ?Sized,
        T: TlbControl + ?Sized,
        S: FrameSource,
    {
        let caller = Location::caller();
        if bytes == 0 {
            return Err(VmallocError::Size { bytes, align: PAGE_SIZE });
        }
        let (base, size) = whole_pages(pa, bytes).ok_or(VmallocError::OutOfReach { pa, bytes })?;
        let range = PhysRange::new(base, base.saturating_add(u64::from(size)));
        if is_mapped_ram(range) {
            return Err(VmallocError::MappedRam(range));
        }
        let prot = kind.prot().with_shareable(self.config.shareable);
        let area = Area { start: VirtAddr::new(0), bytes: size, kind: AreaKind::Ioremap(base), caller };
        let fits = |block: &PageSize| size >= block.bytes() && base.is_aligned(u64::from(block.bytes()));
        let blocks = [PageSize::Section, PageSize::Large].into_iter();
        let largest = blocks.clone().find(fits).unwrap_or(PageSize::Small);
        let start = self.purging(space, |this, space| {
            // Addresses that are aligned may be rarer than addresses.
            let aligned = this.areas.insert(area, largest.bytes());
            let start = aligned.or_else(|_| this.areas.insert(area, PAGE_SIZE))?;
            let mapped = space.mapper.map(start, u64::from(size), (base, prot), largest, space.frames);
            mapped.map(|()| start).map_err(|error| {
                this.areas.remove(start);
                VmallocError::Map { bytes, error }
            })
        })?;
        #[expect(clippy::cast_possible_truncation, reason = "an offset in a page has 12 bits")]
        let offset = pa.bytes_since(base) as u32;
        Ok(VirtAddr::new(start.raw() | offset))
    }

    /// Unmaps what [`Vmalloc::ioremap`] returned (Linux: `iounmap`).
    ///
    /// # Errors
    /// [`VmallocError::NoArea`], [`VmallocError::WrongKind`], [`VmallocError::Map`].
    pub fn iounmap<P, T, S>(&mut self, space: &mut Space<'_, '_, P, T, S>, va: VirtAddr) -> Result<(), VmallocError>
    where
        P: PhysMap + ?Sized,
        T: TlbControl + ?Sized,
        S: FrameSource,
    {
        self.unmap_area(space, va.align_down(PAGE_SIZE), |kind| matches!(kind, AreaKind::Ioremap(_)))
    }

    /// Unmaps the area at `start`, flushes and frees its addresses.
    fn unmap_area<P, T, S>(
        &mut self,
        space: &mut Space<'_, '_, P, T, S>,
        start: VirtAddr,
        right: impl Fn(AreaKind) -> bool,
    ) -> Result<(), VmallocError>
    where
        P: PhysMap + ?Sized,
        T: TlbControl + ?Sized,
        S: FrameSource,
    {
        let id = self.areas.find_id(start).ok_or(VmallocError::NoArea(start))?;
        let area = &self.areas.node(id).ok_or(VmallocError::NoArea(start))?.area;
        let (kind, bytes) = (area.kind, area.bytes);
        if !right(kind) {
            return Err(VmallocError::WrongKind(start, kind));
        }
        let unmapped = space.mapper.unmap(start, u64::from(bytes), space.frames);
        unmapped.map_err(|error| VmallocError::Map { bytes, error })?;
        self.areas.remove_id(id);
        Ok(())
    }
}

/// The whole pages around `bytes` bytes at `pa`; `None` past 4 GiB.
fn whole_pages(pa: PhysAddr, bytes: u32) -> Option<(PhysAddr, u32)> {
    let page = u64::from(PAGE_SIZE);
    let base = pa.align_down(page);
    let end = pa.checked_add(u64::from(bytes))?.align_up(page)?;
    if end.raw() > 1 << 32 {
        return None;
    }
    Some((base, u32::try_from(end.bytes_since(base)).ok()?))
}
