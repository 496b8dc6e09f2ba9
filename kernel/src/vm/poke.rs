//! Instructions of the kernel's own, replaced while it runs.
//!
//! Theory.      Text is read-only, and stays so: the frame gets a second, writable mapping in the fixmap for as long as
//!              one store takes. What was stored is cleaned to where instruction fetches look, and their caches forget
//!              what they had.
//! Invariants.  The window's word is 0 and no TLB knows it when the lock is taken.
//! Not here.    When other CPUs may run the old instruction and when the new one: the caller's to arrange. Each of them
//!              needs a context synchronization of its own (Linux: `stop_machine`).
//! Source.      Linux arch/arm/kernel/patch.c: `__patch_text_real`, `patch_map`. Arm ARM DDI 0406C A3.5.4, B2.2.9.

use core::fmt;

use mm::addr::{PAGE_SIZE, Pfn, VirtAddr};
use mm::layout::FixmapSlot;
use mm::paging::TableError;
use mm::platform::TlbControl;

use super::Vm;
use super::kmap::{fixmap_base, pointer};

/// The window's page of the fixmap's 2 MiB.
const PAGE: usize = match FixmapSlot::TextPoke0.address() {
    Some(va) => ((va.raw() - fixmap_base().raw()) / PAGE_SIZE) as usize,
    None => 0,
};
const _: () = assert!(PAGE > 0, "the fixmap has a window for text");

/// Why an instruction was not replaced; nothing has changed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum PokeError {
    /// No instruction begins at this address.
    Unaligned(VirtAddr),
    /// Nothing is executed at this address.
    NotText(VirtAddr),
    /// The tables are broken.
    Table(TableError),
}

impl fmt::Display for PokeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unaligned(va) => write!(f, "no instruction begins at {va}"),
            Self::NotText(va) => write!(f, "nothing is executed at {va}"),
            Self::Table(error) => error.fmt(f),
        }
    }
}

impl Vm {
    /// Replaces the instruction at `va` (A32, four bytes); returns the one that was there. Interrupts are masked for
    /// the time of a store and the maintenance behind it.
    ///
    /// # Errors
    /// [`PokeError`] with the address.
    ///
    /// # Safety
    /// Whoever runs the code at `va` must be right to run the new instruction, and until it has synchronized its
    /// context the old one.
    pub unsafe fn poke_text(&self, va: VirtAddr, instruction: u32) -> Result<u32, PokeError> {
        if !va.raw().is_multiple_of(4) {
            return Err(PokeError::Unaligned(va));
        }
        // Nobody unmaps the text meanwhile.
        let tables = self.tables.lock();
        let to = tables.mapper.tables().walk(va).map_err(PokeError::Table)?;
        let to = to.filter(|to| to.prot.executable()).and_then(|to| to.pa.as_u32());
        let frame = Pfn::new(to.ok_or(PokeError::NotText(va))? / PAGE_SIZE);
        let _alone = self.poke.lock();
        let slots = self.local.slots();
        let (words, window) = (slots.words(PAGE), slots.address(PAGE));
        slots.set_words(words, frame);
        self.sync_words(words);
        let at = pointer(VirtAddr::new(window.raw() | (va.raw() % PAGE_SIZE))).cast::<u32>();
        // SAFETY: the window maps the frame, readable and writable, until the words are cleared; it is an
        // instruction's.
        let old = unsafe { at.read_volatile() };
        // SAFETY: as above; that the text may change is the caller's word.
        unsafe { at.write_volatile(instruction) };
        self.tlb.sync_code(at.cast(), size_of::<u32>());
        words.clear();
        self.sync_words(words);
        self.tlb.flush_page(window);
        Ok(old)
    }
}
