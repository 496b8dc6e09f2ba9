//! From an address of the image to the function that it lies in.
//!
//! Theory.      The table is text: a line a function, six hexadecimal digits of the offset from the image's first byte,
//!              a blank, the name; in ascending order. It is searched by halving the bytes and then looking for the
//!              next line, so it needs no index and a person can read it.
//!
//! ```text
//! 004244 kernel::panic::panic
//! 0042b4 <core::panic::PanicMessage as core::fmt::Display>::fmt
//! ```
//! Invariants.  No table makes it panic: a line that is not of this form has no name.
//! Not here.    How it is made: `scripts/link.sh`, from the symbols of a first link. Linux: `kallsyms`.

use core::fmt;

/// Digits of an offset.
const DIGITS: usize = 6;

/// The functions of an image.
#[derive(Clone, Copy, Debug)]
pub struct SymbolTable<'a> {
    text: &'a [u8],
}

/// The function around an address; displays as `name+0x10/0x80`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Symbol<'a> {
    /// Its name, demangled.
    pub name: &'a str,
    /// Bytes from its start to the address.
    pub offset: u32,
    /// Bytes up to the next function; `None` for the last one.
    pub size: Option<u32>,
}

impl<'a> SymbolTable<'a> {
    /// The table in `text`; an empty one has no names.
    #[must_use]
    pub const fn new(text: &'a [u8]) -> Self {
        Self { text }
    }

    /// How many functions it names.
    #[must_use]
    pub fn len(&self) -> usize {
        self.text.iter().filter(|byte| **byte == b'\n').count()
    }

    /// Whether it names none.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.text.is_empty()
    }

    /// The last function that begins at or before `offset`, bytes from the image's start. Cost: O(log of the bytes).
    #[must_use]
    pub fn find(&self, offset: u32) -> Option<Symbol<'a>> {
        // `low` begins a line at or before the one that is looked for; every line from `high` on begins above it.
        let (mut low, mut high) = (0, self.text.len());
        self.line(low).filter(|line| line.start <= offset)?;
        while low < high {
            let middle = self.line_start(low + (high - low) / 2);
            match self.line(middle) {
                Some(line) if line.start <= offset && middle > low => low = middle,
                Some(line) if line.start <= offset => {
                    // The half above `middle` begins inside the line at `low`: one step by hand.
                    match self.line(line.end).filter(|next| next.start <= offset) {
                        Some(_) => low = line.end,
                        None => break,
                    }
                }
                _ => high = middle,
            }
        }
        let line = self.line(low)?;
        let size = self.line(line.end).map(|next| next.start.saturating_sub(line.start));
        Some(Symbol { name: line.name, offset: offset.saturating_sub(line.start), size })
    }

    /// Where the line around byte `at` begins.
    fn line_start(&self, at: usize) -> usize {
        let before = self.text.get(..at).unwrap_or(&[]);
        before.iter().rposition(|byte| *byte == b'\n').map_or(0, |newline| newline + 1)
    }

    /// The line that begins at byte `at`.
    fn line(&self, at: usize) -> Option<Line<'a>> {
        let rest = self.text.get(at..)?;
        let length = rest.iter().position(|byte| *byte == b'\n')?;
        let line = core::str::from_utf8(rest.get(..length)?).ok()?;
        let (digits, name) = line.split_at_checked(DIGITS)?;
        let start = u32::from_str_radix(digits, 16).ok()?;
        Some(Line { start, name: name.strip_prefix(' ')?, end: at + length + 1 })
    }
}

struct Line<'a> {
    start: u32,
    name: &'a str,
    /// Where the next line begins.
    end: usize,
}

impl fmt::Display for Symbol<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}+{:#x}", self.name, self.offset)?;
        self.size.map_or(Ok(()), |size| write!(f, "/{size:#x}"))
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    fn text(functions: &BTreeMap<u32, String>) -> String {
        functions.iter().map(|(start, name)| format!("{start:06x} {name}\n")).collect()
    }

    #[test]
    fn an_address_belongs_to_the_function_that_begins_before_it() {
        let table = SymbolTable::new(b"000000 _start\n000034 entry\n004244 <a as b>::c\n");
        assert_eq!(table.find(0x33).unwrap().to_string(), "_start+0x33/0x34");
        assert_eq!(table.find(0x34).unwrap().to_string(), "entry+0x0/0x4210");
        assert_eq!(table.find(0x5000).unwrap().to_string(), "<a as b>::c+0xdbc");
        assert_eq!(table.len(), 3);
    }

    #[test]
    fn below_the_first_function_and_in_an_empty_table_there_is_no_name() {
        assert_eq!(SymbolTable::new(b"000034 entry\n").find(0x33), None);
        assert_eq!(SymbolTable::new(b"").find(0), None);
    }

    proptest! {
        #[test]
        fn every_address_finds_what_a_map_finds(
            functions in prop::collection::btree_map(0_u32..1 << 24, "[a-z]{1,20}", 1..60),
            probes in prop::collection::vec(0_u32..1 << 24, 1..40),
        ) {
            let text = text(&functions);
            let table = SymbolTable::new(text.as_bytes());
            let edges = functions.keys().flat_map(|start| [*start, start + 1, start.saturating_sub(1)]);
            for offset in probes.into_iter().chain(edges) {
                let expected = functions.range(..=offset).next_back().map(|(start, name)| Symbol {
                    name,
                    offset: offset - start,
                    size: functions.range(start + 1..).next().map(|(next, _)| next - start),
                });
                prop_assert_eq!(table.find(offset), expected);
            }
        }

        #[test]
        fn no_bytes_make_it_panic(bytes in prop::collection::vec(any::<u8>(), 0..200), offset in any::<u32>()) {
            let _ = SymbolTable::new(&bytes).find(offset);
        }

        #[test]
        fn a_damaged_table_ends(at in 0_usize..60, byte in any::<u8>(), offset in 0_u32..0x200) {
            let mut bytes = b"000000 _start\n000034 entry\n000080 x\n000100 y\n000144 zzzz\n".to_vec();
            let last = bytes.len() - 1;
            bytes[at.min(last)] = byte;
            let _ = SymbolTable::new(&bytes).find(offset);
        }
    }
}
