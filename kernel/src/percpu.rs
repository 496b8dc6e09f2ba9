//! Variables that each CPU has for itself.
//!
//! Theory.      The linker gathers the first values in one section, the template; the boot copies it into a unit a
//!              CPU. TPIDRPRW holds what lies between the template and this CPU's unit, so a variable's address is
//!              its linked address plus that register.
//! Invariants.  TPIDRPRW is 0 until [`enter`] ran on the CPU; before that there are no per-CPU variables.
//! Source.      Linux: `__my_cpu_offset`; Arm ARM DDI 0406C B4.1.150 (TPIDRPRW).

use core::sync::atomic::AtomicU32;

use aarch32_cpu::register::{SysRegRead, SysRegWrite, Tpidrprw};
use boot::bring_up::PerCpu;
use mm::addr::VirtAddr;
use mm::layout::LinearMap;
use mm::percpu::layout::UnitOffsets;

use crate::image;

/// A counter of each CPU. Its address is the template's: [`Counter::of_this_cpu`] gives the variable.
#[derive(Debug)]
#[repr(transparent)]
pub struct Counter(AtomicU32);

/// Exceptions that this CPU took.
#[unsafe(link_section = ".percpu")]
pub static EXCEPTIONS: Counter = Counter(AtomicU32::new(0));

/// Says in every unit that the template was copied: the self-tests look for it.
#[unsafe(link_section = ".percpu")]
pub static CANARY: Counter = Counter(AtomicU32::new(CANARY_VALUE));

/// What [`CANARY`] begins with.
pub const CANARY_VALUE: u32 = 0x7065_7263;

impl Counter {
    /// A variable that begins with `first` on each CPU; it belongs into the section `.percpu`.
    pub const fn new(first: u32) -> Self {
        Self(AtomicU32::new(first))
    }

    /// This CPU's variable; `None` before the CPU has its unit.
    pub fn of_this_cpu(&'static self) -> Option<&'static AtomicU32> {
        let offset = Tpidrprw::read_raw() as usize;
        if offset == 0 {
            return None;
        }
        let address = (&raw const self.0).expose_provenance().wrapping_add(offset);
        // SAFETY: `enter` wrote the offset of a unit that holds a copy of the template, this variable included, and
        // that is never given back; the variable is atomic.
        Some(unsafe { &*core::ptr::with_exposed_provenance(address) })
    }

    /// This CPU's variable; before the CPU has its unit the template's, which holds the first value and is read-only.
    ///
    /// # Safety
    /// Nothing may be stored to it as long as it holds the first value.
    #[inline(always)]
    pub unsafe fn here(&'static self) -> &'static AtomicU32 {
        let address = (&raw const self.0).expose_provenance().wrapping_add(Tpidrprw::read_raw() as usize);
        // SAFETY: as in `of_this_cpu`; an offset of 0 leads to the template itself.
        unsafe { &*core::ptr::with_exposed_provenance(address) }
    }
}

/// Marks that this CPU has no unit yet.
pub fn leave() {
    // SAFETY: the register is ours alone; 0 says that there is no unit.
    unsafe { Tpidrprw::write_raw(0) }
}

/// Gives this CPU, number `cpu`, its unit of `areas`; `false` when there is none.
pub fn enter(areas: &PerCpu, linear: &LinearMap, cpu: u32) -> bool {
    let Some(chunk) = linear.phys_to_virt(areas.chunk.start) else { return false };
    let template = VirtAddr::new(image::percpu_template().as_ptr() as u32);
    let Some(offset) = UnitOffsets::new(areas.layout, chunk, template).offset(cpu) else { return false };
    // SAFETY: the register is ours alone, and the boot copied the template into this unit.
    unsafe { Tpidrprw::write_raw(offset) }
    true
}
