//! Where RAM begins, read from a device tree that nobody has validated yet.
//!
//! Theory.      Before the MMU is on only three facts are needed: the enabled `/memory` banks, the initrd (so as not
//!              to move onto it) and `linux,usable-memory-range`. This walk reads aligned words between the header's
//!              bounds, gives up at the first oddity, and leaves all judging to [`crate::fdt`], which runs later.
//! Invariants.  Runs position-independent (see [`super`]): names are compared by hash and length, since a string
//!              constant would be an absolute address. Reads only words that `totalsize` reaches. Ends: each step moves
//!              forward.
//! Source.      Devicetree Specification 0.4, chapter 5; Linux arch/arm/boot/compressed/fdt_check_mem_start.c (what is
//!              asked of the tree).
#![forbid(unsafe_code)]

use super::plan::Raw;

const BEGIN_NODE: u32 = 1;
const END_NODE: u32 = 2;
const PROP: u32 = 3;
const NOP: u32 = 4;
const MAGIC: u32 = 0xd00d_feed;
const HEADER_SIZE: u32 = 40;
/// Bytes of the two sections at 0xff80_0000, which map the tree from the section that it begins in.
const WINDOW: u32 = 2 << 20;

/// FNV-1a, 32 bits.
const fn hash(text: &[u8]) -> u32 {
    let mut sum = FNV_BASIS;
    let mut at = 0;
    while at < text.len() {
        sum = fnv(sum, text[at] as u32);
        at += 1;
    }
    sum
}

const FNV_BASIS: u32 = 0x811c_9dc5;

#[inline(always)]
const fn fnv(sum: u32, byte: u32) -> u32 {
    (sum ^ byte).wrapping_mul(0x0100_0193)
}

const ADDRESS_CELLS: u32 = hash(b"#address-cells");
const SIZE_CELLS: u32 = hash(b"#size-cells");
const DEVICE_TYPE: u32 = hash(b"device_type");
const MEMORY: u32 = hash(b"memory");
const STATUS: u32 = hash(b"status");
const OKAY: u32 = hash(b"okay");
const OK: u32 = hash(b"ok");
const REG: u32 = hash(b"reg");
const CHOSEN: u32 = hash(b"chosen");
const INITRD_START: u32 = hash(b"linux,initrd-start");
const INITRD_END: u32 = hash(b"linux,initrd-end");
const USABLE: u32 = hash(b"linux,usable-memory-range");
const USABLE_BANKS: u32 = hash(b"linux,usable-memory");

/// Physical bytes `start..end` below 4 GiB; `end` 0xffff_ffff stands for all that follows.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
#[repr(C)]
pub struct Span {
    /// First byte.
    pub start: u32,
    /// One past the last byte.
    pub end: u32,
}

impl Span {
    /// Whether the two share a byte.
    #[inline(always)]
    #[must_use]
    pub const fn overlaps(self, other: Self) -> bool {
        self.start < other.end && other.start < self.end
    }
}

/// What the scan found.
#[derive(Clone, Copy, Debug, Default)]
pub struct Found {
    /// `totalsize`; 0 when there is no tree.
    pub size: u32,
    /// The lowest enabled bank that has room for the image; empty when there is none.
    pub bank: Span,
    /// `linux,initrd-start` to `-end`; empty when there is none.
    pub initrd: Span,
}

/// The tree's structure and strings blocks.
struct Tree<'a, R> {
    raw: &'a R,
    base: u32,
    words_end: u32,
    strings: u32,
    strings_end: u32,
}

/// What one walk keeps of the node that it is in, and of the root.
#[derive(Default)]
struct Walk {
    address_cells: u32,
    size_cells: u32,
    chosen: bool,
    memory: bool,
    disabled: bool,
    /// `reg` is `linux,usable-memory`, which takes the place of the property of that name.
    overridden: bool,
    reg: u32,
    reg_size: u32,
    usable: u32,
    usable_size: u32,
    initrd: Span,
}

