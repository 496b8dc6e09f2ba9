//! The kernel's address space after the boot: the tables in use, and what is mapped in them.
//!
//! Theory.      One [`Mapper`] changes the tables that the MMU walks; one [`Vmalloc`] knows the areas above lowmem.
//!              Both take `&mut self`; here are their locks. Frames come from the page allocator and go back to it, but
//!              for table pages of the boot's, which memblock gave: they are kept for the next table (`frames`).
//! Lock order.  areas, then tables, then the page allocator's (docs/locks.md). Those here are [`TaskLock`]s: no
//!              interrupt handler may map anything but by `kmap_local`, which takes no lock at all.
//! Lowmem.      Code, stacks and other CPUs live there at every moment: descriptors are cut and joined in place. Every
//!              other address belongs to the caller, and is broken before it is made anew.
//! Source.      Linux `mm/vmalloc.c`, `arch/arm/mm/ioremap.c`, `arch/arm/mm/pageattr.c`.

mod frames;
mod kmap;
mod poke;
mod shrink;

use core::fmt;

use boot::bring_up::Booted;
use boot::head::HeadInfo;
use mm::addr::{PAGE_SIZE, Pfn, PhysAddr, PhysRange, VirtAddr};
use mm::highmem::{Pkmap, PkmapBroken};
use mm::layout::{FIXADDR_START, VMALLOC_END, VirtualLayout};
use mm::memblock::Region;
use mm::paging::regs::TTBR0_S;
use mm::paging::{EditError, Editor, Live, MapError, Mapper, PageSize, Prot, Slots, TableError, Tables, Translation};
use mm::sync::{InitOnce, IrqLock, TaskLock};
use mm::vmalloc::{Areas, Broken, Config, IoKind, PagedNodes, Request, Space, Vmalloc, VmallocError};

use crate::arch::armv7::irq::ArmIrq;
use crate::arch::armv7::mmu::ArmTlb;
use crate::ram::{LinearRam, RAM};
use crate::ranks;
use frames::{Frames, Pages};
use kmap::LocalWindows;
pub use kmap::{KmapError, LocalMap};
pub use poke::PokeError;

/// Retired pages beyond which a vfree purges, at most (Linux: `lazy_max_pages` of one CPU).
const RETIRED_MAX: u32 = 8192;
/// And at most one page in so many of all that the allocator manages: they are nobody's until the purge.
const RETIRED_PART: u32 = 64;

/// The areas above lowmem.
type VmAreas = Vmalloc<PagedNodes<'static, LinearRam, Pages>>;

static TLB: InitOnce<ArmTlb> = InitOnce::new();
static VM: InitOnce<Vm> = InitOnce::new();

/// The address space.
#[derive(Debug)]
#[repr(C)]
pub struct Vm {
    /// First: what is needed most is reached with the shortest instructions.
    local: LocalWindows,
    layout: VirtualLayout,
    booted: &'static Booted<ArmIrq>,
    /// From the first byte of RAM to the last.
    ram: PhysRange,
    tlb: ArmTlb,
    areas: TaskLock<VmAreas>,
    tables: TaskLock<LiveTables>,
    pkmap: TaskLock<Pkmap>,
    pkmap_slots: Slots<'static>,
    /// The window on text that is patched.
    poke: IrqLock<(), ArmIrq>,
}

/// The tables in use, and who gives frames for them.
#[derive(Debug)]
struct LiveTables {
    mapper: Mapper<'static, LinearRam, ArmTlb>,
    frames: Frames,
}

/// Why there is no address space to work on.
#[derive(Clone, Copy, Debug)]
pub enum VmError {
    /// The first level is out of reach.
    Table(TableError),
    /// A window's table is not there.
    Window(EditError),
    /// No page for the areas' nodes.
    NoMemory,
    /// There is one already.
    Twice,
}

impl fmt::Display for VmError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Table(error) => error.fmt(f),
            Self::Window(error) => write!(f, "a window has no table: {error:?}"),
            Self::NoMemory => f.write_str("no page for the nodes of areas"),
            Self::Twice => f.write_str("the address space is set up already"),
        }
    }
}

/// What is wrong with the address space.
#[derive(Clone, Copy, Debug)]
pub enum VmBroken {
    /// With the tree of areas.
    Areas(Broken),
    /// With pkmap's windows.
    Pkmap(PkmapBroken),
    /// An area that is in use is not mapped at this address.
    Hole(VirtAddr),
    /// Something is mapped behind the area at this address, where its guard is.
    Guard(VirtAddr),
    /// With the tables.
    Table(TableError),
}

