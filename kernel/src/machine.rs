//! This machine as the boot sequence sees it: early mappings, probes, clocks.

use core::fmt;
use core::ptr::NonNull;

use aarch32_cpu::asm::dsb;
use aarch32_cpu::register::{Ctr, Dccimvac, IdMmfr0, Midr, Mpidr, Sctlr, SysRegRead, SysRegWrite};
use boot::cpu::CpuFacts;
use boot::head::HeadInfo;
use boot::image::ImageLayout;
use mm::addr::{PAGE_SIZE, Pfn, PfnRange, PhysAddr, PhysRange, VirtAddr};
use mm::layout::{FIXADDR_START, FixmapSlot};
use mm::paging::{EditError, Editor, MemType, Prot, Run, TableError, Tables, page_index, section_index};
use mm::platform::PhysMap;
use mm::sync::TaskLock;
use mm::vmalloc::{EarlyIo, EarlyIoError, EarlyWindow};

use crate::arch::armv7::mmu::ArmTlb;
use crate::arch::armv7::{clock, fault, irq::ArmIrq, vectors};
use crate::ram::{LinearRam, RAM};
use crate::ranks;

/// The running machine.
#[derive(Debug)]
pub struct ArmMachine {
    head: &'static HeadInfo,
    image: ImageLayout,
    tlb: ArmTlb,
    early_io: TaskLock<EarlyIo>,
}

/// Why an early mapping was not made.
#[derive(Clone, Copy, Debug)]
pub enum WindowError {
    /// The tables are out of reach.
    Table(TableError),
    /// A descriptor was refused.
    Edit(EditError),
    /// The fixmap has no such slot.
    Slot,
    /// No window of early_ioremap was given or taken back.
    EarlyIo(EarlyIoError),
}

impl fmt::Display for WindowError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Table(error) => error.fmt(f),
            Self::Edit(error) => write!(f, "{error:?}"),
            Self::Slot => f.write_str("the fixmap has no such slot"),
            Self::EarlyIo(error) => error.fmt(f),
        }
    }
}

impl ArmMachine {
    /// The machine whose head left `head`; makes the head's mappings reachable and links the fixmap's table.
    ///
    /// # Errors
    /// The tables cannot be written.
    ///
    /// # Safety
    /// Call once, on the boot CPU, before anything else uses the tables.
    pub unsafe fn new(head: &'static HeadInfo, image: ImageLayout) -> Result<Self, WindowError> {
        let machine =
            Self { head, image, tlb: ArmTlb::detect(), early_io: TaskLock::ranked(EarlyIo::new(), ranks::EARLY_IO) };
        let mapped = PhysRange::new(PhysAddr::new(u64::from(head.phys_offset)), image.whole.end).whole_frames();
        // SAFETY: the head mapped RAM from its start to the image's end by sections at PAGE_OFFSET.
        unsafe { RAM.set(mapped.start, mapped.end) }
        let mut editor = machine.editor()?;
        let index = section_index(FIXADDR_START);
        for half in [index, index + 1] {
            editor.link(half, image.fixmap_table).map_err(WindowError::Edit)?;
        }
        editor.sync_first(index, index + 2);
        Ok(machine)
    }

