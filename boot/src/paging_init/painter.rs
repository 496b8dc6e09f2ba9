//! Writes single MiBs of the final tables: as a section, as nothing, or as a table of pages.
#![forbid(unsafe_code)]

use core::ops::Range;

use mm::addr::{PhysAddr, PhysRange, SECTION_SIZE};
use mm::layout::{DTB_BASE, DTB_SIZE};
use mm::paging::descriptor::FirstLevel;
use mm::paging::{Domain, EditError, Editor, FIRST_LEVEL_WORDS, HALF_WORDS, Prot, Run, section_index, section_va};
use mm::platform::{PhysMap, TlbControl};

use super::contents::{Contents, Cursor, Piece};
use super::{BootMemory, PagingError, PagingInput, PagingSummary};

const MIB: u64 = SECTION_SIZE as u64;

/// The tables being written, the memory that they come from, and what they must say.
pub(super) struct Painter<'a, 'm, P: ?Sized, T: ?Sized, M: ?Sized> {
    pub(super) editor: &'a mut Editor<'m, P, T>,
    pub(super) memory: &'a mut M,
    pub(super) input: &'a PagingInput<'a>,
    pub(super) contents: &'a Contents,
    pub(super) summary: PagingSummary,
}

impl<'a, 'm, P, T, M> Painter<'a, 'm, P, T, M>
where
    P: PhysMap + ?Sized,
    T: TlbControl + ?Sized,
    M: BootMemory + ?Sized,
{
    pub(super) fn new(
        editor: &'a mut Editor<'m, P, T>,
        memory: &'a mut M,
        input: &'a PagingInput<'a>,
        contents: &'a Contents,
    ) -> Self {
        Self { editor, memory, input, contents, summary: PagingSummary::default() }
    }

    /// First-level indices that lowmem touches.
    pub(super) fn lowmem_indices(&self) -> Range<usize> {
        let linear = &self.input.layout.linear;
        let end = u64::from(linear.high_memory().raw()).div_ceil(MIB);
        section_index(linear.page_offset())..usize::try_from(end).unwrap_or(FIRST_LEVEL_WORDS)
    }

    /// First-level indices of the linear addresses of `range`, as far as it lies in lowmem.
    pub(super) fn indices_of(&self, range: PhysRange) -> Range<usize> {
        let linear = &self.input.layout.linear;
        let range = range.intersection(linear.phys_range());
        if range.is_empty() {
            return 0..0;
        }
        let base = section_index(linear.page_offset());
        let mibs = |bytes: u64| usize::try_from(bytes).unwrap_or(FIRST_LEVEL_WORDS);
        let first = mibs(range.start.bytes_since(linear.phys_offset()) / MIB);
        let end = mibs(range.end.bytes_since(linear.phys_offset()).div_ceil(MIB));
        base + first..base + end
    }

    /// The frames of the linear map's MiB `index`.
    pub(super) fn mib(&self, index: usize) -> PhysRange {
        let linear = &self.input.layout.linear;
        let mibs = index.saturating_sub(section_index(linear.page_offset())) as u64;
        let start = linear.phys_offset().saturating_add(mibs * MIB);
        PhysRange::new(start, start.saturating_add(MIB))
    }

    /// Makes all first-level words visible to the MMU and drops every translation of before.
    pub(super) fn finish(&self) {
        self.editor.sync_first(0, FIRST_LEVEL_WORDS);
        self.editor.flush_all();
    }

    /// Unmaps the MiB `index`, and drops what the TLBs know of it.
    fn break_first(&mut self, index: usize) {
        self.editor.clear_first(index, index + 1);
        self.editor.sync_first(index, index + 1);
        self.editor.flush_page(section_va(index));
    }

    /// Writes the linear map's MiB `index`: a section (or nothing) when it is all alike, pages otherwise. The MiB is in
    /// use: pages take the place of a section in one store.
    pub(super) fn paint_linear(&mut self, index: usize, cursor: &mut Cursor) -> Result<(), PagingError> {
        self.paint(index, cursor, false)
    }

    /// As [`Self::paint_linear`], for a MiB that nothing uses at this moment: a section is unmapped before pages take
    /// its place, so that no TLB ever holds both.
    pub(super) fn paint_unused(&mut self, index: usize, cursor: &mut Cursor) -> Result<(), PagingError> {
        self.paint(index, cursor, true)
    }

    fn paint(&mut self, index: usize, cursor: &mut Cursor, breaks: bool) -> Result<(), PagingError> {
        let mib = self.mib(index);
        let mut begin = *cursor;
        match self.uniform(mib, cursor) {
            Some(prot) => self.set_section(index, mib.start, prot),
            None => {
                let page = self.fill_linear(index, &mut begin)?;
                if breaks {
                    self.break_first(index);
                }
                self.edit(index, |editor| editor.link(index, page))
            }
        }
    }

    /// As [`Self::paint_linear`], always pages.
    pub(super) fn paint_linear_small(&mut self, index: usize, cursor: &mut Cursor) -> Result<(), PagingError> {
        let page = self.fill_linear(index, cursor)?;
        self.edit(index, |editor| editor.link(index, page))
    }

    /// Replaces the section of the linear map's MiB `index` by pages. The MiB must not be in use: it is unmapped for a
    /// moment. One that has pages already, or nothing, stays as it is.
    pub(super) fn split_linear(&mut self, index: usize, cursor: &mut Cursor) -> Result<(), PagingError> {
        let first = self.editor.tables().first(index);
        if !matches!(
            first.map_err(|error| PagingError::Edit(section_va(index), error.into()))?,
            FirstLevel::Section { .. }
        ) {
            return Ok(());
        }
        let page = self.fill_linear(index, cursor)?;
        self.break_first(index);
        self.edit(index, |editor| editor.link(index, page))?;
        self.summary.sections = self.summary.sections.saturating_sub(1);
        Ok(())
    }

    /// Writes the device tree's two sections: those that are plain RAM in all their MiB as sections, of others only
    /// the blob's own pages.
    pub(super) fn paint_dtb(&mut self, dtb: PhysRange) -> Result<(), PagingError> {
        let base = dtb.start.align_down(MIB);
        let prot = Prot::KERNEL_RO.with_shareable(self.input.shareable);
        for mib in 0..u64::from(DTB_SIZE) / MIB {
            let start = base.saturating_add(mib * MIB);
            let frames = PhysRange::new(start, start.saturating_add(MIB));
            let index = section_index(DTB_BASE) + usize::from(mib != 0);
            let blob = dtb.intersection(frames).touched_frames().bytes();
            if self.is_plain_ram(frames) {
                self.set_section(index, start, Some(prot))?;
            } else if blob.is_empty() {
                self.set_section(index, start, None)?;
            } else {
                let page = self.pair_table(index)?;
                let (first, pages) = (pages(blob.start.bytes_since(start)), pages(blob.size()));
                self.edit(index, |editor| editor.clear_half(page, index))?;
                self.fill(page, Run { index, page: first, pages }, blob.start, Some(prot))?;
                self.edit(index, |editor| editor.sync_page(page))?;
                self.edit(index, |editor| editor.link(index, page))?;
            }
        }
        Ok(())
    }

    /// A new table page, all zero, for the pair of `index`.
    pub(super) fn new_pair_table(&mut self, index: usize) -> Result<PhysAddr, PagingError> {
        let page = self.take_table(index)?;
        self.edit(index, |editor| editor.clear_half(page, index))?;
        self.edit(index, |editor| editor.clear_half(page, index ^ 1))?;
        Ok(page)
    }

    /// Links both halves of the pair of `index` to `page`, which is complete.
    pub(super) fn link_pair(&mut self, index: usize, page: PhysAddr) -> Result<(), PagingError> {
        self.edit(index, |editor| editor.sync_page(page))?;
        self.edit(index, |editor| editor.link(index, page))?;
        self.edit(index, |editor| editor.link(index ^ 1, page))
    }

    /// What all of `mib` allows, if it is one thing.
    fn uniform(&self, mib: PhysRange, cursor: &mut Cursor) -> Option<Option<Prot>> {
        let Piece { mut end, prot } = self.contents.piece(&*self.memory, cursor, mib.start.raw());
        while end < mib.end.raw() {
            let next = self.contents.piece(&*self.memory, cursor, end);
            if next.prot != prot {
                return None;
            }
            end = next.end;
        }
        Some(prot)
    }

    /// Whether `mib` is mapped in lowmem without a gap and keeps its attributes.
    fn is_plain_ram(&self, mib: PhysRange) -> bool {
        let (mut at, mut cursor) = (mib.start.raw(), Cursor::default());
        while at < mib.end.raw() {
            let piece = self.contents.piece(&*self.memory, &mut cursor, at);
            if piece.prot.is_none() {
                return false;
            }
            at = piece.end;
        }
        !self.input.remap.iter().any(|range| range.overlaps(mib))
    }

    /// Maps the MiB `index` to `base` whole, or to nothing.
    fn set_section(&mut self, index: usize, base: PhysAddr, prot: Option<Prot>) -> Result<(), PagingError> {
        let descriptor = match prot {
            Some(prot) => FirstLevel::Section { base, prot, domain: Domain::KERNEL },
            None => FirstLevel::Fault,
        };
        self.summary.sections += u32::from(prot.is_some());
        self.edit(index, |editor| editor.set_first(index, descriptor))
    }

    /// Fills the half of a table page for the linear map's MiB `index`, and syncs it; returns the page.
    fn fill_linear(&mut self, index: usize, cursor: &mut Cursor) -> Result<PhysAddr, PagingError> {
        let page = self.pair_table(index)?;
        let mib = self.mib(index);
        let (mut at, end) = (mib.start.raw(), mib.end.raw());
        while at < end {
            let piece = self.contents.piece(&*self.memory, cursor, at);
            let stop = piece.end.min(end);
            let run = Run { index, page: pages(at - mib.start.raw()), pages: pages(stop - at) };
            self.fill(page, run, PhysAddr::new(at), piece.prot)?;
            at = stop;
        }
        self.edit(index, |editor| editor.sync_page(page))?;
        Ok(page)
    }

    /// Writes a run of pages, or of nothing.
    fn fill(&mut self, page: PhysAddr, run: Run, base: PhysAddr, prot: Option<Prot>) -> Result<(), PagingError> {
        match prot {
            Some(prot) => {
                self.summary.pages += u32::try_from(run.pages).unwrap_or(0);
                self.edit(run.index, |editor| editor.fill_small(page, run, base, prot))
            }
            None => self.edit(run.index, |editor| editor.clear_run(page, run)),
        }
    }

    /// The table page of the pair of `index`, or a new one whose half for the other MiB is zero.
    fn pair_table(&mut self, index: usize) -> Result<PhysAddr, PagingError> {
        if let Some(page) = self.editor.tables().pair_table(index) {
            return Ok(page);
        }
        let page = self.take_table(index)?;
        self.edit(index, |editor| editor.clear_half(page, index ^ 1))?;
        Ok(page)
    }

    /// A frame for tables that has RAM behind it.
    fn take_table(&mut self, index: usize) -> Result<PhysAddr, PagingError> {
        let page = self.memory.take_table().ok_or(PagingError::NoTable(section_va(index)))?;
        if !(self.input.probe)(page) {
            return Err(PagingError::DeadFrame(page));
        }
        self.summary.tables += 1;
        Ok(page)
    }

    /// Runs `change` on the tables; its error names the MiB `index`.
    fn edit(
        &mut self,
        index: usize,
        change: impl FnOnce(&mut Editor<'m, P, T>) -> Result<(), EditError>,
    ) -> Result<(), PagingError> {
        change(self.editor).map_err(|error| PagingError::Edit(section_va(index), error))
    }
}

/// Pages in `bytes`; never more than a MiB has.
fn pages(bytes: u64) -> usize {
    usize::try_from(bytes / u64::from(mm::addr::PAGE_SIZE)).unwrap_or(HALF_WORDS)
}
