//! What must hold after every boot, counted a second time from the tree.
//!
//! Theory.      The tree's RAM is worked out here frame by frame (banks, `linux,usable-memory-range`, `mem=`, what
//!              `highmem=off` drops), and so is what nobody may be given (image, table, tree, initrd, reserve map,
//!              static regions). Then every free page is allocated: each must be RAM that is nobody's, and come once;
//!              RAM that never comes must be someone's. Frames of strangers carry a pattern that must survive.
//! Not here.    The code under test: only the log, the tree's readers and the final state are looked at.

use mm::addr::{PAGE_SIZE, Pfn, PfnRange, PhysAddr, PhysRange};
use mm::gfp::GfpFlags;
use mm::layout::VirtualLayout;
use mm::memblock::Region;
use mm::order::Order;
use mm::page_alloc::ZoneStats;
use mm::paging::regs::TTBR0_S;
use mm::paging::{PageSize, Rules, Tables, audit};
use mm::platform::PhysMap;
use mm::testing::HostIrq;

use super::frames::Marks;
use super::{FakeMachine, Run};
use crate::bring_up::Booted;
use crate::fdt::ValidFdt;
use crate::head::HeadInfo;
use crate::image::ImageLayout;
use crate::info::BootInfo;

/// RAM that the boot may use.
const MEMORY: u8 = 1;
/// Somebody's: never to be given out.
const TAKEN: u8 = 1 << 1;
/// No-map in the frozen map.
const NO_MAP: u8 = 1 << 2;
/// Touched by a reserved region of the frozen map.
const RESERVED: u8 = 1 << 3;
/// In a contiguous-memory area.
const CMA: u8 = 1 << 4;
/// Given out by the allocator.
const GIVEN: u8 = 1 << 5;

/// One past the last frame without LPAE.
const FOUR_GIB: PhysAddr = PhysAddr::new(1 << 32);

/// A frame of a stranger's, with a pattern in it.
#[derive(Clone, Copy, Debug)]
pub struct Canary {
    frame: Pfn,
    owner: Owner,
}

/// Whose frame it is.
#[derive(Clone, Copy, Debug)]
enum Owner {
    /// An entry of the memory-reserve map.
    Map,
    /// A static region of this node.
    Node(&'static str),
    /// The initrd.
    Initrd,
}

/// What a good boot came to, in pages.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Checked {
    /// RAM of the tree that answers.
    pub ram: u32,
    /// The part of it that is in the zones.
    pub present: u32,
    /// What could be allocated; 0 when it was not tried.
    pub given: u32,
}

fn ensure(holds: bool, what: impl FnOnce() -> String) -> Result<(), String> {
    if holds { Ok(()) } else { Err(what()) }
}

/// The byte that fills the canary of `frame`.
fn pattern(frame: Pfn) -> u8 {
    (frame.raw() % 251) as u8 | 1
}

/// Ranges of strangers that the tree names, with their owners.
fn strangers(fdt: &ValidFdt<'static>, info: &BootInfo<'static>) -> Vec<(PhysRange, Owner)> {
    let map = fdt.reserve_map().map(|range| (range, Owner::Map));
    let statics = fdt.reserved_memory().filter(|node| node.compatible != "shared-dma-pool");
    let statics = statics.flat_map(|node| node.reg.map(move |range| (range, Owner::Node(node.name))));
    map.chain(statics).chain(info.initrd.map(|range| (range, Owner::Initrd))).collect()
}

/// Fills a few frames of every stranger's with a pattern.
pub(super) fn plant(
    machine: &FakeMachine,
    head: &HeadInfo,
    image: &ImageLayout,
    fdt: &ValidFdt<'static>,
    info: &BootInfo<'static>,
) -> Vec<Canary> {
    let at = |start: u32, size: u32| {
        let start = PhysAddr::new(u64::from(start));
        PhysRange::new(start, start.saturating_add(u64::from(size)))
    };
    let ours = [image.whole, at(head.table, crate::head::TABLE_SIZE), at(head.dtb, fdt.total_size())];
    let mut planted = Vec::new();
    for (range, owner) in strangers(fdt, info) {
        let frames = range.intersection(PhysRange::new(PhysAddr::ZERO, FOUR_GIB)).whole_frames();
        for part in 0..6_u64 {
            let offset = u64::from(frames.pages().saturating_sub(1)) * part / 5;
            let frame = Pfn::new(frames.start.raw() + u32::try_from(offset).unwrap_or(0));
            let page = PhysRange::new(frame.base(), frame.base().saturating_add(u64::from(PAGE_SIZE)));
            if frames.is_empty() || ours.iter().any(|own| own.overlaps(page)) {
                continue;
            }
            let Some(bytes) = machine.ram.ram.frames_ptr(frame, 1) else { continue };
            // SAFETY: the whole page is fake RAM, and nobody refers to it before the boot.
            unsafe { bytes.write_bytes(pattern(frame), PAGE_SIZE as usize) }
            planted.push(Canary { frame, owner });
        }
    }
    planted
}

