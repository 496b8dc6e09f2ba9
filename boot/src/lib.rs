//! From the ARM boot protocol and a device tree to a live page allocator.
#![cfg_attr(not(any(test, feature = "testing")), no_std)]
/// How much longer than usual the randomised tests run: `QUIRE_TEST_SCALE`, 1 by default.
#[cfg(test)]
pub(crate) fn test_scale() -> u32 {
    std::env::var("QUIRE_TEST_SCALE").ok().and_then(|scale| scale.parse().ok()).unwrap_or(1)
}

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
#[cfg(any(test, feature = "testing"))]
pub mod testing;
