//! What errors say: each names what was wrong and with what.

use std::string::ToString;

use core::fmt::Display;

use super::classic::cases::fixture::NORMAL;
use crate::addr::{NodeId, Pfn};
use crate::buddy::model::{order, range};
use crate::buddy::{Broken, FreeError};
use crate::gfp::{GfpError, GfpFlags};
use crate::memmap::{PageState, ZoneTag};
use crate::migrate::MigrateType;
use crate::order::Order;
use crate::page_alloc::*;

const PFN: Pfn = Pfn::new(0x80000);

fn check(cases: &[(&dyn Display, &str)]) {
    for (error, words) in cases {
        assert_eq!(error.to_string(), *words);
    }
}

#[test]
fn an_allocation_error_names_the_request() {
    let (gfp, order) = (GfpFlags::GFP_KERNEL, order(3));
    let request = "page allocation failure: order:3, mode:0xd0(GFP_KERNEL)";
    check(&[
        (&AllocError::NoMemory { gfp, order }, request),
        (
            &AllocError::MustNotFail { gfp, order },
            &(request.to_string() + ": it must not fail, and nobody has memory left"),
        ),
        (
            &AllocError::NoZone { node: NodeId::ZERO, gfp, order },
            &(request.to_string() + ": no zone for it from node 0"),
        ),
        (&AllocError::Injected { gfp, order }, &(request.to_string() + ": made to fail")),
        (&AllocError::Size { pages: 1025 }, "no block has 1025 pages"),
        (
            &AllocError::Unreachable { pfn: PFN, order },
            "pfn 0x80000: the bytes of a block of order 3 cannot be reached to zero them",
        ),
        (&AllocError::Flags(GfpError::ZoneConflict(GfpFlags::DMA | GfpFlags::HIGHMEM)), "flags 0x3 name two zones"),
        (&GfpError::MobilityConflict(gfp), "flags 0xd0 are movable and reclaimable"),
    ]);
}

#[test]
fn a_setup_error_names_the_part() {
    check(&[
        (&SetupError::Storage { what: "zones", needed: 3 }, "page allocator: storage for 3 zones needed"),
        (
            &SetupError::NotMapped(NORMAL),
            "page allocator: ZoneRef { node: NodeId(0), zone: Normal } is not in the memory map",
        ),
        (&SetupError::UnknownZone(NORMAL), "page allocator: no such zone: ZoneRef { node: NodeId(0), zone: Normal }"),
        (
            &SetupError::Pagesets(NORMAL),
            "page allocator: pagesets of ZoneRef { node: NodeId(0), zone: Normal } cannot be replaced",
        ),
        (&SetupError::NoZonelist(NodeId::ZERO), "page allocator: node 0 has no zonelist"),
        (&HandOverError::NotReserved(PFN), "hand-over: pfn 0x80000 is not reserved memory of a zone"),
        (
            &HandOverError::NotPageblocks(range(0x80000, 0x80001)),
            "hand-over: [mem 0x80000000-0x80000fff] is not made of whole pageblocks",
        ),
        (&HandOverError::Refused(FreeError::NoSuchFrame(PFN)), "hand-over: pfn 0x80000: no such frame"),
        (&ResizeError::NoZone(NORMAL), "pagesets: node 0 has no zone Normal"),
        (
            &ResizeError::Size(PagesetSize { high: 300, batch: 0 }),
            "pagesets: high 300, batch 0: high is at most 256, batch at least 1",
        ),
        (&ResizeError::Fraction(7), "pagesets: 1/7 of a zone: it is 0 or at least 8"),
    ]);
}

