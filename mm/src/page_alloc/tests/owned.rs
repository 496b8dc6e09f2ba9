//! Values that own pages: nobody frees what they own, and they leave nothing behind.

use std::boxed::Box;
use std::string::ToString;
use std::vec::Vec;

use proptest::prelude::*;

use super::fixture::{Machine, free_memory};
use crate::addr::PAGE_SIZE;
use crate::buddy::FreeError;
use crate::buddy::model::order;
use crate::memmap::PageState;
use crate::page_alloc::*;
use crate::testing::{FakeRam, scaled};

const GFP: GfpFlags = GfpFlags::GFP_KERNEL;

/// A machine whose bytes can be reached, all of them free.
fn machine() -> Machine {
    let ram: &FakeRam = Box::leak(Box::new(FakeRam::new(&free_memory().map(crate::addr::PfnRange::bytes))));
    Machine::with_options(Options { ram: Some(ram), ..Options::default() })
}

#[test]
fn a_block_is_free_again_when_its_value_is_dropped() {
    let machine = machine();
    let before = machine.totals();
    let block = OwnedPages::alloc(&machine, GFP, order(3)).unwrap();
    assert_eq!(machine.totals().allocated, before.allocated + 8);
    assert_eq!(machine.map().state(block.pfn()), Some(PageState::Owned(order(3))));
    assert_eq!(machine.validate().unwrap().allocated, 8);
    drop(block);
    assert_eq!(machine.totals(), before);
    machine.validate().unwrap();
}

#[test]
fn no_raw_function_takes_an_owned_block_from_its_value() {
    let machine = machine();
    let block = OwnedPages::alloc(&machine, GFP, order(2)).unwrap();
    let pfn = block.pfn();
    let owned = FreeError::NotAllocated { pfn, order: order(2), found: PageState::Owned(order(2)) };
    assert_eq!(machine.free_pages(pfn, order(2)), Err(owned));
    assert!(owned.to_string().ends_with("but it is owned by a value, order 2"), "{owned}");
    assert_eq!(machine.put_page(pfn), Err(owned));
    assert_eq!(machine.split_page(pfn, order(2)), Err(owned));
    let single = FreeError::NotAllocated { pfn, order: Order::ZERO, found: PageState::Owned(order(2)) };
    assert_eq!(machine.get_page(pfn), Err(single));
    assert_eq!(machine.free_cold_page(pfn), Err(single));
    assert_eq!(machine.free_pages_bulk(&[pfn]), Err(single));
    // SAFETY: it is refused, so there is no second value.
    let second = unsafe { OwnedPages::from_raw(&machine, pfn, order(2)) };
    assert_eq!(second.err(), Some(owned));
    assert_eq!(machine.map().count(pfn), Some(1));
}

#[test]
fn a_value_is_made_only_of_a_block_with_one_owner_and_this_order() {
    let machine = machine();
    let before = machine.totals();
    let pfn = machine.alloc_pages(GFP, order(1)).unwrap();
    // SAFETY: the block is ours, here and below.
    let wrong = unsafe { OwnedPages::from_raw(&machine, pfn, order(0)) };
    assert_eq!(wrong.err(), Some(FreeError::WrongOrder { pfn, order: order(0), found: order(1) }));
    machine.get_page(pfn).unwrap();
    // SAFETY: as above.
    let shared = unsafe { OwnedPages::from_raw(&machine, pfn, order(1)) };
    assert_eq!(shared.err(), Some(FreeError::NotReferenced { pfn, count: 2 }));
    machine.put_page(pfn).unwrap();
    // SAFETY: as above.
    let block = unsafe { OwnedPages::from_raw(&machine, pfn, order(1)) }.unwrap();
    assert_eq!(block.into_raw(), (pfn, order(1)));
    machine.free_pages(pfn, order(1)).unwrap();
    let nowhere = Pfn::new(0x40_0000);
    // SAFETY: there is no such block.
    let none = unsafe { OwnedPages::from_raw(&machine, nowhere, order(0)) };
    assert_eq!(none.err(), Some(FreeError::NoSuchFrame(nowhere)));
    assert_eq!(machine.totals(), before);
}

