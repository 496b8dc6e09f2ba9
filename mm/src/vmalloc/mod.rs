//! Virtual memory of the kernel beyond the linear map: areas of addresses, and what is mapped in them.
//!
//! Theory.      `tree` (with `balance` and `validate`) knows which addresses are taken, and nothing of tables. `alloc`
//!              (vmalloc) and `map` (vmap, ioremap) take an area and map it; `purge` gives areas back, many with one
//!              flush. `store` keeps the nodes in pages; `early` is ioremap before there are areas. An area is followed
//!              by a guard page that is never mapped, so that running off its end faults.
//!
//! ```text
//!              vmalloc_start                                                    VMALLOC_END
//!              | area 1 |g| gap | area 2     |g| retired |g| area 3 |g|   tail  |
//! ```
//! Invariants.  1. Areas and their guards are disjoint and in bounds. 2. A frame leaves an area only after a flush.
//!              3. On `Err` nothing has changed: nodes, frames and tables are where they were.
//! Not here.    Locks: `&mut self`. Descriptors (`paging`), where frames come from ([`FrameSource`]).
//! Source.      Linux `mm/vmalloc.c`, `arch/arm/mm/ioremap.c`.

mod alloc;
mod balance;
mod early;
mod error;
mod info;
mod map;
mod node;
mod purge;
mod retired;
mod store;
mod tree;
mod validate;

pub use alloc::{Config, FrameSource, Request, Space, Vmalloc};
pub use early::{EarlyIo, EarlyIoError, EarlyWindow};
pub use error::VmallocError;
pub use info::InfoLine;
pub use map::IoKind;
pub use node::{Area, AreaKind, Node, NodeArena, NodeId, NodeStore};
pub use store::{NodePages, PagedNodes};
pub use tree::{Areas, Iter};
pub use validate::Broken;

#[cfg(test)]
mod tests;
#[cfg(test)]
mod tree_tests;
