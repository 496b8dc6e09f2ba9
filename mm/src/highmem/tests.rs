//! The ring against a map of counts, with a TLB that remembers what it was not told to forget; the stack by cases.
#![expect(clippy::cast_possible_truncation, reason = "the numbers of the tests are small")]

use std::collections::BTreeMap;
use std::vec::Vec;

use core::num::NonZeroU32;
use core::sync::atomic::AtomicU32;
use core::sync::atomic::Ordering::Relaxed;
use std::sync::{Condvar, Mutex};

use proptest::prelude::*;

use super::*;
use crate::addr::Pfn;
use crate::sync::TaskLock;
use crate::testing::scaled;

/// Table words, and what a TLB may still know of each window.
#[derive(Default)]
struct Table {
    words: BTreeMap<usize, Pfn>,
    tlb: BTreeMap<usize, Pfn>,
    flushes: u32,
}

impl PkmapTable for Table {
    fn set(&mut self, slot: usize, frame: Pfn) {
        assert_eq!(self.tlb.get(&slot), None, "a TLB knows another frame of window {slot}");
        assert_eq!(self.words.insert(slot, frame), None, "window {slot} is mapped");
        self.tlb.insert(slot, frame);
    }

    fn clear(&mut self, slot: usize) {
        assert!(self.words.remove(&slot).is_some(), "window {slot} is not mapped");
    }

    fn flush(&mut self) {
        self.tlb = self.words.clone();
        self.flushes += 1;
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: scaled(24), failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn users_of_frames_are_counted_as_in_a_map(steps in prop::collection::vec((any::<bool>(), 0..700_u32), 1..1500)) {
        let (mut pkmap, mut table, mut users) = (Pkmap::new(), Table::default(), BTreeMap::<u32, u32>::new());
        for (gets, number) in steps {
            // Frames of which several share a chain.
            let frame = Pfn::new(0x9_0000 + number * 64);
            let had = users.get(&number).copied().unwrap_or(0);
            if gets {
                match pkmap.get(frame, &mut table) {
                    Ok(slot) => {
                        prop_assert_eq!(table.words.get(&slot), Some(&frame));
                        users.insert(number, had + 1);
                    }
                    Err(error) => {
                        prop_assert_eq!(error, PkmapError::Full);
                        prop_assert_eq!(users.len(), PKMAP_SLOTS);
                    }
                }
            } else if had == 0 {
                prop_assert_eq!(pkmap.put(frame), Err(PkmapError::NotMapped(frame)));
            } else {
                prop_assert_eq!(pkmap.put(frame), Ok(had == 1));
                if had == 1 { users.remove(&number); } else { users.insert(number, had - 1); }
            }
            prop_assert_eq!(pkmap.validate(), Ok(()));
            prop_assert_eq!(pkmap.in_use(), users.len());
            prop_assert_eq!(pkmap.iter().count(), table.words.len());
        }
        for (slot, frame, count) in pkmap.iter() {
            let number = (frame.raw() - 0x9_0000) / 64;
            prop_assert_eq!(table.words.get(&slot), Some(&frame));
            prop_assert_eq!(u32::from(count), users.get(&number).copied().unwrap_or(0));
        }
    }
}

#[test]
fn a_frame_that_is_asked_for_again_keeps_its_window_and_costs_no_flush() {
    let (mut pkmap, mut table) = (Pkmap::new(), Table::default());
    let frame = Pfn::new(0x9_f000);
    let first = pkmap.get(frame, &mut table).unwrap();
    assert_eq!(pkmap.put(frame), Ok(true));
    assert_eq!(pkmap.get(frame, &mut table), Ok(first));
    assert_eq!(pkmap.get(frame, &mut table), Ok(first));
    assert_eq!(pkmap.put(frame), Ok(false));
    assert_eq!(pkmap.put(frame), Ok(true));
    assert_eq!(pkmap.put(frame), Err(PkmapError::NotMapped(frame)));
    assert_eq!((table.words.len(), table.flushes), (1, 0));
}

#[test]
fn one_flush_serves_a_whole_round_of_the_ring() {
    let (mut pkmap, mut table) = (Pkmap::new(), Table::default());
    for number in 0..4 * PKMAP_SLOTS as u32 {
        let frame = Pfn::new(0x8_0000 + number);
        pkmap.get(frame, &mut table).unwrap();
        assert_eq!(pkmap.put(frame), Ok(true));
    }
    // The first round begins behind window 0, so it wraps one window early: 511, then 3 rounds of 512, then one more.
    assert_eq!(table.flushes, 4);
    pkmap.flush_unused(&mut table);
    assert_eq!((table.words.len(), pkmap.iter().count()), (0, 0));
}

#[test]
fn a_full_ring_refuses_a_new_frame_changes_nothing_and_takes_the_next_when_one_is_given_up() {
    let (mut pkmap, mut table) = (Pkmap::new(), Table::default());
    let frames: Vec<Pfn> = (0..PKMAP_SLOTS as u32).map(|number| Pfn::new(0x9_0000 + number)).collect();
    for frame in &frames {
        pkmap.get(*frame, &mut table).unwrap();
    }
    let one_more = Pfn::new(0xa_0000);
    let words = table.words.clone();
    assert_eq!(pkmap.get(one_more, &mut table), Err(PkmapError::Full));
    assert_eq!(table.words, words);
    assert_eq!(pkmap.validate(), Ok(()));
    assert_eq!(pkmap.put(frames[77]), Ok(true));
    let slot = pkmap.get(one_more, &mut table).unwrap();
    assert_eq!(words.get(&slot), Some(&frames[77]));
    assert_eq!(pkmap.find(frames[77]), None);
}

/// The table as several tasks use it.
struct Shared<'a>(&'a Mutex<Table>);

