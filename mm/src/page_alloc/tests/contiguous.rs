//! Isolation, migration, contiguous memory and compaction, under one owner: each alone, and here all mixed.

mod area;
mod compaction;
mod isolation;
mod meanwhile;
mod obstacles;

use std::vec::Vec;

use super::fixture::NORMAL;
use super::owners::Lent;
use crate::addr::{NodeId, Pfn};
use crate::buddy::model::{XorShift, order, range};
use crate::gfp::GfpFlags;
use crate::memmap::ZoneTag;
use crate::order::Order;
use crate::page_alloc::Policies;
use crate::testing::scaled;

/// The pages of the area.
const WHOLE: u32 = 2048;

#[test]
fn random_requests_mixed_with_isolation_contiguous_memory_and_compaction_keep_every_invariant() {
    let lent = Lent::with_policies(2, Policies { compaction_proactiveness: 90, ..Policies::new() });
    let machine = &lent.machine;
    let before = machine.totals();
    let mut rng = XorShift(0x2545_f491);
    let (mut fixed, mut contiguous): (Vec<(Pfn, Order)>, Vec<_>) = Default::default();
    for _ in 0..scaled(1_500) {
        let order = order(rng.next().trailing_ones().min(5) as u8);
        match rng.below(10) {
            0..=3 => {
                if let Ok(pfn) = machine.alloc_pages(GfpFlags::MOVABLE, order) {
                    lent.owner.adopt(machine, lent.id, pfn, order);
                }
            }
            4 => fixed.extend(machine.alloc_pages(GfpFlags::GFP_KERNEL, order).map(|pfn| (pfn, order))),
            5 | 6 => {
                let handle = rng.below(2000);
                let found = lent.owner.pages.lock().unwrap().range(handle..).next().map(|(handle, _)| *handle);
                if let Some(handle) = found {
                    lent.owner.drop_page(machine, handle);
                } else if !fixed.is_empty() {
                    let (pfn, order) = fixed.swap_remove(rng.pick(fixed.len()));
                    machine.free_pages(pfn, order).unwrap();
                }
            }
            7 => contiguous.extend(machine.cma_alloc(&lent.area, 1 + rng.below(300), order)),
            8 if !contiguous.is_empty() => {
                let range = contiguous.swap_remove(rng.pick(contiguous.len()));
                machine.cma_release(&lent.area, range).unwrap();
            }
            8 => {
                let start = 0x400 + rng.below(0xf00);
                let wanted = range(start, start + 1 + rng.below(0x100));
                if machine.start_isolate_page_range(wanted).is_ok() {
                    machine.validate().unwrap();
                    machine.undo_isolate_page_range(wanted).unwrap();
                }
            }
            _ if rng.below(2) == 0 => {
                machine.compact_zone(ZoneTag::from(NORMAL), order);
            }
            _ => {
                machine.compact_step(NodeId::ZERO);
            }
        }
        lent.check();
        let owned: u32 = lent.owner.pages.lock().unwrap().values().map(|(_, order)| order.pages()).sum();
        let out: u32 = contiguous.iter().map(|range| range.pages()).sum();
        let kept: u32 = fixed.iter().map(|(_, order)| order.pages()).sum();
        assert_eq!(machine.totals().allocated, owned + out + kept);
        assert_eq!(lent.area.used(), out);
    }
    contiguous.into_iter().for_each(|range| machine.cma_release(&lent.area, range).unwrap());
    fixed.into_iter().for_each(|(pfn, order)| machine.free_pages(pfn, order).unwrap());
    let handles: Vec<_> = lent.owner.pages.lock().unwrap().keys().copied().collect();
    handles.into_iter().for_each(|handle| lent.owner.drop_page(machine, handle));
    machine.drain_local();
    assert_eq!(machine.totals(), before);
    lent.check();
}