impl Run {
    /// Whether the log says that the node's region was refused, or given back.
    fn is_refused(&self, node: &str) -> bool {
        const PHRASES: [&str; 5] = [
            "failed to reserve memory for node",
            "incorrect alignment of CMA region",
            "regions without no-map",
            "is both no-map and reusable",
            "using cmdline CMA params",
        ];
        self.log.iter().any(|line| line.contains(node) && PHRASES.iter().any(|phrase| line.contains(phrase)))
    }

    fn initrd_is_disabled(&self) -> bool {
        self.log.iter().any(|line| line.starts_with("INITRD:"))
    }

    fn stands(&self, owner: Owner) -> bool {
        match owner {
            Owner::Map => true,
            Owner::Node(name) => !self.is_refused(name),
            Owner::Initrd => !self.initrd_is_disabled(),
        }
    }

    /// Holds the finished boot against everything in the module's header.
    ///
    /// # Errors
    /// The first thing that is wrong, or the boot's own error.
    pub fn check(&self) -> Result<Checked, String> {
        let (checked, mut marks) = self.hold()?;
        let booted = self.outcome.as_ref().map_err(ToString::to_string)?;
        let given = exhaust(booted, &mut marks)?;
        self.check_canaries()?;
        Ok(Checked { given, ..checked })
    }

    /// As [`Self::check`], without allocating every page, which is most of the time.
    ///
    /// # Errors
    /// As [`Self::check`].
    pub fn check_state(&self) -> Result<Checked, String> {
        self.check_canaries()?;
        self.hold().map(|(checked, _)| checked)
    }

    /// What can be judged without changing anything.
    fn hold(&self) -> Result<(Checked, Marks), String> {
        let booted = self.outcome.as_ref().map_err(ToString::to_string)?;
        ensure(!self.log.iter().any(|line| line.contains('\n') || line.starts_with("BUG")), || {
            format!("a line of the log is broken: {:#?}", self.log)
        })?;
        validate(booted)?;
        self.check_probes()?;
        let mut marks = Marks::new();
        let ram = self.mark_memory(booted, &mut marks);
        let present = compare_memory(booted, &mut marks)?;
        self.mark_taken(booted, &mut marks);
        self.check_tables(booted, &marks)?;
        for area in self.given_back() {
            marks.remove(area.touched_frames(), RESERVED);
        }
        Ok((Checked { ram, present, given: 0 }, marks))
    }

    /// Whether a static no-map region of the tree has a part of this frame.
    fn is_no_map(&self, frame: Pfn) -> bool {
        let no_map = self.fdt.reserved_memory().filter(|node| node.no_map).flat_map(|node| node.reg);
        { no_map }.any(|range| range.overlaps(one(frame).bytes()))
    }

    /// The frames up to the first that is not there; those that may not be tried count as there. None, if the first
    /// that may be tried is not.
    fn up_to_hole(&self, frames: PfnRange) -> PfnRange {
        let mut tried = frames.iter().filter(|frame| !self.is_no_map(*frame));
        let first = tried.clone().next();
        if first.is_some_and(|first| !self.machine.exists(first)) {
            return PfnRange::default();
        }
        let end = tried.find(|frame| !self.machine.exists(*frame)).unwrap_or(frames.end);
        PfnRange::new(frames.start, end)
    }

