//! Programs of the EHABI's own table of instructions, run over made-up stacks.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;

const INDEX: u32 = 0x9000_0000;
const TABLE: u32 = 0x9000_1000;
const STACK: u32 = 0x8000_0000;
const FUNCTION: u32 = 0x8010_0000;

#[derive(Default)]
struct Words(BTreeMap<u32, u32>);

impl Memory for Words {
    fn word(&self, va: u32) -> Option<u32> {
        self.0.get(&va).copied()
    }
}

/// The offset of `to` from `from`, in 31 bits.
fn offset(from: u32, to: u32) -> u32 {
    to.wrapping_sub(from) & 0x7fff_ffff
}

/// An index of functions at `FUNCTION`, + 0x100, + 0x200 …, each with its second word (as if at the entry itself).
fn index(words: &mut Words, seconds: &[u32]) -> Index {
    let mut at = INDEX;
    for (number, second) in (0_u32..).zip(seconds) {
        words.0.insert(at, offset(at, FUNCTION + number * 0x100));
        words.0.insert(at + 4, *second);
        at += 8;
    }
    Index { start: VirtAddr::new(INDEX), end: VirtAddr::new(at) }
}

/// The caller after `program` (three bytes inline), with 0x100, 0x101 … on the stack.
fn run(program: [u8; 3], registers: &mut Registers) -> Result<Registers, End> {
    let [a, b, c] = program;
    let mut words = Words::default();
    for slot in 0..600 {
        words.0.insert(STACK + slot * 4, 0x100 + slot);
    }
    let index = index(&mut words, &[u32::from_be_bytes([0x80, a, b, c])]);
    registers.0[SP] = STACK;
    registers.0[PC] = FUNCTION + 8;
    caller(&words, index, registers, true)
}

/// The stack pointer's move and the registers that changed, each with its new word.
fn effect(program: [u8; 3]) -> (u32, Vec<(usize, u32)>) {
    let mut before = Registers(core::array::from_fn(|register| 0xf000 + u32::try_from(register).unwrap()));
    let after = run(program, &mut before).unwrap();
    let changed = (0..13).chain([LR]).filter(|register| before.0[*register] != after.0[*register]);
    (after.0[SP] - STACK, changed.map(|register| (register, after.0[register])).collect())
}

#[test]
fn each_instruction_of_the_manual_does_what_it_says() {
    let none = Vec::new;
    type Case = ([u8; 3], u32, Vec<(usize, u32)>);
    let cases: [Case; 12] = [
        ([0x00, 0xb0, 0xb0], 4, none()),
        ([0x3f, 0xb0, 0xb0], 0x100, none()),
        ([0x3f, 0x40, 0xb0], 0x100 - 4, none()),
        // {r4, lr}, lowest register from the lowest address.
        ([0x84, 0x01, 0xb0], 8, vec![(4, 0x100), (14, 0x101)]),
        ([0xa1, 0xb0, 0xb0], 8, vec![(4, 0x100), (5, 0x101)]),
        ([0xab, 0xb0, 0xb0], 20, vec![(4, 0x100), (5, 0x101), (6, 0x102), (7, 0x103), (14, 0x104)]),
        ([0xb1, 0x0c, 0xb0], 8, vec![(2, 0x100), (3, 0x101)]),
        // 0x204 + (1 << 2)
        ([0xb2, 0x01, 0xb0], 0x208, none()),
        ([0xb3, 0x81, 0xb0], 20, none()),
        ([0xb9, 0xb0, 0xb0], 20, none()),
        ([0xc9, 0x81, 0xb0], 16, none()),
        ([0xd1, 0xb0, 0xb0], 16, none()),
    ];
    for (program, moved, changed) in cases {
        assert_eq!(effect(program), (moved, changed), "{program:02x?}");
    }
}

#[test]
fn the_stack_pointer_may_come_from_a_frame_register() {
    let mut registers = Registers::default();
    registers.0[11] = STACK + 0x40;
    let after = run([0x9b, 0x84, 0x80], &mut registers).unwrap();
    // 0x84 0x80: {r11, lr} from the frame register's place.
    assert_eq!((after.0[11], after.0[LR], after.0[SP]), (0x110, 0x111, STACK + 0x48));
    assert_eq!(after.pc(), after.lr(), "without r15 the caller goes on at lr");
}

#[test]
fn a_popped_pc_counts_and_lr_does_not() {
    let after = run([0x88, 0x00, 0xb0], &mut Registers::default()).unwrap();
    assert_eq!((after.0[PC], after.0[LR]), (0x100, 0));
}

#[test]
fn what_no_compiler_writes_ends_the_walk_by_name() {
    let end = |program| run(program, &mut Registers::default()).unwrap_err();
    assert_eq!(end([0x80, 0x00, 0xb0]), End::CantUnwind);
    assert_eq!(end([0x9d, 0xb0, 0xb0]), End::BadInstruction(0x9d));
    assert_eq!(end([0xb1, 0x00, 0xb0]), End::BadInstruction(0xb1));
    assert_eq!(end([0xe0, 0xb0, 0xb0]), End::BadInstruction(0xe0));
    assert_eq!(end([0xb0, 0xb0, 0xb0]), End::StackDoesNotRise(VirtAddr::new(STACK)));
    assert_eq!(end([0x40, 0xb0, 0xb0]), End::StackDoesNotRise(VirtAddr::new(STACK - 4)));
}

