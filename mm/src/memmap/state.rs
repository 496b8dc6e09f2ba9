//! The state word: kind, order and list of the block that a frame heads, in one 32-bit word.
#![forbid(unsafe_code)]

use core::fmt;

use bitflags::bitflags;

use crate::addr::Pfn;
use crate::memmap::ZoneTag;
use crate::migrate::MigrateType;
use crate::order::Order;

/// What a frame is; exactly one of these at any time.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum PageState {
    /// Present, but never given to the allocator: firmware, the image, no-map memory, the map itself.
    Reserved,
    /// No RAM at all.
    Hole,
    /// The first frame of a free block.
    Free(Order),
    /// The first frame of a free block in an isolated pageblock: it cannot be allocated.
    Isolated(Order),
    /// The first frame of a block that the allocator holds outside its free lists: in a pageset, or on its way.
    Pageset(Order),
    /// The first frame of a block that a caller owns.
    Allocated(Order),
    /// The first frame of a block that is cut into objects.
    Slab(Order),
    /// The first frame of a block that a value owns, which alone can free it (`page_alloc::OwnedPages`).
    Owned(Order),
    /// The first frame of a block kept out of use beside an allocation, to catch stray accesses.
    Guard(Order),
    /// A later frame of the block that `head` heads.
    Tail {
        /// The block's first frame.
        head: Pfn,
        /// The block's order.
        order: Order,
    },
}

impl PageState {
    /// Whether the frame is the allocator's, or was and somebody has it.
    #[must_use]
    pub const fn is_given(self) -> bool {
        !matches!(self, Self::Reserved | Self::Hole)
    }
}

impl fmt::Display for PageState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Reserved => f.write_str("reserved"),
            Self::Hole => f.write_str("in a hole"),
            Self::Free(order) => write!(f, "free, order {}", order.raw()),
            Self::Isolated(order) => write!(f, "isolated, order {}", order.raw()),
            Self::Pageset(order) => write!(f, "in a pageset, order {}", order.raw()),
            Self::Allocated(order) => write!(f, "allocated, order {}", order.raw()),
            Self::Slab(order) => write!(f, "slab, order {}", order.raw()),
            Self::Owned(order) => write!(f, "owned by a value, order {}", order.raw()),
            Self::Guard(order) => write!(f, "guard, order {}", order.raw()),
            Self::Tail { head, order } => write!(f, "inside the block of order {} at {head}", order.raw()),
        }
    }
}

const ORDER_MASK: u32 = 0xf;
const KIND_SHIFT: u32 = 4;
const KIND_MASK: u32 = 0xf << KIND_SHIFT;
const TYPE_SHIFT: u32 = 8;
const TYPE_MASK: u32 = 7 << TYPE_SHIFT;
const ZONE_SHIFT: u32 = 11;
const SHARE_SHIFT: u32 = 16;
const ONE_SHARE: u32 = 1 << SHARE_SHIFT;

const HOLE: u32 = 1 << KIND_SHIFT;
const FREE: u32 = 2 << KIND_SHIFT;
const PAGESET: u32 = 3 << KIND_SHIFT;
const ALLOCATED: u32 = 4 << KIND_SHIFT;
const SLAB: u32 = 5 << KIND_SHIFT;
const GUARD: u32 = 6 << KIND_SHIFT;
const OWNED: u32 = 7 << KIND_SHIFT;

bitflags! {
    /// What else is known of an allocated block. A block with any of these is freed the long way: a hit wants a word
    /// without them, so they cost it nothing.
    #[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
    pub struct Marks: u32 {
        /// Head and tails form one page of this order (Linux: `PageHead`).
        const COMPOUND = 1 << 11;
        /// Its owner is registered and can move it (Linux: `__PageMovable`).
        const MOVABLE = 1 << 12;
        /// It is being moved (Linux: `PageIsolated`).
        const MOVING = 1 << 13;
        /// Its owner freed it while it was being moved: whoever moves it frees it.
        const ORPHAN = 1 << 14;
        /// Translation tables refer to it (Linux: `page_mapped`).
        const MAPPED = 1 << 15;
    }
}

