//! The software walk against the MMU itself, word by word.
//!
//! Theory.      What a word of the tables lets happen is computed from the software walk: for each kind of access the
//!              physical address or the fault. The CPU's translation operations (ATS1CPR and its kin) say what the MMU
//!              makes of the same word. They know nothing of instructions, so where nothing may be executed one fetch
//!              is tried, and must be refused.
//! Source.      Arm ARM DDI 0406C B3.5, B3.7 (permissions), B3.12 (domains), B4.2.4 (translation operations).

use aarch32_cpu::register::{Dacr, SysRegRead};
use mm::addr::{PAGE_SIZE, SECTION_SIZE, VirtAddr};
use mm::fault::{FaultStatus, Level};
use mm::paging::descriptor::{FirstLevel, LARGE_PAGE_SIZE};
use mm::paging::{Access as Rights, Domain, Exec, FIRST_LEVEL_WORDS, TableError, Tables, Translation, section_va};

use super::{Failed, Verdict};
use crate::arch::armv7::fault::try_execute;
use crate::arch::armv7::mmu::{Access, translate};
use crate::arch::armv7::vectors::Kind;
use crate::ram::LinearRam;
use crate::system::System;
use crate::{check, selftest};

selftest!(every_entry_of_the_tables_agrees_with_the_mmu);
selftest!(the_identity_mapping_is_gone);

/// What was compared.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Compared {
    /// Words of both levels.
    pub(super) entries: u32,
    /// Addresses of theirs that are mapped.
    pub(super) mapped: u32,
    /// Fetches that were tried, each refused.
    pub(super) fetches: u32,
}

impl Compared {
    /// The sum of two.
    pub(super) const fn and(self, other: Self) -> Self {
        Self {
            entries: self.entries.saturating_add(other.entries),
            mapped: self.mapped.saturating_add(other.mapped),
            fetches: self.fetches.saturating_add(other.fetches),
        }
    }
}

/// Compares every word of `tables`, which must be those that this CPU walks, with the MMU's answers.
pub(super) fn compare(tables: &Tables<'_, LinearRam>) -> Result<Compared, Failed> {
    let mut all = Compared::default();
    for index in 0..FIRST_LEVEL_WORDS {
        all = all.and(compare_mib(tables, index)?);
    }
    Ok(all)
}

/// Compares a first-level word, and the table that it points to. One that maps nothing is asked about at both ends of
/// its MiB, a section at sixteen addresses.
fn compare_mib(tables: &Tables<'_, LinearRam>, index: usize) -> Result<Compared, Failed> {
    let (level, step, closed) = match tables.first(index).map_err(broken)? {
        FirstLevel::Fault => (Level::First, SECTION_SIZE - PAGE_SIZE, false),
        FirstLevel::Section { .. } | FirstLevel::Supersection { .. } => (Level::First, LARGE_PAGE_SIZE, false),
        FirstLevel::PageTable { domain, .. } => (Level::Second, PAGE_SIZE, is_closed(domain)),
    };
    let mut all = Compared { entries: 1, ..Compared::default() };
    for offset in (0..SECTION_SIZE).step_by(step as usize) {
        let va = VirtAddr::new(section_va(index).raw() | offset);
        let to = tables.walk(va).map_err(broken)?;
        for access in [Access::Read, Access::Write, Access::UserRead, Access::UserWrite] {
            let (right, found) = (outcome(to, level, access), answer(va, access));
            let agrees = match (right, found) {
                (Err(right), Err(found)) => same(right, found, closed),
                _ => right == found,
            };
            check!(agrees, "{va}, {access:?}: the tables say {right:x?}, the MMU {found:x?}");
        }
        let is_entry = offset == 0 || level == Level::Second;
        if let Some(status) = fetch_fault(to, level).filter(|_| is_entry) {
            let found = refused_fetch(va)?;
            check!(same(status, found, closed), "{va}: a fetch ends in {found}, not in {status}");
            all.fetches += 1;
        }
        all.mapped += u32::from(to.is_some());
        all.entries += u32::from(level == Level::Second);
    }
    Ok(all)
}

