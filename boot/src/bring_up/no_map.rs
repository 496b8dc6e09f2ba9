//! The tree's static no-map ranges, read once: a question for each MiB of RAM is too many for a walk each.

use mm::addr::PhysRange;

use super::Given;
use crate::reserve::MAX_REGIONS;

/// Ranges that must not be mapped.
pub(super) struct NoMap<'g, 'a, M> {
    given: &'g Given<'a, M>,
    ranges: [PhysRange; MAX_REGIONS],
    count: usize,
    /// There are more than the array holds: the tree is asked each time.
    more: bool,
}

impl<'g, 'a, M> NoMap<'g, 'a, M> {
    pub(super) fn of(given: &'g Given<'a, M>) -> Self {
        let mut ranges = [PhysRange::default(); MAX_REGIONS];
        let mut all = in_tree(given);
        let mut count = 0;
        for (slot, range) in ranges.iter_mut().zip(&mut all) {
            *slot = range;
            count += 1;
        }
        let more = all.next().is_some();
        Self { given, ranges, count, more }
    }

    /// One that has a byte of `range`.
    pub(super) fn over(&self, range: PhysRange) -> Option<PhysRange> {
        let known = self.ranges.iter().take(self.count).copied().find(|taken| taken.overlaps(range));
        known.or_else(|| if self.more { in_tree(self.given).find(|taken| taken.overlaps(range)) } else { None })
    }

    /// Whether one has a byte of `range`.
    pub(super) fn touches(&self, range: PhysRange) -> bool {
        self.over(range).is_some()
    }
}

fn in_tree<M>(given: &Given<'_, M>) -> impl Iterator<Item = PhysRange> {
    given.fdt.reserved_memory().filter(|node| node.no_map).flat_map(|node| node.reg)
}
