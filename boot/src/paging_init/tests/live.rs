//! The machine as the running kernel has it: memory through the tables as they are, and a look at each maintenance.

use core::cell::{Cell, RefCell};
use core::ptr::NonNull;

use mm::addr::{Pfn, VirtAddr};
use mm::platform::{PhysMap, TlbControl};
use mm::testing::FakeRam;

use super::board::Board;
use super::{CONSOLE_VA, PAGE, model, range, words};

/// Frames, reached as the running kernel reaches them: only where the tables map them at their linear address.
pub(super) struct LiveRam<'a> {
    pub(super) ram: &'a FakeRam,
    pub(super) board: &'a Board,
}

// SAFETY: the pointers are `FakeRam`'s, whose promises are the same; fewer frames answer.
unsafe impl PhysMap for LiveRam<'_> {
    fn frames_ptr(&self, first: Pfn, pages: u32) -> Option<NonNull<u8>> {
        let mmu = model(self.ram, self.board.l1);
        let mapped = |pfn: Pfn| {
            let pa = pfn.base().raw();
            mmu.translate(self.board.virt(pa)).is_some_and(|answer| answer.pa == pa && answer.access[1])
        };
        let all = (0..pages).all(|page| first.checked_add(page).is_some_and(mapped));
        assert!(all, "table frame {first} is not mapped when it is needed");
        self.ram.frames_ptr(first, pages)
    }
}

/// Looks at every maintenance call whether code, data, first level and console are still mapped.
pub(super) struct Watch<'a> {
    pub(super) ram: &'a FakeRam,
    pub(super) board: &'a Board,
    pub(super) looks: Cell<u32>,
    /// The first level at the last look.
    pub(super) before: RefCell<Vec<u32>>,
}

impl Watch<'_> {
    /// Outside the MiBs that run a section is unmapped, and that seen by the MMU, before pages take its place.
    fn look_at_breaks(&self) {
        let now: Vec<u32> = (0..4).flat_map(|page| words(self.ram, self.board.l1 + page * PAGE).to_vec()).collect();
        let before = self.before.replace(now.clone());
        let (board, image) = (self.board, self.board.image_layout().whole);
        for mib in (board.phys_offset..board.lowmem_limit).step_by(0x10_0000) {
            let index = (board.virt(mib) >> 20) as usize;
            let mib = range(mib, mib + 0x10_0000);
            let runs = mib.overlaps(image) || mib.overlaps(range(board.l1, board.l1 + 0x4000));
            let was_section = before.get(index).is_some_and(|word| word & 2 != 0);
            assert!(runs || !was_section || now[index] & 3 != 1, "{mib}: a table took the place of a live section");
        }
    }

    fn look(&self) {
        self.looks.set(self.looks.get() + 1);
        self.look_at_breaks();
        let (mmu, board, image) = (model(self.ram, self.board.l1), self.board, self.board.image_layout());
        let alive = |pa: u64, fetch: bool, write: bool| {
            let found =
                mmu.translate(board.virt(pa)).unwrap_or_else(|| panic!("{pa:#x} is unmapped while it is needed"));
            assert!(found.pa == pa && (found.fetch[0] || !fetch) && (found.access[1] || !write), "{pa:#x}: {found:x?}");
        };
        for page in image.text.whole_frames().iter() {
            alive(page.base().raw(), true, false);
        }
        for page in image.rodata.whole_frames().iter() {
            alive(page.base().raw(), false, false);
        }
        for page in
            image.data.whole_frames().iter().filter(|page| !image.guards.iter().any(|g| g.contains(page.base())))
        {
            alive(page.base().raw(), false, true);
        }
        alive(board.l1, false, true);
        assert_eq!(mmu.translate(CONSOLE_VA).map(|found| found.pa), Some(board.console()));
        if let Some(dtb) = board.dtb {
            let at = 0xff80_0000 + (dtb.start.raw() % 0x10_0000) as u32;
            assert_eq!(mmu.translate(at).map(|found| found.pa), Some(dtb.start.raw()));
        }
    }
}

impl TlbControl for Watch<'_> {
    fn sync_table(&self, _ptr: NonNull<u8>, _bytes: usize) {
        self.look();
    }
    fn flush_page(&self, _va: VirtAddr) {
        self.look();
    }
    fn flush_all(&self) {
        self.look();
    }
}
