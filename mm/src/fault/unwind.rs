//! Callers, by the ARM exception-handling tables.
//!
//! Theory.      For every function the linker's index `.ARM.exidx` says how its frame is undone: a program of one-byte
//!              instructions that move a virtual stack pointer and pop registers. Run over the registers of the moment
//!              it gives those of the caller. It costs the code nothing, where frame pointers cost every call.
//! Invariants.  Tables and stack may be damaged: every word comes through [`Memory`], which may refuse; a program is
//!              bounded, and the stack pointer must rise, so the walk ends.
//! Not here.    Names (`symbols`), reading words without a fault (the kernel).
//! Source.      ARM IHI 0038 (EHABI32) sections 6 (index), 7 (compact tables), 10.3 (frame unwinding instructions).

use crate::addr::VirtAddr;

/// Words that may not be there.
pub trait Memory {
    /// The word at `va`, a multiple of 4; `None` where it cannot be read.
    fn word(&self, va: u32) -> Option<u32>;
}

/// r0 to r15 of one frame.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Registers(pub [u32; 16]);

const SP: usize = 13;
const LR: usize = 14;
const PC: usize = 15;

impl Registers {
    /// Where this frame executes, or will go on.
    #[must_use]
    pub const fn pc(&self) -> VirtAddr {
        VirtAddr::new(self.0[PC])
    }

    /// Its stack pointer.
    #[must_use]
    pub const fn sp(&self) -> VirtAddr {
        VirtAddr::new(self.0[SP])
    }

    /// Its link register.
    #[must_use]
    pub const fn lr(&self) -> VirtAddr {
        VirtAddr::new(self.0[LR])
    }

    fn get(&self, register: usize) -> u32 {
        self.0.get(register).copied().unwrap_or(0)
    }

    fn set(&mut self, register: usize, word: u32) {
        if let Some(slot) = self.0.get_mut(register) {
            *slot = word;
        }
    }
}

/// Why there is no further caller.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum End {
    /// The function says that it has none to speak of.
    CantUnwind,
    /// No function of the index has this address.
    NoEntry(VirtAddr),
    /// A word of the index, of a table or of the stack cannot be read.
    Unreadable(VirtAddr),
    /// An instruction that no compiler should have written.
    BadInstruction(u8),
    /// The stack pointer did not rise: the frames would repeat.
    StackDoesNotRise(VirtAddr),
}

/// Where the index lies, as the linker says: pairs of words in ascending order of functions.
#[derive(Clone, Copy, Debug)]
pub struct Index {
    /// First byte of `.ARM.exidx`.
    pub start: VirtAddr,
    /// One past its last byte.
    pub end: VirtAddr,
}

/// An entry of the index says that its function cannot be unwound.
const CANT_UNWIND: u32 = 1;
/// Bytes of an entry.
const ENTRY: u32 = 8;

/// Finds the caller of the frame that `registers` are of. `is_call`: the frame's pc is a return address, which may lie
/// behind the function's last instruction.
///
/// # Errors
/// [`End`].
pub fn caller(memory: &dyn Memory, index: Index, registers: &Registers, is_call: bool) -> Result<Registers, End> {
    let pc = registers.get(PC).wrapping_sub(u32::from(is_call));
    let mut program = Program::of(memory, find(memory, index, pc)?)?;
    let mut frame = Frame { memory, registers: *registers, has_pc: false };
    // The longest program pops everything by single instructions; a damaged one must end too.
    for _ in 0..64 {
        let Some(instruction) = program.next()? else { break };
        if !frame.execute(instruction, &mut program)? {
            break;
        }
    }
    let mut caller = frame.registers;
    if !frame.has_pc {
        caller.0[PC] = caller.0[LR];
    }
    let leaf = !is_call && caller.sp() == registers.sp() && caller.pc() != registers.pc();
    if caller.sp() > registers.sp() || leaf { Ok(caller) } else { Err(End::StackDoesNotRise(caller.sp())) }
}

