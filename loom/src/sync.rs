//! mm's `sync`, file by file.

#[path = "../../mm/src/sync/init_once.rs"]
mod init_once;
#[path = "../../mm/src/sync/irq_lock.rs"]
mod irq_lock;
#[path = "../../mm/src/sync/seqcount.rs"]
mod seqcount;
#[path = "../../mm/src/sync/task_lock.rs"]
mod task_lock;

pub use init_once::InitOnce;
pub use irq_lock::{IrqLock, IrqLockGuard, IrqOff};
pub use seqcount::{SeqCount, Snapshot};
pub use task_lock::{TaskLock, TaskLockGuard};
