//! The ring that events are written to.

use core::fmt;
use core::sync::atomic::Ordering::{Acquire, Relaxed, Release};
use core::sync::atomic::{AtomicBool, AtomicU32};

use crate::addr::Pfn;
use crate::order::Order;
use crate::sync::{CpuId, CurrentCpu, IrqOff};
use crate::trace::{Event, What};

/// Words of a slot: sequence number and event.
pub const SLOT_WORDS: usize = 4;
/// What a slot holds while it is written; the event of this number is lost.
const NOBODY: u32 = u32::MAX;

/// A ring of events in its caller's memory; the oldest ones are overwritten.
pub struct TraceRing<'m> {
    slots: &'m [[AtomicU32; SLOT_WORDS]],
    /// The number of the next event.
    next: AtomicU32,
    on: AtomicBool,
    cpu: fn() -> CpuId,
}

impl<'m> TraceRing<'m> {
    /// An empty ring in `words`, as many slots as they hold, switched off; `None` when they hold none.
    #[must_use]
    pub fn new<M: CurrentCpu>(words: &'m [AtomicU32]) -> Option<Self> {
        let slots = words.as_chunks().0;
        slots.iter().for_each(|slot: &[AtomicU32; SLOT_WORDS]| slot[0].store(NOBODY, Relaxed));
        let cpu = || {
            let _irq = IrqOff::<M>::new();
            M::current_cpu()
        };
        (!slots.is_empty()).then_some(Self { slots, next: AtomicU32::new(0), on: AtomicBool::new(false), cpu })
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

    /// How many events were written in all, also those that are overwritten. It wraps.
    #[must_use]
    pub fn written(&self) -> u32 {
        self.next.load(Relaxed)
    }

    /// Writes one event. Context: any.
    #[cold]
    #[inline(never)]
    pub(crate) fn write(&self, what: What, pfn: Option<Pfn>, order: Order) {
        let number = self.next.fetch_add(1, Relaxed);
        let event = Event { what, cpu: (self.cpu)(), pfn, order }.words();
        let Some([sequence, words @ ..]) = self.slot(number) else { return };
        sequence.store(NOBODY, Relaxed);
        for (place, word) in words.iter().zip(event) {
            place.store(word, Release);
        }
        sequence.store(number, Release);
    }

    fn slot(&self, number: u32) -> Option<&'m [AtomicU32; SLOT_WORDS]> {
        self.slots.get(number as usize % self.slots.len())
    }

    /// The event numbered `number`; `None` when it is overwritten or not written yet.
    #[must_use]
    pub fn read(&self, number: u32) -> Option<Event> {
        let [sequence, words @ ..] = self.slot(number)?;
        let is_there = || number != NOBODY && sequence.load(Acquire) == number;
        if !is_there() {
            return None;
        }
        let event = Event::decode(words.each_ref().map(|word| word.load(Acquire)));
        event.filter(|_| is_there())
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

    #[test]
    fn the_latest_events_stay_readable_when_their_number_wraps() {
        let words = [const { AtomicU32::new(0) }; 4 * SLOT_WORDS];
        let ring = TraceRing::new::<HostIrq>(&words).unwrap();
        assert_eq!(ring.events().count(), 0);
        ring.next.store(u32::MAX - 2, Relaxed);
        for pfn in 0..5 {
            ring.write(What::Free { cold: false }, Some(Pfn::new(pfn)), Order::ZERO);
        }
        // Of the last four, number 2^32 - 1 is lost.
        let kept: Vec<_> = ring.events().filter_map(|event| event.pfn).map(Pfn::raw).collect();
        assert_eq!((kept, ring.written()), (std::vec![1, 3, 4], 2));
    }
}
