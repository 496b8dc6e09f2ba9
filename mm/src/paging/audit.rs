//! The judge of finished tables: walks everything that is mapped and stops at the first thing that must not be.
//!
//! Invariants.  1. Nothing is writable and executable, nor writable here and executable in the linear map. 2. No no-map
//!              frame is mapped in the linear map. 3. Nothing is mapped outside the expected areas. 4. The linear map
//!              maps each address to its own frame. 5. A frame of the linear map has one kind of memory, in every
//!              alias. 6. Everything is in the kernel's domain, so that the permissions count. 7. Software and hardware
//!              entries of a page agree. 8. Users may use nothing.
//! Cost.        One pass; a look-up in the linear map for each page that is an alias of RAM. No allocation.
#![forbid(unsafe_code)]

use core::fmt;
use core::sync::atomic::{AtomicU32, Ordering};

use super::descriptor::FirstLevel;
use super::prot::{Domain, Prot};
use super::soft::SoftEntry;
use super::table::{HALF_WORDS, TableError, Tables, page_index, section_index};
use super::walk::{Mapping, PageSize};
use crate::addr::{PAGE_SIZE, PhysAddr, PhysRange, VirtAddr};
use crate::layout::LinearMap;
use crate::platform::PhysMap;

/// Addresses in which something may be mapped.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Area {
    /// Its name in the log.
    pub name: &'static str,
    /// First address.
    pub start: VirtAddr,
    /// Last address.
    pub last: VirtAddr,
}

/// What the tables are judged by.
pub struct Rules<'a> {
    /// Where mappings may be, the linear map included.
    pub areas: &'a [Area],
    /// The linear map.
    pub linear: LinearMap,
    /// Whether some frame of a range is no-map.
    pub touches_no_map: &'a dyn Fn(PhysRange) -> bool,
}

impl fmt::Debug for Rules<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Rules").field("areas", &self.areas).field("linear", &self.linear).finish_non_exhaustive()
    }
}

/// What was found in tables that are right: descriptors that map something, by size.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Audit {
    /// 4 KiB pages.
    pub small: u32,
    /// Sixteenths of large pages.
    pub large: u32,
    /// Sections.
    pub sections: u32,
    /// Sixteenths of supersections.
    pub supersections: u32,
    /// Bytes that can be executed.
    pub executable_bytes: u64,
}

/// The first thing that is wrong.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum AuditError {
    /// Writable and executable.
    WritableExecutable(VirtAddr, Prot),
    /// In the linear map, of a frame that must never be there.
    NoMapFrame(VirtAddr, PhysAddr),
    /// In no expected area.
    OutsideAreas(VirtAddr),
    /// In the linear map, but of another address's frame.
    WrongFrame(VirtAddr, PhysAddr),
    /// A frame of the linear map, here with another kind of memory.
    MixedTypes(VirtAddr, PhysAddr),
    /// A frame that the linear map can execute is writable here, or the other way round.
    WritableAlias(VirtAddr, PhysAddr),
    /// A user may read or write what is the kernel's.
    UserAccess(VirtAddr, Prot),
    /// In a domain that has no client rights.
    ForeignDomain(VirtAddr, Domain),
    /// Software and hardware entry say different things.
    TwinsDiffer(VirtAddr),
    /// The tables are broken.
    Table(TableError),
}

impl fmt::Display for AuditError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::WritableExecutable(va, _) => write!(f, "{va} is writable and executable"),
            Self::NoMapFrame(va, pa) => write!(f, "no-map frame {pa} is in the linear map at {va}"),
            Self::OutsideAreas(va) => write!(f, "{va} is mapped outside every area"),
            Self::WrongFrame(va, pa) => write!(f, "linear address {va} maps {pa}"),
            Self::MixedTypes(va, pa) => write!(f, "{va} maps {pa} with another kind of memory than the linear map"),
            Self::WritableAlias(va, pa) => {
                write!(f, "{pa} is writable and executable: once at {va}, once in the linear map")
            }
            Self::UserAccess(va, _) => write!(f, "{va} is the kernel's and open to users"),
            Self::ForeignDomain(va, domain) => write!(f, "{va} is in domain {}", domain.raw()),
            Self::TwinsDiffer(va) => write!(f, "software and hardware entry of {va} differ"),
            Self::Table(error) => error.fmt(f),
        }
    }
}

impl From<TableError> for AuditError {
    fn from(error: TableError) -> Self {
        Self::Table(error)
    }
}

