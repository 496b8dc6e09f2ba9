//! mm's files of what CPUs share, compiled against the watched `core`.

/// What the files ask of the rest of mm.
pub mod platform {
    /// mm's trait of the same name.
    ///
    /// # Safety
    /// As there.
    pub unsafe trait IrqControl {
        /// The mask as it was.
        type Saved: Copy;

        /// Masks interrupts.
        fn save_and_disable() -> Self::Saved;

        /// Puts the mask back.
        ///
        /// # Safety
        /// As there.
        unsafe fn restore(saved: Self::Saved);
    }
}

pub use mm::{addr, buddy, migrate, order, zone};

pub mod memmap;
pub mod page_alloc;
pub mod sync;
pub mod trace;
#[path = "../../mm/src/vmstat/mod.rs"]
pub mod vmstat;

/// A CPU in a model takes no interrupts.
#[derive(Clone, Copy, Debug)]
pub struct NoIrq;

// SAFETY: there are no interrupt handlers.
unsafe impl platform::IrqControl for NoIrq {
    type Saved = ();

    fn save_and_disable() {}

    unsafe fn restore((): ()) {}
}

/// CPU `N` of a model, which one of its threads is.
#[derive(Clone, Copy, Debug)]
pub struct Cpu<const N: u32>;

// SAFETY: as above.
unsafe impl<const N: u32> platform::IrqControl for Cpu<N> {
    type Saved = ();

    fn save_and_disable() {}

    unsafe fn restore((): ()) {}
}

// SAFETY: a model gives each of its threads a number of its own.
unsafe impl<const N: u32> sync::CurrentCpu for Cpu<N> {
    fn current_cpu() -> sync::CpuId {
        sync::CpuId::new(N)
    }
}