/// Whether the fault that was found is the right one. Where nothing is mapped in a table whose domain is closed there
/// are two: the manual looks at the domain last, QEMU before the second level.
fn same(right: FaultStatus, found: FaultStatus, closed: bool) -> bool {
    let either = (FaultStatus::Translation(Level::Second), FaultStatus::Domain(Level::Second));
    right == found || closed && (right, found) == either
}

fn broken(error: TableError) -> Failed {
    log::error!("selftest: {error}");
    Failed
}

/// Whether the CPU gives the kernel no access to `domain` now.
fn is_closed(domain: Domain) -> bool {
    Dacr::read_raw() >> (2 * domain.raw()) & 3 != 1
}

/// What must come of `access` where the walk found `to` at `level`: the physical address or the fault.
fn outcome(to: Option<Translation>, level: Level, access: Access) -> Result<u32, FaultStatus> {
    let Some(to) = to else { return Err(FaultStatus::Translation(level)) };
    if is_closed(to.domain) {
        return Err(FaultStatus::Domain(level));
    }
    let rights = to.prot.access;
    let allowed = match access {
        Access::Read => rights != Rights::None,
        Access::Write => rights.writable(),
        Access::UserRead => rights.user(),
        Access::UserWrite => rights == Rights::UserRw,
    };
    if allowed { to.pa.as_u32().ok_or(FaultStatus::Translation(level)) } else { Err(FaultStatus::Permission(level)) }
}

/// What the MMU says of `access` at `va`.
fn answer(va: VirtAddr, access: Access) -> Result<u32, FaultStatus> {
    // FS[4] of a fault status register is bit 10.
    translate(va, access).map_err(|fs| FaultStatus::from_fsr(fs & 0xf | (fs & 0x10) << 6))
}

/// The fault of a fetch by the kernel; `None` where there may be none.
fn fetch_fault(to: Option<Translation>, level: Level) -> Option<FaultStatus> {
    match to {
        None => Some(FaultStatus::Translation(level)),
        Some(to) if is_closed(to.domain) => Some(FaultStatus::Domain(level)),
        Some(to) if to.prot.exec != Exec::Allowed => Some(FaultStatus::Permission(level)),
        Some(_) => None,
    }
}

/// How a branch to `va`, where nothing may be executed, is refused.
fn refused_fetch(va: VirtAddr) -> Result<FaultStatus, Failed> {
    // SAFETY: the tables that the MMU walks refuse the fetch, as `fetch_fault` found: no instruction at `va` runs.
    let fault = unsafe { try_execute(va) }.err();
    let fault = fault.filter(|fault| fault.kind == Kind::PrefetchAbort && fault.address == va);
    check!(fault.is_some(), "{va}: a fetch is not refused: {fault:?}");
    fault.map(|fault| fault.status).ok_or(Failed)
}

/// What the boot left, with what earlier tests left of it.
fn every_entry_of_the_tables_agrees_with_the_mmu(system: &System) -> Verdict {
    let compared = compare(&system.tables)?;
    let image = system.image.whole.whole_frames().pages();
    check!(compared.mapped >= image, "{compared:?}, the image alone has {image} pages");
    Ok(())
}

/// Where physical and virtual addresses differ nothing is mapped at the image's physical address; where they
/// coincide nothing is mapped below the modules area.
fn the_identity_mapping_is_gone(system: &System) -> Verdict {
    let run = VirtAddr::new(system.head.run);
    let linear = system.layout.linear.phys_to_virt(system.image.whole.start);
    if linear != Some(run) && run.raw() < system.layout.modules_start().raw() {
        let found = translate(run, Access::Read);
        check!(found.is_err(), "the image's physical address {run} is still mapped: {found:x?}");
    }
    let mut index = 0_u32;
    while index << 20 < system.layout.modules_start().raw() {
        let va = VirtAddr::new(index << 20);
        let mapped = system.tables.walk(va).map_err(|_| Failed)?;
        check!(mapped.is_none(), "{va} is mapped: {mapped:?}");
        index += 1;
    }
    Ok(())
}
