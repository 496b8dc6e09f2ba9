//! Arm's PrimeCell UART, by `arm-pl011-uart`: polled output, as the loader set it up.

use core::ptr::NonNull;

use arm_pl011_uart::{PL011Registers, Uart, UniqueMmioPointer};

/// A PL011 that is mapped and used for output only.
pub struct Pl011 {
    uart: Uart<'static>,
}

impl Pl011 {
    /// The UART at `registers`.
    ///
    /// # Safety
    /// `registers` must be a PL011, mapped as device memory for as long as the value lives, and used by nobody else.
    pub unsafe fn new(registers: NonNull<u8>) -> Self {
        // SAFETY: the caller vouches for the registers.
        let pointer = unsafe { UniqueMmioPointer::new(registers.cast::<PL011Registers>()) };
        Self { uart: Uart::new(pointer) }
    }

    /// Sends `byte`, after waiting for room.
    pub fn put(&mut self, byte: u8) {
        while self.uart.is_tx_fifo_full() {}
        self.uart.write_word(byte);
    }
}
