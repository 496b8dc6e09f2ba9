//! A machine's run from a file of words: the machine as it was when everything was taken, and what happened then.
//!
//! Theory.      The state of a free list depends on all that went before. A run that is to be repeated elsewhere
//!              therefore begins with every page taken, singly: then there are no lists, and what is left of the state
//!              is little enough to be written down. Its first events give the pages back.
//! Format.      Words: [`MAGIC`]; the number of zones, and for each [`ZoneWords`]; runs of frames that the allocator
//!              was given (first, one past the last), ended by two [`END`]s; for each zone its pageblocks' types, one a
//!              word; then events, three words each; then [`END`] and each zone's free pages. A run that failed has no
//!              such end.
//! Source.      Ours.

use core::fmt;
use core::mem::MaybeUninit;
use core::sync::atomic::AtomicU32;
use std::boxed::Box;
use std::vec::Vec;

use crate::addr::{NodeId, Pfn, PfnRange};
use crate::gfp::GfpFlags;
use crate::memmap::MemMap;
use crate::migrate::MigrateType;
use crate::order::Order;
use crate::page_alloc::{
    DefaultCore, Hooks, Needs, Options, PageAllocator, Pageset, PagesetSize, Storage, Watermarks, frame_runs,
};
use crate::testing::HostIrq;
use crate::trace::replay::{ReplayError, replay};
use crate::trace::{END, EVERYTHING, Event, MAGIC, SLOT_WORDS, TraceRing, What, pageblocks};
use crate::zone::{MAX_NR_ZONES, NodePlan, ZoneRef, ZoneSize, ZoneType, Zonelist};

/// A zone: its type, first frame, one past the last, the three watermarks, a pageset's `high` and
/// `batch`, and the reserves of the watermarks.
pub type ZoneWords = [u32; 8 + MAX_NR_ZONES];

type Allocator = PageAllocator<'static, HostIrq, DefaultCore<'static>>;

/// A run that can be done again.
pub struct Story {
    allocator: Allocator,
    events: Vec<Event>,
    /// Free pages by zone at the end.
    end: Option<Vec<u32>>,
}

/// Why a story was not told to its end.
#[derive(Debug)]
pub enum StoryError {
    /// The words are not such a file; how many were understood.
    Words(usize),
    /// The replay parts from the run.
    Replay(ReplayError),
    /// The zones have other free pages in the end: now and then.
    End(Vec<u32>, Vec<u32>),
    /// An invariant is broken in the end.
    Broken(crate::page_alloc::BrokenZone),
}

impl fmt::Display for StoryError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Words(at) => write!(f, "word {at} of the file is no trace's"),
            Self::Replay(error) => error.fmt(f),
            Self::End(now, then) => write!(f, "{now:?} pages are free by zone in the end, and {then:?} were"),
            Self::Broken(error) => error.fmt(f),
        }
    }
}

impl core::error::Error for StoryError {}

/// The words that are left to read.
struct Words<'a>(&'a [u32]);

impl Words<'_> {
    fn take<const N: usize>(&mut self) -> Option<[u32; N]> {
        let (words, rest) = self.0.split_first_chunk()?;
        self.0 = rest;
        Some(*words)
    }
}

impl fmt::Debug for Story {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Story").field("events", &self.events.len()).field("end", &self.end).finish_non_exhaustive()
    }
}

impl Story {
    /// Reads a file's words and rebuilds the machine that they tell of.
    ///
    /// # Errors
    /// [`StoryError::Words`].
    pub fn read(words: &[u32]) -> Result<Self, StoryError> {
        let mut left = Words(words);
        Self::read_from(&mut left).ok_or(StoryError::Words(words.len() - left.0.len()))
    }

    fn read_from(words: &mut Words<'_>) -> Option<Self> {
        let [MAGIC, count] = words.take()? else { return None };
        let zones: Vec<ZoneWords> = (0..count.min(4)).map(|_| words.take()).collect::<Option<_>>()?;
        let mut memory = Vec::new();
        loop {
            match words.take()? {
                [END, END] => break,
                [start, end] if start < end => memory.push(PfnRange::new(Pfn::new(start), Pfn::new(end))),
                _ => return None,
            }
        }
        let allocator = build(&zones, &memory)?;
        for zone in allocator.zones() {
            for pfn in pageblocks(zone.stats().span) {
                let [kind] = words.take()?;
                zone.set_block_type(pfn, MigrateType::new(kind)?);
            }
        }
        let (mut events, mut end) = (Vec::new(), None);
        while let Some([head]) = words.take() {
            if head == END {
                end = Some((0..count).map(|_| words.take().map(|[free]| free)).collect::<Option<_>>()?);
                break;
            }
            let [pfn, detail] = words.take()?;
            events.push(unzeroed(Event::decode([head, pfn, detail])?));
        }
        Some(Self { allocator, events, end })
    }

