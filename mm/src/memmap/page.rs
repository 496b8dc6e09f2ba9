//! One entry of the memory map.
#![forbid(unsafe_code)]

use core::sync::atomic::AtomicU32;
use core::sync::atomic::Ordering::{AcqRel, Relaxed};

use bitflags::bitflags;

use crate::addr::NodeId;
use crate::memmap::{Marks, StateWord};
use crate::order::Order;
use crate::zone::{MAX_NR_ZONES, ZoneRef, ZoneType};

/// A link that leads nowhere: no frame has this number.
pub const NO_FRAME: u32 = u32::MAX;

bitflags! {
    /// What is known of one frame, whatever block it is in.
    #[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
    pub(crate) struct FrameFlags: u32 {
        /// A wrong use of it was reported, and it has not been looked at since.
        const REPORTED = 1 << 4;
        /// It was filled with the poison when it was freed.
        const POISONED = 1 << 5;
        /// It was unmapped when it was freed.
        const UNMAPPED = 1 << 6;
        /// It heads a block in a range that is being emptied; once the block is moved these are its old frames.
        const HELD = 1 << 7;
    }
}

/// One page frame's book-keeping (Linux: `struct page`), 32 bytes on every machine.
#[repr(C, align(32))]
#[derive(Debug)]
pub struct Page {
    /// A [`StateWord`]: what the frame is; the order, the type and the owners of the block that it heads. First,
    /// because an exclusive access takes no offset.
    pub(crate) state: AtomicU32,
    /// Bits 0-3: the zone's [`ZoneTag`]; then [`FrameFlags`].
    pub(crate) flags: AtomicU32,
    /// The owner's second word.
    pub(crate) index: AtomicU32,
    /// Page-table entries that map the frame, less 1.
    pub(crate) mapcount: AtomicU32,
    /// The next block of the list that the frame is on, as a frame number.
    pub(crate) next: AtomicU32,
    /// The block before it on that list, as a frame number.
    pub(crate) prev: AtomicU32,
    /// The owner's.
    pub(crate) private: AtomicU32,
    /// The owner's: whom to ask to move the page.
    pub(crate) owner: AtomicU32,
}

// A tag is two bits of node and two bits of zone.
const _: () = assert!(MAX_NR_ZONES == 4 && NodeId::MAX_NODES == 4);

impl Page {
    /// An entry as `MemMap::init` writes it: `state`, map count −1, no links.
    #[inline(always)]
    pub(crate) const fn new(zone: ZoneTag, state: StateWord) -> Self {
        Self {
            state: AtomicU32::new(state.raw()),
            flags: AtomicU32::new(zone.0 as u32),
            index: AtomicU32::new(0),
            mapcount: AtomicU32::new(u32::MAX),
            next: AtomicU32::new(NO_FRAME),
            prev: AtomicU32::new(NO_FRAME),
            private: AtomicU32::new(0),
            owner: AtomicU32::new(0),
        }
    }

    /// The entry's words, in memory's order.
    pub(crate) fn words(&self) -> [u32; 8] {
        let Self { state, flags, index, mapcount, next, prev, private, owner } = self;
        [state, flags, index, mapcount, next, prev, private, owner].map(|word| word.load(Relaxed))
    }

    /// The node and zone that the frame belongs to; meaningless in a hole (Linux: `page_zone`).
    #[must_use]
    #[inline]
    pub fn zone(&self) -> ZoneTag {
        ZoneTag((self.flags.load(Relaxed) & 0xf) as u8)
    }

    /// Whether its frame is RAM.
    #[must_use]
    #[inline]
    pub fn is_present(&self) -> bool {
        !self.word().is_hole()
    }

    /// Whether its frame heads a block of the allocator's, free or not: RAM that is mapped or may be.
    #[must_use]
    #[inline]
    pub fn heads_block(&self) -> bool {
        self.word().heads_block()
    }

    /// The state word as it is now.
    #[inline]
    pub(crate) fn word(&self) -> StateWord {
        StateWord::from_raw(self.state.load(Relaxed))
    }

    /// Replaces the state word, by the one CPU that may: the holder of the zone's lock or of the block.
    #[inline]
    pub(crate) fn set_word(&self, word: StateWord) {
        self.state.store(word.raw(), Relaxed);
    }

    /// Replaces the state word if it is `from`; `false`, and nothing done, when it is not.
    #[inline]
    pub(crate) fn swap_word(&self, from: StateWord, to: StateWord) -> bool {
        self.state.compare_exchange(from.raw(), to.raw(), AcqRel, Relaxed).is_ok()
    }

    /// Whether `flag` is set.
    #[inline]
    pub(crate) fn has_flag(&self, flag: FrameFlags) -> bool {
        self.flags.load(Relaxed) & flag.bits() != 0
    }