#[test]
fn the_pages_of_a_split_block_are_owned_one_by_one() {
    let machine = machine();
    let before = machine.totals();
    let mut block = OwnedPages::alloc(&machine, GFP | GfpFlags::ZERO, order(2)).unwrap();
    block.bytes_mut().unwrap()[PAGE_SIZE as usize] = 7;
    let mut range = block.split().unwrap();
    let first = range.take_first().unwrap();
    let second = range.take_first().unwrap();
    assert_eq!((first.bytes().unwrap()[0], second.bytes().unwrap()[0]), (0, 7));
    assert_eq!(machine.map().state(second.pfn()), Some(PageState::Owned(Order::ZERO)));
    drop(range);
    assert_eq!(machine.totals().allocated, before.allocated + 2);
    drop((first, second));
    assert_eq!(machine.totals(), before);
    // The four pages are one block again, or the machine is not as it was.
    machine.validate().unwrap();
}

#[test]
fn a_range_can_be_cut_and_each_part_frees_itself() {
    let machine = machine();
    let before = machine.totals();
    let mut range = OwnedRange::alloc_exact(&machine, GFP, 11).unwrap();
    assert_eq!(machine.totals().allocated, before.allocated + 11);
    let behind = range.split_off(4);
    assert_eq!((range.frames().pages(), behind.frames().pages()), (4, 7));
    assert_eq!(range.frames().end, behind.frames().start);
    drop(range);
    assert_eq!(machine.totals().allocated, before.allocated + 7);
    let mut behind = behind;
    behind.bytes_mut().unwrap().fill(7);
    assert!(behind.bytes().unwrap().iter().all(|byte| *byte == 7));
    assert_eq!(behind.bytes().unwrap().len(), 7 * PAGE_SIZE as usize);
    assert_eq!(behind.split_off(100).frames().pages(), 0);
    let raw = behind.into_raw();
    machine.free_pages_exact(raw).unwrap();
    assert_eq!(machine.totals(), before);
    let most = OwnedRange::alloc_exact(&machine, GFP, 1025).err();
    assert_eq!(most, Some(AllocError::Size { pages: 1025 }));
}

#[test]
fn a_range_of_which_one_page_is_not_ours_is_refused_and_unchanged() {
    let machine = machine();
    let frames = machine.alloc_pages_exact(GFP, 4).unwrap();
    let third = Pfn::new(frames.start.raw() + 2);
    machine.get_page(third).unwrap();
    // SAFETY: the pages are ours.
    let refused = unsafe { OwnedRange::from_raw(&machine, frames) };
    assert_eq!(refused.err(), Some(FreeError::NotReferenced { pfn: third, count: 2 }));
    machine.put_page(third).unwrap();
    machine.free_pages_exact(frames).unwrap();
}

#[test]
fn the_last_of_several_owners_frees_the_block() {
    let machine = machine();
    let before = machine.totals();
    let first = OwnedPages::alloc(&machine, GFP, order(1)).unwrap().share();
    let others: Vec<_> = (0..4).map(|_| first.try_clone().unwrap()).collect();
    assert_eq!(first.count(), 5);
    assert!(machine.free_pages(first.pfn(), order(1)).is_err());
    drop(first);
    assert_eq!(machine.totals().allocated, before.allocated + 2);
    std::thread::scope(|scope| {
        for (cpu, share) in (1u32..).zip(others) {
            scope.spawn(move || {
                crate::sync::set_host_cpu(crate::sync::CpuId::new(cpu));
                drop(share);
            });
        }
    });
    assert_eq!(machine.totals(), before);
    machine.validate().unwrap();
}

