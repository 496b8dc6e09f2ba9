//! A set of NUMA nodes as a bit mask (Linux: `nodemask_t`).
#![forbid(unsafe_code)]

use core::fmt;

use crate::addr::NodeId;

/// Some of the machine's nodes.
#[derive(Clone, Copy, PartialEq, Eq, Default)]
pub struct NodeSet(u8);

impl NodeSet {
    /// No node.
    pub const EMPTY: Self = Self(0);
    /// Every node that there can be.
    pub const ALL: Self = Self((1 << NodeId::MAX_NODES) - 1);

    /// The set of `node` alone.
    #[must_use]
    pub const fn of(node: NodeId) -> Self {
        Self(1 << node.index())
    }

    /// The set with `node` added.
    #[must_use]
    pub const fn with(self, node: NodeId) -> Self {
        Self(self.0 | 1 << node.index())
    }

    /// The set without `node`.
    #[must_use]
    pub const fn without(self, node: NodeId) -> Self {
        Self(self.0 & !(1 << node.index()))
    }

    /// The set whose bit `n` is set where node `n` is in it; bits of no node are left out.
    #[must_use]
    #[expect(clippy::cast_possible_truncation, reason = "the mask is below 16")]
    pub const fn from_bits(bits: u32) -> Self {
        Self(bits as u8 & Self::ALL.0)
    }

    /// A bit a node.
    #[must_use]
    pub const fn bits(self) -> u32 {
        self.0 as u32
    }

    /// The nodes in either set.
    #[must_use]
    pub const fn union(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// Whether `node` is in it.
    #[must_use]
    pub const fn contains(self, node: NodeId) -> bool {
        self.0 & (1 << node.index()) != 0
    }

    /// How many nodes are in it.
    #[must_use]
    pub const fn len(self) -> u32 {
        self.0.count_ones()
    }

    /// Whether no node is in it.
    #[must_use]
    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// Its nodes, lowest number first.
    pub fn iter(self) -> impl Iterator<Item = NodeId> + Clone {
        (0..u8::BITS).filter_map(NodeId::new).filter(move |node| self.contains(*node))
    }
}

impl FromIterator<NodeId> for NodeSet {
    fn from_iter<I: IntoIterator<Item = NodeId>>(nodes: I) -> Self {
        nodes.into_iter().fold(Self::EMPTY, Self::with)
    }
}

/// Runs of numbers as Linux lists them: `0,2-3`; `(none)` for the empty set.
impl fmt::Display for NodeSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.is_empty() {
            return f.write_str("(none)");
        }
        let mut separator = "";
        let mut left = self.0;
        while left != 0 {
            let first = left.trailing_zeros();
            let run = (left >> first).trailing_ones();
            write!(f, "{separator}{first}")?;
            if run > 1 {
                write!(f, "-{}", first + run - 1)?;
            }
            separator = ",";
            left &= !(((1 << run) - 1) << first);
        }
        Ok(())
    }
}

impl fmt::Debug for NodeSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.iter().map(NodeId::raw)).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_set_holds_what_was_added_and_nothing_else() {
        let two = NodeId::new(2).unwrap();
        let set = NodeSet::of(NodeId::ZERO).with(two);
        assert_eq!(set.iter().map(NodeId::raw).collect::<Vec<_>>(), [0, 2]);
        assert_eq!(std::format!("{set:?}"), "{0, 2}");
        assert_eq!(set.without(NodeId::ZERO), NodeSet::of(two));
        assert_eq!(NodeSet::ALL.len() as usize, NodeId::MAX_NODES);
        assert_eq!(NodeSet::from_bits(set.bits() | 0xf0), set);
        assert_eq!(
            [0, 1, 2, 5, 6, 13, 15].map(|bits| NodeSet::from_bits(bits).to_string()),
            ["(none)", "0", "1", "0,2", "1-2", "0,2-3", "0-3"]
        );
        assert!(NodeSet::EMPTY.is_empty() && set.union(NodeSet::ALL) == NodeSet::ALL);
    }
}
