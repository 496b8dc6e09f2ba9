//! The rings of a pageset: their numbers, their places, and what is read from a cold end.

use core::sync::atomic::AtomicU32;
use core::sync::atomic::Ordering::Relaxed;

use crate::addr::Pfn;
use crate::migrate::{MigrateType, PAGESET_TYPES};
use crate::order::Order;

/// Which end of a ring.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(in crate::page_alloc) enum Heat {
    Hot,
    Cold,
}

/// The largest order that pagesets stock (Linux 5.13: `PAGE_ALLOC_COSTLY_ORDER`); with the feature `pagesets_single`
/// only single pages, as Linux before that.
pub const PAGESET_ORDER: Order = match Order::new(if cfg!(feature = "pagesets_single") { 0 } else { 3 }) {
    Some(order) => order,
    None => Order::ZERO,
};
/// Orders that there are rings for.
const ORDERS: usize = 4;
/// Rings of an order: one a stocked type, and the one of the blocks to be returned.
pub(super) const LANES: usize = PAGESET_TYPES + 1;
pub(super) const RINGS: usize = ORDERS * LANES;
/// The ring of an order for the blocks to be returned.
pub(super) const RETURNS: u32 = 3;
/// Slots of a ring, a power of two: with a number that the compiler knows, a position needs no check.
pub const RING_SLOTS: u32 = 256;
/// The rings of single pages, as bits of `open`.
const SINGLES: u32 = (1 << PAGESET_TYPES) - 1;

const _: () =
    assert!(RINGS == 16 && LANES == 4 && RETURNS as usize == PAGESET_TYPES, "a ring's number has its type in two bits");

/// The number of a ring: its order, and its type or [`RETURNS`].
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(in crate::page_alloc) struct RingIndex(pub(super) u32);

impl RingIndex {
    /// The ring of blocks of `order` for requests of a type; `bits` 3 is not a type but the blocks to be returned.
    #[inline]
    pub(in crate::page_alloc) const fn new(order: Order, bits: u32) -> Self {
        Self((order.log2()) << 2 | bits & 3)
    }

    /// The ring of blocks of `order` for requests of type `kind`; types without a ring share the movable one.
    pub(in crate::page_alloc) fn of(order: Order, kind: MigrateType) -> Self {
        let stocked = if kind.index() < PAGESET_TYPES { kind } else { MigrateType::Movable };
        Self::new(order, stocked as u32)
    }

    #[inline]
    pub(super) const fn returns(self) -> Self {
        Self(self.0 | RETURNS)
    }

    #[inline]
    pub(super) const fn index(self) -> usize {
        self.0 as usize % RINGS
    }

    /// Its bit in the word of the rings that are open.
    pub(in crate::page_alloc) const fn bit(self) -> u32 {
        self.0
    }

    /// The order of its blocks.
    pub(super) const fn order(self) -> Order {
        match Order::of_log2(self.0 >> 2) {
            Some(order) => order,
            None => Order::ZERO,
        }
    }

    pub(super) fn all() -> impl Iterator<Item = Self> {
        Self::from(0)
    }

    /// Every ring, the one numbered `first` first.
    pub(super) fn from(first: u32) -> impl Iterator<Item = Self> {
        (0..RINGS).zip(first..).map(|(_, number)| Self(number & 0xf))
    }
}

/// The rings of every order for these stocked types, a bit each.
#[inline]
pub(in crate::page_alloc) const fn open_rings(types: u32) -> u32 {
    (types & SINGLES) * 0x1111
}

/// One ring's place: `start` is the cold end, `end` one past the hot end. Both wrap.
#[derive(Debug, Default)]
pub(super) struct Ring {
    pub(super) start: AtomicU32,
    pub(super) end: AtomicU32,
}

impl Ring {
    /// How many blocks it has, on its own CPU.
    #[inline]
    pub(super) fn len(&self) -> u32 {
        self.end.load(Relaxed).wrapping_sub(self.start.load(Relaxed))
    }

    /// The same on any CPU: the ends may be of two moments, and the start beyond the end.
    pub(super) fn seen(&self) -> u32 {
        let len = self.len();
        if len > RING_SLOTS { 0 } else { len }
    }
}

/// Blocks taken from the cold end of a ring, the coldest first.
#[derive(Debug)]
pub(in crate::page_alloc) struct Cold<'s> {
    pub(super) slots: &'s [AtomicU32; RING_SLOTS as usize],
    pub(super) next: u32,
    pub(super) left: u32,
}

impl Cold<'_> {
    /// How many are left.
    #[inline(always)]
    pub(in crate::page_alloc) fn left(&self) -> u32 {
        self.left
    }

    /// The one behind which `left - 1` more are left; with 0 it means nothing.
    #[inline(always)]
    pub(in crate::page_alloc) fn ahead(&self, left: u32) -> Pfn {
        let position = self.next.wrapping_add(self.left).wrapping_sub(left);
        Pfn::new(self.slots[(position % RING_SLOTS) as usize].load(Relaxed))
    }
}

impl Iterator for Cold<'_> {
    type Item = Pfn;

    #[inline(always)]
    fn next(&mut self) -> Option<Pfn> {
        self.left = self.left.checked_sub(1)?;
        let pfn = self.slots[(self.next % RING_SLOTS) as usize].load(Relaxed);
        self.next = self.next.wrapping_add(1);
        Some(Pfn::new(pfn))
    }
}