/// Scans the tree at `base`; `need` bytes must fit behind a bank's start rounded up to 2 MiB.
#[inline(always)]
pub fn scan<R: Raw>(raw: &R, base: u32, need: u32) -> Found {
    let mut found = Found::default();
    if base == 0 || base & 3 != 0 || raw.read(base).swap_bytes() != MAGIC {
        return found;
    }
    let size = raw.read(base.wrapping_add(4)).swap_bytes();
    if size < HEADER_SIZE || size > WINDOW.wrapping_sub(base & 0x000f_ffff) || base.checked_add(size).is_none() {
        // The header is all that can be told from: enough to name what is wrong with it.
        found.size = HEADER_SIZE;
        return found;
    }
    found.size = size;
    let words = raw.read(base.wrapping_add(8)).swap_bytes();
    let strings = raw.read(base.wrapping_add(12)).swap_bytes();
    if words & 3 != 0 || words >= size || strings >= size {
        return found;
    }
    let tree = Tree { raw, base, words_end: size & !3, strings, strings_end: size };
    // `/chosen` may come after `/memory`: the first walk reads the former, the second one the latter.
    let mut state = Walk { address_cells: 2, size_cells: 1, ..Walk::default() };
    let mut lowest = Span::default();
    tree.walk(words, &mut state, need, &mut lowest);
    found.initrd = state.initrd;
    lowest = Span::default();
    tree.walk(words, &mut state, need, &mut lowest);
    found.bank = lowest;
    found
}

