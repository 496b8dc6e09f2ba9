//! Nodes in pages that come and go: as many areas as there is memory.
//!
//! Theory.      A page holds nodes behind a header; a directory page names the node pages by number, so that a node's
//!              id is its page's number and its place there. Pages with a free node are linked. Pages without a node in
//!              use wait for [`NodeStore::trim`]. It leaves one where no other page has a free node, so that an area
//!              that comes and goes costs no page.
//!
//! ```text
//!   directory            node page 1
//!   | 0 | 1 | - | ...    | header | node 64 | node 65 | ...
//!         '--------------^
//! ```
//! Invariants.  1. A page in the directory is the store's alone, and all its nodes are initialised. 2. It is in the
//!              list of partial pages exactly when one of its nodes is free.
//! Source.      Linux keeps them in a slab cache (`vmap_area_cachep`).

use core::fmt;
use core::ptr::NonNull;

use super::node::{Node, NodeId, NodeStore};
use crate::addr::{PAGE_SIZE, Pfn};
use crate::platform::PhysMap;

/// log2 of the ids of a page.
const SHIFT: u32 = 6;
const PAGE_BYTES: usize = PAGE_SIZE as usize;
/// Nodes of a page: all of its ids on a 32-bit machine.
const PER_PAGE: usize = {
    let fit = (PAGE_BYTES - size_of::<Header>()) / size_of::<Node>();
    if fit < 1 << SHIFT { fit } else { 1 << SHIFT }
};
/// Pages that the directory has room for.
const PAGES: usize = PAGE_BYTES / size_of::<Option<NonNull<NodePage>>>();

/// Gives pages for nodes.
pub trait NodePages {
    /// A frame that the linear map reaches; `None` when there is none.
    fn take_page(&mut self) -> Option<Pfn>;

    /// Takes back a frame that nothing refers to any more.
    fn give_back(&mut self, page: Pfn);
}

/// What a node page begins with.
struct Header {
    frame: Pfn,
    used: usize,
    /// The first free node of the page.
    free: Option<NodeId>,
    /// Neighbours in the list of partial pages, by their numbers.
    before: Option<usize>,
    after: Option<usize>,
}

#[repr(C)]
struct NodePage {
    header: Header,
    nodes: [Node; PER_PAGE],
}

struct Directory {
    pages: [Option<NonNull<NodePage>>; PAGES],
}

const _: () = assert!(size_of::<NodePage>() <= PAGE_BYTES && align_of::<NodePage>() <= PAGE_BYTES);
const _: () = assert!(size_of::<Directory>() <= PAGE_BYTES && PER_PAGE > 0);

/// Nodes in pages from `S`, reached through `P`.
pub struct PagedNodes<'r, P: ?Sized, S> {
    ram: &'r P,
    source: S,
    /// The directory and its frame; `None` while there is no page.
    directory: Option<(NonNull<Directory>, Pfn)>,
    /// The first page with a free node.
    partial: Option<usize>,
    /// Node pages.
    pages: u32,
    used: u32,
}

// SAFETY: the pages belong to the store alone, which is used by one owner at a time.
unsafe impl<P: Sync + ?Sized, S: Send> Send for PagedNodes<'_, P, S> {}

impl<P: ?Sized, S> fmt::Debug for PagedNodes<'_, P, S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PagedNodes").field("pages", &self.pages).field("used", &self.used).finish_non_exhaustive()
    }
}

impl<'r, P: PhysMap + ?Sized, S: NodePages> PagedNodes<'r, P, S> {
    /// No node yet; pages come from `source` and are reached through `ram`.
    pub const fn new(ram: &'r P, source: S) -> Self {
        Self { ram, source, directory: None, partial: None, pages: 0, used: 0 }
    }

    /// Takes the page that [`NodeStore::trim`] leaves; `false` when there is none.
    pub fn prime(&mut self) -> bool {
        self.partial.is_some() || self.new_page().is_some()
    }