#[test]
fn a_block_can_be_written_only_by_its_only_owner() {
    let machine = machine();
    let first = OwnedPages::alloc(&machine, GFP | GfpFlags::ZERO, Order::ZERO).unwrap().share();
    let second = first.try_clone().unwrap();
    assert_eq!((first.bytes(), first.bytes().unwrap().len()), (second.bytes(), PAGE_SIZE as usize));
    let second = second.try_into_owned().unwrap_err();
    drop(first);
    let mut owned = second.try_into_owned().unwrap();
    owned.bytes_mut().unwrap().fill(1);
    assert_eq!(owned.bytes().unwrap(), [1; PAGE_SIZE as usize]);
}

#[test]
fn a_batch_takes_what_there_is_and_gives_all_of_it_back() {
    let machine = machine().with_pagesets(1);
    let before = machine.totals();
    let mut numbers = std::vec![Pfn::new(0); 6000];
    let mut batch = OwnedBatch::alloc(&machine, GFP | GfpFlags::HIGHMEM, &mut numbers).unwrap();
    // 4,096 and 1,948 pages; the numbers end first.
    assert_eq!(batch.pfns().len(), 6000);
    let taken: std::collections::BTreeSet<_> = batch.pfns().iter().copied().collect();
    assert_eq!(taken.len(), 6000);
    batch.bytes_mut(5999).unwrap()[0] = 1;
    assert_eq!(batch.bytes(6000), None);
    let one = batch.pop().unwrap();
    assert_eq!(one.bytes().unwrap()[0], 1);
    drop(batch);
    drop(one);
    machine.drain_all();
    assert_eq!(machine.totals(), before);
    machine.validate().unwrap();
}

#[test]
fn a_batch_of_more_than_there_is_owns_what_there_was() {
    let machine = machine();
    let before = machine.totals();
    let mut numbers = std::vec![Pfn::new(0); 7000];
    let batch = OwnedBatch::alloc(&machine, GFP | GfpFlags::HIGHMEM, &mut numbers).unwrap();
    assert_eq!(batch.pfns().len(), 4096 + 1948);
    assert!(OwnedPages::alloc(&machine, GFP, Order::ZERO).is_err());
    drop(batch);
    assert_eq!(machine.totals(), before);
}

#[test]
fn a_block_is_copied_whole_if_all_of_it_can_be_reached() {
    let machine = machine();
    let [mut from, mut to, mut other] = [1, 1, 0].map(|raw| OwnedPages::alloc(&machine, GFP, order(raw)).unwrap());
    from.bytes_mut().unwrap().iter_mut().zip((0..251_u8).cycle()).for_each(|(byte, value)| *byte = value);
    to.bytes_mut().unwrap().fill(0xff);
    other.bytes_mut().unwrap().fill(0xee);
    // SAFETY: the blocks are this test's, and nobody else uses them.
    assert!(unsafe { machine.copy_block(from.pfn(), to.pfn(), order(1)) });
    assert_eq!(to.bytes().unwrap(), from.bytes().unwrap());
    assert!(other.bytes().unwrap().iter().all(|byte| *byte == 0xee));
    let unreachable = Pfn::new(0x8000);
    // SAFETY: as above, and nobody has a frame that is not there.
    assert!(unsafe { !machine.copy_block(from.pfn(), unreachable, Order::ZERO) });
    // SAFETY: as above.
    assert!(unsafe { !machine.copy_block(unreachable, to.pfn(), Order::ZERO) });
}

