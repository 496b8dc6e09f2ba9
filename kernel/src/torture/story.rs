//! The traced torture: all that the page allocator does goes to a file, which the host does again
//! (`mm::trace::story` has the format).
//!
//! Theory.      A replay needs the state that a run begins with. So everything is taken first, page by page: what is
//!              left of the state then are the zones' numbers and their pageblocks' types, which go to the file. The
//!              first events of the trace give the pages back. Pagesets stock nothing meanwhile: where a pageset's next
//!              drain begins is no part of the state that is written down. What others than requests take is no part of
//!              a replay: no contiguous areas and no pages that are moved in a traced run, and vmalloc's shrinker,
//!              which frees in the middle of requests, is not asked.

use mm::addr::Pfn;
use mm::order::Order;
use mm::page_alloc::{Hooks, PagesetSize};
use mm::trace::{END, EVERYTHING, Event, MAGIC, TraceRing, What, pageblocks};
use semihosting::fs::File;
use semihosting::io::Write;

use super::{Defect, ZONES};
use crate::system::{System, Zones};
use crate::vm::Vm;

/// Pages given back between two looks at the ring.
const STRIDE: u32 = 1 << 10;
/// Bytes written in one call.
const BUFFER: usize = 3 << 10;
/// Longest name of a file.
const NAME: usize = 256;

/// The file and what of the ring it has.
pub(super) struct Story {
    file: File,
    ring: &'static TraceRing<'static>,
    zones: &'static Zones,
    vm: &'static Vm,
    next: u32,
    /// Of the pagesets by zone, before the trace.
    sizes: [PagesetSize; ZONES],
    buffer: [u8; BUFFER],
    used: usize,
}

fn defect(what: &str) -> Defect {
    log::error!("torture: trace: {what}");
    Defect
}

impl Story {
    /// Opens the file `name`, writes down the state and begins to trace; gives every page back that it took for that.
    pub(super) fn begin(system: &System, name: &str) -> Result<Self, Defect> {
        if !crate::semihost::present() {
            return Err(defect("no debugger, so no file"));
        }
        let zones = system.booted.mm.allocator();
        let ring = zones.trace().ok_or_else(|| defect("the boot made no ring"))?;
        let mut terminated = [0; NAME];
        let place = terminated.get_mut(..name.len()).filter(|place| place.len() + 1 < NAME);
        place.ok_or_else(|| defect("the file's name is too long"))?.copy_from_slice(name.as_bytes());
        let name = core::ffi::CStr::from_bytes_until_nul(&terminated).map_err(|_| defect("no file's name"))?;
        let file = File::create(name).map_err(|_| defect("the file cannot be written"))?;
        let mut sizes = [PagesetSize::BOOT; ZONES];
        sizes.iter_mut().zip(zones.zones()).for_each(|(size, zone)| *size = zone.pageset_size());
        let mut story = Self { file, ring, zones, vm: system.vm, next: 0, sizes, buffer: [0; BUFFER], used: 0 };
        size_pagesets(zones, |_| PagesetSize::BOOT)?;
        let last = take_everything(zones)?;
        story.write_state()?;
        zones.unregister_shrinker(system.vm);
        zones.set_hooks(Hooks::TRACE, true);
        zones.drain_local();
        story.next = ring.written();
        story.give_back(last)?;
        Ok(story)
    }

    fn word(&mut self, word: u32) -> Result<(), Defect> {
        if self.used + size_of::<u32>() > BUFFER {
            self.flush()?;
        }
        if let Some(place) = self.buffer.get_mut(self.used..self.used + size_of::<u32>()) {
            place.copy_from_slice(&word.to_le_bytes());
        }
        self.used += size_of::<u32>();
        Ok(())
    }

    fn words(&mut self, words: impl IntoIterator<Item = u32>) -> Result<(), Defect> {
        words.into_iter().try_for_each(|word| self.word(word))
    }

    fn flush(&mut self) -> Result<(), Defect> {
        let bytes = self.buffer.get(..self.used).unwrap_or_default();
        self.used = 0;
        self.file.write_all(bytes).map_err(|_| defect("the file cannot be written"))
    }

