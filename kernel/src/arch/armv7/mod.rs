//! ARMv7-A: the instructions behind the traits of `mm` and `boot`.

pub mod clock;
pub mod cp15;
pub mod fault;
pub mod irq;
pub mod mmu;
pub mod page;
pub mod vectors;
