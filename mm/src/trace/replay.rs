//! Replay: what was asked of one allocator is asked of another, and must have the same end.
//!
//! Theory.      Requests, frees, cuts and explicit drains are done again, on the same CPUs, one after the other;
//!              everything else in a trace follows from them. Each answer is compared at once, so a replay that differs
//!              says where. No event of these may be missing but the last one's answer, where a machine stopped, and
//!              requests do not overlap, neither on two CPUs nor in an interrupt.
//! Source.      Ours.

use core::fmt;

use crate::addr::Pfn;
use crate::buddy::{FreeCore, FreeError};
use crate::gfp::GfpFlags;
use crate::order::Order;
use crate::page_alloc::PageAllocator;
use crate::sync::set_host_cpu;
use crate::testing::HostIrq;
use crate::trace::{Event, What};

/// Where a replay parts from its trace.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ReplayError {
    /// The request of this event was answered otherwise.
    Answer {
        /// The event with the answer.
        event: Event,
        /// The answer now.
        found: Option<Pfn>,
    },
    /// An answer without a request: something else than requests took the block.
    NoRequest(Event),
    /// The request of this event has no answer before the next one: an event is lost, or requests overlap.
    NoAnswer(Event),
    /// The free or cut of this event was refused.
    Free(Event, FreeError),
}

impl fmt::Display for ReplayError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Answer { event, found } => write!(f, "replay: {event}: now {found:?}"),
            Self::NoRequest(event) => write!(f, "replay: {event}: nobody asked for it"),
            Self::NoAnswer(event) => {
                write!(f, "replay: {event}: no answer follows: an event is lost, or requests overlap")
            }
            Self::Free(event, error) => write!(f, "replay: {event}: {error}"),
        }
    }
}

impl core::error::Error for ReplayError {}

/// Does on `allocator` what `events` tell of another one that began in the same state. The host's thread stands for
/// each CPU in turn. Returns the last request if its answer is not told.
///
/// # Errors
/// [`ReplayError`] with the first event that has another outcome.
pub fn replay<C: FreeCore<'static>>(
    allocator: &PageAllocator<'static, HostIrq, C>,
    events: impl IntoIterator<Item = Event>,
) -> Result<Option<Event>, ReplayError> {
    // A request and its answer now, until its answer then is told.
    let mut asked = None;
    for event in events {
        let Event { what, cpu, pfn, order } = event;
        match what {
            What::Request { gfp } => {
                if let Some((request, _)) = asked {
                    return Err(ReplayError::NoAnswer(request));
                }
                set_host_cpu(cpu);
                // Bytes are not replayed, and there may be none.
                asked = Some((event, allocator.alloc_pages(gfp - GfpFlags::ZERO, order).ok()));
            }
            What::Alloc { .. } | What::Failed { .. } => {
                let (_, found) = asked.take().ok_or(ReplayError::NoRequest(event))?;
                if found != pfn {
                    return Err(ReplayError::Answer { event, found });
                }
            }
            What::Free { cold } => {
                set_host_cpu(cpu);
                free(allocator, pfn, order, cold).map_err(|error| ReplayError::Free(event, error))?;
            }
            What::Cut => {
                let cut = pfn.map_or(Ok(()), |pfn| allocator.split_page(pfn, order));
                cut.map_err(|error| ReplayError::Free(event, error))?;
            }
            // A drain inside a request is part of its answer.
            What::DrainLocal if asked.is_none() => {
                set_host_cpu(cpu);
                allocator.drain_local();
            }
            _ => {}
        }
    }
    Ok(asked.map(|(request, _)| request))
}

fn free<C: FreeCore<'static>>(
    allocator: &PageAllocator<'static, HostIrq, C>,
    pfn: Option<Pfn>,
    order: Order,
    cold: bool,
) -> Result<(), FreeError> {
    match pfn {
        Some(pfn) if cold => allocator.free_cold_page(pfn),
        Some(pfn) => allocator.free_pages(pfn, order),
        None => Ok(()),
    }
}
