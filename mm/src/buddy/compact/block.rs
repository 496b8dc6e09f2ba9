//! The free chunks of each pageblock: a list an order, linked through the memory map, and a mask of the orders.
//!
//! Theory.      Chunks merge inside their pageblock only, so lists of one block's chunks are all that merging needs. A
//!              list ends in `NO_FRAME` at both ends.
//! Invariants.  1. Bit `order` of a record's mask is set exactly when its list of that order has a chunk; a head whose
//!              bit is clear means nothing. 2. Each chunk has the state `free(order, kind)` of its record's type.

use core::sync::atomic::Ordering::Relaxed;

use crate::addr::Pfn;
use crate::memmap::{MemMap, NO_FRAME, Page, StateWord, ZoneTag};
use crate::migrate::{MigrateType, PAGEBLOCK_ORDER};
use crate::order::{MAX_ORDER, Order};

/// Words of a record: the heads, then mask and type.
pub(super) const RECORD: usize = MAX_ORDER + 1;
const INFO: usize = MAX_ORDER;
const MASK: u32 = (1 << MAX_ORDER) - 1;
const TYPE_SHIFT: u32 = 16;

/// The orders of which a pageblock has free chunks, a bit each.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Orders(u32);

impl Orders {
    /// The order of the largest chunk; `None` when nothing is free.
    #[inline]
    pub(super) fn largest(self) -> Option<Order> {
        Order::of_log2(self.0.checked_ilog2()?)
    }

    /// The order of the smallest chunk of at least `order`.
    #[inline]
    pub(super) fn smallest(self, order: Order) -> Option<Order> {
        Order::of_log2((self.0 & !(order.pages() - 1)).trailing_zeros())
    }

    /// Whether the largest chunk is of the same order as that of `other`, or both have none.
    #[inline(always)]
    pub(super) fn has_largest_of(self, other: Self) -> bool {
        // The highest bits are in the same place when what differs is smaller than what is common.
        self.0 ^ other.0 <= self.0 & other.0
    }

    /// Whether the block is free, in part only.
    #[inline]
    pub(super) fn is_partial(self) -> bool {
        self.0 != 0 && self.0 < PAGEBLOCK_ORDER.pages()
    }

    #[inline]
    pub(super) fn is_empty(self) -> bool {
        self.0 == 0
    }
}

/// The records of a zone's pageblocks.
#[derive(Debug)]
pub(super) struct Blocks<'m> {
    map: MemMap<'m>,
    /// What the state of a free chunk of the zone is made from.
    blank: StateWord,
    records: &'m mut [[u32; RECORD]],
    /// The number of the first record's pageblock.
    first: u32,
}

impl<'m> Blocks<'m> {
    /// Records that say that nothing is free, the first one for pageblock number `first`.
    pub(super) fn new(map: MemMap<'m>, zone: ZoneTag, records: &'m mut [[u32; RECORD]], first: u32) -> Self {
        records.fill([0; RECORD]);
        Self { map, blank: StateWord::free(Order::ZERO, MigrateType::Unmovable, zone), records, first }
    }

    /// How many there are.
    pub(super) fn len(&self) -> u32 {
        // One record for each pageblock of a span of 32-bit frame numbers.
        u32::try_from(self.records.len()).unwrap_or(u32::MAX)
    }

    /// The index of the record of `pfn`'s pageblock.
    #[inline]
    pub(super) fn index_of(&self, pfn: Pfn) -> u32 {
        (pfn.raw() >> PAGEBLOCK_ORDER.log2()).wrapping_sub(self.first)
    }

    /// The first frame of the pageblock of a record.
    #[inline]
    pub(super) fn start_of(&self, block: u32) -> Pfn {
        Pfn::new((self.first + block) << PAGEBLOCK_ORDER.log2())
    }

    /// Of which orders a pageblock has chunks.
    #[inline]
    pub(super) fn orders(&self, block: u32) -> Orders {
        Orders(self.records[block as usize][INFO] & MASK)
    }

