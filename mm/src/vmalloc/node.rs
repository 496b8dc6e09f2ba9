//! Areas, the nodes of their tree, and who stores the nodes.
#![forbid(unsafe_code)]

use core::num::NonZeroU32;
use core::panic::Location;

use crate::addr::{PAGE_SIZE, PhysAddr, VirtAddr};
use crate::paging::{PageSize, Said};

/// Bytes behind each area that are never mapped.
pub(super) const GUARD: u32 = PAGE_SIZE;

/// What an area is for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum AreaKind {
    /// Frames of its own, allocated in blocks of this size.
    Vmalloc(PageSize),
    /// Frames of the caller's.
    Vmap,
    /// Physical memory from this address on.
    Ioremap(PhysAddr),
    /// It was vfreed; its frames and addresses wait for a flush. Blocks of this size.
    Retired(PageSize),
}

/// A range of addresses that is taken.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Area {
    /// Its first address.
    pub start: VirtAddr,
    /// Its bytes, whole pages, without the guard page behind them.
    pub bytes: u32,
    /// What it is for.
    pub kind: AreaKind,
    /// Who asked for it.
    pub caller: &'static Location<'static>,
}

impl Area {
    /// One past its guard page.
    #[must_use]
    pub const fn end(&self) -> VirtAddr {
        // An area lies in bounds with its guard.
        VirtAddr::new(self.start.raw().wrapping_add(self.bytes).wrapping_add(GUARD))
    }

    /// Whether `va` lies in it, the guard page left out.
    #[must_use]
    pub const fn contains(&self, va: VirtAddr) -> bool {
        va.raw() >= self.start.raw() && va.raw() - self.start.raw() < self.bytes
    }
}

/// Names a node of a [`NodeStore`].
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct NodeId(NonZeroU32);

impl NodeId {
    /// The node with index `index`; `None` for `u32::MAX`.
    #[must_use]
    pub const fn new(index: u32) -> Option<Self> {
        match NonZeroU32::new(index.wrapping_add(1)) {
            Some(raw) => Some(Self(raw)),
            None => None,
        }
    }

    /// Its index.
    #[must_use]
    pub const fn index(self) -> u32 {
        self.0.get() - 1
    }
}

/// An area in the tree.
#[derive(Clone, Copy, Debug)]
pub struct Node {
    /// The area.
    pub(super) area: Area,
    /// Areas below it.
    pub(super) left: Option<NodeId>,
    /// Areas above it.
    pub(super) right: Option<NodeId>,
    /// The next retired area; of a free node, the next free one.
    pub(super) next: Option<NodeId>,
    /// Free bytes between the area before it (or the begin of everything) and this one.
    pub(super) gap: u32,
    /// The largest gap of its subtree.
    pub(super) max_gap: u32,
    /// Levels of its subtree: 1 for a leaf.
    pub(super) height: u8,
    /// What all descriptors of a retired area said, if they were alike.
    pub(super) said: Option<Said>,
}

impl Node {
    /// A node that is in no tree.
    #[must_use]
    #[track_caller]
    pub const fn empty() -> Self {
        let area = Area { start: VirtAddr::new(0), bytes: 0, kind: AreaKind::Vmap, caller: Location::caller() };
        Self::new(area)
    }

    /// A leaf for `area`.
    pub(super) const fn new(area: Area) -> Self {
        Self { area, left: None, right: None, next: None, gap: 0, max_gap: 0, height: 1, said: None }
    }
}

/// Stores nodes. A taken node stays where it is until it is given back.
pub trait NodeStore {
    /// A node to be used, whatever it holds; `None` when there is none.
    fn take(&mut self) -> Option<NodeId>;

    /// Takes a node back.
    fn give_back(&mut self, id: NodeId);

    /// A taken node; `None` for one that never was.
    fn get(&self, id: NodeId) -> Option<&Node>;

    /// A taken node, to be changed; `None` for one that never was.
    fn get_mut(&mut self, id: NodeId) -> Option<&mut Node>;

    /// Gives back the memory that no taken node needs.
    fn trim(&mut self) {}
}

/// Nodes in a slice; the free ones are linked.
#[derive(Debug)]
pub struct NodeArena<'a> {
    nodes: &'a mut [Node],
    /// The last one that was given back.
    free: Option<NodeId>,
    /// Nodes from here on were never taken.
    fresh: u32,
    used: u32,
}

impl<'a> NodeArena<'a> {
    /// All of `nodes`.
    #[must_use]
    pub const fn new(nodes: &'a mut [Node]) -> Self {
        Self { nodes, free: None, fresh: 0, used: 0 }
    }

    /// Nodes that are taken.
    #[must_use]
    pub const fn used(&self) -> u32 {
        self.used
    }
}

impl NodeStore for NodeArena<'_> {
    fn take(&mut self) -> Option<NodeId> {
        let id = match self.free {
            Some(id) => {
                self.free = self.get(id).and_then(|node| node.next);
                id
            }
            None => {
                let id = NodeId::new(self.fresh)?;
                self.get(id)?;
                self.fresh += 1;
                id
            }
        };
        self.used += 1;
        Some(id)
    }

    fn give_back(&mut self, id: NodeId) {
        let next = self.free;
        if let Some(node) = self.get_mut(id) {
            node.next = next;
            self.free = Some(id);
            self.used = self.used.saturating_sub(1);
        }
    }

    fn get(&self, id: NodeId) -> Option<&Node> {
        self.nodes.get(id.index() as usize)
    }

    fn get_mut(&mut self, id: NodeId) -> Option<&mut Node> {
        self.nodes.get_mut(id.index() as usize)
    }
}
