//! Linux-class memory management for 32-bit ARM (VMSAv7, short descriptors), without `std`.
#![cfg_attr(not(any(test, feature = "testing")), no_std)]

pub mod addr;
pub mod layout;
pub mod order;
pub mod paging;
pub mod platform;
#[cfg(any(test, feature = "testing"))]
pub mod testing;
pub mod zone;