    /// The type of a pageblock's chunks.
    #[inline]
    pub(super) fn kind(&self, block: u32) -> MigrateType {
        MigrateType::new(self.records[block as usize][INFO] >> TYPE_SHIFT).unwrap_or(MigrateType::Unmovable)
    }

    /// Sets the type of the chunks to come; what is listed is renamed by the caller.
    #[inline]
    pub(super) fn set_kind(&mut self, block: u32, kind: MigrateType) {
        let info = &mut self.records[block as usize][INFO];
        *info = *info & MASK | (kind as u32) << TYPE_SHIFT;
    }

    /// The first chunk of `order`.
    #[inline]
    pub(super) fn head(&self, block: u32, order: Order) -> Option<Pfn> {
        let record = &self.records[block as usize];
        (record[INFO] & order.pages() != 0).then_some(Pfn::new(record[order.index()]))
    }

    /// The record of a pageblock.
    #[inline(always)]
    pub(super) fn record(&mut self, block: u32) -> Record<'_, 'm> {
        Record { map: self.map, blank: self.blank, words: &mut self.records[block as usize] }
    }

    /// Says in the state of a listed chunk that it has the type numbered `bits`.
    pub(super) fn rename(&self, page: &Page, order: Order, bits: u32) {
        page.set_word(self.blank.with(order, bits));
    }
}

/// One pageblock's record, found once and used many times.
pub(super) struct Record<'r, 'm> {
    map: MemMap<'m>,
    blank: StateWord,
    words: &'r mut [u32; RECORD],
}

impl<'m> Record<'_, 'm> {
    /// Of which orders there are chunks, and the number of their type.
    #[inline(always)]
    pub(super) fn info(&self) -> (Orders, u32) {
        (Orders(self.words[INFO] & MASK), self.words[INFO] >> TYPE_SHIFT)
    }

    /// Lists a chunk under a type, which is the record's own, and says so in its state; `page` is the entry of its first
    /// frame.
    #[inline(always)]
    pub(super) fn push(&mut self, pfn: Pfn, page: &Page, order: Order, bits: u32) {
        page.set_word(self.blank.with(order, bits));
        page.prev.store(NO_FRAME, Relaxed);
        if self.words[INFO] & order.pages() != 0 {
            let next = self.words[order.index()];
            page.next.store(next, Relaxed);
            self.map.at(Pfn::new(next)).prev.store(pfn.raw(), Relaxed);
        } else {
            page.next.store(NO_FRAME, Relaxed);
            self.words[INFO] |= order.pages();
        }
        self.words[order.index()] = pfn.raw();
    }

    /// Takes the first chunk of an order that there is off its list; its state still says that it is free, and the
    /// caller changes that.
    #[inline(always)]
    pub(super) fn pop(&mut self, order: Order) -> (Pfn, &'m Page) {
        let pfn = Pfn::new(self.words[order.index()]);
        let page = self.map.at(pfn);
        let next = page.next.load(Relaxed);
        self.words[order.index()] = next;
        if next == NO_FRAME {
            self.words[INFO] &= !order.pages();
        } else {
            self.map.at(Pfn::new(next)).prev.store(NO_FRAME, Relaxed);
        }
        (pfn, page)
    }

    /// Takes a chunk off its list; its state still says that it is free, and the caller changes that.
    #[inline(always)]
    pub(super) fn unlink(&mut self, page: &Page, order: Order) {
        let (next, prev) = (page.next.load(Relaxed), page.prev.load(Relaxed));
        if next != NO_FRAME {
            self.map.at(Pfn::new(next)).prev.store(prev, Relaxed);
        }
        if prev != NO_FRAME {
            self.map.at(Pfn::new(prev)).next.store(next, Relaxed);
            return;
        }
        self.words[order.index()] = next;
        if next == NO_FRAME {
            self.words[INFO] &= !order.pages();
        }
    }

    /// Whether the page heads a free chunk of exactly `order` in this zone.
    #[inline(always)]
    pub(super) fn is_free(&self, page: &Page, order: Order) -> bool {
        page.word().is_like(self.blank, order)
    }
}
