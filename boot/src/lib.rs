//! From the ARM boot protocol and a device tree to a live page allocator.
#![cfg_attr(not(any(test, feature = "testing")), no_std)]

pub mod cmdline;
pub mod fdt;
pub mod image;
pub mod info;

/// How much longer than usual the randomised tests run: `QUIRE_TEST_SCALE`, 1 by default.
#[cfg(test)]
pub(crate) fn test_scale() -> u32 {
    std::env::var("QUIRE_TEST_SCALE").ok().and_then(|scale| scale.parse().ok()).unwrap_or(1)
}
