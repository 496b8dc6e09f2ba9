//! The device tree: checked as a whole, then read without surprises.
//!
//! Theory.      [`validate`] looks at every token once and gives a [`ValidFdt`]; everything else reads through that.
//!              What memory management has to know comes out as iterators over plain values
//!              ([`ValidFdt::memory_banks`], [`ValidFdt::reserve_map`], [`ValidFdt::reserved_memory`]) and as one
//!              [`BootInfo`](crate::info::BootInfo).
//!              A fault in the blob's form stops the boot; a node that is well formed but makes no sense is skipped,
//!              and [`ValidFdt::report`] says so, once.
//! Own cursor.  Behind the validator the tokens are walked by a cursor of our own (`tree`) and not by a parser crate:
//!              the crates check each string as UTF-8 again, walk from the root for each question, and end in a panic
//!              where their own validation would have refused; the cursor answers a failed check with the end of the
//!              walk, and is no longer than an adapter would be.
//! Invariants.  No function here panics, allocates or recurses, whatever the blob holds.
//! Not here.    Reserving and clipping (`reserve`), the scan for the lowest bank before the MMU is on.
//! Source.      Devicetree Specification 0.4; Linux v6.1 drivers/of/fdt.c for what counts as memory and in which order.
//!
//! Picture.
//! ```text
//! bytes --validate--> ValidFdt --memory, chosen, machine--> MemoryBank, ReservedNode, BootInfo
//!                        |            |
//!                      tree         cells (reg, ranges)
//! ```

#[cfg(any(test, feature = "testing"))]
pub mod builder;
mod cells;
mod chosen;
mod error;
mod machine;
mod memory;
#[cfg(test)]
mod mutation;
mod report;
mod survey;
#[cfg(test)]
mod tests;
mod tree;
mod validate;
mod words;

pub use error::{Block, Fault, FdtError, Text};
pub use tree::{Children, MAX_DEPTH, Node, Properties, Property, StrList};
pub use validate::{total_size, validate};

use tree::Tree;

/// A node's path, as far as it fits.
pub type Path = Text<120>;

/// The root's children that later questions begin at, noted while the blob is validated.
#[derive(Clone, Copy, Debug, Default)]
struct Landmarks {
    chosen: Landmark,
    aliases: Landmark,
    reserved_memory: Landmark,
    cpus: Landmark,
    distance_map: Landmark,
    /// Those with `device_type = "memory"`, whatever their names.
    memory: Landmark,
}

/// A node's index, when there is one, and how many have its name.
#[derive(Clone, Copy, Debug, Default)]
struct Landmark {
    first: Option<usize>,
    count: u32,
}

impl Landmarks {
    /// Notes the child of the root that begins at `at`, if it is one of ours.
    fn note(&mut self, tree: &Tree<'_>, at: usize) {
        let node = Node { tree: *tree, at };
        let landmark = match node.name() {
            "chosen" | "chosen@0" => &mut self.chosen,
            "aliases" => &mut self.aliases,
            "reserved-memory" => &mut self.reserved_memory,
            "cpus" => &mut self.cpus,
            "distance-map" => &mut self.distance_map,
            _ => return,
        };
        landmark.note(at);
    }

    /// Notes that the child of the root that begins at `at` has a `device_type` of memory.
    fn note_memory(&mut self, at: usize) {
        self.memory.note(at);
    }
}

impl Landmark {
    fn note(&mut self, at: usize) {
        self.first.get_or_insert(at);
        self.count += 1;
    }
}

/// A blob that [`validate`] has passed.
#[derive(Clone, Copy)]
pub struct ValidFdt<'a> {
    tree: Tree<'a>,
    /// The memory-reserve map's pairs, without the end mark.
    reserve_map: &'a [u8],
    landmarks: Landmarks,
    total_size: u32,
    address_cells: u32,
    size_cells: u32,
}

impl<'a> ValidFdt<'a> {
    /// The last step of `validate`: reads the root's cells.
    ///
    /// # Errors
    /// The root's cells are neither 1 nor 2; with the index of the property's token.
    fn new(
        tree: Tree<'a>,
        reserve_map: &'a [u8],
        landmarks: Landmarks,
        total_size: u32,
    ) -> Result<Self, (Fault, usize)> {
        let root = tree.root();
        let address_cells = cells::root_cells(&root, "#address-cells")?;
        let size_cells = cells::root_cells(&root, "#size-cells")?;
        Ok(Self { tree, reserve_map, landmarks, total_size, address_cells, size_cells })
    }

    /// The root.
    #[must_use]
    pub fn root(&self) -> Node<'a> {
        self.tree.root()
    }

    /// Bytes of the blob, slack included: what has to be reserved and mapped.
    #[must_use]
    pub const fn total_size(&self) -> u32 {
        self.total_size
    }

    /// Cells of an address and of a size below the root: each 1 or 2.
    #[must_use]
    pub const fn root_cells(&self) -> (u32, u32) {
        (self.address_cells, self.size_cells)
    }

    /// The noted node.
    fn node(&self, landmark: Landmark) -> Option<Node<'a>> {
        landmark.first.map(|at| Node { tree: self.tree, at })
    }

    /// The node at an absolute path. Components without a unit address fit any.
    #[must_use]
    pub fn find(&self, path: &str) -> Option<Node<'a>> {
        self.trail(path).and_then(|trail| trail.last())
    }
}

impl core::fmt::Debug for ValidFdt<'_> {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(f, "ValidFdt({:#x} bytes)", self.total_size)
    }
}
