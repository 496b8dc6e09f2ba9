//! Counters that several CPUs write outside every lock.
//!
//! Theory.      Each CPU counts into a place of its own, with interrupts masked and without atomic read-modify-write
//!              operations. What it counted for a zone is folded into the zone's total when it passes a threshold, so
//!              that a total alone is never farther off than the threshold times the CPUs; a sum over the CPUs' places
//!              is exact while they are at rest. Events have no total of their own until a CPU goes: they are summed
//!              when somebody asks.
//!              Until the CPUs have places, and for a CPU that has none, the totals are counted in directly.
//! Invariants.  1. A total plus all CPUs' differences is the sum of everything that was added. 2. After an addition the
//!              CPU's difference is at most the threshold. 3. A CPU's place is written by that CPU with interrupts
//!              masked, or by whoever folds it after the CPU has stopped.
//! Not here.    What is never counted because it can be derived: pages allocated and freed (`page_alloc`).
//! Source.      Linux 4.1 mm/vmstat.c: `__mod_zone_page_state`, `calculate_normal_threshold`, `cpu_vm_stats_fold`,
//!              `vm_events_fold_cpu`, `all_vm_events`; 6.1 for the events' names without zones.
#![forbid(unsafe_code)]

#[cfg(test)]
mod tests;

use core::sync::atomic::Ordering::{Acquire, Relaxed, Release};
use core::sync::atomic::{AtomicI32, AtomicU32};

use crate::memmap::ZoneTag;
use crate::sync::{CpuId, CurrentCpu, IrqOff};

/// What is counted for each zone, in pages (Linux: `enum zone_stat_item`).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
pub enum ZoneItem {
    /// Taken from this zone although another node was preferred (Linux: `NUMA_MISS`).
    NumaMiss,
    /// Meant for this zone, but taken from another node (Linux: `NUMA_FOREIGN`).
    NumaForeign,
    /// Taken from this zone by a CPU of another node (Linux: `NUMA_OTHER`).
    NumaOther,
}

impl ZoneItem {
    /// How many there are.
    pub const COUNT: usize = 3;
}

/// What happens to the machine as a whole, counted since the boot (Linux: `enum vm_event_item`).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
pub enum VmEvent {
    /// Pages that shrinkers were asked for by background reclaim.
    PgScanKswapd,
    /// Pages that shrinkers were asked for by who needed memory.
    PgScanDirect,
    /// Pages that background reclaim freed.
    PgStealKswapd,
    /// Pages that direct reclaim freed.
    PgStealDirect,
    /// Zones that zone reclaim had nothing to free in.
    ZoneReclaimFailed,
    /// Steps of background reclaim that had something to do.
    PageOutRun,
    /// Requests that had to reclaim.
    AllocStall,
    /// Calls of the out-of-memory handler that freed memory.
    OomKill,
    /// Requests that had to compact.
    CompactStall,
    /// Those of them that got their block so.
    CompactSuccess,
    /// Those of them that did not.
    CompactFail,
    /// Runs of background compaction.
    CompactDaemonWake,
}

impl VmEvent {
    /// Every event, in Linux's order.
    pub const ALL: [Self; 12] = [
        Self::PgScanKswapd,
        Self::PgScanDirect,
        Self::PgStealKswapd,
        Self::PgStealDirect,
        Self::ZoneReclaimFailed,
        Self::PageOutRun,
        Self::AllocStall,
        Self::OomKill,
        Self::CompactStall,
        Self::CompactSuccess,
        Self::CompactFail,
        Self::CompactDaemonWake,
    ];

    /// Linux's name in `/proc/vmstat`.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::PgScanKswapd => "pgscan_kswapd",
            Self::PgScanDirect => "pgscan_direct",
            Self::PgStealKswapd => "pgsteal_kswapd",
            Self::PgStealDirect => "pgsteal_direct",
            Self::ZoneReclaimFailed => "zone_reclaim_failed",
            Self::PageOutRun => "pageoutrun",
            Self::AllocStall => "allocstall",
            Self::OomKill => "oom_kill",
            Self::CompactStall => "compact_stall",
            Self::CompactSuccess => "compact_success",
            Self::CompactFail => "compact_fail",
            Self::CompactDaemonWake => "compact_daemon_wake",
        }
    }
}

const EVENTS: usize = VmEvent::ALL.len();

/// One CPU's place. Two CPUs' never share a line of the cache.
#[derive(Debug, Default)]
#[repr(align(64))]
pub struct CpuCounters {
    zones: [[AtomicI32; ZoneItem::COUNT]; ZoneTag::COUNT],
    events: [AtomicU32; EVENTS],
}

impl CpuCounters {
    /// A place in which nothing was counted yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }
}

