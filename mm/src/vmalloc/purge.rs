//! Purging: one flush, then the frames and addresses of all retired areas are free.
//!
//! Source.      Linux `__purge_vmap_area_lazy`. There the frames of a vfreed area are free before the flush; here they
//!              are not, so that no stale translation ever reaches another owner's page.
#![forbid(unsafe_code)]

use super::alloc::{FrameSource, Space, Vmalloc, order_of};
use super::error::VmallocError;
use super::node::{AreaKind, NodeStore};
use crate::addr::{PAGE_SIZE, VirtAddr};
use crate::paging::{MapError, PageSize};
use crate::platform::{PhysMap, TlbControl};

impl<N: NodeStore> Vmalloc<N> {
    /// Frees everything that was retired; returns the pages (Linux: `purge_vmap_area_lazy`).
    ///
    /// # Errors
    /// [`VmallocError::Map`] when the tables of an area are broken: it and those behind it stay retired.
    pub fn purge<P, T, S>(&mut self, space: &mut Space<'_, '_, P, T, S>) -> Result<u32, VmallocError>
    where
        P: PhysMap + ?Sized,
        T: TlbControl + ?Sized,
        S: FrameSource,
    {
        let before = self.retired_pages;
        if self.retired_pages > 0 {
            space.mapper.flush_all();
        }
        while let Some(node) = self.retired.any().and_then(|id| self.areas.node(id)) {
            let (area, next) = (node.area, node.next);
            if let AreaKind::Retired(block) = area.kind {
                let freed = free_range(space, area.start, area.bytes, block);
                freed.map_err(|error| VmallocError::Map { bytes: area.bytes, error })?;
            }
            self.retired.pop(area.bytes, next);
            self.retired_pages = self.retired_pages.saturating_sub(area.bytes / PAGE_SIZE);
            self.areas.remove(area.start);
        }
        self.areas.store.trim();
        Ok(before.saturating_sub(self.retired_pages))
    }
}

/// Frees the retired blocks of `bytes` bytes at `va`, after a flush.
pub(super) fn free_range<P, T, S>(
    space: &mut Space<'_, '_, P, T, S>,
    va: VirtAddr,
    bytes: u32,
    block: PageSize,
) -> Result<(), MapError>
where
    P: PhysMap + ?Sized,
    T: TlbControl + ?Sized,
    S: FrameSource,
{
    let order = order_of(block);
    space.mapper.reap(va, u64::from(bytes), block, space.frames, |frames, blocks| frames.free_blocks(order, blocks))
}
