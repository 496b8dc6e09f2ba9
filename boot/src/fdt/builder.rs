//! A small writer of blobs, for tests: trees as they should be, and raw words where a test wants them broken.

#![forbid(unsafe_code)]

use std::string::String;
use std::vec::Vec;

/// Writes one blob, version 17: reserve map, structure block, strings block.
#[derive(Clone, Debug, Default)]
pub struct Builder {
    reserve_map: Vec<(u64, u64)>,
    structure: Vec<u8>,
    strings: Vec<u8>,
}

impl Builder {
    /// A blob with nothing in it, not even a root.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// A blob whose root is open and has these cells.
    #[must_use]
    pub fn with_root(address_cells: u32, size_cells: u32) -> Self {
        let mut builder = Self::new();
        builder.begin("").cells("#address-cells", &[address_cells]).cells("#size-cells", &[size_cells]);
        builder
    }

    /// Adds an entry of the memory-reserve map.
    pub fn reserve(&mut self, address: u64, size: u64) -> &mut Self {
        self.reserve_map.push((address, size));
        self
    }

    /// Adds a word to the structure block, whatever it means there.
    pub fn word(&mut self, word: u32) -> &mut Self {
        self.structure.extend_from_slice(&word.to_be_bytes());
        self
    }

    /// Adds bytes to the structure block, filled up to a word.
    pub fn bytes(&mut self, bytes: &[u8]) -> &mut Self {
        self.structure.extend_from_slice(bytes);
        self.structure.resize(self.structure.len().next_multiple_of(4), 0);
        self
    }

    /// Begins a node.
    pub fn begin(&mut self, name: &str) -> &mut Self {
        let mut name = String::from(name);
        name.push('\0');
        self.word(1).bytes(name.as_bytes())
    }

    /// Ends the innermost node.
    pub fn end(&mut self) -> &mut Self {
        self.word(2)
    }

    /// Adds a property.
    pub fn prop(&mut self, name: &str, value: &[u8]) -> &mut Self {
        let name = self.string(name);
        let len = u32::try_from(value.len()).unwrap_or(u32::MAX);
        self.word(3).word(len).word(name).bytes(value)
    }

    /// Adds a property of cells.
    pub fn cells(&mut self, name: &str, cells: &[u32]) -> &mut Self {
        let value: Vec<u8> = cells.iter().flat_map(|cell| cell.to_be_bytes()).collect();
        self.prop(name, &value)
    }

    /// Adds a property of one string (or, with NULs inside, several).
    pub fn text(&mut self, name: &str, text: &str) -> &mut Self {
        let mut value = Vec::from(text.as_bytes());
        value.push(0);
        self.prop(name, &value)
    }

    /// The offset of `name` in the strings block, where it is added if it is not there.
    pub fn string(&mut self, name: &str) -> u32 {
        let mut bytes = Vec::from(name.as_bytes());
        bytes.push(0);
        let found = self.strings.windows(bytes.len()).position(|window| window == bytes);
        let at = found.unwrap_or(self.strings.len());
        if found.is_none() {
            self.strings.extend_from_slice(&bytes);
        }
        u32::try_from(at).unwrap_or(u32::MAX)
    }

    /// Ends the root and the structure block, and gives the blob.
    #[must_use]
    pub fn finish(&mut self) -> Blob {
        self.end().word(9).blob()
    }

    /// The blob as it stands.
    #[must_use]
    pub fn blob(&self) -> Blob {
        let mut body: Vec<u8> = Vec::new();
        for &(address, size) in self.reserve_map.iter().chain(&[(0, 0)]) {
            body.extend_from_slice(&address.to_be_bytes());
            body.extend_from_slice(&size.to_be_bytes());
        }
        let size = |len: usize| u32::try_from(len).unwrap_or(u32::MAX);
        let structure = 40 + size(body.len());
        let strings = structure + size(self.structure.len());
        let total = strings + size(self.strings.len());
        let (struct_size, string_size) = (size(self.structure.len()), size(self.strings.len()));
        let header = [0xd00d_feed, total, structure, strings, 40, 17, 16, 0, string_size, struct_size];
        let mut bytes: Vec<u8> = header.iter().flat_map(|word| word.to_be_bytes()).collect();
        bytes.append(&mut body);
        bytes.extend_from_slice(&self.structure);
        bytes.extend_from_slice(&self.strings);
        Blob::new(&bytes)
    }
}

/// Bytes that begin on a multiple of 8, as the boot protocol has it. Derefs to them.
#[derive(Debug)]
pub struct Blob {
    bytes: Vec<u8>,
    start: usize,
}

impl Blob {
    /// A copy of `bytes`.
    #[must_use]
    pub fn new(bytes: &[u8]) -> Self {
        let mut copy: Vec<u8> = Vec::with_capacity(bytes.len() + 8);
        let start = copy.as_ptr().align_offset(8).min(8);
        copy.resize(start, 0);
        copy.extend_from_slice(bytes);
        Self { bytes: copy, start }
    }
}

impl core::ops::Deref for Blob {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        self.bytes.get(self.start..).unwrap_or_default()
    }
}

impl core::ops::DerefMut for Blob {
    fn deref_mut(&mut self) -> &mut [u8] {
        self.bytes.get_mut(self.start..).unwrap_or_default()
    }
}
