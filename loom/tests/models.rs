//! Every interleaving, and every order that the memory model allows, of two or three CPUs.

use loom::sync::Arc;
use loom::sync::atomic::{AtomicU32, Ordering};
use loom::thread;
use quire_loom::addr::NodeId;
use quire_loom::memmap::{Block, ZoneTag};
use quire_loom::page_alloc::Stock;
use quire_loom::sync::{CpuId, InitOnce, IrqLock, SeqCount, TaskLock};
use quire_loom::trace::Slot;
use quire_loom::vmstat::{Counters, CpuCounters, VmEvent, ZoneItem};
use quire_loom::zone::ZoneType;
use quire_loom::{Cpu, NoIrq};

/// A lock that was used once, so that loom knows it.
fn lock<T>(value: T) -> Arc<IrqLock<T, NoIrq>> {
    let lock = IrqLock::new(value);
    drop(lock.lock());
    Arc::new(lock)
}

/// A cell that was looked at once.
fn cell<T>() -> Arc<InitOnce<T>> {
    let cell = InitOnce::new();
    assert!(cell.get().is_none());
    Arc::new(cell)
}

#[test]
fn no_increment_under_the_lock_is_lost_and_no_two_cpus_hold_it() {
    loom::model(|| {
        let lock = lock(0);
        let cpus: Vec<_> = (0..2)
            .map(|_| {
                let lock = lock.clone();
                thread::spawn(move || *lock.lock() += 1)
            })
            .collect();
        cpus.into_iter().for_each(|cpu| cpu.join().unwrap());
        assert_eq!(*lock.lock(), 2);
    });
}

#[test]
fn no_increment_under_the_task_lock_is_lost() {
    loom::model(|| {
        let lock = TaskLock::new(0_u32);
        drop(lock.lock());
        let lock = Arc::new(lock);
        let other = {
            let lock = lock.clone();
            thread::spawn(move || *lock.lock() += 1)
        };
        if let Some(mut value) = lock.try_lock() {
            *value += 1;
        } else {
            *lock.lock() += 1;
        }
        other.join().unwrap();
        assert_eq!(*lock.lock(), 2);
    });
}

#[test]
fn a_try_fails_while_another_cpu_holds_the_lock_and_sees_its_work_afterwards() {
    loom::model(|| {
        let lock = lock([0; 2]);
        let other = {
            let lock = lock.clone();
            thread::spawn(move || {
                let mut pair = lock.lock();
                pair[0] = 1;
                pair[1] = 1;
            })
        };
        if let Some(pair) = lock.try_lock() {
            assert_eq!(pair[0], pair[1], "half of another CPU's work");
        }
        other.join().unwrap();
        assert_eq!(lock.try_lock().map(|pair| *pair), Some([1, 1]));
    });
}

#[test]
fn of_two_cpus_that_set_a_cell_one_wins_and_its_value_stays() {
    loom::model(|| {
        let cell = cell::<u32>();
        let cpus: Vec<_> = (1..=2)
            .map(|value| {
                let cell = cell.clone();
                thread::spawn(move || cell.set(value).is_ok())
            })
            .collect();
        let won: Vec<bool> = cpus.into_iter().map(|cpu| cpu.join().unwrap()).collect();
        assert_eq!(won.iter().filter(|won| **won).count(), 1);
        assert_eq!(cell.get(), Some(if won[0] { &1 } else { &2 }));
    });
}

#[test]
fn a_reader_sees_the_whole_value_or_none() {
    loom::model(|| {
        let cell = cell::<[u32; 2]>();
        let writer = {
            let cell = cell.clone();
            thread::spawn(move || assert!(cell.set([7, 7]).is_ok()))
        };
        if let Some(value) = cell.get() {
            assert_eq!(*value, [7, 7]);
        }
        writer.join().unwrap();
        assert_eq!(cell.get(), Some(&[7, 7]));
    });
}

/// Two words under a count that was looked at once.
fn pair() -> Arc<(SeqCount, [AtomicU32; 2])> {
    let seq = SeqCount::new();
    let _ = seq.begin();
    Arc::new((seq, [AtomicU32::new(0), AtomicU32::new(0)]))
}

fn write((seq, words): &(SeqCount, [AtomicU32; 2]), value: u32) {
    seq.write::<NoIrq, _>(|| words.iter().for_each(|word| word.store(value, Ordering::Relaxed)));
}

#[test]
fn a_read_that_is_not_told_of_a_change_saw_no_half_of_one() {
    loom::model(|| {
        let shared = pair();
        let writer = {
            let shared = shared.clone();
            thread::spawn(move || write(&shared, 1))
        };
        let (seq, words) = &*shared;
        let seen = seq.begin();
        let values = [0, 1].map(|at: usize| words[at].load(Ordering::Relaxed));
        if !seq.has_changed(seen) {
            assert_eq!(values[0], values[1], "half of a change");
        }
        writer.join().unwrap();
        assert!(!seq.has_changed(seq.begin()));
    });
}

