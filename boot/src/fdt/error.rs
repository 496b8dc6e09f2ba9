//! What can be wrong with a blob, and the one line that says so.
//!
//! Theory.      A fault is found at one word of the blob. The node's path and the property's name are worked out only
//!              then, by walking up to that word again, and copied, so that the error outlives the blob.
//! Not here.    Faults that only cost the faulty node: those are logged where the tree is surveyed (`report`).
#![forbid(unsafe_code)]

use core::fmt::{self, Write};

/// A text of up to `N` (at most 255) bytes that owns them: what does not fit is cut, what is not printable ASCII is
/// shown as `?`.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Text<const N: usize> {
    bytes: [u8; N],
    len: u8,
}

impl<const N: usize> Text<N> {
    /// The text with nothing in it.
    pub const EMPTY: Self = Self { bytes: [0; N], len: 0 };

    /// Appends `bytes`, as far as they fit.
    pub fn push(&mut self, bytes: &[u8]) {
        const { assert!(N <= 255) };
        for (slot, &byte) in self.bytes.iter_mut().skip(usize::from(self.len)).zip(bytes) {
            *slot = if matches!(byte, 0x20..=0x7e) { byte } else { b'?' };
            self.len += 1;
        }
    }

    /// The text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        self.bytes.get(..usize::from(self.len)).and_then(|bytes| core::str::from_utf8(bytes).ok()).unwrap_or_default()
    }
}

impl<const N: usize> From<&str> for Text<N> {
    fn from(text: &str) -> Self {
        let mut short = Self::EMPTY;
        short.push(text.as_bytes());
        short
    }
}

impl<const N: usize> Write for Text<N> {
    fn write_str(&mut self, s: &str) -> fmt::Result {
        self.push(s.as_bytes());
        Ok(())
    }
}

impl<const N: usize> fmt::Debug for Text<N> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self.as_str(), f)
    }
}

impl<const N: usize> fmt::Display for Text<N> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// The parts of a blob besides its slack (Devicetree Specification 5.1).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Block {
    /// The header.
    Header,
    /// The memory-reserve map.
    ReserveMap,
    /// Nodes and properties.
    Structure,
    /// Names of properties.
    Strings,
}

impl Block {
    /// The header's field that says where it lies.
    const fn field(self) -> &'static str {
        match self {
            Self::Header => "magic",
            Self::ReserveMap => "off_mem_rsvmap",
            Self::Structure => "off_dt_struct",
            Self::Strings => "off_dt_strings",
        }
    }
}

impl fmt::Display for Block {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Header => "header",
            Self::ReserveMap => "memory-reserve map",
            Self::Structure => "structure block",
            Self::Strings => "strings block",
        })
    }
}

