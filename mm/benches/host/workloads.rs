//! What is asked of each allocator.

use std::time::Instant;

use crate::FRAMES;

/// A frame allocator, as the workloads see it. Frames are numbers; what `alloc` gave is freed with the same order.
pub(crate) trait Frames {
    /// A block of 2^`order` frames.
    fn alloc(&mut self, order: u32) -> Option<u32>;
    /// Gives it back.
    fn free(&mut self, frame: u32, order: u32);
    /// Fills `out` with single frames in one call; `false` when there is no such call.
    fn bulk(&mut self, out: &mut [u32]) -> bool;
    /// Gives them back in one call; `false` when there is no such call.
    fn free_bulk(&mut self, frames: &[u32]) -> bool;
    /// Gives back what is cached for this CPU.
    fn drain(&mut self);
}

/// What came out.
pub(crate) enum Figure {
    /// In the workload's unit.
    Of(f64),
    /// The allocator cannot do that, and why.
    Cannot(&'static str),
}

pub(crate) struct Workload {
    pub(crate) name: &'static str,
    pub(crate) unit: &'static str,
    pub(crate) run: fn(&mut dyn Frames) -> Figure,
}

pub(crate) const WORKLOADS: [Workload; 8] = [
    Workload { name: "hot pair, order 0", unit: "ns", run: |frames| pair(frames, 0) },
    Workload { name: "hot pair, order 3", unit: "ns", run: |frames| pair(frames, 3) },
    Workload { name: "fill to 95 % and free at random, a page", unit: "ns", run: fill_and_free },
    Workload { name: "mixed orders 0-3 at 50 %, an exchange", unit: "ns", run: |frames| mixed(frames, 50) },
    Workload { name: "mixed orders 0-3 at 90 %, an exchange", unit: "ns", run: |frames| mixed(frames, 90) },
    Workload { name: "bulk of 512, a page", unit: "ns", run: bulk },
    Workload { name: "free memory in blocks of 2 MiB, order-0 churn", unit: "%", run: churned },
    Workload { name: "free memory in blocks of 2 MiB, mixed orders", unit: "%", run: mixed_share },
];

/// Everyone's small generator, shifts 13, 17, 5.
struct Random(u32);

impl Random {
    fn next(&mut self) -> u32 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 17;
        self.0 ^= self.0 << 5;
        self.0
    }

    /// Below `end`.
    fn below(&mut self, end: usize) -> usize {
        ((u64::from(self.next()) * end as u64) >> 32) as usize
    }

    /// 0 to 3, each half as likely as the one below it.
    fn order(&mut self) -> u32 {
        self.next().trailing_ones().min(3)
    }
}

const SEED: u32 = 0x1234_5678;

/// Nanoseconds of `work`, an operation.
fn time(operations: usize, work: impl FnOnce()) -> Figure {
    let start = Instant::now();
    work();
    Figure::Of(start.elapsed().as_nanos() as f64 / operations as f64)
}

fn pair(frames: &mut dyn Frames, order: u32) -> Figure {
    const PAIRS: usize = 100_000;
    let mut once = || {
        if let Some(frame) = frames.alloc(order) {
            frames.free(frame, order);
        }
    };
    once();
    time(PAIRS, || (0..PAIRS).for_each(|_| once()))
}

fn shuffle<T>(items: &mut [T], random: &mut Random) {
    for last in (1..items.len()).rev() {
        items.swap(last, random.below(last + 1));
    }
}

fn fill_and_free(frames: &mut dyn Frames) -> Figure {
    let wanted = FRAMES as usize * 95 / 100;
    let mut order: Vec<usize> = (0..wanted).collect();
    shuffle(&mut order, &mut Random(SEED));
    let mut held = Vec::with_capacity(wanted);
    let figure = time(wanted, || {
        held.extend((0..wanted).map_while(|_| frames.alloc(0)));
        if held.len() == wanted {
            order.iter().for_each(|index| frames.free(held[*index], 0));
        }
    });
    if held.len() == wanted { figure } else { Figure::Cannot("full before 95 %") }
}

/// Blocks of mixed orders until `percent` of the frames are taken; `None` when it cannot get there.
fn occupy(frames: &mut dyn Frames, percent: u32, random: &mut Random) -> Option<Vec<(u32, u32)>> {
    let (mut held, mut taken) = (Vec::new(), 0);
    while taken < FRAMES / 100 * percent {
        let order = random.order();
        held.push((frames.alloc(order)?, order));
        taken += 1 << order;
    }
    Some(held)
}

