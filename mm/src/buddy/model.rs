//! A bitmap that knows which page is whose, random operations, and the invariants after each of them.

mod stress;

use std::boxed::Box;
use std::vec;
use std::vec::Vec;

use core::mem::MaybeUninit;
use core::sync::atomic::{AtomicU8, AtomicU32};

use proptest::prelude::*;

use super::*;
use crate::addr::NodeId;
use crate::memmap::{FrameRun, Page};
use crate::testing::{HostIrq, scaled};
use crate::zone::ZoneType;

pub(crate) const NORMAL: ZoneTag = ZoneTag::new(NodeId::ZERO, ZoneType::Normal);
pub(crate) const HIGH: ZoneTag = ZoneTag::new(NodeId::ZERO, ZoneType::HighMem);

pub(crate) fn range(start: u32, end: u32) -> PfnRange {
    PfnRange::new(Pfn::new(start), Pfn::new(end))
}

pub(crate) fn order(raw: u8) -> Order {
    Order::new(raw).unwrap()
}

/// Linux's and everyone's small generator, shifts 13, 17, 5.
#[derive(Debug)]
pub(crate) struct XorShift(pub(crate) u32);

impl XorShift {
    pub(crate) fn next(&mut self) -> u32 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 17;
        self.0 ^= self.0 << 5;
        self.0
    }

    pub(crate) fn below(&mut self, bound: u32) -> u32 {
        self.next() % bound
    }

    pub(crate) fn pick(&mut self, len: usize) -> usize {
        self.next() as usize % len
    }
}

/// A map of `runs`; its memory is never given back, which the tests can afford.
pub(crate) fn map_of(runs: &[FrameRun]) -> MemMap<'static> {
    let span = range(runs[0].frames.start.raw(), runs[runs.len() - 1].frames.end.raw());
    let pages = MemMap::coverage(span).pages() as usize;
    let storage: Vec<MaybeUninit<Page>> = (0..pages).map(|_| MaybeUninit::uninit()).collect();
    MemMap::init(Box::leak(storage.into_boxed_slice()), span, runs.iter().copied()).unwrap()
}

/// A zone's frames out of `map`, every pageblock movable.
pub(crate) fn zone_of(map: MemMap<'static>, zone: ZoneTag, span: PfnRange) -> ZoneFrames<'static> {
    let types = Box::leak((0..Usemap::bytes_for(span)).map(|_| AtomicU8::new(0)).collect());
    let usemap = Usemap::new(types, span, MigrateType::Movable).unwrap();
    ZoneFrames { map, zone, span, usemap, trace: None }
}

/// A core over storage that is never given back.
pub(crate) fn core_over<C: FreeCore<'static>>(frames: ZoneFrames<'static>, options: CoreOptions) -> C {
    C::new(frames, options, vec![u32::MAX; C::words_for(frames.span)].leak()).unwrap()
}

/// Gives all of `frames` to the core in its largest blocks.
pub(crate) fn give_all<'m>(core: &mut impl FreeCore<'m>, frames: PfnRange) {
    let mut pfn = frames.start;
    while let Some(order) = Order::largest_at(pfn, frames.end.pages_since(pfn)) {
        core.give(pfn, order).unwrap();
        pfn = pfn.checked_add(order.pages()).unwrap();
    }
}

