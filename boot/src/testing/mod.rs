//! A whole machine on the host: the head's plan and tables, then the boot sequence, over RAM that is not there.
//!
//! Theory.      [`Board`] says which RAM exists, what the loader put where, and which tree describes it.
//!              [`Board::boot`] does what the machine would: the head's own code plans and builds the first table in
//!              fake RAM, the tree moves where the head wants it, and `bring_up` runs to its end. RAM is reached only
//!              through the window that the boot says is mapped, so that a use of unmapped memory fails here as it
//!              would there.
//! Not here.    Instructions, caches, MMU: the tables are written and judged, not walked by hardware.
//! See.         [`check`] for what must hold after each boot, [`tree`] for writing trees.

pub mod check;
mod frames;
mod ram;
pub mod tree;

use core::cell::RefCell;
use core::fmt;

use mm::addr::{PAGE_SIZE, Pfn, PfnRange, PhysAddr, PhysRange};
use mm::layout::{FIXADDR_START, FixmapSlot};
use mm::memblock::Region;
use mm::paging::{EditError, Editor, Prot, Run as PageRun, TableError, Tables, page_index, section_index};
use mm::platform::PhysMap;
use mm::testing::{CountingTlb, FakeRam, HostIrq, with_log};

use crate::bring_up::{BootError, Booted, Given, ImageSizes, Machine, bring_up};
use crate::cmdline::BootArgs;
use crate::fdt::builder::Blob;
use crate::fdt::{self, FdtError, ValidFdt};
use crate::head::plan::{Raw, plan};
use crate::head::{HeadInfo, tables};
use crate::image::ImageLayout;
use crate::info::BootInfo;
use ram::Bare;
pub use ram::WindowRam;

/// Bytes of the image's parts, as a release image has them.
const TEXT: u32 = 0x4_0000;
const RODATA: u32 = 0x1_0000;
const DATA: u32 = 0x2_6000;
/// Bytes of the image file: text, constants, variables with a first value.
const FILE: u32 = TEXT + RODATA + 0x7000;
/// From the start of RAM to where a loader puts the image (QEMU: `KERNEL_LOAD_ADDR`).
const LOAD_OFFSET: u64 = 0x1_0000;
/// The template of the per-CPU variables.
const PERCPU: &[u8] = &[0x5a; 200];
/// Memblock's first arrays, as the image has them.
const REGIONS: usize = 128;

/// The machine as the boot sequence sees it.
#[derive(Debug)]
pub struct FakeMachine {
    ram: &'static WindowRam,
    tlb: CountingTlb,
    /// Every frame that was probed.
    probes: RefCell<Vec<Pfn>>,
}

impl FakeMachine {
    fn exists(&self, frame: Pfn) -> bool {
        self.ram.ram.frames_ptr(frame, 1).is_some()
    }
}

impl Machine for FakeMachine {
    type Ram = WindowRam;
    type Tlb = CountingTlb;
    type Irq = HostIrq;

    fn ram(&self) -> &'static WindowRam {
        self.ram
    }

    fn tlb(&self) -> &CountingTlb {
        &self.tlb
    }

    unsafe fn linear_map_is(&self, frames: PfnRange) {
        self.ram.set(frames);
    }

    fn answers(&self, frame: Pfn) -> bool {
        self.probes.borrow_mut().push(frame);
        self.exists(frame)
    }

    fn tables_are_final(&self) {}

    fn cycles(&self) -> Option<u32> {
        None
    }
}

/// A machine before it is switched on.
#[derive(Clone, Debug)]
pub struct Board<'a> {
    /// RAM that answers, in any order, without overlaps.
    pub ram: &'a [PhysRange],
    /// The device tree blob.
    pub tree: &'a [u8],
    /// Boot arguments in place of the tree's.
    pub bootargs: Option<&'a str>,
    /// Where the loader put the tree; `None`: where QEMU puts it.
    pub tree_at: Option<u32>,
    /// Whether the data cache may alias.
    pub aliasing_cache: bool,
    /// Whether the CPU has the multiprocessing extensions.
    pub multiprocessing: bool,
    /// The CPU that boots, by its affinity fields.
    pub boot_cpu: u32,
}

/// Why the image stops before the boot sequence.
#[derive(Clone, Copy, Debug)]
pub enum Refusal {
    /// The head found no tree where the loader said.
    NoTree,
    /// The tree is broken.
    Fdt(FdtError),
    /// The first table cannot be written.
    Table(TableError),
    /// The fixmap cannot be linked.
    Edit(EditError),
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoTree => f.write_str("no device tree"),
            Self::Fdt(error) => write!(f, "device tree: {error}"),
            Self::Table(error) => write!(f, "the first tables cannot be written: {error}"),
            Self::Edit(error) => write!(f, "the first tables cannot be written: {error:?}"),
        }
    }
}

