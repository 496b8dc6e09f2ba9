//! Single writes to the tables: what is written, what is refused, and that a refusal writes nothing.

use super::*;
use crate::paging::prot::Exec;
use crate::paging::tests::fixture::{PAGE, POOL};
use crate::paging::tests::recording::Told::{All, First, Page};
use crate::paging::tests::recording::{Machine, hardware};

const TABLE: PhysAddr = PhysAddr::new(POOL);
const RW: Prot = Prot::KERNEL_RW;

/// A machine whose table page at `TABLE` is empty.
fn machine() -> Machine {
    let machine = Machine::new();
    machine.page(POOL).fill(0);
    machine
}

fn soft(pa: u64) -> u32 {
    SoftEntry::kernel(PhysAddr::new(pa), RW).encode().unwrap()
}

fn small(pa: u64) -> u32 {
    SecondLevel::Small { base: PhysAddr::new(pa), prot: RW }.encode().unwrap()
}

#[test]
fn words_of_the_first_level_are_written_one_by_one_or_cleared_in_a_run() {
    let machine = machine();
    let mut editor = machine.editor();
    for index in 0x10..0x15 {
        let base = PhysAddr::new(0x10_0000 * index as u64);
        editor.set_first(index, FirstLevel::Section { base, prot: RW, domain: Domain::KERNEL }).unwrap();
    }
    let words = || (0xf..0x16).map(|index| *machine.first(index) >> 20).collect::<Vec<_>>();
    assert_eq!(words(), [0, 0x10, 0x11, 0x12, 0x13, 0x14, 0]);
    editor.clear_first(0x11, 0x13);
    assert_eq!(words(), [0, 0x10, 0, 0, 0x13, 0x14, 0]);
    let unaligned = FirstLevel::Section { base: PhysAddr::new(PAGE), prot: RW, domain: Domain::KERNEL };
    let refused = EncodeError::Unaligned(PhysAddr::new(PAGE));
    assert_eq!((editor.set_first(0x10, unaligned), words()[1]), (Err(refused.into()), 0x10));
    // Beyond the first level there is nothing to write, to clear or to make visible.
    editor.set_first(4096, FirstLevel::Fault).unwrap();
    editor.clear_first(4095, 4097);
    let told = machine.told(|| {
        editor.sync_first(4095, 4097);
        editor.sync_first(4095, 4096);
        editor.sync_first(3, 9);
        editor.flush_page(VirtAddr::new(0x1234_5000));
        editor.flush_all();
    });
    assert_eq!(told, [First(4095, 1), First(3, 6), Page(0x1234_5000), All]);
    editor.set_first_raw(0x20, 0x1230_0004);
    assert_eq!(*machine.first(0x20), 0x1230_0004);
}

#[test]
fn a_table_is_linked_by_its_half_in_the_domain_and_with_the_pxn_of_the_editor() {
    for (index, half) in [(0x800, 2048), (0x801, 3072)] {
        let machine = machine();
        let mut editor = machine.editor();
        assert_eq!(editor.domain(), Domain::KERNEL);
        editor.link(index, TABLE).unwrap();
        assert_eq!(u64::from(*machine.first(index)), POOL + half + 1);
        for (pxn, bit) in [(false, 0), (true, 1 << 2)] {
            let mut editor = machine.editor().of_user(pxn);
            assert_eq!(editor.domain(), Domain::USER);
            editor.link(index, TABLE).unwrap();
            assert_eq!(u64::from(*machine.first(index)), (POOL + half) | 1 | 1 << 5 | bit);
        }
        let before = *machine.first(index);
        assert!(editor.link(index, PhysAddr::new(1 << 32)).is_err() && *machine.first(index) == before);
    }
}

