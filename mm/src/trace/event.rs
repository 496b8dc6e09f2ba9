//! One event, as a value and as words.

use core::fmt;

use crate::addr::Pfn;
use crate::gfp::GfpFlags;
use crate::memmap::NO_FRAME;
use crate::migrate::MigrateType;
use crate::order::Order;
use crate::sync::CpuId;

/// What happened.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum What {
    /// A block is asked for. [`What::Alloc`] or [`What::Failed`] follows on the same CPU.
    Request {
        /// The request's flags.
        gfp: GfpFlags,
    },
    /// The block is the caller's.
    Alloc {
        /// The request's flags.
        gfp: GfpFlags,
    },
    /// There was no such block.
    Failed {
        /// The request's flags.
        gfp: GfpFlags,
    },
    /// A block was freed by its last owner.
    Free {
        /// To the cold end of a pageset.
        cold: bool,
    },
    /// A CPU empties its pagesets, all of them.
    DrainLocal,
    /// A block that a caller has became single pages (Linux: `split_page`).
    Cut,
    /// A listed block was split down to the event's order.
    Split {
        /// What it was.
        from: Order,
        /// The list that the rest went to.
        kind: MigrateType,
    },
    /// A freed block became, with its buddies, one of the event's order.
    Merge {
        /// What was freed.
        from: Order,
        /// The list that it is on.
        kind: MigrateType,
    },
    /// A request was served from another type's block.
    Fallback {
        /// The request's type.
        wanted: MigrateType,
        /// The block's type.
        from: MigrateType,
        /// The block's order.
        size: Order,
    },
    /// What was free in a pageblock changed its type.
    Steal {
        /// The new type.
        to: MigrateType,
        /// Pages that moved.
        pages: u32,
    },
    /// A pageset was filled.
    Refill {
        /// The type.
        kind: MigrateType,
        /// Pages that came.
        pages: u32,
    },
    /// A pageset gave pages back.
    Drain {
        /// How many at most.
        pages: u32,
    },
}

/// What happened, where, and on which CPU.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Event {
    /// What.
    pub what: What,
    /// The CPU.
    pub cpu: CpuId,
    /// The block's first frame; `None` for what has none.
    pub pfn: Option<Pfn>,
    /// The block's order, or the request's.
    pub order: Order,
}

const KIND: u32 = 0xf;

impl Event {
    /// The event without its CPU, as words: tag (bits 0-7), order (16-19), two small numbers (20-23, 24-27); frame;
    /// detail.
    pub(crate) fn encode(what: What, pfn: Option<Pfn>, order: Order) -> [u32; 3] {
        let kind = |kind: MigrateType| kind as u32;
        let (tag, a, b, detail) = match what {
            What::Request { gfp } => (1, 0, 0, gfp.bits()),
            What::Alloc { gfp } => (2, 0, 0, gfp.bits()),
            What::Failed { gfp } => (3, 0, 0, gfp.bits()),
            What::Free { cold } => (4, u32::from(cold), 0, 0),
            What::DrainLocal => (5, 0, 0, 0),
            What::Split { from, kind: list } => (6, u32::from(from.raw()), kind(list), 0),
            What::Merge { from, kind: list } => (7, u32::from(from.raw()), kind(list), 0),
            What::Fallback { wanted, from, size } => (8, kind(wanted), kind(from), u32::from(size.raw())),
            What::Steal { to, pages } => (9, kind(to), 0, pages),
            What::Refill { kind: list, pages } => (10, kind(list), 0, pages),
            What::Drain { pages } => (11, 0, 0, pages),
            What::Cut => (12, 0, 0, 0),
        };
        [tag | u32::from(order.raw()) << 16 | a << 20 | b << 24, pfn.map_or(NO_FRAME, Pfn::raw), detail]
    }

    /// The event as words, CPU (bits 8-15 of the first) and all: what a file of events holds.
    #[must_use]
    pub fn words(self) -> [u32; 3] {
        let cpu = u32::try_from(self.cpu.index()).unwrap_or(u32::MAX).min(0xff);
        let [head, pfn, detail] = Self::encode(self.what, self.pfn, self.order);
        [head | cpu << 8, pfn, detail]
    }

    /// The event of these words; `None` for words that are none.
    #[must_use]
    pub fn decode([head, pfn, detail]: [u32; 3]) -> Option<Self> {
        let (a, b) = (head >> 20 & KIND, head >> 24 & KIND);
        let small = |raw: u32| u8::try_from(raw).ok().and_then(Order::new);
        let gfp = GfpFlags::from_bits_retain(detail);
        let what = match head & 0xff {
            1 => What::Request { gfp },
            2 => What::Alloc { gfp },
            3 => What::Failed { gfp },
            4 => What::Free { cold: a != 0 },
            5 => What::DrainLocal,
            6 => What::Split { from: small(a)?, kind: MigrateType::new(b)? },
            7 => What::Merge { from: small(a)?, kind: MigrateType::new(b)? },
            8 => What::Fallback { wanted: MigrateType::new(a)?, from: MigrateType::new(b)?, size: small(detail)? },
            9 => What::Steal { to: MigrateType::new(a)?, pages: detail },
            10 => What::Refill { kind: MigrateType::new(a)?, pages: detail },
            11 => What::Drain { pages: detail },
            12 => What::Cut,
            _ => return None,
        };
        let pfn = (pfn != NO_FRAME).then_some(Pfn::new(pfn));
        Some(Self { what, cpu: CpuId::new(head >> 8 & 0xff), pfn, order: small(head >> 16 & KIND)? })
    }
}

impl fmt::Display for Event {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = match self.what {
            What::Request { .. } => "mm_page_request",
            What::Alloc { .. } => "mm_page_alloc",
            What::Failed { .. } => "mm_page_alloc_failed",
            What::Free { .. } => "mm_page_free",
            What::DrainLocal => "mm_page_drain_local",
            What::Split { .. } => "mm_page_split",
            What::Merge { .. } => "mm_page_merge",
            What::Fallback { .. } => "mm_page_alloc_extfrag",
            What::Steal { .. } => "mm_page_steal",
            What::Refill { .. } => "mm_page_pcpu_refill",
            What::Drain { .. } => "mm_page_pcpu_drain",
            What::Cut => "mm_page_cut",
        };
        write!(f, "[{:03}] {name}:", self.cpu.index())?;
        if let Some(pfn) = self.pfn {
            write!(f, " pfn={pfn}")?;
        }
        write!(f, " order={}", self.order.raw())?;
        match self.what {
            What::Request { gfp } | What::Alloc { gfp } | What::Failed { gfp } => {
                write!(f, " gfp_flags={:#x}", gfp.bits())
            }
            What::Free { cold } => write!(f, " cold={}", u8::from(cold)),
            What::DrainLocal | What::Cut => Ok(()),
            What::Split { from, kind } | What::Merge { from, kind } => {
                write!(f, " from_order={} migratetype={}", from.raw(), kind.name())
            }
            What::Fallback { wanted, from, size } => write!(
                f,
                " fallback_order={} alloc_migratetype={} fallback_migratetype={}",
                size.raw(),
                wanted.name(),
                from.name()
            ),
            What::Steal { to, pages } => write!(f, " to_migratetype={} pages={pages}", to.name()),
            What::Refill { kind, pages } => write!(f, " migratetype={} pages={pages}", kind.name()),
            What::Drain { pages } => write!(f, " pages={pages}"),
        }
    }
}
