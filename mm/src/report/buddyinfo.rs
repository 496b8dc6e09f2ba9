//! Free blocks by order.

use core::fmt;

use crate::buddy::FreeCore;
use crate::migrate::MigrateType;
use crate::order::Order;
use crate::page_alloc::PageAllocator;
use crate::sync::CurrentCpu;

/// `/proc/buddyinfo`: a line a zone, the number of free blocks of each order.
#[derive(Debug)]
pub struct BuddyInfo<'a, 'm, M: CurrentCpu, C>(pub &'a PageAllocator<'m, M, C>);

impl<'m, M: CurrentCpu, C: FreeCore<'m>> fmt::Display for BuddyInfo<'_, 'm, M, C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for zone in self.0.zones() {
            let name = zone.name();
            write!(f, "Node {}, zone {:>8} ", name.node.raw(), name.zone.name())?;
            for order in Order::all() {
                let blocks: u32 = MigrateType::ALL.iter().map(|kind| zone.free_blocks(order, *kind)).sum();
                write!(f, "{blocks:>6} ")?;
            }
            writeln!(f)?;
        }
        Ok(())
    }
}
