//! Pagesets when zones or CPUs change: other bounds, and the stock of a CPU that has gone.
//!
//! Theory.      Bounds can be changed while CPUs use them: a hit looks at `room` alone, which every count makes anew
//!              from `high`. When `high` falls, each CPU counts anew and drains what is too much. A CPU that has
//!              stopped can't, so another one does it, under the zone's lock, which keeps two of them apart.
//! Invariants.  1. When a resize returns, no CPU that runs, and none that was drained, holds more than `high`. 2. The
//!              pageset of a CPU that runs is changed by that CPU alone.
//! Source.      Linux 4.1: `pageset_update`, `zone_pcp_update`, `percpu_pagelist_fraction_sysctl_handler`,
//!              `page_alloc_cpu_notify`, `drain_pages`.
#![forbid(unsafe_code)]

use core::fmt;
use core::sync::atomic::Ordering::Relaxed;

use crate::buddy::FreeCore;
use crate::page_alloc::stock::drain;
use crate::page_alloc::{PageAllocator, Pageset, PagesetSize, RING_SLOTS, Zone};
use crate::sync::{CpuId, CurrentCpu, IrqOff};
use crate::zone::ZoneRef;
use crate::zone::pageset;

/// The smallest fraction of a zone that a pageset may have, as a divisor (Linux: `MIN_PERCPU_PAGELIST_FRACTION`).
pub const MIN_PAGELIST_FRACTION: u32 = 8;

/// Why pagesets keep their bounds. Nothing has changed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ResizeError {
    /// There is no such zone.
    NoZone(ZoneRef),
    /// A batch of 0 pages, or more pages than a ring has slots.
    Size(PagesetSize),
    /// A fraction from 1 to 7: a few CPUs would have the whole zone.
    Fraction(u32),
}

impl fmt::Display for ResizeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoZone(zone) => write!(f, "pagesets: node {} has no zone {}", zone.node.raw(), zone.zone.name()),
            Self::Size(PagesetSize { high, batch }) => {
                write!(f, "pagesets: high {high}, batch {batch}: high is at most {RING_SLOTS}, batch at least 1")
            }
            Self::Fraction(fraction) => {
                write!(f, "pagesets: 1/{fraction} of a zone: it is 0 or at least {MIN_PAGELIST_FRACTION}")
            }
        }
    }
}

impl core::error::Error for ResizeError {}

impl Pageset<'_> {
    /// Sets the bounds; they count from the next count on.
    fn set_size(&self, size: PagesetSize) {
        self.high.store(size.high, Relaxed);
        self.batch.store(size.batch, Relaxed);
    }
}

impl<'m, C: FreeCore<'m>, M: CurrentCpu> Zone<'m, C, M> {
    /// Drains this CPU's pageset, a batch at a time, until it holds no more than `high`.
    fn trim_local(&self) {
        loop {
            let _irq = IrqOff::<M>::new();
            let Some(set) = self.pagesets().get(M::current_cpu().index()) else { return };
            let room = set.recount();
            if set.count() <= set.size().high {
                return;
            }
            self.with_core(|core| drain(core, set, room));
        }
    }

    /// Empties the pageset of a CPU that has stopped, a batch at a time.
    fn drain_stopped(&self, cpu: CpuId) {
        let Some(set) = self.pagesets().get(cpu.index()) else { return };
        // Whoever else drains it holds the lock too, so that each block leaves it once.
        while self.with_core(|core| {
            drain(core, set, 0);
            set.count() > 0
        }) {}
    }
}

impl<'m, M: CurrentCpu, C: FreeCore<'m>> PageAllocator<'m, M, C> {
    /// Gives the pagesets of a zone other bounds, and has every CPU that runs drain what is too much.
    ///
    /// Without a [`CrossCall`](crate::platform::CrossCall) only this CPU does so now, the others at their next count. A
    /// CPU that has stopped keeps what it has until [`Self::drain_cpu`].
    /// Context: interrupts on, no lock held. Linux: `pageset_update`.
    ///
    /// # Errors
    /// [`ResizeError`].
    pub fn resize_pagesets(&self, zone: ZoneRef, size: PagesetSize) -> Result<(), ResizeError> {
        let found = self.zone(zone).ok_or(ResizeError::NoZone(zone))?;
        if size.batch == 0 || size.high > RING_SLOTS {
            return Err(ResizeError::Size(size));
        }
        found.pagesets().iter().for_each(|set| set.set_size(size));
        found.trim_local();
        if let Some(cpus) = self.services().cpus {
            for (cpu, _) in (0..).zip(found.pagesets()) {
                // Its room may still be of the old size, even if it holds little. One that does not run keeps what it
                // has until it is drained.
                let _ = cpus.run_on(CpuId::new(cpu), &|| found.trim_local());
            }
        }
        Ok(())
    }

    /// Sizes all pagesets anew, after zones have gained or lost pages: from what each zone manages now, or so that each
    /// CPU may hold 1/`fraction` of it, as far as its rings go; 0 is no fraction. Linux: `zone_pcp_update`,
    /// `percpu_pagelist_fraction`.
    ///
    /// # Errors
    /// [`ResizeError::Fraction`].
    pub fn size_pagesets(&self, fraction: u32) -> Result<(), ResizeError> {
        if (1..MIN_PAGELIST_FRACTION).contains(&fraction) {
            return Err(ResizeError::Fraction(fraction));
        }
        self.zones().iter().filter(|zone| !zone.pagesets().is_empty()).try_for_each(|zone| {
            let pageset::PagesetSize { high, batch } = pageset::PagesetSize::with_fraction(zone.managed(), fraction);
            self.resize_pagesets(zone.name(), PagesetSize { high, batch }.for_core::<C>())
        })
    }

    /// Takes back what CPU `cpu`, which has stopped, had in its pagesets and counters; a CPU that runs after all does
    /// it itself. To be called before it is started again, or whenever it stops; any CPU may, several at once too.
    ///
    /// Without a [`CrossCall`](crate::platform::CrossCall) nobody can tell whether it runs: the caller vouches that it
    /// does not. Context: interrupts on, no lock held. Linux: `page_alloc_cpu_notify`, `drain_pages`.
    pub fn drain_cpu(&self, cpu: CpuId) {
        if self.services().cpus.is_some_and(|cpus| cpus.run_on(cpu, &|| self.drain_local())) {
            return;
        }
        self.zones().iter().for_each(|zone| zone.drain_stopped(cpu));
        self.counters().fold_cpu(cpu);
    }
}
