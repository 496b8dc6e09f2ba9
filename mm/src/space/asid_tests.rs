//! The numbers against a model of each CPU's TLB: which spaces' entries it holds under which ASID.

use std::collections::{BTreeMap, BTreeSet};
use std::vec::Vec;

use proptest::prelude::*;

use super::*;
use crate::testing::scaled;

const CPUS: usize = 4;

/// A machine whose TLBs forget nothing until they are told to.
struct Model {
    asids: AsidAllocator<CPUS>,
    /// By space.
    contexts: Vec<ContextId>,
    /// By CPU: ASID to the spaces whose entries it tags.
    tlbs: [BTreeMap<u8, BTreeSet<usize>>; CPUS],
    running: [Option<usize>; CPUS],
    generations: BTreeSet<u64>,
}

impl Model {
    fn new(spaces: usize) -> Self {
        Self {
            asids: AsidAllocator::new(),
            contexts: std::vec![ContextId::NONE; spaces],
            tlbs: Default::default(),
            running: [None; CPUS],
            generations: BTreeSet::new(),
        }
    }

    fn run(&mut self, cpu: usize, space: usize) {
        let turn = self.asids.enter(CpuId::new(u32::try_from(cpu).unwrap()), self.contexts[space]).unwrap();
        self.contexts[space] = turn.context;
        self.generations.insert(turn.context.generation());
        if turn.flush {
            self.tlbs[cpu].clear();
        }
        self.running[cpu] = Some(space);
        let asid = turn.context.asid();
        assert_ne!(asid, 0, "the number of no space");
        // Every CPU goes on to fill its TLB with what it runs, under the number that it runs it by.
        self.touch_all();
        let tags = &self.tlbs[cpu][&asid];
        assert_eq!(tags.len(), 1, "CPU {cpu} runs space {space} by {asid}, which tags entries of {tags:?}");
    }

    fn touch_all(&mut self) {
        for (cpu, running) in self.running.iter().enumerate() {
            if let Some(space) = running {
                let asid = self.asids.active[cpu].asid();
                self.tlbs[cpu].entry(asid).or_default().insert(*space);
            }
        }
        for (one, other) in (0..CPUS).flat_map(|one| (0..one).map(move |other| (one, other))) {
            if let (Some(a), Some(b)) = (self.running[one], self.running[other]) {
                let (x, y) = (self.asids.active[one], self.asids.active[other]);
                assert_eq!(a == b, x.asid() == y.asid(), "spaces {a} and {b} run by {x} and {y}");
            }
        }
        self.asids.validate().unwrap();
    }

    fn leave(&mut self, cpu: usize) {
        self.asids.leave(CpuId::new(u32::try_from(cpu).unwrap()));
        self.running[cpu] = None;
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(scaled(48)))]

    #[test]
    fn no_cpu_runs_two_spaces_under_one_number_without_a_flush_between(
        spaces in 2_usize..700,
        turns in prop::collection::vec((0..CPUS, any::<prop::sample::Index>(), 0..10_u32), 1..3000),
    ) {
        let mut model = Model::new(spaces);
        for (cpu, space, kind) in turns {
            match kind {
                0 => model.leave(cpu),
                // What another CPU runs already.
                1 => if let Some(space) = model.running[(cpu + 1) % CPUS] { model.run(cpu, space) },
                // Some spaces run all the time, so that they live through generations.
                2..5 => model.run(cpu, space.index(spaces.min(5))),
                _ => model.run(cpu, space.index(spaces)),
            }
        }
    }
}

#[test]
fn the_256th_space_begins_a_generation_and_every_cpu_flushes_once() {
    let mut model = Model::new(600);
    (0..255).for_each(|space| model.run(0, space));
    assert_eq!(model.generations.len(), 1, "255 spaces have 255 numbers");
    model.run(1, 7);
    let turn = model.asids.enter(CpuId::new(0), ContextId::NONE).unwrap();
    assert_eq!((turn.context.generation(), turn.flush), (2, true));
    let again = model.asids.enter(CpuId::new(0), turn.context).unwrap();
    assert!(!again.flush, "one flush is enough");
    // Space 7 ran on CPU 1 meanwhile: it keeps its number, and the CPU flushes before it goes on.
    let kept = model.contexts[7];
    let turn = model.asids.enter(CpuId::new(1), kept).unwrap();
    assert_eq!((turn.context.asid(), turn.context.generation(), turn.flush), (kept.asid(), 2, true));
}

#[test]
fn a_space_that_two_cpus_run_keeps_one_number_through_two_generations() {
    let mut model = Model::new(2000);
    model.run(0, 0);
    for space in 1..1500 {
        model.run(1, space);
        if space % 300 == 0 {
            model.run(2, 0);
        }
    }
    assert!(model.generations.len() > 4, "{:?}", model.generations);
}

#[test]
fn a_cpu_beyond_the_last_is_refused() {
    let mut asids = AsidAllocator::<CPUS>::new();
    assert_eq!(asids.enter(CpuId::new(4), ContextId::NONE), None);
    asids.leave(CpuId::new(4));
    assert_eq!(asids.validate(), Ok(()));
}