/// Why a blob is refused. Offsets are bytes from the blob's start.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Fault {
    /// The blob does not begin on a multiple of 4 bytes.
    Unaligned,
    /// Fewer bytes than a header has.
    NoHeader(u32),
    /// The header's `totalsize` is less than the header itself.
    TotalSize(u32),
    /// The magic number is another one.
    Magic(u32),
    /// Neither version 16 nor 17, nor compatible with them.
    Version {
        /// The header's `version`.
        version: u32,
        /// The header's `last_comp_version`.
        compatible: u32,
    },
    /// The header promises more bytes than there are.
    Truncated {
        /// The header's `totalsize`.
        promised: u32,
        /// Bytes at hand.
        present: u32,
    },
    /// A block begins off its alignment.
    BlockAlign(Block, u32),
    /// A block passes the end of the blob.
    BlockBounds(Block, u32, u32),
    /// Two blocks share bytes.
    BlocksOverlap(Block, Block),
    /// The memory-reserve map has no end mark inside the blob.
    ReserveMapEnd,
    /// A word that is no token.
    Token(u32),
    /// The structure block stops before its end mark.
    StructureEnd,
    /// The end mark comes inside this many open nodes.
    OpenNodes(u32),
    /// A node closes that none opened.
    EndNode,
    /// A property outside of every node.
    PropertyOutside,
    /// A property after a child node: readers would miss it.
    PropertyAfterChild,
    /// A property's length passes the end of the structure block.
    PropertyLength(u32),
    /// A property's name lies outside the strings block or has no NUL.
    PropertyName(u32),
    /// A property without a name.
    PropertyUnnamed,
    /// A byte in the strings block that is not printable ASCII.
    StringByte(u8),
    /// A node's name has no NUL inside the structure block.
    NameEnd,
    /// A node's name has this byte, which is not printable ASCII (or is a `/` or a space).
    NameByte(u8),
    /// A node below the root without a name.
    NameEmpty,
    /// The root has a name.
    RootName,
    /// More than one root.
    SecondRoot,
    /// No root.
    NoRoot,
    /// Nodes nested deeper than [`MAX_DEPTH`](super::MAX_DEPTH).
    TooDeep,
    /// A `#address-cells` or `#size-cells` of the root that is not 4 bytes long.
    CellsLength(u32),
    /// A `#address-cells` or `#size-cells` of the root that is neither 1 nor 2.
    Cells(u32),
    /// No enabled node with `device_type = "memory"` has a whole page below 4 GiB.
    NoMemory,
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::Unaligned => f.write_str("the blob does not begin on a multiple of 4 bytes"),
            Self::NoHeader(present) => write!(f, "{present} bytes are too few for a header"),
            Self::TotalSize(total) => write!(f, "totalsize {total:#x} is too little for a header"),
            Self::Magic(magic) => write!(f, "magic {magic:#010x} is not 0xd00dfeed"),
            Self::Version { version, compatible } => {
                write!(f, "version {version} (compatible with {compatible}) is neither 16 nor 17")
            }
            Self::Truncated { promised, present } => {
                write!(f, "totalsize {promised:#x} is more than the {present:#x} bytes at hand")
            }
            Self::BlockAlign(block, offset) => {
                write!(f, "{} {offset:#x} puts the {block} off its alignment", block.field())
            }
            Self::BlockBounds(block, offset, size) => {
                write!(f, "{} {offset:#x}: {block} of {size:#x} bytes passes the end of the blob", block.field())
            }
            Self::BlocksOverlap(one, other) => write!(f, "{one} overlaps the {other}"),
            Self::ReserveMapEnd => f.write_str("memory-reserve map has no end"),
            Self::Token(token) => write!(f, "{token:#x} is no token"),
            Self::StructureEnd => f.write_str("structure block has no end token"),
            Self::OpenNodes(open) => write!(f, "end token inside {open} open nodes"),
            Self::EndNode => f.write_str("a node ends that never began"),
            Self::PropertyOutside => f.write_str("property outside of every node"),
            Self::PropertyAfterChild => f.write_str("property after a child node"),
            Self::PropertyLength(length) => write!(f, "length {length:#x} passes the end of the structure block"),
            Self::PropertyName(offset) => write!(f, "name offset {offset:#x} has no string in the strings block"),
            Self::PropertyUnnamed => f.write_str("property without a name"),
            Self::StringByte(byte) => write!(f, "byte {byte:#04x} in the strings block is not printable ASCII"),
            Self::NameEnd => f.write_str("node name has no end"),
            Self::NameByte(byte) => write!(f, "byte {byte:#04x} in a node's name"),
            Self::NameEmpty => f.write_str("node without a name"),
            Self::RootName => f.write_str("the root has a name"),
            Self::SecondRoot => f.write_str("a second root"),
            Self::NoRoot => f.write_str("no root"),
            Self::TooDeep => write!(f, "nodes nested to a depth of more than {}", super::MAX_DEPTH),
            Self::CellsLength(length) => write!(f, "{length} bytes long, not 4"),
            Self::Cells(cells) => write!(f, "{cells} is neither 1 nor 2"),
            Self::NoMemory => f.write_str("no enabled node of RAM has a page below 4 GiB"),
        }
    }
}

/// A blob that is refused: the fault, and where it is as far as that is known. Displays as one line.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct FdtError {
    /// What is wrong.
    pub fault: Fault,
    /// Bytes from the blob's start to the word at fault.
    pub offset: u32,
    /// Path of the innermost node that was open there; empty before the root and in the other blocks.
    pub path: Text<60>,
    /// The property at fault; empty when it is none, or its name cannot be read.
    pub property: Text<28>,
}

impl FdtError {
    /// A fault outside of every node.
    pub(super) const fn at(fault: Fault, offset: u32) -> Self {
        Self { fault, offset, path: Text::EMPTY, property: Text::EMPTY }
    }
}

impl fmt::Display for FdtError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("device tree: ")?;
        if !self.path.as_str().is_empty() {
            write!(f, "node {}: ", self.path)?;
        }
        if !self.property.as_str().is_empty() {
            write!(f, "property {}: ", self.property)?;
        }
        write!(f, "{} (offset {:#x})", self.fault, self.offset)
    }
}

impl core::error::Error for FdtError {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_is_cut_where_it_is_full_and_shows_only_printable_bytes() {
        let mut text = Text::<6>::EMPTY;
        text.push(b"a\x07b");
        text.push(&[0xff; 9]);
        assert_eq!(text.as_str(), "a?b???");
    }

    #[test]
    fn an_error_is_one_line_with_node_property_and_value() {
        let mut error = FdtError::at(Fault::PropertyLength(0xffff_fffd), 0x1a4);
        error.path.push(b"/memory@80000000");
        error.property.push(b"reg");
        assert_eq!(
            error.to_string(),
            "device tree: node /memory@80000000: property reg: length 0xfffffffd passes the end of the structure \
             block (offset 0x1a4)"
        );
    }
}
