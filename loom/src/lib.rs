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

pub use mm::{addr, migrate, order, zone};

pub mod memmap;
pub mod sync;

/// A CPU in a model takes no interrupts.
#[derive(Clone, Copy, Debug)]
pub struct NoIrq;

// SAFETY: there are no interrupt handlers.
unsafe impl platform::IrqControl for NoIrq {
    type Saved = ();

    fn save_and_disable() {}

    unsafe fn restore((): ()) {}
}
