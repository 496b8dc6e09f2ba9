//! The encoder against tables that were typed in from the manual, and against its own inverse over every value.
#![expect(clippy::cast_possible_truncation, reason = "fields are cut to their width on purpose")]

use super::*;
use crate::paging::soft::SoftEntry;

fn every_prot() -> Vec<Prot> {
    let mut all = Vec::new();
    for access in Access::ALL {
        for exec in [Exec::Allowed, Exec::UserOnly, Exec::Never] {
            for mem in MemType::ALL {
                for (shareable, global) in [(false, false), (false, true), (true, false), (true, true)] {
                    all.push(Prot { access, exec, mem, shareable, global });
                }
            }
        }
    }
    all
}

fn every_domain() -> impl Iterator<Item = Domain> {
    (0..16).map(|raw| Domain::new(raw).unwrap())
}

/// AP[2:0] by table B3-8 of DDI 0406C.
fn manual_ap(access: Access) -> u32 {
    match access {
        Access::None => 0,
        Access::KernelRw => 1,
        Access::KernelRwUserRo => 2,
        Access::UserRw => 3,
        Access::KernelRo => 5,
        Access::UserRo => 7,
    }
}

/// (TEX[0], C, B) of our table of memory types.
fn manual_tcb(mem: MemType) -> (u32, u32, u32) {
    match mem {
        MemType::StronglyOrdered => (0, 0, 0),
        MemType::NormalNonCacheable => (0, 0, 1),
        MemType::WriteThrough => (0, 1, 0),
        MemType::WriteBack => (0, 1, 1),
        MemType::Device => (1, 0, 0),
        MemType::WriteBackWriteAllocate => (1, 1, 1),
    }
}

/// Puts `value` at `shift`, as one reads the figures: field by field.
fn word(fields: &[(u32, u32)]) -> u32 {
    fields.iter().fold(0, |word, &(value, shift)| word | value << shift)
}

#[test]
fn every_section_has_the_manuals_bits_and_decodes_to_itself() {
    for prot in every_prot() {
        for domain in every_domain() {
            for base in [0_u64, 0x8000_0000, 0xfff0_0000] {
                let section = FirstLevel::Section { base: PhysAddr::new(base), prot, domain };
                let (tex, c, b) = manual_tcb(prot.mem);
                let ap = manual_ap(prot.access);
                let expected = word(&[
                    (u32::from(prot.exec == Exec::UserOnly), 0),
                    (1, 1),
                    (b, 2),
                    (c, 3),
                    (u32::from(prot.exec == Exec::Never), 4),
                    (u32::from(domain.raw()), 5),
                    (ap & 3, 10),
                    (tex, 12),
                    (ap >> 2, 15),
                    (u32::from(prot.shareable), 16),
                    (u32::from(!prot.global), 17),
                    ((base >> 20) as u32, 20),
                ]);
                assert_eq!(section.encode(), Ok(expected), "{section:?}");
                assert_eq!(FirstLevel::decode(expected), Some(section));
            }
        }
    }
}

#[test]
fn every_supersection_has_the_manuals_bits_and_decodes_to_itself() {
    for prot in every_prot() {
        for base in [0_u64, 0x0100_0000, 0xff00_0000, 0xa5_1200_0000, 0xff_ff00_0000] {
            let descriptor = FirstLevel::Supersection { base: PhysAddr::new(base), prot };
            let section = FirstLevel::Section { base: PhysAddr::ZERO, prot, domain: Domain::KERNEL };
            let address = word(&[
                ((base >> 24 & 0xff) as u32, 24),
                ((base >> 32 & 0xf) as u32, 20),
                ((base >> 36 & 0xf) as u32, 5),
                (1, 18),
            ]);
            let expected = section.encode().unwrap() | address;
            assert_eq!(descriptor.encode(), Ok(expected));
            assert_eq!(FirstLevel::decode(expected), Some(descriptor));
        }
    }
}

#[test]
fn every_table_pointer_has_the_manuals_bits_and_decodes_to_itself() {
    for domain in every_domain() {
        for pxn in [false, true] {
            for base in [0_u64, 0x400, 0x8000_0800, 0xffff_fc00] {
                let descriptor = FirstLevel::PageTable { table: PhysAddr::new(base), domain, pxn };
                let expected =
                    word(&[(1, 0), (u32::from(pxn), 2), (u32::from(domain.raw()), 5), ((base >> 10) as u32, 10)]);
                assert_eq!(descriptor.encode(), Ok(expected));
                assert_eq!(FirstLevel::decode(expected), Some(descriptor));
            }
        }
    }
}

