//! What a core does with a block beside guards, under a trace, or while a pageblock's type is being changed.
//!
//! Theory.      A half that is split off may be kept out of use beside an allocation, as a guard; it becomes free with
//!              the block that it guards. Where there may be such, or where each block is told of, or where buddies may
//!              be on lists that count elsewhere, a block that is given back takes this way.
//! Source.      Linux 4.1 mm/page_alloc.c: `expand`, `set_page_guard`, `clear_page_guard`, `__free_one_page`.
#![forbid(unsafe_code)]

use crate::addr::Pfn;
use crate::buddy::Work;
use crate::buddy::free_lists::Buddy;
use crate::buddy::list::Row;
use crate::buddy::placement::Placement;
use crate::memmap::StateWord;
use crate::order::Order;

impl<'m, P: Placement<'m, ROWS>, const ROWS: usize> Buddy<'m, P, ROWS> {
    #[cold]
    #[inline(never)]
    pub(super) fn expand_guarded(&mut self, pfn: Pfn, high: Order, low: Order, row: Row) {
        let mut order = high;
        while order > low {
            let Some(half) = order.previous() else { break };
            order = half;
            let upper = order.buddy_of(pfn);
            if order < self.options.guard_minorder {
                self.guard(upper, order, row.bits());
            } else {
                self.lists.push(upper, self.frames.map.at(upper), order, row);
            }
        }
    }

    /// Keeps a half out of use beside an allocation (Linux: `set_page_guard`).
    #[cold]
    #[inline(never)]
    fn guard(&mut self, pfn: Pfn, order: Order, bits: u32) {
        self.frames.map.at(pfn).set_word(StateWord::guard(order));
        self.counts.guard += order.pages();
        self.counts.remove_bits(order.pages(), bits);
    }

    /// As [`FreeCore::give_claimed`], while the trace wants to know, guards may stand beside the block or its buddies
    /// may be on lists that count elsewhere: a guard becomes free with it, and each buddy is counted where it comes to.
    #[cold]
    #[inline(never)]
    pub(super) fn give_carefully(&mut self, pfn: Pfn, order: Order) -> u32 {
        if let Some(cost) = self.give_small(pfn, order) {
            self.frames.note_given(pfn, order);
            return cost;
        }
        let listed = self.list_lane(pfn);
        let (kind, home) = (self.frames.usemap.get(pfn), self.home(pfn));
        self.counts.add(order.pages(), kind);
        let (mut head, mut size) = (pfn, order);
        while let Some(next) = size.next() {
            let buddy = size.buddy_of(head);
            let page = self.frames.map.at(buddy);
            let word = page.word();
            if word.is_free_in(size, self.frames.zone) {
                let list = word.list().unwrap_or(kind);
                self.unlink(buddy, page, size, list as u32);
                self.counts.remove(size.pages(), list);
            } else if size < self.options.guard_minorder && word.is_guard_of(size) && page.zone() == self.frames.zone {
                // Linux: `clear_page_guard`.
                self.counts.guard -= size.pages();
            } else {
                break;
            }
            self.counts.add(size.pages(), kind);
            self.frames.map.at(head.max(buddy)).set_word(StateWord::INSIDE);
            (head, size) = (head.min(buddy), next);
        }
        let block = self.lists.freed(head, size);
        self.push_freed(pfn, block, home);
        self.frames.note_given(pfn, order);
        Work::cost(size.log2()) + listed * Work::BLOCK
    }
}