    /// Marks the RAM that the boot must have kept; returns the pages of all RAM that the tree has.
    fn mark_memory(&self, booted: &Booted<HostIrq>, marks: &mut Marks) -> u32 {
        const KEPT: u8 = 1 << 7;
        let start = PhysAddr::new(u64::from(self.head.phys_offset));
        let reachable = PhysRange::new(start, FOUR_GIB);
        let there = |range: PhysRange| self.up_to_hole(range.intersection(reachable).whole_frames());
        for bank in self.fdt.memory_banks() {
            marks.add(there(bank.range), MEMORY);
        }
        let ram = marks.iter().filter(|(_, mark)| mark & MEMORY != 0).count();

        let mut usable = { self.info.usable_memory }.filter(|range| !range.is_empty());
        if let Some(first) = usable.next() {
            marks.add(first.whole_frames(), KEPT);
            keep_only(marks, KEPT);
            usable.for_each(|more| marks.add(there(more), MEMORY));
        }
        let window = |arg: &crate::cmdline::MemArg| {
            let from = arg.start.unwrap_or(start);
            PhysRange::new(from, from.saturating_add(arg.size)).intersection(reachable).whole_frames()
        };
        let mem = self.args.mem.as_slice().iter().map(|arg| (window(arg), arg.start.is_some()));
        let mem: Vec<(PfnRange, bool)> = mem.filter(|(window, _)| !window.is_empty()).collect();
        if !mem.is_empty() {
            mem.iter().for_each(|(window, _)| marks.add(*window, KEPT));
            keep_only(marks, KEPT);
            let named = mem.iter().filter(|(_, named)| *named);
            named.for_each(|(window, _)| marks.add(self.up_to_hole(*window), MEMORY));
        }
        if let Some(ignored) = booted.bounds.ignored {
            marks.remove(PhysRange::new(ignored.start, FOUR_GIB).whole_frames(), MEMORY);
        }
        // Regions count by the byte: a frame that a no-map region has in part is nobody's whole frame, as in Linux.
        for region in booted.mm.frozen().memory().iter().filter(|region| region.is_nomap()) {
            for edge in [region.range().start, region.range().end] {
                let partial = PhysRange::new(edge.align_down(u64::from(PAGE_SIZE)), edge);
                marks.remove(partial.touched_frames(), MEMORY);
            }
        }
        u32::try_from(ram).unwrap_or(u32::MAX)
    }

    /// Marks what nobody may be given: by the tree, by the frozen map, and by the areas that are lent.
    fn mark_taken(&self, booted: &Booted<HostIrq>, marks: &mut Marks) {
        for own in [self.image.whole, self.table(), self.dtb()] {
            marks.add(own.touched_frames(), TAKEN);
        }
        for (range, owner) in strangers(&self.fdt, &self.info) {
            if self.stands(owner) {
                marks.add(range.touched_frames(), TAKEN);
            }
        }
        let frozen = booted.mm.frozen();
        for region in frozen.memory().iter().filter(|region| region.is_nomap()) {
            marks.add(region.range().touched_frames(), NO_MAP);
        }
        frozen.reserved().iter().for_each(|region| marks.add(region.range().touched_frames(), RESERVED));
        for area in booted.regions.cma_areas() {
            marks.add(area.range.whole_frames(), CMA);
        }
        marks.add(booted.percpu.chunk.touched_frames(), TAKEN);
    }

    /// The tables: the audit, all of lowmem there and nothing else of it, lent areas as small pages.
    fn check_tables(&self, booted: &Booted<HostIrq>, marks: &Marks) -> Result<(), String> {
        // SAFETY: the boot is over, and nobody writes the table.
        let tables = unsafe { Tables::new(self.machine.ram, self.table().start) }.map_err(|error| error.to_string())?;
        let layout: VirtualLayout = booted.mm.layout();
        let in_image = |range: PhysRange| self.image.whole.overlaps(range) || self.table().overlaps(range);
        let no_map = booted.mm.frozen().memory().iter().filter(|region| region.is_nomap()).map(Region::range);
        let no_map: Vec<PhysRange> = no_map.collect();
        // The image runs where it runs: a no-map region over it has been told of.
        let touches = |range: PhysRange| !in_image(range) && no_map.iter().any(|taken| taken.overlaps(range));
        let areas = layout.areas();
        let rules = Rules { areas: &areas, linear: layout.linear, touches_no_map: &touches };
        audit(&tables, &rules).map_err(|error| format!("tables: {error}"))?;

        for frame in layout.linear.phys_range().whole_frames().iter() {
            let (marks, page) = (marks.of(frame), one(frame).bytes());
            let guard = self.image.guards.iter().any(|guard| guard.overlaps(page));
            let wanted = !guard && (in_image(page) || marks & MEMORY != 0 && marks & NO_MAP == 0);
            let Some(va) = layout.linear.phys_to_virt(page.start) else {
                return Err(format!("{frame} has no address"));
            };
            let found = tables.walk(va).map_err(|error| error.to_string())?;
            ensure(found.is_some() == wanted, || format!("frame {frame} at {va}: mapped {found:?}, marks {marks:#x}"))?;
            let shareable = self.head.ttbr0 & TTBR0_S != 0;
            ensure(found.is_none_or(|found| found.prot.shareable == shareable), || {
                format!("frame {frame} at {va}: not as shareable as TTBR0 says: {found:?}")
            })?;
            let small = found.is_none_or(|found| found.size == PageSize::Small);
            ensure(small || marks & CMA == 0, || format!("frame {frame} is lent but not a small page"))?;
        }
        Ok(())
    }