    /// Nodes that are taken.
    #[must_use]
    pub const fn used(&self) -> u32 {
        self.used
    }

    /// Pages that hold nodes, the directory left out.
    #[must_use]
    pub const fn pages(&self) -> u32 {
        self.pages
    }

    #[inline]
    fn directory(&self) -> Option<&Directory> {
        // SAFETY: the directory was initialised when it was taken, and only the store has a pointer to it.
        self.directory.map(|(directory, _)| unsafe { directory.as_ref() })
    }

    fn directory_mut(&mut self) -> Option<&mut Directory> {
        // SAFETY: as in `directory`, and the store is borrowed exclusively.
        self.directory.map(|(mut directory, _)| unsafe { directory.as_mut() })
    }

    #[inline]
    fn page(&self, number: usize) -> Option<&NodePage> {
        let page = (*self.directory()?.pages.get(number)?)?;
        // SAFETY: the directory names pages that `new_page` initialised and that only the store has pointers to.
        Some(unsafe { page.as_ref() })
    }

    #[inline]
    fn page_mut(&mut self, number: usize) -> Option<&mut NodePage> {
        let mut page = (*self.directory()?.pages.get(number)?)?;
        // SAFETY: as in `page`, and the store is borrowed exclusively.
        Some(unsafe { page.as_mut() })
    }

    /// A frame, as a place for one `T`.
    fn take_place<T>(&mut self) -> Option<(NonNull<T>, Pfn)> {
        let frame = self.source.take_page()?;
        let place = self.ram.frames_ptr(frame, 1);
        if place.is_none() {
            self.source.give_back(frame);
        }
        Some((place?.cast(), frame))
    }

    /// Adds a page; `None` when there is no frame or the directory is full.
    #[cold]
    fn new_page(&mut self) -> Option<()> {
        if self.directory.is_none() {
            let (place, frame) = self.take_place::<Directory>()?;
            // SAFETY: the frame is the store's, a page holds a directory, and pages are aligned enough; a word of zeros
            // is `None`. Built in place: a stack has no room for pages.
            unsafe { place.write_bytes(0, 1) }
            self.directory = Some((place, frame));
        }
        let added = self.add_page();
        if added.is_none() {
            self.drop_directory();
        }
        added
    }

    fn add_page(&mut self) -> Option<()> {
        let number = self.directory()?.pages.iter().position(Option::is_none)?;
        let (place, frame) = self.take_place::<NodePage>()?;
        init(place, Header { frame, used: 0, free: None, before: None, after: None });
        *self.directory_mut()?.pages.get_mut(number)? = Some(place);
        let page = self.page_mut(number)?;
        for slot in (0..PER_PAGE).rev() {
            let id = id_of(number, slot);
            if let Some(node) = page.nodes.get_mut(slot) {
                node.next = core::mem::replace(&mut page.header.free, id);
            }
        }
        self.pages += 1;
        self.link(number);
        Some(())
    }

    /// Gives back the directory when no page is left.
    fn drop_directory(&mut self) {
        if self.pages == 0
            && let Some((_, frame)) = self.directory.take()
        {
            self.source.give_back(frame);
        }
    }

    /// The pages that have a free node.
    fn partial_pages(&self) -> impl Iterator<Item = &NodePage> {
        let page = |number: Option<usize>| number.and_then(|number| self.page(number));
        core::iter::successors(page(self.partial), move |last| page(last.header.after))
    }

    /// Puts a page that has a free node at the front of the list.
    fn link(&mut self, number: usize) {
        let after = self.partial.replace(number);
        if let Some(page) = self.page_mut(number) {
            (page.header.before, page.header.after) = (None, after);
        }
        if let Some(after) = after.and_then(|after| self.page_mut(after)) {
            after.header.before = Some(number);
        }
    }

