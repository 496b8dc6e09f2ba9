//! Allocation flags: which zone, which migrate type, how hard to try.
//!
//! Theory.      Four bits choose the highest zone that will do; one look-up in a table made at compile time does it.
//!              Two bits tell what can be done with the page later. The rest says what the allocator may do for it:
//!              sleep, start I/O, dip into reserves, stay silent.
//! Invariants.  Every combination of the four zone bits has an entry: a zone, or "forbidden".
//! Not here.    What a missing zone means (`page_alloc`: a zonelist skips what is not there).
//! Source.      Linux 4.1 include/linux/gfp.h: names, values, `GFP_ZONE_TABLE`, `GFP_ZONE_BAD`.
#![forbid(unsafe_code)]

use bitflags::bitflags;

use crate::migrate::MigrateType;
use crate::zone::ZoneType;

bitflags! {
    /// Flags of an allocation, with Linux 4.1's names (`__GFP_DMA` is [`GfpFlags::DMA`]) and values.
    #[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
    pub struct GfpFlags: u32 {
        /// Reachable by devices with a short reach.
        const DMA = 0x01;
        /// May lie outside the linear mapping.
        const HIGHMEM = 0x02;
        /// Reachable by devices with 32 address bits: all of lowmem here.
        const DMA32 = 0x04;
        /// The owner can move the page: with `HIGHMEM`, the movable zone will do.
        const MOVABLE = 0x08;
        /// The caller can wait.
        const WAIT = 0x10;
        /// May use half of the reserve under the `min` watermark.
        const HIGH = 0x20;
        /// May start physical I/O.
        const IO = 0x40;
        /// May call into file systems.
        const FS = 0x80;
        /// A cache-cold page will do.
        const COLD = 0x100;
        /// No report when it fails.
        const NOWARN = 0x200;
        /// Try hard, may fail.
        const REPEAT = 0x400;
        /// Must not fail.
        const NOFAIL = 0x800;
        /// Try once.
        const NORETRY = 0x1000;
        /// May use every reserve.
        const MEMALLOC = 0x2000;
        /// Head and tails form a compound page.
        const COMP = 0x4000;
        /// The pages are zeroed.
        const ZERO = 0x8000;
        /// Must not use the emergency reserves, whatever else is said.
        const NOMEMALLOC = 0x1_0000;
        /// Keep to the CPU set's memory.
        const HARDWALL = 0x2_0000;
        /// Keep to the named node.
        const THISNODE = 0x4_0000;
        /// A shrinker can have the page freed.
        const RECLAIMABLE = 0x8_0000;
        /// Not followed by memory checkers.
        const NOTRACK = 0x20_0000;
        /// Don't wake background reclaim.
        const NO_KSWAPD = 0x40_0000;
        /// On behalf of another node.
        const OTHER_NODE = 0x80_0000;
        /// The page will be dirtied.
        const WRITE = 0x100_0000;

        /// The kernel's usual allocation: may sleep and do everything to get memory.
        const GFP_KERNEL = Self::WAIT.bits() | Self::IO.bits() | Self::FS.bits();
        /// From interrupt handlers and under spin locks.
        const GFP_ATOMIC = Self::HIGH.bits();
        /// May sleep, must not wait for I/O.
        const GFP_NOIO = Self::WAIT.bits();
        /// May sleep and do I/O, must not call into file systems.
        const GFP_NOFS = Self::WAIT.bits() | Self::IO.bits();
        /// Short-lived kernel data that can be reclaimed.
        const GFP_TEMPORARY = Self::GFP_KERNEL.bits() | Self::RECLAIMABLE.bits();
        /// For user space, also reached by the kernel.
        const GFP_USER = Self::GFP_KERNEL.bits() | Self::HARDWALL.bits();
        /// For user space, anywhere.
        const GFP_HIGHUSER = Self::GFP_USER.bits() | Self::HIGHMEM.bits();
        /// For user space, anywhere, and movable.
        const GFP_HIGHUSER_MOVABLE = Self::GFP_HIGHUSER.bits() | Self::MOVABLE.bits();
        /// From the DMA zone.
        const GFP_DMA = Self::DMA.bits();
        /// From frames below 4 GiB.
        const GFP_DMA32 = Self::DMA32.bits();
        /// The four bits that choose a zone.
        const ZONE_MASK = Self::DMA.bits() | Self::HIGHMEM.bits() | Self::DMA32.bits() | Self::MOVABLE.bits();
        /// The two bits that choose a migrate type.
        const MOVABLE_MASK = Self::MOVABLE.bits() | Self::RECLAIMABLE.bits();
        /// What may be asked for while interrupts cannot be taken yet (Linux: `GFP_BOOT_MASK`).
        const BOOT_MASK = 0x1ff_ffff & !Self::GFP_KERNEL.bits();
    }
}