    /// How many events it has.
    #[must_use]
    pub fn len(&self) -> usize {
        self.events.len()
    }

    /// Whether nothing happened.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.events.is_empty()
    }

    /// Does it again, and tests every invariant at the end.
    ///
    /// # Errors
    /// [`StoryError`] with the first difference.
    pub fn replay(self) -> Result<(), StoryError> {
        let unanswered = replay(&self.allocator, self.events).map_err(StoryError::Replay)?;
        // A machine that came to its end answered.
        if let (Some(request), Some(_)) = (unanswered, &self.end) {
            return Err(StoryError::Replay(ReplayError::NoAnswer(request)));
        }
        self.allocator.validate().map_err(StoryError::Broken)?;
        let now: Vec<u32> = self.allocator.zones().iter().map(|zone| zone.stats().counts.free).collect();
        match self.end {
            Some(then) if then != now => Err(StoryError::End(now, then)),
            _ => Ok(()),
        }
    }
}

/// The event without the wish for zeros: this machine has no bytes behind its pages.
fn unzeroed(event: Event) -> Event {
    match event.what {
        What::Request { gfp } => Event { what: What::Request { gfp: gfp - GfpFlags::ZERO }, ..event },
        _ => event,
    }
}

fn uninit<T>(count: usize) -> &'static mut [MaybeUninit<T>] {
    Box::leak((0..count).map(|_| MaybeUninit::uninit()).collect())
}

fn atomics(count: usize) -> &'static [AtomicU32] {
    Box::leak((0..count).map(|_| AtomicU32::new(0)).collect())
}

/// An allocator with these zones all of whose pages are taken, singly.
fn build(words: &[ZoneWords], memory: &[PfnRange]) -> Option<Allocator> {
    let mut zones = [ZoneSize::default(); 4];
    let mut zonelist = Zonelist::default();
    let mut places = Vec::new();
    for [kind, start, end, min, low, high, most, batch, lowmem_reserve @ ..] in words.iter().copied() {
        let zone = *ZoneType::ALL.get(kind as usize)?;
        let span = PfnRange::new(Pfn::new(start), Pfn::new(end));
        // Frames that the allocator was never given are no part of this machine.
        let present = memory.iter().map(|run| run.intersection(span).pages()).sum();
        zones[zone.index()] = ZoneSize { span, present, real_size: present };
        let zone = ZoneRef { node: NodeId::ZERO, zone };
        places.push((zone, Watermarks { min, low, high, lowmem_reserve }, PagesetSize { high: most, batch }));
    }
    for (zone, ..) in places.iter().rev() {
        zonelist.push(*zone).then_some(())?;
    }
    let spans = zones.iter().map(|zone| zone.span).filter(|span| !span.is_empty());
    let span = spans.reduce(|all, one| PfnRange::new(all.start.min(one.start), all.end.max(one.end)))?;
    let plans = [NodePlan { node: NodeId::ZERO, span, zones }];
    let runs = memory.iter().map(|frames| (*frames, NodeId::ZERO));
    let map = MemMap::init(uninit(MemMap::coverage(span).pages() as usize), span, frame_runs(&plans, runs)).ok()?;
    let needs = Needs::of::<DefaultCore<'static>>(&plans);
    let storage = Storage {
        zones: uninit(needs.zones),
        usemap_bytes: uninit(needs.usemap_bytes),
        core_words: uninit(needs.core_words),
    };
    let ring: &'static TraceRing<'static> = Box::leak(Box::new(TraceRing::new::<HostIrq>(atomics(SLOT_WORDS))?));
    let options = Options { trace: Some(ring), ..Options::default() };
    let mut allocator = PageAllocator::new(map, &plans, &[zonelist], storage, options).ok()?;
    allocator.free_all(memory.iter().copied(), []).ok()?;
    for (zone, marks, size) in places {
        let sets = Box::leak(Box::new([Pageset::new(atomics(Pageset::SLOTS), size)?]));
        allocator.install_pagesets(zone, sets).ok()?;
        allocator.set_watermarks(zone, &marks);
    }
    take_everything(&allocator)?;
    allocator.set_hooks(Hooks::TRACE, true);
    allocator.drain_local();
    Some(allocator)
}

/// Takes every page, and makes each a block of its own.
fn take_everything(allocator: &Allocator) -> Option<()> {
    for order in (0..=Order::LARGEST.raw()).rev() {
        let order = Order::new(order)?;
        while let Ok(block) = allocator.alloc_pages(EVERYTHING, order) {
            allocator.split_page(block, order).ok()?;
        }
    }
    allocator.drain_local();
    Some(())
}
