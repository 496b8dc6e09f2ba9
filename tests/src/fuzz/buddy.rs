//! Both free-list cores against a bitmap.

use std::mem::MaybeUninit;
use std::sync::atomic::AtomicU8;

use mm::addr::{NodeId, Pfn, PfnRange};
use mm::buddy::{Classic, Compact, CoreOptions, FreeCore, Holder, Wanted, ZoneFrames};
use mm::memmap::{FrameRun, MemMap, Page, Usemap, ZoneTag};
use mm::migrate::MigrateType;
use mm::order::Order;
use mm::zone::ZoneType;

use super::Choices;

const ZONE: ZoneTag = ZoneTag::new(NodeId::ZERO, ZoneType::Normal);

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Cell {
    /// A hole.
    Foreign,
    Free,
    Taken,
}

struct Model<C> {
    core: C,
    base: u32,
    cells: Vec<Cell>,
    /// Blocks that were taken; pages of a bulk are blocks of order 0.
    live: Vec<(Pfn, Order)>,
    guards: bool,
}

fn order(raw: u32) -> Order {
    u8::try_from(raw).ok().and_then(Order::new).unwrap_or(Order::ZERO)
}

impl<'m, C: FreeCore<'m>> Model<C> {
    fn cells(&mut self, pfn: Pfn, order: Order) -> &mut [Cell] {
        let start = (pfn.raw() - self.base) as usize;
        &mut self.cells[start..start + order.pages() as usize]
    }

    fn taken(&mut self, pfn: Pfn, order: Order) {
        assert!(order.aligns(pfn));
        let cells = self.cells(pfn, order);
        assert!(cells.iter().all(|cell| *cell == Cell::Free), "{pfn} is handed out twice");
        cells.fill(Cell::Taken);
        self.live.push((pfn, order));
    }

    /// Whether the bitmap has an aligned run that a request of `kind` may have.
    fn could_serve(&self, order: Order, kind: MigrateType) -> bool {
        let usemap = self.core.frames().usemap;
        let pages = order.pages();
        let end = self.base + self.cells.len() as u32;
        let mut starts = (self.base.next_multiple_of(pages)..end).step_by(pages as usize);
        starts.any(|start| {
            let at = (start - self.base) as usize;
            let run = self.cells.get(at..at + pages as usize).unwrap_or_default();
            let may = match usemap.get(Pfn::new(start)) {
                MigrateType::Isolate => false,
                MigrateType::Cma => kind == MigrateType::Movable,
                _ => true,
            };
            may && !run.is_empty() && run.iter().all(|cell| *cell == Cell::Free)
        })
    }

    fn step(&mut self, choices: &mut Choices<'_>) {
        match choices.below(8) {
            0..=2 => {
                let (order, kind) = (order(choices.below(11)), MigrateType::ALL[choices.below(3) as usize]);
                match self.core.take(order, kind, Holder::Caller(kind)) {
                    Some(pfn) => self.taken(pfn, order),
                    None => assert!(self.guards || !self.could_serve(order, kind), "{order:?} was free"),
                }
            }
            3 => {
                let (least, kind) = (choices.below(40), MigrateType::ALL[choices.below(3) as usize]);
                let wanted = Wanted { least, most: least + choices.below(40) };
                let order = order(choices.below(4));
                let holder = choices.pick(&[Holder::Pageset, Holder::Caller(kind)]);
                let mut blocks = Vec::new();
                let each = |first: Pfn, count| {
                    blocks.extend((0..count).map(|at| Pfn::new(first.raw() + (at << order.log2()))));
                };
                let told = self.core.take_many(order, wanted, kind, holder, each);
                assert_eq!(told as usize, blocks.len());
                assert!(told <= wanted.most);
                blocks.into_iter().for_each(|pfn| self.taken(pfn, order));
            }
            4..=6 if !self.live.is_empty() => {
                let at = choices.below(self.live.len() as u32) as usize;
                let (pfn, order) = self.live.swap_remove(at);
                self.give(pfn, order);
            }
            _ => {
                let frames = *self.core.frames();
                let pfn = Pfn::new(frames.span.start.raw() + choices.below(frames.span.pages()));
                let kind = choices.pick(&[MigrateType::Isolate, MigrateType::Movable, MigrateType::Cma]);
                self.core.set_block_type(pfn, kind);
            }
        }
    }