#[test]
fn an_address_belongs_to_the_last_function_that_begins_before_it() {
    let mut words = Words::default();
    let index = index(&mut words, &[0x8001_b0b0, CANT_UNWIND, 0x8000_b0b0]);
    let mut registers = Registers::default();
    registers.0[SP] = STACK;
    let mut at = |pc, is_call| {
        registers.0[PC] = pc;
        caller(&words, index, &registers, is_call).map(|caller| caller.0[SP] - STACK)
    };
    assert_eq!(at(FUNCTION, false), Ok(8));
    assert_eq!(at(FUNCTION + 0xff, false), Ok(8));
    assert_eq!(at(FUNCTION + 0x100, false), Err(End::CantUnwind));
    // A call that never returns may be a function's last instruction.
    assert_eq!(at(FUNCTION + 0x100, true), Ok(8));
    assert_eq!(at(FUNCTION + 0x200, false), Ok(4));
    assert_eq!(at(FUNCTION - 1, false), Err(End::NoEntry(VirtAddr::new(FUNCTION - 1))));
}

#[test]
fn longer_programs_lie_in_a_table() {
    for (first, rest) in [
        // Personality 1: two bytes and one more word.
        (0x8101_0001_u32, &[0x84_01_b0_b0_u32][..]),
        // A personality of its own, then one word beyond the three bytes.
        (0x0000_1000, &[0x01_00_01_b2, 0x00_b0_b0_b0][..]),
    ] {
        let mut words = Words::default();
        words.0.insert(TABLE, first);
        for (slot, word) in (1_u32..).zip(rest) {
            words.0.insert(TABLE + slot * 4, *word);
        }
        for slot in 0..600 {
            words.0.insert(STACK + slot * 4, slot);
        }
        let index = index(&mut words, &[offset(INDEX + 4, TABLE)]);
        let mut registers = Registers::default();
        (registers.0[SP], registers.0[PC]) = (STACK, FUNCTION + 8);
        let after = caller(&words, index, &registers, true).unwrap();
        // 4 + 8 skipped, r4 and lr popped; or 4 + 8 + 0x204 skipped.
        let expected = if rest.len() == 1 { 4 + 8 + 8 } else { 4 + 8 + 0x204 };
        assert_eq!(after.0[SP] - STACK, expected);
    }
}

#[test]
fn a_stack_that_cannot_be_read_is_named() {
    let mut words = Words::default();
    let index = index(&mut words, &[0x80ab_b0b0]);
    let mut registers = Registers::default();
    (registers.0[SP], registers.0[PC]) = (0x1000, FUNCTION + 8);
    assert_eq!(caller(&words, index, &registers, true), Err(End::Unreadable(VirtAddr::new(0x1000))));
}

#[test]
fn a_guess_takes_the_first_word_behind_a_call() {
    let code = Code { start: VirtAddr::new(FUNCTION), end: VirtAddr::new(FUNCTION + 0x100) };
    let mut words = Words::default();
    // A pointer out of the code, one to a plain instruction, one behind `bl`, one behind `blx r3`.
    for (slot, word) in (0_u32..).zip([0x1234, FUNCTION + 0x10, FUNCTION + 0x20, FUNCTION + 0x30]) {
        words.0.insert(STACK + slot * 4, word);
    }
    words.0.extend([(FUNCTION + 0xc, 0xe1a0_0000), (FUNCTION + 0x1c, 0xeb00_0001), (FUNCTION + 0x2c, 0xe12f_ff33)]);
    let mut registers = Registers::default();
    registers.0[SP] = STACK;
    let first = guess(&words, code, &registers, 8).unwrap();
    assert_eq!((first.pc(), first.sp()), (VirtAddr::new(FUNCTION + 0x20), VirtAddr::new(STACK + 12)));
    let second = guess(&words, code, &first, 8).unwrap();
    assert_eq!((second.pc(), second.sp()), (VirtAddr::new(FUNCTION + 0x30), VirtAddr::new(STACK + 16)));
    assert_eq!(guess(&words, code, &second, 8), None);
    assert_eq!(guess(&words, code, &registers, 2), None);
}

/// Memory in which every word reads as something.
struct Noise(u32);

impl Memory for Noise {
    fn word(&self, va: u32) -> Option<u32> {
        let mixed = (va ^ self.0).wrapping_mul(0x9e37_79b1);
        (mixed & 0xf != 0).then_some(mixed ^ mixed >> 15)
    }
}

proptest! {
    #[test]
    fn no_memory_makes_the_walk_endless_or_panic(seed in any::<u32>(), registers in any::<[u32; 16]>(), end in any::<u32>()) {
        let index = Index { start: VirtAddr::new(INDEX), end: VirtAddr::new(end) };
        let mut registers = Registers(registers);
        for _ in 0..100 {
            let Ok(caller) = caller(&Noise(seed), index, &registers, true) else { break };
            prop_assert!(caller.sp() > registers.sp());
            registers = caller;
        }
    }
}