    fn write_state(&mut self) -> Result<(), Defect> {
        let zones = self.zones.zones();
        self.words([MAGIC, u32::try_from(zones.len()).unwrap_or(0)])?;
        for zone in zones {
            let (stats, size) = (zone.stats(), zone.pageset_size());
            let marks = stats.marks;
            let span = stats.span;
            let kind = u32::try_from(stats.zone.zone.index()).unwrap_or(0);
            self.words([kind, span.start.raw(), span.end.raw()])?;
            self.words([marks.min, marks.low, marks.high, size.high, size.batch])?;
            self.words(marks.lowmem_reserve)?;
        }
        self.write_memory()?;
        for zone in zones {
            for pfn in pageblocks(zone.stats().span) {
                self.word(zone.block_type(pfn) as u32)?;
            }
        }
        Ok(())
    }

    /// The runs of frames that were given to the allocator: each now heads a block that somebody has.
    fn write_memory(&mut self) -> Result<(), Defect> {
        let map = self.zones.map();
        let (mut run, mut end) = (None, 0);
        for pfn in map.span().iter() {
            let is_given = map.state(pfn).is_some_and(|state| state.is_given());
            match run {
                None if is_given => run = Some(pfn.raw()),
                Some(start) if !is_given => {
                    self.words([start, pfn.raw()])?;
                    run = None;
                }
                _ => {}
            }
            end = pfn.raw() + 1;
        }
        if let Some(start) = run {
            self.words([start, end])?;
        }
        self.words([END, END])
    }

    /// Gives the chain of pages back that ends at `last`.
    fn give_back(&mut self, mut last: Option<Pfn>) -> Result<(), Defect> {
        let mut count = 0;
        while let Some(pfn) = last {
            let page = self.zones.map().page(pfn).ok_or(Defect)?;
            let before = page.private();
            last = (before != mm::memmap::NO_FRAME).then_some(Pfn::new(before));
            page.set_private(0);
            self.zones.free_pages(pfn, Order::ZERO).map_err(|_| Defect)?;
            count += 1;
            if count % STRIDE == 0 {
                self.pour()?;
            }
        }
        self.pour()
    }

    /// Writes down what happened since the last time.
    pub(super) fn pour(&mut self) -> Result<(), Defect> {
        let end = self.ring.written();
        for number in self.next..end {
            let event = self.ring.read(number).ok_or_else(|| defect("an event is lost: the ring is too small"))?;
            if counts(&event) {
                self.words(event.words())?;
            }
        }
        self.next = end;
        Ok(())
    }

    /// Ends the trace and writes down what is free.
    pub(super) fn end(mut self) -> Result<(), Defect> {
        self.zones.drain_local();
        self.pour()?;
        self.zones.set_hooks(Hooks::TRACE, false);
        if !self.zones.register_shrinker(self.vm) {
            return Err(defect("vmalloc's shrinker has lost its place"));
        }
        size_pagesets(self.zones, |zone| self.sizes.get(zone).copied().unwrap_or(PagesetSize::BOOT))?;
        self.word(END)?;
        for zone in self.zones.zones() {
            self.word(zone.stats().counts.free)?;
        }
        self.flush()
    }
}

/// Gives the pagesets of each zone the size that `size` has for its number.
fn size_pagesets(zones: &Zones, size: impl Fn(usize) -> PagesetSize) -> Result<(), Defect> {
    for (number, zone) in zones.zones().iter().enumerate() {
        zones.resize_pagesets(zone.name(), size(number)).map_err(|_| defect("the pagesets cannot be resized"))?;
    }
    Ok(())
}

/// Whether a replay needs the event: the others follow from these.
fn counts(event: &Event) -> bool {
    let what = event.what;
    matches!(
        what,
        What::Request { .. }
            | What::Alloc { .. }
            | What::Failed { .. }
            | What::Free { .. }
            | What::Cut
            | What::DrainLocal
    )
}

/// Takes every page, each a block of its own; they are chained by their private words.
fn take_everything(zones: &Zones) -> Result<Option<Pfn>, Defect> {
    zones.drain_local();
    let mut last = mm::memmap::NO_FRAME;
    for order in (0..=Order::LARGEST.raw()).rev().filter_map(Order::new) {
        while let Ok(block) = zones.alloc_pages(EVERYTHING, order) {
            zones.split_page(block, order).map_err(|_| Defect)?;
            for offset in 0..order.pages() {
                let pfn = Pfn::new(block.raw() + offset);
                zones.map().page(pfn).ok_or(Defect)?.set_private(last);
                last = pfn.raw();
            }
        }
    }
    zones.drain_local();
    let free: u32 = zones.zones().iter().map(|zone| zone.stats().counts.free).sum();
    if free > 0 {
        log::error!("torture: trace: {free} pages could not be taken");
        return Err(Defect);
    }
    Ok((last != mm::memmap::NO_FRAME).then_some(Pfn::new(last)))
}