impl fmt::Display for VmBroken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Areas(broken) => broken.fmt(f),
            Self::Pkmap(broken) => broken.fmt(f),
            Self::Hole(va) => write!(f, "vmalloc: {va} is in an area and not mapped"),
            Self::Guard(va) => write!(f, "vmalloc: guard page {va} is mapped"),
            Self::Table(error) => error.fmt(f),
        }
    }
}

/// Makes the tables that the boot left the kernel's address space.
///
/// # Errors
/// [`VmError`].
///
/// # Safety
/// The boot must be over: nothing else may write to the tables from now on.
pub unsafe fn start(
    head: &'static HeadInfo,
    layout: VirtualLayout,
    booted: &'static Booted<ArmIrq>,
) -> Result<&'static Vm, VmError> {
    let tlb = TLB.set(ArmTlb::detect().with_follower(crate::space::follow)).map_err(|_| VmError::Twice)?;
    let root = PhysAddr::new(u64::from(head.table));
    // SAFETY: these 16 KiB and the tables below are used as tables only, by the caller's word.
    let tables = unsafe { Tables::new(&RAM, root) }.map_err(VmError::Table)?;
    let shareable = head.ttbr0 & TTBR0_S != 0;
    let prot = Prot::KERNEL_RW.with_shareable(shareable);
    // SAFETY: pkmap's table stays: nothing but `kmap` writes there, under its lock.
    let pkmap_slots = unsafe { Slots::new(&tables, layout.pkmap_start(), prot) }.map_err(VmError::Window)?;
    // SAFETY: the fixmap's table stays, and each CPU writes to its own windows.
    let fixmap_slots = unsafe { Slots::new(&tables, kmap::fixmap_base(), prot) }.map_err(VmError::Window)?;
    // SAFETY: this is the only editor from now on, and the mapper's users own what they unmap.
    let editor = unsafe { Editor::new(tables, tlb) };
    let zones = booted.mm.allocator();
    let managed: u32 = zones.zones().iter().map(|zone| zone.stats().managed).sum();
    let config = Config { retired_max: RETIRED_MAX.min(managed / RETIRED_PART), shareable };
    let mut nodes = PagedNodes::new(&RAM, Pages::new(zones));
    if !nodes.prime() {
        return Err(VmError::NoMemory);
    }
    let areas = Areas::new(nodes, layout.vmalloc_start(), VMALLOC_END);
    let vm = Vm {
        local: LocalWindows::new(zones.map(), fixmap_slots),
        layout,
        booted,
        ram: whole_ram(booted),
        tlb: *tlb,
        areas: TaskLock::ranked(Vmalloc::new(areas, config), ranks::AREAS),
        tables: TaskLock::ranked(LiveTables { mapper: Mapper::new(editor), frames: Frames::new(zones) }, ranks::TABLES),
        pkmap: TaskLock::ranked(Pkmap::new(), ranks::PKMAP),
        pkmap_slots,
        poke: IrqLock::ranked((), ranks::POKE),
    };
    let vm = VM.set(vm).map_err(|_| VmError::Twice)?;
    if !vm.open_windows(vm.tlb.cleans_tables()) {
        log::warn!("kmap_local: this CPU has no windows");
    }
    if !zones.register_shrinker(vm) {
        log::warn!("vmalloc: no place for a shrinker: what is vfreed waits for the next purge");
    }
    Ok(vm)
}

impl LiveTables {
    /// What the areas' calls work on.
    #[inline]
    const fn space(&mut self) -> Space<'_, 'static, LinearRam, ArmTlb, Frames> {
        Space { mapper: &mut self.mapper, frames: &mut self.frames }
    }

    /// See [`Vm::purge`].
    fn purge(&mut self, areas: &mut VmAreas) -> Result<u32, VmallocError> {
        let purged = areas.purge(&mut self.space());
        let Self { mapper, frames } = self;
        while let Some(pair) = frames.next_postponed() {
            let dropped = mapper.drop_table_if_empty(pair, frames);
            dropped.map_err(|error| VmallocError::Map { bytes: 0, error })?;
        }
        purged
    }

    /// Runs `change` with cuts and joins as `live` says.
    fn with_live<R>(&mut self, live: Live, change: impl FnOnce(&mut Self) -> R) -> R {
        let before = self.mapper.set_live(live);
        let result = change(self);
        self.mapper.set_live(before);
        result
    }
}

impl Vm {
    /// Maps `bytes` bytes at `va` to the frames from `pa`, in pieces of at most `largest`. Addresses above lowmem
    /// belong to areas: see [`Vm::vmap`] and [`Vm::ioremap`].
    ///
    /// # Errors
    /// [`MapError`] with the address; nothing has changed.
    pub fn map(&self, va: VirtAddr, bytes: u64, to: (PhysAddr, Prot), largest: PageSize) -> Result<(), MapError> {
        Self::check(to.1)?;
        self.check_range(va, bytes)?;
        let LiveTables { mapper, frames } = &mut *self.tables.lock();
        mapper.map(va, bytes, to, largest, frames)
    }

