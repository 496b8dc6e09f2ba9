//! Addresses, frame numbers and ranges whose types carry the unit.
//!
//! Theory.      A [`PhysAddr`] is 64 bits wide: device trees write 64-bit cells, and the exclusive end of a bank that
//!              ends at 4 GiB needs 33 bits. A [`Pfn`] (page frame number) is 32 bits wide: it is what hot paths carry.
//!              Ranges are half-open in code and inclusive in logs.
//! Not here.    What a frame is (memmap), which frames exist (memblock).
#![forbid(unsafe_code)]

mod range;

pub use range::{PfnRange, PhysRange};

use core::fmt;

/// log2 of the page size.
pub const PAGE_SHIFT: u32 = 12;
/// Bytes in a page frame.
pub const PAGE_SIZE: u32 = 1 << PAGE_SHIFT;
/// Bytes that one first-level section maps (Arm ARM DDI 0406C B3.5.1).
pub const SECTION_SIZE: u32 = 1 << 20;
/// Bytes that one PGD entry (a pair of first-level descriptors) maps.
pub const PGDIR_SIZE: u32 = 1 << 21;

/// A physical address in bytes.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
#[repr(transparent)]
pub struct PhysAddr(u64);

impl PhysAddr {
    /// Address 0.
    pub const ZERO: Self = Self(0);
    /// The largest address: `MAX` as a limit means "anywhere".
    pub const MAX: Self = Self(u64::MAX);

    /// The address `bytes`.
    #[must_use]
    pub const fn new(bytes: u64) -> Self {
        Self(bytes)
    }

    /// The address in bytes.
    #[must_use]
    pub const fn raw(self) -> u64 {
        self.0
    }

    /// `self + bytes`, or `None` when it passes 2^64.
    #[must_use]
    pub const fn checked_add(self, bytes: u64) -> Option<Self> {
        match self.0.checked_add(bytes) {
            Some(sum) => Some(Self(sum)),
            None => None,
        }
    }

    /// `self + bytes`, or the largest address when it passes 2^64.
    #[must_use]
    pub const fn saturating_add(self, bytes: u64) -> Self {
        Self(self.0.saturating_add(bytes))
    }

    /// Bytes from `lower` to `self`; 0 when `lower` is above.
    #[must_use]
    pub const fn bytes_since(self, lower: Self) -> u64 {
        self.0.saturating_sub(lower.0)
    }

    /// Rounds down to a multiple of `align`, a power of two in bytes.
    #[must_use]
    pub const fn align_down(self, align: u64) -> Self {
        Self(self.0 & !align.wrapping_sub(1))
    }

    /// Rounds up to a multiple of `align`, a power of two in bytes; `None` when that passes 2^64.
    #[must_use]
    pub const fn align_up(self, align: u64) -> Option<Self> {
        match self.0.checked_add(align.wrapping_sub(1)) {
            Some(sum) => Some(Self(sum & !align.wrapping_sub(1))),
            None => None,
        }
    }

    /// Whether the address is a multiple of `align`, a power of two in bytes.
    #[must_use]
    pub const fn is_aligned(self, align: u64) -> bool {
        self.0 & align.wrapping_sub(1) == 0
    }

    /// The address as the 32 bits that the MMU without LPAE can reach; `None` at 4 GiB and above.
    #[must_use]
    #[expect(clippy::cast_possible_truncation, reason = "the range is checked in the condition")]
    pub const fn as_u32(self) -> Option<u32> {
        if self.0 <= u32::MAX as u64 { Some(self.0 as u32) } else { None }
    }
}

impl fmt::Debug for PhysAddr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PhysAddr({:#010x})", self.0)
    }
}

impl fmt::Display for PhysAddr {
    /// Linux's `%pa` on 32 bit: `0x80000000`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:#010x}", self.0)
    }
}

/// A virtual address of the 32-bit machine, in bytes (also when the code runs on a 64-bit host).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
#[repr(transparent)]
pub struct VirtAddr(u32);

