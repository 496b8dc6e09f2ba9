//! Which addresses a batch flushes, and when it is everything.

use super::*;
use crate::paging::tests::recording::Machine;
use crate::paging::tests::recording::Told::{self, All, Page};

fn at(page: u32) -> VirtAddr {
    VirtAddr::new(0x9000_0000 + page * PAGE_SIZE)
}

/// What a batch flushes that `fill` filled.
fn flushed(fill: impl FnOnce(&mut Batch)) -> Vec<Told> {
    let (machine, mut batch) = (Machine::new(), Batch::new());
    fill(&mut batch);
    machine.told(|| batch.flush(&machine.editor()))
}

fn pages(first: u32, count: u32) -> impl Iterator<Item = Told> {
    (first..first + count).map(|page| Page(at(page).raw()))
}

#[test]
fn an_empty_batch_flushes_nothing() {
    assert_eq!(flushed(|_| ()), []);
}

#[test]
fn descriptors_are_flushed_in_their_order_up_to_the_limit() {
    for count in [1, 2, EACH_MAX] {
        let told = flushed(|batch| batch.push_pages(at(3), count as usize));
        assert_eq!(told, pages(3, count).collect::<Vec<_>>());
    }
    assert_eq!(flushed(|batch| batch.push_pages(at(3), EACH_MAX as usize + 1)), [All]);
    assert_eq!(flushed(|batch| batch.push_pages(at(3), usize::MAX)), [All]);
    // In parts, too.
    let parts = |last| {
        move |batch: &mut Batch| {
            batch.push_pages(at(0), 16);
            batch.push_pages(at(100), last);
        }
    };
    assert_eq!(flushed(parts(16)), pages(0, 16).chain(pages(100, 16)).collect::<Vec<_>>());
    assert_eq!(flushed(parts(17)), [All]);
}

#[test]
fn four_ranges_are_flushed_and_a_fifth_is_everything() {
    for (ranges, all) in [(4_u32, false), (5, true)] {
        let told = flushed(|batch| (0..ranges).for_each(|range| batch.push(at(range * 2), PAGE_SIZE)));
        let each = (0..ranges).flat_map(|range| pages(range * 2, 1)).collect();
        assert_eq!(told, if all { vec![All] } else { each });
    }
}

#[test]
fn descriptors_of_one_size_behind_each_other_are_one_range() {
    let told = flushed(|batch| (0..20).for_each(|page| batch.push(at(page), PAGE_SIZE)));
    assert_eq!(told, pages(0, 20).collect::<Vec<_>>());
    let sections = flushed(|batch| (0..6).for_each(|mib| batch.push(at(mib * 256), 1 << 20)));
    assert_eq!(sections, (0..6).flat_map(|mib| pages(mib * 256, 1)).collect::<Vec<_>>());
    // Another size is another range, even behind the last; so is a gap, and what lies before.
    let told = flushed(|batch| {
        batch.push_pages(at(0), 2);
        batch.push(at(2), 1 << 16);
        batch.push(at(18), 1 << 16);
        batch.push(at(35), 1 << 16);
        batch.push(at(0), PAGE_SIZE);
    });
    assert_eq!(told, [0, 1, 2, 18, 35, 0].map(|page| Page(at(page).raw())));
}

#[test]
fn a_range_by_itself_has_the_same_limit_and_any_step() {
    let machine = Machine::new();
    let range = |count| machine.told(|| flush_range(&machine.editor(), at(1), 1 << 16, count));
    assert_eq!(range(0), []);
    assert_eq!(range(3), [1, 17, 33].map(|page| Page(at(page).raw())));
    assert_eq!(range(EACH_MAX).len(), EACH_MAX as usize);
    assert_eq!(range(EACH_MAX + 1), [All]);
}