/// A machine after its boot.
#[derive(Debug)]
pub struct Run {
    /// Every line that was logged.
    pub log: Vec<String>,
    /// What the boot left, or why it stopped.
    pub outcome: Result<Booted<HostIrq>, BootError>,
    /// The machine.
    pub machine: FakeMachine,
    /// What the head did.
    pub head: HeadInfo,
    /// Where the image lies.
    pub image: ImageLayout,
    /// The tree.
    pub fdt: ValidFdt<'static>,
    /// What it says.
    pub info: BootInfo<'static>,
    /// The boot arguments.
    pub args: BootArgs<'static>,
    canaries: Vec<check::Canary>,
    arena: Arena,
}

/// What was made `'static` for a boot.
#[derive(Debug)]
struct Arena {
    ram: *mut WindowRam,
    tree: *mut Blob,
    arrays: *mut [[Region; REGIONS]; 2],
}

impl Arena {
    /// # Safety
    /// Nothing may refer to the three any more.
    unsafe fn free(self) {
        // SAFETY: the pointer came from a box, and the caller vouches that nobody uses it.
        drop(unsafe { Box::from_raw(self.ram) });
        // SAFETY: as above.
        drop(unsafe { Box::from_raw(self.tree) });
        // SAFETY: as above.
        drop(unsafe { Box::from_raw(self.arrays) });
    }
}

impl Run {
    /// Frees RAM, tree and arrays; without it they stay for as long as the process lives.
    ///
    /// # Safety
    /// Nothing that was taken out of `outcome`, `fdt`, `info` or `args` may be used any more.
    pub unsafe fn reclaim(self) {
        let Self { outcome, machine, arena, .. } = self;
        drop(outcome);
        drop(machine);
        // SAFETY: what referred to them is gone, and the caller vouches for copies.
        unsafe { arena.free() }
    }

    /// The tree's bytes as the loader brought them.
    fn tree_bytes(&self) -> &[u8] {
        // SAFETY: the box lives until `reclaim` takes `self`, and is never written.
        unsafe { &*self.arena.tree }
    }

    /// Where the tree lies.
    #[must_use]
    pub fn dtb(&self) -> PhysRange {
        let start = PhysAddr::new(u64::from(self.head.dtb));
        PhysRange::new(start, start.saturating_add(u64::from(self.fdt.total_size())))
    }

    /// The first-level table.
    #[must_use]
    pub fn table(&self) -> PhysRange {
        let start = PhysAddr::new(u64::from(self.head.table));
        PhysRange::new(start, start.saturating_add(u64::from(crate::head::TABLE_SIZE)))
    }
}

impl<'a> Board<'a> {
    /// A board with `ram`, told of by `tree`.
    #[must_use]
    pub const fn new(ram: &'a [PhysRange], tree: &'a [u8]) -> Self {
        Self { ram, tree, bootargs: None, tree_at: None, aliasing_cache: false, multiprocessing: true, boot_cpu: 0 }
    }

    /// The first byte of RAM.
    fn base(&self) -> PhysAddr {
        self.ram.iter().map(|range| range.start).min().unwrap_or(PhysAddr::ZERO)
    }

    /// Where QEMU puts the tree: half of the first bank up, at most 128 MiB.
    fn usual_tree_at(&self) -> u32 {
        let size = self.ram.iter().find(|range| range.start == self.base()).map_or(0, |range| range.size());
        let place = self.base().saturating_add((size / 2).min(128 << 20)).align_down(u64::from(PAGE_SIZE));
        place.as_u32().unwrap_or(0)
    }

    /// Runs the head's code over the RAM: where RAM begins, where image and tree go, the first table.
    fn run_head(&self, ram: &WindowRam) -> HeadInfo {
        let mut info = HeadInfo {
            load: self.base().saturating_add(LOAD_OFFSET).as_u32().unwrap_or(0),
            file_size: FILE,
            mem_size: TEXT + RODATA + DATA,
            machine: u32::MAX,
            dtb_given: self.tree_at.unwrap_or_else(|| self.usual_tree_at()),
            entry_mode: 0x13,
            ..HeadInfo::default()
        };
        ram.write(info.dtb_given, self.tree);
        plan(&mut info, &Bare(ram), self.multiprocessing);
        if info.dtb != 0 && info.dtb != info.dtb_given {
            ram.write(info.dtb, self.tree);
        }
        tables::build(&mut info, &Bare(ram));
        if info.clash_entry != 0 {
            Bare(ram).write(info.table.wrapping_add(info.clash_index << 2), info.clash_entry);
        }
        info
    }

    /// Switches the machine on.
    ///
    /// # Errors
    /// [`Refusal`]: what the image would say before the boot sequence begins.
    pub fn boot(&self) -> Result<Run, Refusal> {
        let ram = WindowRam::new(FakeRam::new(&frames::joined(self.ram)));
        let tree = Blob::new(self.tree);
        let arena = Arena {
            ram: Box::into_raw(Box::new(ram)),
            tree: Box::into_raw(Box::new(tree)),
            arrays: Box::into_raw(Box::new([[Region::EMPTY; REGIONS]; 2])),
        };
        // SAFETY: the box lives until `Arena::free`.
        let ram = unsafe { &*arena.ram };
        // SAFETY: as above.
        let tree = unsafe { &*arena.tree };
        // SAFETY: as above, and the arrays are borrowed here only.
        let arrays = unsafe { &mut *arena.arrays };
        match self.boot_in(ram, tree, arrays) {
            Ok((log, parts)) => Ok(parts.into_run(log, arena)),
            Err(refusal) => {
                // SAFETY: a refusal holds no reference, and nothing else has come of the boot.
                unsafe { arena.free() }
                Err(refusal)
            }
        }
    }

