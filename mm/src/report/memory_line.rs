//! The one line that says where all of RAM went.

use core::fmt;

use crate::report::kib;

/// Sizes of the image's parts, in bytes.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct ImageSizes {
    /// Instructions.
    pub code: u64,
    /// Variables with a first value.
    pub rwdata: u64,
    /// Constants.
    pub rodata: u64,
    /// What is only used at boot.
    pub init: u64,
    /// Variables that begin as zero.
    pub bss: u64,
}

/// `Memory: …K/…K available (…)`, in numbers of pages that were counted independently of each other.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct MemoryLine {
    total: u32,
    available: u32,
    reserved: u32,
    cma: u32,
    highmem: u32,
    image: ImageSizes,
}

/// The parts of RAM do not add up to it: pages were lost, or counted twice.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Unbalanced {
    /// Pages of RAM.
    pub total: u32,
    /// Pages that were freed.
    pub available: u32,
    /// Pages that stay reserved.
    pub reserved: u32,
    /// Pages kept for contiguous areas.
    pub cma: u32,
}

impl fmt::Display for Unbalanced {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { total, available, reserved, cma } = self;
        write!(f, "RAM does not add up: {available} available + {reserved} reserved + {cma} CMA of {total} pages")
    }
}

impl core::error::Error for Unbalanced {}

impl MemoryLine {
    /// The line for RAM of `total` pages after the hand-over: `available` of them are free, `not_free` are not (the
    /// reserved pages that the memory map counts), `cma` of the latter wait for the release of their areas, and
    /// `highmem` of the free ones are highmem.
    ///
    /// # Errors
    /// [`Unbalanced`] unless available + reserved + CMA = total.
    pub fn new(
        total: u32,
        available: u32,
        not_free: u32,
        cma: u32,
        highmem: u32,
        image: ImageSizes,
    ) -> Result<Self, Unbalanced> {
        let reserved = not_free.saturating_sub(cma);
        let sum = available.checked_add(reserved).and_then(|sum| sum.checked_add(cma));
        if sum != Some(total) || highmem > available {
            return Err(Unbalanced { total, available, reserved, cma });
        }
        Ok(Self { total, available, reserved, cma, highmem, image })
    }
}

impl fmt::Display for MemoryLine {
    /// Linux's line, without its end.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ImageSizes { code, rwdata, rodata, init, bss } = self.image;
        write!(f, "Memory: {}K/{}K available (", kib(self.available), kib(self.total))?;
        for (bytes, what) in
            [(code, "kernel code"), (rwdata, "rwdata"), (rodata, "rodata"), (init, "init"), (bss, "bss")]
        {
            write!(f, "{}K {what}, ", bytes / 1024)?;
        }
        let (reserved, cma, highmem) = (kib(self.reserved), kib(self.cma), kib(self.highmem));
        write!(f, "{reserved}K reserved, {cma}K cma-reserved, {highmem}K highmem)")
    }
}
