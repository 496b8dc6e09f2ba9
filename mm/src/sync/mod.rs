//! The few places where CPUs and interrupt handlers meet: a lock, a mask, a cell written once, a count of changes,
//! the CPU's number.
//!
//! Theory.      Algorithms take `&mut self` and know nothing of locks; one layer above them holds an [`IrqLock`] and
//!              hands out the exclusive borrow. The lock masks interrupts before it spins, so a handler can never
//!              spin on a lock that the code it interrupted holds.
//!              Where no handler ever comes a [`TaskLock`] does, which leaves interrupts alone: long walks over tables.
//! Invariants.  1. While an [`IrqLock`]'s guard lives, interrupts are masked on its CPU. 2. Guards are not `Send`, so
//!              the mask is put back on the CPU that set it. 3. An [`InitOnce`] changes once, from empty to its value.
//!              4. Who holds a lock with a rank waits for none of a lower one (`rank`); debug builds check it.
//! Source.      Linux: `spin_lock_irqsave`, `local_irq_save`, `smp_processor_id`, `seqcount_t`.

mod cpu;
mod init_once;
mod irq_lock;
mod rank;
mod seqcount;
mod task_lock;

#[cfg(any(test, feature = "testing"))]
pub use cpu::set_host_cpu;
pub use cpu::{CpuId, CurrentCpu};
pub use init_once::InitOnce;
pub use irq_lock::{IrqLock, IrqLockGuard, IrqOff};
pub use rank::{HeldRanks, LockRank, check_lock_order, held_ranks};
pub use seqcount::{SeqCount, Snapshot};
pub use task_lock::{TaskLock, TaskLockGuard};
