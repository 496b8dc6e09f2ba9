//! Pages that their owners can move.
//!
//! Theory.      An owner registers once and gets a number. A block that it marks as movable carries this number and a
//!              word of the owner's, by which it finds its references to the block. To move a block, the mark "being
//!              moved" is set in the state word: from then on its owner's free finds another word, leaves the mark
//!              "orphan" and returns, and whoever moves the block frees it.
//! Invariants.  1. The number and the owner's word are stored before the mark "movable" is set. 2. Of two that want to
//!              move a block one gets it. 3. A block with other than one reference, or with mappings, is not moved.
//! Not here.    Where blocks are moved to, and why (`contig`, `compaction`).
//! Source.      Linux: `struct movable_operations`, `isolate_movable_page`, `putback_movable_page`,
//!              `__SetPageMovable`.
#![forbid(unsafe_code)]

use core::sync::atomic::Ordering::Relaxed;

use crate::addr::Pfn;
use crate::buddy::{FreeCore, FreeError};
use crate::memmap::{Marks, Page, PageState, StateWord};
use crate::order::Order;
use crate::page_alloc::{Hooks, PageAllocator};
use crate::sync::{CurrentCpu, InitOnce};

/// How many owners can register.
pub const MAX_OWNERS: usize = 16;

/// Why an owner did not move a block.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum MoveError {
    /// Not now: it may be asked again (Linux: `-EAGAIN`).
    Again,
    /// Not at all (Linux: `-EBUSY`).
    Busy,
}

/// How an owner moves its blocks. Every method is called without a lock and may use the allocator.
pub trait MigrationOps: Sync {
    /// Whether the block may be moved now; with `true` the owner keeps its hands off the contents until
    /// [`Self::migrate_page`] or [`Self::putback_page`]. It may free the block meanwhile.
    fn isolate_page(&self, pfn: Pfn, private: u32) -> bool;

    /// Moves contents and every reference from `old` to `new`, a block of the same order. With `Ok` the owner uses
    /// `new` and has forgotten `old`; with `Err` it is the other way round.
    ///
    /// # Errors
    /// [`MoveError`]; nothing has changed.
    fn migrate_page(&self, old: Pfn, new: Pfn, private: u32) -> Result<(), MoveError>;

    /// The block stays where it is.
    fn putback_page(&self, pfn: Pfn, private: u32);
}

/// The number of a registered owner.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct OwnerId(u8);

/// The owners by number.
#[derive(Default)]
pub(super) struct Owners<'m>([InitOnce<&'m dyn MigrationOps>; MAX_OWNERS]);

impl<'m> Owners<'m> {
    fn register(&self, ops: &'m dyn MigrationOps) -> Option<OwnerId> {
        (1u8..).zip(&self.0).find_map(|(number, place)| place.set(ops).is_ok().then_some(OwnerId(number)))
    }

    /// Whom to ask to move a page.
    pub(super) fn of(&self, page: &Page) -> Option<&'m dyn MigrationOps> {
        let number = page.owner.load(Relaxed) as usize;
        number.checked_sub(1).and_then(|index| self.0.get(index)?.get()).copied()
    }
}

/// Why a block is not moved.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Pinned {
    /// Nobody is registered who could move it.
    NoOwner,
    /// It has this number of references: somebody besides its owner uses it.
    References(u32),
    /// Translation tables refer to it.
    Mapped(u32),
    /// Somebody else is moving it.
    Moving,
    /// Its owner refused.
    Owner,
    /// It is no block of a caller, but what is said here.
    State(PageState),
}

impl core::fmt::Display for Pinned {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        match self {
            Self::NoOwner => f.write_str("it has no owner that could move it"),
            Self::References(count) => write!(f, "it has {count} references"),
            Self::Mapped(count) => write!(f, "{count} entries map it"),
            Self::Moving => f.write_str("it is being moved"),
            Self::Owner => f.write_str("its owner does not let it be moved"),
            Self::State(state) => write!(f, "it is {state}"),
        }
    }
}

