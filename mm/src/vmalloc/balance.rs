//! The shape of the tree of areas: inserting, taking out, rotating, and summing up.
//!
//! Theory.      Height and largest gap of a node are computed from its children whenever one of them changed, so on the
//!              way back from every insertion and removal.
//! Source.      Knuth TAOCP 3, 6.2.3.
#![forbid(unsafe_code)]

use super::node::{Node, NodeId, NodeStore};
use super::tree::Areas;
use crate::addr::VirtAddr;

impl<N: NodeStore> Areas<N> {
    pub(super) fn max_gap(&self, at: Option<NodeId>) -> u32 {
        at.and_then(|id| self.store.get(id)).map_or(0, |node| node.max_gap)
    }

    pub(super) fn height(&self, at: Option<NodeId>) -> u8 {
        at.and_then(|id| self.store.get(id)).map_or(0, |node| node.height)
    }

    /// Puts `new` below `at`; returns the subtree's new root. Recursion is as deep as the tree: at most 45 levels.
    pub(super) fn insert_below(&mut self, at: Option<NodeId>, new: NodeId, start: VirtAddr) -> NodeId {
        let Some((id, node)) = at.and_then(|id| Some((id, self.store.get(id)?))) else { return new };
        if start < node.area.start {
            let left = self.insert_below(node.left, new, start);
            self.set_left(id, Some(left));
        } else {
            let right = self.insert_below(node.right, new, start);
            self.set_right(id, Some(right));
        }
        self.balance(id)
    }

    /// Takes the area at `start` out of a subtree; returns its new root.
    pub(super) fn remove_below(&mut self, at: Option<NodeId>, start: VirtAddr) -> Option<NodeId> {
        let id = at?;
        let node = self.store.get(id)?;
        if start < node.area.start {
            let left = self.remove_below(node.left, start);
            self.set_left(id, left);
        } else if start > node.area.start {
            let right = self.remove_below(node.right, start);
            self.set_right(id, right);
        } else {
            let (Some(left), Some(right)) = (node.left, node.right) else {
                // At most one child, a leaf; a right one is the successor, whose gap has changed.
                let child = node.left.or(node.right);
                child.into_iter().for_each(|child| self.sum_up(child));
                return child;
            };
            let (lowest, rest) = self.take_lowest(right);
            self.set_left(lowest, Some(left));
            self.set_right(lowest, rest);
            return Some(self.balance(lowest));
        }
        Some(self.balance(id))
    }

    /// Takes the lowest node out of a subtree; returns it and the subtree's new root.
    fn take_lowest(&mut self, id: NodeId) -> (NodeId, Option<NodeId>) {
        let Some(node) = self.store.get(id) else { return (id, None) };
        let Some(left) = node.left else { return (id, node.right) };
        let (lowest, rest) = self.take_lowest(left);
        self.set_left(id, rest);
        (lowest, Some(self.balance(id)))
    }

    fn set_left(&mut self, id: NodeId, left: Option<NodeId>) {
        if let Some(node) = self.store.get_mut(id) {
            node.left = left;
        }
    }

    fn set_right(&mut self, id: NodeId, right: Option<NodeId>) {
        if let Some(node) = self.store.get_mut(id) {
            node.right = right;
        }
    }

    /// Sums up `id` anew and rotates if its subtrees differ by two levels; returns the subtree's root.
    fn balance(&mut self, id: NodeId) -> NodeId {
        let Some((lower, upper)) = self.store.get(id).map(|node| (node.left, node.right)) else { return id };
        let (left, right) = (self.height(lower), self.height(upper));
        if left > right + 1 {
            if let Some(child) = lower {
                let inner = self.store.get(child).map_or((None, None), |node| (node.left, node.right));
                if self.height(inner.1) > self.height(inner.0) {
                    let child = self.rotate_left(child);
                    self.set_left(id, Some(child));
                }
                return self.rotate_right(id);
            }
        } else if right > left + 1
            && let Some(child) = upper
        {
            let inner = self.store.get(child).map_or((None, None), |node| (node.left, node.right));
            if self.height(inner.0) > self.height(inner.1) {
                let child = self.rotate_right(child);
                self.set_right(id, Some(child));
            }
            return self.rotate_left(id);
        }
        self.sum_up(id);
        id
    }

    /// Lifts the left child above `id`.
    fn rotate_right(&mut self, id: NodeId) -> NodeId {
        let Some(child) = self.store.get(id).and_then(|node| node.left) else { return id };
        let inner = self.store.get(child).and_then(|node| node.right);
        self.set_left(id, inner);
        self.set_right(child, Some(id));
        self.sum_up(id);
        self.sum_up(child);
        child
    }

    /// Lifts the right child above `id`.
    fn rotate_left(&mut self, id: NodeId) -> NodeId {
        let Some(child) = self.store.get(id).and_then(|node| node.right) else { return id };
        let inner = self.store.get(child).and_then(|node| node.left);
        self.set_right(id, inner);
        self.set_left(child, Some(id));
        self.sum_up(id);
        self.sum_up(child);
        child
    }

    /// Computes height and largest gap of `id` from its children.
    fn sum_up(&mut self, id: NodeId) {
        let Some(&Node { left, right, gap, .. }) = self.store.get(id) else { return };
        let height = self.height(left).max(self.height(right)).saturating_add(1);
        let max_gap = gap.max(self.max_gap(left)).max(self.max_gap(right));
        if let Some(node) = self.store.get_mut(id) {
            node.height = height;
            node.max_gap = max_gap;
        }
    }
}