    fn boot_in(
        &self,
        ram: &'static WindowRam,
        tree: &'static [u8],
        arrays: &'static mut [[Region; REGIONS]; 2],
    ) -> Result<(Vec<String>, Parts), Refusal> {
        let head = self.run_head(ram);
        ram.tables_at(&head);
        let image = image_at(head.run);
        let machine = FakeMachine { ram, tlb: CountingTlb::default(), probes: RefCell::default() };
        ram.set(PhysRange::new(PhysAddr::new(u64::from(head.phys_offset)), image.whole.end).whole_frames());
        self.link_fixmap(&machine, &head, &image)?;
        if head.dtb == 0 {
            return Err(Refusal::NoTree);
        }
        let (result, log) = with_log(|| {
            let fdt = fdt::validate(tree).map_err(Refusal::Fdt)?;
            let mut info = BootInfo::parse(&fdt);
            fdt.report();
            if let Some(line) = self.bootargs {
                info.bootargs = Box::leak(line.into());
            }
            let args = BootArgs::parse(info.bootargs);
            let canaries = check::plant(&machine, &head, &image, &fdt, &info);
            let [memory, reserved] = arrays;
            let given = Given {
                machine: &machine,
                head: &head,
                image,
                sizes: ImageSizes::default(),
                fdt,
                info,
                args,
                mpidr: 1 << 31 | self.boot_cpu,
                percpu: PERCPU,
                arrays: (memory.as_mut_slice(), reserved.as_mut_slice()),
                aliasing_cache: self.aliasing_cache,
            };
            let outcome = bring_up(given);
            Ok(Parts { outcome, machine, head, image, fdt, info, args, canaries })
        });
        result.map(|parts| (log, parts))
    }

    /// Links the fixmap's table and maps the console, as the image does before it reads the tree.
    fn link_fixmap(&self, machine: &FakeMachine, head: &HeadInfo, image: &ImageLayout) -> Result<(), Refusal> {
        let root = PhysAddr::new(u64::from(head.table));
        // SAFETY: nobody else uses the table.
        let tables = unsafe { Tables::new(machine.ram, root) }.map_err(Refusal::Table)?;
        // SAFETY: as above.
        let mut editor = unsafe { Editor::new(tables, &machine.tlb) };
        let index = section_index(FIXADDR_START);
        let console = FixmapSlot::EarlyConsole.address().unwrap_or(FIXADDR_START);
        let ends = self.ram.iter().map(|range| range.end).filter(|end| end.raw() < 1 << 32);
        let mut places = ends.chain([0x1c09_0000, 0x0900_0000].map(PhysAddr::new));
        let device = places.rfind(|place| !self.ram.iter().any(|range| range.contains(*place)));
        let device = device.unwrap_or_default().align_down(u64::from(PAGE_SIZE));
        let run = PageRun { index: section_index(console), page: page_index(console), pages: 1 };
        let linked = editor.fill_small(image.fixmap_table, run, device, Prot::DEVICE_RW);
        linked.and_then(|()| editor.link(index, image.fixmap_table)).map_err(Refusal::Edit)?;
        editor.link(index + 1, image.fixmap_table).map_err(Refusal::Edit)
    }
}

/// A boot's results before they meet what they live in.
struct Parts {
    outcome: Result<Booted<HostIrq>, BootError>,
    machine: FakeMachine,
    head: HeadInfo,
    image: ImageLayout,
    fdt: ValidFdt<'static>,
    info: BootInfo<'static>,
    args: BootArgs<'static>,
    canaries: Vec<check::Canary>,
}

impl Parts {
    fn into_run(self, log: Vec<String>, arena: Arena) -> Run {
        let Self { outcome, machine, head, image, fdt, info, args, canaries } = self;
        Run { log, outcome, machine, head, image, fdt, info, args, canaries, arena }
    }
}

/// The parts of an image that runs at `run`.
fn image_at(run: u32) -> ImageLayout {
    let at = |offset: u32| PhysAddr::new(u64::from(run) + u64::from(offset));
    let range = |start, end| PhysRange::new(at(start), at(end));
    let data = TEXT + RODATA;
    let end = data + DATA;
    ImageLayout {
        whole: range(0, end),
        text: range(0, TEXT),
        rodata: range(TEXT, data),
        data: range(data, end),
        init: [range(0x4000, 0x8000), range(data + 0x1000, data + 0x2000)],
        guards: [range(end - 0x9000, end - 0x8000), range(end - 0x3000, end - 0x2000)],
        vectors: at(0x1000),
        fixmap_table: at(data),
    }
}