#[test]
fn two_writers_change_one_after_the_other() {
    loom::model(|| {
        let shared = pair();
        let other = {
            let shared = shared.clone();
            thread::spawn(move || write(&shared, 1))
        };
        write(&shared, 2);
        other.join().unwrap();
        let (_, words) = &*shared;
        let values = [0, 1].map(|at: usize| words[at].load(Ordering::Relaxed));
        assert_eq!(values[0], values[1], "two changes at once");
    });
}

/// Runs `one` and `other` on CPUs of their own, on the same block.
fn on_two_cpus<A: 'static, B>(one: fn(&Block) -> A, other: impl FnOnce(&Block) -> B) -> (A, B, Arc<Block>) {
    let block = Arc::new(Block::new());
    let theirs = block.clone();
    let cpu = thread::spawn(move || one(&theirs));
    let here = other(&block);
    (cpu.join().unwrap(), here, block)
}

#[test]
fn of_two_cpus_that_free_one_block_one_succeeds_and_one_is_refused() {
    loom::model(|| {
        let (one, other, block) = on_two_cpus(Block::free, Block::free);
        assert!(matches!((one, other), (Some(true), None) | (None, Some(true))), "{one:?} {other:?}");
        assert_eq!(block.references(), 0);
    });
}

#[test]
fn a_reference_to_a_block_that_is_freed_meanwhile_is_had_in_time_or_not_at_all() {
    loom::model(|| {
        let (freed, got, block) = on_two_cpus(Block::free, Block::get);
        // Who came in time keeps the block; who came too late has nothing.
        assert_eq!(freed, Some(!got));
        assert_eq!(block.references(), u32::from(got));
        assert_eq!(block.free(), got.then_some(true));
    });
}

#[test]
fn of_two_owners_that_free_a_block_one_is_the_last() {
    loom::model(|| {
        let block = Arc::new(Block::new());
        assert!(block.get());
        let theirs = block.clone();
        let cpu = thread::spawn(move || theirs.free());
        let here = block.free();
        let there = cpu.join().unwrap();
        assert!(matches!((here, there), (Some(true), Some(false)) | (Some(false), Some(true))), "{here:?} {there:?}");
        assert_eq!(block.free(), None);
    });
}

#[test]
fn a_mark_and_a_reference_that_are_set_at_once_are_both_there() {
    loom::model(|| {
        let (marked, got, block) = on_two_cpus(Block::mark_moving, Block::get);
        assert!(marked && got);
        assert!(block.is_moving() && block.references() == 2);
    });
}

const ITEM: (ZoneTag, ZoneItem) = (ZoneTag::new(NodeId::ZERO, ZoneType::Normal), ZoneItem::NumaMiss);

/// Counters of two CPUs that fold from 2 pages on; each has counted one, and was read.
fn counters() -> Arc<Counters<'static>> {
    let mut counters = Counters::default();
    counters.set_cpus(Box::leak(Box::new([CpuCounters::new(), CpuCounters::new()])));
    counters.set_threshold(ITEM.0, 1);
    counters.add::<Cpu<0>>(ITEM.0, ITEM.1, 1);
    counters.add::<Cpu<1>>(ITEM.0, ITEM.1, 1);
    assert_eq!((counters.zone(ITEM.0, ITEM.1), counters.event(VmEvent::OomKill)), (2, 0));
    Arc::new(counters)
}

#[test]
fn what_two_cpus_count_is_all_there_at_the_end() {
    loom::model(|| {
        let counters = counters();
        let theirs = counters.clone();
        let cpu = thread::spawn(move || {
            theirs.add::<Cpu<1>>(ITEM.0, ITEM.1, 3);
            theirs.count::<Cpu<1>>(VmEvent::OomKill, 1);
        });
        counters.add::<Cpu<0>>(ITEM.0, ITEM.1, 1);
        counters.count::<Cpu<0>>(VmEvent::OomKill, 1);
        // A CPU without a place counts in the totals.
        counters.add::<Cpu<2>>(ITEM.0, ITEM.1, 5);
        cpu.join().unwrap();
        assert_eq!((counters.zone(ITEM.0, ITEM.1), counters.event(VmEvent::OomKill)), (11, 2));
    });
}

#[test]
fn who_reads_while_another_folds_for_a_cpu_that_has_stopped_sees_nothing_twice() {
    loom::model(|| {
        let counters = counters();
        counters.count::<Cpu<1>>(VmEvent::OomKill, 1);
        let theirs = counters.clone();
        let cpu = thread::spawn(move || theirs.fold_cpu(CpuId::new(1)));
        let (pages, events) = (counters.zone(ITEM.0, ITEM.1), counters.event(VmEvent::OomKill));
        assert!(pages <= 2 && events <= 1, "{pages} of 2 pages, {events} of 1 event");
        cpu.join().unwrap();
        assert_eq!((counters.zone(ITEM.0, ITEM.1), counters.event(VmEvent::OomKill)), (2, 1));
    });
}

