//! Who called whom, with names.
//!
//! Theory.      Callers are found by the linker's exception tables (`mm::fault::unwind`). Code that came without tables
//!              (the prebuilt part of `core`, assembly) is passed by a guess, which its line owns up to with a `?`. The
//!              stack and the tables are read by loads that may fault: a damaged stack shortens the list.
//! Source.      Linux: `dump_backtrace`, `kallsyms_lookup`.

use core::arch::asm;
use core::fmt;

use mm::addr::VirtAddr;
use mm::fault::symbols::{Symbol, SymbolTable};
use mm::fault::unwind::{self, Code, End, Index, Memory, Registers};

use super::fault::try_read;
use crate::image;

/// Callers that are printed at most.
const DEPTH: usize = 32;
/// Words of stack in which a caller is guessed.
const GUESS_WORDS: u32 = 256;

/// Words that are read at the risk of a fault.
struct Guarded;

impl Memory for Guarded {
    fn word(&self, va: u32) -> Option<u32> {
        if va.is_multiple_of(4) { try_read(VirtAddr::new(va)).ok() } else { None }
    }
}

/// An address of code, with its function.
#[derive(Clone, Copy, Debug)]
pub struct Place(pub VirtAddr);

impl Place {
    /// The function around it; `None` outside the image's code and without a table.
    pub fn symbol(self) -> Option<Symbol<'static>> {
        let code = image::code();
        let inside = code.start <= self.0 && self.0 < code.end;
        let offset = self.0.raw().wrapping_sub(code.start.raw());
        inside.then(|| SymbolTable::new(image::symbols()).find(offset)).flatten()
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.symbol() {
            Some(symbol) => symbol.fmt(f),
            None => write!(f, "{:#010x}", self.0.raw()),
        }
    }
}

/// The registers of the place that this is called from.
#[inline(always)]
pub fn here() -> Registers {
    let mut registers = Registers::default();
    // SAFETY: stores sixteen words into the array; nothing else changes.
    unsafe {
        asm!(
            "stm {to}, {{r0-r12}}",
            "str sp, [{to}, #52]",
            "str lr, [{to}, #56]",
            "mov {pc}, pc",
            "str {pc}, [{to}, #60]",
            to = in(reg) registers.0.as_mut_ptr(),
            pc = out(reg) _,
            options(nostack),
        );
    }
    registers
}

/// The word at `va`, read at the risk of a fault.
pub(super) fn word(va: u32) -> Option<u32> {
    Guarded.word(va)
}

/// Prints the callers of `registers`' place, that place first.
pub fn print(registers: &Registers) {
    log::error!("Call trace:");
    let code = image::code();
    let code = Code { start: code.start, end: code.end };
    let (mut frame, mut is_call, mut mark) = (*registers, false, "");
    for _ in 0..DEPTH {
        // A call may be its function's last instruction: its return address belongs to the function before.
        let place = Place(VirtAddr::new(frame.pc().raw().wrapping_sub(if is_call { 4 } else { 0 })));
        log::error!(" [<{:08x}>] {mark}{place}", frame.pc().raw());
        (frame, mark) = match unwind::caller(&Guarded, index(), &frame, is_call) {
            Ok(caller) => (caller, ""),
            Err(End::CantUnwind) if place.symbol().is_none_or(|symbol| symbol.name != "high_entry") => {
                let Some(caller) = unwind::guess(&Guarded, code, &frame, GUESS_WORDS) else { return };
                (caller, "? ")
            }
            Err(End::NoEntry(_)) if !is_call => {
                // A jump into the void: the link register is all there is.
                let mut caller = frame;
                caller.0[15] = frame.lr().raw();
                (caller, "? ")
            }
            Err(_) => return,
        };
        is_call = true;
        if frame.pc().raw() == 0 {
            return;
        }
    }
}

fn index() -> Index {
    let (start, end) = image::unwind_index();
    Index { start, end }
}
