//! Nodes and properties of a validated blob, read through a cursor that cannot run off it.
//!
//! Theory.      A [`Tree`] borrows the structure block as words and the strings block as bytes. A [`Node`] is the index
//!              of its begin token. A step from one token to the next is a few loads, so a look-up walks: finding a
//!              child costs its elder siblings' tokens, and nothing is allocated or kept.
//! Invariants.  Every tree in hand passed `validate`: names end, lengths fit, nodes are balanced. The cursor relies on
//!              that only for its answers. Each read is checked, and one that failed would end the walk.
//!              Of two properties (or children) of one name the first counts, as in libfdt.
//! Not here.    Addresses and cells (`cells`), which nodes matter (`memory`, `chosen`, `machine`).
//! Source.      Devicetree Specification 5.4.
#![forbid(unsafe_code)]

use core::fmt;

use super::words::has_zero_byte;

/// Nodes inside one another that a blob may have, the root included (Linux: `FDT_MAX_DEPTH`).
pub const MAX_DEPTH: usize = 64;

pub(super) const BEGIN_NODE: u32 = 1;
pub(super) const END_NODE: u32 = 2;
pub(super) const PROP: u32 = 3;
pub(super) const NOP: u32 = 4;
pub(super) const END: u32 = 9;

/// The structure and strings blocks of a blob.
#[derive(Clone, Copy)]
pub(super) struct Tree<'a> {
    /// The structure block, big-endian.
    pub(super) words: &'a [u32],
    /// The same bytes.
    pub(super) bytes: &'a [u8],
    /// The strings block.
    pub(super) strings: &'a [u8],
}

/// One token, with the index of the word behind it (`next`).
pub(super) enum Step {
    /// A node begins: the index of its begin token, and the one behind its name.
    Begin { node: usize, next: usize },
    /// A property: its name's offset, the index of its value's first word, the value's bytes.
    Property { name: u32, value: usize, len: u32, next: usize },
    /// A node ends.
    End { next: usize },
    /// The end token, or (never in a validated blob) something unreadable.
    Done,
}

/// Words that hold `len` bytes.
pub(super) const fn words_for(len: u32) -> u32 {
    (len >> 2) + (len & 3 != 0) as u32
}

impl<'a> Tree<'a> {
    /// The word at `at` in the machine's byte order.
    pub(super) fn word(&self, at: usize) -> Option<u32> {
        self.words.get(at).map(|&word| u32::from_be(word))
    }

    /// Index of the word behind a name that begins at `at`.
    fn name_end(&self, at: usize) -> Option<usize> {
        let name = self.words.get(at..)?;
        name.iter().position(|&word| has_zero_byte(word)).map(|last| at + last + 1)
    }

    /// Reads the token at `at`, no-operations skipped.
    #[inline]
    pub(super) fn step(&self, mut at: usize) -> Step {
        loop {
            match self.word(at) {
                Some(PROP) => {
                    let (Some(len), Some(name)) = (self.word(at + 1), self.word(at + 2)) else { return Step::Done };
                    let value = at + 3;
                    let Some(next) = value.checked_add(words_for(len) as usize) else { return Step::Done };
                    return Step::Property { name, value, len, next };
                }
                Some(BEGIN_NODE) => {
                    return self.name_end(at + 1).map_or(Step::Done, |next| Step::Begin { node: at, next });
                }
                Some(END_NODE) => return Step::End { next: at + 1 },
                Some(NOP) => at += 1,
                _ => return Step::Done,
            }
        }
    }

    /// Index of the word behind the whole of the node that begins at `at`.
    pub(super) fn behind(&self, mut at: usize) -> Option<usize> {
        let mut depth = 0_u32;
        loop {
            at = match self.step(at) {
                Step::Begin { next, .. } => {
                    depth += 1;
                    next
                }
                Step::Property { next, .. } => next,
                Step::End { next } => {
                    depth = depth.checked_sub(1)?;
                    if depth == 0 {
                        return Some(next);
                    }
                    next
                }
                Step::Done => return None,
            };
        }
    }

    /// The root; its begin token is the first one that is no no-operation.
    pub(super) fn root(self) -> Node<'a> {
        let at = match self.step(0) {
            Step::Begin { node, .. } => node,
            _ => 0,
        };
        Node { tree: self, at }
    }

    /// The bytes of a value.
    fn value(&self, at: usize, len: u32) -> &'a [u8] {
        self.bytes.get(at * 4..).and_then(|rest| rest.get(..len as usize)).unwrap_or_default()
    }

    /// Whether the string at `offset` is `name`. Most are not, and the first byte tells.
    #[inline]
    fn name_is(&self, offset: u32, name: &[u8]) -> bool {
        let Some(string) = self.strings.get(offset as usize..) else { return false };
        string.first() == name.first() && string.strip_prefix(name).is_some_and(|rest| rest.first() == Some(&0))
    }

    /// The string at `offset`, without its NUL.
    pub(super) fn string(&self, offset: u32) -> &'a [u8] {
        until_nul(self.strings.get(offset as usize..).unwrap_or_default())
    }
}

/// What stands before the first NUL in `bytes`; all of them when there is none.
pub(super) fn until_nul(bytes: &[u8]) -> &[u8] {
    let end = bytes.iter().position(|&byte| byte == 0).unwrap_or(bytes.len());
    bytes.get(..end).unwrap_or_default()
}

/// One property.
#[derive(Clone, Copy)]
pub struct Property<'a> {
    tree: Tree<'a>,
    name: u32,
    /// Its value's bytes.
    pub value: &'a [u8],
}