#[test]
fn who_reads_while_a_cpu_folds_sees_no_page_twice() {
    loom::model(|| {
        let counters = counters();
        let theirs = counters.clone();
        let cpu = thread::spawn(move || theirs.add::<Cpu<1>>(ITEM.0, ITEM.1, 1));
        let seen = counters.zone(ITEM.0, ITEM.1);
        assert!((1..=3).contains(&seen), "{seen} of 3 pages");
        cpu.join().unwrap();
    });
}

#[test]
fn a_pageset_that_another_cpu_counts_is_never_seen_with_ends_that_passed_each_other() {
    loom::model(|| {
        let stock = Arc::new(Stock::new());
        let theirs = stock.clone();
        let cpu = thread::spawn(move || (theirs.count(), theirs.freed()));
        // Two ends that move: a start seen with an older end lies beyond it.
        assert!(stock.free(2));
        assert_eq!((stock.drain(), stock.drain()), (Some(1), Some(2)));
        stock.look_after();
        assert!(stock.free(3));
        let (count, freed) = cpu.join().unwrap();
        // Each was pushed once; those since a count may be seen twice.
        assert!(count <= 3 && freed <= 2 * 3, "{count} pages of 3, {freed} freed");
        assert_eq!((stock.count(), stock.freed()), (1, 3));
    });
}

#[test]
fn of_two_cpus_that_drain_a_stopped_cpus_pageset_each_page_leaves_once() {
    loom::model(|| {
        let shared = Arc::new((Stock::new(), lock(())));
        assert!(shared.0.free(2) && shared.0.free(3));
        let drain = |shared: &(Stock, Arc<IrqLock<(), NoIrq>>)| {
            let mut pages = Vec::new();
            for _ in 0..2 {
                let _held = shared.1.lock();
                pages.extend(shared.0.drain());
            }
            pages
        };
        let theirs = shared.clone();
        let cpu = thread::spawn(move || drain(&theirs));
        let mut pages = drain(&shared);
        pages.extend(cpu.join().unwrap());
        pages.sort_unstable();
        assert_eq!((pages, shared.0.count()), (vec![1, 2, 3], 0));
    });
}

#[test]
fn a_pageset_that_is_closed_has_no_hits_once_its_cpu_has_looked_after_it() {
    loom::model(|| {
        let shared = Arc::new((Stock::new(), lock(()), AtomicU32::new(0)));
        shared.2.load(Ordering::Relaxed);
        let theirs = shared.clone();
        let closing = thread::spawn(move || {
            let (stock, zone, asked) = &*theirs;
            let held = zone.lock();
            stock.close(true);
            drop(held);
            // Its CPU is asked to drain.
            asked.store(1, Ordering::Release);
        });
        let theirs = shared.clone();
        let telling = thread::spawn(move || {
            let (stock, zone, _) = &*theirs;
            let _held = zone.lock();
            stock.tell();
        });
        let (stock, _, asked) = &*shared;
        let mut pages = Vec::from_iter(stock.alloc());
        if asked.load(Ordering::Acquire) == 1 {
            stock.look_after();
            assert!(!stock.free(9) && stock.alloc().is_none(), "a hit in a closed pageset");
        }
        closing.join().unwrap();
        telling.join().unwrap();
        // It had no room before, or loses it now; whoever was told later, it stays closed.
        stock.look_after();
        assert!(stock.alloc().is_none() && !stock.free(9));
        pages.extend(stock.drain());
        assert_eq!(pages, [1]);
    });
}

#[test]
fn an_event_is_read_whole_or_not_at_all_however_late_its_writer_is() {
    loom::model(|| {
        let slot = Arc::new(Slot::new());
        let writers = [1, 2].map(|number| {
            let slot = slot.clone();
            thread::spawn(move || slot.write(number))
        });
        [2, 1].into_iter().for_each(|number| _ = slot.has(number));
        writers.into_iter().for_each(|writer| writer.join().unwrap());
        let left = [1, 2].map(|number| slot.has(number));
        assert!(left == [true, false] || left == [false, true], "one of them is there: {left:?}");
    });
}

#[test]
fn an_event_whose_writer_was_lapped_replaces_no_later_one() {
    loom::model(|| {
        let slot = Arc::new(Slot::new());
        let theirs = slot.clone();
        let late = thread::spawn(move || theirs.write(1));
        slot.write(2);
        // The other one may have the slot, and this one's words are lost; but what is there stays.
        let was_there = slot.has(2);
        late.join().unwrap();
        assert_eq!([1, 2].map(|number| slot.has(number)), [!was_there, was_there]);
    });
}

#[test]
fn an_event_that_is_overwritten_is_read_whole_or_not_at_all() {
    loom::model(|| {
        let slot = Arc::new(Slot::new());
        let theirs = slot.clone();
        let writer = thread::spawn(move || theirs.write(1));
        [0, 1].into_iter().for_each(|number| _ = slot.has(number));
        writer.join().unwrap();
        assert_eq!([0, 1].map(|number| slot.has(number)), [false, true]);
    });
}
