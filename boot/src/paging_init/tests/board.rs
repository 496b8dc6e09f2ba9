//! What a boot begins with: RAM, the image, and tables as the head code leaves them; and the boot itself.

use core::cell::{Cell, RefCell};

use mm::addr::{PhysAddr, PhysRange};
use mm::layout::{LinearMap, VirtualLayout, VmSplit};
use mm::paging::descriptor::FirstLevel;
use mm::paging::{Domain, Editor, Exec, FIRST_LEVEL_WORDS, Prot, Run, Tables};
use mm::testing::FakeRam;

use super::live::{LiveRam, Watch};
use super::memory::Memory;
use super::{PAGE, editor, range, words};
use crate::image::ImageLayout;
use crate::paging_init::{BootMemory, PagingError, PagingInput, PagingSummary, paging_init};

/// A machine at the entry of `paging_init`.
#[derive(Clone)]
pub(super) struct Board {
    pub(super) split: VmSplit,
    pub(super) phys_offset: u64,
    /// Ascending; the flag is no-map.
    pub(super) banks: Vec<(u64, u64, bool)>,
    pub(super) lowmem_limit: u64,
    pub(super) remap: Vec<PhysRange>,
    pub(super) dtb: Option<PhysRange>,
    /// Begin of the image: text, then rodata, data and `.bss`, 0x3_2000 bytes.
    pub(super) image: u64,
    pub(super) text: u64,
    pub(super) l1: u64,
    /// End of what the head mapped: tables come from below until lowmem is mapped.
    pub(super) first_bank_end: u64,
}

impl Board {
    pub(super) fn ast2500() -> Self {
        Self {
            split: VmSplit::TwoTwo,
            phys_offset: 0x8000_0000,
            banks: vec![
                (0x8000_0000, 0x9800_0000, false),
                (0x9800_0000, 0x9c00_0000, true),
                (0x9c00_0000, 0x9ef0_0000, false),
                (0x9ef0_0000, 0xa000_0000, true),
            ],
            lowmem_limit: 0x9ef0_0000,
            remap: vec![
                range(0x9d00_0000, 0x9e00_0000),
                range(0x9600_0000, 0x9800_0000),
                range(0x9c00_0000, 0x9d00_0000),
            ],
            dtb: Some(range(0x8810_c000, 0x8812_12b8)),
            image: 0x8000_8000,
            text: 0x3_1000,
            l1: 0x8000_4000,
            first_bank_end: 0x9800_0000,
        }
    }

    /// RAM in one bank at `start`, all of it lowmem.
    pub(super) fn plain(start: u64, end: u64) -> Self {
        Self {
            phys_offset: start,
            banks: vec![(start, end, false)],
            lowmem_limit: end,
            remap: vec![range(end - 0x100_0000, end)],
            dtb: Some(range(start + 0x80_0100, start + 0x80_8000)),
            image: start + 0x8000,
            l1: start + 0x4000,
            first_bank_end: end,
            ..Self::ast2500()
        }
    }

    pub(super) fn image_layout(&self) -> ImageLayout {
        let (start, end) = (self.image, self.image + self.text);
        let behind = |from: u64, to: u64| range(end + from, end + to);
        ImageLayout {
            whole: range(start, end + 0x3_2000),
            text: range(start, end),
            rodata: behind(0, 0x1_1000),
            data: behind(0x1_1000, 0x3_2000),
            init: [range(start + 0x4000, start + 0x8000), behind(0x2_a000, 0x2_b000)],
            guards: [behind(0x1_f000, 0x2_0000), behind(0x2_7000, 0x2_8000)],
            vectors: PhysAddr::new(start + 0x1000),
            fixmap_table: PhysAddr::new(end + 0x1_4000),
        }
    }

    pub(super) fn linear(&self) -> LinearMap {
        let limit = PhysAddr::new(self.lowmem_limit);
        LinearMap::new(self.split.page_offset(), PhysAddr::new(self.phys_offset), limit).unwrap()
    }

    pub(super) fn virt(&self, pa: u64) -> u32 {
        (pa - self.phys_offset) as u32 + self.split.page_offset().raw()
    }

