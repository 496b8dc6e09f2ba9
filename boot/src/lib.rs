//! From the ARM boot protocol and a device tree to a live page allocator.
#![cfg_attr(not(test), no_std)]

pub mod cpu;
pub mod early_map;
pub mod head;
pub mod image;
pub mod info;
pub mod lowmem;
pub mod paging_init;
pub mod reserve;
