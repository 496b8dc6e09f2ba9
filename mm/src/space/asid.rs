//! Address space identifiers: 255 numbers for any number of address spaces.
//!
//! Theory.      A TLB entry of a user page carries the ASID (8 bits) that was in CONTEXTIDR when it was made, and
//!              serves only under that ASID. A space gets an ASID when a CPU first runs it, and keeps it while the
//!              *generation* lasts. When the numbers run out, the next generation begins: all numbers are free again
//!              but those of spaces that a CPU runs at this moment, and each CPU drops its whole TLB before it runs
//!              anything new. A space of an older generation gets a new number at its next turn (its old one, if that
//!              is still free).
//!
//! ```text
//!  63                          8 7      0
//! | generation, 1 and upwards   | ASID  |   ContextId; all 0: never ran
//! ```
//! Invariants.  1. ASID 0 is nobody's: a CPU has it while it runs no space. 2. A number of this generation belongs to
//!              one space. 3. A space that several CPUs run has one number on all of them. 4. No CPU runs a space under
//!              a number that its TLB still holds another space's entries of.
//! Not here.    Locks: `&mut self`, and interrupts masked from [`AsidAllocator::enter`] until the registers are
//!              written.
//! Source.      Linux `arch/arm/mm/context.c` (the idea of generations and reserved numbers); Arm ARM DDI 0406C B3.9.1.
#![forbid(unsafe_code)]

use core::fmt;

use crate::sync::CpuId;

/// ASIDs that there are, number 0 included.
pub const ASIDS: usize = 256;
const FIRST: usize = 1;
const GENERATION_SHIFT: u32 = 8;

/// Which ASID a space has, and since which generation.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
#[repr(transparent)]
pub struct ContextId(u64);

impl ContextId {
    /// Of a space that never ran.
    pub const NONE: Self = Self(0);

    const fn new(generation: u64, asid: u8) -> Self {
        Self(generation << GENERATION_SHIFT | asid as u64)
    }

    /// As [`ContextId::raw`] gave it.
    #[must_use]
    pub const fn from_raw(raw: u64) -> Self {
        Self(raw)
    }

    /// Both as one number.
    #[must_use]
    pub const fn raw(self) -> u64 {
        self.0
    }

    /// What CONTEXTIDR gets; 0 of a space that never ran.
    #[must_use]
    pub const fn asid(self) -> u8 {
        self.0.to_le_bytes()[0]
    }

    /// The generation; 0 of a space that never ran.
    #[must_use]
    pub const fn generation(self) -> u64 {
        self.0 >> GENERATION_SHIFT
    }
}

impl fmt::Display for ContextId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ASID {} of generation {}", self.asid(), self.generation())
    }
}

/// What a CPU has to do to run a space.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Turn {
    /// The space's context from now on.
    pub context: ContextId,
    /// Before the ASID is used, this CPU must drop all that its own TLB holds.
    pub flush: bool,
}

/// What is wrong with the numbers.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum AsidBroken {
    /// A CPU runs this, and its number is not marked as used.
    NotUsed(ContextId),
    /// Two CPUs run these, which share a number.
    Shared(ContextId, ContextId),
}

impl fmt::Display for AsidBroken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotUsed(context) => write!(f, "asid: {context} runs and is free"),
            Self::Shared(one, other) => write!(f, "asid: {one} and {other} run at once"),
        }
    }
}

/// The numbers, for up to `CPUS` CPUs.
#[derive(Debug)]
pub struct AsidAllocator<const CPUS: usize> {
    generation: u64,
    /// A bit an ASID that this generation has given out.
    used: [u64; ASIDS / 64],
    /// Where the search for a free one begins.
    next: usize,
    /// What each CPU runs.
    active: [ContextId; CPUS],
    /// Which CPUs have not dropped their TLB since the generation began.
    stale: [bool; CPUS],
}

impl<const CPUS: usize> AsidAllocator<CPUS> {
    /// No space has a number, and no CPU runs one.
    #[must_use]
    pub const fn new() -> Self {
        // A generation must have a number left when every CPU keeps one.
        const { assert!(CPUS < ASIDS - FIRST) };
        Self {
            generation: 1,
            used: [0; ASIDS / 64],
            next: FIRST,
            active: [ContextId::NONE; CPUS],
            stale: [false; CPUS],
        }
    }

