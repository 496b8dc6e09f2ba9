//! Whole boots on the host: tables as the head code leaves them, `paging_init`, then every page of the 4 GiB judged.
#![expect(clippy::cast_possible_truncation, reason = "addresses of the tests are below 4 GiB")]

use core::cell::{Cell, RefCell};
use core::ptr::NonNull;
use std::vec::Vec;

use mm::addr::{Pfn, PhysAddr, PhysRange, VirtAddr};
use mm::layout::{LinearMap, VirtualLayout, VmSplit};
use mm::paging::descriptor::FirstLevel;
use mm::paging::model::{Answer, ModelMmu};
use mm::paging::{Audit, AuditError, Domain, Editor, Prot, Rules, Run, TableError, Tables, audit};
use mm::platform::{PhysMap, TlbControl};
use mm::testing::FakeRam;

use super::*;

const PAGE: u64 = 0x1000;
const CONSOLE_VA: u32 = 0xffc8_0000;

fn range(start: u64, end: u64) -> PhysRange {
    PhysRange::new(PhysAddr::new(start), PhysAddr::new(end))
}

fn model(ram: &FakeRam, root: u64) -> ModelMmu<'_, FakeRam> {
    ModelMmu { ram, ttbr: root, prrr: 0xff0a_81a8, nmrr: 0x40e0_40e0, dacr: 1 }
}

/// A machine at the entry of `paging_init`.
#[derive(Clone)]
struct Board {
    split: VmSplit,
    phys_offset: u64,
    /// Ascending; the flag is no-map.
    banks: Vec<(u64, u64, bool)>,
    lowmem_limit: u64,
    remap: Vec<PhysRange>,
    dtb: Option<PhysRange>,
    /// Begin of the image: text, then rodata, data and `.bss`, 0x3_2000 bytes.
    image: u64,
    text: u64,
    l1: u64,
    /// End of what the head mapped: tables come from below until lowmem is mapped.
    first_bank_end: u64,
}

