//! The whole allocator against a bitmap: nodes, zones, CPUs, types, flags, single blocks and many at once, failures on
//! purpose; every invariant after each step.

use std::vec;
use std::vec::Vec;

use super::nodes::{Allocator, node};
use crate::addr::{NodeId, Pfn};
use crate::buddy::model::{XorShift, order, range};
use crate::gfp::GfpFlags;
use crate::order::Order;
use crate::page_alloc::tests::build::{allocator_of, give_pagesets, list_of};
use crate::page_alloc::{FailPageAlloc, Options, PagesetSize, Policies, ReservePolicy, Watermarks};
use crate::sync::{CpuId, set_host_cpu};
use crate::testing::scaled;
use crate::zone::{NodePlan, NodeSet, ZoneRef, ZoneSize, ZoneType};

const CPUS: u32 = 3;
/// Machines, and steps on each of them: two million in all.
const MACHINES: u32 = 200;
const STEPS: u32 = 10_000;

const TYPES: [GfpFlags; 6] = [
    GfpFlags::GFP_KERNEL,
    GfpFlags::GFP_ATOMIC,
    GfpFlags::GFP_NOIO,
    GfpFlags::GFP_TEMPORARY,
    GfpFlags::GFP_HIGHUSER,
    GfpFlags::GFP_HIGHUSER_MOVABLE,
];
const EXTRAS: [GfpFlags; 6] =
    [GfpFlags::empty(), GfpFlags::COLD, GfpFlags::COMP, GfpFlags::THISNODE, GfpFlags::NORETRY, GfpFlags::MEMALLOC];

fn zone(node: u32, zone: ZoneType) -> ZoneRef {
    ZoneRef { node: NodeId::new(node).unwrap(), zone }
}

/// The zones' borders: few frames, so that a look at all of them is quick; none at a pageblock's.
const BORDERS: [u32; 4] = [0x3a0, 0x460, 0x4d0, 0x560];
const BASE: u32 = BORDERS[0];

/// Node 0 has Normal and `HighMem`, node 1 Normal; each helps the other out.
fn machine(rng: &mut XorShift) -> Allocator {
    let [first, second, third, end] = BORDERS;
    let sized = |start, end| ZoneSize { span: range(start, end), present: end - start, real_size: end - start };
    let none = ZoneSize::default();
    let plans = [
        NodePlan {
            node: node(0),
            span: range(first, third),
            zones: [none, sized(first, second), sized(second, third), none],
        },
        NodePlan { node: node(1), span: range(third, end), zones: [none, sized(third, end), none, none] },
    ];
    let zones = [zone(0, ZoneType::HighMem), zone(0, ZoneType::Normal), zone(1, ZoneType::Normal)];
    let [high, normal, far] = zones;
    let lists = [list_of(&[high, normal, far]), list_of(&[far, high, normal])];
    let memory = plans.iter().map(|plan| (plan.span, plan.node)).collect();
    let reserves = [ReservePolicy::Off, ReservePolicy::Blocks, ReservePolicy::HighAtomic];
    let policies = Policies {
        reserve: reserves[rng.pick(3)],
        fair_zones: rng.below(8) == 0,
        zonelist_cache: rng.below(2) == 0,
        watermark_boost: [0, 15_000][rng.pick(2)],
        ..Policies::default()
    };
    let options = Options { policies, grouping_off: rng.below(4) == 0, ..Options::default() };
    let mut allocator: Allocator = allocator_of(&plans, memory, &lists, options);
    allocator.free_all(plans.map(|plan| plan.span), []).unwrap();
    let min = rng.below(16);
    for zone in zones {
        allocator.set_watermarks(zone, &Watermarks { min, low: min + 4, high: min + 8, lowmem_reserve: [0, 0, 8, 8] });
        give_pagesets(&mut allocator, zone, CPUS as usize, PagesetSize { high: 24, batch: 1 + rng.below(8) });
    }
    allocator
}

/// What was handed out.
struct Model {
    machine: Allocator,
    rng: XorShift,
    /// By frame: whether it is out.
    is_out: Vec<bool>,
    live: Vec<(Pfn, Order)>,
    /// Requests for one block that were served, and that were not.
    served: u32,
    refused: u32,
}

impl Model {
    fn mark(&mut self, pfn: Pfn, order: Order, out: bool) {
        assert_eq!(pfn.raw() % order.pages(), 0, "{pfn} is not aligned to {} pages", order.pages());
        let start = (pfn.raw() - BASE) as usize;
        for is_out in &mut self.is_out[start..start + order.pages() as usize] {
            assert_ne!(*is_out, out, "{pfn}: handed out or taken back twice");
            *is_out = out;
        }
    }

    fn flags(&mut self) -> GfpFlags {
        TYPES[self.rng.pick(6)] | EXTRAS[self.rng.pick(6)] | GfpFlags::NOWARN
    }

