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
//!              Not in it: `validate`, which stops the allocator for as long as it looks at all of it.

mod model;
mod work;

use core::sync::atomic::AtomicU32;
use core::sync::atomic::Ordering::Relaxed;

use mm::platform::IrqControl;
use mm::sync::{CpuId, CurrentCpu};

use super::Wanted;
use crate::arch::armv7::clock;
use crate::arch::armv7::irq::ArmIrq;
use crate::system::System;
use model::Lender;

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
    match work::Work::new(&mut lender) {
        Some(mut work) => {
            let mut longest = 0;
            for (name, path) in work::PATHS {
                DEPTH.store(0, Relaxed);
                LONGEST.store(0, Relaxed);
                path(&mut work);
                work.empty();
                let time = LONGEST.load(Relaxed);
                wanted.row(format_args!("irqs_off_{name}"), time, 1);
                longest = longest.max(time);
            }
            wanted.number("irqs_off_max", longest);
        }
        None => log::error!("bench: no memory for the model of a zone"),
    }
    lender.take_back();
}