    /// Contiguous-memory areas that could not be lent, by the log: they are ordinary memory.
    fn given_back(&self) -> impl Iterator<Item = PhysRange> + '_ {
        let lines =
            self.log.iter().filter(|line| line.starts_with("CMA area") && line.contains("could not be activated"));
        lines.filter_map(|line| {
            let (start, end) = line.split_once("[mem 0x")?.1.split_once(']')?.0.split_once("-0x")?;
            let address = |text| u64::from_str_radix(text, 16).ok().map(PhysAddr::new);
            Some(PhysRange::new(address(start)?, address(end)?.saturating_add(1)))
        })
    }

    /// What strangers had in their frames is still there.
    fn check_canaries(&self) -> Result<(), String> {
        for canary in self.canaries.iter().filter(|canary| self.stands(canary.owner)) {
            let bytes = self.machine.ram.page(canary.frame).unwrap_or([0; PAGE_SIZE as usize]);
            let whole = bytes.iter().all(|byte| *byte == pattern(canary.frame));
            ensure(whole, || format!("frame {} of {:?} was written", canary.frame, canary.owner))?;
        }
        let dtb = self.dtb();
        for frame in dtb.touched_frames().iter() {
            let bytes = self.machine.ram.page(frame).ok_or("the tree is not in RAM")?;
            let start = frame.base().raw().max(dtb.start.raw());
            let end = (frame.base().raw() + u64::from(PAGE_SIZE)).min(dtb.end.raw());
            let index = |address: u64, base: u64| usize::try_from(address - base).unwrap_or(0);
            let here = bytes.get(index(start, frame.base().raw())..index(end, frame.base().raw()));
            let there = self.tree_bytes().get(index(start, dtb.start.raw())..index(end, dtb.start.raw()));
            ensure(here == there, || format!("the tree's frame {frame} was written"))?;
        }
        Ok(())
    }

    /// No probe wrote to a no-map region of the tree, which may be somebody else's.
    fn check_probes(&self) -> Result<(), String> {
        let no_map = self.fdt.reserved_memory().filter(|node| node.no_map && !self.is_refused(node.name));
        let no_map: Vec<PhysRange> = no_map.flat_map(|node| node.reg).collect();
        for frame in self.machine.probes.borrow().iter() {
            let page = one(*frame).bytes();
            ensure(!no_map.iter().any(|range| range.overlaps(page)), || format!("no-map frame {frame} was probed"))?;
            ensure(!self.image.whole.overlaps(page), || format!("frame {frame} of the running image was probed"))?;
            ensure(!self.table().overlaps(page), || format!("frame {frame} of the table in use was probed"))?;
        }
        Ok(())
    }
}

fn one(frame: Pfn) -> PfnRange {
    PfnRange::new(frame, Pfn::new(frame.raw() + 1))
}

/// Takes `MEMORY` from what is not marked `kept`, and that mark from all.
fn keep_only(marks: &mut Marks, kept: u8) {
    let all = PfnRange::new(Pfn::new(0), Pfn::new(1 << 20));
    let lost: Vec<Pfn> = marks.iter().filter(|(_, mark)| mark & kept == 0).map(|(frame, _)| frame).collect();
    lost.into_iter().for_each(|frame| marks.remove(one(frame), MEMORY));
    marks.remove(all, kept);
}

/// Every `validate()`.
fn validate(booted: &Booted<HostIrq>) -> Result<(), String> {
    booted.mm.validate().map(|_| ()).map_err(|error| error.to_string())
}

