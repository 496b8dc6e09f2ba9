//! The judge of the tree of areas.
#![forbid(unsafe_code)]

use core::fmt;

use super::node::{NodeId, NodeStore};
use super::tree::Areas;
use crate::addr::{PAGE_SIZE, VirtAddr};

/// What is wrong with the tree at an area.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Broken {
    /// The area or its guard overlaps the one before, or lies out of bounds.
    Overlap(VirtAddr),
    /// The gap below it is not what the areas say.
    Gap(VirtAddr),
    /// The largest gap or the height of its subtree is wrong.
    Summary(VirtAddr),
    /// Its subtrees differ by more than a level.
    Balance(VirtAddr),
    /// A node is missing from the store.
    Missing(NodeId),
    /// There are so many nodes, and not so many as were inserted.
    Count(u32),
}

impl fmt::Display for Broken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Overlap(va) => write!(f, "area at {va} overlaps the one before it or the bounds"),
            Self::Gap(va) => write!(f, "gap below the area at {va} is wrong"),
            Self::Summary(va) => write!(f, "subtree of the area at {va} is summed up wrongly"),
            Self::Balance(va) => write!(f, "subtree of the area at {va} is not balanced"),
            Self::Missing(id) => write!(f, "node {} is missing", id.index()),
            Self::Count(nodes) => write!(f, "{nodes} areas are in the tree, but others were inserted"),
        }
    }
}

impl<N: NodeStore> Areas<N> {
    /// Checks every invariant of the tree.
    ///
    /// # Errors
    /// [`Broken`]: the first, lowest address first.
    pub fn validate(&self) -> Result<(), Broken> {
        let (end, count) = self.validate_below(self.root, self.start.raw())?;
        if end > self.end.raw() {
            return Err(Broken::Overlap(self.end));
        }
        if count == self.len { Ok(()) } else { Err(Broken::Count(count)) }
    }

    /// Checks a subtree whose lowest gap begins at `low`; returns where its last guard ends, and its areas.
    fn validate_below(&self, at: Option<NodeId>, low: u32) -> Result<(u32, u32), Broken> {
        let Some(id) = at else { return Ok((low, 0)) };
        let node = self.store.get(id).ok_or(Broken::Missing(id))?;
        let start = node.area.start;
        let (low, below) = self.validate_below(node.left, low)?;
        let gap = start.raw().checked_sub(low).ok_or(Broken::Overlap(start))?;
        if gap != node.gap {
            return Err(Broken::Gap(start));
        }
        if node.area.end() <= start || !start.is_aligned(PAGE_SIZE) {
            return Err(Broken::Overlap(start));
        }
        let (left, right) = (self.height(node.left), self.height(node.right));
        let max_gap = gap.max(self.max_gap(node.left)).max(self.max_gap(node.right));
        if node.max_gap != max_gap || node.height != left.max(right).saturating_add(1) {
            return Err(Broken::Summary(start));
        }
        if left.abs_diff(right) > 1 {
            return Err(Broken::Balance(start));
        }
        let (end, above) = self.validate_below(node.right, node.area.end().raw())?;
        Ok((end, below + above + 1))
    }
}
