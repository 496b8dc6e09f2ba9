//! The tree of areas: which addresses are taken, and where the lowest gap is that fits.
//!
//! Theory.      An AVL tree by address. Each node knows the gap below its area, and the largest gap of its subtree, so
//!              the lowest gap of a size is found by one descent: left if something there is large enough, else the
//!              node's own gap, else right. What is above the last area is the tail, used when no gap fits. An insert
//!              or a removal changes the gap of one other node, the next area; it lies on the path that is rebalanced
//!              anyway: a new leaf's successor is an ancestor, a removed node's successor takes its place or is one.
//! Alignment.   A gap of `bytes + align - page` fits wherever it begins, so the descent looks for that. If neither such
//!              a gap nor the tail is there, smaller gaps are tried, lowest first: more than one descent, but only when
//!              the addresses are nearly exhausted.
//! Invariants.  Areas with their guards are disjoint, ascending and in bounds; gaps, largest gaps and heights are what
//!              the areas say; subtrees differ by at most one level. (`validate`)
//! Cost.        O(log n), n areas; no area is moved.
//! Source.      Linux `find_vmap_lowest_match`, `augment_tree_propagate_from`; Knuth TAOCP 3, 6.2.3.
#![forbid(unsafe_code)]

use super::error::VmallocError;
use super::node::{Area, GUARD, Node, NodeId, NodeStore};
use crate::addr::{PAGE_SIZE, VirtAddr};

/// Areas in [start, end).
#[derive(Debug)]
pub struct Areas<N> {
    pub(super) store: N,
    pub(super) root: Option<NodeId>,
    pub(super) start: VirtAddr,
    pub(super) end: VirtAddr,
    pub(super) len: u32,
}

/// A place for a new area: its begin, and the area behind it.
#[derive(Clone, Copy, Debug)]
struct Place {
    start: u32,
    next: Option<NodeId>,
}

impl<N: NodeStore> Areas<N> {
    /// No areas yet, in the pages of [`start`, `end`), with nodes from `store`.
    #[must_use]
    pub fn new(store: N, start: VirtAddr, end: VirtAddr) -> Self {
        let start = VirtAddr::new(start.raw().checked_next_multiple_of(PAGE_SIZE).unwrap_or(end.raw()));
        let end = end.align_down(PAGE_SIZE);
        Self { store, root: None, start, end, len: 0 }
    }

    /// The store of the nodes.
    #[must_use]
    pub const fn store(&self) -> &N {
        &self.store
    }

    /// How many areas there are.
    #[must_use]
    pub const fn len(&self) -> u32 {
        self.len
    }

    /// Whether there is none.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Takes the lowest addresses for `area`, at a multiple of `align`; returns where. `area.start` is ignored.
    ///
    /// `align`: bytes, a power of two, raised to a page.
    ///
    /// # Errors
    /// [`VmallocError::Size`], [`VmallocError::NoAddresses`], [`VmallocError::NoNode`].
    pub fn insert(&mut self, area: Area, align: u32) -> Result<VirtAddr, VmallocError> {
        let bytes = area.bytes;
        let align = align.max(PAGE_SIZE);
        let need = match bytes.checked_add(GUARD) {
            Some(need) if bytes > 0 && bytes.is_multiple_of(PAGE_SIZE) && align.is_power_of_two() => need,
            _ => return Err(VmallocError::Size { bytes, align }),
        };
        let place = self.find_place(need, align).ok_or(VmallocError::NoAddresses { bytes, align })?;
        let id = self.store.take().ok_or(VmallocError::NoNode { bytes })?;
        let start = VirtAddr::new(place.start);
        let mut node = Node::new(Area { start, ..area });
        node.gap = match place.next.and_then(|next| self.store.get_mut(next)) {
            Some(next) => {
                let low = next.area.start.raw() - next.gap;
                next.gap = next.area.start.raw() - (place.start + need);
                place.start - low
            }
            None => place.start - self.last_end(),
        };
        node.max_gap = node.gap;
        if let Some(place) = self.store.get_mut(id) {
            *place = node;
        }
        self.root = Some(self.insert_below(self.root, id, start));
        self.len += 1;
        Ok(start)
    }

    /// Frees the addresses of the area that begins at `start`; returns it. `None` when no area does.
    pub fn remove(&mut self, start: VirtAddr) -> Option<Area> {
        let id = self.find_id(start)?;
        let area = self.node(id)?.area;
        self.remove_id(id);
        Some(area)
    }

    /// Frees the addresses of the area of `id`, a node of the tree.
    pub(super) fn remove_id(&mut self, id: NodeId) {
        let Some(node) = self.store.get(id) else { return };
        let start = node.area.start;
        let low = start.raw() - node.gap;
        if let Some(next) = self.next_after(start).and_then(|next| self.store.get_mut(next)) {
            next.gap = next.area.start.raw() - low;
        }
        self.root = self.remove_below(self.root, start);
        self.store.give_back(id);
        self.len -= 1;
    }