/// A trace that is on; its memory is never given back.
pub(crate) fn ring() -> &'static TraceRing<'static> {
    let words: Vec<AtomicU32> = (0..64).map(|_| AtomicU32::new(0)).collect();
    let ring = Box::leak(Box::new(TraceRing::new::<HostIrq>(words.leak()).unwrap()));
    ring.set_on(true);
    ring
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Cell {
    /// Not this core's: a hole, another zone, reserved.
    Foreign,
    Free,
    Taken,
}

struct Model<C> {
    core: C,
    base: u32,
    cells: Vec<Cell>,
    live: Vec<(Pfn, Order)>,
    rng: XorShift,
}

impl<C: FreeCore<'static>> Model<C> {
    fn new(frames: ZoneFrames<'static>, parts: &[PfnRange], options: CoreOptions, seed: u32) -> Self {
        let mut core: C = core_over(frames, options);
        let span = frames.map.span();
        let mut cells = vec![Cell::Foreign; span.pages() as usize];
        for part in parts {
            give_all(&mut core, *part);
            part.iter().for_each(|pfn| cells[pfn.pages_since(span.start) as usize] = Cell::Free);
        }
        Self { core, base: span.start.raw(), cells, live: Vec::new(), rng: XorShift(seed | 1) }
    }

    fn cells_of(&mut self, pfn: Pfn, order: Order) -> &mut [Cell] {
        let start = (pfn.raw() - self.base) as usize;
        &mut self.cells[start..start + order.pages() as usize]
    }

    /// Whether the bitmap has an aligned run that a request of `kind` may have.
    fn could_serve(&self, order: Order, kind: MigrateType) -> bool {
        let usemap = self.core.frames().usemap;
        let chunks = (self.base..).step_by(order.pages() as usize).zip(self.cells.chunks_exact(order.pages() as usize));
        let mut free = chunks.filter(|(_, chunk)| chunk.iter().all(|cell| *cell == Cell::Free));
        free.any(|(pfn, _)| match usemap.get(Pfn::new(pfn)) {
            MigrateType::Isolate => false,
            MigrateType::Cma => kind == MigrateType::Movable,
            _ => true,
        })
    }

    fn take(&mut self, guards: bool) {
        // Small orders are common, as in life: the number of trailing ones of a random number.
        let order = order(self.rng.next().trailing_ones().min(10) as u8);
        let kind = MigrateType::ALL[self.rng.below(3) as usize];
        match self.core.take(order, kind, Holder::Caller(kind)) {
            Some(pfn) => {
                assert!(order.aligns(pfn));
                let cells = self.cells_of(pfn, order);
                assert!(cells.iter().all(|cell| *cell == Cell::Free), "{pfn} is handed out twice");
                cells.fill(Cell::Taken);
                self.live.push((pfn, order));
            }
            // What a change has not reached yet may still be isolated.
            None => assert!(
                guards || self.core.is_moving() || !self.could_serve(order, kind),
                "a block of order {order:?} was free"
            ),
        }
    }

    fn give(&mut self) {
        if self.live.is_empty() {
            return;
        }
        let victim = self.rng.pick(self.live.len());
        let (pfn, order) = self.live.swap_remove(victim);
        self.core.give(pfn, order).unwrap();
        self.cells_of(pfn, order).fill(Cell::Free);
    }

    fn retype(&mut self) {
        let frames = *self.core.frames();
        let pfn = Pfn::new(frames.span.start.raw() + self.rng.below(frames.span.pages()));
        let kind = [MigrateType::Isolate, MigrateType::Movable, MigrateType::Cma][self.rng.below(3) as usize];
        // Begun, and gone on with between other operations; or at once.
        if self.rng.below(2) == 0 {
            self.core.start_move(pfn, kind);
        } else {
            self.core.set_block_type(pfn, kind);
            assert!(!self.core.is_moving());
        }
    }

    /// Counts of the core, of the states and of the bitmap are the same.
    fn check(&self) {
        let tally = self.core.validate().unwrap();
        let cells = |wanted| self.cells.iter().map(|cell| u32::from(*cell == wanted)).sum();
        let free: u32 = cells(Cell::Free);
        assert_eq!(tally.free + tally.isolated + tally.guard, free);
        assert_eq!(tally.allocated, cells(Cell::Taken));
    }

    fn run(&mut self, steps: u32, guards: bool) {
        let mut filling = true;
        for step in 0..steps {
            // Long tides from nearly empty to nearly full and back.
            if self.rng.below(256) == 0 {
                filling = !filling;
            }
            match self.rng.below(8) {
                0 if step % 64 == 0 => self.retype(),
                0..=4 if filling => self.take(guards),
                0..=4 => self.give(),
                5 => self.take(guards),
                _ => self.give(),
            }
            if self.rng.below(8) == 0 {
                self.core.move_some();
            }
            self.check();
        }
        while self.core.move_some().is_some() {}
        self.check();
        let before = self.core.counts();
        while !self.live.is_empty() {
            self.give();
        }
        self.check();
        let after = self.core.counts();
        assert!(after.free + after.isolated >= before.free + before.isolated && after.guard == 0);
    }
}

/// Two zones that meet inside a block, a hole, a reserved frame: the Normal zone is under test.
fn geometry(first: u32, pages: u32) -> (ZoneFrames<'static>, [PfnRange; 2]) {
    let end = first + pages;
    let hole = first + pages / 3;
    let map = map_of(&[
        FrameRun { frames: range(first, hole), zone: NORMAL },
        FrameRun { frames: range(hole + 13, end), zone: NORMAL },
        FrameRun { frames: range(end, end + 100), zone: HIGH },
    ]);
    let mut high: Classic<'_> = core_over(zone_of(map, HIGH, range(end, end + 100)), CoreOptions::default());
    give_all(&mut high, range(end, end + 100));
    // The first frame of the zone stays reserved.
    (zone_of(map, NORMAL, range(first, end)), [range(first + 1, hole), range(hole + 13, end)])
}

fn random_operations<C: FreeCore<'static>>(cases: u32, steps: u32, guard_minorder: u8) {
    let config = ProptestConfig { cases, failure_persistence: None, ..ProptestConfig::default() };
    proptest!(config, |(first in 0u32..3000, pages in 64u32..1500, seed: u32)| {
        let (frames, parts) = geometry(first, pages);
        let options = CoreOptions { guard_minorder: order(guard_minorder), ..CoreOptions::default() };
        Model::<C>::new(frames, &parts, options, seed).run(steps, guard_minorder > 0);
    });
}

#[test]
fn random_operations_agree_with_a_bitmap_and_keep_every_invariant() {
    // 200 arenas of 10,000 steps: two million.
    random_operations::<Classic<'static>>(scaled(200), 10_000, 0);
}

#[test]
fn random_operations_on_the_compact_core_agree_with_a_bitmap_and_keep_every_invariant() {
    random_operations::<Compact<'static>>(scaled(200), 10_000, 0);
}

#[test]
fn random_operations_with_guard_pages_lose_nothing() {
    random_operations::<Classic<'static>>(scaled(10), 2_000, 3);
    random_operations::<Compact<'static>>(scaled(10), 2_000, 3);
}

fn large_arena<C: FreeCore<'static>>() {
    let (frames, parts) = geometry(700, 8_000);
    Model::<C>::new(frames, &parts, CoreOptions::default(), 0x1234_5678).run(scaled(10_000), false);
}

#[test]
fn random_operations_on_a_large_arena_agree_with_a_bitmap() {
    large_arena::<Classic<'static>>();
    large_arena::<Compact<'static>>();
}