    /// Sets `flags`; returns those that were set before.
    pub(crate) fn set_flags(&self, flags: FrameFlags) -> FrameFlags {
        FrameFlags::from_bits_truncate(self.flags.fetch_or(flags.bits(), Relaxed))
    }

    /// Clears `flags`; returns those that were set before.
    pub(crate) fn clear_flags(&self, flags: FrameFlags) -> FrameFlags {
        FrameFlags::from_bits_truncate(self.flags.fetch_and(!flags.bits(), Relaxed))
    }

    /// Takes an allocated block of `order` from its only owner and returns its word as it was; `None` when the page
    /// heads no such block, or one of several owners. Of two that try at once, one succeeds.
    #[inline]
    pub(crate) fn claim(&self, order: Order) -> Option<StateWord> {
        self.claim_as(order, StateWord::pageset(order))
    }

    /// As [`Self::claim`]; the word becomes `claimed`, which no claim takes for an owned block.
    #[inline]
    pub(crate) fn claim_as(&self, order: Order, claimed: StateWord) -> Option<StateWord> {
        let owned = self.word();
        if !owned.is_sole_of(order) {
            return None;
        }
        self.state.compare_exchange(owned.raw(), claimed.raw(), Relaxed, Relaxed).is_ok().then_some(owned)
    }

    /// Replaces the state word by what `change` makes of it, unless that is `None`.
    ///
    /// # Errors
    /// The word that `change` made nothing of.
    pub(crate) fn update(&self, mut change: impl FnMut(StateWord) -> Option<StateWord>) -> Result<(), StateWord> {
        let update = |raw| change(StateWord::from_raw(raw)).map(StateWord::raw);
        self.state.fetch_update(AcqRel, Relaxed, update).map(drop).map_err(StateWord::from_raw)
    }

    /// Gives an allocated block these marks and no others; the number of its owners may change meanwhile.
    pub(crate) fn set_marks(&self, marks: Marks) {
        let mark = |raw| StateWord::from_raw(raw).marked(marks).raw();
        let mut raw = self.state.load(Relaxed);
        while let Err(now) = self.state.compare_exchange_weak(raw, mark(raw), AcqRel, Relaxed) {
            raw = now;
        }
    }

    /// Page-table entries that map the frame (Linux: `page_mapcount`).
    #[must_use]
    pub fn mapcount(&self) -> u32 {
        self.mapcount.load(Relaxed).wrapping_add(1)
    }

    /// The owner's word (Linux: `page_private`).
    #[must_use]
    pub fn private(&self) -> u32 {
        self.private.load(Relaxed)
    }

    /// The owner's second word (Linux: `page->index`).
    #[must_use]
    pub fn index(&self) -> u32 {
        self.index.load(Relaxed)
    }

    /// Sets the owner's second word. Only the block's owner does.
    pub fn set_index(&self, value: u32) {
        self.index.store(value, Relaxed);
    }

    /// Sets the owner's word. Only the block's owner does (Linux: `set_page_private`).
    pub fn set_private(&self, value: u32) {
        self.private.store(value, Relaxed);
    }
}

/// A node and a zone of it in 4 bits, as every page carries them.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
#[repr(transparent)]
pub struct ZoneTag(u8);

impl ZoneTag {
    /// How many tags there are.
    pub const COUNT: usize = NodeId::MAX_NODES * MAX_NR_ZONES;

    /// The tag of frames in holes, which belong to no zone.
    pub(crate) const NOWHERE: Self = Self(0);

    /// The tag of `node`'s zone of type `zone`.
    #[must_use]
    #[expect(clippy::cast_possible_truncation, reason = "both numbers are below 4")]
    pub const fn new(node: NodeId, zone: ZoneType) -> Self {
        Self((node.index() * MAX_NR_ZONES + zone.index()) as u8)
    }

    /// The tag as a number, for an array of [`Self::COUNT`].
    #[must_use]
    #[inline]
    pub const fn index(self) -> usize {
        self.0 as usize
    }

    /// The tag as it stands in a word.
    #[inline]
    pub(crate) const fn bits(self) -> u32 {
        self.0 as u32
    }

    /// The node.
    #[must_use]
    pub const fn node(self) -> NodeId {
        match NodeId::new((self.0 >> 2) as u32) {
            Some(node) => node,
            None => NodeId::ZERO,
        }
    }

    /// The zone's type.
    #[must_use]
    pub const fn zone(self) -> ZoneType {
        ZoneType::ALL[self.0 as usize % MAX_NR_ZONES]
    }
}

impl From<ZoneRef> for ZoneTag {
    fn from(zone: ZoneRef) -> Self {
        Self::new(zone.node, zone.zone)
    }
}

impl core::fmt::Debug for ZoneTag {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(f, "node {} {}", self.node().raw(), self.zone().name())
    }
}
