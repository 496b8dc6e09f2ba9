//! One pass over a whole blob before anyone else reads it.
//!
//! Theory.      The header says where three blocks lie; each is checked against the blob and against the others. The
//!              structure block is then read token by token, forward only, with a counter for the depth. A property's
//!              name is checked by its offset alone: it ends if a NUL stands at or behind it, so one look for the last
//!              NUL of the strings block serves all. Nothing recurses, nothing is allocated, and the time is linear in
//!              the three blocks; the slack behind them (1 MiB on QEMU's virt) is never touched.
//! Invariants.  1. Offsets and lengths are `u32` as in the blob, and are compared with what is left, never added up
//!                 first: a length near 2^32 is refused on a 32-bit machine as on any other.
//!              2. What passes can be walked by `tree` to its end without a check failing.
//! Not here.    What the nodes mean, but for the root's cells: without them no address can be read.
//! Source.      Devicetree Specification 5; libfdt's `fdt_check_full` for what boot loaders let pass.
#![forbid(unsafe_code)]

use super::error::{Block, Fault, FdtError};
use super::tree::{BEGIN_NODE, END, END_NODE, MAX_DEPTH, NOP, PROP, Step, Tree, words_for};
use super::words::{has_zero_byte, is_plain, is_plain_byte, words_of};
use super::{Landmarks, ValidFdt};

const MAGIC: u32 = 0xd00d_feed;

/// A block's place: offset and bytes, both inside the blob.
#[derive(Clone, Copy)]
struct Extent {
    block: Block,
    offset: u32,
    size: u32,
}

impl Extent {
    fn of<'a>(&self, blob: &'a [u8]) -> &'a [u8] {
        blob.get(self.offset as usize..).and_then(|rest| rest.get(..self.size as usize)).unwrap_or_default()
    }
}

/// The blob's words and how many of its bytes count.
struct Blob<'a> {
    words: &'a [u32],
    total: u32,
}

impl Blob<'_> {
    /// The header's field at byte `offset`.
    fn field(&self, offset: u32) -> u32 {
        self.words.get(offset as usize / 4).map_or(0, |&word| u32::from_be(word))
    }

    /// The block whose offset stands in the header's field `field`.
    fn extent(&self, block: Block, field: u32, size: u32, align: u32) -> Result<Extent, FdtError> {
        let offset = self.field(field);
        if !offset.is_multiple_of(align) {
            return Err(FdtError::at(Fault::BlockAlign(block, offset), field));
        }
        match self.total.checked_sub(offset) {
            Some(left) if size <= left => Ok(Extent { block, offset, size }),
            _ => Err(FdtError::at(Fault::BlockBounds(block, offset, size), field)),
        }
    }

    /// The memory-reserve map: pairs of 64-bit numbers up to one whose size is 0, which is left out of the extent's
    /// meaning but not of its bytes.
    fn reserve_map(&self) -> Result<Extent, FdtError> {
        let mut map = self.extent(Block::ReserveMap, 16, 0, 8)?;
        let pairs = self.words.get(map.offset as usize / 4..self.total as usize / 4).unwrap_or_default();
        for pair in pairs.chunks_exact(4) {
            map.size += 16;
            if matches!(pair, [_, _, 0, 0]) {
                return Ok(map);
            }
        }
        Err(FdtError::at(Fault::ReserveMapEnd, map.offset))
    }

    /// The structure block; version 16 does not say how long it is, so there it may reach to the next block.
    fn structure(&self, version: u32) -> Result<Extent, FdtError> {
        let size = if version > 16 {
            self.field(36)
        } else {
            let offset = self.field(8);
            let behind = [self.field(12), self.field(16), self.total];
            let end = behind.into_iter().filter(|&end| end > offset).min().unwrap_or(offset);
            end.saturating_sub(offset)
        };
        self.extent(Block::Structure, 8, size, 4)
    }
}

/// How many bytes the blob that begins with `start` has, slack included: its header's `totalsize`.
///
/// `start`: at least the first 8 bytes. For a caller that was handed an address and has to know how much to map.
///
/// # Errors
/// `start` is too short, or is no blob's begin.
pub fn total_size(start: &[u8]) -> Result<u32, FdtError> {
    let word = |at: usize| start.get(at..)?.first_chunk().map(|&bytes| u32::from_be_bytes(bytes));
    let (Some(magic), Some(total)) = (word(0), word(4)) else {
        return Err(FdtError::at(Fault::NoHeader(u32::try_from(start.len()).unwrap_or(u32::MAX)), 0));
    };
    if magic != MAGIC {
        return Err(FdtError::at(Fault::Magic(magic), 0));
    }
    Ok(total)
}

