//! Where text goes: a ring that keeps it, the board's UART once that is known, the debugger when there is no UART.

use core::fmt;
use core::sync::atomic::{AtomicBool, Ordering};

use mm::sync::IrqLock;

use crate::arch::armv7::irq::ArmIrq;
use crate::drivers::pl011::Pl011;
use crate::ranks;

/// Bytes of text that are kept (Linux: `log_buf`).
const RING_BYTES: usize = 32 << 10;

static CONSOLE: IrqLock<Console, ArmIrq> = IrqLock::ranked(Console { uart: None, ring: Ring::new() }, ranks::CONSOLE);
/// Bytes that are collected before the console is locked.
const PENDING: usize = 128;
/// A panic has printed its line.
static BROKEN: AtomicBool = AtomicBool::new(false);

struct Console {
    uart: Option<Pl011>,
    ring: Ring,
}

/// The last [`RING_BYTES`] bytes of text.
struct Ring {
    bytes: [u8; RING_BYTES],
    /// Bytes ever written; the next one goes to this number modulo the size.
    written: usize,
}

impl Ring {
    const fn new() -> Self {
        Self { bytes: [0; RING_BYTES], written: 0 }
    }

    fn push(&mut self, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            let room = self.bytes.get_mut(self.written % RING_BYTES..).unwrap_or_default();
            let (now, later) = bytes.split_at(bytes.len().min(room.len()));
            if let Some(slots) = room.get_mut(..now.len()) {
                slots.copy_from_slice(now);
            }
            self.written = self.written.wrapping_add(now.len());
            bytes = later;
        }
    }

    /// Whether the last line has no end yet.
    fn is_in_line(&self) -> bool {
        let last = self.written.checked_sub(1).and_then(|at| self.bytes.get(at % RING_BYTES));
        last.is_some_and(|byte| *byte != b'\n')
    }

    /// What is kept, oldest byte first.
    fn kept(&self) -> impl Iterator<Item = u8> {
        let first = self.written.saturating_sub(RING_BYTES);
        (first..self.written).filter_map(|at| self.bytes.get(at % RING_BYTES).copied())
    }
}

/// Text on its way to the console. What is printed may take locks of its own (a zone's, for its counts), so it is asked
/// for its text without the console's lock (Linux: `vprintk_store`).
struct Pending {
    bytes: [u8; PENDING],
    used: usize,
}

impl Pending {
    const fn new() -> Self {
        Self { bytes: [0; PENDING], used: 0 }
    }

    /// Hands over what is there.
    fn flush(&mut self) {
        let bytes = self.bytes.get(..self.used).unwrap_or_default();
        if !bytes.is_empty() {
            CONSOLE.lock().write(bytes);
        }
        self.used = 0;
    }
}

impl fmt::Write for Pending {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        let mut rest = text.as_bytes();
        while !rest.is_empty() {
            let room = self.bytes.get_mut(self.used..).unwrap_or_default();
            let (now, later) = rest.split_at(rest.len().min(room.len()));
            if let Some(slots) = room.get_mut(..now.len()) {
                slots.copy_from_slice(now);
            }
            self.used += now.len();
            rest = later;
            if !rest.is_empty() {
                self.flush();
            }
        }
        Ok(())
    }
}

impl Console {
    fn write(&mut self, bytes: &[u8]) {
        self.ring.push(bytes);
        let Some(uart) = &mut self.uart else { return };
        for byte in bytes {
            if *byte == b'\n' {
                uart.put(b'\r');
            }
            uart.put(*byte);
        }
    }
}

/// Prints to the console. Text of no more than 128 bytes stays together.
pub fn print(text: fmt::Arguments<'_>) {
    let mut pending = Pending::new();
    // A formatter's error can only come from a `Display` of ours; there is nowhere left to report it.
    let _ = fmt::Write::write_fmt(&mut pending, text);
    pending.flush();
}

/// Gives the console its UART, which first prints what the ring kept until now.
pub fn attach(mut uart: Pl011) {
    let mut console = CONSOLE.lock();
    for byte in console.ring.kept() {
        if byte == b'\n' {
            uart.put(b'\r');
        }
        uart.put(byte);
    }
    console.uart = Some(uart);
}

/// Whether a UART prints what the ring keeps.
pub fn has_uart() -> bool {
    CONSOLE.try_lock().is_none_or(|console| console.uart.is_some())
}

/// Hands each kept byte to `each`, oldest first.
pub fn replay(mut each: impl FnMut(u8)) {
    CONSOLE.lock().ring.kept().for_each(&mut each);
}

/// Opens the console to a report, whoever had locked it (Linux: `bust_spinlocks`).
///
/// # Safety
/// Who holds the lock must never go on, and no other CPU may use the console.
pub unsafe fn break_lock() {
    // SAFETY: the caller's.
    unsafe { CONSOLE.force_unlock() }
}

/// Prints from a panic, on a line of its own: once, and not at all when the console itself panicked.
pub fn print_last(text: fmt::Arguments<'_>) {
    if !BROKEN.swap(true, Ordering::SeqCst)
        && let Some(is_in_line) = CONSOLE.try_lock().map(|console| console.ring.is_in_line())
    {
        // What was interrupted may have been a line.
        let begin = if is_in_line { "\n" } else { "" };
        print(format_args!("{begin}{text}"));
    }
}

/// Prints a line with a tab or none of Linux's stamp: for verdicts and benches that scripts read.
#[macro_export]
macro_rules! println {
    ($($arg:tt)*) => { $crate::console::print(format_args!("{}\n", format_args!($($arg)*))) };
}