    /// The tables in use.
    fn editor(&self) -> Result<Editor<'_, LinearRam, ArmTlb>, WindowError> {
        let root = PhysAddr::new(u64::from(self.head.table));
        // SAFETY: these 16 KiB are the table in use, and only this value and `paging_init` touch it.
        let tables = unsafe { Tables::new(&RAM, root) }.map_err(WindowError::Table)?;
        // SAFETY: the early boot runs on one CPU and makes one editor at a time.
        Ok(unsafe { Editor::new(tables, &self.tlb) })
    }

    /// Maps `bytes` bytes at `pa`, which need not be whole pages, until [`Self::early_iounmap`]; returns where `pa` is
    /// (Linux: `early_ioremap`).
    ///
    /// # Errors
    /// No window is left or fits, or the tables cannot be written; nothing is mapped.
    pub fn early_ioremap(&self, pa: PhysAddr, bytes: u32, prot: Prot) -> Result<NonNull<u8>, WindowError> {
        let window = self.early_io.lock().take(pa, bytes).map_err(WindowError::EarlyIo)?;
        let mut first = None;
        for (slot, frame) in window.slots() {
            match self.window(slot, frame, prot) {
                Ok(page) => first = first.or(Some(page)),
                Err(error) => {
                    self.unmap_early(window)?;
                    return Err(error);
                }
            }
        }
        let offset = pa.as_u32().map_or(0, |address| address & (PAGE_SIZE - 1));
        // SAFETY: the offset is below a page, and the first page was just mapped.
        first.map(|first| unsafe { first.add(offset as usize) }).ok_or(WindowError::Slot)
    }

    /// Unmaps what [`Self::early_ioremap`] returned (Linux: `early_iounmap`).
    ///
    /// # Errors
    /// Nothing is mapped there.
    pub fn early_iounmap(&self, at: NonNull<u8>) -> Result<(), WindowError> {
        let window = self.early_io.lock().give_back(VirtAddr::new(at.as_ptr() as u32)).map_err(WindowError::EarlyIo)?;
        self.unmap_early(window)
    }

    /// Ends early_ioremap: windows that nobody gave back are reported and unmapped (Linux: `check_early_ioremap_leak`).
    ///
    /// # Errors
    /// The tables cannot be written.
    pub fn end_early_io(&self) -> Result<(), WindowError> {
        let mut early_io = self.early_io.lock();
        early_io.end().try_for_each(|window| self.unmap_early(window))
    }

    fn unmap_early(&self, window: EarlyWindow) -> Result<(), WindowError> {
        let mut editor = self.editor()?;
        for va in window.slots().filter_map(|(slot, _)| slot.address()) {
            let run = Run { index: section_index(va), page: page_index(va), pages: 1 };
            editor.clear_run(self.image.fixmap_table, run).map_err(WindowError::Edit)?;
            editor.sync_run(self.image.fixmap_table, run).map_err(WindowError::Edit)?;
            editor.flush_page(va);
        }
        Ok(())
    }

    /// Maps the page at `pa` into `slot` of the fixmap; returns its address.
    ///
    /// # Errors
    /// The tables cannot be written.
    pub fn window(&self, slot: FixmapSlot, pa: PhysAddr, prot: Prot) -> Result<NonNull<u8>, WindowError> {
        let va = slot.address().ok_or(WindowError::Slot)?;
        let run = Run { index: section_index(va), page: page_index(va), pages: 1 };
        let page = pa.align_down(u64::from(PAGE_SIZE));
        let mut editor = self.editor()?;
        editor.fill_small(self.image.fixmap_table, run, page, prot).map_err(WindowError::Edit)?;
        editor.sync_page(self.image.fixmap_table).map_err(WindowError::Edit)?;
        editor.flush_page(va);
        let offset = pa.as_u32().map_or(0, |address| address & (PAGE_SIZE - 1));
        NonNull::new(core::ptr::with_exposed_provenance_mut((va.raw() + offset) as usize)).ok_or(WindowError::Slot)
    }
}

/// What the identification registers say of this CPU.
pub fn cpu_facts(head: &HeadInfo) -> CpuFacts {
    CpuFacts {
        midr: Midr::read_raw(),
        ctr: Ctr::read_raw(),
        mpidr: Mpidr::read_raw(),
        mmfr0: IdMmfr0::read_raw(),
        sctlr: Sctlr::read_raw(),
        entry_mode: head.entry_mode,
    }
}

/// Whether the word at `word` keeps what is written to it; what was there is put back. Where no RAM is, some buses
/// swallow the access and some answer it with an abort.
fn keeps(word: NonNull<u8>) -> bool {
    let va = VirtAddr::new(word.as_ptr() as u32);
    /// Past the data cache and back: only the bus can answer.
    fn refetch(va: VirtAddr) {
        dsb();
        // SAFETY: cleaning and invalidating the line of a word that we just wrote loses nothing.
        unsafe { Dccimvac::write_raw(va.raw()) }
        dsb();
    }
    let Some(kept) = fault::peek(va) else { return false };
    // SAFETY: nobody else uses the word meanwhile (one CPU, interrupts masked), and it is put back below.
    if !unsafe { fault::poke(va, !kept) } {
        return false;
    }
    refetch(va);
    let flipped = fault::peek(va) == Some(!kept);
    // SAFETY: this puts back what was there.
    let restored = unsafe { fault::poke(va, kept) };
    refetch(va);
    flipped && restored
}

impl boot::bring_up::Machine for ArmMachine {
    type Ram = LinearRam;
    type Tlb = ArmTlb;
    type Irq = ArmIrq;

    fn ram(&self) -> &'static LinearRam {
        &RAM
    }

    fn tlb(&self) -> &ArmTlb {
        &self.tlb
    }

    unsafe fn linear_map_is(&self, frames: PfnRange) {
        // SAFETY: the caller vouches for the tables.
        unsafe { RAM.set(frames.start, frames.end) }
    }

    fn answers(&self, frame: Pfn) -> bool {
        // Before the final tables a MiB that no-map memory touches is left out of the linear map: a fault says nothing.
        if RAM.frames_ptr(frame, 1).is_some_and(keeps) {
            return true;
        }
        let prot = Prot { mem: MemType::NormalNonCacheable, ..Prot::KERNEL_RW };
        let Ok(word) = self.early_ioremap(frame.base(), PAGE_SIZE, prot) else { return false };
        keeps(word) & self.early_iounmap(word).is_ok()
    }

    fn tables_are_final(&self) {
        vectors::use_high_vectors();
    }

    fn cycles(&self) -> Option<u32> {
        clock::cycles()
    }
}

/// MIDR's part number.
pub fn part_number() -> u32 {
    Midr::read_raw() >> 4 & 0xfff
}
