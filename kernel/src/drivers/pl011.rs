//! Arm's PrimeCell UART, by `arm-pl011-uart`: polled output, as the loader set it up.

use core::ptr::NonNull;

use mm::addr::VirtAddr;

use arm_pl011_uart::{PL011Registers, Uart, UniqueMmioPointer};

use crate::arch::armv7::fault;

/// Looks at a full FIFO before a byte is given up: at 9,600 baud and 1 GHz more than a byte takes.
const MOST_POLLS: u32 = 10_000_000;

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

    /// Whether the registers name themselves as a PrimeCell (the PL011 TRM's component identification).
    pub fn is_there(registers: VirtAddr) -> bool {
        const PRIMECELL_ID: [u32; 4] = [0x0d, 0xf0, 0x05, 0xb1];
        PRIMECELL_ID.iter().zip((0xff0..0x1000).step_by(4)).all(|(id, offset)| {
            let register = registers.checked_add(offset);
            register.is_some_and(|register| fault::try_read(register).is_ok_and(|word| word & 0xff == *id))
        })
    }

    /// Sends `byte`, after waiting for room; a UART that never has any loses it.
    pub fn put(&mut self, byte: u8) {
        for _ in 0..MOST_POLLS {
            if !self.uart.is_tx_fifo_full() {
                break;
            }
        }
        self.uart.write_word(byte);
    }
}
