//! From the ARM boot protocol and a device tree to a live page allocator.
#![cfg_attr(not(test), no_std)]

pub mod image;
pub mod info;
pub mod lowmem;
pub mod reserve;