/// Why a set of flags cannot be served.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum GfpError {
    /// More than one of `DMA`, `DMA32` and `HIGHMEM`.
    ZoneConflict(GfpFlags),
    /// Both `MOVABLE` and `RECLAIMABLE`.
    MobilityConflict(GfpFlags),
}

impl core::fmt::Display for GfpError {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        match self {
            Self::ZoneConflict(gfp) => write!(f, "flags {:#x} name two zones", gfp.bits()),
            Self::MobilityConflict(gfp) => write!(f, "flags {:#x} are movable and reclaimable", gfp.bits()),
        }
    }
}

impl core::error::Error for GfpError {}

/// The zone of each combination of the four zone bits, 2 bits an entry; forbidden ones are in [`ZONE_BAD`].
const ZONE_TABLE: u32 = zone_tables().0;
/// One bit a combination of the four zone bits: set where it is forbidden.
const ZONE_BAD: u32 = zone_tables().1;

const fn zone_tables() -> (u32, u32) {
    let (mut table, mut bad) = (0, 0);
    let mut bits = 0;
    while bits < 16 {
        let (dma, high, dma32, movable) = (bits & 1 != 0, bits & 2 != 0, bits & 4 != 0, bits & 8 != 0);
        let zone = match (dma, high, dma32) {
            (true, false, false) => ZoneType::Dma,
            (false, true, false) if movable => ZoneType::Movable,
            (false, true, false) => ZoneType::HighMem,
            (false, false, _) => ZoneType::Normal,
            _ => {
                bad |= 1 << bits;
                ZoneType::Dma
            }
        };
        table |= (zone as u32) << (2 * bits);
        bits += 1;
    }
    (table, bad)
}

impl GfpFlags {
    /// The highest zone that serves these flags (Linux: `gfp_zone`).
    ///
    /// # Errors
    /// [`GfpError::ZoneConflict`] for a forbidden combination of zone bits.
    #[inline]
    pub const fn zone(self) -> Result<ZoneType, GfpError> {
        let bits = self.bits() & Self::ZONE_MASK.bits();
        if (ZONE_BAD >> bits) & 1 != 0 {
            return Err(GfpError::ZoneConflict(self));
        }
        Ok(match (ZONE_TABLE >> (2 * bits)) & 3 {
            0 => ZoneType::Dma,
            1 => ZoneType::Normal,
            2 => ZoneType::HighMem,
            _ => ZoneType::Movable,
        })
    }

    /// The migrate type that these flags ask for (Linux: `gfpflags_to_migratetype`).
    ///
    /// # Errors
    /// [`GfpError::MobilityConflict`] when they are both movable and reclaimable.
    #[inline]
    pub const fn migrate_type(self) -> Result<MigrateType, GfpError> {
        match (self.contains(Self::MOVABLE), self.contains(Self::RECLAIMABLE)) {
            (false, false) => Ok(MigrateType::Unmovable),
            (false, true) => Ok(MigrateType::Reclaimable),
            (true, false) => Ok(MigrateType::Movable),
            (true, true) => Err(GfpError::MobilityConflict(self)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_combination_of_the_zone_bits_has_linuxs_zone_or_is_forbidden() {
        use ZoneType::{Dma, HighMem, Movable, Normal};
        // Index: MOVABLE DMA32 HIGHMEM DMA, as bits 3 to 0.
        let expected = [
            Some(Normal),
            Some(Dma),
            Some(HighMem),
            None,
            Some(Normal),
            None,
            None,
            None,
            Some(Normal),
            Some(Dma),
            Some(Movable),
            None,
            Some(Normal),
            None,
            None,
            None,
        ];
        for (bits, zone) in (0u32..).zip(expected) {
            let gfp = GfpFlags::from_bits_retain(bits);
            assert_eq!(gfp.zone().ok(), zone, "{bits:#x}");
            assert_eq!((gfp | GfpFlags::GFP_KERNEL | GfpFlags::ZERO).zone().ok(), zone, "{bits:#x} with other flags");
        }
    }

    #[test]
    fn the_mobility_bits_choose_the_migrate_type() {
        assert_eq!(GfpFlags::GFP_KERNEL.migrate_type(), Ok(MigrateType::Unmovable));
        assert_eq!(GfpFlags::GFP_TEMPORARY.migrate_type(), Ok(MigrateType::Reclaimable));
        assert_eq!(GfpFlags::GFP_HIGHUSER_MOVABLE.migrate_type(), Ok(MigrateType::Movable));
        assert_eq!(GfpFlags::MOVABLE_MASK.migrate_type(), Err(GfpError::MobilityConflict(GfpFlags::MOVABLE_MASK)));
    }

    #[test]
    fn the_usual_sets_have_linuxs_values() {
        assert_eq!(GfpFlags::GFP_KERNEL.bits(), 0xd0);
        assert_eq!(GfpFlags::GFP_ATOMIC.bits(), 0x20);
        assert_eq!(GfpFlags::GFP_HIGHUSER_MOVABLE.bits(), 0x200da);
    }
}
