//! Cuts sections and large pages at the borders of a range, and joins a table to a section again.
//!
//! Theory.      A range has two borders, so at most two sections are cut, and at most two tables are needed. They are
//!              taken and filled before anything live changes: each says what its section said, by large pages, and by
//!              small ones where the border cuts a large page. A supersection that is cut becomes sixteen sections
//!              first. What changes afterwards are single words, one store each:
//!
//! ```text
//!   section (1 MiB)  |###############################|      border
//!   table            |L|L|L|L|L|L|ssss'ssss|L|L|L|L|L|         '
//! ```
//! Break before make.  Two descriptors of different size for one address must not be in a TLB together, since a look-up
//!              that hits both may give neither (Arm ARM DDI 0406C B3.10.1). [`Live::Broken`] therefore writes a fault,
//!              syncs it, flushes the address, and only then writes the new word: nobody can have both. In between,
//!              every address of the descriptor faults, so nothing else may use it: right for vmalloc and devices,
//!              whose mapping the caller owns whole.
//!              [`Live::InPlace`] writes the new word over the old one and flushes then. The old and the new
//!              descriptors agree in output address, kind of memory, shareability and rights of each byte, since a cut
//!              or a join changes none of them; so a look-up that hits either, or a mix of the fields of both, gives
//!              the same answer. What remains is that a CPU with the Large Physical Address Extension may report two
//!              hits as a conflict abort, which a flush cures. Right for the linear map, where code, stacks and other
//!              CPUs live at every moment. Rights change only after the cut is flushed.
//! Invariants.  A cut or a join changes no translation. On `Err` no word that the MMU sees has changed.
//! Source.      Linux x86 `split_large_page` (in place); ARM Linux does not split.
#![forbid(unsafe_code)]

use core::sync::atomic::Ordering;

use super::change::Leaf;
use super::descriptor::{FirstLevel, LARGE_PAGE_SIZE};
use super::edit::{EditError, LARGE_WORDS, Run};
use super::error::{MapError, edit};
use super::map::{Mapper, TableSource};
use super::prot::{Domain, Exec, Prot};
use super::sections::is_supersection;
use super::soft::SoftEntry;
use super::span::{Piece, Span};
use super::table::{HALF_WORDS, half_address, page_index, section_index, section_va};
use super::walk::{PageSize, page_va};
use crate::addr::{PAGE_SIZE, PhysAddr, SECTION_SIZE};
use crate::platform::{PhysMap, TlbControl};

/// What others may do while a descriptor is split or joined.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Live {
    /// Nobody uses any address of the descriptor: it is broken, flushed and made.
    Broken,
    /// Others use its addresses at every moment: it is replaced in place, then flushed.
    InPlace,
}

/// A table that says what the section of MiB `index` says, not linked yet.
#[derive(Clone, Copy, Debug)]
struct Cut {
    index: usize,
    page: PhysAddr,
    /// The page came from the source for this cut.
    fresh: bool,
    domain: Domain,
}