    /// Takes a page out of the list.
    fn unlink(&mut self, number: usize) {
        let Some(page) = self.page_mut(number) else { return };
        let (before, after) = (page.header.before.take(), page.header.after.take());
        match before.and_then(|before| self.page_mut(before)) {
            Some(before) => before.header.after = after,
            None => self.partial = after,
        }
        if let Some(after) = after.and_then(|after| self.page_mut(after)) {
            after.header.before = before;
        }
    }
}

impl<P: PhysMap + ?Sized, S: NodePages> NodeStore for PagedNodes<'_, P, S> {
    fn take(&mut self) -> Option<NodeId> {
        if self.partial.is_none() {
            self.new_page()?;
        }
        let number = self.partial?;
        let page = self.page_mut(number)?;
        let id = page.header.free?;
        page.header.free = page.nodes.get(slot_of(id))?.next;
        page.header.used += 1;
        let is_full = page.header.free.is_none();
        if is_full {
            self.unlink(number);
        }
        self.used += 1;
        Some(id)
    }

    fn give_back(&mut self, id: NodeId) {
        let number = page_of(id);
        let Some(page) = self.page_mut(number) else { return };
        let was_full = page.header.free.is_none();
        let next = page.header.free.replace(id);
        page.header.used = page.header.used.saturating_sub(1);
        if let Some(node) = page.nodes.get_mut(slot_of(id)) {
            node.next = next;
        }
        if was_full {
            self.link(number);
        }
        self.used = self.used.saturating_sub(1);
    }

    #[inline]
    fn get(&self, id: NodeId) -> Option<&Node> {
        self.page(page_of(id))?.nodes.get(slot_of(id))
    }

    #[inline]
    fn get_mut(&mut self, id: NodeId) -> Option<&mut Node> {
        self.page_mut(page_of(id))?.nodes.get_mut(slot_of(id))
    }

    fn trim(&mut self) {
        let mut keeps_one = !self.partial_pages().any(|page| page.header.used > 0);
        let mut next = self.partial;
        while let Some(number) = next {
            let Some(header) = self.page(number).map(|page| &page.header) else { return };
            let (frame, is_unused) = (header.frame, header.used == 0);
            next = header.after;
            if is_unused && !core::mem::take(&mut keeps_one) {
                self.unlink(number);
                if let Some(entry) = self.directory_mut().and_then(|directory| directory.pages.get_mut(number)) {
                    *entry = None;
                }
                self.pages -= 1;
                self.source.give_back(frame);
            }
        }
    }
}

/// Makes the frame at `page`, which is the store's alone, a page of free nodes: in place, a stack has no room for
/// pages.
fn init(page: NonNull<NodePage>, header: Header) {
    // SAFETY: the frame holds a node page, which begins with the header, and is aligned enough.
    unsafe { page.cast::<Header>().write(header) }
    let nodes = page.as_ptr().wrapping_byte_add(core::mem::offset_of!(NodePage, nodes)).cast::<Node>();
    for slot in 0..PER_PAGE {
        // SAFETY: as above; a page has so many nodes.
        unsafe { nodes.wrapping_add(slot).write(Node::empty()) }
    }
}

/// The node's id; `None` only past 2^32.
fn id_of(page: usize, slot: usize) -> Option<NodeId> {
    u32::try_from(page << SHIFT | slot).ok().and_then(NodeId::new)
}

const fn page_of(id: NodeId) -> usize {
    (id.index() >> SHIFT) as usize
}

const fn slot_of(id: NodeId) -> usize {
    (id.index() & ((1 << SHIFT) - 1)) as usize
}

#[cfg(test)]
#[expect(clippy::cast_possible_truncation, reason = "the numbers of the tests are small")]
mod tests {
    use std::collections::BTreeSet;
    use std::vec::Vec;

    use super::*;
    use crate::addr::{PhysAddr, PhysRange};
    use crate::testing::{FakeRam, scaled};
    use crate::vmalloc::tree_tests::Random;

