//! The ring that events are written to.

use core::fmt;
use core::sync::atomic::Ordering::Relaxed;
use core::sync::atomic::{AtomicBool, AtomicU32};

use crate::addr::Pfn;
use crate::order::Order;
use crate::sync::{CpuId, CurrentCpu, IrqOff};
use crate::trace::slots::Slots;
use crate::trace::{Event, What};

/// A ring of events in its caller's memory; the oldest ones are overwritten.
pub struct TraceRing<'m> {
    slots: Slots<'m>,
    /// The number of the next event.
    next: AtomicU32,
    on: AtomicBool,
    cpu: fn() -> CpuId,
}

impl<'m> TraceRing<'m> {
    /// An empty ring in `words`, as many slots as they hold, switched off; `None` when they hold none.
    #[must_use]
    pub fn new<M: CurrentCpu>(words: &'m [AtomicU32]) -> Option<Self> {
        let slots = Slots::new(words)?;
        let cpu = || {
            let _irq = IrqOff::<M>::new();
            M::current_cpu()
        };
        Some(Self { slots, next: AtomicU32::new(0), on: AtomicBool::new(false), cpu })
    }

    /// Switches it on or off.
    pub fn set_on(&self, on: bool) {
        self.on.store(on, Relaxed);
    }

    /// Whether events are written.
    #[must_use]
    #[inline]
    pub fn is_on(&self) -> bool {
        self.on.load(Relaxed)
    }

    /// How many events were written in all, also those that are overwritten or lost. It wraps.
    #[must_use]
    pub fn written(&self) -> u32 {
        self.next.load(Relaxed)
    }

    /// Writes one event. Context: any.
    #[cold]
    #[inline(never)]
    pub(crate) fn write(&self, what: What, pfn: Option<Pfn>, order: Order) {
        let number = self.next.fetch_add(1, Relaxed);
        self.slots.write(number, Event { what, cpu: (self.cpu)(), pfn, order }.words());
    }

    /// The event numbered `number`; `None` when it is overwritten, lost or not written yet.
    #[must_use]
    pub fn read(&self, number: u32) -> Option<Event> {
        Event::decode(self.slots.read(number)?)
    }

    /// The events that are still there, oldest first.
    pub fn events(&self) -> impl Iterator<Item = Event> + '_ {
        let end = self.written();
        // A slice of four-word slots has fewer than 2^32 of them.
        let kept = u32::try_from(self.slots.len()).unwrap_or(u32::MAX);
        (1..=kept).rev().filter_map(move |back| self.read(end.wrapping_sub(back)))
    }
}

impl fmt::Debug for TraceRing<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TraceRing")
            .field("slots", &self.slots.len())
            .field("written", &self.written())
            .field("on", &self.is_on())
            .finish()
    }
}

/// Every event that is still there, a line each, oldest first.
impl fmt::Display for TraceRing<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.events().try_for_each(|event| writeln!(f, "{event}"))
    }
}

#[cfg(test)]
mod tests {
    use std::vec::Vec;

    use super::*;
    use crate::testing::HostIrq;
    use crate::trace::SLOT_WORDS;

    #[test]
    fn the_latest_events_stay_readable_when_their_number_wraps() {
        let words = [const { AtomicU32::new(0) }; 4 * SLOT_WORDS];
        let ring = TraceRing::new::<HostIrq>(&words).unwrap();
        assert_eq!(ring.events().count(), 0);
        ring.next.store(u32::MAX - 2, Relaxed);
        for pfn in 0..5 {
            ring.write(What::Free { cold: false }, Some(Pfn::new(pfn)), Order::ZERO);
        }
        // Of the last four, numbers 2^32 - 2 and 2^32 - 1 are lost.
        let kept: Vec<_> = ring.events().filter_map(|event| event.pfn).map(Pfn::raw).collect();
        assert_eq!((kept, ring.written()), (std::vec![3, 4], 2));
    }
}
