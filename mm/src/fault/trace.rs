//! The walk of one address, word by word: what the MMU read.
//!
//! ```text
//! [9ef00000] *pgd=9edf8801, *pte=9ef00447, *ppte=9ef0045f
//! ```
//! `*pgd` is the first-level word, `*ppte` the word of the second level that the MMU reads, `*pte` its software twin.
//!
//! Source.      Linux `show_pte` of `arch/arm/mm/fault.c`; Arm ARM DDI 0406C B3.5.

use core::fmt;
use core::sync::atomic::{AtomicU32, Ordering};

use crate::addr::{PAGE_SIZE, PhysAddr, VirtAddr};
use crate::paging::descriptor::{FirstLevel, SecondLevel};
use crate::paging::{Access, Exec, Prot, TableError, Tables, page_index, section_index};
use crate::platform::PhysMap;

/// What both levels of the tables hold for an address.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Trace {
    /// The address.
    pub va: VirtAddr,
    /// Its word of the first level.
    pub first: u32,
    /// Its words of the second level; `None` when the first has no table for it.
    pub second: Option<SecondWords>,
}

/// An entry of the second level.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct SecondWords {
    /// What the MMU reads.
    pub hardware: u32,
    /// What the system remembers.
    pub software: u32,
}

impl Trace {
    /// Walks `tables`.
    ///
    /// # Errors
    /// [`TableError::Unreachable`] when the first level names a table that cannot be read.
    pub fn of<P: PhysMap + ?Sized>(tables: &Tables<'_, P>, va: VirtAddr) -> Result<Self, TableError> {
        let first = tables.first_word(section_index(va));
        let second = match FirstLevel::decode(first) {
            Some(FirstLevel::PageTable { table, .. }) => {
                let at = |words: &[AtomicU32]| words.get(page_index(va)).map_or(0, |word| word.load(Ordering::Relaxed));
                let page = tables.page(table.align_down(u64::from(PAGE_SIZE)))?;
                let (hardware, software) = (at(tables.hardware(table)?), at(page.software(section_index(va))));
                Some(SecondWords { hardware, software })
            }
            _ => None,
        };
        Ok(Self { va, first, second })
    }

    /// What is mapped, with its protection; `None` for a fault and for a reserved word.
    #[must_use]
    pub fn leaf(&self) -> Option<(PhysAddr, Prot)> {
        match (FirstLevel::decode(self.first)?, self.second) {
            (FirstLevel::Section { base, prot, .. } | FirstLevel::Supersection { base, prot }, _) => Some((base, prot)),
            (FirstLevel::PageTable { .. }, Some(words)) => match SecondLevel::decode(words.hardware)? {
                SecondLevel::Small { base, prot } | SecondLevel::Large { base, prot } => Some((base, prot)),
                SecondLevel::Fault => None,
            },
            _ => None,
        }
    }

    /// The first-level word in words.
    #[must_use]
    pub fn first_in_words(&self) -> impl fmt::Display {
        InWords::First(self.first)
    }

    /// The second-level word in words; `None` without a second level.
    #[must_use]
    pub fn second_in_words(&self) -> Option<impl fmt::Display> {
        self.second.map(|words| InWords::Second(words.hardware))
    }
}

impl fmt::Display for Trace {
    /// Linux's line.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "[{:08x}] *pgd={:08x}", self.va.raw(), self.first)?;
        match self.second {
            Some(words) => write!(f, ", *pte={:08x}, *ppte={:08x}", words.software, words.hardware),
            None => Ok(()),
        }
    }
}

/// A word, decoded.
enum InWords {
    First(u32),
    Second(u32),
}

impl fmt::Display for InWords {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (kind, base, prot) = match *self {
            Self::First(raw) => match FirstLevel::decode(raw) {
                None => return f.write_str("reserved"),
                Some(FirstLevel::Fault) => return f.write_str("nothing is mapped"),
                Some(FirstLevel::PageTable { table, domain, .. }) => {
                    return write!(f, "table at {table}, domain {}", domain.raw());
                }
                Some(FirstLevel::Section { base, prot, .. }) => ("section", base, prot),
                Some(FirstLevel::Supersection { base, prot }) => ("supersection", base, prot),
            },
            Self::Second(raw) => match SecondLevel::decode(raw) {
                None => return f.write_str("reserved"),
                Some(SecondLevel::Fault) => return f.write_str("nothing is mapped"),
                Some(SecondLevel::Large { base, prot }) => ("large page", base, prot),
                Some(SecondLevel::Small { base, prot }) => ("small page", base, prot),
            },
        };
        let access = match prot.access {
            Access::None => "no access",
            Access::KernelRw => "kernel RW",
            Access::KernelRo => "kernel ro",
            Access::KernelRwUserRo => "kernel RW, user ro",
            Access::UserRw => "kernel and user RW",
            Access::UserRo => "kernel and user ro",
        };
        let exec = match prot.exec {
            Exec::Allowed => "x",
            Exec::UserOnly => "PXN",
            Exec::Never => "NX",
        };
        write!(f, "{kind} {base}, {access}, {exec}, {}", prot.mem.name())
    }
}
