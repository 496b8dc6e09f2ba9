//! A model MMU: the walk of the Arm ARM written a second time, from raw bits, to judge tables by. Feature `testing`.
//!
//! It shares no code with `descriptor` or `walk`: it takes TTBR0, PRRR, NMRR, DACR as the CPU does.

use crate::addr::{PAGE_SIZE, Pfn, PhysAddr};
use crate::platform::PhysMap;
use std::vec::Vec;

/// What the MMU would do at an address.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Answer {
    /// Output address of the very byte.
    pub pa: u64,
    /// May PL1 read, PL1 write, PL0 read, PL0 write.
    pub access: [bool; 4],
    /// May PL1 fetch, may PL0 fetch.
    pub fetch: [bool; 2],
    /// 0 strongly ordered, 1 device, 2 normal.
    pub kind: u32,
    /// Inner and outer cache policy, as NMRR codes them; 0 but for normal memory.
    pub cache: [u32; 2],
    /// Shareable, as PRRR makes it of S.
    pub shareable: bool,
    /// nG.
    pub non_global: bool,
    /// log2 of what the descriptor maps.
    pub shift: u32,
}

/// The registers that translation depends on.
#[derive(Clone, Copy, Debug)]
pub struct ModelMmu<'m, P> {
    /// Physical memory.
    pub ram: &'m P,
    /// TTBR0 without its low bits.
    pub ttbr: u64,
    /// PRRR.
    pub prrr: u32,
    /// NMRR.
    pub nmrr: u32,
    /// DACR.
    pub dacr: u32,
}

impl<P: PhysMap> ModelMmu<'_, P> {
    #[expect(clippy::expect_used, reason = "tables that point out of RAM fail the test")]
    fn word(&self, at: u64) -> u32 {
        let frame = Pfn::containing(PhysAddr::new(at)).expect("below 2^44");
        let page = self.ram.frames_ptr(frame, 1).expect("the walk reads RAM");
        let word = page.cast::<u32>().as_ptr().wrapping_add((at % u64::from(PAGE_SIZE) / 4) as usize);
        // SAFETY: the word lies in the page, which `PhysMap` answers for; tables are written through atomics on this
        // very thread only.
        unsafe { word.read_volatile() }
    }

    /// What the MMU finds at `va`; `None` for a translation or domain fault.
    #[must_use]
    pub fn translate(&self, va: u32) -> Option<Answer> {
        let first = self.word(self.ttbr + u64::from(va >> 20) * 4);
        let domain = if first & 3 != 1 && first & 1 << 18 != 0 { 0 } else { first >> 5 & 15 };
        if first & 3 != 0 && self.dacr >> (2 * domain) & 3 != 1 {
            return None;
        }
        let bit = |word: u32, n: u32| word >> n & 1;
        match first & 3 {
            0 => None,
            1 => {
                let table = u64::from(first & 0xffff_fc00);
                let second = self.word(table + u64::from(va >> 12 & 0xff) * 4);
                let ap = bit(second, 9) << 2 | second >> 4 & 3;
                let pxn = bit(first, 2);
                match second & 3 {
                    0 => None,
                    1 => {
                        let pa = u64::from(second & 0xffff_0000 | va & 0xffff);
                        Some(self.answer(pa, 16, ap, [second >> 12, second >> 2], [bit(second, 15), pxn], second >> 10))
                    }
                    _ => {
                        let pa = u64::from(second & 0xffff_f000 | va & 0xfff);
                        Some(self.answer(pa, 12, ap, [second >> 6, second >> 2], [second & 1, pxn], second >> 10))
                    }
                }
            }
            _ => {
                let ap = bit(first, 15) << 2 | first >> 10 & 3;
                let never = [bit(first, 4), first & 1];
                let (pa, shift) = if bit(first, 18) == 1 {
                    let high = u64::from(first >> 20 & 15) << 32 | u64::from(first >> 5 & 15) << 36;
                    (high | u64::from(first & 0xff00_0000 | va & 0x00ff_ffff), 24)
                } else {
                    (u64::from(first & 0xfff0_0000 | va & 0x000f_ffff), 20)
                };
                Some(self.answer(pa, shift, ap, [first >> 12, first >> 2], never, first >> 16))
            }
        }
    }

    #[expect(clippy::panic, reason = "reserved encodings fail the test")]
    fn answer(&self, pa: u64, shift: u32, ap: u32, tex_cb: [u32; 2], never: [u32; 2], s_ng: u32) -> Answer {
        let n = (tex_cb[0] & 1) << 2 | tex_cb[1] & 3;
        let access = match ap {
            0 => [false, false, false, false],
            1 => [true, true, false, false],
            2 => [true, true, true, false],
            3 => [true, true, true, true],
            5 => [true, false, false, false],
            6 | 7 => [true, false, true, false],
            _ => panic!("AP 0b100 is reserved"),
        };
        let kind = self.prrr >> (2 * n) & 3;
        let s = s_ng & 1;
        let shareable = match kind {
            0 => true,
            1 => self.prrr >> (16 + s) & 1 == 1,
            2 => self.prrr >> (18 + s) & 1 == 1,
            _ => panic!("PRRR.TR{n} is reserved"),
        };
        let cache = if kind == 2 { [self.nmrr >> (2 * n) & 3, self.nmrr >> (2 * n + 16) & 3] } else { [0, 0] };
        let may_fetch = |reads: bool, pxn: u32| reads && never[0] == 0 && pxn == 0;
        let fetch = [may_fetch(access[0], never[1]), may_fetch(access[2], 0)];
        Answer { pa, access, fetch, kind, cache, shareable, non_global: s_ng & 2 != 0, shift }
    }

    /// Every 4 KiB page of the 4 GiB that answers, lowest first; tables that are not there are skipped whole.
    #[must_use]
    pub fn all(&self) -> Vec<(u32, Answer)> {
        let mut found = Vec::new();
        for mib in 0..4096_u32 {
            if self.word(self.ttbr + u64::from(mib) * 4) & 3 == 0 {
                continue;
            }
            for page in 0..256 {
                let va = mib << 20 | page << 12;
                found.extend(self.translate(va).map(|answer| (va, answer)));
            }
        }
        found
    }
}

#[cfg(test)]
#[path = "tests/model.rs"]
mod tests;
