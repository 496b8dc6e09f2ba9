//! RAM as the boot reaches it: through the window that it says is mapped, and what its first-level table says of it.

use core::ptr::NonNull;
use core::sync::atomic::{AtomicU32, Ordering};

use mm::addr::{PAGE_SIZE, Pfn, PfnRange, SECTION_SIZE};
use mm::layout::PAGE_OFFSET;
use mm::platform::PhysMap;
use mm::testing::FakeRam;

use crate::head::HeadInfo;
use crate::head::plan::Raw;

/// Frames that the running tables reach at their linear address.
#[derive(Debug)]
pub struct WindowRam {
    pub(super) ram: FakeRam,
    first: AtomicU32,
    end: AtomicU32,
    table: AtomicU32,
    offset: AtomicU32,
}

// SAFETY: the pointers are `FakeRam`'s, of fewer frames.
unsafe impl PhysMap for WindowRam {
    fn frames_ptr(&self, first: Pfn, pages: u32) -> Option<NonNull<u8>> {
        let (window, end) = (self.window(), first.checked_add(pages)?);
        let inside = first >= window.start && end <= window.end;
        let mibs = PfnRange::new(first, end).iter().filter(|frame| *frame == first || frame.raw() % 256 == 0);
        let hole = { mibs }.find(|frame| inside && self.is_hole(*frame));
        assert!(hole.is_none(), "frame {hole:?} is used and not mapped");
        if inside { self.ram.frames_ptr(first, pages) } else { None }
    }
}

impl WindowRam {
    pub(super) fn new(ram: FakeRam) -> Self {
        let zero = || AtomicU32::new(0);
        Self { ram, first: zero(), end: zero(), table: zero(), offset: zero() }
    }

    /// From now on the first-level table of `head` says what is mapped.
    pub(super) fn tables_at(&self, head: &HeadInfo) {
        self.table.store(head.table, Ordering::Relaxed);
        self.offset.store(head.phys_offset, Ordering::Relaxed);
    }

    fn window(&self) -> PfnRange {
        PfnRange::new(Pfn::new(self.first.load(Ordering::Relaxed)), Pfn::new(self.end.load(Ordering::Relaxed)))
    }

    /// Whether the frame lies in the window, but in a MiB that the first-level table maps to nothing.
    pub(super) fn is_hole(&self, frame: Pfn) -> bool {
        let address = (frame.raw() * PAGE_SIZE).wrapping_sub(self.offset.load(Ordering::Relaxed));
        let index = address.wrapping_add(PAGE_OFFSET.raw()) / SECTION_SIZE;
        let word = self.word(self.table.load(Ordering::Relaxed) + index * 4);
        // SAFETY: the word is in fake RAM, in a table that is written by this thread alone.
        self.window().contains(frame) && word.is_some_and(|word| unsafe { word.read() } == 0)
    }

    pub(super) fn set(&self, frames: PfnRange) {
        self.first.store(frames.start.raw(), Ordering::Relaxed);
        self.end.store(frames.end.raw(), Ordering::Relaxed);
    }

    /// The word at `address`, if there is RAM, whatever is mapped.
    fn word(&self, address: u32) -> Option<NonNull<u32>> {
        let page = self.ram.frames_ptr(Pfn::new(address / PAGE_SIZE), 1)?;
        // SAFETY: the offset is inside the page.
        Some(unsafe { page.add((address % PAGE_SIZE) as usize & !3) }.cast())
    }

    /// Copies `bytes` to `at`; what would lie outside RAM is lost, as on a machine.
    pub(super) fn write(&self, at: u32, bytes: &[u8]) {
        for (offset, byte) in (0..).zip(bytes) {
            let address = at.wrapping_add(offset);
            let Some(page) = self.ram.frames_ptr(Pfn::new(address / PAGE_SIZE), 1) else { continue };
            // SAFETY: the offset is inside the page.
            let place = unsafe { page.add((address % PAGE_SIZE) as usize) };
            // SAFETY: nobody refers to the bytes of this RAM while the head runs.
            unsafe { place.write(*byte) }
        }
    }

    /// The page's bytes, if there is RAM.
    pub(super) fn page(&self, frame: Pfn) -> Option<[u8; PAGE_SIZE as usize]> {
        let page = self.ram.frames_ptr(frame, 1)?.cast();
        // SAFETY: the page is there, and the caller asks while nobody writes it.
        Some(unsafe { page.read() })
    }
}

/// Memory with the MMU off: absent RAM reads 0 and swallows writes.
pub(super) struct Bare<'a>(pub(super) &'a WindowRam);

impl Raw for Bare<'_> {
    fn read(&self, address: u32) -> u32 {
        // SAFETY: the word is in fake RAM, which nobody refers to while the head runs.
        self.0.word(address).map_or(0, |word| u32::from_le(unsafe { word.read() }))
    }

    fn write(&self, address: u32, value: u32) {
        if let Some(word) = self.0.word(address) {
            // SAFETY: as above.
            unsafe { word.write(value.to_le()) }
        }
    }
}