/// Frees a block at random and takes another of an order at random, `rounds` times; the number of those not to be had.
fn exchange(frames: &mut dyn Frames, held: &mut Vec<(u32, u32)>, rounds: usize, random: &mut Random) -> usize {
    let mut failed = 0;
    for _ in 0..rounds {
        let (frame, order) = held.swap_remove(random.below(held.len()));
        frames.free(frame, order);
        // Orders are as likely here as when the frames were filled, so that occupancy stays about the same.
        let order = random.order();
        match frames.alloc(order) {
            Some(frame) => held.push((frame, order)),
            None => failed += 1,
        }
        if held.is_empty() {
            break;
        }
    }
    failed
}

fn mixed(frames: &mut dyn Frames, percent: u32) -> Figure {
    const EXCHANGES: usize = 20_000;
    let mut random = Random(SEED);
    let Some(mut held) = occupy(frames, percent, &mut random) else { return Figure::Cannot("cannot fill so far") };
    let mut failed = 0;
    let figure = time(EXCHANGES, || failed = exchange(frames, &mut held, EXCHANGES, &mut random));
    // A failure is quicker than a success and would count as one.
    if failed * 100 > EXCHANGES { Figure::Cannot("finds no blocks") } else { figure }
}

fn bulk(frames: &mut dyn Frames) -> Figure {
    const TIMES: usize = 100;
    let mut out = [0; 512];
    if !frames.bulk(&mut out) || !frames.free_bulk(&out) {
        return Figure::Cannot("no such call");
    }
    time(TIMES * out.len(), || {
        for _ in 0..TIMES {
            frames.bulk(&mut out);
            frames.free_bulk(&out);
        }
    })
}

/// The percentage of the free frames, `held` being taken, that can be had as blocks of 512.
fn share_of_large(frames: &mut dyn Frames, held: u32) -> Figure {
    frames.drain();
    let mut large = Vec::new();
    for order in [10, 9] {
        large.extend(core::iter::from_fn(|| frames.alloc(order).map(|frame| (frame, order))));
    }
    let found: u32 = large.iter().map(|(_, order)| 1 << order).sum();
    Figure::Of(f64::from(found) * 100.0 / f64::from(FRAMES - held))
}

/// How often the pages of a churn are exchanged, a twentieth of them a round: after that many none is where it was.
const CHURN_ROUNDS: usize = 400;

/// Single pages to 90 %, random frees down to 25 %, then rounds in which 5 % of the live pages are exchanged.
fn churned(frames: &mut dyn Frames) -> Figure {
    let mut random = Random(SEED);
    let wanted = FRAMES as usize * 9 / 10;
    let mut held: Vec<u32> = (0..wanted).map_while(|_| frames.alloc(0)).collect();
    if held.len() < wanted {
        return Figure::Cannot("cannot fill so far");
    }
    shuffle(&mut held, &mut random);
    for frame in held.drain(FRAMES as usize / 4..) {
        frames.free(frame, 0);
    }
    for _ in 0..CHURN_ROUNDS {
        let part = held.len() / 20;
        for _ in 0..part {
            let frame = held.swap_remove(random.below(held.len()));
            frames.free(frame, 0);
        }
        held.extend((0..part).map_while(|_| frames.alloc(0)));
    }
    let live = held.iter().map(|_| 1).sum();
    share_of_large(frames, live)
}

/// Mixed orders to 90 %, random frees down to 25 %, then twenty exchanges for each block left.
fn mixed_share(frames: &mut dyn Frames) -> Figure {
    let mut random = Random(SEED);
    let Some(mut held) = occupy(frames, 90, &mut random) else { return Figure::Cannot("cannot fill so far") };
    shuffle(&mut held, &mut random);
    let pages = |held: &[(u32, u32)]| held.iter().map(|(_, order)| 1 << order).sum::<u32>();
    let mut live = pages(&held);
    while live > FRAMES / 4 {
        let Some((frame, order)) = held.pop() else { break };
        frames.free(frame, order);
        live -= 1 << order;
    }
    let rounds = held.len() * 20;
    exchange(frames, &mut held, rounds, &mut random);
    let live = pages(&held);
    share_of_large(frames, live)
}
