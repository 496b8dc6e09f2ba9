//! mm's `sync`, file by file.

#[path = "../../mm/src/sync/init_once.rs"]
mod init_once;
#[path = "../../mm/src/sync/irq_lock.rs"]
mod irq_lock;

pub use init_once::InitOnce;
pub use irq_lock::{IrqLock, IrqLockGuard, IrqOff};