/// Where calls can come from: the addresses of code.
#[derive(Clone, Copy, Debug)]
pub struct Code {
    /// The first instruction.
    pub start: VirtAddr,
    /// One past the last.
    pub end: VirtAddr,
}

/// Guesses the caller where the tables say nothing: the first word on the stack that lies behind a call in `code`, in
/// at most `words` words. r4 to r11 stay as they are, which may be wrong.
#[must_use]
pub fn guess(memory: &dyn Memory, code: Code, registers: &Registers, words: u32) -> Option<Registers> {
    let slots = (0..words).map(|slot| registers.get(SP).wrapping_add(slot * 4));
    for at in slots {
        let Some(back) = memory.word(at) else { break };
        let in_code = code.start.raw() < back && back <= code.end.raw() && back.is_multiple_of(4);
        if in_code && memory.word(back - 4).is_some_and(is_call) {
            let mut caller = *registers;
            (caller.0[SP], caller.0[LR], caller.0[PC]) = (at.wrapping_add(4), back, back);
            return Some(caller);
        }
    }
    None
}

/// Whether an instruction is BL or BLX (Arm ARM DDI 0406C A8.8.25, A8.8.26).
const fn is_call(instruction: u32) -> bool {
    let plain = instruction & 0x0f00_0000 == 0x0b00_0000;
    let by_register = instruction & 0x0fff_fff0 == 0x012f_ff30;
    plain || by_register || instruction & 0xfe00_0000 == 0xfa00_0000
}

/// A word of `memory`.
fn word(memory: &dyn Memory, va: u32) -> Result<u32, End> {
    memory.word(va).ok_or(End::Unreadable(VirtAddr::new(va)))
}

/// The address that the 31-bit offset in the word at `va` means.
const fn prel31(va: u32, word: u32) -> u32 {
    va.wrapping_add((word << 1).cast_signed().wrapping_shr(1).cast_unsigned())
}

/// The entry of the function around `pc`: the last that begins at or before it.
fn find(memory: &dyn Memory, index: Index, pc: u32) -> Result<u32, End> {
    let at = |entry: u32| index.start.raw().wrapping_add(entry.wrapping_mul(ENTRY));
    let (mut low, mut high) = (0, index.end.raw().saturating_sub(index.start.raw()) / ENTRY);
    while low < high {
        let middle = low + (high - low) / 2;
        let start = prel31(at(middle), word(memory, at(middle))?);
        if start <= pc {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    low.checked_sub(1).map(at).ok_or(End::NoEntry(VirtAddr::new(pc)))
}

/// The instructions of one function.
struct Program<'m> {
    memory: &'m dyn Memory,
    /// What is left of the present word, first byte on top.
    bytes: u32,
    left: u32,
    /// Where further words lie, and how many.
    next: u32,
    words: u32,
}

impl<'m> Program<'m> {
    /// The program of the index's entry at `entry`.
    fn of(memory: &'m dyn Memory, entry: u32) -> Result<Self, End> {
        let second = entry.wrapping_add(4);
        let inline = word(memory, second)?;
        if inline == CANT_UNWIND {
            return Err(End::CantUnwind);
        }
        if inline >> 31 == 1 {
            return Ok(Self { memory, bytes: inline << 8, left: 3, next: 0, words: 0 });
        }
        let table = prel31(second, inline);
        let first = word(memory, table)?;
        if first >> 31 == 0 {
            // A personality of its own: the program follows in the form that compilers agree on.
            let bytes = word(memory, table.wrapping_add(4))?;
            return Ok(Self { memory, bytes: bytes << 8, left: 3, next: table.wrapping_add(8), words: bytes >> 24 });
        }
        let next = table.wrapping_add(4);
        match first >> 24 & 0xf {
            0 => Ok(Self { memory, bytes: first << 8, left: 3, next, words: 0 }),
            1 | 2 => Ok(Self { memory, bytes: first << 16, left: 2, next, words: first >> 16 & 0xff }),
            _ => Err(End::BadInstruction(first.to_be_bytes()[0])),
        }
    }

    /// The next instruction's byte; `None` at the end.
    fn next(&mut self) -> Result<Option<u8>, End> {
        if self.left == 0 {
            if self.words == 0 {
                return Ok(None);
            }
            self.bytes = word(self.memory, self.next)?;
            (self.next, self.words, self.left) = (self.next.wrapping_add(4), self.words - 1, 4);
        }
        let byte = (self.bytes >> 24) as u8;
        self.bytes <<= 8;
        self.left -= 1;
        Ok(Some(byte))
    }

    /// The second byte of an instruction.
    fn operand(&mut self, instruction: u8) -> Result<u32, End> {
        self.next()?.map(u32::from).ok_or(End::BadInstruction(instruction))
    }
}

/// The registers while the program runs; r13 is the virtual stack pointer.
struct Frame<'m> {
    memory: &'m dyn Memory,
    registers: Registers,
    /// The program has popped r15.
    has_pc: bool,
}

