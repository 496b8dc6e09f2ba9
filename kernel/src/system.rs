//! The machine after the boot, as self-tests, benches and dumps see it.

use boot::bring_up::Booted;
use boot::head::HeadInfo;
use boot::image::ImageLayout;
use mm::addr::{PhysAddr, PhysRange};
use mm::layout::{VMALLOC_END, VirtualLayout};
use mm::memblock::Region;
use mm::page_alloc::{DefaultCore, PageAllocator};
use mm::paging::{Audit, AuditError, Rules, Tables, audit};
use mm::report::{BuddyInfo, MemInfo, MemUsers, NodeMemInfo, PageTypeInfo, VmStat, ZoneInfo};
use mm::sync::InitOnce;

use crate::arch::armv7::irq::ArmIrq;
use crate::ram::LinearRam;
use crate::space;
use crate::vm::Vm;

/// The machine's page allocator.
pub type Zones = PageAllocator<'static, ArmIrq, DefaultCore<'static>>;

/// One of its zones.
pub type Zone = mm::page_alloc::Zone<'static, DefaultCore<'static>, ArmIrq>;

/// The address space, for reports of faults, once it is known.
pub static LAYOUT: InitOnce<VirtualLayout> = InitOnce::new();

/// Everything that the boot left.
#[derive(Debug)]
pub struct System {
    /// What the head found.
    pub head: &'static HeadInfo,
    /// Where the image lies.
    pub image: ImageLayout,
    /// The address space.
    pub layout: VirtualLayout,
    /// The tables in use.
    pub tables: Tables<'static, LinearRam>,
    /// The device tree's bytes.
    pub dtb: PhysRange,
    /// Page allocator, memblock's frozen map, regions.
    pub booted: &'static Booted<ArmIrq>,
    /// What is mapped beyond lowmem, and how the tables change.
    pub vm: &'static Vm,
}

impl System {
    /// No-map regions of RAM.
    pub fn no_map_ranges(&self) -> impl Iterator<Item = PhysRange> {
        self.booted.mm.frozen().memory().iter().filter(|region| region.is_nomap()).map(Region::range)
    }

    /// Contiguous-memory areas.
    pub fn cma_areas(&self) -> impl Iterator<Item = PhysRange> {
        self.booted.regions.cma_areas().map(|area| area.range)
    }

    /// The lowest `bytes` bytes, aligned to as many, in which there is no RAM: what benches and tests map as a device,
    /// and never touch. `bytes`: a power of two.
    pub fn device_space(&self, bytes: u32) -> Option<PhysAddr> {
        let memory = self.booted.mm.frozen().memory();
        let candidates = (0..=u32::MAX).step_by(bytes as usize).map(|start| PhysAddr::new(u64::from(start)));
        candidates
            .map(|start| PhysRange::new(start, start.saturating_add(u64::from(bytes))))
            .find(|range| !memory.iter().any(|region| region.range().overlaps(*range)))
            .map(|range| range.start)
    }

    /// Judges the tables in use: nothing writable and executable, no no-map frame in the linear map, nothing outside
    /// the areas.
    ///
    /// # Errors
    /// The first mapping that is wrong.
    pub fn audit(&self) -> Result<Audit, AuditError> {
        let no_map = |range: PhysRange| self.no_map_ranges().any(|taken| taken.overlaps(range));
        let areas = self.layout.areas();
        let rules = Rules { areas: &areas, linear: self.layout.linear, touches_no_map: &no_map };
        audit(&self.tables, &rules)
    }

    /// Every `validate()` of the system, each with a line when it fails; `true` when all hold.
    pub fn validate(&self) -> bool {
        let audit = self.audit();
        if let Err(error) = &audit {
            log::error!("validate: tables: {error}");
        }
        let spaces = space::audit_all();
        if let Err(error) = &spaces {
            log::error!("validate: spaces: {error}");
        }
        let asids = space::validate_asids();
        if let Err(error) = &asids {
            log::error!("validate: {error}");
        }
        let zones = self.booted.mm.validate();
        if let Err(error) = &zones {
            log::error!("validate: {error}");
        }
        let vm = self.vm.validate();
        if let Err(error) = &vm {
            log::error!("validate: {error}");
        }
        audit.is_ok() && spaces.is_ok() && asids.is_ok() && zones.is_ok() && vm.is_ok()
    }

    /// Prints each view that `names` lists, with commas between (`dump=`): `pagetables` as Linux's
    /// `kernel_page_tables`, `memblock` as its debugfs files, the others as its files of that name.
    pub fn dump(&self, names: &str) {
        let zones = self.booted.mm.allocator();
        for name in names.split(',') {
            match name {
                "pagetables" => self.dump_tables(),
                "memblock" => self.dump_memblock(),
                "vmallocinfo" => self.vm.print_info(),
                "buddyinfo" => print_lines(&BuddyInfo(zones)),
                "zoneinfo" => print_lines(&ZoneInfo(zones)),
                "pagetypeinfo" => print_lines(&PageTypeInfo(zones)),
                "meminfo" => print_lines(&MemInfo(zones, self.mem_users())),
                "nodeinfo" => zones.nodes().iter().for_each(|node| print_lines(&NodeMemInfo(zones, node))),
                "vmstat" => print_lines(&VmStat { zones, more: &[("pgfault", crate::arch::armv7::vectors::taken())] }),
                unknown => log::error!("dump={unknown}: not one of pagetables, memblock, vmallocinfo, {ZONE_VIEWS}"),
            }
        }
    }

    /// What others than the page allocator know of memory, in KiB.
    fn mem_users(&self) -> MemUsers {
        let vmalloc = VMALLOC_END.raw().saturating_sub(self.layout.vmalloc_start().raw());
        MemUsers {
            vmalloc_total: u64::from(vmalloc) >> 10,
            vmalloc_used: self.vm.used_bytes() >> 10,
            ..MemUsers::default()
        }
    }

    /// Memblock's two lists as they were at the hand-over.
    fn dump_memblock(&self) {
        let frozen = self.booted.mm.frozen();
        for (name, list) in [("memory", frozen.memory()), ("reserved", frozen.reserved())] {
            for (index, region) in list.iter().enumerate() {
                let PhysRange { start, end } = region.range();
                crate::println!("{name} {index:4}: {start}..{:#010x}", end.raw().saturating_sub(1));
            }
        }
    }

    fn dump_tables(&self) {
        for line in self.tables.dump(&self.layout.markers()) {
            crate::println!("{line}");
        }
    }
}

/// The views of the zones that `dump=` knows.
const ZONE_VIEWS: &str = "buddyinfo, zoneinfo, pagetypeinfo, meminfo, nodeinfo, vmstat";

/// Prints a view without stamps: tools that read Linux's files read these lines.
fn print_lines(view: &dyn core::fmt::Display) {
    crate::console::print(format_args!("{view}"));
}