impl<R: Raw> Tree<'_, R> {
    /// The big-endian word at `offset`; `u32::MAX`, which is no token, outside the tree.
    #[inline(always)]
    fn word(&self, offset: u32) -> u32 {
        if offset & 3 != 0 || offset.saturating_add(4) > self.words_end {
            return u32::MAX;
        }
        self.raw.read(self.base.wrapping_add(offset)).swap_bytes()
    }

    /// The byte at `offset`, read from its aligned word; 0 outside the tree.
    #[inline(always)]
    fn byte(&self, offset: u32, end: u32) -> u32 {
        if offset >= end {
            return 0;
        }
        let word = self.raw.read(self.base.wrapping_add(offset & !3));
        word >> ((offset & 3) << 3) & 0xff
    }

    /// Hash of the text at `offset`, up to NUL, `end` or 32 bytes.
    #[inline(always)]
    fn text(&self, offset: u32, end: u32) -> u32 {
        let mut sum = FNV_BASIS;
        let mut length = 0;
        while length < 32 {
            let byte = self.byte(offset.wrapping_add(length), end);
            if byte == 0 {
                break;
            }
            sum = fnv(sum, byte);
            length += 1;
        }
        sum
    }

    /// A number of `cells` cells at `offset`; `u32::MAX` when it does not fit 32 bits.
    #[inline(always)]
    fn number(&self, offset: u32, cells: u32) -> u32 {
        if cells == 2 {
            if self.word(offset) != 0 {
                return u32::MAX;
            }
            return self.word(offset.wrapping_add(4));
        }
        self.word(offset)
    }

    /// The pair of address and size at `offset`.
    #[inline(always)]
    fn span(&self, offset: u32, state: &Walk) -> Span {
        let start = self.number(offset, state.address_cells);
        let size = self.number(offset.wrapping_add(state.address_cells << 2), state.size_cells);
        if start == u32::MAX {
            return Span::default();
        }
        Span { start, end: start.saturating_add(size) }
    }

    /// Walks the structure block once.
    #[inline(always)]
    fn walk(&self, words: u32, state: &mut Walk, need: u32, lowest: &mut Span) {
        let mut at = words;
        let mut depth = 0_u32;
        loop {
            let token = self.word(at);
            at = at.wrapping_add(4);
            if token == NOP {
                continue;
            }
            // Four cases in one `match` become a jump table of absolute addresses: the compiler must not see that
            // the fourth belongs to the same value.
            match core::hint::black_box(token) {
                BEGIN_NODE => {
                    depth = depth.wrapping_add(1);
                    if depth == 2 {
                        state.chosen = self.text(at, self.words_end) == CHOSEN;
                        state.memory = false;
                        state.disabled = false;
                        state.overridden = false;
                        state.reg = 0;
                    }
                    while self.word(at) != u32::MAX && !has_nul(self.word(at)) {
                        at = at.wrapping_add(4);
                    }
                    at = at.wrapping_add(4);
                }
                END_NODE => {
                    if depth == 2 && state.memory && !state.disabled && state.reg != 0 {
                        self.take_banks(state, need, lowest);
                    }
                    if depth < 2 {
                        return;
                    }
                    depth = depth.wrapping_sub(1);
                }
                PROP => {
                    let size = self.word(at);
                    let name = self.word(at.wrapping_add(4));
                    at = at.wrapping_add(8);
                    if size > self.words_end || name > self.strings_end {
                        return;
                    }
                    if depth == 1 || depth == 2 {
                        self.property(state, depth, at, size, name);
                    }
                    at = at.wrapping_add(size.wrapping_add(3) & !3);
                }
                _ => return,
            }
        }
    }

    /// Keeps what a property of the root or of one of its children says.
    #[inline(always)]
    fn property(&self, state: &mut Walk, depth: u32, at: u32, size: u32, name: u32) {
        let end = at.wrapping_add(size);
        let name = self.text(self.strings.wrapping_add(name), self.strings_end);
        if depth == 1 {
            if name == ADDRESS_CELLS {
                state.address_cells = self.word(at);
            } else if name == SIZE_CELLS {
                state.size_cells = self.word(at);
            }
        } else if name == DEVICE_TYPE {
            state.memory = self.text(at, end) == MEMORY;
        } else if name == STATUS {
            let status = self.text(at, end);
            state.disabled = status != OKAY && status != OK;
        } else if name == USABLE_BANKS || name == REG && !state.overridden {
            state.reg = at;
            state.reg_size = size;
            state.overridden = name == USABLE_BANKS;
        } else if state.chosen && name == USABLE {
            state.usable = at;
            state.usable_size = size;
        } else if state.chosen && name == INITRD_START {
            state.initrd.start = self.number(at, size >> 2);
        } else if state.chosen && name == INITRD_END {
            state.initrd.end = self.number(at, size >> 2);
        }
    }

    /// Lowers `lowest` to each bank of the node that has room for the image.
    #[inline(always)]
    fn take_banks(&self, state: &Walk, need: u32, lowest: &mut Span) {
        if state.address_cells.wrapping_sub(1) > 1 || state.size_cells.wrapping_sub(1) > 1 {
            return;
        }
        let pair = (state.address_cells.wrapping_add(state.size_cells)) << 2;
        let mut at = 0_u32;
        while at.saturating_add(pair) <= state.reg_size {
            let mut bank = self.span(state.reg.wrapping_add(at), state);
            at = at.wrapping_add(pair);
            if state.usable != 0 && state.usable_size >= pair {
                let usable = self.span(state.usable, state);
                bank.start = if usable.start > bank.start { usable.start } else { bank.start };
                bank.end = if usable.end < bank.end { usable.end } else { bank.end };
            }
            let start = round_up_2m(bank.start);
            if start < bank.start || bank.end <= start || bank.end.wrapping_sub(start) < need {
                continue;
            }
            if lowest.end == 0 || start < lowest.start {
                *lowest = Span { start, end: bank.end };
            }
        }
    }
}

/// Whether one of the four bytes is 0.
#[inline(always)]
const fn has_nul(word: u32) -> bool {
    word.wrapping_sub(0x0101_0101) & !word & 0x8080_8080 != 0
}

/// The next multiple of 2 MiB; less than `address` when that is 4 GiB.
#[inline(always)]
const fn round_up_2m(address: u32) -> u32 {
    address.wrapping_add(0x001f_ffff) & !0x001f_ffff
}