impl<P: PhysMap + ?Sized, T: TlbControl + ?Sized> Mapper<'_, P, T> {
    /// Cuts what the borders of `span` lie inside of. All of `span` is mapped and can be cut (`check_mapped`).
    pub(super) fn split_at_borders(&mut self, span: Span, source: &mut dyn TableSource) -> Result<(), MapError> {
        let (first, last) = (self.cut_leaf(span.va)?, self.cut_leaf(span.end)?);
        if first.is_none() && last.is_none() {
            return Ok(());
        }
        self.split(span, [first, last], source)
    }

    /// The descriptor that `position` lies inside of, if it is not at its begin.
    fn cut_leaf(&self, position: u64) -> Result<Option<Leaf>, MapError> {
        // The end of the address space is such a multiple, too.
        if position.is_multiple_of(u64::from(PageSize::Supersection.bytes())) {
            return Ok(None);
        }
        let va = Span::at(position);
        // Nothing but a supersection reaches over the border of a MiB.
        if va.is_aligned(SECTION_SIZE) && !is_supersection(self.tables().first_word(section_index(va))) {
            return Ok(None);
        }
        match self.leaf(va) {
            Ok(leaf) => Ok((leaf.va != va).then_some(leaf)),
            Err(MapError::NotMapped(_)) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Cuts at the borders of `span`, each of which lies inside its leaf, if it has one.
    #[inline(never)]
    fn split(&mut self, span: Span, leaves: [Option<Leaf>; 2], source: &mut dyn TableSource) -> Result<(), MapError> {
        let first = self.prepare(span, span.va, leaves[0], None, source)?;
        let last = match self.prepare(span, span.end, leaves[1], first, source) {
            Ok(last) => last,
            Err(error) => {
                self.undo_cut(first, source);
                return Err(error);
            }
        };
        for (position, leaf) in [span.va, span.end].into_iter().zip(leaves) {
            // Again: the other border may have been inside the same one.
            let (Some(leaf), Some(_)) = (leaf, self.cut_leaf(position)?) else { continue };
            match leaf.to.size {
                PageSize::Supersection => self.make_sections(leaf)?,
                PageSize::Large => self.make_small(leaf).map_err(|error| edit(leaf.va, error))?,
                PageSize::Section | PageSize::Small => {}
            }
        }
        for cut in [first, last].into_iter().flatten() {
            let table = half_address(cut.page, cut.index);
            let descriptor = FirstLevel::PageTable { table, domain: cut.domain, pxn: false };
            let replaced = self.replace_first(cut.index, 1, |_| descriptor);
            replaced.map_err(|error| edit(section_va(cut.index), error))?;
        }
        Ok(())
    }

    /// Takes and fills the table for the MiB of `position`, if that is a section and `other` does not do it already.
    fn prepare(
        &mut self,
        span: Span,
        position: u64,
        leaf: Option<Leaf>,
        other: Option<Cut>,
        source: &mut dyn TableSource,
    ) -> Result<Option<Cut>, MapError> {
        let Some(leaf) = leaf else { return Ok(None) };
        let va = Span::at(position);
        let index = section_index(va);
        let done = other.is_some_and(|cut| cut.index == index);
        if leaf.to.size < PageSize::Section || va.is_aligned(SECTION_SIZE) || done {
            return Ok(None);
        }
        let shared = other.filter(|cut| cut.index == index ^ 1).map(|cut| cut.page);
        let old = self.tables().pair_table(index).or(shared);
        let page = match old {
            Some(page) => page,
            None => source.take_table().ok_or(MapError::NoTable(va))?,
        };
        let cut = Cut { index, page, fresh: old.is_none(), domain: leaf.to.domain };
        let base = leaf.to.pa.saturating_add(u64::from(section_va(index).raw() - leaf.va.raw()));
        if let Err(error) = self.fill_cut(cut, base, leaf.to.prot, span) {
            self.undo_cut(Some(cut), source);
            return Err(edit(va, error));
        }
        Ok(Some(cut))
    }

    /// Fills the table of `cut` with what the section at `base` says, cut at the borders of `span`.
    fn fill_cut(&mut self, cut: Cut, base: PhysAddr, prot: Prot, span: Span) -> Result<(), EditError> {
        if cut.fresh {
            self.editor.clear_half(cut.page, cut.index ^ 1)?;
        }
        for page in (0..HALF_WORDS).step_by(LARGE_WORDS) {
            let frame = base.saturating_add(page as u64 * u64::from(PAGE_SIZE));
            let start = u64::from(page_va(cut.index, page).raw());
            let is_cut = |border: u64| border > start && border - start < u64::from(LARGE_PAGE_SIZE);
            if is_cut(span.va) || is_cut(span.end) {
                let run = Run { index: cut.index, page, pages: LARGE_WORDS };
                self.editor.fill_small(cut.page, run, frame, prot)?;
            } else {
                self.editor.fill_large(cut.page, cut.index, page, (frame, prot))?;
            }
        }
        self.editor.sync_page(cut.page)
    }

    /// Forgets a table that was never linked.
    #[cold]
    fn undo_cut(&mut self, cut: Option<Cut>, source: &mut dyn TableSource) {
        let Some(cut) = cut else { return };
        if cut.fresh {
            source.give_back(cut.page);
        } else if self.editor.clear_half(cut.page, cut.index).is_err() {
            debug_assert!(false, "a table that was filled can be cleared");
        }
    }

    /// Makes sixteen sections of a supersection.
    fn make_sections(&mut self, leaf: Leaf) -> Result<(), MapError> {
        let words = (leaf.to.size.bytes() / SECTION_SIZE) as usize;
        let section = |at: usize| FirstLevel::Section {
            base: leaf.to.pa.saturating_add(at as u64 * u64::from(SECTION_SIZE)),
            prot: leaf.to.prot,
            domain: leaf.to.domain,
        };
        self.replace_first(section_index(leaf.va), words, section).map_err(|error| edit(leaf.va, error))
    }

    /// Makes sixteen small pages of a large one.
    fn make_small(&mut self, leaf: Leaf) -> Result<(), EditError> {
        let run = Run { index: section_index(leaf.va), page: page_index(leaf.va), pages: LARGE_WORDS };
        let Some(page) = self.table_of(run.index) else { return Ok(()) };
        // "Users only" is what the table's word says, not the page's.
        let exec = if leaf.to.prot.exec == Exec::UserOnly { Exec::Allowed } else { leaf.to.prot.exec };
        let prot = Prot { exec, ..leaf.to.prot };
        if self.live == Live::Broken {
            self.editor.clear_run(page, run)?;
            self.editor.sync_run(page, run)?;
            self.editor.flush_page(leaf.va);
        }
        self.editor.fill_small(page, run, leaf.to.pa, prot)?;
        self.editor.sync_run(page, run)?;
        if self.live == Live::InPlace {
            self.editor.flush_page(leaf.va);
        }
        Ok(())
    }

    /// Replaces the `count` first-level words of one descriptor, from `index` on.
    fn replace_first(
        &mut self,
        index: usize,
        count: usize,
        new: impl Fn(usize) -> FirstLevel,
    ) -> Result<(), EditError> {
        // Nothing is broken that cannot be made.
        (0..count).try_for_each(|at| new(at).encode().map(drop))?;
        if self.live == Live::Broken {
            self.editor.clear_first(index, index + count);
            self.editor.sync_first(index, index + count);
            self.editor.flush_page(section_va(index));
        }
        for at in 0..count {
            self.editor.set_first(index + at, new(at))?;
        }
        self.editor.sync_first(index, index + count);
        if self.live == Live::InPlace {
            self.editor.flush_page(section_va(index));
        }
        Ok(())
    }

    /// Makes a section of the table that `piece` lies in, if it can say the same, and gives the table back.
    pub(super) fn join(&mut self, piece: Piece, source: &mut dyn TableSource) -> Result<(), EditError> {
        let index = piece.index();
        let Ok(FirstLevel::PageTable { table, domain, pxn: false }) = self.tables().first(index) else { return Ok(()) };
        let page = table.align_down(u64::from(PAGE_SIZE));
        let Some(SoftEntry { base, prot, .. }) = self.uniform(page, piece.run())? else { return Ok(()) };
        if self.live == Live::Broken {
            self.editor.clear_first(index, index + 1);
            self.editor.sync_first(index, index + 1);
            self.editor.flush_all();
        }
        self.editor.set_first(index, FirstLevel::Section { base, prot, domain })?;
        self.editor.sync_first(index, index + 1);
        if self.live == Live::InPlace {
            self.editor.flush_all();
        }
        if self.table_of(index ^ 1).is_none() {
            source.give_back(page);
            return Ok(());
        }
        self.editor.clear_half(page, index)?;
        // The other half may have been kept for the sake of this one.
        let pair = index & !1;
        if source.postpone(pair) { Ok(()) } else { self.drop_pair(pair, source) }
    }

    /// What the first page says, if all 256 are equal, contiguous and aligned to a section. The neighbours of `run`,
    /// which has just changed, are asked first: they nearly always differ.
    fn uniform(&self, page: PhysAddr, run: Run) -> Result<Option<SoftEntry>, EditError> {
        let words = self.tables().page(page)?.software(run.index);
        let word = |at: usize| words.get(at).map_or(0, |word| word.load(Ordering::Relaxed));
        let (first, last) = (word(0), HALF_WORDS - 1);
        let Some(entry) = SoftEntry::decode(first) else { return Ok(None) };
        if !entry.base.is_aligned(u64::from(SECTION_SIZE)) {
            return Ok(None);
        }
        #[expect(clippy::cast_possible_truncation, reason = "a page's index has 8 bits")]
        let fits = |at: usize| word(at) == first.wrapping_add(at as u32 * PAGE_SIZE);
        let near = [run.page.saturating_sub(1), run.page, run.page.saturating_add(run.pages).min(last), last];
        Ok((near.into_iter().all(fits) && (0..HALF_WORDS).all(fits)).then_some(entry))
    }
}
