//! mm's `sync`, file by file.

#[path = "../../mm/src/sync/cpu.rs"]
mod cpu;
#[path = "../../mm/src/sync/init_once.rs"]
mod init_once;
#[path = "../../mm/src/sync/irq_lock.rs"]
mod irq_lock;
/// Ranks are for builds with a CPU's word to note them in: here they are nothing.
mod rank {
    /// mm's type of the same name.
    #[derive(Clone, Copy, Debug)]
    pub struct LockRank;

    #[derive(Clone, Copy, Debug)]
    pub(super) struct Ranked;

    impl Ranked {
        pub(super) const fn new(_rank: Option<LockRank>) -> Self {
            Self
        }

        pub(super) fn wanted(self) {}

        pub(super) fn taken(self) {}

        pub(super) fn opened(self) {}
    }
}
#[path = "../../mm/src/sync/seqcount.rs"]
mod seqcount;
#[path = "../../mm/src/sync/task_lock.rs"]
#[allow(dead_code, reason = "ranks are told elsewhere")]
mod task_lock;

pub use cpu::{CpuId, CurrentCpu};
pub use init_once::InitOnce;
pub use irq_lock::{IrqLock, IrqLockGuard, IrqOff};
pub use seqcount::{SeqCount, Snapshot};
pub use task_lock::{TaskLock, TaskLockGuard};