impl VirtAddr {
    /// The address `bytes`.
    #[must_use]
    pub const fn new(bytes: u32) -> Self {
        Self(bytes)
    }

    /// The address in bytes.
    #[must_use]
    pub const fn raw(self) -> u32 {
        self.0
    }

    /// `self + bytes`, or `None` when it passes 2^32.
    #[must_use]
    pub const fn checked_add(self, bytes: u32) -> Option<Self> {
        match self.0.checked_add(bytes) {
            Some(sum) => Some(Self(sum)),
            None => None,
        }
    }

    /// Rounds down to a multiple of `align`, a power of two in bytes.
    #[must_use]
    pub const fn align_down(self, align: u32) -> Self {
        Self(self.0 & !align.wrapping_sub(1))
    }

    /// Whether the address is a multiple of `align`, a power of two in bytes.
    #[must_use]
    pub const fn is_aligned(self, align: u32) -> bool {
        self.0 & align.wrapping_sub(1) == 0
    }
}

impl fmt::Debug for VirtAddr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "VirtAddr({:#010x})", self.0)
    }
}

impl fmt::Display for VirtAddr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:#010x}", self.0)
    }
}

/// A page frame number: a physical address divided by the page size.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
#[repr(transparent)]
pub struct Pfn(u32);

impl Pfn {
    /// Frame number `raw`.
    #[must_use]
    pub const fn new(raw: u32) -> Self {
        Self(raw)
    }

    /// The number.
    #[must_use]
    pub const fn raw(self) -> u32 {
        self.0
    }

    /// The frame's first byte.
    #[must_use]
    pub const fn base(self) -> PhysAddr {
        PhysAddr((self.0 as u64) << PAGE_SHIFT)
    }

    /// The frame that holds `addr`; `None` at 2^44 bytes and above.
    #[must_use]
    #[expect(clippy::cast_possible_truncation, reason = "the range is checked in the condition")]
    pub const fn containing(addr: PhysAddr) -> Option<Self> {
        let frame = addr.0 >> PAGE_SHIFT;
        if frame <= u32::MAX as u64 { Some(Self(frame as u32)) } else { None }
    }

    /// `self + pages`, or `None` when it passes 2^32 frames.
    #[must_use]
    pub const fn checked_add(self, pages: u32) -> Option<Self> {
        match self.0.checked_add(pages) {
            Some(sum) => Some(Self(sum)),
            None => None,
        }
    }

    /// `self - pages`, or `None` below frame 0.
    #[must_use]
    pub const fn checked_sub(self, pages: u32) -> Option<Self> {
        match self.0.checked_sub(pages) {
            Some(rest) => Some(Self(rest)),
            None => None,
        }
    }

    /// Pages from `lower` to `self`; 0 when `lower` is above.
    #[must_use]
    pub const fn pages_since(self, lower: Self) -> u32 {
        self.0.saturating_sub(lower.0)
    }
}

impl fmt::Debug for Pfn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Pfn({:#x})", self.0)
    }
}

impl fmt::Display for Pfn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:#x}", self.0)
    }
}

/// A NUMA node's number, 0 to [`NodeId::MAX_NODES`] − 1.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub struct NodeId(u8);

impl NodeId {
    /// How many nodes a machine can have.
    pub const MAX_NODES: usize = 4;
    /// Node 0, the only one of a machine with uniform memory.
    pub const ZERO: Self = Self(0);

    /// Node `raw`; `None` for [`Self::MAX_NODES`] and above.
    #[must_use]
    #[expect(clippy::cast_possible_truncation, reason = "the range is checked in the condition")]
    pub const fn new(raw: u32) -> Option<Self> {
        if raw < Self::MAX_NODES as u32 { Some(Self(raw as u8)) } else { None }
    }

    /// The number.
    #[must_use]
    pub const fn raw(self) -> u32 {
        self.0 as u32
    }

    /// The number, for an array of [`Self::MAX_NODES`].
    #[must_use]
    pub const fn index(self) -> usize {
        self.0 as usize
    }
}
