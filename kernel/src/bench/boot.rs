//! What the boot cost: entry to the `Memory:` line and to the phases before it, and a page's share of the memory map
//! and of the hand-over.

use boot::bring_up::Timeline;
use mm::addr::PAGE_SIZE;

use super::Wanted;
use crate::system::System;

/// Prints the boot's figures.
pub(super) fn run(system: &System, wanted: Wanted<'_>) {
    let Timeline { memblock, tables, memmap_start, memmap, hand_over_start, hand_over_lowmem, hand_over, memory_line } =
        system.booted.timeline;
    let zones = system.booted.mm.allocator().zones();
    let present: u32 = zones.iter().map(|zone| zone.stats().present).sum();
    let mib = (u64::from(present) * u64::from(PAGE_SIZE)) >> 20;
    // What `highmem=off` drops was there to boot with.
    let (size, unit) = match mib {
        2048 => (2, 'G'),
        494..=512 => (512, 'M'),
        other => (other, 'M'),
    };
    let phases = [
        ("", memory_line),
        ("_memblock", memblock),
        ("_tables", tables),
        ("_memmap", memmap),
        ("_handover", hand_over),
    ];
    for (phase, since_entry) in phases {
        if let Some(instructions) = since_entry.filter(|_| wanted.has("boot")) {
            wanted.row(format_args!("boot_{size}{unit}{phase}"), instructions, 1);
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
