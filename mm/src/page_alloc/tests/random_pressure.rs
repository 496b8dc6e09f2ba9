//! The slow path under random shrinkers, handlers, failures and flags: whatever they do, no page is lost.

use std::vec::Vec;

use proptest::prelude::*;

use super::fixture::{HIGH, Machine, NORMAL};
use super::services::{Boaster, Context, Shelf, leak};
use crate::addr::{NodeId, Pfn};
use crate::buddy::model::order;
use crate::gfp::GfpFlags;
use crate::order::Order;
use crate::page_alloc::{AllocError, FailPageAlloc, Options, Policies, ReservePolicy, Scopes, Services, Watermarks};
use crate::testing::scaled;

/// One thing that happens.
#[derive(Clone, Copy, Debug)]
enum Step {
    /// A request with these flags besides `NOWARN`.
    Take(u32, u8),
    /// A block goes back.
    Free(prop::sample::Index),
    /// A block goes to the shrinker's or the handler's shelf.
    Shelve(prop::sample::Index, bool),
    Balance,
    Inject(u32),
    Scope(u32),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let flags = [
        GfpFlags::GFP_KERNEL,
        GfpFlags::GFP_ATOMIC,
        GfpFlags::GFP_NOIO,
        GfpFlags::GFP_HIGHUSER_MOVABLE,
        GfpFlags::GFP_TEMPORARY,
    ];
    let extra = [
        GfpFlags::empty(),
        GfpFlags::NORETRY,
        GfpFlags::REPEAT,
        GfpFlags::NOFAIL,
        GfpFlags::MEMALLOC,
        GfpFlags::NOMEMALLOC,
        GfpFlags::NO_KSWAPD,
        GfpFlags::WRITE,
        GfpFlags::COLD,
    ];
    let gfp = (prop::sample::select(flags.to_vec()), prop::sample::select(extra.to_vec()));
    let take = (gfp, 0..9u8).prop_map(|((gfp, extra), order)| Step::Take((gfp | extra).bits(), order));
    let step = prop_oneof![
        12 => take,
        3 => any::<prop::sample::Index>().prop_map(Step::Free),
        4 => (any::<prop::sample::Index>(), any::<bool>()).prop_map(|(which, oom)| Step::Shelve(which, oom)),
        1 => Just(Step::Balance),
        1 => (0..60u32).prop_map(Step::Inject),
        1 => (0..16u32).prop_map(Step::Scope),
    ];
    prop::collection::vec(step, 300)
}

fn policies() -> impl Strategy<Value = Policies> {
    let reserve = prop::sample::select(std::vec![ReservePolicy::Off, ReservePolicy::Blocks, ReservePolicy::HighAtomic]);
    (reserve, any::<bool>(), prop::sample::select(std::vec![0, 15_000])).prop_map(
        |(reserve, fair_zones, watermark_boost)| Policies {
            reserve,
            fair_zones,
            watermark_boost,
            ..Policies::default()
        },
    )
}

fn run(steps: &[Step], policies: Policies, boasts: u32) -> Result<(), TestCaseError> {
    let machine = Machine::with_options(Options { policies, ..Options::default() }).with_pagesets(1);
    for zone in [NORMAL, HIGH] {
        machine.set_watermarks(zone, &Watermarks { min: 64, low: 80, high: 96, lowmem_reserve: [0, 0, 32, 32] });
    }
    let before = machine.totals();
    let (shelf, handler): (&'static Shelf, &'static Shelf) = (leak(Shelf::default()), leak(Shelf::default()));
    let context = Context::new();
    let services = Services { task: Some(context), oom: Some(handler), ..Services::default() };
    prop_assert!(machine.install_services(services));
    prop_assert!(machine.register_shrinker(shelf) && machine.register_shrinker(leak(Boaster::new(1, boasts))));
    let mut held: Vec<(Pfn, Order)> = Vec::new();
    for step in steps {
        match *step {
            Step::Take(bits, raw) => {
                let gfp = GfpFlags::from_bits_retain(bits) | GfpFlags::NOWARN;
                match machine.alloc_pages(gfp, order(raw)) {
                    Ok(pfn) => held.push((pfn, order(raw))),
                    Err(AllocError::MustNotFail { gfp, .. }) => {
                        prop_assert!(gfp.contains(GfpFlags::NOFAIL));
                    }
                    Err(error) => prop_assert!(!gfp.contains(GfpFlags::NOFAIL), "{error}"),
                }
            }
            Step::Free(which) if !held.is_empty() => {
                let (pfn, order) = held.swap_remove(which.index(held.len()));
                prop_assert_eq!(machine.free_pages(pfn, order), Ok(()));
            }
            Step::Shelve(which, oom) if !held.is_empty() => {
                let block = held.swap_remove(which.index(held.len()));
                let shelf = if oom { handler } else { shelf };
                shelf.blocks.lock().unwrap().push(block);
            }
            Step::Balance => _ = machine.balance_step(NodeId::ZERO),
            Step::Inject(probability) => machine.set_fail_page_alloc((probability > 0).then_some(FailPageAlloc {
                probability,
                times: None,
                ignore_gfp_wait: false,
                ignore_gfp_highmem: false,
                min_order: Order::ZERO,
                ..FailPageAlloc::default()
            })),
            Step::Scope(bits) => {
                context.task.set_scopes(Scopes::all(), false);
                context.task.set_scopes(Scopes::from_bits_truncate(bits), true);
            }
            _ => {}
        }
        let owned: u32 = held.iter().map(|(_, order)| order.pages()).sum();
        let tally = machine.validate().unwrap();
        prop_assert_eq!(tally.allocated, owned + shelf.pages() + handler.pages());
    }
    let shelved = [shelf, handler].map(|shelf| core::mem::take(&mut *shelf.blocks.lock().unwrap()));
    for (pfn, order) in held.into_iter().chain(shelved.into_iter().flatten()) {
        prop_assert_eq!(machine.free_pages(pfn, order), Ok(()));
    }
    machine.drain_all();
    machine.validate().unwrap();
    prop_assert_eq!(machine.totals(), before);
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: scaled(24), ..ProptestConfig::default() })]

    #[test]
    fn whatever_shrinkers_handlers_and_injected_failures_do_no_page_is_lost(
        steps in steps(), policies in policies(), boasts in 0..200u32,
    ) {
        run(&steps, policies, boasts)?;
    }
}
