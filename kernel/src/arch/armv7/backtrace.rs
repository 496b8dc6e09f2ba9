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

use super::fault::peek;
use crate::image;

/// Callers that are printed at most.
const DEPTH: usize = 32;
/// Words of stack in which a caller is guessed.
const GUESS_WORDS: u32 = 256;

/// Words that are read at the risk of a fault.
struct Guarded;

impl Memory for Guarded {
    fn word(&self, va: u32) -> Option<u32> {
        if va.is_multiple_of(4) { peek(VirtAddr::new(va)) } else { None }
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

/// How the first frame came to be where it is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Start {
    /// It was executing there.
    Executing,
    /// It has just jumped there, and nothing of its function was executed.
    Entering,
}

/// Prints the callers of `registers`' place, that place first. Equal frames that follow each other are one line.
pub fn print(registers: &Registers, start: Start) {
    log::error!("Call trace:");
    let mut frames = Frames { registers: *registers, is_call: false, guessed: false };
    if start == Start::Entering {
        log::error!(" [<{:08x}>] {}", registers.pc().raw(), frames.place());
        (frames.registers.0[15], frames.is_call) = (registers.lr().raw(), true);
    }
    let (mut lines, mut repeated) = (0, 0_u32);
    loop {
        let pc = frames.registers.pc();
        if lines == DEPTH {
            return log::error!(" ...");
        }
        lines += 1;
        let mark = if frames.guessed { "? " } else { "" };
        log::error!(" [<{:08x}>] {mark}{}", pc.raw(), frames.place());
        let more = loop {
            let more = frames.up();
            if !more || frames.registers.pc() != pc {
                break more;
            }
            repeated += 1;
        };
        if repeated > 0 {
            log::error!(" ... {repeated} more of the same");
            repeated = 0;
        }
        if !more {
            return;
        }
    }
}

/// A frame, on its way up.
struct Frames {
    registers: Registers,
    /// The pc is a return address.
    is_call: bool,
    /// The frame was found without its callee's table.
    guessed: bool,
}

impl Frames {
    /// Where the frame executes. A call may be its function's last instruction: the return address lies behind it.
    fn place(&self) -> Place {
        Place(VirtAddr::new(self.registers.pc().raw().wrapping_sub(if self.is_call { 4 } else { 0 })))
    }

    /// Goes on to the caller; `false` when there is none.
    fn up(&mut self) -> bool {
        let found = unwind::caller(&Guarded, index(), &self.registers, self.is_call);
        let guess = match found {
            // The head is where it all begins. Behind a guess r4 to r11 may be wrong, and a table be misled by them.
            Err(End::CantUnwind) if self.place().symbol().is_some_and(|symbol| symbol.name == "high_entry") => None,
            Err(end) if end == End::CantUnwind || self.guessed => {
                let code = image::code();
                unwind::guess(&Guarded, Code { start: code.start, end: code.end }, &self.registers, GUESS_WORDS)
            }
            _ => None,
        };
        self.guessed = found.is_err();
        match found.ok().or(guess) {
            Some(caller) if caller.pc().raw() != 0 => {
                (self.registers, self.is_call) = (caller, true);
                true
            }
            _ => false,
        }
    }
}

fn index() -> Index {
    let (start, end) = image::unwind_index();
    Index { start, end }
}