    fn take(&mut self) {
        let (gfp, order) = (self.flags(), order(self.rng.next().trailing_ones().min(7) as u8));
        let from = node(self.rng.below(2));
        let mask = [None, Some(NodeSet::of(from)), Some(NodeSet::ALL)][self.rng.pick(3)];
        let Ok(pfn) = self.machine.alloc_pages_nodemask(from, gfp, order, mask) else {
            self.refused += 1;
            return;
        };
        self.served += 1;
        let tag = self.machine.map().page(pfn).unwrap().zone();
        let is_bound = gfp.contains(GfpFlags::THISNODE) || mask == Some(NodeSet::of(from));
        assert!(!is_bound || tag.node() == from, "{gfp:?} of {mask:?} is served from another node");
        assert!(gfp.contains(GfpFlags::HIGHMEM) || tag.zone() == ZoneType::Normal, "{gfp:?} is given highmem");
        self.mark(pfn, order, true);
        self.live.push((pfn, order));
    }

    fn take_many(&mut self) {
        let gfp = self.flags() - GfpFlags::THISNODE;
        let mut pages = [Pfn::new(0); 20];
        let wanted = self.rng.pick(pages.len() + 1);
        let taken = self.machine.alloc_pages_bulk(gfp, &mut pages[..wanted]).unwrap_or(0);
        for pfn in &pages[..taken] {
            self.mark(*pfn, Order::ZERO, true);
            self.live.push((*pfn, Order::ZERO));
        }
    }

    fn give(&mut self) {
        if self.live.is_empty() {
            return;
        }
        let (pfn, order) = self.live.swap_remove(self.rng.pick(self.live.len()));
        self.mark(pfn, order, false);
        self.machine.free_pages(pfn, order).unwrap();
    }

    fn give_many(&mut self) {
        let wanted = self.rng.pick(20);
        let singles = self.live.iter().filter(|(_, order)| *order == Order::ZERO).take(wanted);
        let pages: Vec<Pfn> = singles.map(|(pfn, _)| *pfn).collect();
        self.live.retain(|(pfn, order)| *order > Order::ZERO || !pages.contains(pfn));
        pages.iter().for_each(|pfn| self.mark(*pfn, Order::ZERO, false));
        self.machine.free_pages_bulk(&pages).unwrap();
    }

    /// Anything that is not a live block with its order must be refused.
    fn give_wrongly(&mut self) {
        let pfn = Pfn::new(BASE - 0x20 + self.rng.below(0x240));
        let order = order(self.rng.below(8).min(7) as u8);
        if !self.live.contains(&(pfn, order)) {
            assert!(self.machine.free_pages(pfn, order).is_err(), "{pfn} as {} pages was taken back", order.pages());
        }
    }

    fn split(&mut self) {
        if self.live.is_empty() {
            return;
        }
        let at = self.rng.pick(self.live.len());
        let (pfn, order) = self.live[at];
        // A compound page stays whole.
        if self.machine.split_page(pfn, order).is_ok() {
            self.live.swap_remove(at);
            self.live.extend((0..order.pages()).map(|page| (Pfn::new(pfn.raw() + page), Order::ZERO)));
        }
    }

    fn inject(&mut self) {
        let probability = self.rng.below(2) * 30;
        self.machine.set_fail_page_alloc((probability > 0).then_some(FailPageAlloc {
            probability,
            times: None,
            ignore_gfp_wait: false,
            ignore_gfp_highmem: false,
            min_order: Order::ZERO,
            ..FailPageAlloc::default()
        }));
    }

    fn step(&mut self, is_filling: bool) {
        match self.rng.below(64) {
            0 => self.inject(),
            1..=3 => self.machine.drain_local(),
            4 => self.split(),
            5..=8 => self.give_wrongly(),
            9..=12 => self.take_many(),
            13..=15 => self.give_many(),
            16..=44 if is_filling => self.take(),
            16..=32 => self.take(),
            _ => self.give(),
        }
    }

    fn check(&self) {
        let tally = self.machine.validate().unwrap();
        let out = self.is_out.iter().filter(|is_out| **is_out).count();
        assert_eq!(tally.allocated as usize, out);
    }
}

#[test]
fn random_requests_of_all_kinds_on_several_nodes_and_cpus_agree_with_a_bitmap() {
    for seed in 0..scaled(MACHINES) {
        let mut rng = XorShift(0x1234_5678 ^ (seed + 1).wrapping_mul(0x9e37_79b9) | 1);
        let machine = machine(&mut rng);
        let frames = (BORDERS[3] - BASE) as usize;
        let mut model = Model { machine, rng, is_out: vec![false; frames], live: Vec::new(), served: 0, refused: 0 };
        for step in 0..STEPS {
            set_host_cpu(CpuId::new(model.rng.below(CPUS)));
            model.step(step / 500 % 2 == 0);
            model.check();
        }
        assert!(model.served > STEPS / 10 && model.refused > 0, "{} served, {} refused", model.served, model.refused);
        model.machine.set_fail_page_alloc(None);
        while !model.live.is_empty() {
            model.give();
        }
        for cpu in 0..CPUS {
            set_host_cpu(CpuId::new(cpu));
            model.machine.drain_local();
        }
        model.check();
        let free: u32 = model.machine.zones().iter().map(|zone| zone.stats().counts.free).sum();
        assert_eq!(free as usize, frames);
        set_host_cpu(CpuId::new(0));
    }
}