impl PkmapTable for Shared<'_> {
    fn set(&mut self, slot: usize, frame: Pfn) {
        self.0.lock().unwrap().set(slot, frame);
    }

    fn clear(&mut self, slot: usize) {
        self.0.lock().unwrap().clear(slot);
    }

    fn flush(&mut self) {
        self.0.lock().unwrap().flush();
    }
}

/// Threads as tasks.
#[derive(Default)]
struct Sleepers {
    wakes: Mutex<u32>,
    bell: Condvar,
    asleep: AtomicU32,
}

impl WindowWait for Sleepers {
    fn wakes(&self) -> u32 {
        *self.wakes.lock().unwrap()
    }

    fn wait(&self, seen: u32) -> bool {
        self.asleep.fetch_add(1, Relaxed);
        let woken = self.bell.wait_while(self.wakes.lock().unwrap(), |wakes| *wakes == seen).unwrap();
        self.asleep.fetch_sub(1, Relaxed);
        *woken != seen
    }

    fn wake(&self) {
        *self.wakes.lock().unwrap() += 1;
        self.bell.notify_all();
    }
}

#[test]
fn who_finds_all_windows_in_use_is_refused_or_sleeps_until_one_is_given_up() {
    let (ring, sleepers) = (TaskLock::new(Pkmap::new()), Sleepers::default());
    let frames: Vec<Pfn> = (0..PKMAP_SLOTS as u32).map(|number| Pfn::new(0x9_0000 + number)).collect();
    let table = Mutex::new(Table::default());
    for frame in &frames {
        get_window(&ring, *frame, &mut Shared(&table), &Refuse).unwrap();
    }
    let late = [Pfn::new(0xa_0000), Pfn::new(0xa_0001)];
    assert_eq!(get_window(&ring, late[0], &mut Shared(&table), &Refuse), Err(PkmapError::Full));
    std::thread::scope(|scope| {
        let waiting: Vec<_> = late
            .iter()
            .map(|frame| {
                let (ring, sleepers, table) = (&ring, &sleepers, &table);
                scope.spawn(move || get_window(ring, *frame, &mut Shared(table), sleepers))
            })
            .collect();
        while sleepers.asleep.load(Relaxed) < 2 {
            std::thread::yield_now();
        }
        // A user that is not the last wakes nobody.
        get_window(&ring, frames[3], &mut Shared(&table), &Refuse).unwrap();
        put_window(&ring, frames[3], &sleepers).unwrap();
        assert_eq!(sleepers.wakes(), 0);
        put_window(&ring, frames[3], &sleepers).unwrap();
        while ring.lock().in_use() < PKMAP_SLOTS {
            std::thread::yield_now();
        }
        assert_eq!(sleepers.wakes(), 1, "one of them has the window, the other one sleeps again");
        put_window(&ring, frames[4], &sleepers).unwrap();
        let slots: Vec<_> = waiting.into_iter().map(|task| task.join().unwrap().unwrap()).collect();
        assert_ne!(slots[0], slots[1]);
    });
    assert_eq!(ring.lock().in_use(), PKMAP_SLOTS);
    assert_eq!(ring.lock().validate(), Ok(()));
    assert_eq!(put_window(&ring, frames[4], &sleepers), Err(PkmapError::NotMapped(frames[4])));
}

