//! Unmapping in two steps, so that one flush serves many ranges.
//!
//! Theory.      `retire` makes the words of a range faults, which keep the frame in the bits that the MMU ignores:
//!
//! ```text
//!              31          12 11     3  2 1 0
//! retired     | frame        |    0   | 1|0 0|
//! ```
//! From then on a walk faults, but a TLB may still know the frame, so it may serve nothing else. After a flush of
//! everything, `reap` hands the frames out and clears the words.
//! Invariants.  A retired word is not free: nothing is mapped over it, and its table stays.
//! Source.      Arm ARM DDI 0406C B3.5.1: bits 31:2 of a fault are ignored.
#![forbid(unsafe_code)]

use core::sync::atomic::{AtomicU32, Ordering};

use super::error::{MapError, edit};
use super::map::{Mapper, TableSource};
use super::span::Span;
use super::walk::PageSize;
use crate::addr::{PAGE_SIZE, PhysAddr, SECTION_SIZE, VirtAddr};
use crate::platform::{PhysMap, TlbControl};

/// What makes a fault a retired page or section.
const RETIRED: u32 = 1 << 2;

/// Clears `word`; the frame, if it was retired.
fn reap_word(word: &AtomicU32) -> Option<PhysAddr> {
    let raw = word.load(Ordering::Relaxed);
    if raw & (PAGE_SIZE - 1) != RETIRED {
        return None;
    }
    word.store(0, Ordering::Relaxed);
    Some(PhysAddr::new(u64::from(raw & !(PAGE_SIZE - 1))))
}

impl<P: PhysMap + ?Sized, T: TlbControl + ?Sized> Mapper<'_, P, T> {
    /// Unmaps `bytes` bytes at `va`, all mapped and no larger mapping cut, but keeps the frames in the words. Flushes
    /// nothing; no table is needed or given back.
    ///
    /// # Errors
    /// [`MapError`] with the first offending address; [`MapError::CutsLarger`] also for supersections.
    pub fn retire(&mut self, va: VirtAddr, bytes: u64) -> Result<(), MapError> {
        let span = Span::new(va, bytes)?;
        self.check_mapped(span, None)?;
        for piece in span.pieces() {
            let leaf = self.leaf(piece.va())?;
            let last = self.leaf(Span::at(piece.end - 1))?;
            if leaf.to.size == PageSize::Supersection || leaf.va < piece.va() {
                return Err(MapError::CutsLarger(leaf.va));
            }
            if last.end() > piece.end {
                return Err(MapError::CutsLarger(last.va));
            }
        }
        for piece in span.pieces() {
            let (index, run) = (piece.index(), piece.run());
            let Some(page) = self.table_of(index) else {
                let section = self.tables().first_word(index) & !(SECTION_SIZE - 1);
                self.editor.set_first_raw(index, section | RETIRED);
                self.editor.sync_first(index, index + 1);
                continue;
            };
            let (software, hardware) = self.editor.run_words(page, run).map_err(|error| edit(va, error))?;
            for (soft, hard) in software.iter().zip(hardware) {
                // Of a large page, too, the software entry names the very frame.
                let frame = soft.load(Ordering::Relaxed) & !(PAGE_SIZE - 1);
                hard.store(frame | RETIRED, Ordering::Relaxed);
                soft.store(0, Ordering::Relaxed);
            }
            self.editor.sync_run(page, run).map_err(|error| edit(va, error))?;
        }
        Ok(())
    }

    /// Clears the retired words of `bytes` bytes at `va`, after a flush; hands out the frame at each multiple of `step`
    /// from `va`, and gives back the tables that became empty. What is not retired is left as it is.
    ///
    /// # Errors
    /// [`MapError`] for a range that is none, or tables that are broken.
    pub fn reap<S: TableSource>(
        &mut self,
        va: VirtAddr,
        bytes: u64,
        step: PageSize,
        source: &mut S,
        mut freed: impl FnMut(&mut S, PhysAddr),
    ) -> Result<(), MapError> {
        let span = Span::new(va, bytes)?;
        let begins = |position: u64| (position - span.va).is_multiple_of(u64::from(step.bytes()));
        for piece in span.pieces() {
            let (index, run) = (piece.index(), piece.run());
            let Some(page) = self.table_of(index) else {
                let section = self.tables().first_level().get(index).and_then(reap_word);
                if let Some(base) = section {
                    let blocks = (piece.at..piece.end).step_by(step.bytes() as usize);
                    blocks.for_each(|at| freed(source, base.saturating_add(at - piece.at)));
                }
                continue;
            };
            let (_, hardware) = self.editor.run_words(page, run).map_err(|error| edit(va, error))?;
            let mut position = piece.at;
            for word in hardware {
                if let Some(frame) = reap_word(word)
                    && begins(position)
                {
                    freed(source, frame);
                }
                position += u64::from(PAGE_SIZE);
            }
        }
        self.drop_empty_tables(span, source)
    }
}
