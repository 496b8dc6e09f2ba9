//! What the console is told when an allocation fails, and of sleeping requests where nobody may sleep.
//!
//! Theory.      A report has the request in words and the state of memory, zone by zone. Many failures are one event:
//!              the first [`BURST`] are reported, then each time that their number has doubled.
//! Source.      Linux 4.1: `warn_alloc_failed`, `show_free_areas`, `might_sleep`; the words of flags as `%pGg` prints
//!              them since 4.6.
#![forbid(unsafe_code)]

use core::fmt;
use core::sync::atomic::AtomicU32;
use core::sync::atomic::Ordering::Relaxed;

use crate::buddy::FreeCore;
use crate::gfp::GfpFlags;
use crate::migrate::MigrateType;
use crate::order::Order;
use crate::page_alloc::walk::Request;
use crate::page_alloc::{AllocError, PageAllocator, Zone};
use crate::sync::CurrentCpu;

/// Reports of one kind before the first that is left out (Linux: `DEFAULT_RATELIMIT_BURST`).
const BURST: u32 = 10;

/// Lets the first few through, then ever fewer. Linux lets a few through every five seconds, which this crate has no
/// clock for.
#[derive(Debug, Default)]
pub(super) struct RateLimit(AtomicU32);

impl RateLimit {
    /// Counts an event; whether it is to be reported.
    pub(super) fn allows(&self) -> bool {
        let before = self.0.fetch_add(1, Relaxed);
        before < BURST || before.is_power_of_two()
    }
}

/// Displays flags as Linux names them, the usual sets first.
#[derive(Clone, Copy, Debug)]
pub struct GfpNames(pub GfpFlags);

const SETS: [(&str, GfpFlags); 8] = [
    ("GFP_HIGHUSER_MOVABLE", GfpFlags::GFP_HIGHUSER_MOVABLE),
    ("GFP_HIGHUSER", GfpFlags::GFP_HIGHUSER),
    ("GFP_USER", GfpFlags::GFP_USER),
    ("GFP_TEMPORARY", GfpFlags::GFP_TEMPORARY),
    ("GFP_KERNEL", GfpFlags::GFP_KERNEL),
    ("GFP_NOFS", GfpFlags::GFP_NOFS),
    ("GFP_ATOMIC", GfpFlags::GFP_ATOMIC),
    ("GFP_NOIO", GfpFlags::GFP_NOIO),
];

impl fmt::Display for GfpNames {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut left = self.0;
        let mut separator = "";
        if let Some((name, set)) = SETS.iter().find(|(_, set)| left.contains(*set)) {
            f.write_str(name)?;
            left -= *set;
            separator = "|";
        }
        // The names of single bits: a set of several would have been found above.
        for (name, flag) in left.iter_names().filter(|(_, flag)| flag.bits().is_power_of_two()) {
            write!(f, "{separator}__GFP_{}", name.trim_start_matches("GFP_"))?;
            left -= flag;
            separator = "|";
        }
        if !left.is_empty() || self.0.is_empty() {
            write!(f, "{separator}{:#x}", left.bits())?;
        }
        Ok(())
    }
}

/// Displays a request: `order:0, mode:0xd0(GFP_KERNEL)`.
#[derive(Clone, Copy, Debug)]
pub(super) struct Asked(pub(super) GfpFlags, pub(super) Order);

impl fmt::Display for Asked {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "order:{}, mode:{:#x}({})", self.1.raw(), self.0.bits(), GfpNames(self.0))
    }
}

