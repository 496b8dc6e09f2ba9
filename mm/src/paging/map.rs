//! Maps ranges of addresses; `change` unmaps and protects them, `split` cuts and joins descriptors, `retire` unmaps
//! in two steps.
//!
//! Theory.      Each operation walks its range twice: first it checks every descriptor and takes all the tables that it
//!              will need, then it writes, and nothing can fail any more. Sections are used where the first-level
//!              word is free and both addresses are aligned, large pages where a table is used and both are aligned;
//!              a MiB that has a table keeps it until `protect` finds that a section can say the same.
//! Invariants.  1. On `Err` no word has changed and every table taken was given back.
//!              2. A table page that maps nothing is unlinked, flushed from the TLBs and given back, in this order.
//! Not here.    Locks: `&mut self`. Which addresses are free (vmalloc).
//! Source.      Linux: `create_mapping`, `vmap_range`, `unmap_kernel_range`, `change_page_range`; Arm ARM DDI 0406C
//!              B3.10.1 (break before make).
#![forbid(unsafe_code)]

use core::sync::atomic::Ordering;

use super::descriptor::{EncodeError, FirstLevel, SecondLevel};
use super::edit::{EditError, Editor, is_clear};
use super::error::{MapError, edit};
use super::prot::Prot;
use super::span::{Piece, Span};
use super::split::Live;
use super::table::{FIRST_LEVEL_WORDS, Tables, page_index, section_va};
use super::walk::{PageSize, page_va};
use crate::addr::{PAGE_SIZE, Pfn, PhysAddr, VirtAddr};
use crate::platform::{PhysMap, TlbControl};

/// Gives 4 KiB frames for tables: memblock early, the page allocator later.
pub trait TableSource {
    /// A frame that the tables may keep; its bytes are whatever was there. `None` when there is none.
    fn take_table(&mut self) -> Option<PhysAddr>;

    /// Takes back a frame that no table word and no TLB refers to any more.
    fn give_back(&mut self, table: PhysAddr);

    /// Asked before the table of the first-level pair `pair` is looked through for being empty, which takes a thousand
    /// loads: `true` keeps it linked for now, and [`Mapper::drop_table_if_empty`] must be called for it later.
    fn postpone(&mut self, _pair: usize) -> bool {
        false
    }
}

/// Which first-level words a call has linked to tables: to be undone if it fails.
struct Linked([u32; FIRST_LEVEL_WORDS / 32]);

/// Maps, unmaps and protects in one set of tables.
#[derive(Debug)]
pub struct Mapper<'m, P: ?Sized, T: ?Sized> {
    pub(super) editor: Editor<'m, P, T>,
    pub(super) live: Live,
}

impl<'m, P: PhysMap + ?Sized, T: TlbControl + ?Sized> Mapper<'m, P, T> {
    /// Changes the tables of `editor`. Descriptors are broken before they are split or joined: see [`Live::Broken`].
    #[must_use]
    pub const fn new(editor: Editor<'m, P, T>) -> Self {
        Self { editor, live: Live::Broken }
    }

    /// Changes the tables of `editor`; `live` says how a descriptor is split or joined.
    #[must_use]
    pub const fn with_live(editor: Editor<'m, P, T>, live: Live) -> Self {
        Self { editor, live }
    }

    /// From now on, descriptors are split and joined as `live` says; returns what it was.
    pub const fn set_live(&mut self, live: Live) -> Live {
        core::mem::replace(&mut self.live, live)
    }

