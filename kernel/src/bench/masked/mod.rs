//! The longest time with interrupts masked in the page allocator, path by path.
//!
//! Method.      A second page allocator, of the same core and the same code, runs over a zone of 128 MiB that is not
//!              there: the allocator never touches the pages that it hands out. Its interrupt mask is one that reads
//!              the cycle counter when the outermost mask is set and when it is taken back, and keeps the longest
//!              difference. The machine's own allocator has no part of that, and pays nothing for it. The two
//!              readings (some ten instructions) are part of the figure.
//!              `irqs_off_max` is the largest of these rows, each of which is the longest mask of some paths:
//!              `_alloc` single pages, blocks of every order and type, until memory runs out and in part back again;
//!              exact sizes; what falls back to other types' blocks; requests that fail in the slow path.
//!              `_bulk` allocation and free of 512 pages by one call, from whole blocks and from single pages.
//!              `_drain` emptying pagesets, local and all CPUs', and changing their bounds, when each page that is
//!              given back merges up to a largest block.
//!              `_steal` unmovable requests that take over pageblocks half of which are single free pages.
//!              `_isolate` taking such pageblocks out of service and back.
//!              `_contig` a range in which every second page is in use and must be moved, and its free.
//!              `_cma` lending an area, and the same from it. `_compact` compaction of such a zone.
//!              `_tune` watermarks, reserve blocks, protection of lowmem. `_views` counts, buddyinfo, zoneinfo,
//!              pagetypeinfo, vmstat.
//!              `_reclaim` memory is short, and whoever can help does: an allocator with zone reclaim, raised marks and
//!              fair shares, whose shrinker, zone reclaim and background reclaim free pages; requests of every order
//!              that reach them; pageblocks kept for requests that cannot wait, and given up; unmovable pages among
//!              movable ones; the pageset of a CPU that has stopped; hooks and injected failures switched on and off.
//!              Not in it: `validate`, which stops the allocator for as long as it looks at all of it; the ring of
//!              events and guard pages, which are for the search for mistakes.

mod helper;
mod model;
mod short;
mod work;

use core::sync::atomic::AtomicU32;
use core::sync::atomic::Ordering::Relaxed;

use mm::page_alloc::Policies;
use mm::platform::IrqControl;
use mm::sync::{CpuId, CurrentCpu};

use super::Wanted;
use crate::arch::armv7::clock;
use crate::arch::armv7::irq::ArmIrq;
use crate::system::System;
use model::Lender;
use work::{Path, Work};

/// Masks as [`ArmIrq`] does, and times it.
struct TimedIrq;

/// How deep masks are nested, and when the outermost one was set: one CPU runs the benches.
static DEPTH: AtomicU32 = AtomicU32::new(0);
static SINCE: AtomicU32 = AtomicU32::new(0);
/// The longest time, in ticks of the cycle counter.
static LONGEST: AtomicU32 = AtomicU32::new(0);

// SAFETY: the masking is `ArmIrq`'s.
unsafe impl IrqControl for TimedIrq {
    type Saved = <ArmIrq as IrqControl>::Saved;

    fn save_and_disable() -> Self::Saved {
        let saved = ArmIrq::save_and_disable();
        let depth = DEPTH.load(Relaxed);
        DEPTH.store(depth + 1, Relaxed);
        if depth == 0 {
            SINCE.store(clock::cycles().unwrap_or(0), Relaxed);
        }
        saved
    }

    unsafe fn restore(saved: Self::Saved) {
        let depth = DEPTH.load(Relaxed).saturating_sub(1);
        DEPTH.store(depth, Relaxed);
        if depth == 0 {
            let time = clock::cycles().unwrap_or(0).wrapping_sub(SINCE.load(Relaxed));
            LONGEST.store(LONGEST.load(Relaxed).max(time), Relaxed);
        }
        // SAFETY: the caller's promise is `ArmIrq`'s condition.
        unsafe { ArmIrq::restore(saved) }
    }
}

// SAFETY: the number is `ArmIrq`'s.
unsafe impl CurrentCpu for TimedIrq {
    fn current_cpu() -> CpuId {
        ArmIrq::current_cpu()
    }
}

/// Prints the rows.
pub(super) fn run(system: &System, wanted: Wanted<'_>) {
    if !wanted.has("irqs_off") {
        return;
    }
    let mut lender = Lender::new(system.booted.mm.allocator());
    let groups: [(Policies, &[Path]); 2] = [(Policies::new(), &work::PATHS), (short::POLICIES, &short::PATHS)];
    let mut longest = 0;
    for (policies, paths) in groups {
        match Work::new(&mut lender, policies) {
            Some(mut work) => longest = longest.max(time(&mut work, paths, &wanted)),
            None => log::error!("bench: no memory for the model of a zone"),
        }
        lender.take_back();
    }
    wanted.number("irqs_off_max", longest);
}

/// Prints the rows of these paths; returns the longest time.
fn time(work: &mut Work, paths: &[Path], wanted: &Wanted<'_>) -> u32 {
    let mut longest = 0;
    for (name, path) in paths {
        DEPTH.store(0, Relaxed);
        LONGEST.store(0, Relaxed);
        path(work);
        work.empty();
        let time = LONGEST.load(Relaxed);
        wanted.row(format_args!("irqs_off_{name}"), time, 1);
        longest = longest.max(time);
    }
    longest
}