    /// The generation that numbers are given out of.
    #[must_use]
    pub const fn generation(&self) -> u64 {
        self.generation
    }

    /// Makes `cpu` run the space that has `context`; `None` for a CPU beyond the last.
    ///
    /// Cost: a comparison, or a search of 256 bits; once in 255 new spaces the beginning of a generation.
    /// Linux: `check_and_switch_context`.
    pub fn enter(&mut self, cpu: CpuId, context: ContextId) -> Option<Turn> {
        let at = cpu.index();
        if at >= CPUS {
            return None;
        }
        let context = if context.generation() == self.generation { context } else { self.renew(context)? };
        *self.active.get_mut(at)? = context;
        let flush = core::mem::take(self.stale.get_mut(at)?);
        Some(Turn { context, flush })
    }

    /// `cpu` runs no space any more: ASID 0 and the kernel's own tables.
    pub fn leave(&mut self, cpu: CpuId) {
        if let Some(active) = self.active.get_mut(cpu.index()) {
            *active = ContextId::NONE;
        }
    }

    /// Whether a CPU other than `cpu` runs the space that has `context`.
    #[must_use]
    pub fn runs_beside(&self, cpu: CpuId, context: ContextId) -> bool {
        let others = self.active.iter().enumerate().filter(|(at, _)| *at != cpu.index());
        context != ContextId::NONE && others.into_iter().any(|(_, active)| *active == context)
    }

    /// A number of this generation for a space of an older one.
    #[inline(never)]
    fn renew(&mut self, old: ContextId) -> Option<ContextId> {
        let kept = ContextId::new(self.generation, old.asid());
        if old != ContextId::NONE {
            // Another CPU runs it: it keeps the number, which nobody else has got.
            let mut runs = false;
            for active in self.active.iter_mut().filter(|active| **active == old) {
                (*active, runs) = (kept, true);
            }
            if runs || self.take(usize::from(old.asid())) {
                return Some(kept);
            }
        }
        let asid = match self.take_free() {
            Some(asid) => asid,
            None => {
                self.roll_over();
                self.take_free()?
            }
        };
        Some(ContextId::new(self.generation, asid))
    }

    /// Begins the next generation.
    fn roll_over(&mut self) {
        self.generation = self.generation.wrapping_add(1);
        (self.used, self.next) = ([0; ASIDS / 64], FIRST);
        for active in self.active {
            self.take(usize::from(active.asid()));
        }
        self.stale = [true; CPUS];
    }

    /// Marks `asid` as used; `false` if it is.
    fn take(&mut self, asid: usize) -> bool {
        let bit = 1 << (asid % 64);
        let Some(word) = self.used.get_mut(asid / 64) else { return false };
        let is_free = *word & bit == 0;
        *word |= bit;
        is_free
    }

    /// Takes a free number, the first from the last one on.
    fn take_free(&mut self) -> Option<u8> {
        let free = (self.next..ASIDS).find(|asid| self.take(*asid))?;
        self.next = free.saturating_add(1);
        u8::try_from(free).ok()
    }

    /// Tests invariants 1 to 3 as far as the numbers show them.
    ///
    /// # Errors
    /// [`AsidBroken`]: the first that does not hold.
    pub fn validate(&self) -> Result<(), AsidBroken> {
        let running = || self.active.iter().copied().filter(|context| *context != ContextId::NONE);
        for (at, one) in running().enumerate() {
            let asid = usize::from(one.asid());
            if asid == 0 || self.used.get(asid / 64).is_none_or(|word| word >> (asid % 64) & 1 == 0) {
                return Err(AsidBroken::NotUsed(one));
            }
            if let Some(other) = running().skip(at.saturating_add(1)).find(|o| o.asid() == one.asid() && *o != one) {
                return Err(AsidBroken::Shared(one, other));
            }
        }
        Ok(())
    }
}

impl<const CPUS: usize> Default for AsidAllocator<CPUS> {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
#[path = "asid_tests.rs"]
mod tests;
