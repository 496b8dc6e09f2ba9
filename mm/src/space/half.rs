//! Which addresses are a user's, and what may be said of them.
#![forbid(unsafe_code)]

use core::fmt;

use crate::addr::{PAGE_SIZE, PGDIR_SIZE, SECTION_SIZE, VirtAddr};
use crate::layout::{MODULES_AND_PKMAP, PAGE_OFFSET};
use crate::paging::{Access, MapError, Prot};

/// The user half: from the page after null up to the modules (Linux: `TASK_SIZE`).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct UserHalf {
    end: VirtAddr,
}

/// Why a user's mapping was not changed; nothing has.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum SpaceError {
    /// The null page is nobody's.
    NullPage(VirtAddr),
    /// The range at this address leaves the user half.
    NotUser(VirtAddr),
    /// Global, open to the kernel alone, or writable and executable.
    BadProt(Prot),
    /// The tables refuse it.
    Map(MapError),
}

impl fmt::Display for SpaceError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NullPage(va) => write!(f, "{va} lies in the null page"),
            Self::NotUser(va) => write!(f, "range at {va} leaves the user half"),
            Self::BadProt(prot) => write!(f, "{prot:?} is not for users"),
            Self::Map(error) => error.fmt(f),
        }
    }
}

impl UserHalf {
    /// The half of this build's split.
    pub const BUILT: Self = Self::below(PAGE_OFFSET);

    /// The half below lowmem's begin `page_offset` and the areas of modules and pkmap.
    #[must_use]
    pub const fn below(page_offset: VirtAddr) -> Self {
        Self { end: VirtAddr::new(page_offset.raw().saturating_sub(MODULES_AND_PKMAP)) }
    }

    /// One past its last address (Linux: `TASK_SIZE`).
    #[must_use]
    pub const fn end(&self) -> VirtAddr {
        self.end
    }

    /// First-level words that it has.
    #[must_use]
    pub const fn words(&self) -> usize {
        (self.end.raw() / SECTION_SIZE) as usize
    }

    /// Whether `bytes` bytes at `va` are a user's (Linux: `access_ok`). None at all are, wherever they are.
    #[must_use]
    pub const fn holds(&self, va: VirtAddr, bytes: u64) -> bool {
        bytes == 0 || va.raw() >= PAGE_SIZE && bytes <= self.end.raw().saturating_sub(va.raw()) as u64
    }

    /// Whether `bytes` bytes at `va` may be a user's mapping.
    ///
    /// # Errors
    /// [`SpaceError::NullPage`], [`SpaceError::NotUser`].
    pub(super) const fn check(&self, va: VirtAddr, bytes: u64) -> Result<(), SpaceError> {
        if va.raw() < PAGE_SIZE {
            return Err(SpaceError::NullPage(va));
        }
        if self.holds(va, bytes) { Ok(()) } else { Err(SpaceError::NotUser(va)) }
    }
}

/// Whether a user's page may have `prot`: without access, or with the user's own; not global, never writable and
/// executable.
pub(super) const fn check_prot(prot: Prot) -> Result<(), SpaceError> {
    let access = matches!(prot.access, Access::UserRw | Access::UserRo | Access::None);
    if access && !prot.global && !(prot.writable() && prot.executable()) {
        Ok(())
    } else {
        Err(SpaceError::BadProt(prot))
    }
}

// Both of a table page's MiBs lie in one half.
const _: () = assert!(UserHalf::BUILT.end.raw().is_multiple_of(PGDIR_SIZE));