    /// Points what is mapped at `va` to other frames.
    ///
    /// # Errors
    /// [`MapError`] with the address; nothing has changed.
    pub fn remap(&self, va: VirtAddr, bytes: u64, to: (PhysAddr, Prot)) -> Result<(), MapError> {
        Self::check(to.1)?;
        self.check_range(va, bytes)?;
        self.tables.lock().mapper.remap(va, bytes, to)
    }

    /// Gives what is mapped at `va` other rights. Sections are cut where the range ends inside one, and joined again
    /// where all of one says the same (Linux: `set_memory_ro` and its kin).
    ///
    /// # Errors
    /// [`MapError`] with the address; nothing has changed.
    pub fn protect(&self, va: VirtAddr, bytes: u64, prot: Prot) -> Result<(), MapError> {
        Self::check(prot)?;
        self.check_range(va, bytes)?;
        self.tables
            .lock()
            .with_live(self.live_at(va), |tables| tables.mapper.protect(va, bytes, prot, &mut tables.frames))
    }

    /// Unmaps `bytes` bytes at `va`.
    ///
    /// # Errors
    /// [`MapError`] with the address; nothing has changed.
    pub fn unmap(&self, va: VirtAddr, bytes: u64) -> Result<(), MapError> {
        self.check_range(va, bytes)?;
        let live = self.live_at(va);
        self.tables.lock().with_live(live, |tables| tables.mapper.unmap(va, bytes, &mut tables.frames))
    }

    /// What is mapped at `va`; `None` for nothing.
    ///
    /// # Errors
    /// [`TableError`] when the tables are broken.
    pub fn walk(&self, va: VirtAddr) -> Result<Option<Translation>, TableError> {
        self.tables.lock().mapper.tables().walk(va)
    }

    /// Allocates memory that is contiguous by address (Linux: `vmalloc`).
    ///
    /// # Errors
    /// [`VmallocError`]; nothing has changed.
    #[track_caller]
    pub fn vmalloc(&self, request: Request) -> Result<VirtAddr, VmallocError> {
        let (mut areas, mut tables) = (self.areas.lock(), self.tables.lock());
        areas.vmalloc(&mut tables.space(), request)
    }

    /// Gives back what [`Vm::vmalloc`] returned (Linux: `vfree`).
    ///
    /// # Errors
    /// [`VmallocError`]; nothing has changed.
    pub fn vfree(&self, va: VirtAddr) -> Result<(), VmallocError> {
        let (mut areas, mut tables) = (self.areas.lock(), self.tables.lock());
        areas.vfree(&mut tables.space(), va)
    }

    /// Maps `frames`, which stay the caller's, one behind the other (Linux: `vmap`).
    ///
    /// # Errors
    /// [`VmallocError`]; nothing has changed.
    #[track_caller]
    pub fn vmap(&self, frames: &[Pfn], prot: Prot) -> Result<VirtAddr, VmallocError> {
        let (mut areas, mut tables) = (self.areas.lock(), self.tables.lock());
        areas.vmap(&mut tables.space(), frames, prot)
    }

    /// Unmaps what [`Vm::vmap`] returned (Linux: `vunmap`).
    ///
    /// # Errors
    /// [`VmallocError`]; nothing has changed.
    pub fn vunmap(&self, va: VirtAddr) -> Result<(), VmallocError> {
        let (mut areas, mut tables) = (self.areas.lock(), self.tables.lock());
        areas.vunmap(&mut tables.space(), va)
    }

    /// Maps `bytes` bytes of a device, or of memory that is not the kernel's, from `pa` on; returns where `pa` is
    /// (Linux: `ioremap`, `ioremap_wc`, `ioremap_cache` by `kind`).
    ///
    /// # Errors
    /// [`VmallocError::MappedRam`] for RAM; else [`VmallocError`]; nothing has changed.
    #[track_caller]
    pub fn ioremap(&self, pa: PhysAddr, bytes: u32, kind: IoKind) -> Result<VirtAddr, VmallocError> {
        let (mut areas, mut tables) = (self.areas.lock(), self.tables.lock());
        areas.ioremap(&mut tables.space(), pa, bytes, kind, &|range| self.is_mapped_ram(range))
    }

    /// Unmaps what [`Vm::ioremap`] returned (Linux: `iounmap`).
    ///
    /// # Errors
    /// [`VmallocError`]; nothing has changed.
    pub fn iounmap(&self, va: VirtAddr) -> Result<(), VmallocError> {
        let (mut areas, mut tables) = (self.areas.lock(), self.tables.lock());
        areas.iounmap(&mut tables.space(), va)
    }

