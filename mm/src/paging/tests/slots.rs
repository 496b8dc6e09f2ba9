//! Windows of single pages: which are accepted, and which words a slot has.

use super::*;
use crate::paging::tests::fixture::{PAGE, Pool};
use crate::paging::tests::recording::Told;
use crate::paging::tests::recording::{Machine, first_page, hardware};
use crate::paging::{Exec, Live, PageSize};

const BASE: VirtAddr = VirtAddr::new(0x7fe0_0000);
const INDEX: usize = 0x7fe;
const TABLE: u64 = first_page(1);

/// A table that both halves of the window are linked to.
fn machine() -> Machine {
    let (machine, mut pool) = (Machine::new(), Pool::new(1));
    let middle = VirtAddr::new(BASE.raw() + 255 * PAGE_SIZE);
    let to = (PhysAddr::ZERO, Prot::KERNEL_RO);
    machine.mapper(Live::Broken).map(middle, 2 * PAGE, to, PageSize::Small, &mut pool).unwrap();
    machine
}

fn slots(machine: &Machine, base: VirtAddr, prot: Prot) -> Result<Slots<'_>, EditError> {
    // SAFETY: the table stays linked as long as the machine; no code or stack lies behind the window.
    unsafe { Slots::new(&machine.tables(), base, prot) }
}

#[test]
fn a_window_is_2_mib_whose_halves_have_the_halves_of_one_table() {
    let machine = machine();
    let none = |base: VirtAddr| assert_eq!(slots(&machine, base, Prot::KERNEL_RW).map(drop), Err(EditError::Run(base)));
    assert!(slots(&machine, BASE, Prot::KERNEL_RW).is_ok());
    none(VirtAddr::new(BASE.raw() + 0x10_0000));
    none(VirtAddr::new(BASE.raw() + PAGE_SIZE));
    none(VirtAddr::new(BASE.raw() - 0x20_0000));
    let user_only = Prot { exec: Exec::UserOnly, ..Prot::KERNEL_RW };
    let refused = slots(&machine, BASE, user_only).map(drop);
    assert_eq!(refused, Err(super::super::descriptor::EncodeError::UserOnlyPage.into()));
    for half in [0, 1] {
        let word = *machine.first(INDEX + half);
        // Nothing, a section, the other half, another table.
        for other in [0, 0x8000_0002, word ^ 0x400, word + 0x1000] {
            *machine.first(INDEX + half) = other;
            none(BASE);
        }
        *machine.first(INDEX + half) = word;
    }
    assert!(slots(&machine, BASE, Prot::KERNEL_RW).is_ok());
}

#[test]
fn each_slot_has_its_address_and_its_two_words_and_no_others() {
    let machine = machine();
    let slots = slots(&machine, BASE, Prot::KERNEL_RW).unwrap();
    machine.page(TABLE).fill(0);
    for slot in [0, 1, 7, 255, 256, 300, 510, 511] {
        let va = slots.address(slot);
        assert_eq!(va.raw(), BASE.raw() + u32::try_from(slot).unwrap() * PAGE_SIZE);
        assert_eq!(slots.address(slot + SLOTS), va, "modulo the window");
        let frame = Pfn::new(0xf_f00d);
        for set in [slot, slot + SLOTS] {
            slots.set(set, frame);
            let prot = Prot::KERNEL_RW;
            let base = frame.base();
            let words = machine.page(TABLE);
            assert_eq!(Ok(words[slot]), SoftEntry::kernel(base, prot).encode());
            assert_eq!(Ok(words[SLOTS + slot]), SecondLevel::Small { base, prot }.encode());
            assert_eq!(words.iter().filter(|word| **word != 0).count(), 2);
            assert!((0..SLOTS).all(|other| slots.is_set(other) == (other == slot)) && slots.is_set(slot + SLOTS));
            let found = machine.tables().walk(va).unwrap().unwrap();
            assert_eq!((found.pa, found.prot), (base, prot));
            slots.clear(set);
            assert!(machine.page(TABLE).iter().all(|word| *word == 0) && !slots.is_set(slot));
        }
        // What is to be made visible is the hardware's word.
        let told = machine.told(|| {
            for (ptr, bytes) in [slots.bytes(slot), slots.words(slot + SLOTS).bytes()] {
                crate::platform::TlbControl::sync_table(&machine.tlb, ptr, bytes);
            }
        });
        let (half, page) = ((slot / 256) as u64, (slot % 256) as u64);
        let word: Told = hardware(TABLE, half, page, 1);
        assert_eq!(told, [word, word]);
    }
}