impl Board {
    fn ast2500() -> Self {
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
    fn plain(start: u64, end: u64) -> Self {
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

    fn image_layout(&self) -> ImageLayout {
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

    fn linear(&self) -> LinearMap {
        let limit = PhysAddr::new(self.lowmem_limit);
        LinearMap::new(self.split.page_offset(), PhysAddr::new(self.phys_offset), limit).unwrap()
    }

    fn virt(&self, pa: u64) -> u32 {
        (pa - self.phys_offset) as u32 + self.split.page_offset().raw()
    }

    /// The frames that tables can lie in, full of rubbish; no byte of any other frame is looked at.
    fn ram(&self) -> FakeRam {
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
    fn console(&self) -> u64 {
        let inside = |&(start, end, _): &(u64, u64, bool)| start <= 0x1c09_0000 && 0x1c09_0000 < end;
        if self.banks.iter().any(inside) { 0x3f20_1000 } else { 0x1c09_0000 }
    }

    /// The protection of a frame in the linear map: written down a second time, apart from `Contents`.
    fn linear_prot(&self, pa: u64) -> Option<Prot> {
        let image = self.image_layout();
        let here = PhysAddr::new(pa);
        if image.guards.iter().any(|guard| guard.contains(here)) {
            return None;
        }
        if image.text.contains(here) {
            return Some(Prot::KERNEL_RX);
        }
        if image.rodata.contains(here) {
            return Some(Prot::KERNEL_RO);
        }
        if image.data.contains(here) || (self.l1..self.l1 + 0x4000).contains(&pa) {
            return Some(Prot::KERNEL_RW);
        }
        let inside = |&(start, end, no_map): &(u64, u64, bool)| !no_map && start <= pa && pa + PAGE <= end;
        (pa + PAGE <= self.lowmem_limit && self.banks.iter().any(inside)).then_some(Prot::KERNEL_RW)
    }

    /// What must be at the page `va` when all is done: address and protection.
    fn wanted(&self, va: u32) -> Option<(u64, Prot)> {
        let linear = self.linear();
        if let Some(pa) = linear.virt_to_phys(VirtAddr::new(va)) {
            return Some((pa.raw(), self.linear_prot(pa.raw())?));
        }
        match va {
            CONSOLE_VA => Some((self.console(), Prot::DEVICE_RW)),
            0xffff_0000 => Some((self.image + 0x1000, Prot::KERNEL_RX)),
            0xff80_0000..0xffa0_0000 => {
                let blob = self.dtb?;
                let pa = blob.start.raw() / 0x10_0000 * 0x10_0000 + u64::from(va - 0xff80_0000);
                let mib = pa / 0x10_0000 * 0x10_0000;
                let plain = (mib..mib + 0x10_0000).step_by(0x1000).all(|pa| self.linear_prot(pa).is_some())
                    && !self.remap.iter().any(|area| area.overlaps(range(mib, mib + 0x10_0000)));
                (plain || blob.overlaps(range(pa, pa + PAGE))).then_some((pa, Prot::KERNEL_RO))
            }
            _ => None,
        }
    }

    /// Writes the tables as the head code does.
    fn head(&self, ram: &FakeRam) {
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
        let device = Prot { exec: mm::paging::Exec::Allowed, ..Prot::DEVICE_RW };
        early.fill_small(fixmap, run(0x80, 1), PhysAddr::new(self.console()), device).unwrap();
        early.fill_small(fixmap, run(0x90, 3), PhysAddr::new(0x1000), Prot::EARLY_RWX).unwrap();
    }

    fn run(&self) -> (FakeRam, Result<PagingSummary, PagingError>) {
        let ram = self.ram();
        self.head(&ram);
        let result = self.run_on(&ram, &|_| true, usize::MAX);
        (ram, result)
    }

    /// Runs `paging_init` on a live model: memory is reached through the tables as they are, and every maintenance
    /// call looks whether the running code would still be there.
    fn run_on(
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

    /// Every page of the 4 GiB by the model MMU against `wanted`; returns how many are mapped.
    fn check(&self, ram: &FakeRam) -> usize {
        let mut seen = model(ram, self.l1).all().into_iter().peekable();
        let mut mapped = 0;
        for page in 0..0x10_0000_u32 {
            let va = page << 12;
            let found = seen.next_if(|(at, _)| *at == va).map(|(_, answer)| answer);
            let wanted = self.wanted(va);
            let alike = match (found, wanted) {
                (None, None) => true,
                (Some(found), Some((pa, prot))) => {
                    let image = self.image_layout();
                    let mut changing = self.remap.iter().chain(&image.init);
                    let in_area = va < 0xff80_0000 && changing.any(|area| area.contains(PhysAddr::new(pa)));
                    agrees(&found, pa, prot) && (!in_area || found.shift == 12)
                }
                _ => false,
            };
            assert!(alike, "{va:#010x}: {found:x?} instead of {wanted:x?}");
            mapped += usize::from(found.is_some());
        }
        mapped
    }

    /// The half of a table page whose MiB is a section holds no rubbish, or the page would never count as empty.
    fn unused_halves_are_zero(&self, ram: &FakeRam) {
        // SAFETY: the test uses the table frames as tables only.
        let tables = unsafe { Tables::new(ram, PhysAddr::new(self.l1)) }.unwrap();
        for index in 0..FIRST_LEVEL_WORDS {
            let linked = matches!(tables.first(index), Ok(FirstLevel::PageTable { .. }));
            let (false, Some(page)) = (linked, tables.pair_table(index)) else { continue };
            let part = index % 2 * 256;
            let words = words(ram, page.raw());
            assert!(words[part..part + 256].iter().chain(&words[part + 512..part + 768]).all(|word| *word == 0));
        }
    }

    fn audit(&self, ram: &FakeRam) -> Result<Audit, AuditError> {
        // SAFETY: the test uses the table frames as tables only.
        let tables = unsafe { Tables::new(ram, PhysAddr::new(self.l1)) }.unwrap();
        let layout = VirtualLayout::new(self.linear());
        let no_map = |frames: PhysRange| {
            let touched = |&(start, end, no_map): &(u64, u64, bool)| no_map && range(start, end).overlaps(frames);
            self.banks.iter().any(touched)
        };
        audit(&tables, &Rules { areas: &layout.areas(), linear: layout.linear, touches_no_map: &no_map })
    }

    /// A boot that must succeed, judged in full.
    fn proves(&self) -> PagingSummary {
        let (ram, result) = self.run();
        let summary = result.unwrap();
        let mapped = self.check(&ram);
        let audit = self.audit(&ram).unwrap();
        assert_eq!(
            (audit.small, audit.sections),
            (summary.pages, summary.sections),
            "the summary counts what is there"
        );
        self.unused_halves_are_zero(&ram);
        assert_eq!(mapped, audit.small as usize + audit.sections as usize * 256);
        assert_eq!(audit.executable_bytes, self.text + PAGE, "text and its alias, the vectors");
        summary
    }
}

/// The words of one frame.
#[expect(clippy::mut_from_ref, reason = "a test looks at and spoils RAM while nobody else does")]
fn words(ram: &FakeRam, frame: u64) -> &mut [u32] {
    let page = ram.frames_ptr(Pfn::containing(PhysAddr::new(frame)).unwrap(), 1).unwrap();
    // SAFETY: the frame is in the fake RAM, and this thread alone uses it.
    unsafe { NonNull::slice_from_raw_parts(page.cast(), 1024).as_mut() }
}

/// Whether the MMU's answer is `prot` at `pa`.
fn agrees(found: &Answer, pa: u64, prot: Prot) -> bool {
    let normal = prot != Prot::DEVICE_RW;
    let access = [true, prot == Prot::KERNEL_RW || prot == Prot::DEVICE_RW, false, false];
    let fetch = [prot == Prot::KERNEL_RX, false];
    let kind = if normal { (2, [1, 1]) } else { (1, [0, 0]) };
    found.pa == pa
        && (found.access, found.fetch) == (access, fetch)
        && (found.kind, found.cache) == kind
        && found.shareable
        && !found.non_global
}

fn editor(ram: &FakeRam, root: u64) -> Editor<'_, FakeRam, NoTlb> {
    // SAFETY: the test uses the table frames as tables only.
    let tables = unsafe { Tables::new(ram, PhysAddr::new(root)) }.unwrap();
    // SAFETY: one editor at a time, by the borrow of each test; nothing runs behind these tables.
    unsafe { Editor::new(tables, &NoTlb) }
}

struct NoTlb;

impl TlbControl for NoTlb {
    fn sync_table(&self, _ptr: NonNull<u8>, _bytes: usize) {}
    fn flush_page(&self, _va: VirtAddr) {}
    fn flush_all(&self) {}
}

/// Frames, reached as the running kernel reaches them: only where the tables map them at their linear address.
struct LiveRam<'a> {
    ram: &'a FakeRam,
    board: &'a Board,
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
struct Watch<'a> {
    ram: &'a FakeRam,
    board: &'a Board,
    looks: Cell<u32>,
    /// The first level at the last look.
    before: RefCell<Vec<u32>>,
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

/// Memblock in small: frames top-down below a limit, not from the image, the areas or the device tree.
struct Memory<'a> {
    board: &'a Board,
    limit: u64,
    next: u64,
    left: usize,
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

#[test]
fn the_ast2500_gets_sections_but_for_image_and_dma_areas() {
    let summary = Board::ast2500().proves();
    // Tables: 64 MiB of areas are 32; one each for the image, the vectors, pkmap.
    assert_eq!(summary.tables, 32 + 3);
    // 495 MiB of lowmem - 64 no-map - 64 areas - 1 image, and two for the device tree.
    assert_eq!(summary.sections, 495 - 64 - 64 - 1 + 2);
    // The areas, the image's MiB without two guards, console and vectors.
    assert_eq!(summary.pages, 64 * 256 + 256 - 2 + 2);
}

#[test]
fn two_gigabytes_with_highmem_are_right() {
    let board = Board {
        banks: vec![(0x8000_0000, 1 << 32, false)],
        lowmem_limit: 0xf000_0000,
        remap: vec![range(0xef00_0000, 0xf000_0000)],
        first_bank_end: 0xf000_0000,
        ..Board::ast2500()
    };
    board.proves();
}

#[test]
fn ram_at_0_and_at_1_gib_and_up_to_4_gib_is_right() {
    Board::plain(0, 0x3c00_0000).proves();
    Board::plain(0x4000_0000, 0x4800_0000).proves();
    Board::plain(0xc000_0000, 1 << 32).proves();
    Board::plain(0x1000_0000, 0x1400_0000).proves();
}

#[test]
fn three_to_one_is_right() {
    Board { split: VmSplit::ThreeOne, ..Board::ast2500() }.proves();
    Board { split: VmSplit::ThreeOne, ..Board::plain(0x4000_0000, 0x6000_0000) }.proves();
    Board { split: VmSplit::ThreeOne, ..Board::plain(0, 0x3000_0000) }.proves();
}

#[test]
fn a_no_map_region_at_the_very_start_of_ram_is_unmapped_and_the_rest_works() {
    let mut page = Board::plain(0, 0x1000_0000);
    page.banks = vec![(0, PAGE, true), (PAGE, 0x1000_0000, false)];
    page.proves();
    let mut mib = Board::plain(0x8000_0000, 0x9000_0000);
    mib.banks = vec![(0x8000_0000, 0x8010_0000, true), (0x8010_0000, 0x9000_0000, false)];
    (mib.image, mib.l1) = (0x8020_8000, 0x8020_4000);
    mib.proves();
}

#[test]
fn banks_with_odd_edges_are_mapped_to_the_page() {
    let mut board = Board::plain(0x8000_0000, 0x9000_0000);
    board.banks = vec![
        (0x8000_0000, 0x8300_3000, false),
        // Touches the bank below: together they fill their MiB.
        (0x8300_3000, 0x8400_0000, false),
        (0x8400_5000, 0x8401_2000, false),
        (0x8401_2000, 0x8401_3000, true),
        (0x8401_3000, 0x8410_0000, false),
        // Partial frames at both edges.
        (0x8510_0800, 0x8600_0c00, false),
        (0x8fff_f000, 0x9000_0000, false),
    ];
    board.remap = vec![range(0x8530_0000, 0x8550_0000), range(0x8401_0000, 0x8402_0000)];
    board.first_bank_end = 0x8300_3000;
    board.lowmem_limit = 0x9000_0000;
    board.dtb = Some(range(0x8200_0000, 0x8200_3000));
    let summary = board.proves();
    assert!(summary.tables >= 6);
    board.lowmem_limit = 0x8fff_f800;
    board.proves();
}

#[test]
fn an_area_in_the_images_own_mib_and_an_image_over_several_are_right() {
    let mut board = Board::plain(0x8000_0000, 0x9000_0000);
    board.image = 0x802e_0000;
    board.remap = vec![range(0x8038_0000, 0x8080_0000)];
    board.dtb = Some(range(0x8100_0000, 0x8100_2000));
    board.proves();
}

#[test]
fn an_image_whose_text_fills_whole_mibs_has_what_only_the_boot_needs_on_pages() {
    let mut board = Board::plain(0x8000_0000, 0x9000_0000);
    (board.image, board.text) = (0x8010_0000, 0x34_1000);
    let (ram, result) = board.run();
    result.unwrap();
    let shift = |pa| model(&ram, board.l1).translate(board.virt(pa)).unwrap().shift;
    // The second MiB of text has nothing that changes.
    assert_eq!((shift(0x8010_4000), shift(0x8010_0000), shift(0x8020_0000)), (12, 12, 20));
    board.proves();
}

#[test]
fn a_device_tree_beside_no_map_frames_shows_its_own_pages_only() {
    let mut board = Board::plain(0x8000_0000, 0x9000_0000);
    board.banks =
        vec![(0x8000_0000, 0x8818_0000, false), (0x8818_0000, 0x8820_0000, true), (0x8820_0000, 0x9000_0000, false)];
    board.dtb = Some(range(0x8810_c000, 0x8812_12b8));
    board.first_bank_end = 0x8818_0000;
    board.proves();
    board.dtb = None;
    board.proves();
}

#[test]
fn an_image_outside_lowmem_and_dead_or_missing_frames_are_named() {
    let mut outside = Board::ast2500();
    outside.lowmem_limit = 0x8003_0000;
    let input_error = {
        let ram = outside.ram();
        outside.head(&ram);
        let linear = outside.linear();
        let layout = outside.image_layout();
        let input = PagingInput {
            layout: VirtualLayout::new(linear),
            image: &layout,
            remap: &[],
            dtb: None,
            shareable: true,
            probe: &|_| true,
        };
        let mut memory = Memory { board: &outside, limit: 0, next: 0, left: 0 };
        paging_init(&mut editor(&ram, outside.l1), &input, &mut memory)
    };
    assert_eq!(input_error, Err(PagingError::BadImage(range(0x8000_8000, 0x8003_9000))));

    let board = Board::ast2500();
    let ram = board.ram();
    board.head(&ram);
    let dead = board.run_on(&ram, &|_| false, usize::MAX);
    // The highest free frame below the limit of 0x9ef0_0000.
    assert_eq!(dead, Err(PagingError::DeadFrame(PhysAddr::new(0x9eef_f000))));
    let ram = board.ram();
    board.head(&ram);
    let none = board.run_on(&ram, &|_| true, 1);
    assert_eq!(none, Err(PagingError::NoTable(VirtAddr::new(0x9d00_0000))));
}

#[test]
fn tables_that_were_spoiled_fail_the_audit() {
    let board = Board::ast2500();
    let spoiled = |index: usize, descriptor: FirstLevel| {
        let (ram, result) = board.run();
        result.unwrap();
        editor(&ram, board.l1).set_first(index, descriptor).unwrap();
        board.audit(&ram)
    };
    let section = |base: u64, prot| FirstLevel::Section { base: PhysAddr::new(base), prot, domain: Domain::KERNEL };
    let at = VirtAddr::new;
    let (rw, rwx) = (Prot::KERNEL_RW, Prot::EARLY_RWX);
    assert_eq!(spoiled(0x801, section(0x8010_0000, rwx)), Err(AuditError::WritableExecutable(at(0x8010_0000), rwx)));
    let flash = AuditError::NoMapFrame(at(0x9800_0000), PhysAddr::new(0x9800_0000));
    assert_eq!(spoiled(0x980, section(0x9800_0000, rw)), Err(flash));
    let wrong = AuditError::WrongFrame(at(0x8010_0000), PhysAddr::new(0x8020_0000));
    assert_eq!(spoiled(0x801, section(0x8020_0000, rw)), Err(wrong));
    assert_eq!(spoiled(0x400, section(0x8010_0000, rw)), Err(AuditError::OutsideAreas(at(0x4000_0000))));
    assert_eq!(spoiled(0x9ef, section(0x9ef0_0000, rw)), Err(AuditError::OutsideAreas(at(0x9ef0_0000))));
    let alias = AuditError::MixedTypes(at(0xf000_0000), PhysAddr::new(0x8010_0000));
    assert_eq!(spoiled(0xf00, section(0x8010_0000, Prot::DEVICE_RW)), Err(alias));
    let lost = FirstLevel::PageTable { table: PhysAddr::new(0x400), domain: Domain::KERNEL, pxn: false };
    assert_eq!(spoiled(0x801, lost), Err(AuditError::Table(TableError::Unreachable(PhysAddr::ZERO))));
}
