//! From the ARM boot protocol and a device tree to a live page allocator.
//!
//! Theory.      The head runs with the MMU off, finds RAM and itself, and writes the first table. What follows is one
//!              sequence, [`bring_up::bring_up`], over pure parts: each takes plain data, says what it found in Linux's
//!              lines, and refuses bad input in one line. Registers, caches and the console stay outside, behind
//!              [`bring_up::Machine`]; so the whole boot runs on the host as well (`testing`).
//! Picture.
//! ```text
//! r2 -> head -> fdt::validate -> BootInfo, BootArgs
//!                    |
//!                early_map     the image's bank by sections
//!                reserve       banks and reservations -> memblock
//!                lowmem        where the linear mapping ends
//!                paging_init   the final tables
//!                bring_up      zones, memory map, hand-over -> mm::phase::Mm
//! ```
//!
//! | module | what it is |
//! | --- | --- |
//! | [`head`] | where RAM, image and tree are; the first table |
//! | [`image`], [`info`] | the running image and the tree's facts, as plain data |
//! | [`fdt`] | the device tree: validated once, then read without a check |
//! | [`cmdline`] | boot arguments |
//! | [`shown`] | text from outside on its way into the log |
//! | [`cpu`] | the processor's name and features, from its registers' values |
//! | [`early_map`] | the first bank by sections |
//! | [`reserve`], [`lowmem`] | what is RAM, what is taken, what has a linear address |
//! | [`paging_init`] | the final tables, written in place |
//! | [`bring_up`] | the sequence |
#![cfg_attr(not(any(test, feature = "testing")), no_std)]

pub mod bring_up;
pub mod cmdline;
pub mod cpu;
pub mod early_map;
pub mod fdt;
pub mod head;
pub mod image;
pub mod info;
pub mod lowmem;
pub mod paging_init;
pub mod reserve;
pub mod shown;
#[cfg(any(test, feature = "testing"))]
pub mod testing;
