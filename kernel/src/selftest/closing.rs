//! The last check of a run, when all its tests are done: the tables that are left, with something of every kind mapped
//! in them, are those that the CPU translates by.
//!
//! Theory.      Tests change the tables in every way there is. What they left is compared with the MMU word by word:
//!              the kernel's own table with areas and windows in it, then a space's while it runs, with the users'
//!              domain closed and open.

use super::translation::{Compared, compare};
use super::vm::allocated;
use super::{Failed, Verdict, space, vm_areas, vm_highmem};
use crate::arch::armv7::fault::live_tables;
use crate::arch::armv7::uaccess;
use crate::check;
use crate::space::switch_to_kernel;
use crate::system::System;

/// Compares, and says how much agreed.
pub(super) fn run(system: &System) -> Verdict {
    let before = allocated(system)?;
    switch_to_kernel();
    let mut all = Compared::default();
    vm_areas::with_areas_of_every_kind(system, || {
        vm_highmem::with_windows(system, || {
            all = all.and(compare_live()?);
            space::within_a_space(system, || {
                check!(system.validate(), "an invariant is broken");
                all = all.and(compare_live()?);
                all = all.and(uaccess::with_window(compare_live)?);
                Ok(())
            })
        })
    })?;
    let count = allocated(system)?;
    check!(count == before, "{before} pages were allocated, now {count}");
    let Compared { entries, mapped, fetches } = all;
    log::info!(
        "page tables: {entries} entries agree with the CPU's translation ({mapped} mapped addresses, {fetches} fetches refused)"
    );
    Ok(())
}

/// The tables in TTBR0, whosever they are.
fn compare_live() -> Result<Compared, Failed> {
    compare(&live_tables().ok_or(Failed)?)
}