impl<'m, M: CurrentCpu, C: FreeCore<'m>> PageAllocator<'m, M, C> {
    /// Reports an allocation that failed, unless it was to be silent (Linux: `warn_alloc_failed`).
    #[cold]
    #[inline(never)]
    pub(super) fn report_failure(&self, request: &Request, error: AllocError) {
        if request.gfp.contains(GfpFlags::NOWARN) || !self.pressure.failures.allows() {
            return;
        }
        log::warn!("{error}");
        self.show_free_areas();
    }

    /// Whether the code that runs now may wait, as the request would; if not, that is reported (Linux:
    /// `might_sleep_if`).
    #[inline]
    pub(super) fn may_sleep(&self, request: &Request) -> bool {
        let may = self.services().task.is_none_or(|task| task.may_sleep());
        if !may {
            self.report_sleeper(request);
        }
        may
    }

    #[cold]
    #[inline(never)]
    fn report_sleeper(&self, request: &Request) {
        if self.pressure.sleepers.allows() {
            let asked = Asked(request.gfp, request.order);
            log::error!("BUG: sleeping function called from invalid context: page allocation, {asked}");
        }
    }

    /// Logs the free memory, zone by zone (Linux: `show_free_areas`).
    pub fn show_free_areas(&self) {
        log::warn!("Mem-Info:");
        for zone in self.zones() {
            let name = zone.name();
            let (node, kind) = (name.node.raw(), name.zone.name());
            let stats = zone.stats();
            let kib = |pages: u32| u64::from(pages) * 4;
            let (marks, counts) = (stats.marks, stats.counts);
            log::warn!(
                "Node {node} {kind} free:{}kB min:{}kB low:{}kB high:{}kB present:{}kB managed:{}kB free_pcp:{}kB \
                 free_cma:{}kB isolated:{}kB reserved_highatomic:{}kB",
                kib(counts.free),
                kib(marks.min),
                kib(marks.low),
                kib(marks.high),
                kib(stats.present),
                kib(stats.managed),
                kib(stats.pageset),
                kib(counts.cma),
                kib(counts.isolated),
                kib(zone.marks().held_back()),
            );
            let [dma, normal, high, movable] = marks.lowmem_reserve;
            log::warn!("lowmem_reserve[]: {dma} {normal} {high} {movable}");
            log::warn!("Node {node} {kind}: {}= {}kB", Blocks(zone), kib(counts.free + counts.isolated));
        }
    }
}

/// Displays a zone's free blocks by order, and the letters of the types that have any.
struct Blocks<'a, 'm, C, M: CurrentCpu>(&'a Zone<'m, C, M>);

impl<'m, C: FreeCore<'m>, M: CurrentCpu> fmt::Display for Blocks<'_, 'm, C, M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for order in Order::all() {
            let blocks = MigrateType::ALL.map(|kind| self.0.free_blocks(order, kind));
            write!(f, "{}*{}kB ", blocks.iter().sum::<u32>(), u64::from(order.pages()) * 4)?;
            if blocks.iter().any(|count| *count > 0) {
                f.write_str("(")?;
                for (letter, _) in ["U", "E", "M", "R", "C", "I"].iter().zip(blocks).filter(|(_, count)| *count > 0) {
                    f.write_str(letter)?;
                }
                f.write_str(") ")?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::string::ToString;

    use super::*;

    #[test]
    fn flags_are_named_as_linux_names_them() {
        let named = |gfp: GfpFlags| GfpNames(gfp).to_string();
        assert_eq!(named(GfpFlags::GFP_KERNEL | GfpFlags::ZERO), "GFP_KERNEL|__GFP_ZERO");
        assert_eq!(named(GfpFlags::GFP_HIGHUSER_MOVABLE), "GFP_HIGHUSER_MOVABLE");
        assert_eq!(named(GfpFlags::GFP_ATOMIC | GfpFlags::DMA), "GFP_ATOMIC|__GFP_DMA");
        assert_eq!(named(GfpFlags::IO | GfpFlags::NORETRY), "__GFP_IO|__GFP_NORETRY");
        assert_eq!(named(GfpFlags::empty()), "0x0");
        assert_eq!(named(GfpFlags::from_bits_retain(1 << 30) | GfpFlags::GFP_NOIO), "GFP_NOIO|0x40000000");
    }

    #[test]
    fn of_many_events_the_first_few_are_let_through_and_then_ever_fewer() {
        let limit = RateLimit::default();
        // 10, then 16, 32, ... 512.
        assert_eq!((0..1000).filter(|_| limit.allows()).count(), 10 + 6);
    }
}