/// Judges every mapping of `tables` by `rules`.
///
/// # Errors
/// [`AuditError`]: the first that is wrong, with its address.
pub fn audit<P: PhysMap + ?Sized>(tables: &Tables<'_, P>, rules: &Rules<'_>) -> Result<Audit, AuditError> {
    let mut found = Audit::default();
    for mapping in tables.mappings() {
        let mapping = mapping?;
        judge(tables, rules, &mapping)?;
        match mapping.to.size {
            PageSize::Small => found.small += 1,
            PageSize::Large => found.large += 1,
            PageSize::Section => found.sections += 1,
            PageSize::Supersection => found.supersections += 1,
        }
        if mapping.to.prot.executable() {
            found.executable_bytes += u64::from(mapping.bytes());
        }
    }
    Ok(found)
}

/// Judges one mapping.
fn judge<P: PhysMap + ?Sized>(tables: &Tables<'_, P>, rules: &Rules<'_>, at: &Mapping) -> Result<(), AuditError> {
    let (va, to) = (at.va, at.to);
    if to.prot.writable() && to.prot.executable() {
        return Err(AuditError::WritableExecutable(va, to.prot));
    }
    if to.prot.access.user() {
        return Err(AuditError::UserAccess(va, to.prot));
    }
    if to.domain != Domain::KERNEL {
        return Err(AuditError::ForeignDomain(va, to.domain));
    }
    let last = VirtAddr::new(va.raw() | (at.bytes() - 1));
    if !rules.areas.iter().any(|area| area.start <= va && last <= area.last) {
        return Err(AuditError::OutsideAreas(va));
    }
    let frames = PhysRange::new(to.pa, to.pa.saturating_add(u64::from(at.bytes())));
    match rules.linear.virt_to_phys(va) {
        Some(own) if own != to.pa => return Err(AuditError::WrongFrame(va, to.pa)),
        Some(_) if (rules.touches_no_map)(frames) => return Err(AuditError::NoMapFrame(va, to.pa)),
        Some(_) => {}
        None => agrees_with_linear(tables, rules, at)?,
    }
    if matches!(to.size, PageSize::Small | PageSize::Large) && !twins_agree(tables, at)? {
        return Err(AuditError::TwinsDiffer(va));
    }
    Ok(())
}

/// Checks that the linear map, if it has a frame of these, has it with the same kind of memory, and that the two
/// together do not make it writable and executable. A larger descriptor is looked at page by page: the linear map may
/// have pages.
fn agrees_with_linear<P>(tables: &Tables<'_, P>, rules: &Rules<'_>, at: &Mapping) -> Result<(), AuditError>
where
    P: PhysMap + ?Sized,
{
    let here = at.to.prot;
    for offset in (0..at.bytes()).step_by(PAGE_SIZE as usize) {
        let pa = at.to.pa.saturating_add(u64::from(offset));
        let Some(linear) = rules.linear.phys_to_virt(pa) else { continue };
        let Some(own) = tables.walk(linear)?.map(|to| to.prot) else { continue };
        let va = VirtAddr::new(at.va.raw() | offset);
        if (own.mem, own.shareable) != (here.mem, here.shareable) {
            return Err(AuditError::MixedTypes(va, pa));
        }
        if own.writable() && here.executable() || here.writable() && own.executable() {
            return Err(AuditError::WritableAlias(va, pa));
        }
    }
    Ok(())
}

/// Whether the software entry of a page says what the hardware entry says.
pub(crate) fn twins_agree<P: PhysMap + ?Sized>(tables: &Tables<'_, P>, at: &Mapping) -> Result<bool, TableError> {
    let index = section_index(at.va);
    let (Some(page), FirstLevel::PageTable { pxn, .. }) = (tables.pair_table(index), tables.first(index)?) else {
        return Ok(false);
    };
    let words = tables.page(page)?;
    let (software, hardware) = (words.software(index), words.hardware(index));
    debug_assert_eq!(software.len(), HALF_WORDS);
    let raw = |words: &[AtomicU32]| words.get(page_index(at.va)).map_or(0, |word| word.load(Ordering::Relaxed));
    let Some(soft) = SoftEntry::decode(raw(software)) else { return Ok(false) };
    if at.to.size == PageSize::Small {
        return Ok(soft.hardware() == Ok(raw(hardware)));
    }
    // PXN is the table's, not the page's: compare with what the page itself can say.
    let said = Prot { exec: if pxn { at.to.prot.exec } else { soft.prot.exec }, ..soft.prot };
    Ok(soft.base == at.to.pa && said == at.to.prot && soft.young && soft.dirty)
}

#[cfg(test)]
#[path = "tests/audit.rs"]
mod tests;