impl<'m, M: CurrentCpu, C: FreeCore<'m>> PageAllocator<'m, M, C> {
    /// Registers an owner for good; `None` when there are [`MAX_OWNERS`] already.
    pub fn register_owner(&self, ops: &'m dyn MigrationOps) -> Option<OwnerId> {
        self.watch.owners.register(ops)
    }

    /// Says that `owner` can move the block of `order` at `pfn`, which it finds by `private`. The block's owner calls
    /// this; a free of the block, by whatever way, forgets it (Linux: `__SetPageMovable`).
    ///
    /// # Errors
    /// [`FreeError`] when `pfn` heads no such allocated block without an owner; nothing has changed.
    pub fn set_movable(&self, pfn: Pfn, order: Order, owner: OwnerId, private: u32) -> Result<(), FreeError> {
        let page = self.map.page(pfn).ok_or(FreeError::NoSuchFrame(pfn))?;
        let word = page.word();
        if !word.is_allocated_of(order) || word.marks().intersects(Marks::MOVABLE | Marks::MOVING) {
            return Err(self.why_not(pfn, order));
        }
        page.owner.store(u32::from(owner.0), Relaxed);
        page.set_private(private);
        // The number of references may change meanwhile.
        let mark = |word: StateWord| {
            let is_ours = word.is_allocated_of(order) && !word.marks().intersects(Marks::MOVABLE | Marks::MOVING);
            is_ours.then(|| word.marked(word.marks() | Marks::MOVABLE))
        };
        page.update(mark).map_err(|_| self.why_not(pfn, order))
    }

    /// The block stays where it is from now on (Linux: `__ClearPageMovable`).
    ///
    /// # Errors
    /// [`FreeError::Whole`] while it is being moved, else as [`Self::set_movable`]; nothing has changed.
    pub fn clear_movable(&self, pfn: Pfn) -> Result<(), FreeError> {
        let page = self.map.page(pfn).ok_or(FreeError::NoSuchFrame(pfn))?;
        let word = page.word();
        if !word.marks().contains(Marks::MOVABLE) {
            return Err(self.why_not(pfn, Order::ZERO));
        }
        let clear = |word: StateWord| {
            let is_still = word.marks().intersection(Marks::MOVABLE | Marks::MOVING) == Marks::MOVABLE;
            is_still.then(|| word.marked(word.marks() - Marks::MOVABLE))
        };
        page.update(clear).map_err(|_| FreeError::Whole { pfn })?;
        forget_owner(page);
        Ok(())
    }

    /// Why the block at `pfn` cannot be had for moving now; `Ok` says that its owner can be asked.
    pub(super) fn check_movable(&self, page: &Page, pfn: Pfn) -> Result<(), Pinned> {
        let word = page.word();
        let Some(PageState::Allocated(_)) = word.head_state() else {
            return Err(Pinned::State(self.map.state(pfn).unwrap_or(PageState::Hole)));
        };
        let marks = word.marks();
        let count = word.references();
        if !marks.contains(Marks::MOVABLE) {
            Err(Pinned::NoOwner)
        } else if marks.contains(Marks::MOVING) {
            Err(Pinned::Moving)
        } else if marks.contains(Marks::MAPPED) {
            Err(Pinned::Mapped(page.mapcount()))
        } else if count != 1 {
            Err(Pinned::References(count))
        } else {
            Ok(())
        }
    }

    /// Takes a movable block for moving: its owner keeps still until [`Self::putback_movable`] or the move
    /// (Linux: `isolate_movable_page`).
    pub(super) fn isolate_movable(&self, pfn: Pfn) -> Result<Order, Pinned> {
        let gone = Pinned::State(PageState::Hole);
        let page = self.map.page(pfn).ok_or(gone)?;
        let word = page.word();
        self.check_movable(page, pfn)?;
        let order = word.head_order().ok_or(gone)?;
        if !page.swap_word(word, word.marked(word.marks() | Marks::MOVING)) {
            return Err(Pinned::Moving);
        }
        let agreed = self.watch.owners.of(page).is_some_and(|owner| owner.isolate_page(pfn, page.private()));
        if agreed {
            return Ok(order);
        }
        self.end_moving(page, pfn, order);
        Err(Pinned::Owner)
    }

    /// Gives a block back to its owner where it is.
    pub(super) fn putback_movable(&self, pfn: Pfn) {
        let Some(page) = self.map.page(pfn) else { return };
        let Some(order) = page.word().head_order() else { return };
        let is_orphan = page.word().marks().contains(Marks::ORPHAN);
        if let Some(owner) = self.watch.owners.of(page).filter(|_| !is_orphan) {
            owner.putback_page(pfn, page.private());
        }
        self.end_moving(page, pfn, order);
    }

    /// Takes the mark "being moved" off; a block that its owner freed meanwhile is freed now.
    fn end_moving(&self, page: &Page, pfn: Pfn, order: Order) {
        loop {
            let word = page.word();
            let is_orphan = word.marks().contains(Marks::ORPHAN);
            let gone = Marks::MOVING | Marks::ORPHAN | if is_orphan { Marks::MOVABLE } else { Marks::empty() };
            if !page.swap_word(word, word.marked(word.marks() - gone)) {
                continue;
            }
            if is_orphan {
                forget_owner(page);
                self.free_own(pfn, order);
            }
            return;
        }
    }

    /// Moves a block that was taken for moving to `new`, an allocated block of its order that nobody knows yet. With
    /// `Ok`, `new` is the owner's and `old` nobody's: it is still allocated, without an owner. With `Err`, `old` is
    /// still taken for moving and `new` as it was.
    pub(super) fn move_block(&self, old: Pfn, new: Pfn, order: Order) -> Result<(), MoveError> {
        let (Some(from), Some(to)) = (self.map.page(old), self.map.page(new)) else { return Err(MoveError::Busy) };
        let owner = self.watch.owners.of(from).ok_or(MoveError::Busy)?;
        let private = from.private();
        let compound = from.word().marks() & Marks::COMPOUND;
        to.owner.store(from.owner.load(Relaxed), Relaxed);
        to.set_private(private);
        let destructor = from.next.load(Relaxed);
        if !compound.is_empty() {
            to.next.store(destructor, Relaxed);
        }
        to.set_marks(compound | Marks::MOVABLE | Marks::MOVING);
        let mut attempts = 3;
        let moved = loop {
            attempts -= 1;
            // The owner has forgotten the block already.
            if from.word().marks().contains(Marks::ORPHAN) {
                break Err(MoveError::Busy);
            }
            match owner.migrate_page(old, new, private) {
                Err(MoveError::Again) if attempts > 0 => {}
                result => break result,
            }
        };
        if moved.is_ok() {
            if let Some(records) = self.page_owner().filter(|_| self.hooks().contains(Hooks::PAGE_OWNER)) {
                records.moved(old, new);
            }
            forget_owner(from);
            from.set_marks(Marks::empty());
            self.end_moving(to, new, order);
        } else {
            forget_owner(to);
            to.set_marks(Marks::empty());
        }
        moved
    }

    /// Frees a block that is ours.
    pub(super) fn free_own(&self, pfn: Pfn, order: Order) {
        let freed = self.free_pages(pfn, order);
        assert!(freed.is_ok(), "a block of ours could not be freed: {freed:?}");
    }
}

/// Clears what an owner left in its page.
pub(super) fn forget_owner(page: &Page) {
    page.owner.store(0, Relaxed);
    page.set_private(0);
}