#[test]
fn every_page_has_the_manuals_bits_and_decodes_to_itself() {
    for prot in every_prot().into_iter().filter(|prot| prot.exec != Exec::UserOnly) {
        let (tex, c, b) = manual_tcb(prot.mem);
        let ap = manual_ap(prot.access);
        let xn = u32::from(prot.exec == Exec::Never);
        let common =
            [(b, 2), (c, 3), (ap & 3, 4), (ap >> 2, 9), (u32::from(prot.shareable), 10), (u32::from(!prot.global), 11)];
        for base in [0_u32, 0x8000_0000, 0xffff_0000] {
            let small = SecondLevel::Small { base: PhysAddr::new(u64::from(base) + 0x3000), prot };
            let expected = word(&common) | word(&[(xn, 0), (1, 1), (tex, 6)]) | (base + 0x3000);
            assert_eq!(small.encode(), Ok(expected), "{small:?}");
            assert_eq!(SecondLevel::decode(expected), Some(small));

            let large = SecondLevel::Large { base: PhysAddr::new(u64::from(base)), prot };
            let expected = word(&common) | word(&[(1, 0), (tex, 12), (xn, 15)]) | base;
            assert_eq!(large.encode(), Ok(expected), "{large:?}");
            assert_eq!(SecondLevel::decode(expected), Some(large));

            for (young, dirty) in [(false, false), (false, true), (true, false), (true, true)] {
                let soft = SoftEntry { base: PhysAddr::new(u64::from(base)), prot, young, dirty };
                assert_eq!(SoftEntry::decode(soft.encode().unwrap()), Some(soft));
            }
        }
    }
}

/// The notes' pairing: the hardware knows a page that is present and young, and lets it be written when it is dirty.
#[test]
fn the_hardware_twin_of_every_page_is_what_present_young_and_dirty_say() {
    for prot in every_prot() {
        for (young, dirty) in [(false, false), (false, true), (true, false), (true, true)] {
            let soft = SoftEntry { base: PhysAddr::new(0x8765_4000), prot, young, dirty };
            let small = |access| SecondLevel::Small { base: soft.base, prot: Prot { access, ..prot } }.encode();
            if prot.exec == Exec::UserOnly {
                assert_eq!((soft.encode(), soft.hardware()), (small(prot.access), small(prot.access)), "no such page");
                continue;
            }
            let clean = match prot.access {
                Access::KernelRw => Access::KernelRo,
                Access::UserRw | Access::KernelRwUserRo => Access::UserRo,
                other => other,
            };
            let wanted = if young { small(if dirty { prot.access } else { clean }) } else { Ok(0) };
            assert_eq!(soft.hardware(), wanted, "{soft:?}");
            let raw = soft.encode().unwrap();
            assert_eq!((raw & 1, raw >> 1 & 1, raw >> 2 & 1), (1, u32::from(young), u32::from(dirty)));
        }
    }
}

#[test]
fn every_base_stands_in_its_bits_and_decodes_to_itself() {
    let (prot, domain) = (Prot::KERNEL_RX, Domain::new(9).unwrap());
    let first = |meaning: FirstLevel| (meaning.encode().unwrap(), meaning);
    let second = |meaning: SecondLevel| (meaning.encode().unwrap(), meaning);
    for base in (0..1_u64 << 32).step_by(1 << 12) {
        let (raw, meaning) = second(SecondLevel::Small { base: PhysAddr::new(base), prot });
        assert_eq!((u64::from(raw >> 12), SecondLevel::decode(raw)), (base >> 12, Some(meaning)));
        let soft = SoftEntry::kernel(PhysAddr::new(base), prot);
        assert_eq!(SoftEntry::decode(soft.encode().unwrap()), Some(soft));
        if base % (1 << 16) == 0 {
            let (raw, meaning) = second(SecondLevel::Large { base: PhysAddr::new(base), prot });
            assert_eq!((u64::from(raw >> 16), SecondLevel::decode(raw)), (base >> 16, Some(meaning)));
            // As many supersections: of 40 bits.
            let high = base << 8;
            let (raw, meaning) = first(FirstLevel::Supersection { base: PhysAddr::new(high), prot });
            let bits = (u64::from(raw >> 24), u64::from(raw >> 20 & 15), u64::from(raw >> 5 & 15));
            assert_eq!(bits, (high >> 24 & 0xff, high >> 32 & 15, high >> 36 & 15));
            assert_eq!(FirstLevel::decode(raw), Some(meaning));
        }
        if base % (1 << 20) == 0 {
            let (raw, meaning) = first(FirstLevel::Section { base: PhysAddr::new(base), prot, domain });
            assert_eq!((u64::from(raw >> 20), FirstLevel::decode(raw)), (base >> 20, Some(meaning)));
        }
        for table in (base..base + (1 << 12)).step_by(1 << 10) {
            let (raw, meaning) = first(FirstLevel::PageTable { table: PhysAddr::new(table), domain, pxn: false });
            assert_eq!((u64::from(raw >> 10), FirstLevel::decode(raw)), (table >> 10, Some(meaning)));
        }
    }
}