#[test]
fn runs_of_pages_are_written_to_their_words_only() {
    let machine = machine();
    let mut editor = machine.editor();
    let run = Run { index: 0x801, page: 7, pages: 3 };
    editor.fill_small(TABLE, run, PhysAddr::new(0x5000), RW).unwrap();
    let words = machine.page(POOL);
    assert_eq!(words[256 + 7..256 + 10], [soft(0x5000), soft(0x6000), soft(0x7000)]);
    assert_eq!(words[768 + 7..768 + 10], [small(0x5000), small(0x6000), small(0x7000)]);
    assert_eq!(words.iter().filter(|word| **word != 0).count(), 6);
    assert_eq!(machine.told(|| editor.sync_run(TABLE, run).unwrap()), [hardware(POOL, 1, 7, 3)]);
    editor.clear_run(TABLE, Run { page: 8, pages: 1, ..run }).unwrap();
    assert_eq!(machine.page(POOL)[768 + 7..768 + 10], [small(0x5000), 0, small(0x7000)]);
    assert_eq!(machine.page(POOL)[256 + 7..256 + 10], [soft(0x5000), 0, soft(0x7000)]);
    editor.fill_frames(TABLE, run, &[Pfn::new(9), Pfn::new(0xf_ffff), Pfn::new(4)], RW).unwrap();
    assert_eq!(machine.page(POOL)[768 + 7..768 + 10], [small(0x9000), small(0xffff_f000), small(0x4000)]);
    assert_eq!(machine.page(POOL)[256 + 7..256 + 10], [soft(0x9000), soft(0xffff_f000), soft(0x4000)]);
    editor.clear_half(TABLE, 0x801).unwrap();
    editor.fill_large(TABLE, 0x800, 32, (PhysAddr::new(0x4_0000), RW)).unwrap();
    let words = machine.page(POOL);
    let large = SecondLevel::Large { base: PhysAddr::new(0x4_0000), prot: RW }.encode().unwrap();
    assert!(words[512 + 32..512 + 48].iter().all(|word| *word == large));
    assert!((0..16).all(|page| words[32 + page] == soft(0x4_0000 + page as u64 * PAGE)));
    assert_eq!(words.iter().filter(|word| **word != 0).count(), 32);
    editor.clear_half(TABLE, 0x801).unwrap();
    assert!(!editor.table_is_empty(TABLE).unwrap(), "the other half stays");
    editor.clear_half(TABLE, 0x800).unwrap();
    assert!(editor.table_is_empty(TABLE).unwrap());
}

#[test]
fn what_cannot_be_written_is_named_and_nothing_is_written() {
    let machine = machine();
    let mut editor = machine.editor();
    let run = |page, pages| Run { index: 0x801, page, pages };
    let at = |page: u32| EditError::Run(VirtAddr::new(0x8010_0000 + page * PAGE_SIZE));
    let zero = PhysAddr::ZERO;
    assert_eq!(editor.fill_small(TABLE, run(250, 7), zero, RW), Err(at(250)));
    assert_eq!(editor.fill_frames(TABLE, run(255, 2), &[Pfn::new(0); 2], RW), Err(at(255)));
    assert_eq!(editor.clear_run(TABLE, run(0, 257)), Err(at(0)));
    assert_eq!(editor.sync_run(TABLE, run(1, usize::MAX)), Err(at(1)));
    assert_eq!(editor.fill_large(TABLE, 0x801, 8, (zero, RW)), Err(at(8)));
    assert_eq!(
        editor.fill_large(TABLE, 0x801, 256, (zero, RW)).map_err(|error| matches!(error, EditError::Run(_))),
        Err(true)
    );
    let far = PhysAddr::new(1 << 32);
    assert_eq!(
        editor.fill_small(TABLE, run(0, 2), PhysAddr::new(0xffff_f000), RW),
        Err(EncodeError::OutOfReach(far).into())
    );
    assert_eq!(
        editor.fill_small(TABLE, run(0, 3), PhysAddr::new(0xffff_e000), RW),
        Err(EncodeError::OutOfReach(far).into())
    );
    let odd = PhysAddr::new(0x1000);
    assert_eq!(editor.fill_large(TABLE, 0x801, 16, (odd, RW)), Err(EncodeError::Unaligned(odd).into()));
    let user_only = Prot { exec: Exec::UserOnly, ..RW };
    assert_eq!(editor.fill_frames(TABLE, run(0, 1), &[Pfn::new(0)], user_only), Err(EncodeError::UserOnlyPage.into()));
    let nowhere = TableError::Unreachable(PhysAddr::new(0x7000_0000));
    let elsewhere = PhysAddr::new(0x7000_0000);
    assert_eq!(editor.clear_run(elsewhere, run(0, 1)), Err(nowhere.into()));
    assert_eq!(
        (editor.sync_page(elsewhere), editor.table_is_empty(elsewhere)),
        (Err(nowhere.into()), Err(nowhere.into()))
    );
    assert!(machine.page(POOL).iter().all(|word| *word == 0));
    editor.fill_small(TABLE, run(0, 2), PhysAddr::new(0xffff_e000), RW).unwrap();
    assert_eq!(machine.page(POOL)[769], small(0xffff_f000), "up to 4 GiB");
}

#[test]
fn one_word_anywhere_is_seen_and_every_word_is_cleared() {
    for count in [1, 2, 15, 16, 17, 31, 32, 40, 256] {
        let words: Vec<_> = (0..count).map(|_| AtomicU32::new(0)).collect();
        assert!(is_clear(&words));
        for at in 0..count {
            words[at].store(8, Ordering::Relaxed);
            assert!(!is_clear(&words), "word {at} of {count}");
            words[at].store(0, Ordering::Relaxed);
        }
        // Alike in pairs.
        words.iter().for_each(|word| word.store(5, Ordering::Relaxed));
        assert!(!is_clear(&words));
        clear(&words);
        assert!(words.iter().all(|word| word.load(Ordering::Relaxed) == 0));
    }
    assert!(is_clear(&[]));
}
