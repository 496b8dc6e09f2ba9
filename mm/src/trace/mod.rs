//! The trace: what the page allocator does, event by event, in a ring that can be read out and replayed.
//!
//! Theory.      An event is four words: a sequence number, what and where in two, and one of detail. A writer draws the
//!              next number and stores into its slot (`slots`), so CPUs need no lock; a reader takes a slot only if it
//!              still holds the number that belongs there. Requests and frees are enough to repeat a run: the other
//!              events follow from them, and a replay that shows the same ones did the same.
//! Not here.    When events are written (`page_alloc`, `buddy`); switching it on (`page_alloc::Hooks::TRACE`).
//! Source.      Linux: include/trace/events/kmem.h (`mm_page_alloc`, `mm_page_free`, `mm_page_alloc_extfrag`,
//!              `mm_page_pcpu_drain`), kernel/trace/ring_buffer.c.
#![forbid(unsafe_code)]

mod event;
mod format;
#[cfg(any(test, feature = "testing"))]
pub mod replay;
mod ring;
mod slots;
#[cfg(any(test, feature = "testing"))]
pub mod story;

#[cfg(test)]
mod tests;

pub use event::{Event, What};
pub use format::{END, EVERYTHING, MAGIC, pageblocks};
pub use ring::TraceRing;
pub use slots::SLOT_WORDS;
