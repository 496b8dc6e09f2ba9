//! What `validate` says when one thing is wrong.

use super::*;
use crate::memmap::{Marks, StateWord};
use core::sync::atomic::Ordering::Relaxed;

const KIND: MigrateType = MigrateType::Movable;

over_both_cores! {
    a_listed_block_whose_state_is_another_is_named
    links_that_do_not_lead_back_are_named
    two_free_buddies_are_named
    a_block_among_pages_of_another_kind_is_named
    a_head_inside_a_block_or_out_of_place_is_named
    each_count_is_compared_with_the_pages
}

/// Two largest blocks, then one that is in use but for its second half.
fn core<C: FreeCore<'static>>() -> C {
    let mut core: C = core_of(3072);
    give_all(&mut core, range(0, 2048));
    core.give(Pfn::new(2560), order(9)).unwrap();
    core.validate().unwrap();
    core
}

/// The core's verdict while the state of `pfn` is `word`.
fn with_word<C: FreeCore<'static>>(core: &C, pfn: u32, word: StateWord) -> Broken {
    let page = core.frames().map.page(Pfn::new(pfn)).unwrap();
    let before = page.word();
    page.set_word(word);
    let verdict = core.validate().unwrap_err();
    page.set_word(before);
    core.validate().unwrap();
    verdict
}

fn free(raw: u8, kind: MigrateType) -> StateWord {
    StateWord::free(order(raw), kind, NORMAL)
}

fn a_listed_block_whose_state_is_another_is_named<C: FreeCore<'static>>() {
    let core: C = core();
    let listed = |raw| Broken::Listed { pfn: Pfn::new(if raw == 9 { 2560 } else { 0 }), order: order(raw), kind: KIND };
    let states = [
        free(9, KIND),
        free(10, MigrateType::Unmovable),
        StateWord::free(order(10), KIND, HIGH),
        StateWord::allocated(order(10), KIND),
        StateWord::guard(order(10)),
    ];
    for word in states {
        assert_eq!(with_word(&core, 0, word), listed(10), "{word:?}");
    }
    assert_eq!(with_word(&core, 2560, free(8, KIND)), listed(9));
}

fn links_that_do_not_lead_back_are_named<C: FreeCore<'static>>() {
    let core: C = core();
    let (first, second) = (core.frames().map.at(Pfn::new(0)), core.frames().map.at(Pfn::new(1024)));
    for link in [&first.next, &first.prev, &second.next, &second.prev] {
        let before = link.load(Relaxed);
        // Its own entry, or none.
        for wrong in [512, u32::MAX] {
            link.store(wrong, Relaxed);
            if wrong != before {
                assert!(matches!(
                    core.validate(),
                    Err(Broken::Links { .. } | Broken::Listed { .. } | Broken::Count { .. })
                ));
            }
        }
        link.store(before, Relaxed);
        core.validate().unwrap();
    }
    let last = if second.next.load(Relaxed) == u32::MAX { second } else { first };
    let before = last.prev.swap(u32::MAX, Relaxed);
    assert!(matches!(core.validate(), Err(Broken::Links { .. })));
    last.prev.store(before, Relaxed);
}

fn two_free_buddies_are_named<C: FreeCore<'static>>() {
    let core: C = core();
    let buddies = Broken::FreeBuddies { pfn: Pfn::new(2560), order: order(9) };
    assert_eq!(with_word(&core, 2048, free(9, KIND)), buddies);
    // One of another size is no buddy.
    assert_ne!(with_word(&core, 2048, free(8, KIND)), buddies);
}

fn a_block_among_pages_of_another_kind_is_named<C: FreeCore<'static>>() {
    let core: C = core();
    let verdict = |kind| {
        core.frames().usemap.set(Pfn::new(2560), kind);
        let verdict = core.validate();
        core.frames().usemap.set(Pfn::new(2560), KIND);
        verdict
    };
    for special in [MigrateType::Cma, MigrateType::Isolate, MigrateType::Reserve] {
        assert!(verdict(special).is_err());
    }
    if !C::GATHERS {
        let wrong = Broken::BlockType { pfn: Pfn::new(2560), kind: KIND };
        assert_eq!(verdict(MigrateType::Reserve), Err(wrong));
        // Ordinary types mix after a fallback.
        assert_eq!(verdict(MigrateType::Unmovable), core.validate());
    }
}

fn a_head_inside_a_block_or_out_of_place_is_named<C: FreeCore<'static>>() {
    let core: C = core();
    let overlap = |pfn| Broken::Overlap { pfn: Pfn::new(pfn) };
    let page = StateWord::allocated(Order::ZERO, KIND);
    for inside in [1, 1023, 2561, 3071] {
        assert_eq!(with_word(&core, inside, page), overlap(inside));
    }
    assert_eq!(with_word(&core, 2049, StateWord::allocated(order(1), KIND)), overlap(2049));
    // Alone it would leave the zone.
    let mut small: C = core_of(1024 + 8);
    give_all(&mut small, range(0, 1024));
    let page = small.frames().map.at(Pfn::new(1024));
    page.set_word(StateWord::allocated(order(4), KIND).marked(Marks::empty()));
    assert_eq!(small.validate(), Err(overlap(1024)));
}

fn each_count_is_compared_with_the_pages<C: FreeCore<'static>>() {
    let core: C = core();
    let count = |word| match with_word(&core, 2050, word) {
        Broken::Count { what, counter, found } => (what, i64::from(found) - i64::from(counter)),
        other => panic!("{other}"),
    };
    assert_eq!(count(StateWord::guard(Order::ZERO)), ("guard pages", 1));
    assert_eq!(count(free(0, KIND)), ("free pages", 1));
    assert_eq!(count(free(0, MigrateType::Isolate)), ("isolated pages", 1));
}