/// The frozen map and the zones have exactly the frames that are marked; returns how many.
fn compare_memory(booted: &Booted<HostIrq>, marks: &mut Marks) -> Result<u32, String> {
    const FROZEN: u8 = 1 << 7;
    let frozen = booted.mm.frozen();
    frozen.memory().iter().for_each(|region| marks.add(region.range().whole_frames(), FROZEN));
    let differs = marks.iter().find(|(_, mark)| (mark & MEMORY != 0) != (mark & FROZEN != 0));
    ensure(differs.is_none(), || format!("frame {differs:x?} of the tree and of memblock: {:x?}", frozen.memory()))?;
    let map = booted.mm.allocator().map();
    let absent = marks.iter().find(|(frame, mark)| (mark & MEMORY != 0) != map.is_present(*frame));
    ensure(absent.is_none(), || format!("frame {absent:x?} of the tree and of the zones"))?;
    let count = u32::try_from(marks.iter().filter(|(_, mark)| mark & MEMORY != 0).count()).unwrap_or(u32::MAX);
    let present = booted.mm.allocator().zones().iter().map(|zone| zone.stats().present).sum::<u32>();
    ensure(count == present, || format!("the tree keeps {count} pages, the zones {present}"))?;
    marks.remove(PfnRange::new(Pfn::new(0), Pfn::new(1 << 20)), FROZEN);
    Ok(count)
}

/// The zones' numbers with nothing in this CPU's pagesets.
fn drained(booted: &Booted<HostIrq>) -> Vec<ZoneStats> {
    booted.mm.allocator().drain_local();
    booted.mm.allocator().zones().iter().map(|zone| zone.stats()).collect()
}

/// Allocates every page, judges each, frees them all; returns how many there were.
fn exhaust(booted: &Booted<HostIrq>, marks: &mut Marks) -> Result<u32, String> {
    let allocator = booted.mm.allocator();
    let before = drained(booted);
    let mut pages: Vec<Pfn> = Vec::new();
    for gfp in
        [GfpFlags::GFP_HIGHUSER_MOVABLE, GfpFlags::GFP_ATOMIC, GfpFlags::GFP_HIGHUSER_MOVABLE | GfpFlags::MEMALLOC]
    {
        while let Ok(page) = allocator.alloc_pages(gfp, Order::ZERO) {
            let mark = marks.of(page);
            ensure(mark & MEMORY != 0, || format!("page {page} is no RAM"))?;
            ensure(mark & GIVEN == 0, || format!("page {page} was given twice"))?;
            ensure(mark & NO_MAP == 0 && (mark & TAKEN == 0 || mark & CMA != 0), || {
                format!("page {page} is somebody's")
            })?;
            marks.add(one(page), GIVEN);
            pages.push(page);
        }
    }
    validate(booted)?;
    let given = u32::try_from(pages.len()).unwrap_or(u32::MAX);
    // Without grouping nobody asks for movable pages, and what is lent waits for its device alone.
    let lent = |zone: &ZoneStats| if allocator.grouping() { 0 } else { zone.counts.cma };
    let free = before.iter().map(|zone| zone.counts.free - lent(zone)).sum::<u32>();
    ensure(free == given, || format!("{free} pages were free, {given} could be allocated"))?;
    compare_given(booted, &before, marks)?;
    // Odd ones last, so that nothing merges until then.
    let (even, odd): (Vec<Pfn>, Vec<Pfn>) = pages.into_iter().partition(|page| page.raw() % 2 == 0);
    for page in even.into_iter().chain(odd) {
        allocator.free_pages(page, Order::ZERO).map_err(|error| error.to_string())?;
    }
    let after = drained(booted);
    ensure(before == after, || format!("the counts were {before:?} and are {after:?}"))?;
    validate(booted)?;
    Ok(given)
}

/// What was given is RAM without an owner, and nearly all of it: the rest is what the allocator itself uses.
fn compare_given(booted: &Booted<HostIrq>, stats: &[ZoneStats], marks: &Marks) -> Result<(), String> {
    let count = |test: &dyn Fn(u8) -> bool| {
        u32::try_from(marks.iter().filter(|(_, mark)| mark & MEMORY != 0 && test(*mark)).count()).unwrap_or(u32::MAX)
    };
    let retired = count(&|mark| mark & (RESERVED | CMA | GIVEN) == RESERVED | GIVEN);
    // Of memblock's old arrays some may be pagesets now.
    let all_retired = booted.mm.totals().retired;
    ensure(retired <= all_retired, || format!("{retired} reserved pages came, {all_retired} were memblock's arrays"))?;
    let kept = count(&|mark| mark & GIVEN == 0 && (mark & CMA != 0 || mark & (RESERVED | NO_MAP) == 0));
    let lent = if booted.mm.allocator().grouping() { 0 } else { stats.iter().map(|zone| zone.counts.cma).sum() };
    let allocated = lent + stats.iter().map(|zone| zone.allocated).sum::<u32>();
    ensure(kept + all_retired - retired == allocated, || {
        format!("{kept} pages are nobody's and did not come; {allocated} are allocated")
    })
}