impl<'a> Property<'a> {
    /// Its name.
    #[must_use]
    pub fn name(&self) -> &'a str {
        core::str::from_utf8(self.tree.string(self.name)).unwrap_or_default()
    }

    /// Whether its name is `name`; cheaper than to compare [`Self::name`].
    #[must_use]
    #[inline]
    pub fn is(&self, name: &str) -> bool {
        self.tree.name_is(self.name, name.as_bytes())
    }
}

impl fmt::Debug for Property<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Property({} = {:02x?})", self.name(), self.value)
    }
}

/// One node.
#[derive(Clone, Copy)]
pub struct Node<'a> {
    pub(super) tree: Tree<'a>,
    /// Index of its begin token.
    pub(super) at: usize,
}

impl<'a> Node<'a> {
    /// Its name with the unit address; empty for the root.
    #[must_use]
    pub fn name(&self) -> &'a str {
        core::str::from_utf8(self.name_bytes()).unwrap_or_default()
    }

    fn name_bytes(&self) -> &'a [u8] {
        until_nul(self.tree.bytes.get((self.at + 1) * 4..).unwrap_or_default())
    }

    /// Whether the name is `name`; a `name` without a unit address fits any (libfdt: `fdt_subnode_offset`).
    pub(super) fn is_called(&self, name: &str) -> bool {
        match self.name_bytes().strip_prefix(name.as_bytes()) {
            Some([]) => true,
            Some([b'@', ..]) => !name.contains('@'),
            _ => false,
        }
    }

    /// Its properties, in order.
    #[must_use]
    pub fn properties(&self) -> Properties<'a> {
        let at = match self.tree.step(self.at) {
            Step::Begin { next, .. } => next,
            _ => usize::MAX,
        };
        Properties { tree: self.tree, at }
    }

    /// The value of property `name`.
    #[must_use]
    pub fn property(&self, name: &str) -> Option<&'a [u8]> {
        self.properties().find(|property| property.is(name)).map(|property| property.value)
    }

    /// The value of property `name` when it is one cell.
    pub(super) fn cell(&self, name: &str) -> Option<u32> {
        self.property(name)?.try_into().ok().map(u32::from_be_bytes)
    }

    /// The first string of property `name`.
    pub(super) fn text(&self, name: &str) -> Option<&'a str> {
        core::str::from_utf8(until_nul(self.property(name)?)).ok()
    }

    /// Whether the node may be used: no `status`, or `okay` (Linux: `of_fdt_device_is_available`).
    #[must_use]
    pub fn is_enabled(&self) -> bool {
        self.property("status").is_none_or(is_okay)
    }

    /// Its children, in order.
    #[must_use]
    pub fn children(&self) -> Children<'a> {
        let mut properties = self.properties();
        while properties.next().is_some() {}
        Children { tree: self.tree, at: properties.at }
    }

    /// The first child called `name`; without a unit address it fits any.
    #[must_use]
    pub fn child(&self, name: &str) -> Option<Self> {
        self.children().find(|child| child.is_called(name))
    }
}

impl fmt::Debug for Node<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Node({})", self.name())
    }
}

/// Whether a `status` lets a node be used.
pub(super) fn is_okay(status: &[u8]) -> bool {
    matches!(until_nul(status), b"okay" | b"ok")
}

/// See [`Node::properties`].
#[derive(Clone, Copy)]
pub struct Properties<'a> {
    pub(super) tree: Tree<'a>,
    /// Index of the next token; behind the last property that of the first one that is none.
    pub(super) at: usize,
}

impl<'a> Iterator for Properties<'a> {
    type Item = Property<'a>;

    fn next(&mut self) -> Option<Property<'a>> {
        let Step::Property { name, value, len, next } = self.tree.step(self.at) else { return None };
        self.at = next;
        Some(Property { tree: self.tree, name, value: self.tree.value(value, len) })
    }
}

impl fmt::Debug for Properties<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(*self).finish()
    }
}

/// See [`Node::children`].
#[derive(Clone, Copy)]
pub struct Children<'a> {
    pub(super) tree: Tree<'a>,
    /// Index of a child's begin token, or of the parent's end token; no-operations may stand before it.
    pub(super) at: usize,
}

impl<'a> Iterator for Children<'a> {
    type Item = Node<'a>;

    fn next(&mut self) -> Option<Node<'a>> {
        let Step::Begin { node, .. } = self.tree.step(self.at) else { return None };
        self.at = self.tree.behind(node)?;
        Some(Node { tree: self.tree, at: node })
    }
}

impl fmt::Debug for Children<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(*self).finish()
    }
}

/// The strings of a list such as `compatible`; those that are not UTF-8 are left out.
#[derive(Clone, Copy, Default)]
pub struct StrList<'a>(pub(super) &'a [u8]);

impl<'a> StrList<'a> {
    /// Whether `wanted` is one of them.
    #[must_use]
    pub fn has(self, wanted: &str) -> bool {
        let mut all = self;
        all.any(|string| string == wanted)
    }
}

impl<'a> Iterator for StrList<'a> {
    type Item = &'a str;

    fn next(&mut self) -> Option<&'a str> {
        while !self.0.is_empty() {
            let string = until_nul(self.0);
            self.0 = self.0.get(string.len() + 1..).unwrap_or_default();
            if let Ok(string) = core::str::from_utf8(string) {
                return Some(string);
            }
        }
        None
    }
}

impl fmt::Debug for StrList<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(*self).finish()
    }
}
