//! What follows pages, as the boot arguments ask for it.
//!
//! Source.      Linux: `init_mem_debugging_and_hardening`, `report_meminit`, `init_page_owner`.

use mm::memblock::Memblock;
use mm::page_alloc::{FreeRecord, Hooks, OwnerRecord, PageOwner};

use super::pages::{Zones, take};
use super::{BootError, Given, Machine, slices};
use crate::cmdline::BootArgs;

/// The last frees that page owner keeps.
const RECENT_FREES: usize = 256;

/// What the arguments switch on.
fn hooks(args: &BootArgs<'_>) -> Hooks {
    // Without a way to unmap free pages, their poison shows who wrote to them (Linux does the same on Arm).
    let asked = [
        (args.debug_pagealloc, Hooks::DEBUG_PAGEALLOC | Hooks::POISON | Hooks::CHECK),
        (args.page_poison, Hooks::POISON | Hooks::CHECK),
        (args.init_on_alloc, Hooks::INIT_ON_ALLOC | Hooks::CHECK),
        (args.init_on_free, Hooks::INIT_ON_FREE | Hooks::CHECK),
        (args.page_owner, Hooks::PAGE_OWNER),
    ];
    asked.into_iter().filter(|(on, _)| *on).fold(Hooks::empty(), |all, (_, hooks)| all | hooks)
}

/// Switches on what is asked for, before the first page is allocated. Records of page owner come from memblock.
pub(super) fn switch_on<M: Machine>(
    memblock: &mut Memblock<'_>,
    zones: &mut Zones<M>,
    given: &Given<'_, M>,
) -> Result<(), BootError> {
    let hooks = hooks(&given.args);
    if hooks.contains(Hooks::PAGE_OWNER) {
        let frames = zones.map().span();
        let records = take(memblock, given, "page owner", frames.pages() as usize)?;
        let frees = take(memblock, given, "page owner", RECENT_FREES)?;
        let records = slices::fill(records, OwnerRecord::default);
        if let Some(owner) = PageOwner::new(frames, records, slices::fill(frees, FreeRecord::default)) {
            zones.set_page_owner(owner);
        }
    }
    report(hooks);
    zones.set_hooks(hooks, true);
    Ok(())
}

/// Says what happens to the contents of pages, if anything does.
fn report(hooks: Hooks) {
    let state = |hook| if hooks.contains(hook) { "on" } else { "off" };
    if hooks.intersects(Hooks::INIT_ON_ALLOC | Hooks::INIT_ON_FREE) {
        let (alloc, free) = (state(Hooks::INIT_ON_ALLOC), state(Hooks::INIT_ON_FREE));
        log::info!("mem auto-init: stack:off, heap alloc:{alloc}, heap free:{free}");
    }
    if hooks.contains(Hooks::POISON) {
        log::info!("mem auto-init: page poisoning is on and goes before init_on_alloc and init_on_free");
    }
}