/// A page's state as it is stored. Bits 0-3: order, 4-7: kind, 8-10: the migrate type, of the list that a free block is
/// on, or of the request that an allocated one served; 11-14: the zone of a free block; 11-15: the
/// [`Marks`] of an allocated one; 16-31: how many owners an allocated block has besides the first. One word, so that one
/// compare-and-swap checks all of it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(transparent)]
pub struct StateWord(u32);

impl StateWord {
    /// Heads nothing: a tail, or reserved.
    pub const INSIDE: Self = Self(0);
    /// No RAM.
    pub const HOLE: Self = Self(HOLE);

    /// Whether it heads a block: neither a tail, nor reserved, nor a hole.
    #[must_use]
    #[inline]
    pub const fn heads_block(self) -> bool {
        self.0 > HOLE
    }

    /// Heads a free block of `zone` on the list of `kind`.
    #[must_use]
    #[inline]
    pub const fn free(order: Order, kind: MigrateType, zone: ZoneTag) -> Self {
        Self(FREE | order.log2() | (kind as u32) << TYPE_SHIFT | zone.bits() << ZONE_SHIFT)
    }

    /// This word, of a free block of order 0 and the type with number 0, with an order and the number of a type in
    /// their places.
    #[inline(always)]
    pub(crate) const fn with(self, order: Order, kind_bits: u32) -> Self {
        Self(self.0 | order.log2() | kind_bits << TYPE_SHIFT)
    }

    /// The same of any order, of the type with number 0, with the number of a type in its place.
    #[inline(always)]
    pub(crate) const fn of_type(self, kind_bits: u32) -> Self {
        Self(self.0 | kind_bits << TYPE_SHIFT)
    }

    /// Heads a block in the allocator's own hands.
    #[must_use]
    #[inline]
    pub const fn pageset(order: Order) -> Self {
        Self(PAGESET | order.log2())
    }

    /// Heads a block that one caller owns, for a request of type `kind`.
    #[must_use]
    #[inline]
    pub const fn allocated(order: Order, kind: MigrateType) -> Self {
        Self(ALLOCATED | order.log2() | (kind as u32) << TYPE_SHIFT)
    }

    /// As [`Self::allocated`], the type given as [`Self::kind_bits`] has it.
    #[must_use]
    #[inline]
    pub(crate) const fn allocated_for(order: Order, kind_bits: u32) -> Self {
        Self(ALLOCATED | order.log2() | kind_bits << TYPE_SHIFT & TYPE_MASK)
    }

    /// This word with `marks`, and with no others.
    #[must_use]
    pub const fn marked(self, marks: Marks) -> Self {
        Self(self.0 & !Marks::all().bits() | marks.bits())
    }

    /// The marks of an allocated block; none for any other frame.
    #[must_use]
    pub const fn marks(self) -> Marks {
        if self.is_in_use() { Marks::from_bits_truncate(self.0) } else { Marks::empty() }
    }

    /// Heads a block that is cut into objects.
    #[must_use]
    pub const fn slab(order: Order) -> Self {
        Self(SLAB | order.log2())
    }

    /// Heads a guard block.
    #[must_use]
    pub const fn guard(order: Order) -> Self {
        Self(GUARD | order.log2())
    }

    /// The word as a number.
    #[must_use]
    pub const fn raw(self) -> u32 {
        self.0
    }

    /// The word stored as `raw`.
    #[must_use]
    pub const fn from_raw(raw: u32) -> Self {
        Self(raw)
    }

    const fn kind(self) -> u32 {
        self.0 & KIND_MASK
    }

    /// Whether the frame is no RAM.
    #[must_use]
    pub const fn is_hole(self) -> bool {
        self.kind() == HOLE
    }

    /// Whether a caller owns the block.
    #[must_use]
    pub const fn is_in_use(self) -> bool {
        matches!(self.kind(), ALLOCATED | SLAB)
    }

    /// Whether callers own the block, which is of exactly `order`.
    #[must_use]
    #[inline]
    pub const fn is_allocated_of(self, order: Order) -> bool {
        self.0 & (KIND_MASK | ORDER_MASK) == ALLOCATED | order.log2()
    }

    /// Whether one caller owns the block, which is of exactly `order`.
    #[must_use]
    #[inline]
    pub const fn is_sole_of(self, order: Order) -> bool {
        self.0 & !TYPE_MASK == ALLOCATED | order.log2()
    }