    /// The frames that tables can lie in, full of rubbish; no byte of any other frame is looked at.
    pub(super) fn ram(&self) -> FakeRam {
        let mut frames: Vec<u64> = (0..4).map(|page| self.l1 + page * PAGE).collect();
        frames.push(self.image_layout().fixmap_table.raw());
        for limit in [self.first_bank_end, self.lowmem_limit] {
            let mut memory = Memory { board: self, limit, next: u64::MAX, left: 128 };
            frames.extend(core::iter::from_fn(|| memory.take_table()).map(PhysAddr::raw));
        }
        frames.sort_unstable();
        frames.dedup();
        let runs = frames.chunk_by(|lower, upper| lower + PAGE == *upper);
        let ram = FakeRam::new(&runs.map(|run| range(run[0], run[run.len() - 1] + PAGE)).collect::<Vec<_>>());
        frames.iter().for_each(|frame| words(&ram, *frame).fill(0xdead_bfff));
        ram
    }

    /// Where the UART is: not in RAM.
    pub(super) fn console(&self) -> u64 {
        let inside = |&(start, end, _): &(u64, u64, bool)| start <= 0x1c09_0000 && 0x1c09_0000 < end;
        if self.banks.iter().any(inside) { 0x3f20_1000 } else { 0x1c09_0000 }
    }

    /// Writes the tables as the head code does.
    pub(super) fn head(&self, ram: &FakeRam) {
        let mut early = editor(ram, self.l1);
        early.clear_first(0, FIRST_LEVEL_WORDS);
        let mut section = |va: u64, pa: u64, prot| {
            let base = PhysAddr::new(pa >> 20 << 20);
            let descriptor = FirstLevel::Section { base, prot, domain: Domain::KERNEL };
            early.set_first((va >> 20) as usize, descriptor).unwrap();
        };
        section(self.image, self.image, Prot::EARLY_RWX);
        for pa in (self.phys_offset..self.first_bank_end.min(self.lowmem_limit)).step_by(0x10_0000) {
            section(u64::from(self.virt(pa)), pa, Prot::EARLY_RWX);
        }
        if let Some(dtb) = self.dtb {
            section(0xff80_0000, dtb.start.raw(), Prot::KERNEL_RO);
            section(0xff90_0000, dtb.start.raw() + 0x10_0000, Prot::KERNEL_RO);
        }
        // Something that nobody cleared, everywhere else that paging_init must clear.
        section(0x1000_0000, 0x1000_0000, Prot::EARLY_RWX);
        section(0xfe00_0000, 0x1000_0000, Prot::EARLY_RWX);
        section(0xffb0_0000, 0x1000_0000, Prot::EARLY_RWX);
        section(0xfff0_0000, 0x1000_0000, Prot::EARLY_RWX);
        section(u64::from(self.split.page_offset().raw()) - 0x10_0000, 0x1000_0000, Prot::EARLY_RWX);
        let fixmap = self.image_layout().fixmap_table;
        for half in [0xffc, 0xffd] {
            early.clear_half(fixmap, half).unwrap();
            early.link(half, fixmap).unwrap();
        }
        let run = |page, pages| Run { index: 0xffc, page, pages };
        let device = Prot { exec: Exec::Allowed, ..Prot::DEVICE_RW };
        early.fill_small(fixmap, run(0x80, 1), PhysAddr::new(self.console()), device).unwrap();
        early.fill_small(fixmap, run(0x90, 3), PhysAddr::new(0x1000), Prot::EARLY_RWX).unwrap();
    }

    pub(super) fn run(&self) -> (FakeRam, Result<PagingSummary, PagingError>) {
        let ram = self.ram();
        self.head(&ram);
        let result = self.run_on(&ram, &|_| true, usize::MAX);
        (ram, result)
    }

    /// Runs `paging_init` on a live model: memory is reached through the tables as they are, and every maintenance
    /// call looks whether the running code would still be there.
    pub(super) fn run_on(
        &self,
        ram: &FakeRam,
        probe: &dyn Fn(PhysAddr) -> bool,
        tables: usize,
    ) -> Result<PagingSummary, PagingError> {
        let live = LiveRam { ram, board: self };
        let tlb = Watch { ram, board: self, looks: Cell::new(0), before: RefCell::default() };
        // SAFETY: the test uses the table frames as tables only.
        let handle = unsafe { Tables::new(&live, PhysAddr::new(self.l1)) }.unwrap();
        // SAFETY: the only editor of these tables; nothing runs behind them but the model.
        let mut editor = unsafe { Editor::new(handle, &tlb) };
        let input = PagingInput {
            layout: VirtualLayout::new(self.linear()),
            image: &self.image_layout(),
            remap: &self.remap,
            dtb: self.dtb,
            shareable: true,
            probe,
        };
        let mut memory = Memory { board: self, limit: self.first_bank_end, next: u64::MAX, left: tables };
        let result = paging_init(&mut editor, &input, &mut memory);
        assert!(tlb.looks.get() > 0);
        result
    }
}
