//! The page allocator over two zones and two CPUs, with either core, against a list of who has what.

use std::collections::BTreeMap;
use std::mem::MaybeUninit;
use std::sync::atomic::AtomicU32;

use mm::addr::{NodeId, Pfn, PfnRange};
use mm::buddy::{Classic, Compact, FreeCore};
use mm::gfp::GfpFlags;
use mm::memmap::MemMap;
use mm::order::Order;
use mm::page_alloc::{Needs, Options, PageAllocator, Pageset, PagesetSize, Storage, frame_runs};
use mm::sync::{CpuId, set_host_cpu};
use mm::testing::HostIrq;
use mm::zone::{NodePlan, ZoneRef, ZoneSize, ZoneType, Zonelist};

use super::Choices;

const NORMAL: ZoneRef = ZoneRef { node: NodeId::ZERO, zone: ZoneType::Normal };
const HIGH: ZoneRef = ZoneRef { node: NodeId::ZERO, zone: ZoneType::HighMem };
const CPUS: u32 = 2;
/// Flags that a request may have.
const GFP: [GfpFlags; 7] = [
    GfpFlags::GFP_KERNEL,
    GfpFlags::GFP_ATOMIC,
    GfpFlags::GFP_TEMPORARY,
    GfpFlags::GFP_HIGHUSER,
    GfpFlags::GFP_HIGHUSER_MOVABLE,
    GfpFlags::GFP_KERNEL.union(GfpFlags::COLD),
    GfpFlags::GFP_DMA,
];

fn range(start: u32, end: u32) -> PfnRange {
    PfnRange::new(Pfn::new(start), Pfn::new(end))
}

/// Two zones that meet inside a pageblock, the upper one with a hole.
fn plan() -> (NodePlan, [PfnRange; 2]) {
    let mut zones = [ZoneSize::default(); 4];
    zones[ZoneType::Normal.index()] = ZoneSize { span: range(0x400, 0xa00), present: 0x600, real_size: 0x600 };
    zones[ZoneType::HighMem.index()] =
        ZoneSize { span: range(0xa00, 0xe00), present: 0x400 - 100, real_size: 0x400 - 100 };
    let memory = [range(0x400, 0xc00), range(0xc00 + 100, 0xe00)];
    (NodePlan { node: NodeId::ZERO, span: range(0x400, 0xe00), zones }, memory)
}

fn uninit<T>(count: usize) -> Vec<MaybeUninit<T>> {
    let mut storage = Vec::new();
    storage.resize_with(count, MaybeUninit::uninit);
    storage
}

fn order(choices: &mut Choices<'_>) -> Order {
    // Small orders are common, as in life.
    let raw = (choices.below(1 << 16) | 1 << 11).trailing_zeros().min(10);
    u8::try_from(raw).ok().and_then(Order::new).unwrap_or(Order::ZERO)
}

/// The allocator, and the blocks that callers have: first frame to order.
struct Model<'a, 'm, C> {
    zones: &'a PageAllocator<'m, HostIrq, C>,
    live: BTreeMap<u32, Order>,
}

impl<'m, C: FreeCore<'m>> Model<'_, 'm, C> {
    fn taken(&mut self, pfn: Pfn, order: Order) {
        assert!(order.aligns(pfn));
        let end = pfn.raw() + order.pages();
        let below = self.live.range(..end).next_back();
        assert!(below.is_none_or(|(start, order)| start + order.pages() <= pfn.raw()), "{pfn} is handed out twice");
        self.live.insert(pfn.raw(), order);
    }

    /// A block that somebody has.
    fn victim(&self, choices: &mut Choices<'_>) -> Option<(Pfn, Order)> {
        let at = choices.below(self.live.len() as u32) as usize;
        self.live.iter().nth(at).map(|(pfn, order)| (Pfn::new(*pfn), *order))
    }

    /// Frees what is nobody's, or not so: all of it must be refused, and change nothing.
    fn wrong_free(&self, choices: &mut Choices<'_>) {
        let pfn = Pfn::new(0x3f0 + choices.below(0xa20));
        let order = order(choices);
        if self.live.get(&pfn.raw()) != Some(&order) {
            assert!(self.zones.free_pages(pfn, order).is_err(), "{pfn} of {order:?} is nobody's to free");
        }
    }