    /// The area that begins at `start`.
    #[must_use]
    pub fn get(&self, start: VirtAddr) -> Option<&Area> {
        self.find_id(start).and_then(|id| self.store.get(id)).map(|node| &node.area)
    }

    /// The area that `va` lies in, guard pages left out (Linux: `find_vm_area`).
    #[must_use]
    pub fn containing(&self, va: VirtAddr) -> Option<&Area> {
        let mut at = self.root;
        while let Some(node) = at.and_then(|id| self.store.get(id)) {
            if node.area.contains(va) {
                return Some(&node.area);
            }
            at = if va < node.area.start { node.left } else { node.right };
        }
        None
    }

    /// All areas, lowest first.
    pub const fn iter(&self) -> Iter<'_, N> {
        Iter { areas: self, from: Some(0) }
    }

    /// The node of the area that begins at `start`.
    pub(super) fn find_id(&self, start: VirtAddr) -> Option<NodeId> {
        let mut at = self.root;
        while let Some(id) = at {
            let node = self.store.get(id)?;
            if node.area.start == start {
                return Some(id);
            }
            at = if start < node.area.start { node.left } else { node.right };
        }
        None
    }

    /// A node of the tree.
    pub(super) fn node(&self, id: NodeId) -> Option<&Node> {
        self.store.get(id)
    }

    /// A node of the tree; its address and size stay.
    pub(super) fn node_mut(&mut self, id: NodeId) -> Option<&mut Node> {
        self.store.get_mut(id)
    }

    /// The first area that begins above `start`.
    fn next_after(&self, start: VirtAddr) -> Option<NodeId> {
        let (mut at, mut found) = (self.root, None);
        while let Some(id) = at {
            let node = self.store.get(id)?;
            if start < node.area.start {
                found = at;
                at = node.left;
            } else {
                at = node.right;
            }
        }
        found
    }

    /// One past the guard of the last area: where the tail begins.
    fn last_end(&self) -> u32 {
        let (mut at, mut end) = (self.root, self.start.raw());
        while let Some(node) = at.and_then(|id| self.store.get(id)) {
            end = node.area.end().raw();
            at = node.right;
        }
        end
    }

    /// The lowest place for `need` bytes, guard included.
    fn find_place(&self, need: u32, align: u32) -> Option<Place> {
        let sure = need.checked_add(align - PAGE_SIZE);
        let sure = sure.and_then(|sure| self.lowest_gap(sure)).and_then(|id| self.in_gap(id, need, align));
        sure.or_else(|| {
            let start = align_up(self.last_end(), align)?;
            let fits = start <= self.end.raw() && self.end.raw() - start >= need;
            fits.then_some(Place { start, next: None })
        })
        .or_else(|| if align > PAGE_SIZE { self.any_gap(self.root, need, align) } else { None })
    }

    /// The lowest area with a gap of `bytes` below it.
    fn lowest_gap(&self, bytes: u32) -> Option<NodeId> {
        let mut id = self.root.filter(|_| self.max_gap(self.root) >= bytes)?;
        loop {
            let node = self.store.get(id)?;
            id = if self.max_gap(node.left) >= bytes {
                node.left?
            } else if node.gap >= bytes {
                return Some(id);
            } else {
                node.right?
            };
        }
    }

    /// The place in the gap below area `id`, if `need` bytes fit there.
    fn in_gap(&self, id: NodeId, need: u32, align: u32) -> Option<Place> {
        let node = self.store.get(id)?;
        let high = node.area.start.raw();
        let start = align_up(high - node.gap, align)?;
        (start <= high && high - start >= need).then_some(Place { start, next: Some(id) })
    }

    /// The lowest place in any gap of a subtree, tried one by one.
    #[cold]
    fn any_gap(&self, at: Option<NodeId>, need: u32, align: u32) -> Option<Place> {
        let id = at.filter(|_| self.max_gap(at) >= need)?;
        let node = self.store.get(id)?;
        self.any_gap(node.left, need, align)
            .or_else(|| self.in_gap(id, need, align))
            .or_else(|| self.any_gap(node.right, need, align))
    }
}

/// The first multiple of `align`, a power of two, from `at` on: no division.
const fn align_up(at: u32, align: u32) -> Option<u32> {
    match at.checked_add(align - 1) {
        Some(past) => Some(past & !(align - 1)),
        None => None,
    }
}

/// Areas in ascending order.
#[derive(Debug)]
pub struct Iter<'a, N> {
    areas: &'a Areas<N>,
    /// The next area begins here or above.
    from: Option<u32>,
}

impl<'a, N: NodeStore> Iterator for Iter<'a, N> {
    type Item = &'a Area;

    fn next(&mut self) -> Option<&'a Area> {
        let from = self.from?;
        // Nothing begins at page 0, so "above the address before" loses nothing.
        let id = self.areas.next_after(VirtAddr::new(from.saturating_sub(1)))?;
        let area = &self.areas.store.get(id)?.area;
        self.from = area.start.raw().checked_add(area.bytes);
        Some(area)
    }
}