    struct Pages {
        free: BTreeSet<u32>,
    }

    impl NodePages for &mut Pages {
        fn take_page(&mut self) -> Option<Pfn> {
            self.free.pop_first().map(Pfn::new)
        }

        fn give_back(&mut self, page: Pfn) {
            assert!(self.free.insert(page.raw()), "page {page} came back twice");
        }
    }

    fn ram(pages: u32) -> (FakeRam, Pages) {
        let range = PhysRange::sized(PhysAddr::ZERO, u64::from(pages) * 4096).unwrap();
        (FakeRam::new(&[range]), Pages { free: (0..pages).collect() })
    }

    #[test]
    fn nodes_are_distinct_stay_where_they_are_and_their_pages_come_back() {
        let (ram, mut pages) = ram(40);
        let mut store = PagedNodes::new(&ram, &mut pages);
        let (mut taken, mut random) = (Vec::<(NodeId, u32)>::new(), Random(11));
        for step in 0..scaled(30_000) {
            // Waves, so that pages fill and empty.
            if random.below(8) < if step / 3000 % 2 == 0 { 5 } else { 3 } {
                let id = store.take().unwrap();
                assert!(taken.iter().all(|(other, _)| *other != id), "{id:?} was given out twice");
                store.get_mut(id).unwrap().gap = step;
                taken.push((id, step));
            } else if !taken.is_empty() {
                let (id, mark) = taken.swap_remove(random.below(taken.len() as u32) as usize);
                assert_eq!(store.get(id).map(|node| node.gap), Some(mark));
                store.give_back(id);
            }
            if step % 500 == 0 {
                store.trim();
                assert!(taken.iter().all(|(id, mark)| store.get(*id).is_some_and(|node| node.gap == *mark)));
            }
            assert_eq!(store.used() as usize, taken.len());
            assert!(store.used() <= store.pages() * PER_PAGE as u32);
        }
        taken.into_iter().for_each(|(id, _)| store.give_back(id));
        assert!(store.pages() > 0);
        store.trim();
        assert_eq!((store.pages(), store.used()), (1, 0));
        assert_eq!(pages.free.len(), 38, "one page, and the directory that names it");
    }

    #[test]
    fn a_store_that_is_primed_takes_no_page_for_areas_that_come_and_go() {
        let (ram, mut pages) = ram(40);
        let mut store = PagedNodes::new(&ram, &mut pages);
        assert!(store.prime() && store.prime());
        assert_eq!((store.pages(), store.source.free.len()), (1, 38));
        let all: Vec<_> = (0..3 * PER_PAGE).map(|_| store.take().unwrap()).collect();
        assert_eq!(store.source.free.len(), 36);
        for _ in 0..3 {
            all.iter().rev().for_each(|id| store.give_back(*id));
            store.trim();
            assert_eq!((store.pages(), store.source.free.len()), (1, 38));
            let again: BTreeSet<_> = (0..3 * PER_PAGE).map(|_| store.take().unwrap().index()).collect();
            assert_eq!(again, all.iter().map(|id| id.index()).collect());
        }
        // A page in use that has a free node is enough.
        all.iter().skip(1).for_each(|id| store.give_back(*id));
        store.trim();
        assert_eq!((store.pages(), store.used()), (1, 1));
    }

    #[test]
    fn a_store_without_pages_gives_no_node_and_keeps_none() {
        for have in 0..2 {
            let (ram, mut pages) = ram(have);
            let mut store = PagedNodes::new(&ram, &mut pages);
            // The directory alone is of no use.
            assert_eq!(store.take(), None);
            assert_eq!(pages.free.len(), have as usize);
        }
        let (ram, mut pages) = ram(2);
        let mut store = PagedNodes::new(&ram, &mut pages);
        assert_eq!((0..PER_PAGE).filter_map(|_| store.take()).count(), PER_PAGE);
        assert_eq!(store.take(), None);
    }
}
