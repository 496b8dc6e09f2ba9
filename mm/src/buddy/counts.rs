//! How many pages a core holds, by what may be done with them.
#![forbid(unsafe_code)]

use crate::migrate::MigrateType;

/// How many pages a core holds.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct FreeCounts {
    /// Free and ready to be taken, lent contiguous-memory areas included (Linux: `NR_FREE_PAGES`).
    pub free: u32,
    /// The part of `free` in contiguous-memory areas (Linux: `NR_FREE_CMA_PAGES`).
    pub cma: u32,
    /// Free, but in isolated pageblocks; not part of `free`.
    pub isolated: u32,
    /// Kept as guards; not part of `free`.
    pub guard: u32,
}

const _: () = {
    let mut types = MigrateType::ALL.as_slice();
    while let [kind, rest @ ..] = types {
        let is_apart = matches!(kind, MigrateType::Cma | MigrateType::Isolate);
        assert!((*kind as u32 & FreeCounts::APART != 0) == is_apart);
        types = rest;
    }
};

impl FreeCounts {
    /// Counts `pages` that came to the lists of `kind`.
    #[inline(always)]
    pub(super) fn add(&mut self, pages: u32, kind: MigrateType) {
        match kind {
            MigrateType::Isolate => self.isolated += pages,
            MigrateType::Cma => {
                self.cma += pages;
                self.free += pages;
            }
            _ => self.free += pages,
        }
    }

    /// Stands in the numbers of the types that are counted apart, and in no others.
    pub(super) const APART: u32 = MigrateType::Cma as u32;

    /// As [`Self::add`], with the type's number.
    #[inline(always)]
    pub(super) fn add_bits(&mut self, pages: u32, bits: u32) {
        if bits & Self::APART == 0 {
            self.free += pages;
        } else {
            self.add_apart(pages, bits);
        }
    }

    /// As [`Self::remove`], with the type's number.
    #[inline(always)]
    pub(super) fn remove_bits(&mut self, pages: u32, bits: u32) {
        if bits & Self::APART == 0 {
            self.free -= pages;
        } else {
            self.remove_apart(pages, bits);
        }
    }

    #[cold]
    #[inline(never)]
    pub(super) fn remove_apart(&mut self, pages: u32, bits: u32) {
        self.remove(pages, MigrateType::new(bits).unwrap_or(MigrateType::Unmovable));
    }

    #[cold]
    #[inline(never)]
    pub(super) fn add_apart(&mut self, pages: u32, bits: u32) {
        self.add(pages, MigrateType::new(bits).unwrap_or(MigrateType::Unmovable));
    }

    /// Counts `pages` that left the lists of `kind`.
    #[inline(always)]
    pub(super) fn remove(&mut self, pages: u32, kind: MigrateType) {
        match kind {
            MigrateType::Isolate => self.isolated -= pages,
            MigrateType::Cma => {
                self.cma -= pages;
                self.free -= pages;
            }
            _ => self.free -= pages,
        }
    }
}