    /// The tables, to read.
    #[must_use]
    pub const fn tables(&self) -> &Tables<'m, P> {
        self.editor.tables()
    }

    /// Drops everything from the TLBs: after [`Mapper::retire`], before [`Mapper::reap`].
    pub fn flush_all(&self) {
        self.editor.flush_all();
    }

    /// Maps `bytes` bytes at `va` to the frames from `pa`, in pieces of at most `largest`.
    ///
    /// Supersections are not used. Linux: `vmap_range`, `create_mapping`.
    ///
    /// # Errors
    /// [`MapError`] with the first offending address.
    pub fn map(
        &mut self,
        va: VirtAddr,
        bytes: u64,
        to: (PhysAddr, Prot),
        largest: PageSize,
        source: &mut dyn TableSource,
    ) -> Result<(), MapError> {
        let (pa, prot) = to;
        let span = Span::new(va, bytes)?;
        check_frames(pa, bytes)?;
        let sections = (largest >= PageSize::Section).then_some(pa);
        let in_sections = sections.is_some() && self.map_sections(span, pa, prot, source)?;
        if in_sections || self.map_in_table(span, pa, prot, largest) {
            return Ok(());
        }
        if self.check_free(span, prot, sections)? {
            self.take_tables(span, sections, source)?;
        }
        for piece in span.pieces() {
            let frame = pa.saturating_add(piece.at - span.va);
            self.map_piece(piece, frame, prot, largest).map_err(|error| edit(va, error))?;
        }
        if sections.is_some() {
            let (first, end) = span.sections();
            self.editor.sync_first(first, end);
        }
        Ok(())
    }

    /// Maps single pages at `va`, one to each of `frames` in their order (Linux: `vmap_pages_range`).
    ///
    /// # Errors
    /// [`MapError`] with the first offending address.
    pub fn map_frames(
        &mut self,
        va: VirtAddr,
        frames: &[Pfn],
        prot: Prot,
        source: &mut dyn TableSource,
    ) -> Result<(), MapError> {
        let span = Span::new(va, frames.len() as u64 * u64::from(PAGE_SIZE))?;
        if frames.iter().fold(0, |all, frame| all | frame.raw()) >= 1 << 20 {
            let far = frames.iter().find(|frame| frame.raw() >= 1 << 20);
            return Err(MapError::BadFrame(far.map_or(PhysAddr::ZERO, |far| far.base())));
        }
        if self.check_free(span, prot, None)? {
            self.take_tables(span, None, source)?;
        }
        let mut rest = frames;
        for piece in span.pieces() {
            let run = piece.run();
            let (these, behind) = rest.split_at_checked(run.pages).unwrap_or((rest, &[]));
            rest = behind;
            let Some(page) = self.table_of(run.index) else { continue };
            let filled = self.editor.fill_frames(page, run, these, prot);
            filled.and_then(|()| self.editor.sync_run(page, run)).map_err(|error| edit(va, error))?;
        }
        Ok(())
    }

    /// Checks that nothing is mapped in `span` and that its pieces can be encoded. `sections`: the first frame, if
    /// whole MiBs become sections. Returns whether a MiB needs a table that it does not have.
    fn check_free(&self, span: Span, prot: Prot, sections: Option<PhysAddr>) -> Result<bool, MapError> {
        let mut needs = false;
        for piece in span.pieces() {
            let index = piece.index();
            match self.tables().first(index)? {
                // A fault that is not 0 is a retired section.
                FirstLevel::Fault if self.tables().first_word(index) == 0 => {
                    if !is_section(span, piece, sections) {
                        encodable_page(prot)?;
                        needs = true;
                    }
                }
                FirstLevel::PageTable { table, .. } => {
                    encodable_page(prot)?;
                    let (run, words) = (piece.run(), self.tables().hardware(table)?);
                    let words = words.get(run.page..run.page.saturating_add(run.pages)).unwrap_or(&[]);
                    if !is_clear(words) {
                        let taken = words.iter().position(|word| word.load(Ordering::Relaxed) != 0).unwrap_or(0);
                        return Err(MapError::AlreadyMapped(page_va(index, run.page.saturating_add(taken))));
                    }
                }
                _ => return Err(MapError::AlreadyMapped(piece.va())),
            }
        }
        Ok(needs)
    }

    /// Links an empty table to every MiB of `span` that needs one; on an error, to none.
    fn take_tables(
        &mut self,
        span: Span,
        sections: Option<PhysAddr>,
        source: &mut dyn TableSource,
    ) -> Result<(), MapError> {
        let (first, end) = span.sections();
        if end == first + 1 {
            // The one that is needed: nothing to undo.
            self.take_one(Piece { at: span.va, end: span.end }, source)?;
            self.editor.sync_first(first, end);
            return Ok(());
        }
        self.take_several(span, sections, source)
    }

    #[inline(never)]
    fn take_several(
        &mut self,
        span: Span,
        sections: Option<PhysAddr>,
        source: &mut dyn TableSource,
    ) -> Result<(), MapError> {
        let mut linked = Linked([0; FIRST_LEVEL_WORDS / 32]);
        for piece in span.pieces() {
            let index = piece.index();
            let free = self.tables().first(index).is_ok_and(|first| first == FirstLevel::Fault);
            if free && !is_section(span, piece, sections) {
                if let Err(error) = self.take_one(piece, source) {
                    self.undo(&linked, source);
                    return Err(error);
                }
                linked.insert(index);
            }
        }
        let (first, end) = span.sections();
        self.editor.sync_first(first, end);
        Ok(())
    }

    /// Links an empty table to the MiB of `piece`.
    fn take_one(&mut self, piece: Piece, source: &mut dyn TableSource) -> Result<(), MapError> {
        let index = piece.index();
        let old = self.tables().pair_table(index);
        let page = match old {
            Some(page) => page,
            None => source.take_table().ok_or(MapError::NoTable(piece.va()))?,
        };
        let cleared = self.clear_new(page, index, old.is_none());
        cleared.and_then(|()| self.editor.link(index, page)).map_err(|error| {
            if old.is_none() {
                source.give_back(page);
            }
            edit(piece.va(), error)
        })
    }

    /// Clears the half of `page` for `index` (both halves of a new page) and syncs it.
    pub(super) fn clear_new(&mut self, page: PhysAddr, index: usize, new: bool) -> Result<(), EditError> {
        self.editor.clear_half(page, index)?;
        if new {
            self.editor.clear_half(page, index ^ 1)?;
        }
        self.editor.sync_page(page)
    }

    /// Unlinks what `take_tables` linked and gives its pages back.
    #[cold]
    fn undo(&mut self, linked: &Linked, source: &mut dyn TableSource) {
        for index in linked.iter() {
            let page = self.tables().pair_table(index);
            self.editor.clear_first(index, index + 1);
            self.editor.sync_first(index, index + 1);
            self.editor.flush_page(section_va(index));
            if let (Some(page), None) = (page, self.tables().pair_table(index)) {
                source.give_back(page);
            }
        }
    }

    /// Maps `piece`, in the largest units that fit.
    fn map_piece(&mut self, piece: Piece, frame: PhysAddr, prot: Prot, largest: PageSize) -> Result<(), EditError> {
        let index = piece.index();
        let Some(page) = self.table_of(index) else {
            return self
                .editor
                .set_first(index, FirstLevel::Section { base: frame, prot, domain: self.editor.domain() });
        };
        let large = u64::from(PageSize::Large.bytes());
        let mut at = piece.at;
        while at < piece.end {
            let frame = frame.saturating_add(at - piece.at);
            let next = (at / large + 1) * large;
            let fits = at.is_multiple_of(large) && frame.is_aligned(large) && next <= piece.end;
            if largest >= PageSize::Large && fits {
                self.editor.fill_large(page, index, page_index(Span::at(at)), (frame, prot))?;
                at = next;
                continue;
            }
            // Small pages up to where a large one could begin.
            let end = if largest >= PageSize::Large { next.min(piece.end) } else { piece.end };
            self.editor.fill_small(page, Piece { at, end }.run(), frame, prot)?;
            at = end;
        }
        self.editor.sync_run(page, piece.run())
    }

    /// The table page that the MiB `index` itself points to.
    pub(super) fn table_of(&self, index: usize) -> Option<PhysAddr> {
        match self.tables().first(index) {
            Ok(FirstLevel::PageTable { table, .. }) => Some(table.align_down(u64::from(PAGE_SIZE))),
            _ => None,
        }
    }
}

