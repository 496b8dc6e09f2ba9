//! Figures for scripts: `bench<TAB>NAME<TAB>instructions`, exact under QEMU's `-icount shift=0`.

use boot::bring_up::Timeline;
use mm::addr::PAGE_SIZE;

use crate::println;
use crate::system::System;

/// Prints the boot's figures: entry to the `Memory:` line, and what a page costs.
pub fn boot(system: &System) {
    let Timeline { memmap_start, memmap, hand_over_start, hand_over_lowmem, hand_over, memory_line, .. } =
        system.booted.timeline;
    let span = |from: Option<u32>, to: Option<u32>| Some(to?.wrapping_sub(from?));
    let zones = system.booted.mm.allocator().zones();
    let present: u32 = zones.iter().map(|zone| zone.stats().present).sum();
    let mib = (u64::from(present) * u64::from(PAGE_SIZE)) >> 20;
    if let Some(instructions) = memory_line {
        match mib {
            2048 => println!("bench\tboot_2G\t{instructions}"),
            // What `highmem=off` drops was there to boot with.
            494..=512 => println!("bench\tboot_512M\t{instructions}"),
            other => println!("bench\tboot_{other}M\t{instructions}"),
        }
    }
    per_page("memmap_page", span(memmap_start, memmap), present);
    let totals = system.booted.mm.totals();
    let lowmem = totals.managed - totals.highmem;
    per_page("handover_page", span(hand_over_start, hand_over_lowmem), lowmem);
    per_page("handover_highmem_page", span(hand_over_lowmem, hand_over), totals.highmem);
}

/// Prints `total` divided by `pages`, with two digits behind the point.
fn per_page(name: &str, total: Option<u32>, pages: u32) {
    let Some(hundredths) = total.and_then(|total| (u64::from(total) * 100).checked_div(u64::from(pages))) else {
        return;
    };
    println!("bench\t{name}\t{}.{:02}", hundredths / 100, hundredths % 100);
}
