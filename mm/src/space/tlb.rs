//! The TLB as the tables of one space see it: what is dropped whole is the space's ASID, and nothing else.
#![forbid(unsafe_code)]

use core::ptr::NonNull;
use core::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use super::asid::ContextId;
use crate::addr::VirtAddr;
use crate::platform::TlbControl;

/// TLB maintenance for one space.
#[derive(Debug)]
pub struct SpaceTlb<'t, T: ?Sized> {
    tlb: &'t T,
    /// A [`ContextId`]. Read at the flush and not before: until the words of a change are visible another CPU may begin
    /// to run the space under a new number, and walk the old words.
    context: &'t AtomicU64,
}

impl<'t, T: TlbControl + ?Sized> SpaceTlb<'t, T> {
    /// For the space whose [`ContextId`] is kept in `context`; of one that never ran no TLB knows anything.
    ///
    /// A number of an older generation does no harm: what it drops is walked again.
    #[must_use]
    pub const fn new(tlb: &'t T, context: &'t AtomicU64) -> Self {
        Self { tlb, context }
    }
}

impl<T: TlbControl + ?Sized> TlbControl for SpaceTlb<'_, T> {
    fn sync_table(&self, ptr: NonNull<u8>, bytes: usize) {
        self.tlb.sync_table(ptr, bytes);
    }

    // Not `sync_first`: the words of a space are nobody's original.
    fn sync_first(&self, _first: usize, words: &[AtomicU32]) {
        self.tlb.sync_table(NonNull::from(words).cast(), size_of_val(words));
    }

    fn flush_page(&self, va: VirtAddr) {
        self.tlb.flush_page(va);
    }

    fn flush_all(&self) {
        let asid = ContextId::from_raw(self.context.load(Ordering::Relaxed)).asid();
        if asid != 0 {
            self.tlb.flush_asid(asid);
        }
    }

    fn flush_asid(&self, asid: u8) {
        self.tlb.flush_asid(asid);
    }
}
