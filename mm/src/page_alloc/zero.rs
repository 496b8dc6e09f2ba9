//! Bytes of blocks: zeroed, filled, looked through, copied.
//!
//! Theory.      A block that the linear map reaches is one run of bytes; of any other one each frame is reached for a
//!              moment, by [`PageAccess`](crate::platform::PageAccess), if there is one.
//! Source.      Linux: `prep_zero_page`, `kernel_poison_pages`, `kernel_unpoison_pages`, `copy_highpage`.

use core::panic::Location;
use core::ptr::NonNull;

use crate::addr::{PAGE_SIZE, Pfn};
use crate::buddy::FreeCore;
use crate::memmap::Page;
use crate::order::Order;
use crate::page_alloc::hooks::{PAGE_POISON, block};
use crate::page_alloc::{AllocError, PageAllocator};
use crate::sync::CurrentCpu;

const BYTES: usize = PAGE_SIZE as usize;
const POISON_WORD: u32 = u32::from_ne_bytes([PAGE_POISON; 4]);

impl<'m, M: CurrentCpu, C: FreeCore<'m>> PageAllocator<'m, M, C> {
    /// Calls `use_bytes` with the first byte of a frame that is ours; `false` when nobody reaches it.
    fn with_frame(&self, pfn: Pfn, use_bytes: &mut dyn FnMut(NonNull<u8>)) -> bool {
        if let Some(bytes) = self.ram.and_then(|ram| ram.frames_ptr(pfn, 1)) {
            use_bytes(bytes);
            return true;
        }
        self.watch.access.get().is_some_and(|access| access.with_frame(pfn, use_bytes))
    }

    /// Zeroes a block that was just allocated, or gives it back.
    #[cold]
    #[inline(never)]
    pub(super) fn zero_block(&self, pfn: Pfn, order: Order) -> Result<(), AllocError> {
        if self.fill_block(pfn, order, 0, |_| {}) {
            return Ok(());
        }
        self.free_own(pfn, order);
        Err(AllocError::Unreachable { pfn, order })
    }

    /// Fills every frame of a block that is ours, as far as they can be reached, and hands the page of each of these to
    /// `filled`; `false` when one could not be.
    pub(super) fn fill_block(&self, pfn: Pfn, order: Order, byte: u8, filled: impl Fn(&Page)) -> bool {
        let mut all = true;
        for frame in block(pfn, order) {
            let reached = self.with_frame(frame, &mut |bytes| match self.ram {
                // SAFETY: valid because `with_frame` answers for every byte of the frame, the allocator's own now.
                Some(ram) => unsafe { ram.fill_frame(bytes, byte) },
                // SAFETY: the same.
                None => unsafe { bytes.write_bytes(byte, BYTES) },
            });
            match self.map.page(frame).filter(|_| reached) {
                Some(page) => filled(page),
                None => all = false,
            }
        }
        all
    }

    /// Looks for the poison in a frame that was free until now; reports the first byte that is something else, and
    /// whether there was one (Linux: `check_poison_mem`).
    pub(super) fn report_bad_poison(&self, pfn: Pfn, caller: &Location<'_>) -> bool {
        let mut found = None;
        self.with_frame(pfn, &mut |bytes| {
            // SAFETY: valid because `with_frame` answers for every byte of the frame, and words of RAM are always some
            // `u32`; a frame begins at a word's place.
            let words = unsafe { core::slice::from_raw_parts(bytes.as_ptr().cast::<u32>(), BYTES / 4) };
            // Eight words at a time: nearly every frame is as it was left.
            let is_other = |words: &[u32; 8]| words.iter().fold(0, |other, word| other | (word ^ POISON_WORD)) != 0;
            if !words.as_chunks().0.iter().any(is_other) {
                return;
            }
            // SAFETY: as above; a word is four bytes.
            let bytes = unsafe { core::slice::from_raw_parts(bytes.as_ptr(), BYTES) };
            let bad = |byte: &u8| *byte != PAGE_POISON;
            let count = bytes.iter().filter(|byte| bad(byte)).count();
            let first = bytes.iter().position(bad);
            found = first.and_then(|at| Some((at, *bytes.get(at)?, count)));
        });
        let Some((at, byte, count)) = found else { return false };
        let kind = match (count, (byte ^ PAGE_POISON).count_ones()) {
            (1, 1) => "single bit error",
            _ => "memory corruption",
        };
        let why = format_args!(
            "pfn {pfn}: pagealloc: {kind}: byte {at:#x} at {} is {byte:#04x}, not {PAGE_POISON:#04x}; bytes that differ: {count}",
            pfn.base().saturating_add(at as u64)
        );
        self.report_bad_page(pfn, &why, caller);
        true
    }

    /// Copies a block's bytes to another block of its order; `false` when a frame cannot be reached, and then some may
    /// be copied (Linux: `copy_highpage`).
    ///
    /// # Safety
    /// The blocks must be two different ones, both the caller's, whose bytes nobody else uses meanwhile.
    pub unsafe fn copy_block(&self, from: Pfn, to: Pfn, order: Order) -> bool {
        // SAFETY: the caller's promise holds for each frame of the blocks.
        block(from, order).zip(block(to, order)).all(|(from, to)| unsafe { self.copy_frame(from, to) })
    }

    /// Copies one frame's bytes.
    ///
    /// # Safety
    /// As for [`Self::copy_block`].
    unsafe fn copy_frame(&self, from: Pfn, to: Pfn) -> bool {
        let mut copied = false;
        self.with_frame(from, &mut |source| {
            copied = self.with_frame(to, &mut |target| {
                // SAFETY: valid because `with_frame` answers for every byte of both frames, which by the caller's
                // promise are two and in nobody else's use.
                unsafe { target.copy_from_nonoverlapping(source, BYTES) };
            });
        });
        copied
    }
}
