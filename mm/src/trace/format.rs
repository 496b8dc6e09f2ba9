//! The file of a traced run: what its writer and its reader share (`story` has the format).

use crate::addr::{Pfn, PfnRange};
use crate::gfp::GfpFlags;
use crate::migrate::PAGEBLOCK_PAGES;

/// The first word of such a file.
pub const MAGIC: u32 = 0x3152_5451;
/// Ends a list.
pub const END: u32 = u32::MAX;

/// Who takes everything: nobody is kept from the last page, and movable requests may have every type.
pub const EVERYTHING: GfpFlags = GfpFlags::GFP_HIGHUSER_MOVABLE.union(GfpFlags::MEMALLOC).union(GfpFlags::NOWARN);

/// The first frame in the zone of each of its pageblocks.
pub fn pageblocks(span: PfnRange) -> impl Iterator<Item = Pfn> {
    let first = span.start.raw() / PAGEBLOCK_PAGES * PAGEBLOCK_PAGES;
    (first..span.end.raw()).step_by(PAGEBLOCK_PAGES as usize).map(move |pfn| Pfn::new(pfn.max(span.start.raw())))
}
