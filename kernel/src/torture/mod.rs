//! Torture: everything that hands memory out, at random and all at once, with failures injected; at the end all is as
//! it was (`torture=N[,SEED]`).
//!
//! Theory.      A table of slots holds what is out. An operation draws a slot: what is in it is given back, an empty
//!              one gets something of chance, from single pages to address spaces. Every page that is out bears a mark
//!              of its slot, looked at when it is given back: who is handed another's page sees that. Most of the time
//!              the table is half full; from time to time work only takes, until nothing is left, or only gives back.
//!              In stretches allocations fail by chance (`fail_page_alloc`), so both the fast ways, which such a switch
//!              closes, and the ways back out of a failure are gone.
//! Invariants.  A refusal for want of memory is an answer, every other error is a defect. After the last operation all
//!              is given back, and every count of every zone, the areas of vmalloc and those of contiguous memory are
//!              what they were, and every invariant holds. The seed decides everything: the same seed on the same
//!              machine does the same.
//! Not here.    Several CPUs (`mm`'s tests by threads on the host).

mod held;
mod mark;
mod owner;
mod story;
mod tally;
mod work;

use boot::cmdline::TortureArg;
use mm::gfp::GfpFlags;
use mm::order::Order;
use mm::page_alloc::FailPageAlloc;
use mm::zone::ZoneRef;

use crate::arch::armv7::clock;
use crate::bench::rng::Xorshift32;
use crate::println;
use crate::space::switch_to_kernel;
use crate::system::System;
use held::Table;
use story::Story;
use tally::Tally;
use work::Work;

/// Something did not hold; the console says what.
#[derive(Clone, Copy, Debug)]
struct Defect;

/// Operations between two changes of what is done, and of whether allocations fail.
const STRETCH: u32 = 1 << 11;
/// Zones of a machine, at most, whose counts are compared.
const ZONES: usize = 16;

/// Counts that must be the same at both ends.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Counts {
    /// By zone: free in lists or as guards, isolated, in pagesets, allocated.
    zones: [Option<(ZoneRef, [u32; 4])>; ZONES],
    /// Pages that are out of contiguous areas.
    contiguous: u32,
    /// Areas of vmalloc, and their bytes.
    areas: (u32, u64),
}

impl Counts {
    /// The counts now that nothing waits: no page in a pageset, no area for a purge.
    fn settled(system: &System) -> Result<Self, Defect> {
        system.vm.kmap_flush_unused();
        if let Err(error) = system.vm.purge() {
            log::error!("torture: purge: {error}");
            return Err(Defect);
        }
        let allocator = system.booted.mm.allocator();
        allocator.drain_local();
        let mut zones = [None; ZONES];
        for (place, zone) in zones.iter_mut().zip(allocator.zones()) {
            let stats = zone.stats();
            let counts = stats.counts;
            *place = Some((stats.zone, [counts.free + counts.guard, counts.isolated, stats.pageset, stats.allocated]));
        }
        let contiguous = system.booted.cma.iter().map(|area| area.used()).sum();
        Ok(Self { zones, contiguous, areas: (system.vm.areas(), system.vm.used_bytes()) })
    }
}

/// Does what `arg` asks for and prints one line on it; `false` when something does not hold.
///
/// With a `trace` all that the page allocator does goes to that file of the debugger's.
pub fn run(system: &System, arg: TortureArg, trace: Option<&str>) -> bool {
    let start = clock::microseconds();
    let mut tally = Tally::default();
    let verdict = torture(system, arg, trace, &mut tally);
    let TortureArg { operations, seed } = arg;
    let micros = clock::microseconds().saturating_sub(start);
    let word = if verdict.is_ok() { "ok" } else { "FAILED" };
    let injected = system.booted.mm.allocator().injected_failures();
    println!(
        "torture: {operations} operations of seed {seed} ... {word} ({micros} us): {tally}; {injected} failures injected"
    );
    verdict.is_ok()
}

fn torture(system: &System, arg: TortureArg, trace: Option<&str>, tally: &mut Tally) -> Result<(), Defect> {
    let table = Table::start(system)?;
    let before = Counts::settled(system)?;
    let mut story = trace.map(|name| Story::begin(system, name)).transpose()?;
    let mut work = Work::new(system, table, Xorshift32::from(arg.seed), tally, story.is_some());
    let done = operate(system, &mut work, arg, &mut story).and_then(|()| work.end(&mut story));
    system.booted.mm.allocator().set_fail_page_alloc(None);
    switch_to_kernel();
    let settled = Counts::settled(system);
    // What led to a defect is in the file, too.
    if let Some(story) = story {
        story.end()?;
    }
    done?;
    settled?;
    let after = Counts::settled(system)?;
    if after != before {
        log::error!("torture: seed {}: before {before:?}, after {after:?}", arg.seed);
        return Err(Defect);
    }
    if system.validate() { Ok(()) } else { Err(Defect) }
}

/// The operations themselves.
fn operate(system: &System, work: &mut Work<'_>, arg: TortureArg, story: &mut Option<Story>) -> Result<(), Defect> {
    for number in 0..arg.operations {
        if number % STRETCH == 0 {
            let faults = work.next_stretch().then(|| failures(work.chance()));
            system.booted.mm.allocator().set_fail_page_alloc(faults);
        }
        let done = work.step().inspect_err(|Defect| {
            log::error!("torture: operation {number} of seed {}", arg.seed);
        });
        if let Some(story) = story {
            story.pour()?;
        }
        done?;
    }
    Ok(())
}

/// Requests of every sort fail, a tenth to half of them.
fn failures(chance: &mut Xorshift32) -> FailPageAlloc {
    FailPageAlloc {
        interval: 1,
        probability: 10 + chance.next() % 41,
        space: 0,
        times: None,
        ignore_gfp_wait: false,
        ignore_gfp_highmem: false,
        min_order: Order::ZERO,
        seed: chance.next(),
    }
}

/// What requests may be, `MOVABLE` with an owner aside.
const REQUESTS: [GfpFlags; 8] = [
    GfpFlags::GFP_KERNEL,
    GfpFlags::GFP_ATOMIC,
    GfpFlags::GFP_TEMPORARY,
    GfpFlags::GFP_HIGHUSER,
    GfpFlags::GFP_HIGHUSER_MOVABLE,
    GfpFlags::GFP_KERNEL.union(GfpFlags::ZERO),
    GfpFlags::GFP_KERNEL.union(GfpFlags::COMP),
    GfpFlags::GFP_DMA.union(GfpFlags::COLD),
];
