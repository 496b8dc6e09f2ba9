//! The judge of a space's tables: stops at the first thing that must not be.
//!
//! Invariants.  1. The kernel half is the kernel's own, word for word (which `paging::audit` judges). 2. Whatever the
//!              user half maps is in the users' domain, not global, open to users or to nobody, and never writable and
//!              executable. 3. It maps no frame that is the kernel's. 4. Software and hardware entries agree.
#![forbid(unsafe_code)]

use core::fmt;
use core::sync::atomic::Ordering;

use super::half::{UserHalf, check_prot};
use crate::addr::{PAGE_SIZE, PhysAddr, PhysRange, VirtAddr};
use crate::paging::{Domain, Mapping, PageSize, Prot, TableError, Tables, section_va, twins_agree};
use crate::platform::PhysMap;

/// The first thing that is wrong with a space.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum SpaceFault {
    /// The kernel's table says something else of this address.
    KernelHalf(VirtAddr),
    /// In the user half, but not in the users' domain.
    ForeignDomain(VirtAddr, Domain),
    /// In the user half with rights that no user's page has.
    BadProt(VirtAddr, Prot),
    /// The null page is mapped.
    NullPage,
    /// A frame of the kernel's is mapped for users.
    KernelFrame(VirtAddr, PhysAddr),
    /// Software and hardware entry say different things.
    TwinsDiffer(VirtAddr),
    /// The tables are broken.
    Table(TableError),
}

impl fmt::Display for SpaceFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::KernelHalf(va) => write!(f, "the space's kernel half differs from the kernel's at {va}"),
            Self::ForeignDomain(va, domain) => write!(f, "user address {va} is in domain {}", domain.raw()),
            Self::BadProt(va, prot) => write!(f, "user address {va} has {prot:?}"),
            Self::NullPage => f.write_str("the null page is mapped"),
            Self::KernelFrame(va, pa) => write!(f, "user address {va} maps the kernel's frame {pa}"),
            Self::TwinsDiffer(va) => write!(f, "software and hardware entry of {va} differ"),
            Self::Table(error) => error.fmt(f),
        }
    }
}

impl From<TableError> for SpaceFault {
    fn from(error: TableError) -> Self {
        Self::Table(error)
    }
}

/// Judges the tables of a space whose user half is `half`; `is_kernels` says whether some frame of a range is the
/// kernel's own. Returns the pages (of 4 KiB) that users have.
///
/// # Errors
/// [`SpaceFault`]: the first thing that is wrong, with its address.
pub fn audit<P: PhysMap + ?Sized>(
    space: &Tables<'_, P>,
    kernel: &Tables<'_, P>,
    half: UserHalf,
    is_kernels: &dyn Fn(PhysRange) -> bool,
) -> Result<u32, SpaceFault> {
    let words = space.first_level().iter().zip(kernel.first_level()).enumerate().skip(half.words());
    for (index, (copy, original)) in words {
        if copy.load(Ordering::Relaxed) != original.load(Ordering::Relaxed) {
            return Err(SpaceFault::KernelHalf(section_va(index)));
        }
    }
    let mut pages = 0;
    for mapping in space.mappings() {
        let mapping = mapping?;
        if mapping.va >= half.end() {
            break;
        }
        judge(space, &mapping, is_kernels)?;
        pages += mapping.bytes() / PAGE_SIZE;
    }
    Ok(pages)
}

fn judge<P>(space: &Tables<'_, P>, at: &Mapping, is_kernels: &dyn Fn(PhysRange) -> bool) -> Result<(), SpaceFault>
where
    P: PhysMap + ?Sized,
{
    let (va, to) = (at.va, at.to);
    if va.raw() < PAGE_SIZE {
        return Err(SpaceFault::NullPage);
    }
    if to.domain != Domain::USER {
        return Err(SpaceFault::ForeignDomain(va, to.domain));
    }
    check_prot(to.prot).map_err(|_| SpaceFault::BadProt(va, to.prot))?;
    if is_kernels(PhysRange::new(to.pa, to.pa.saturating_add(u64::from(at.bytes())))) {
        return Err(SpaceFault::KernelFrame(va, to.pa));
    }
    if matches!(to.size, PageSize::Small | PageSize::Large) && !twins_agree(space, at)? {
        return Err(SpaceFault::TwinsDiffer(va));
    }
    Ok(())
}