#[test]
fn reserved_words_have_no_meaning_and_faults_are_faults() {
    // AP = 0b100 is reserved, TEX remap indices 5 and 6 are not given out; bits 1:0 = 0 is a fault whatever the rest.
    assert_eq!(FirstLevel::decode(0b10 | 1 << 15), None);
    assert_eq!(FirstLevel::decode(0b10 | 1 << 12 | 1 << 2 | 1 << 10), None);
    assert_eq!(FirstLevel::decode(0b10 | 1 << 12 | 2 << 2 | 1 << 10), None);
    assert_eq!(FirstLevel::decode(0xffff_fffc), Some(FirstLevel::Fault));
    assert_eq!(SecondLevel::decode(0b10 | 1 << 9), None);
    assert_eq!(SecondLevel::decode(0b01 | 1 << 12 | 1 << 2), None);
    assert_eq!(SecondLevel::decode(0xffff_fffc), Some(SecondLevel::Fault));
    assert_eq!(SoftEntry::decode(0xffff_fffe), None);
}

#[test]
fn every_word_that_decodes_says_the_same_when_encoded_again() {
    // All 2^18 combinations of the low bits, over one base: ignored bits may change, the meaning may not.
    for low in 0..1_u32 << 18 {
        for raw in [low, low | 0x8000_0000 | 1 << 18] {
            if let Some(meaning) = FirstLevel::decode(raw) {
                assert_eq!(meaning.encode().ok().and_then(FirstLevel::decode), Some(meaning), "{raw:#x}");
            }
            if let Some(meaning) = SecondLevel::decode(raw) {
                assert_eq!(meaning.encode().ok().and_then(SecondLevel::decode), Some(meaning), "{raw:#x}");
            }
        }
    }
}

#[test]
fn addresses_that_do_not_fit_are_named() {
    let (prot, domain) = (Prot::KERNEL_RW, Domain::KERNEL);
    let at = PhysAddr::new;
    let section = |base| FirstLevel::Section { base, prot, domain }.encode();
    assert_eq!(section(at(0x8010_1000)), Err(EncodeError::Unaligned(at(0x8010_1000))));
    assert_eq!(section(at(1 << 32)), Err(EncodeError::OutOfReach(at(1 << 32))));
    let table = FirstLevel::PageTable { table: at(0x200), domain, pxn: false };
    assert_eq!(table.encode(), Err(EncodeError::Unaligned(at(0x200))));
    let supersection = FirstLevel::Supersection { base: at(1 << 40), prot };
    assert_eq!(supersection.encode(), Err(EncodeError::OutOfReach(at(1 << 40))));
    let large = SecondLevel::Large { base: at(0x1000), prot };
    assert_eq!(large.encode(), Err(EncodeError::Unaligned(at(0x1000))));
    let small = SecondLevel::Small { base: at(0x1000), prot: Prot { exec: Exec::UserOnly, ..prot } };
    assert_eq!(small.encode(), Err(EncodeError::UserOnlyPage));
}

#[test]
fn the_words_of_real_tables_decode_to_what_they_are() {
    // Sections of a running Linux on the same board: AP=1 TEX=1 CB=3 XN=1 S=1 at 0x80000000, and AP=5 XN=0.
    let read_write =
        FirstLevel::Section { base: PhysAddr::new(0x8000_0000), prot: Prot::KERNEL_RW, domain: Domain::KERNEL };
    assert_eq!(FirstLevel::decode(0x8001_141e), Some(read_write));
    let executable =
        FirstLevel::Section { base: PhysAddr::new(0x8030_0000), prot: Prot::KERNEL_RX, domain: Domain::KERNEL };
    assert_eq!(FirstLevel::decode(0x8031_940e), Some(executable));
}
