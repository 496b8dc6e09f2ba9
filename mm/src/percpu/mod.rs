//! Per-CPU areas: one copy of the image's per-CPU variables for each CPU, and room to allocate more of them.
//!
//! Theory.      Each CPU has a *unit* in one chunk of memory. A variable has the same offset in every unit, so its
//!              address on CPU n is its link address plus that CPU's offset. [`layout`] sizes the first chunk,
//!              [`alloc`] hands out offsets in its reserved and dynamic parts.
//! Picture.     unit of CPU 0                        unit of CPU 1
//!              | static | reserved | dynamic | pad | static | reserved | dynamic | pad |
//! Not here.    Who reads which CPU it is on (the machine), where the chunk lies (the caller takes it from memblock).
//! Source.      Linux mm/percpu.c.
#![forbid(unsafe_code)]

pub mod alloc;
mod bitmap;
pub mod layout;

pub use alloc::{Area, PerCpuAllocator};
pub use layout::{ChunkLayout, UnitOffsets};