    /// Frees everything that was vfreed and waits for a flush, and every empty table; returns the pages (Linux:
    /// `purge_vmap_area_lazy`).
    ///
    /// # Errors
    /// [`VmallocError`] when the tables are broken.
    pub fn purge(&self) -> Result<u32, VmallocError> {
        let (mut areas, mut tables) = (self.areas.lock(), self.tables.lock());
        tables.purge(&mut areas)
    }

    /// Pages that were vfreed and wait for a purge.
    pub fn retired_pages(&self) -> u32 {
        self.areas.lock().retired_pages()
    }

    /// How many areas there are, those that wait for a purge included.
    pub fn areas(&self) -> u32 {
        self.areas.lock().areas().len()
    }

    /// Bytes of all areas, guard pages and those that wait for a purge included.
    pub fn used_bytes(&self) -> u64 {
        let areas = self.areas.lock();
        areas.info().map(|line| u64::from(line.0.end().raw().wrapping_sub(line.0.start.raw()))).sum()
    }

    /// Prints `vmallocinfo` as Linux's file of that name.
    pub fn print_info(&self) {
        self.areas.lock().info().for_each(|line| crate::println!("{line}"));
    }

    /// Tests the tree of areas, the windows, and that each area is mapped and its guard is not. Nobody may map anything
    /// meanwhile.
    ///
    /// # Errors
    /// [`VmBroken`]: the first thing that is wrong.
    pub fn validate(&self) -> Result<(), VmBroken> {
        let (areas, tables) = (self.areas.lock(), self.tables.lock());
        areas.areas().validate().map_err(VmBroken::Areas)?;
        self.pkmap.lock().validate().map_err(VmBroken::Pkmap)?;
        let is_mapped = |va| tables.mapper.tables().walk(va).map(|to| to.is_some()).map_err(VmBroken::Table);
        for area in areas.areas().iter() {
            let in_use = !matches!(area.kind, mm::vmalloc::AreaKind::Retired(_));
            for offset in (0..area.bytes).step_by(PAGE_SIZE as usize) {
                let va = VirtAddr::new(area.start.raw().wrapping_add(offset));
                if is_mapped(va)? != in_use {
                    return Err(VmBroken::Hole(va));
                }
            }
            let guard = VirtAddr::new(area.start.raw().wrapping_add(area.bytes));
            if is_mapped(guard)? {
                return Err(VmBroken::Guard(guard));
            }
        }
        Ok(())
    }

    /// Nothing of the kernel's is writable and executable, or a user's.
    fn check(prot: Prot) -> Result<(), MapError> {
        let is_bad = prot.access.user() || prot.writable() && prot.executable();
        if is_bad { Err(MapError::BadProt(prot)) } else { Ok(()) }
    }

    /// The user half, the null page included, has no entries in the kernel's own table, which would count in every
    /// address space; and the words of windows and vectors are written by their owners alone.
    fn check_range(&self, va: VirtAddr, bytes: u64) -> Result<(), MapError> {
        let (start, end) = (u64::from(va.raw()), u64::from(va.raw()).saturating_add(bytes));
        let open = [
            (self.layout.modules_start(), self.layout.pkmap_start()),
            (self.layout.linear.page_offset(), FIXADDR_START),
        ];
        let is_open = open.iter().any(|(from, to)| u64::from(from.raw()) <= start && end <= u64::from(to.raw()));
        // What passes the end of all addresses is the mapper's to refuse.
        if is_open || end > 1 << 32 { Ok(()) } else { Err(MapError::Kept(va)) }
    }

    /// How descriptors at `va` are cut and joined.
    fn live_at(&self, va: VirtAddr) -> Live {
        if self.layout.linear.virt_to_phys(va).is_some() { Live::InPlace } else { Live::Broken }
    }

    /// Whether some frame of `range` is RAM of the kernel's: mapped, or to be mapped when somebody gets it.
    fn is_mapped_ram(&self, range: PhysRange) -> bool {
        // Devices lie beside all RAM as a rule.
        self.ram.overlaps(range)
            && self
                .booted
                .mm
                .frozen()
                .memory()
                .iter()
                .any(|region| !region.is_nomap() && region.range().overlaps(range))
    }
}

/// From the first byte of the kernel's RAM to the last.
fn whole_ram(booted: &Booted<ArmIrq>) -> PhysRange {
    let memory = booted.mm.frozen().memory().iter().filter(|region| !region.is_nomap()).map(Region::range);
    let hull = |all: PhysRange, range: PhysRange| PhysRange::new(all.start.min(range.start), all.end.max(range.end));
    memory.reduce(hull).unwrap_or(PhysRange::new(PhysAddr::ZERO, PhysAddr::ZERO))
}