/// All counters of a machine. Each wraps at 32 bits, as Linux's do there.
#[derive(Debug, Default)]
pub struct Counters<'m> {
    zones: [[AtomicI32; ZoneItem::COUNT]; ZoneTag::COUNT],
    events: [AtomicU32; EVENTS],
    /// By zone: how far a CPU counts before it folds.
    thresholds: [AtomicU32; ZoneTag::COUNT],
    cpus: &'m [CpuCounters],
}

impl<'m> Counters<'m> {
    /// Gives each CPU a place; what was counted before stays counted, also in places that were given earlier.
    pub fn set_cpus(&mut self, cpus: &'m [CpuCounters]) {
        (0..).zip(self.cpus).for_each(|(cpu, _)| self.fold_cpu(CpuId::new(cpu)));
        self.cpus = cpus;
    }

    /// Sets how far a CPU counts for a zone before it folds.
    pub fn set_threshold(&self, zone: ZoneTag, threshold: u32) {
        self.thresholds[zone.index()].store(threshold, Relaxed);
    }

    /// How far a CPU counts for a zone before it folds.
    #[must_use]
    pub fn threshold(&self, zone: ZoneTag) -> u32 {
        self.thresholds[zone.index()].load(Relaxed)
    }

    /// Adds to a zone's counter (Linux: `__mod_zone_page_state`). Context: any.
    pub fn add<M: CurrentCpu>(&self, zone: ZoneTag, item: ZoneItem, delta: i32) {
        let _irq = IrqOff::<M>::new();
        let total = &self.zones[zone.index()][item as usize];
        let Some(cpu) = self.cpus.get(M::current_cpu().index()) else {
            total.fetch_add(delta, Relaxed);
            return;
        };
        let place = &cpu.zones[zone.index()][item as usize];
        let sum = place.load(Relaxed).wrapping_add(delta);
        if sum.unsigned_abs() > self.threshold(zone) {
            // A reader between the two sees nothing of the sum; with the new total it sees the new place, so never it
            // twice.
            place.store(0, Relaxed);
            total.fetch_add(sum, Release);
        } else {
            place.store(sum, Relaxed);
        }
    }

    /// Counts `count` events (Linux: `count_vm_events`). Context: any.
    pub fn count<M: CurrentCpu>(&self, event: VmEvent, count: u32) {
        let _irq = IrqOff::<M>::new();
        match self.cpus.get(M::current_cpu().index()) {
            Some(cpu) => {
                let place = &cpu.events[event as usize];
                place.store(place.load(Relaxed).wrapping_add(count), Relaxed);
            }
            None => _ = self.events[event as usize].fetch_add(count, Relaxed),
        }
    }

    /// A zone's counter, exact while the CPUs are at rest (Linux: `zone_page_state_snapshot`).
    #[must_use]
    pub fn zone(&self, zone: ZoneTag, item: ZoneItem) -> u32 {
        let total = self.zones[zone.index()][item as usize].load(Acquire);
        let parts = self.cpus.iter().map(|cpu| cpu.zones[zone.index()][item as usize].load(Relaxed));
        parts.fold(total, i32::wrapping_add).cast_unsigned()
    }

    /// An event's count, exact while the CPUs are at rest (Linux: `all_vm_events`).
    #[must_use]
    pub fn event(&self, event: VmEvent) -> u32 {
        let total = self.events[event as usize].load(Acquire);
        self.cpus.iter().map(|cpu| cpu.events[event as usize].load(Relaxed)).fold(total, u32::wrapping_add)
    }

    /// Folds what a CPU that has stopped counted into the totals (Linux: `cpu_vm_stats_fold`, `vm_events_fold_cpu`).
    pub fn fold_cpu(&self, cpu: CpuId) {
        let Some(cpu) = self.cpus.get(cpu.index()) else { return };
        for (places, totals) in cpu.zones.iter().zip(&self.zones) {
            for (place, total) in places.iter().zip(totals) {
                total.fetch_add(place.swap(0, Relaxed), Release);
            }
        }
        for (place, total) in cpu.events.iter().zip(&self.events) {
            total.fetch_add(place.swap(0, Relaxed), Release);
        }
    }
}

/// How far each of `cpus` CPUs counts for a zone of `managed` pages before it folds: more where a small error matters
/// less (Linux: `calculate_normal_threshold`). A machine of one CPU and 512 MiB has 6.
#[must_use]
pub const fn normal_threshold(managed: u32, cpus: u32) -> u32 {
    // In units of 128 MiB.
    let memory = managed >> (27 - crate::addr::PAGE_SHIFT);
    let threshold = 2 * digits(cpus) * (1 + digits(memory));
    if threshold < 125 { threshold } else { 125 }
}

/// Binary digits of a number; none of 0 (Linux: `fls`).
const fn digits(number: u32) -> u32 {
    u32::BITS - number.leading_zeros()
}
