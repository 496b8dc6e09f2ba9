//! Address spaces: a user half each, under the kernel half that all of them share.
//!
//! Theory.      A space has a first-level table of its own (16 KiB). Its words below the modules' area belong to it;
//!              the words above are copies of the kernel's own table, to which [`follow`] brings every later change.
//!              With TTBCR.N = 0 there is no second base register that could spare the copies. Linux brings changes
//!              over at the translation fault that a missing word raises; here, where tables of the kernel half are
//!              given back when they are empty, an old word could name a freed table, so each change is stored in every
//!              space before the flush that belongs to it.
//! Users' pages. All are in [`Domain::USER`](crate::paging::Domain::USER), which is closed while the kernel runs; their
//! pages are nG, so that the TLB
//!              tags them by the space's ASID ([`asid`]), and where the CPU knows PXN their tables have it.
//! Invariants.  1. A space's user half begins after the null page and ends below the modules. 2. Nothing there is the
//!              kernel's, global, or writable and executable ([`audit()`]). 3. On `Err` nothing has changed.
//! Not here.    Whose the frames are: the caller's, as with vmap. Which space runs, and the list of all (the kernel).
//! Source.      Linux `arch/arm/mm/pgd.c` (`pgd_alloc`), `mm/memory.c`; Arm ARM DDI 0406C B3.5, B3.9, B3.12.

pub mod asid;
mod audit;
mod half;
mod tlb;

pub use asid::{AsidAllocator, AsidBroken, ContextId, Turn};
pub use audit::{SpaceFault, audit};
pub use half::{SpaceError, UserHalf};
pub use tlb::SpaceTlb;

use core::sync::atomic::{AtomicU32, Ordering};

use crate::addr::{PAGE_SIZE, PhysAddr, VirtAddr};
use crate::paging::{Editor, FIRST_LEVEL_WORDS, Mapper, PageSize, Prot, TableError, TableSource, Tables, Translation};
use crate::platform::{PhysMap, TlbControl};

/// Tables that [`AddressSpace::clear`] takes out between two flushes.
const CLEARED_AT_ONCE: usize = 32;

/// The tables of one space.
#[derive(Debug)]
pub struct AddressSpace<'m, P: ?Sized> {
    tables: Tables<'m, P>,
    half: UserHalf,
    pxn: bool,
}

impl<'m, P: PhysMap + ?Sized> AddressSpace<'m, P> {
    /// An empty user half at `root` (16 KiB, aligned to as many), and no kernel half yet: see [`follow`]. `pxn`: see
    /// [`Editor::of_user`].
    ///
    /// # Errors
    /// [`TableError::Unreachable`] when `root` is not aligned or not in `ram`.
    ///
    /// # Safety
    /// The 16 KiB belong to this value for its life, as tables, and so does every frame that a [`TableSource`] gives
    /// it until it is given back; the MMU may walk them only under the ASID that its calls are given.
    pub unsafe fn new(ram: &'m P, root: PhysAddr, half: UserHalf, pxn: bool) -> Result<Self, TableError> {
        // SAFETY: the caller gives these frames to the tables.
        let tables = unsafe { Tables::new(ram, root) }?;
        tables.first_level().iter().for_each(|word| word.store(0, Ordering::Relaxed));
        Ok(Self { tables, half, pxn })
    }