    fn step(&mut self, choices: &mut Choices<'_>) {
        set_host_cpu(CpuId::new(choices.below(CPUS)));
        let gfp = choices.pick(&GFP);
        match choices.below(10) {
            0..=2 => {
                let order = order(choices);
                if let Ok(pfn) = self.zones.alloc_pages(gfp, order) {
                    self.taken(pfn, order);
                }
            }
            3 => {
                let mut out = vec![Pfn::new(0); choices.below(50) as usize];
                let got = self.zones.alloc_pages_bulk(gfp, &mut out).unwrap_or(0);
                out.iter().take(got).for_each(|pfn| self.taken(*pfn, Order::ZERO));
            }
            4 => self.wrong_free(choices),
            5 => {
                if let Some((pfn, order)) = self.victim(choices) {
                    self.zones.split_page(pfn, order).unwrap();
                    self.live.remove(&pfn.raw());
                    (0..order.pages()).for_each(|i| self.taken(Pfn::new(pfn.raw() + i), Order::ZERO));
                }
            }
            6 => self.zones.drain_local(),
            7 => {
                if let Some((pfn, _)) = self.victim(choices) {
                    self.zones.get_page(pfn).unwrap();
                    self.zones.put_page(pfn).unwrap();
                }
            }
            _ => {
                if let Some((pfn, order)) = self.victim(choices) {
                    self.zones.free_pages(pfn, order).unwrap();
                    self.live.remove(&pfn.raw());
                }
            }
        }
    }

    /// Every invariant holds, and callers have what the list says.
    fn check(&self) {
        let tally = self.zones.validate().unwrap();
        let live: u32 = self.live.values().map(|order| order.pages()).sum();
        assert_eq!(tally.allocated, live);
        let stats = self.zones.zones().iter().map(|zone| zone.stats());
        let managed: u32 = stats.map(|zone| zone.managed).sum();
        assert_eq!(managed, tally.free + tally.isolated + tally.guard + tally.pageset + tally.allocated);
    }
}

fn drive<C: for<'m> Family<'m>>(choices: &mut Choices<'_>) {
    let (plan, memory) = plan();
    let plans = [plan];
    let mut pages = uninit(MemMap::coverage(plan.span).pages() as usize);
    let runs = memory.iter().map(|frames| (*frames, plan.node));
    let map = MemMap::init(&mut pages, plan.span, frame_runs(&plans, runs)).unwrap();
    let needs = Needs::of::<<C as Family<'_>>::Core>(&plans);
    let (mut zones, mut usemap, mut words) =
        (uninit(needs.zones), uninit(needs.usemap_bytes), uninit(needs.core_words));
    let storage = Storage { zones: &mut zones, usemap_bytes: &mut usemap, core_words: &mut words };
    let mut zonelist = Zonelist::default();
    assert!(zonelist.push(HIGH) && zonelist.push(NORMAL));
    let slots: Vec<AtomicU32> = (0..Pageset::SLOTS * 4).map(|_| AtomicU32::new(0)).collect();
    let size = PagesetSize { high: 42, batch: 7 };
    let sets: Vec<Pageset<'_>> =
        slots.chunks_exact(Pageset::SLOTS).map(|slots| Pageset::new(slots, size).unwrap()).collect();
    let mut allocator: PageAllocator<'_, HostIrq, <C as Family<'_>>::Core> =
        PageAllocator::new(map, &plans, &[zonelist], storage, Options::default()).unwrap();
    let (normal, high) = sets.split_at(CPUS as usize);
    allocator.free_all(memory, []).unwrap();
    allocator.install_pagesets(NORMAL, normal).unwrap();
    allocator.install_pagesets(HIGH, high).unwrap();

    let before = allocator.validate().unwrap();
    let mut model = Model { zones: &allocator, live: BTreeMap::new() };
    while !choices.is_empty() {
        model.step(choices);
        model.check();
    }
    for (pfn, order) in std::mem::take(&mut model.live) {
        allocator.free_pages(Pfn::new(pfn), order).unwrap();
    }
    for cpu in 0..CPUS {
        set_host_cpu(CpuId::new(cpu));
        allocator.drain_local();
    }
    set_host_cpu(CpuId::default());
    let after = allocator.validate().unwrap();
    assert_eq!((after.free + after.pageset, after.allocated), (before.free + before.pageset, 0), "something is lost");
}

/// A core for every lifetime.
trait Family<'m> {
    type Core: FreeCore<'m>;
}

struct ClassicCore;
struct CompactCore;

impl<'m> Family<'m> for ClassicCore {
    type Core = Classic<'m>;
}

impl<'m> Family<'m> for CompactCore {
    type Core = Compact<'m>;
}

/// Requests and frees, right and wrong ones.
pub(super) fn run(data: &[u8]) {
    let mut choices = Choices::new(data);
    if choices.flag() { drive::<CompactCore>(&mut choices) } else { drive::<ClassicCore>(&mut choices) }
}
