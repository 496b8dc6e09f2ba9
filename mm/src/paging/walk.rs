//! The walk: from an address to what is mapped there, and over all that is mapped.
//!
//! Source.      Arm ARM DDI 0406C B3.5.
#![forbid(unsafe_code)]

use core::sync::atomic::Ordering;

use super::descriptor::{FirstLevel, LARGE_PAGE_SIZE, SUPERSECTION_SIZE, SecondLevel};
use super::prot::{Domain, Exec, Prot};
use super::table::{FIRST_LEVEL_WORDS, HALF_WORDS, TableError, Tables, page_index, section_index, section_va};
use crate::addr::{PAGE_SIZE, PhysAddr, SECTION_SIZE, VirtAddr};
use crate::platform::PhysMap;

/// How much one descriptor maps.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum PageSize {
    /// 4 KiB.
    Small,
    /// 64 KiB.
    Large,
    /// 1 MiB.
    Section,
    /// 16 MiB.
    Supersection,
}

impl PageSize {
    /// In bytes.
    #[must_use]
    pub const fn bytes(self) -> u32 {
        match self {
            Self::Small => PAGE_SIZE,
            Self::Large => LARGE_PAGE_SIZE,
            Self::Section => SECTION_SIZE,
            Self::Supersection => SUPERSECTION_SIZE,
        }
    }
}

/// What is mapped at an address.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Translation {
    /// The physical address of the very byte that was asked for.
    pub pa: PhysAddr,
    /// How much the descriptor maps.
    pub size: PageSize,
    /// What it allows, with PXN of the first level folded in.
    pub prot: Prot,
    /// Its domain.
    pub domain: Domain,
}

/// One descriptor that maps something.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Mapping {
    /// The first address that it maps.
    pub va: VirtAddr,
    /// What is there.
    pub to: Translation,
}

impl<'m, P: PhysMap + ?Sized> Tables<'m, P> {
    /// What is mapped at `va`; `None` for a translation fault.
    ///
    /// # Errors
    /// [`TableError`] for reserved descriptors and tables out of reach.
    pub fn walk(&self, va: VirtAddr) -> Result<Option<Translation>, TableError> {
        let (table, domain, pxn) = match self.first(section_index(va))? {
            FirstLevel::Fault => return Ok(None),
            FirstLevel::PageTable { table, domain, pxn } => (table, domain, pxn),
            FirstLevel::Section { base, prot, domain } => {
                return Ok(Some(translation(base, va, PageSize::Section, prot, domain)));
            }
            FirstLevel::Supersection { base, prot } => {
                return Ok(Some(translation(base, va, PageSize::Supersection, prot, Domain::KERNEL)));
            }
        };
        let raw = self.hardware(table)?.get(page_index(va)).map_or(0, |word| word.load(Ordering::Relaxed));
        Ok(second(va, raw)?.map(|(base, size, prot)| translation(base, va, size, with_pxn(prot, pxn), domain)))
    }

    /// Every descriptor that maps something, lowest address first. The copies of large pages and supersections each
    /// count as one mapping of their own 4 KiB or 1 MiB, with the size of the whole in `to.size`.
    #[must_use]
    pub fn mappings(&self) -> Mappings<'m, P> {
        Mappings { tables: *self, index: 0, half: None }
    }
}

/// What a second-level word maps.
fn second(va: VirtAddr, raw: u32) -> Result<Option<(PhysAddr, PageSize, Prot)>, TableError> {
    match SecondLevel::decode(raw).ok_or(TableError::Undecodable(va, raw))? {
        SecondLevel::Fault => Ok(None),
        SecondLevel::Large { base, prot } => Ok(Some((base, PageSize::Large, prot))),
        SecondLevel::Small { base, prot } => Ok(Some((base, PageSize::Small, prot))),
    }
}

fn translation(base: PhysAddr, va: VirtAddr, size: PageSize, prot: Prot, domain: Domain) -> Translation {
    let offset = va.raw() & (size.bytes() - 1);
    Translation { pa: base.saturating_add(u64::from(offset)), size, prot, domain }
}

/// A page of a table whose first-level word has PXN.
fn with_pxn(prot: Prot, pxn: bool) -> Prot {
    if pxn && prot.exec == Exec::Allowed { Prot { exec: Exec::UserOnly, ..prot } } else { prot }
}

/// See [`Tables::mappings`].
#[derive(Debug)]
pub struct Mappings<'m, P: ?Sized> {
    tables: Tables<'m, P>,
    /// The next MiB.
    index: usize,
    /// The table that is being read, for the MiB before `index`.
    half: Option<Half<'m>>,
}

#[derive(Debug)]
struct Half<'m> {
    words: &'m [core::sync::atomic::AtomicU32],
    next: usize,
    domain: Domain,
    pxn: bool,
}

impl<P: PhysMap + ?Sized> Mappings<'_, P> {
    /// The next mapping of the table that is being read.
    fn next_page(&mut self) -> Option<Result<Mapping, TableError>> {
        let half = self.half.as_mut()?;
        while let Some(word) = half.words.get(half.next) {
            let raw = word.load(Ordering::Relaxed);
            let page = half.next;
            half.next += 1;
            if raw == 0 {
                continue;
            }
            let va = page_va(self.index.wrapping_sub(1), page);
            match second(va, raw) {
                Ok(None) => {}
                Ok(Some((base, size, prot))) => {
                    let to = translation(base, va, size, with_pxn(prot, half.pxn), half.domain);
                    return Some(Ok(Mapping { va, to }));
                }
                Err(error) => return Some(Err(error)),
            }
        }
        self.half = None;
        None
    }
}

impl<P: PhysMap + ?Sized> Iterator for Mappings<'_, P> {
    type Item = Result<Mapping, TableError>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            if let Some(found) = self.next_page() {
                return Some(found);
            }
            if self.index >= FIRST_LEVEL_WORDS {
                return None;
            }
            let va = section_va(self.index);
            let first = self.tables.first(self.index);
            self.index += 1;
            let to = match first {
                Err(error) => return Some(Err(error)),
                Ok(FirstLevel::Fault) => continue,
                Ok(FirstLevel::PageTable { table, domain, pxn }) => match self.tables.hardware(table) {
                    Err(error) => return Some(Err(error)),
                    Ok(words) => {
                        self.half = Some(Half { words, next: 0, domain, pxn });
                        continue;
                    }
                },
                Ok(FirstLevel::Section { base, prot, domain }) => {
                    translation(base, va, PageSize::Section, prot, domain)
                }
                Ok(FirstLevel::Supersection { base, prot }) => {
                    translation(base, va, PageSize::Supersection, prot, Domain::KERNEL)
                }
            };
            return Some(Ok(Mapping { va, to }));
        }
    }
}

impl Mapping {
    /// Bytes that this descriptor stands for: a page or a MiB (a copy of a large page is one of sixteen).
    #[must_use]
    pub const fn bytes(&self) -> u32 {
        match self.to.size {
            PageSize::Small | PageSize::Large => PAGE_SIZE,
            PageSize::Section | PageSize::Supersection => SECTION_SIZE,
        }
    }
}

/// The address of page `page` of the MiB `index`.
#[expect(clippy::cast_possible_truncation, reason = "a page's index has 8 bits")]
pub(crate) const fn page_va(index: usize, page: usize) -> VirtAddr {
    VirtAddr::new(section_va(index).raw() | ((page % HALF_WORDS) as u32 * PAGE_SIZE))
}