#[test]
fn values_say_what_they_own() {
    let machine = machine();
    let block = OwnedPages::alloc(&machine, GFP, order(1)).unwrap();
    let (pfn, order) = (block.pfn(), block.order());
    assert_eq!(std::format!("{block:?}"), std::format!("OwnedPages {{ pfn: {pfn:?}, order: {order:?} }}"));
    let shared = block.share();
    assert_eq!((shared.pfn(), shared.order(), shared.count()), (pfn, order, 1));
    let words = std::format!("SharedPages {{ pfn: {pfn:?}, order: {order:?}, count: 1 }}");
    assert_eq!(std::format!("{shared:?}"), words);
    let pages = OwnedRange::alloc_exact(&machine, GFP, 3).unwrap();
    assert_eq!(std::format!("{pages:?}"), std::format!("OwnedRange {{ frames: {:?} }}", pages.frames()));
    let mut numbers = [Pfn::new(0); 3];
    let batch = OwnedBatch::alloc(&machine, GFP, &mut numbers).unwrap();
    assert_eq!(std::format!("{batch:?}"), std::format!("OwnedBatch {{ pages: {:?} }}", batch.pfns()));
    assert_eq!(std::format!("{:?}", PageOwnerInfo(&*machine)), "PageOwnerInfo");
    let machine = std::format!("{:?}", *machine);
    assert!(machine.starts_with("PageAllocator { map: ") && machine.contains("zones: 2"), "{machine}");
    let options = std::format!("{:?}", Options::default());
    assert!(options.starts_with("Options { core: ") && options.contains("policies: Policies"), "{options}");
    assert!(std::format!("{:?}", Services::default()).contains("background: false"));
}

#[test]
fn without_a_way_to_the_bytes_there_are_none() {
    let machine = Machine::full();
    let mut block = OwnedPages::alloc(&machine, GFP, Order::ZERO).unwrap();
    assert!(block.bytes().is_none() && block.bytes_mut().is_none());
}

/// What the property test holds.
enum Held<'a> {
    Block(OwnedPages<'a, 'static, crate::testing::HostIrq, super::super::Core>),
    Shared(SharedPages<'a, 'static, crate::testing::HostIrq, super::super::Core>),
    Range(OwnedRange<'a, 'static, crate::testing::HostIrq, super::super::Core>),
}

impl Held<'_> {
    fn pages(&self) -> u32 {
        match self {
            Held::Block(block) => block.frames().pages(),
            Held::Shared(block) => block.frames().pages(),
            Held::Range(range) => range.frames().pages(),
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(scaled(24)))]

    #[test]
    fn whatever_values_do_the_allocator_has_as_many_pages_out_as_they_hold(
        steps in prop::collection::vec((0u8..7, 0u8..5, any::<prop::sample::Index>()), 1..120),
    ) {
        let machine = machine();
        let mut held: Vec<Held<'_>> = Vec::new();
        for (step, size, at) in steps {
            let at = if held.is_empty() { None } else { Some(at.index(held.len())) };
            match (step, at) {
                (0 | 1, _) => held.push(Held::Block(OwnedPages::alloc(&machine, GFP, order(size)).unwrap())),
                (2, _) => {
                    let range = OwnedRange::alloc_exact(&machine, GFP, u32::from(size) * 3 + 1).unwrap();
                    held.push(Held::Range(range));
                }
                (3, Some(at)) => drop(held.swap_remove(at)),
                (4, Some(at)) => {
                    let now = match held.swap_remove(at) {
                        Held::Block(block) => Held::Range(block.split().unwrap()),
                        Held::Shared(block) => block.try_into_owned().map_or_else(Held::Shared, Held::Block),
                        Held::Range(mut range) => {
                            held.push(Held::Range(range.split_off(u32::from(size))));
                            Held::Range(range)
                        }
                    };
                    held.push(now);
                }
                (5, Some(at)) => {
                    let now = match held.swap_remove(at) {
                        Held::Block(block) => Held::Shared(block.share()),
                        Held::Range(mut range) => {
                            held.extend(range.take_first().map(Held::Block));
                            Held::Range(range)
                        }
                        other => other,
                    };
                    held.push(now);
                }
                (6, Some(at)) => {
                    let raw = match held.swap_remove(at) {
                        Held::Block(block) => block.into_raw(),
                        other => {
                            held.push(other);
                            continue;
                        }
                    };
                    // SAFETY: it was a value's until a moment ago.
                    held.push(Held::Block(unsafe { OwnedPages::from_raw(&machine, raw.0, raw.1) }.unwrap()));
                }
                _ => {}
            }
            prop_assert_eq!(machine.validate().unwrap().allocated, held.iter().map(Held::pages).sum::<u32>());
        }
        drop(held);
        prop_assert_eq!(machine.validate().unwrap().allocated, 0);
    }
}
