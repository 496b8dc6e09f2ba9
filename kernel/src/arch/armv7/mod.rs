//! ARMv7-A: the instructions behind the traits of `mm` and `boot`.

pub mod asid;
pub mod backtrace;
pub mod clock;
pub mod cp15;
pub mod fault;
pub mod irq;
pub mod mmu;
pub mod page;
mod report;
pub mod uaccess;
pub mod vectors;