/// Checks the whole of a blob.
///
/// `blob`: from its first byte, on a multiple of 4 bytes, at least `totalsize` long; what is behind is not looked at.
/// Cost: linear in the reserve map, the structure block and the strings block.
///
/// # Errors
/// The first fault found. A blob that is refused must not be read.
pub fn validate(blob: &[u8]) -> Result<ValidFdt<'_>, FdtError> {
    let total = total_size(blob)?;
    let present = u32::try_from(blob.len()).unwrap_or(u32::MAX);
    if total > present {
        return Err(FdtError::at(Fault::Truncated { promised: total, present }, 4));
    }
    let words = words_of(blob).ok_or(FdtError::at(Fault::Unaligned, 0))?;
    let blob = blob.get(..total as usize).unwrap_or_default();
    let words = Blob { words: words.get(..total as usize / 4).unwrap_or_default(), total };

    let (version, compatible) = (words.field(20), words.field(24));
    let header_size = if version > 16 { 40 } else { 36 };
    if total < header_size {
        return Err(FdtError::at(Fault::TotalSize(total), 4));
    }
    if version < 16 || compatible > 17 {
        return Err(FdtError::at(Fault::Version { version, compatible }, 20));
    }
    let header = Extent { block: Block::Header, offset: 0, size: header_size };
    let strings = words.extent(Block::Strings, 12, words.field(32), 1)?;
    let structure = words.structure(version)?;
    let reserve_map = words.reserve_map()?;
    apart([header, reserve_map, structure, strings])?;

    let bytes = structure.of(blob);
    let tree = Tree { words: words_of(bytes).unwrap_or_default(), bytes, strings: strings.of(blob) };
    let names = named_strings(&tree, strings.offset)?;
    let mut landmarks = Landmarks::default();
    check_structure(&tree, names, &mut landmarks).map_err(|(fault, at)| locate(&tree, fault, at, structure.offset))?;

    let map = reserve_map.of(blob);
    ValidFdt::new(tree, map.get(..map.len().saturating_sub(16)).unwrap_or_default(), landmarks, total)
        .map_err(|(fault, at)| locate(&tree, fault, at, structure.offset))
}

/// Refuses blocks that share bytes.
fn apart(extents: [Extent; 4]) -> Result<(), FdtError> {
    let mut rest = extents.as_slice();
    while let [one, others @ ..] = rest {
        for other in others {
            let (low, high) = if one.offset <= other.offset { (one, other) } else { (other, one) };
            if high.size > 0 && high.offset - low.offset < low.size {
                return Err(FdtError::at(Fault::BlocksOverlap(one.block, other.block), other.offset));
            }
        }
        rest = others;
    }
    Ok(())
}

/// How many bytes of the strings block have a NUL at or behind them; all of those are printable ASCII.
fn named_strings(tree: &Tree<'_>, offset: u32) -> Result<u32, FdtError> {
    let named = tree.strings.iter().rposition(|&byte| byte == 0).map_or(0, |last| last + 1);
    let strings = tree.strings.get(..named).unwrap_or_default();
    match strings.iter().position(|&byte| byte != 0 && !(b' '..=b'~').contains(&byte)) {
        Some(at) => {
            let byte = strings.get(at).copied().unwrap_or_default();
            let at = u32::try_from(at).unwrap_or_default();
            Err(FdtError::at(Fault::StringByte(byte), offset + at))
        }
        None => Ok(u32::try_from(named).unwrap_or_default()),
    }
}

/// Where the pass over the structure block stands.
enum Place {
    /// Before the root.
    Before,
    /// Behind a node's begin: properties may come.
    Properties,
    /// Behind a node's end, in its parent.
    Children,
    /// Behind the root.
    After,
}

/// Reads every token. `names`: bytes of the strings block at which a name may begin.
///
/// The error's number is the index of the word at fault.
fn check_structure(tree: &Tree<'_>, names: u32, landmarks: &mut Landmarks) -> Result<(), (Fault, usize)> {
    let mut at = 0;
    let mut depth = 0_usize;
    let mut place = Place::Before;
    // The root's child that is being read.
    let mut child = 0;
    loop {
        let Some(token) = tree.word(at) else { return Err((Fault::StructureEnd, at)) };
        match token {
            PROP => {
                if !matches!(place, Place::Properties) {
                    let inside = matches!(place, Place::Children);
                    return Err((if inside { Fault::PropertyAfterChild } else { Fault::PropertyOutside }, at));
                }
                let next = check_property(tree, at, names)?;
                if depth == 2 && is_memory(tree, at) {
                    landmarks.note_memory(child);
                }
                at = next;
            }
            BEGIN_NODE => {
                let next = check_name(tree, at, depth)?;
                match depth {
                    0 if matches!(place, Place::After) => return Err((Fault::SecondRoot, at)),
                    1 => {
                        landmarks.note(tree, at);
                        child = at;
                    }
                    MAX_DEPTH => return Err((Fault::TooDeep, at)),
                    _ => {}
                }
                depth += 1;
                place = Place::Properties;
                at = next;
            }
            END_NODE => {
                depth = depth.checked_sub(1).ok_or((Fault::EndNode, at))?;
                place = if depth > 0 { Place::Children } else { Place::After };
                at += 1;
            }
            NOP => at += 1,
            END => {
                return match (depth, place) {
                    (0, Place::After) => Ok(()),
                    (0, _) => Err((Fault::NoRoot, at)),
                    (open, _) => Err((Fault::OpenNodes(u32::try_from(open).unwrap_or_default()), at)),
                };
            }
            other => return Err((Fault::Token(other), at)),
        }
    }
}

