//! What ends a boot.

use core::fmt;

use mm::addr::{PhysAddr, PhysRange};
use mm::memblock::MemblockBroken;
use mm::page_alloc::{HandOverError, SetupError};
use mm::percpu::layout::LayoutError;
use mm::phase::PhaseError;
use mm::report::Unbalanced;
use mm::zone::plan::PlanError;

use crate::early_map::EarlyMapError;
use crate::fdt::FdtError;
use crate::lowmem::LowmemError;
use crate::reserve::ReserveError;

/// Why the boot stops: bad input, in one line that names it.
#[derive(Clone, Copy, Debug)]
pub enum BootError {
    /// The tree has no memory to run in.
    Fdt(FdtError),
    /// No enabled bank holds the running image.
    ImageOutsideRam {
        /// Where the image runs, with its `.bss` and the first translation table below it.
        image: PhysRange,
    },
    /// What `mem=` leaves of RAM does not hold the running image.
    MemArgument {
        /// Where the image runs.
        image: PhysRange,
    },
    /// The initrd lies where the image runs, which has overwritten it.
    InitrdUnderImage {
        /// `linux,initrd-start` to `-end`.
        initrd: PhysRange,
        /// Where the image runs.
        image: PhysRange,
    },
    /// Banks or reservations leave nothing to go on with.
    Reserve(ReserveError),
    /// There is no lowmem.
    Lowmem(LowmemError),
    /// The first bank cannot be mapped.
    EarlyMap(EarlyMapError),
    /// The final tables cannot be made.
    Paging(crate::paging_init::PagingError),
    /// Memory for a part of the boot is not there.
    NoMemory {
        /// What for.
        what: &'static str,
        /// Bytes asked for.
        bytes: u64,
    },
    /// A frame of a bank swallows writes: there is no RAM.
    AbsentFrame {
        /// What was to lie there.
        what: &'static str,
        /// The frame.
        frame: PhysAddr,
    },
    /// No plan of zones fits the memory.
    Plan(PlanError),
    /// The memory map cannot be built.
    MemMap(mm::memmap::MapError),
    /// The per-CPU areas cannot be laid out.
    PerCpu(LayoutError),
    /// The zones cannot be built.
    Setup(SetupError),
    /// A contiguous-memory area cannot be lent.
    Cma(HandOverError),
    /// Memblock's lists are not what they must be: a fault of ours.
    Broken(MemblockBroken),
    /// The hand-over failed.
    Phase(PhaseError),
    /// The parts of the `Memory:` line are not the machine's RAM.
    DoesNotAddUp(Unbalanced),
}

impl fmt::Display for BootError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Fdt(error) => error.fmt(f),
            Self::ImageOutsideRam { image } => {
                write!(f, "/memory: reg: no enabled bank of RAM holds the image at {image}")
            }
            Self::MemArgument { image } => write!(f, "mem=: the RAM that it leaves does not hold the image at {image}"),
            Self::InitrdUnderImage { initrd, image } => {
                write!(
                    f,
                    "/chosen: linux,initrd-start: initrd {initrd} lies where the image runs, {image}; load it higher"
                )
            }
            Self::Reserve(error) => error.fmt(f),
            Self::Lowmem(error) => error.fmt(f),
            Self::EarlyMap(error) => error.fmt(f),
            Self::Paging(error) => error.fmt(f),
            Self::NoMemory { what, bytes } => write!(f, "no memory for {what}: {bytes} bytes"),
            Self::AbsentFrame { what, frame } => write!(f, "no RAM answers at {frame}, where {what} was to lie"),
            Self::Plan(error) => error.fmt(f),
            Self::MemMap(error) => error.fmt(f),
            Self::PerCpu(error) => error.fmt(f),
            Self::Setup(error) => error.fmt(f),
            Self::Cma(error) => error.fmt(f),
            Self::Broken(broken) => write!(f, "memblock: {broken}"),
            Self::Phase(error) => error.fmt(f),
            Self::DoesNotAddUp(error) => error.fmt(f),
        }
    }
}

macro_rules! from {
    ($($source:ty => $variant:ident),+ $(,)?) => {$(
        impl From<$source> for BootError {
            fn from(error: $source) -> Self {
                Self::$variant(error)
            }
        }
    )+};
}

from! {
    FdtError => Fdt,
    LowmemError => Lowmem,
    EarlyMapError => EarlyMap,
    crate::paging_init::PagingError => Paging,
    PlanError => Plan,
    mm::memmap::MapError => MemMap,
    LayoutError => PerCpu,
    SetupError => Setup,
    HandOverError => Cma,
    MemblockBroken => Broken,
    PhaseError => Phase,
    ReserveError => Reserve,
    Unbalanced => DoesNotAddUp,
}
