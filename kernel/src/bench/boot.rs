//! What the boot cost: entry to the `Memory:` line, and a page's share of the memory map and of the hand-over.

use boot::bring_up::Timeline;
use mm::addr::PAGE_SIZE;

use super::Wanted;
use crate::system::System;

/// Prints the boot's figures.
pub(super) fn run(system: &System, wanted: Wanted<'_>) {
    let Timeline { memmap_start, memmap, hand_over_start, hand_over_lowmem, hand_over, memory_line, .. } =
        system.booted.timeline;
    let zones = system.booted.mm.allocator().zones();
    let present: u32 = zones.iter().map(|zone| zone.stats().present).sum();
    let mib = (u64::from(present) * u64::from(PAGE_SIZE)) >> 20;
    if let Some(instructions) = memory_line
        && wanted.has("boot")
    {
        match mib {
            2048 => wanted.row(format_args!("boot_2G"), instructions, 1),
            // What `highmem=off` drops was there to boot with.
            494..=512 => wanted.row(format_args!("boot_512M"), instructions, 1),
            other => wanted.row(format_args!("boot_{other}M"), instructions, 1),
        }
    }
    let totals = system.booted.mm.totals();
    let rows = [
        ("memmap_page", memmap_start, memmap, present),
        ("handover_page", hand_over_start, hand_over_lowmem, totals.managed - totals.highmem),
        ("handover_highmem_page", hand_over_lowmem, hand_over, totals.highmem),
    ];
    for (name, from, to, pages) in rows {
        if let (Some(from), Some(to)) = (from, to)
            && wanted.has(name)
        {
            wanted.row(format_args!("{name}"), to.wrapping_sub(from), pages);
        }
    }
}
