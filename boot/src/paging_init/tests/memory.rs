//! Where the frames for tables come from.

use mm::addr::PhysAddr;

use super::board::Board;
use super::{PAGE, range};
use crate::paging_init::{Bank, BootMemory};

/// Memblock in small: frames top-down below a limit, not from the image, the areas or the device tree.
pub(super) struct Memory<'a> {
    pub(super) board: &'a Board,
    pub(super) limit: u64,
    pub(super) next: u64,
    pub(super) left: usize,
}

impl BootMemory for Memory<'_> {
    fn bank(&self, index: usize) -> Option<Bank> {
        let &(start, end, no_map) = self.board.banks.get(index)?;
        Some(Bank { range: range(start, end), no_map })
    }

    fn take_table(&mut self) -> Option<PhysAddr> {
        self.left = self.left.checked_sub(1)?;
        let mut at = self.next.min(self.limit) / PAGE * PAGE;
        loop {
            at = at.checked_sub(PAGE)?;
            let frame = range(at, at + PAGE);
            let image = self.board.image_layout();
            let taken = frame.overlaps(image.whole)
                || frame.overlaps(range(self.board.l1, self.board.l1 + 0x4000))
                || self.board.dtb.is_some_and(|dtb| dtb.overlaps(frame))
                || self.board.remap.iter().any(|area| area.overlaps(frame));
            if !taken && self.board.linear_prot(at).is_some() {
                self.next = at;
                return Some(PhysAddr::new(at));
            }
        }
    }

    fn lowmem_is_mapped(&mut self) {
        (self.limit, self.next) = (self.board.lowmem_limit, u64::MAX);
    }
}
