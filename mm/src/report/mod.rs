//! What the allocator looks like from outside, as values that print in Linux's formats.
//!
//! Theory.      Each view borrows the allocator and reads its counters while it prints, a zone at a time; nothing is
//!              collected first, so no memory is needed. Numbers of different zones may be of different moments.
//! Source.      Linux: `/proc/buddyinfo`, `/proc/pagetypeinfo`, `/proc/zoneinfo`, `/proc/meminfo`, `/proc/vmstat`,
//!              `nodeN/meminfo`, `mem_init_print_info`.
#![forbid(unsafe_code)]

mod buddyinfo;
mod meminfo;
mod memory_line;
mod pagetypeinfo;
mod vmstat;
mod zoneinfo;

#[cfg(test)]
mod tests;

pub use buddyinfo::BuddyInfo;
pub use meminfo::{MemInfo, MemUsers, NodeMemInfo};
pub use memory_line::{ImageSizes, MemoryLine, Unbalanced};
pub use pagetypeinfo::PageTypeInfo;
pub use vmstat::VmStat;
pub use zoneinfo::ZoneInfo;

/// KiB of `pages` pages.
fn kib(pages: u32) -> u64 {
    u64::from(pages) * 4
}
