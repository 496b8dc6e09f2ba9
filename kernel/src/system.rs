//! The machine after the boot, as self-tests, benches and dumps see it.

use boot::bring_up::Booted;
use boot::head::HeadInfo;
use boot::image::ImageLayout;
use mm::addr::PhysRange;
use mm::layout::VirtualLayout;
use mm::memblock::Region;
use mm::paging::{Audit, AuditError, Rules, Tables, audit};

use crate::arch::armv7::irq::ArmIrq;
use crate::ram::LinearRam;

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
    pub booted: Booted<ArmIrq>,
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
        let zones = self.booted.mm.validate();
        if let Err(error) = &zones {
            log::error!("validate: {error}");
        }
        audit.is_ok() && zones.is_ok()
    }

    /// Prints the tables in use, as Linux's `kernel_page_tables` (`dump=pagetables`).
    pub fn dump_tables(&self) {
        for line in self.tables.dump(&self.layout.markers()) {
            log::info!("{line}");
        }
    }
}