    /// The tables, to read.
    #[must_use]
    pub const fn tables(&self) -> &Tables<'m, P> {
        &self.tables
    }

    /// Maps `bytes` bytes at `va` to the frames from `to.0`, by large pages where both are aligned (Linux:
    /// `remap_pfn_range`). Frames stay the caller's.
    ///
    /// # Errors
    /// [`SpaceError`] with the address; nothing has changed.
    pub fn map<T: TlbControl + ?Sized>(
        &mut self,
        va: VirtAddr,
        bytes: u64,
        to: (PhysAddr, Prot),
        tlb: &SpaceTlb<'_, T>,
        source: &mut dyn TableSource,
    ) -> Result<(), SpaceError> {
        self.half.check(va, bytes)?;
        half::check_prot(to.1)?;
        self.mapper(tlb).map(va, bytes, to, PageSize::Large, source).map_err(SpaceError::Map)
    }

    /// Unmaps `bytes` bytes at `va`, all mapped (Linux: `zap_page_range`).
    ///
    /// # Errors
    /// [`SpaceError`] with the address; nothing has changed.
    pub fn unmap<T: TlbControl + ?Sized>(
        &mut self,
        va: VirtAddr,
        bytes: u64,
        tlb: &SpaceTlb<'_, T>,
        source: &mut dyn TableSource,
    ) -> Result<(), SpaceError> {
        self.half.check(va, bytes)?;
        self.mapper(tlb).unmap(va, bytes, source).map_err(SpaceError::Map)
    }

    /// Gives `bytes` bytes at `va`, all mapped, other rights (Linux: `change_protection`).
    ///
    /// # Errors
    /// [`SpaceError`] with the address; nothing has changed.
    pub fn protect<T: TlbControl + ?Sized>(
        &mut self,
        va: VirtAddr,
        bytes: u64,
        prot: Prot,
        tlb: &SpaceTlb<'_, T>,
        source: &mut dyn TableSource,
    ) -> Result<(), SpaceError> {
        self.half.check(va, bytes)?;
        half::check_prot(prot)?;
        self.mapper(tlb).protect(va, bytes, prot, source).map_err(SpaceError::Map)
    }

    /// What is mapped at `va`, in either half; `None` for nothing.
    ///
    /// # Errors
    /// [`TableError`] when the tables are broken.
    pub fn walk(&self, va: VirtAddr) -> Result<Option<Translation>, TableError> {
        self.tables.walk(va)
    }

    /// Unmaps the whole user half and gives all its tables back (Linux: `exit_mmap`, `free_pgtables`).
    pub fn clear<T: TlbControl + ?Sized>(&mut self, tlb: &SpaceTlb<'_, T>, source: &mut dyn TableSource) {
        let mut taken = [PhysAddr::ZERO; CLEARED_AT_ONCE];
        let mut count = 0;
        let mut flush = |taken: &[PhysAddr]| {
            // No walk and no TLB knows a table when it is given back.
            tlb.flush_all();
            taken.iter().for_each(|table| source.give_back(*table));
        };
        for pair in (0..self.half.words()).step_by(2) {
            let words = self.tables.first_level().get(pair..pair + 2).unwrap_or(&[]);
            if words.iter().all(|word| word.load(Ordering::Relaxed) == 0) {
                continue;
            }
            let table = self.tables.pair_table(pair);
            words.iter().for_each(|word| word.store(0, Ordering::Relaxed));
            tlb.sync_first(pair, words);
            if let (Some(table), Some(place)) = (table, taken.get_mut(count)) {
                *place = table;
                count += 1;
            }
            if count == CLEARED_AT_ONCE {
                flush(&taken);
                count = 0;
            }
        }
        flush(taken.get(..count).unwrap_or(&[]));
    }

    fn mapper<'t, T: TlbControl + ?Sized>(&'t mut self, tlb: &'t SpaceTlb<'_, T>) -> Mapper<'t, P, SpaceTlb<'t, T>>
    where
        'm: 't,
    {
        let tables: Tables<'t, P> = self.tables;
        // SAFETY: `&mut self` makes this the only editor of the half that is the space's, since every call checks its
        // range; no code, stack or reference of the kernel lies there.
        Mapper::new(unsafe { Editor::new(tables, tlb) }.of_user(self.pxn))
    }
}

/// Stores the kernel's first-level words `words`, those of the MiBs from `first` on, in the table of a space whose user
/// half is `half`; what lies in that half is left out.
pub fn follow<P, T>(space: &Tables<'_, P>, half: UserHalf, tlb: &T, first: usize, words: &[AtomicU32])
where
    P: PhysMap + ?Sized,
    T: TlbControl + ?Sized,
{
    let skipped = half.words().saturating_sub(first);
    let first = first.saturating_add(skipped);
    let copies = space.first_level().get(first..).unwrap_or(&[]);
    let originals = words.get(skipped..).unwrap_or(&[]);
    for (copy, original) in copies.iter().zip(originals) {
        copy.store(original.load(Ordering::Relaxed), Ordering::Relaxed);
    }
    if let Some(changed) = copies.get(..originals.len().min(copies.len())).filter(|changed| !changed.is_empty()) {
        tlb.sync_table(core::ptr::NonNull::from(changed).cast(), size_of_val(changed));
    }
}

/// Copies all of the kernel half of `kernel` to the table of a new space (Linux: `pgd_alloc`).
pub fn copy_kernel_half<P, T>(space: &Tables<'_, P>, half: UserHalf, tlb: &T, kernel: &Tables<'_, P>)
where
    P: PhysMap + ?Sized,
    T: TlbControl + ?Sized,
{
    follow(space, half, tlb, 0, kernel.first_level());
}

const _: () = assert!(FIRST_LEVEL_WORDS.is_multiple_of(2) && PAGE_SIZE == 4096);

#[cfg(test)]
mod tests;
