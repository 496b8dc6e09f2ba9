//! A flattened device tree as bytes to be damaged: finds a field or a property by name and overwrites it.
//!
//! It is meant for good blobs on the way in and for anything on the way out, so it checks nothing. Numbers are
//! big-endian; offsets are from the start of the blob.
//!
//! Source.      Devicetree Specification 5.2 (header), 5.4 (structure block).

/// The header's fields, by offset.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(usize)]
#[expect(missing_docs, reason = "the names are the specification's")]
pub enum Field {
    Magic = 0,
    TotalSize = 4,
    OffDtStruct = 8,
    OffDtStrings = 12,
    OffMemRsvmap = 16,
    Version = 20,
    LastCompVersion = 24,
    BootCpuid = 28,
    SizeDtStrings = 32,
    SizeDtStruct = 36,
}

/// FDT_BEGIN_NODE.
pub const BEGIN_NODE: u32 = 1;
/// FDT_END_NODE.
pub const END_NODE: u32 = 2;
/// FDT_PROP.
pub const PROP: u32 = 3;
/// FDT_NOP.
pub const NOP: u32 = 4;
/// FDT_END.
pub const END: u32 = 9;

/// Where a property's parts are.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Property {
    /// Its FDT_PROP token; the length follows at +4, the name's offset at +8.
    pub token: usize,
    /// Its value.
    pub value: usize,
    /// The value's bytes.
    pub length: usize,
}

/// The bytes.
#[derive(Clone, Debug)]
pub struct Blob(pub Vec<u8>);

impl Blob {
    /// The number at `offset`; 0 outside the blob.
    #[must_use]
    pub fn get(&self, offset: usize) -> u32 {
        self.0.get(offset..).and_then(|rest| rest.first_chunk()).map_or(0, |bytes| u32::from_be_bytes(*bytes))
    }

    /// Overwrites the number at `offset`; nothing outside the blob.
    #[must_use]
    pub fn with(mut self, offset: usize, value: u32) -> Self {
        if let Some(bytes) = self.0.get_mut(offset..).and_then(|rest| rest.first_chunk_mut()) {
            *bytes = value.to_be_bytes();
        }
        self
    }

    /// Overwrites a field of the header.
    #[must_use]
    pub fn with_field(self, field: Field, value: u32) -> Self {
        self.with(field as usize, value)
    }

    /// A field of the header.
    #[must_use]
    pub fn field(&self, field: Field) -> usize {
        self.get(field as usize) as usize
    }

    /// Keeps the first `length` bytes and leaves the header as it is.
    #[must_use]
    pub fn cut(mut self, length: usize) -> Self {
        self.0.truncate(length);
        self
    }

    /// Puts another structure block behind everything, and points the header to it.
    #[must_use]
    pub fn with_structure(mut self, tokens: &[u32]) -> Self {
        self.0.resize(self.0.len().next_multiple_of(4), 0);
        let start = self.0.len();
        self.0.extend(tokens.iter().flat_map(|t| t.to_be_bytes()));
        let total = self.0.len();
        self.with_field(Field::OffDtStruct, number(start))
            .with_field(Field::SizeDtStruct, number(total - start))
            .with_field(Field::TotalSize, number(total))
    }

    /// The offset of each token in the structure block, up to FDT_END.
    pub fn tokens(&self) -> impl Iterator<Item = usize> + '_ {
        let mut at = self.field(Field::OffDtStruct);
        let end = at + self.field(Field::SizeDtStruct);
        std::iter::from_fn(move || {
            let here = at;
            if here >= end {
                return None;
            }
            at += match self.get(here) {
                BEGIN_NODE => (4 + self.text(here + 4).len() + 1).next_multiple_of(4),
                PROP => (12 + self.get(here + 4) as usize).next_multiple_of(4),
                END => end,
                _ => 4,
            };
            Some(here)
        })
    }

    /// The offset of the first token that is `kind`.
    #[must_use]
    pub fn token(&self, kind: u32) -> Option<usize> {
        self.tokens().find(|at| self.get(*at) == kind)
    }

    /// The property `name` of the first node called `node` (`""` is the root).
    #[must_use]
    pub fn property(&self, node: &str, name: &str) -> Option<Property> {
        let strings = self.field(Field::OffDtStrings);
        let mut inside = false;
        for at in self.tokens() {
            match self.get(at) {
                BEGIN_NODE => inside = self.text(at + 4) == node,
                PROP if inside && self.text(strings + self.get(at + 8) as usize) == name => {
                    return Some(Property { token: at, value: at + 12, length: self.get(at + 4) as usize });
                }
                _ => {}
            }
        }
        None
    }

    /// The string at `offset`, up to its NUL.
    fn text(&self, offset: usize) -> &str {
        let rest = self.0.get(offset..).unwrap_or_default();
        let length = rest.iter().position(|b| *b == 0).unwrap_or(rest.len());
        std::str::from_utf8(rest.get(..length).unwrap_or_default()).unwrap_or_default()
    }
}

/// A length as a field of the header; test blobs are small.
fn number(length: usize) -> u32 {
    u32::try_from(length).unwrap_or(u32::MAX)
}
