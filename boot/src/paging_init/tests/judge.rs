//! What must be where when all is done, and whether it is.

use mm::addr::{PhysAddr, PhysRange, VirtAddr};
use mm::layout::VirtualLayout;
use mm::paging::descriptor::FirstLevel;
use mm::paging::model::Answer;
use mm::paging::{Audit, AuditError, FIRST_LEVEL_WORDS, Prot, Rules, Tables, audit};
use mm::testing::FakeRam;

use super::board::Board;
use super::{CONSOLE_VA, PAGE, model, range, words};
use crate::paging_init::PagingSummary;

impl Board {
    /// The protection of a frame in the linear map: written down a second time, apart from `Contents`.
    pub(super) fn linear_prot(&self, pa: u64) -> Option<Prot> {
        let image = self.image_layout();
        let here = PhysAddr::new(pa);
        if image.guards.iter().any(|guard| guard.contains(here)) {
            return None;
        }
        if image.text.contains(here) {
            return Some(Prot::KERNEL_RX);
        }
        if image.rodata.contains(here) {
            return Some(Prot::KERNEL_RO);
        }
        if image.data.contains(here) || (self.l1..self.l1 + 0x4000).contains(&pa) {
            return Some(Prot::KERNEL_RW);
        }
        let inside = |&(start, end, no_map): &(u64, u64, bool)| !no_map && start <= pa && pa + PAGE <= end;
        (pa + PAGE <= self.lowmem_limit && self.banks.iter().any(inside)).then_some(Prot::KERNEL_RW)
    }

    /// What must be at the page `va` when all is done: address and protection.
    fn wanted(&self, va: u32) -> Option<(u64, Prot)> {
        let linear = self.linear();
        if let Some(pa) = linear.virt_to_phys(VirtAddr::new(va)) {
            return Some((pa.raw(), self.linear_prot(pa.raw())?));
        }
        match va {
            CONSOLE_VA => Some((self.console(), Prot::DEVICE_RW)),
            0xffff_0000 => Some((self.image + 0x1000, Prot::KERNEL_RX)),
            0xff80_0000..0xffa0_0000 => {
                let blob = self.dtb?;
                let pa = blob.start.raw() / 0x10_0000 * 0x10_0000 + u64::from(va - 0xff80_0000);
                let mib = pa / 0x10_0000 * 0x10_0000;
                let plain = (mib..mib + 0x10_0000).step_by(0x1000).all(|pa| self.linear_prot(pa).is_some())
                    && !self.remap.iter().any(|area| area.overlaps(range(mib, mib + 0x10_0000)));
                (plain || blob.overlaps(range(pa, pa + PAGE))).then_some((pa, Prot::KERNEL_RO))
            }
            _ => None,
        }
    }

    /// Every page of the 4 GiB by the model MMU against `wanted`; returns how many are mapped.
    fn check(&self, ram: &FakeRam) -> usize {
        let mut seen = model(ram, self.l1).all().into_iter().peekable();
        let mut mapped = 0;
        for page in 0..0x10_0000_u32 {
            let va = page << 12;
            let found = seen.next_if(|(at, _)| *at == va).map(|(_, answer)| answer);
            let wanted = self.wanted(va);
            let alike = match (found, wanted) {
                (None, None) => true,
                (Some(found), Some((pa, prot))) => {
                    let image = self.image_layout();
                    let mut changing = self.remap.iter().chain(&image.init);
                    let in_area = va < 0xff80_0000 && changing.any(|area| area.contains(PhysAddr::new(pa)));
                    agrees(&found, pa, prot) && (!in_area || found.shift == 12)
                }
                _ => false,
            };
            assert!(alike, "{va:#010x}: {found:x?} instead of {wanted:x?}");
            mapped += usize::from(found.is_some());
        }
        mapped
    }

    /// The half of a table page whose MiB is a section holds no rubbish, or the page would never count as empty.
    fn unused_halves_are_zero(&self, ram: &FakeRam) {
        // SAFETY: the test uses the table frames as tables only.
        let tables = unsafe { Tables::new(ram, PhysAddr::new(self.l1)) }.unwrap();
        for index in 0..FIRST_LEVEL_WORDS {
            let linked = matches!(tables.first(index), Ok(FirstLevel::PageTable { .. }));
            let (false, Some(page)) = (linked, tables.pair_table(index)) else { continue };
            let part = index % 2 * 256;
            let words = words(ram, page.raw());
            assert!(words[part..part + 256].iter().chain(&words[part + 512..part + 768]).all(|word| *word == 0));
        }
    }

    pub(super) fn audit(&self, ram: &FakeRam) -> Result<Audit, AuditError> {
        // SAFETY: the test uses the table frames as tables only.
        let tables = unsafe { Tables::new(ram, PhysAddr::new(self.l1)) }.unwrap();
        let layout = VirtualLayout::new(self.linear());
        let no_map = |frames: PhysRange| {
            let touched = |&(start, end, no_map): &(u64, u64, bool)| no_map && range(start, end).overlaps(frames);
            self.banks.iter().any(touched)
        };
        audit(&tables, &Rules { areas: &layout.areas(), linear: layout.linear, touches_no_map: &no_map })
    }

    /// A boot that must succeed, judged in full.
    pub(super) fn proves(&self) -> PagingSummary {
        let (ram, result) = self.run();
        let summary = result.unwrap();
        let mapped = self.check(&ram);
        let audit = self.audit(&ram).unwrap();
        assert_eq!(
            (audit.small, audit.sections),
            (summary.pages, summary.sections),
            "the summary counts what is there"
        );
        self.unused_halves_are_zero(&ram);
        assert_eq!(mapped, audit.small as usize + audit.sections as usize * 256);
        assert_eq!(audit.executable_bytes, self.text + PAGE, "text and its alias, the vectors");
        summary
    }
}

/// Whether the MMU's answer is `prot` at `pa`.
fn agrees(found: &Answer, pa: u64, prot: Prot) -> bool {
    let normal = prot != Prot::DEVICE_RW;
    let access = [true, prot == Prot::KERNEL_RW || prot == Prot::DEVICE_RW, false, false];
    let fetch = [prot == Prot::KERNEL_RX, false];
    let kind = if normal { (2, [1, 1]) } else { (1, [0, 0]) };
    found.pa == pa
        && (found.access, found.fetch) == (access, fetch)
        && (found.kind, found.cache) == kind
        && found.shareable
        && !found.non_global
}
