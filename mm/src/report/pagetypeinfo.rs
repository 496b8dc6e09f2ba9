//! Free blocks by order and migrate type, and pageblocks by type.

use core::fmt;

use crate::addr::Pfn;
use crate::buddy::FreeCore;
use crate::migrate::{MIGRATE_TYPES, MigrateType, PAGEBLOCK_ORDER, PAGEBLOCK_PAGES};
use crate::order::Order;
use crate::page_alloc::{PageAllocator, Zone};
use crate::sync::CurrentCpu;

/// `/proc/pagetypeinfo`.
#[derive(Debug)]
pub struct PageTypeInfo<'a, 'm, M: CurrentCpu, C>(pub &'a PageAllocator<'m, M, C>);

impl<'m, M: CurrentCpu, C: FreeCore<'m>> fmt::Display for PageTypeInfo<'_, 'm, M, C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "Page block order: {}", PAGEBLOCK_ORDER.log2())?;
        writeln!(f, "Pages per block:  {PAGEBLOCK_PAGES}\n")?;
        write!(f, "{:<43} ", "Free pages count per migrate type at order")?;
        Order::all().try_for_each(|order| write!(f, "{:>6} ", order.raw()))?;
        writeln!(f)?;
        for zone in self.0.zones() {
            free_lists(f, zone)?;
        }
        write!(f, "\n{:<23}", "Number of blocks type ")?;
        MigrateType::ALL.iter().try_for_each(|kind| write!(f, "{:>12} ", kind.name()))?;
        writeln!(f)?;
        for zone in self.0.zones() {
            write!(f, "Node {}, zone {:>8} ", zone.name().node.raw(), zone.name().zone.name())?;
            pageblocks(self.0, zone).iter().try_for_each(|blocks| write!(f, "{blocks:>12} "))?;
            writeln!(f)?;
        }
        Ok(())
    }
}

fn free_lists<'m, M: CurrentCpu, C: FreeCore<'m>>(f: &mut fmt::Formatter<'_>, zone: &Zone<'m, C, M>) -> fmt::Result {
    let name = zone.name();
    for kind in MigrateType::ALL {
        write!(f, "Node {:>4}, zone {:>8}, type {:>12} ", name.node.raw(), name.zone.name(), kind.name())?;
        Order::all().try_for_each(|order| write!(f, "{:>6} ", zone.free_blocks(order, kind)))?;
        writeln!(f)?;
    }
    Ok(())
}

/// The zone's pageblocks by type; a block counts when its first frame in the zone exists (Linux:
/// `pagetypeinfo_showblockcount_print`).
fn pageblocks<'m, M: CurrentCpu, C: FreeCore<'m>>(
    allocator: &PageAllocator<'m, M, C>,
    zone: &Zone<'m, C, M>,
) -> [u32; MIGRATE_TYPES] {
    let mut blocks = [0; MIGRATE_TYPES];
    let span = zone.stats().span;
    let mut pfn = span.start;
    while span.contains(pfn) {
        let is_ours = allocator.map().page(pfn).is_some_and(|page| page.zone() == zone.tag());
        if is_ours && allocator.map().is_present(pfn) {
            blocks[zone.block_type(pfn).index()] += 1;
        }
        let Some(next) = Pfn::new(pfn.raw() & !(PAGEBLOCK_PAGES - 1)).checked_add(PAGEBLOCK_PAGES) else { break };
        pfn = next;
    }
    blocks
}
