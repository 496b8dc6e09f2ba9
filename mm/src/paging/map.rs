//! Map, unmap and protect ranges of addresses.
//!
//! Theory.      Each operation walks its range twice: first it checks every descriptor (and takes all tables that it
//!              will need), then it writes, and nothing can fail any more. Sections are used where the first-level
//!              word is free and both addresses are aligned; a MiB that has a table keeps it. A changed mapping is
//!              broken before it is made anew when its kind of memory changes; new permissions replace old ones by one
//!              store, so that live code and stacks can be protected.
//! Invariants.  1. On `Err` no word has changed and every table taken was given back.
//!              2. A table page that maps nothing is unlinked, flushed from the TLBs and given back, in this order.
//! Not here.    Locks: `&mut self`. Which addresses are free (vmalloc), splitting of sections: a range that cuts a
//!              larger mapping is refused.
//! Source.      Linux: `create_mapping`, `vmap_range`, `unmap_kernel_range`, `change_page_range`; Arm ARM DDI 0406C
//!              B3.10.1 (break before make).

use core::fmt;
use core::sync::atomic::Ordering;

use super::descriptor::{EncodeError, FirstLevel, SecondLevel};
use super::edit::{EditError, Editor, LARGE_WORDS, Run};
use super::prot::{Domain, Prot};
use super::table::{FIRST_LEVEL_WORDS, HALF_WORDS, TableError, Tables, page_index, section_index, section_va};
use super::walk::{PageSize, Translation};
use crate::addr::{PAGE_SIZE, PhysAddr, SECTION_SIZE, VirtAddr};
use crate::platform::{PhysMap, TlbControl};

/// Changed pages up to which each is flushed by itself; beyond, all of the TLB goes.
const FLUSH_PAGES_MAX: u32 = 64;

/// Gives 4 KiB frames for tables: memblock early, the page allocator later.
pub trait TableSource {
    /// A frame that the tables may keep; its bytes are whatever was there. `None` when there is none.
    fn take_table(&mut self) -> Option<PhysAddr>;

    /// Takes back a frame that no table word and no TLB refers to any more.
    fn give_back(&mut self, table: PhysAddr);
}

/// Why a range was not mapped, unmapped or protected; nothing has changed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum MapError {
    /// The address or the size is not a multiple of 4 KiB, or the size is 0.
    Unaligned(VirtAddr),
    /// The range passes the end of the address space.
    TooLong(VirtAddr),
    /// The physical range does not begin on a page or passes 4 GiB.
    BadFrame(PhysAddr),
    /// The protection has no encoding at this size ([`EncodeError::UserOnlyPage`]).
    BadProt(Prot),
    /// Something is mapped here already.
    AlreadyMapped(VirtAddr),
    /// Nothing is mapped here.
    NotMapped(VirtAddr),
    /// The range begins or ends inside the larger mapping of this address.
    CutsLarger(VirtAddr),
    /// No frame was left for the table of this address.
    NoTable(VirtAddr),
    /// The tables themselves are broken.
    Table(TableError),
}

impl fmt::Display for MapError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unaligned(va) => write!(f, "range at {va} is not whole pages"),
            Self::TooLong(va) => write!(f, "range at {va} passes the end of the address space"),
            Self::BadFrame(pa) => write!(f, "physical range at {pa} is not whole pages below 4 GiB"),
            Self::BadProt(prot) => write!(f, "{prot:?} has no encoding for a page"),
            Self::AlreadyMapped(va) => write!(f, "{va} is mapped already"),
            Self::NotMapped(va) => write!(f, "{va} is not mapped"),
            Self::CutsLarger(va) => write!(f, "range cuts the larger mapping of {va}"),
            Self::NoTable(va) => write!(f, "no frame for the table of {va}"),
            Self::Table(error) => error.fmt(f),
        }
    }
}

impl From<TableError> for MapError {
    fn from(error: TableError) -> Self {
        Self::Table(error)
    }
}

/// Virtual pages: the first address and the bytes, whole pages that end at or below 4 GiB.
#[derive(Clone, Copy, Debug)]
struct Span {
    va: u64,
    end: u64,
}

impl Span {
    fn new(va: VirtAddr, bytes: u64) -> Result<Self, MapError> {
        let page = u64::from(PAGE_SIZE);
        if bytes == 0 || !bytes.is_multiple_of(page) || !va.is_aligned(PAGE_SIZE) {
            return Err(MapError::Unaligned(va));
        }
        let start = u64::from(va.raw());
        match start.checked_add(bytes) {
            Some(end) if end <= 1 << 32 => Ok(Self { va: start, end }),
            _ => Err(MapError::TooLong(va)),
        }
    }

