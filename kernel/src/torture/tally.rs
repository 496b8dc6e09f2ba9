//! Operations by kind: how many, how many of them refused, and in what time.

use core::fmt;

use crate::arch::armv7::clock;

/// What an operation is about.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Kind {
    /// Blocks of every order and type.
    Pages,
    /// Many single pages in one call.
    Bulk,
    /// A number of pages that is no power of two.
    Exact,
    /// Pages with an owner.
    Movable,
    /// Contiguous areas.
    Contiguous,
    /// vmalloc and vfree.
    Vmalloc,
    /// vmap and vunmap.
    Vmap,
    /// ioremap and iounmap.
    Ioremap,
    /// kmap and kunmap.
    Kmap,
    /// Address spaces.
    Space,
    /// Drains, purges, flushes, compaction.
    Settle,
}

const NAMES: [&str; 11] =
    ["pages", "bulk", "exact", "movable", "cma", "vmalloc", "vmap", "ioremap", "kmap", "space", "settle"];

/// The sums of a kind.
#[derive(Clone, Copy, Debug, Default)]
struct Sum {
    done: u32,
    refused: u32,
    micros: u64,
}

/// The sums by kind.
#[derive(Debug, Default)]
pub(super) struct Tally([Sum; NAMES.len()]);

impl Tally {
    /// Counts one operation of `kind` that began at `start`.
    pub(super) fn count(&mut self, kind: Kind, refused: bool, start: u64) {
        if let Some(sum) = self.0.get_mut(kind as usize) {
            sum.done += 1;
            sum.refused += u32::from(refused);
            sum.micros += clock::microseconds().saturating_sub(start);
        }
    }
}

/// `pages 12 (3 refused, 45678/s), ...`; without rates where no clock ticks.
impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut separator = "";
        for (name, Sum { done, refused, micros }) in NAMES.iter().zip(&self.0) {
            write!(f, "{separator}{name} {done} ({refused} refused")?;
            if let Some(rate) = (u64::from(*done) * 1_000_000).checked_div(*micros) {
                write!(f, ", {rate}/s")?;
            }
            f.write_str(")")?;
            separator = ", ";
        }
        Ok(())
    }
}