#[test]
fn a_window_that_is_given_up_between_the_look_and_the_sleep_is_not_missed() {
    let sleepers = Sleepers::default();
    let seen = sleepers.wakes();
    sleepers.wake();
    assert!(sleepers.wait(seen), "the wake came before the sleep");
}

#[test]
fn a_frame_can_have_no_more_users_than_are_counted() {
    let (mut pkmap, mut table) = (Pkmap::new(), Table::default());
    let frame = Pfn::new(0x9_0001);
    for _ in 0..u16::MAX - 1 {
        pkmap.get(frame, &mut table).unwrap();
    }
    assert_eq!(pkmap.get(frame, &mut table), Err(PkmapError::TooManyUsers(frame)));
    assert_eq!(pkmap.put(frame), Ok(false));
    assert!(pkmap.get(frame, &mut table).is_ok());
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_stack_gives_its_windows_in_order_and_takes_back_only_the_last(
        steps in prop::collection::vec(0..8_u32, 1..200), base in prop::sample::select(vec![0, 6, 0x100]),
    ) {
        let (depth, mut model) = (AtomicU32::new(base), Vec::new());
        let stack = LocalStack::new(&depth, base, 5);
        // By a stack of another base there is never one to be had or given back.
        let other = LocalStack::new(&depth, 0x1000, 5);
        for step in steps {
            let before = depth.load(Relaxed);
            let windows = (1..7).chain([u32::MAX]).filter_map(NonZeroU32::new);
            prop_assert!(other.push().is_err() && windows.map(|window| other.pop(window, || ())).all(|pop| pop.is_err()));
            prop_assert_eq!(depth.load(Relaxed), before);
            if step < 4 {
                let expected = if model.len() < 5 { Ok(model.len() as u32 + 1) } else { Err(LocalError::Full { windows: 5 }) };
                let window = stack.push().map(NonZeroU32::get);
                prop_assert_eq!(window, expected);
                model.extend(window);
            } else {
                // The last one, or one of the others.
                let window = (model.len() as u32 + 1).wrapping_sub(step - 3);
                let Some(number) = NonZeroU32::new(window) else { continue };
                let expected = match model.last() {
                    Some(last) if *last == window => Ok(()),
                    _ => Err(LocalError::NotLast { window, depth: model.len() as u32 }),
                };
                let mut unmapped = false;
                prop_assert_eq!(stack.pop(number, || unmapped = true), expected);
                prop_assert_eq!(unmapped, expected.is_ok());
                if expected.is_ok() {
                    model.pop();
                }
            }
            prop_assert_eq!(stack.depth(), model.len() as u32);
        }
    }
}