    #[expect(clippy::cast_possible_truncation, reason = "a position is below the end, which is at most 2^32")]
    const fn at(position: u64) -> VirtAddr {
        VirtAddr::new(position as u32)
    }
}

/// A piece of a range that one descriptor (with its copies) maps.
#[derive(Clone, Copy, Debug)]
struct Leaf {
    va: VirtAddr,
    to: Translation,
}

/// Which first-level words a call has linked to tables: to be undone if it fails.
struct Linked([u32; FIRST_LEVEL_WORDS / 32]);

/// Maps, unmaps and protects in one set of tables.
#[derive(Debug)]
pub struct Mapper<'m, P: ?Sized, T: ?Sized> {
    editor: Editor<'m, P, T>,
}

impl<'m, P: PhysMap + ?Sized, T: TlbControl + ?Sized> Mapper<'m, P, T> {
    /// Changes the tables of `editor`.
    #[must_use]
    pub const fn new(editor: Editor<'m, P, T>) -> Self {
        Self { editor }
    }

    /// The tables, to read.
    #[must_use]
    pub const fn tables(&self) -> &Tables<'m, P> {
        self.editor.tables()
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
        let sections = largest >= PageSize::Section;
        self.check_free(span, pa, prot, sections)?;
        let mut linked = Linked([0; FIRST_LEVEL_WORDS / 32]);
        if let Err(error) = self.take_tables(span, pa, sections, &mut linked, source) {
            self.undo(&linked, source);
            return Err(error);
        }
        let mut position = span.va;
        while position < span.end {
            position += self.map_piece(position, span, pa, prot, largest).map_err(|error| edit(va, error))?;
        }
        self.editor.sync_first(section_index(va), section_index(Span::at(span.end - 1)) + 1);
        Ok(())
    }

    /// Unmaps `bytes` bytes at `va`: all of it must be mapped. Tables that become empty go back to `source`.
    ///
    /// # Errors
    /// [`MapError`] with the first offending address.
    pub fn unmap(&mut self, va: VirtAddr, bytes: u64, source: &mut dyn TableSource) -> Result<(), MapError> {
        let span = Span::new(va, bytes)?;
        self.check_mapped(span, None)?;
        let mut position = span.va;
        while position < span.end {
            let index = section_index(Span::at(position));
            let next = piece_end(position, span.end);
            match self.tables().first(index)? {
                FirstLevel::PageTable { .. } => {
                    if let Some(page) = self.tables().pair_table(index) {
                        let run = Run { index, page: page_index(Span::at(position)), pages: pages(next - position) };
                        self.editor.clear_run(page, run).map_err(|error| edit(va, error))?;
                        self.editor.sync_page(page).map_err(|error| edit(va, error))?;
                    }
                }
                _ => self.editor.clear_first(index, index + 1),
            }
            position = next;
        }
        self.editor.sync_first(section_index(va), section_index(Span::at(span.end - 1)) + 1);
        self.flush(span);
        self.drop_empty_tables(span, source)
    }

    /// Gives `bytes` bytes at `va` another protection: all of it must be mapped, and no larger mapping be cut.
    ///
    /// # Errors
    /// [`MapError`] with the first offending address.
    pub fn protect(&mut self, va: VirtAddr, bytes: u64, prot: Prot) -> Result<(), MapError> {
        let span = Span::new(va, bytes)?;
        self.check_mapped(span, Some(prot))?;
        let mut position = span.va;
        while position < span.end {
            let leaf = self.leaf(Span::at(position))?;
            let changes_kind = leaf.to.prot.mem != prot.mem || leaf.to.prot.shareable != prot.shareable;
            if changes_kind {
                self.write_leaf(leaf, None)?;
                self.editor.flush_page(leaf.va);
            }
            self.write_leaf(leaf, Some(prot))?;
            position += u64::from(leaf.to.size.bytes());
        }
        self.flush(span);
        Ok(())
    }

    /// Checks that nothing is mapped in `span` and that its pieces can be encoded.
    fn check_free(&self, span: Span, pa: PhysAddr, prot: Prot, sections: bool) -> Result<(), MapError> {
        let mut position = span.va;
        while position < span.end {
            let va = Span::at(position);
            let next = piece_end(position, span.end);
            let frame = pa.saturating_add(position - span.va);
            match self.tables().first(section_index(va))? {
                FirstLevel::Fault if sections && is_section(position, next, frame) => {}
                FirstLevel::Fault => encodable_page(prot)?,
                FirstLevel::PageTable { table, .. } => {
                    encodable_page(prot)?;
                    let words = self.tables().hardware(table)?.iter().enumerate();
                    let range = page_index(va)..page_index(va) + pages(next - position);
                    for (page, word) in words.skip(range.start).take(range.len()) {
                        if word.load(Ordering::Relaxed) & 3 != 0 {
                            return Err(MapError::AlreadyMapped(super::walk::page_va(section_index(va), page)));
                        }
                    }
                }
                _ => return Err(MapError::AlreadyMapped(va)),
            }
            position = next;
        }
        Ok(())
    }

    /// Links an empty table to every MiB of `span` that needs one.
    fn take_tables(
        &mut self,
        span: Span,
        pa: PhysAddr,
        sections: bool,
        linked: &mut Linked,
        source: &mut dyn TableSource,
    ) -> Result<(), MapError> {
        let mut position = span.va;
        while position < span.end {
            let va = Span::at(position);
            let next = piece_end(position, span.end);
            let frame = pa.saturating_add(position - span.va);
            let index = section_index(va);
            let free = self.tables().first(index)? == FirstLevel::Fault;
            if free && !(sections && is_section(position, next, frame)) {
                let page = match self.tables().pair_table(index) {
                    Some(page) => page,
                    None => source.take_table().ok_or(MapError::NoTable(va))?,
                };
                if let Err(error) = self.link_empty(page, index) {
                    if self.tables().pair_table(index).is_none() {
                        source.give_back(page);
                    }
                    return Err(edit(va, error));
                }
                linked.insert(index);
            }
            position = next;
        }
        Ok(())
    }

    /// Clears the half of `page` for `index` (both halves of a new page) and links it.
    fn link_empty(&mut self, page: PhysAddr, index: usize) -> Result<(), EditError> {
        self.editor.clear_half(page, index)?;
        if self.tables().pair_table(index).is_none() {
            self.editor.clear_half(page, index ^ 1)?;
        }
        self.editor.sync_page(page)?;
        self.editor.link(index, page)
    }

    /// Unlinks what `take_tables` linked and gives its pages back.
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

    /// Maps the largest piece that fits at `position`; returns its bytes.
    fn map_piece(
        &mut self,
        position: u64,
        span: Span,
        pa: PhysAddr,
        prot: Prot,
        largest: PageSize,
    ) -> Result<u64, EditError> {
        let va = Span::at(position);
        let (index, end) = (section_index(va), piece_end(position, span.end));
        let frame = pa.saturating_add(position - span.va);
        let Some(page) = self.table_of(index) else {
            self.editor.set_first(index, FirstLevel::Section { base: frame, prot, domain: Domain::KERNEL })?;
            return Ok(end - position);
        };
        let large = u64::from(PageSize::Large.bytes());
        let fits = |at: u64| at.is_multiple_of(large) && frame.is_aligned(large) && at + large <= end;
        if largest >= PageSize::Large && fits(position) {
            self.editor.fill_large(page, index, page_index(va), (frame, prot))?;
            self.editor.sync_page(page)?;
            return Ok(large);
        }
        // Small pages up to where a large one could begin.
        let next_large = (position / large + 1) * large;
        let stop = if largest >= PageSize::Large { next_large.min(end) } else { end };
        let run = Run { index, page: page_index(va), pages: pages(stop - position) };
        self.editor.fill_small(page, run, frame, prot)?;
        self.editor.sync_page(page)?;
        Ok(stop - position)
    }

    /// The table page that the MiB `index` itself points to.
    fn table_of(&self, index: usize) -> Option<PhysAddr> {
        match self.tables().first(index) {
            Ok(FirstLevel::PageTable { .. }) => self.tables().pair_table(index),
            _ => None,
        }
    }

    /// Checks that all of `span` is mapped in whole pieces, and that `prot` (if given) can be written to each.
    fn check_mapped(&self, span: Span, prot: Option<Prot>) -> Result<(), MapError> {
        let mut position = span.va;
        while position < span.end {
            let leaf = self.leaf(Span::at(position))?;
            let size = u64::from(leaf.to.size.bytes());
            if !position.is_multiple_of(size) || position + size > span.end {
                return Err(MapError::CutsLarger(leaf.va));
            }
            if let (Some(prot), PageSize::Small | PageSize::Large) = (prot, leaf.to.size) {
                encodable_page(prot)?;
            }
            position += size;
        }
        Ok(())
    }

    /// What is mapped at `va`, from its first address on.
    fn leaf(&self, va: VirtAddr) -> Result<Leaf, MapError> {
        let to = self.tables().walk(va)?.ok_or(MapError::NotMapped(va))?;
        Ok(Leaf { va, to })
    }

    /// Rewrites the descriptors of `leaf`, whole, with `prot`; with `None` they become faults.
    fn write_leaf(&mut self, leaf: Leaf, prot: Option<Prot>) -> Result<(), MapError> {
        let (index, page) = (section_index(leaf.va), page_index(leaf.va));
        let result = match (leaf.to.size, self.table_of(index)) {
            (PageSize::Small | PageSize::Large, Some(table)) => {
                let large = leaf.to.size == PageSize::Large;
                let run = Run { index, page, pages: if large { LARGE_WORDS } else { 1 } };
                let written = match prot {
                    None => self.editor.clear_run(table, run),
                    Some(prot) if large => self.editor.fill_large(table, index, page, (leaf.to.pa, prot)),
                    Some(prot) => self.editor.fill_small(table, run, leaf.to.pa, prot),
                };
                written.and_then(|()| self.editor.sync_page(table))
            }
            (size, _) => {
                let words = (size.bytes() / SECTION_SIZE) as usize;
                let domain = leaf.to.domain;
                let descriptor = match (prot, size) {
                    (None, _) => FirstLevel::Fault,
                    (Some(prot), PageSize::Supersection) => FirstLevel::Supersection { base: leaf.to.pa, prot },
                    (Some(prot), _) => FirstLevel::Section { base: leaf.to.pa, prot, domain },
                };
                let written = (index..index + words).try_for_each(|at| self.editor.set_first(at, descriptor));
                self.editor.sync_first(index, index + words);
                written
            }
        };
        result.map_err(|error| edit(leaf.va, error))
    }

    /// Unlinks and gives back the table pages of `span` that map nothing any more.
    fn drop_empty_tables(&mut self, span: Span, source: &mut dyn TableSource) -> Result<(), MapError> {
        let last = section_index(Span::at(span.end - 1)) | 1;
        for index in (section_index(Span::at(span.va)) & !1..=last).step_by(2) {
            let Some(page) = self.tables().pair_table(index) else { continue };
            if !self.editor.table_is_empty(page).map_err(|error| edit(section_va(index), error))? {
                continue;
            }
            for half in [index, index + 1] {
                if self.table_of(half).is_some() {
                    self.editor.clear_first(half, half + 1);
                    self.editor.sync_first(half, half + 1);
                    self.editor.flush_page(section_va(half));
                }
            }
            source.give_back(page);
        }
        Ok(())
    }

    /// Drops what the TLBs know of `span`.
    fn flush(&self, span: Span) {
        let pages = pages(span.end - span.va);
        if pages > FLUSH_PAGES_MAX as usize {
            return self.editor.flush_all();
        }
        for position in (span.va..span.end).step_by(PAGE_SIZE as usize) {
            self.editor.flush_page(Span::at(position));
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

/// Where the piece at `position` ends: at its MiB's end or at `end`.
fn piece_end(position: u64, end: u64) -> u64 {
    let mib = u64::from(SECTION_SIZE);
    ((position / mib + 1) * mib).min(end)
}

/// Whether a piece is a whole MiB on both sides.
fn is_section(position: u64, next: u64, frame: PhysAddr) -> bool {
    let mib = u64::from(SECTION_SIZE);
    position.is_multiple_of(mib) && next - position == mib && frame.is_aligned(mib)
}

/// Pages in `bytes`, at most what a span holds.
#[expect(clippy::cast_possible_truncation, reason = "a span has at most 2^20 pages")]
const fn pages(bytes: u64) -> usize {
    (bytes / PAGE_SIZE as u64) as usize
}

/// Whether the frames from `pa` are whole pages below 4 GiB.
fn check_frames(pa: PhysAddr, bytes: u64) -> Result<(), MapError> {
    match pa.checked_add(bytes) {
        Some(end) if end.raw() <= 1 << 32 && pa.is_aligned(u64::from(PAGE_SIZE)) => Ok(()),
        _ => Err(MapError::BadFrame(pa)),
    }
}

/// Whether a page can have `prot`.
fn encodable_page(prot: Prot) -> Result<(), MapError> {
    match (SecondLevel::Small { base: PhysAddr::ZERO, prot }).encode() {
        Err(EncodeError::UserOnlyPage) => Err(MapError::BadProt(prot)),
        _ => Ok(()),
    }
}

/// An edit that failed, as the error of the range at `va`.
fn edit(va: VirtAddr, error: EditError) -> MapError {
    match error {
        EditError::Table(error) => MapError::Table(error),
        EditError::Encode(EncodeError::Unaligned(pa) | EncodeError::OutOfReach(pa)) => MapError::BadFrame(pa),
        EditError::Encode(EncodeError::UserOnlyPage) => MapError::AlreadyMapped(va),
        EditError::Run(at) => MapError::TooLong(at),
    }
}

const _: () = assert!(HALF_WORDS * PAGE_SIZE as usize == SECTION_SIZE as usize);
