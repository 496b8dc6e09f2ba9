//! Linux-class memory management for 32-bit ARM (VMSAv7, short descriptors), without `std`.
#![cfg_attr(not(any(test, feature = "testing")), no_std)]

pub mod addr;
pub mod buddy;
pub mod fault;
pub mod gfp;
pub mod layout;
pub mod memblock;
pub mod memmap;
pub mod migrate;
pub mod order;
pub mod page_alloc;
pub mod paging;
pub mod percpu;
pub mod phase;
pub mod platform;
pub mod report;
pub mod sync;
#[cfg(any(test, feature = "testing"))]
pub mod testing;
pub mod vmalloc;
pub mod zone;