    fn give(&mut self, pfn: Pfn, order: Order) {
        self.core.give(pfn, order).unwrap();
        self.cells(pfn, order).fill(Cell::Free);
    }

    /// Counts of the core, of the states and of the bitmap are the same.
    fn check(&self) {
        let tally = self.core.validate().unwrap();
        let cells = |wanted| self.cells.iter().map(|cell| u32::from(*cell == wanted)).sum::<u32>();
        assert_eq!(tally.free + tally.isolated + tally.guard, cells(Cell::Free));
        assert_eq!(tally.allocated + tally.pageset, cells(Cell::Taken));
    }
}

/// Gives `parts` to a core, then takes and gives as `choices` say; at the end all of it is free again.
fn drive<'m, C: FreeCore<'m>>(
    zone: ZoneFrames<'m>,
    words: &'m mut [u32],
    parts: [PfnRange; 2],
    guard_minorder: Order,
    choices: &mut Choices<'_>,
) {
    let core = C::new(zone, CoreOptions { guard_minorder, ..CoreOptions::default() }, words).unwrap();
    let cells = vec![Cell::Foreign; zone.span.pages() as usize];
    let guards = guard_minorder > Order::ZERO;
    let mut model = Model { core, base: zone.span.start.raw(), cells, live: Vec::new(), guards };
    for part in parts {
        let mut pfn = part.start;
        while let Some(order) = Order::largest_at(pfn, part.end.pages_since(pfn)) {
            model.give(pfn, order);
            pfn = pfn.checked_add(order.pages()).unwrap();
        }
    }
    model.check();
    let all = model.core.validate().unwrap();
    while !choices.is_empty() {
        model.step(choices);
        model.check();
    }
    while let Some((pfn, order)) = model.live.pop() {
        model.give(pfn, order);
    }
    let tally = model.core.validate().unwrap();
    assert_eq!((tally.free + tally.isolated, tally.guard), (all.free, 0), "something is lost");
}

/// A zone with a hole in it, from a frame and of a size of choice.
pub(super) fn run(data: &[u8]) {
    let mut choices = Choices::new(data);
    let (first, pages) = (choices.below(3000), 64 + choices.below(2500));
    let hole = first + pages / 3;
    let frames = |start, end| PfnRange::new(Pfn::new(start), Pfn::new(end));
    let parts = [frames(first, hole), frames(hole + 13, first + pages)];
    let span = frames(first, first + pages);
    let mut storage: Vec<MaybeUninit<Page>> = Vec::new();
    storage.resize_with(MemMap::coverage(span).pages() as usize, MaybeUninit::uninit);
    let map = MemMap::init(&mut storage, span, parts.map(|frames| FrameRun { frames, zone: ZONE })).unwrap();
    let types: Vec<AtomicU8> = (0..Usemap::bytes_for(span)).map(|_| AtomicU8::new(0)).collect();
    let usemap = Usemap::new(&types, span, MigrateType::Movable).unwrap();
    let zone = ZoneFrames { map, zone: ZONE, span, usemap, trace: None };
    let guards = order(choices.pick(&[0, 0, 0, 3]));
    if choices.flag() {
        let mut words = vec![u32::MAX; Compact::words_for(span)];
        drive::<Compact<'_>>(zone, &mut words, parts, guards, &mut choices);
    } else {
        let mut words = vec![u32::MAX; Classic::words_for(span)];
        drive::<Classic<'_>>(zone, &mut words, parts, guards, &mut choices);
    }
}
