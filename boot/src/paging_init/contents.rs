//! What the linear map must say of each frame: banks below, the image above them.
//!
//! Theory.      Layers of ranges over the frames of lowmem; the topmost that covers a frame decides.
//!
//! ```text
//!   top     guard pages                  nothing
//!           text, rodata, data           read-only executable, read-only, writable
//!           the first-level table        writable
//!           no-map banks, holes          nothing
//!   bottom  banks of RAM                 writable
//! ```
//! The image stands above no-map banks: unmapping what runs would help nobody, and the reservations have already told
//! of the overlap.
//!
//! Invariants.  The banks ascend and are disjoint.
#![forbid(unsafe_code)]

use mm::addr::{PhysAddr, PhysRange};
use mm::layout::LinearMap;
use mm::paging::{FIRST_LEVEL_SIZE, Prot};

use super::BootMemory;
use crate::image::ImageLayout;

/// Frames from some position up to `end` that are mapped alike.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(super) struct Piece {
    /// One past the last byte.
    pub(super) end: u64,
    /// What they allow; `None` when they must not be mapped.
    pub(super) prot: Option<Prot>,
}

/// A place in the banks that moves upwards, and the last piece found there.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Cursor {
    bank: usize,
    /// `start` up to `piece.end` is known to be `piece`.
    start: u64,
    piece: Piece,
}

/// The layers of one boot.
#[derive(Debug)]
pub(super) struct Contents {
    lowmem: PhysRange,
    /// From the first to the last byte of all layers.
    kernel: PhysRange,
    /// Bottom to top.
    layers: [(PhysRange, Option<Prot>); 6],
    normal: Prot,
}

impl Contents {
    pub(super) fn new(linear: &LinearMap, image: &ImageLayout, l1: PhysAddr, shareable: bool) -> Self {
        let shared = |prot: Prot| Some(prot.with_shareable(shareable));
        let table = PhysRange::new(l1, l1.saturating_add(u64::from(FIRST_LEVEL_SIZE)));
        let [lower_guard, upper_guard] = image.guards;
        let parts = [table, image.data, image.rodata, image.text].into_iter().filter(|part| !part.is_empty());
        let start = parts.clone().map(|part| part.start).min().unwrap_or(l1);
        let end = parts.map(|part| part.end).max().unwrap_or(l1);
        Self {
            kernel: PhysRange::new(start, end),
            lowmem: linear.phys_range().whole_frames().bytes(),
            layers: [
                (table, shared(Prot::KERNEL_RW)),
                (image.data, shared(Prot::KERNEL_RW)),
                (image.rodata, shared(Prot::KERNEL_RO)),
                (image.text, shared(Prot::KERNEL_RX)),
                (lower_guard, None),
                (upper_guard, None),
            ],
            normal: Prot::KERNEL_RW.with_shareable(shareable),
        }
    }

    /// Whether some byte of `range` is the image's or the first-level table's.
    pub(super) fn is_kernel(&self, range: PhysRange) -> bool {
        self.kernel.overlaps(range) && self.layers.iter().any(|(layer, _)| layer.overlaps(range))
    }

    /// From the first to the last byte of the image and of the first-level table.
    pub(super) const fn kernel(&self) -> PhysRange {
        self.kernel
    }

    /// The frames from `at` on. `cursor` has not been above `at` yet.
    pub(super) fn piece<M: BootMemory + ?Sized>(&self, memory: &M, cursor: &mut Cursor, at: u64) -> Piece {
        if cursor.start <= at && at < cursor.piece.end {
            return cursor.piece;
        }
        let mut piece = self.bank_piece(memory, &mut cursor.bank, at);
        let here = PhysAddr::new(at);
        for (layer, prot) in &self.layers {
            if layer.contains(here) {
                piece.prot = *prot;
                piece.end = piece.end.min(layer.end.raw());
            } else if layer.start > here && !layer.is_empty() {
                piece.end = piece.end.min(layer.start.raw());
            }
        }
        (cursor.start, cursor.piece) = (at, piece);
        piece
    }

    /// The bottom layers: RAM, no-map RAM, holes. `next` is the first bank that can be above `at`.
    fn bank_piece<M: BootMemory + ?Sized>(&self, memory: &M, next: &mut usize, at: u64) -> Piece {
        let (low, high) = (self.lowmem.start.raw(), self.lowmem.end.raw());
        if at >= high || at < low {
            return Piece { end: if at < low { low } else { u64::MAX }, prot: None };
        }
        while let Some(bank) = memory.bank(*next) {
            let frames = bank.range.whole_frames().bytes();
            if frames.end.raw() <= at {
                *next += 1;
                continue;
            }
            if at < frames.start.raw() {
                return Piece { end: frames.start.raw().min(high), prot: None };
            }
            let prot = if bank.no_map { None } else { Some(self.normal) };
            return Piece { end: frames.end.raw().min(high), prot };
        }
        Piece { end: high, prot: None }
    }
}