/// Whether the checked property whose token is at `at` is `device_type = "memory"`.
fn is_memory(tree: &Tree<'_>, at: usize) -> bool {
    const SIZE: u32 = 7;
    const TEXT: [u32; 2] = [u32::from_be_bytes(*b"memo"), u32::from_be_bytes(*b"ry\0\0")];
    tree.word(at + 1) == Some(SIZE)
        && tree.word(at + 3) == Some(TEXT[0])
        && tree.word(at + 4).map(|word| word & !0xff) == Some(TEXT[1])
        && tree.word(at + 2).is_some_and(|name| tree.string(name) == b"device_type")
}

/// Checks the property whose token is at `at`; gives the index of the word behind it.
fn check_property(tree: &Tree<'_>, at: usize, names: u32) -> Result<usize, (Fault, usize)> {
    let (Some(len), Some(name)) = (tree.word(at + 1), tree.word(at + 2)) else {
        return Err((Fault::StructureEnd, at));
    };
    if name >= names {
        return Err((Fault::PropertyName(name), at));
    }
    if tree.strings.get(name as usize) == Some(&0) {
        return Err((Fault::PropertyUnnamed, at));
    }
    let left = tree.words.len() - (at + 3);
    let size = words_for(len) as usize;
    if size > left {
        return Err((Fault::PropertyLength(len), at));
    }
    Ok(at + 3 + size)
}

/// Checks the name of the node that begins at `at`, inside `depth` others; gives the index of the word behind it.
fn check_name(tree: &Tree<'_>, at: usize, depth: usize) -> Result<usize, (Fault, usize)> {
    let mut end = at + 1;
    while let Some(&word) = tree.words.get(end) {
        if is_plain(word) {
            end += 1;
            continue;
        }
        // The last word, or a bad one: byte by byte, in the blob's order.
        let bytes = word.to_ne_bytes();
        let used = bytes.iter().position(|&byte| byte == 0).unwrap_or(bytes.len());
        if let Some(&bad) = bytes.iter().take(used).find(|&&byte| !is_plain_byte(byte)) {
            return Err((Fault::NameByte(bad), at));
        }
        debug_assert!(has_zero_byte(word), "a word of plain bytes is plain");
        let empty = used == 0 && end == at + 1;
        return match (depth, empty) {
            (0, false) => Err((Fault::RootName, at)),
            (1.., true) => Err((Fault::NameEmpty, at)),
            _ => Ok(end + 1),
        };
    }
    Err((Fault::NameEnd, at))
}

/// Makes the error for a fault at word `fault_at` of the structure block, which begins at byte `offset` of the blob:
/// walks up to there for the path of the innermost open node and the property's name.
#[cold]
fn locate(tree: &Tree<'_>, fault: Fault, fault_at: usize, offset: u32) -> FdtError {
    let place = u32::try_from(fault_at).unwrap_or(u32::MAX).saturating_mul(4).saturating_add(offset);
    let mut error = FdtError::at(fault, place);
    let mut open = [0_usize; MAX_DEPTH];
    let (mut at, mut depth) = (0, 0_usize);
    while at < fault_at {
        at = match tree.step(at) {
            // A step skips no-operations, and so may pass the fault.
            Step::Begin { node, .. } if node >= fault_at => break,
            Step::Begin { node, next } => {
                if let Some(slot) = open.get_mut(depth) {
                    *slot = node;
                }
                depth += 1;
                next
            }
            Step::Property { next, .. } => next,
            Step::End { next } if next > fault_at => break,
            Step::End { next } => {
                depth = depth.saturating_sub(1);
                next
            }
            Step::Done => break,
        };
    }
    for (level, &node) in open.iter().take(depth).enumerate() {
        if level != 1 {
            error.path.push(b"/");
        }
        error.path.push(super::Node { tree: *tree, at: node }.name().as_bytes());
    }
    if let Step::Property { name, .. } = tree.step(fault_at) {
        error.property.push(tree.string(name));
    }
    error
}