    /// The migrate type of the list that a free block is on, or of the request that an allocated one served.
    #[must_use]
    #[inline]
    pub const fn kind_bits(self) -> u32 {
        (self.0 & TYPE_MASK) >> TYPE_SHIFT
    }

    /// How many owners the block has; 0 when it is in nobody's hands.
    #[must_use]
    #[inline]
    pub const fn references(self) -> u32 {
        if self.is_in_use() || self.kind() == OWNED { (self.0 >> SHARE_SHIFT) + 1 } else { 0 }
    }

    /// The same block in the hands of a value, so that nobody can free it by its number; `None` unless it is allocated,
    /// of `order`, and has one owner.
    #[must_use]
    pub(crate) const fn owned(self, order: Order) -> Option<Self> {
        if self.is_allocated_of(order) && self.references() == 1 {
            Some(Self(self.0 & !KIND_MASK | OWNED))
        } else {
            None
        }
    }

    /// The same block without the value; `None` unless the word is what [`Self::owned`] made, and of one owner.
    #[must_use]
    pub(crate) const fn disowned(self) -> Option<Self> {
        if self.kind() == OWNED && self.references() == 1 { Some(Self(self.0 & !KIND_MASK | ALLOCATED)) } else { None }
    }

    /// The same with one more owner; `None` when it has 65,536.
    #[must_use]
    pub const fn shared(self) -> Option<Self> {
        match self.0.checked_add(ONE_SHARE) {
            Some(raw) => Some(Self(raw)),
            None => None,
        }
    }

    /// The same with one owner less; `None` when it has only one.
    #[must_use]
    pub const fn unshared(self) -> Option<Self> {
        match self.0.checked_sub(ONE_SHARE) {
            Some(raw) => Some(Self(raw)),
            None => None,
        }
    }

    /// A single page of a value's block of `order`, itself a value's; `None` unless the block has one owner and no
    /// marks: then it is more than the sum of its pages.
    #[must_use]
    pub(crate) const fn owned_page(self, order: Order) -> Option<Self> {
        if self.0 & !TYPE_MASK == OWNED | order.log2() { Some(Self(self.0 & !ORDER_MASK)) } else { None }
    }

    /// Whether the frame heads a free block of exactly `order`, on whatever list of whatever zone.
    #[must_use]
    #[inline]
    pub const fn is_free_of(self, order: Order) -> bool {
        self.0 & (KIND_MASK | ORDER_MASK) == FREE | order.log2()
    }

    /// Whether the frame heads a free block of exactly `order` in `zone`, on whatever list.
    #[must_use]
    #[inline]
    pub const fn is_free_in(self, order: Order, zone: ZoneTag) -> bool {
        self.0 & !TYPE_MASK == FREE | order.log2() | zone.bits() << ZONE_SHIFT
    }

    /// The same, of the type with number 0.
    #[inline(always)]
    pub(crate) const fn without_type(self) -> Self {
        Self(self.0 & !TYPE_MASK)
    }

    /// Whether the frame heads a guard block of exactly `order`.
    #[must_use]
    #[inline]
    pub const fn is_guard_of(self, order: Order) -> bool {
        self.0 == GUARD | order.log2()
    }

    /// The list that a free block is on.
    #[must_use]
    #[inline]
    pub const fn list(self) -> Option<MigrateType> {
        if self.kind() == FREE { MigrateType::new(self.kind_bits()) } else { None }
    }

    /// The order of the block that the frame heads; `None` for a hole and for what heads nothing.
    #[must_use]
    #[inline]
    pub const fn head_order(self) -> Option<Order> {
        if self.kind() >= FREE { Order::of_log2(self.0 & ORDER_MASK) } else { None }
    }

    /// What the word alone says; `None` when the frame heads nothing.
    #[must_use]
    pub fn head_state(self) -> Option<PageState> {
        let order = self.head_order().unwrap_or_default();
        Some(match self.kind() {
            HOLE => PageState::Hole,
            FREE if self.list() == Some(MigrateType::Isolate) => PageState::Isolated(order),
            FREE => PageState::Free(order),
            PAGESET => PageState::Pageset(order),
            ALLOCATED => PageState::Allocated(order),
            SLAB => PageState::Slab(order),
            OWNED => PageState::Owned(order),
            GUARD => PageState::Guard(order),
            _ => return None,
        })
    }
}