impl Frame<'_> {
    /// Executes one instruction; `false` when it was the last.
    fn execute(&mut self, instruction: u8, program: &mut Program<'_>) -> Result<bool, End> {
        let low = u32::from(instruction);
        match instruction {
            0x00..=0x3f => self.skip(((low & 0x3f) << 2) + 4),
            0x40..=0x7f => self.skip((((low & 0x3f) << 2) + 4).wrapping_neg()),
            0x80..=0x8f => match (low << 8 | program.operand(instruction)?) & 0xfff {
                0 => return Err(End::CantUnwind),
                mask => self.pop(mask << 4)?,
            },
            0x90..=0x9f if !matches!(low & 0xf, 13 | 15) => {
                let sp = self.registers.get((low & 0xf) as usize);
                self.registers.set(SP, sp);
            }
            0xa0..=0xaf => {
                let saved = (0xff >> (7 - (low & 7))) << 4;
                self.pop(if low & 8 == 0 { saved } else { saved | 1 << LR })?;
            }
            0xb0 => return Ok(false),
            0xb1 => match program.operand(instruction)? {
                mask @ 1..=0xf => self.pop(mask)?,
                _ => return Err(End::BadInstruction(instruction)),
            },
            0xb2 => {
                let mut bytes = 0_u32;
                for shift in (0..28).step_by(7) {
                    let operand = program.operand(instruction)?;
                    bytes |= (operand & 0x7f) << shift;
                    if operand & 0x80 == 0 {
                        break;
                    }
                }
                self.skip(0x204_u32.wrapping_add(bytes << 2));
            }
            // Floating-point registers: only their room on the stack counts here.
            0xb3 => {
                let count = program.operand(instruction)? & 0xf;
                self.skip((count + 1) * 8 + 4);
            }
            0xb8..=0xbf => self.skip(((low & 7) + 1) * 8 + 4),
            0xc8 | 0xc9 => {
                let count = program.operand(instruction)? & 0xf;
                self.skip((count + 1) * 8);
            }
            0xd0..=0xd7 => self.skip(((low & 7) + 1) * 8),
            other => return Err(End::BadInstruction(other)),
        }
        Ok(true)
    }

    fn skip(&mut self, bytes: u32) {
        self.registers.set(SP, self.registers.get(SP).wrapping_add(bytes));
    }

    /// Pops the registers of `mask`, the lowest from the lowest address.
    fn pop(&mut self, mask: u32) -> Result<(), End> {
        let mut at = self.registers.get(SP);
        let mut popped_sp = None;
        for register in (0..16).filter(|register| mask >> register & 1 == 1) {
            let word = word(self.memory, at)?;
            at = at.wrapping_add(4);
            if register == SP {
                popped_sp = Some(word)
            } else {
                self.registers.set(register, word)
            }
            self.has_pc |= register == PC;
        }
        self.registers.set(SP, popped_sp.unwrap_or(at));
        Ok(())
    }
}

#[cfg(test)]
#[path = "unwind_tests.rs"]
mod tests;
