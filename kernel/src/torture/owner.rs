//! The owner of the movable pages: compaction and contiguous areas ask it to move them.

use mm::addr::Pfn;
use mm::page_alloc::{MigrationOps, MoveError, OwnerId};
use mm::sync::InitOnce;

use super::Defect;
use super::held::{Held, Table};
use crate::system::Zones;
use crate::vm::Vm;

/// Moves a slot's page and tells the slot.
#[derive(Debug)]
pub(super) struct Owner {
    /// Where the pages' owners are known: a page's private word is its slot.
    pub(super) table: &'static Table,
    /// Copies pages wherever they lie.
    pub(super) vm: &'static Vm,
}

static OWNER: InitOnce<Owner> = InitOnce::new();
static ID: InitOnce<OwnerId> = InitOnce::new();

/// Registers `owner`.
pub(super) fn start(owner: Owner, zones: &'static Zones) -> Result<(), Defect> {
    let owner = OWNER.set(owner).map_err(|_| Defect)?;
    let Some(id) = zones.register_owner(owner) else {
        log::error!("torture: no owner can be registered");
        return Err(Defect);
    };
    ID.set(id).map(drop).map_err(|_| Defect)
}

/// Its number; `None` before [`start`].
pub(super) fn id() -> Option<OwnerId> {
    ID.get().copied()
}

impl MigrationOps for Owner {
    fn isolate_page(&self, pfn: Pfn, slot: u32) -> bool {
        self.table.get(slot) == Held::Movable(pfn)
    }

    fn migrate_page(&self, old: Pfn, new: Pfn, slot: u32) -> Result<(), MoveError> {
        // SAFETY: both pages are the owner's for the time of the move, and nobody else runs meanwhile.
        unsafe { self.vm.copy_highpage(new, old) }.map_err(|_| MoveError::Busy)?;
        self.table.set(slot, Held::Movable(new));
        Ok(())
    }

    fn putback_page(&self, _pfn: Pfn, _slot: u32) {}
}
