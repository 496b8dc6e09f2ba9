//! Windows on frames that have no linear address.
//!
//! Theory.      A frame above lowmem has an address only while somebody maps it. [`Pkmap`] is for long uses, from any
//!              CPU: a ring of 512 pages with reference counts, looked up by frame. [`LocalStack`] is for short ones,
//!              on one CPU: a few pages a CPU that are taken and given back like a stack, so that neither a lock nor
//!              a flush of other CPUs is needed.
//! Not here.    Table words (`paging::Slots`), locks, which frames have a linear address.
//! Source.      Linux `mm/highmem.c`, `arch/arm/mm/highmem.c`, `Documentation/mm/highmem.rst`.
#![forbid(unsafe_code)]

mod local;
mod pkmap;
mod wait;

pub use local::{LocalError, LocalStack};
pub use pkmap::{PKMAP_SLOTS, Pkmap, PkmapBroken, PkmapError, PkmapTable};
pub use wait::{Refuse, WindowWait, get_window, put_window};

#[cfg(test)]
mod tests;
