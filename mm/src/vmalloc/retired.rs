//! Retired areas, the last one first, in a list a size: nodes are linked by `Node::next`.
#![forbid(unsafe_code)]

use super::node::NodeId;
use crate::addr::PAGE_SIZE;

/// Sizes in pages that have a list each; larger ones share a list a power of two.
const EXACT: u32 = 32;
/// Lists.
const LISTS: usize = (EXACT + u32::BITS) as usize;

/// The lists' heads.
#[derive(Debug)]
pub(super) struct Retired {
    heads: [Option<NodeId>; LISTS],
    /// Lists that are not empty, for the purge.
    used: u64,
}

const _: () = assert!(LISTS <= u64::BITS as usize);

impl Retired {
    pub(super) const fn new() -> Self {
        Self { heads: [None; LISTS], used: 0 }
    }

    /// The last one of those that may have `bytes` bytes.
    pub(super) fn last(&self, bytes: u32) -> Option<NodeId> {
        self.heads.get(list_of(bytes)).copied().flatten()
    }

    /// Makes `id`, of `bytes` bytes, the last one; returns the one before, for its `next`.
    #[must_use]
    pub(super) fn push(&mut self, id: NodeId, bytes: u32) -> Option<NodeId> {
        let list = list_of(bytes);
        self.used |= 1 << list;
        self.heads.get_mut(list).and_then(|head| head.replace(id))
    }

    /// Forgets the last one of those with `bytes` bytes; `before` is its `next`.
    pub(super) fn pop(&mut self, bytes: u32, before: Option<NodeId>) {
        let list = list_of(bytes);
        if let Some(head) = self.heads.get_mut(list) {
            *head = before;
        }
        if before.is_none() {
            self.used &= !(1 << list);
        }
    }

    /// One that is the last of its list; `None` when there is none at all.
    pub(super) fn any(&self) -> Option<NodeId> {
        self.heads.get(self.used.trailing_zeros() as usize).copied().flatten()
    }
}

/// The list of areas of `bytes` bytes, which are whole pages.
const fn list_of(bytes: u32) -> usize {
    let pages = bytes / PAGE_SIZE;
    if pages < EXACT { pages as usize } else { (EXACT + pages.ilog2()) as usize }
}