impl Linked {
    fn insert(&mut self, index: usize) {
        if let Some(word) = self.0.get_mut(index / 32) {
            *word |= 1 << (index % 32);
        }
    }

    fn iter(&self) -> impl Iterator<Item = usize> {
        let bits = self.0.iter().enumerate().filter(|(_, word)| **word != 0);
        bits.flat_map(|(at, &word)| (0..32).filter(move |bit| word >> bit & 1 != 0).map(move |bit| at * 32 + bit))
    }
}

/// Whether `piece` of `span` becomes a section.
fn is_section(span: Span, piece: Piece, sections: Option<PhysAddr>) -> bool {
    sections.is_some_and(|pa| piece.is_section(pa.saturating_add(piece.at - span.va)))
}

/// Whether the frames from `pa` are whole pages below 4 GiB.
pub(super) fn check_frames(pa: PhysAddr, bytes: u64) -> Result<(), MapError> {
    match pa.checked_add(bytes) {
        Some(end) if end.raw() <= 1 << 32 && pa.is_aligned(u64::from(PAGE_SIZE)) => Ok(()),
        _ => Err(MapError::BadFrame(pa)),
    }
}

/// Whether a page can have `prot`.
pub(super) fn encodable_page(prot: Prot) -> Result<(), MapError> {
    match (SecondLevel::Small { base: PhysAddr::ZERO, prot }).encode() {
        Err(EncodeError::UserOnlyPage) => Err(MapError::BadProt(prot)),
        _ => Ok(()),
    }
}