#[test]
fn an_error_of_a_contiguous_request_names_the_page_in_the_way() {
    let pinned = |why| ContigError::Pinned { pfn: PFN, why };
    check(&[
        (&ContigError::Isolate(IsolateError::OtherZone(PFN)), "pfn 0x80000 is not in the zone of the range"),
        (&IsolateError::Isolated(PFN), "pfn 0x80000 is in a pageblock that is isolated already"),
        (
            &ContigError::NoTarget { pfn: PFN, order: order(2) },
            "pfn 0x80000 cannot be moved: there is no other block of order 2",
        ),
        (&pinned(Pinned::NoOwner), "pfn 0x80000 cannot be moved: it has no owner that could move it"),
        (&pinned(Pinned::References(2)), "pfn 0x80000 cannot be moved: it has 2 references"),
        (&pinned(Pinned::Mapped(3)), "pfn 0x80000 cannot be moved: 3 entries map it"),
        (&pinned(Pinned::Moving), "pfn 0x80000 cannot be moved: it is being moved"),
        (&pinned(Pinned::Owner), "pfn 0x80000 cannot be moved: its owner does not let it be moved"),
        (&pinned(Pinned::State(PageState::Reserved)), "pfn 0x80000 cannot be moved: it is reserved"),
        (&CmaError::Size { pages: 3 }, "cma: the area cannot have 3 pages"),
        (&CmaError::Full { pages: 3 }, "cma: no 3 pages in a row are left"),
        (&CmaError::Busy(pinned(Pinned::Moving)), "cma: pfn 0x80000 cannot be moved: it is being moved"),
        (&CmaError::Nested, "cma: an owner that is to move a page cannot have contiguous memory"),
        (&CmaError::NotAllocated(PFN), "cma: pfn 0x80000 is not out from this area"),
        (&CmaError::Free(FreeError::NoSuchFrame(PFN)), "cma: pfn 0x80000: no such frame"),
    ]);
}

#[test]
fn a_refused_free_says_what_the_page_is() {
    let (pfn, order) = (PFN, order(2));
    check(&[
        (&FreeError::NoSuchFrame(pfn), "pfn 0x80000: no such frame"),
        (&FreeError::Misaligned { pfn, order }, "pfn 0x80000: not aligned to order 2"),
        (
            &FreeError::WrongOrder { pfn, order, found: Order::ZERO },
            "pfn 0x80000: freed with order 2, allocated with order 0",
        ),
        (
            &FreeError::NotAllocated { pfn, order, found: PageState::Free(order) },
            "pfn 0x80000: freed with order 2, but it is free, order 2",
        ),
        (&FreeError::NotReferenced { pfn, count: 0 }, "pfn 0x80000: freed with reference count 0"),
        (&FreeError::Mapped { pfn, count: 1 }, "pfn 0x80000: freed while 1 entries map it"),
        (&FreeError::Private { pfn, private: 0xbeef }, "pfn 0x80000: freed with private word 0xbeef"),
        (&FreeError::Whole { pfn }, "pfn 0x80000: heads a block that can only be freed whole"),
        (
            &FreeError::OtherZone { pfn, order, zone: ZoneTag::from(NORMAL) },
            "pfn 0x80000: block of order 2 is not in the zone node 0 Normal",
        ),
        (&PageState::Hole, "in a hole"),
        (&PageState::Isolated(order), "isolated, order 2"),
        (&PageState::Pageset(order), "in a pageset, order 2"),
        (&PageState::Allocated(order), "allocated, order 2"),
        (&PageState::Slab(order), "slab, order 2"),
        (&PageState::Owned(order), "owned by a value, order 2"),
        (&PageState::Guard(order), "guard, order 2"),
        (&PageState::Tail { head: PFN, order }, "inside the block of order 2 at 0x80000"),
    ]);
}

#[test]
fn a_broken_invariant_names_the_zone_and_the_page() {
    let (pfn, order, kind) = (PFN, order(2), MigrateType::Movable);
    check(&[
        (
            &BrokenZone { zone: NORMAL, broken: Broken::Links { pfn } },
            "node 0 zone Normal: the links around pfn 0x80000 are broken",
        ),
        (&Broken::Listed { pfn, order, kind }, "pfn 0x80000 is on the list of order 2 Movable but is no such block"),
        (&Broken::FreeBuddies { pfn, order }, "pfn 0x80000 and its buddy of order 2 are both free"),
        (&Broken::BlockType { pfn, kind }, "pfn 0x80000 is on a list of Movable but its pageblock is of another kind"),
        (&Broken::Overlap { pfn }, "the block at pfn 0x80000 is misaligned or overlaps another"),
        (&Broken::Count { what: "free pages", counter: 1, found: 2 }, "free pages: the count says 1, there are 2"),
    ]);
}
