//! What the allocator knows of whoever asks it: its memory nodes, and the scopes that it is in.
//!
//! Theory.      A kernel puts a [`Task`] into each of its tasks and tells by [`TaskContext`] which one runs. A scope
//!              changes what every allocation inside it may do, also those of callees that know nothing of it. The
//!              nodes that a task may use can be changed from outside while it allocates, so they are read under a
//!              count of changes, and an allocation that fails is tried anew when they have changed meanwhile.
//! Invariants.  A scope ends where it began: the bits that it set, and no others, are cleared.
//! Not here.    What the bits do (`slow`, `walk`).
//! Source.      Linux 4.1: `task_struct::mems_allowed`, `PF_MEMALLOC`, `memalloc_noio_save`, `TIF_MEMDIE`,
//!              `read_mems_allowed_begin`, `__cpuset_node_allowed`.
#![forbid(unsafe_code)]

use core::marker::PhantomData;
use core::sync::atomic::AtomicU32;
use core::sync::atomic::Ordering::Relaxed;

use bitflags::bitflags;

use crate::addr::NodeId;
use crate::buddy::FreeCore;
use crate::gfp::GfpFlags;
use crate::page_alloc::PageAllocator;
use crate::platform::IrqControl;
use crate::sync::{CurrentCpu, SeqCount, Snapshot, TaskLock, TaskLockGuard};
use crate::zone::NodeSet;

bitflags! {
    /// What holds for every allocation of a task.
    #[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
    pub struct Scopes: u32 {
        /// It is freeing memory: it may use every reserve, and must not begin to reclaim (Linux: `PF_MEMALLOC`).
        const MEMALLOC = 1 << 0;
        /// No I/O may be started, nor file systems called (Linux: `PF_MEMALLOC_NOIO`).
        const NO_IO = 1 << 1;
        /// It is to end, so that its memory is freed: it may use every reserve (Linux: `TIF_MEMDIE`).
        const OOM_VICTIM = 1 << 2;
        /// It must meet a deadline: it may go a quarter below the mark (Linux: `rt_task`).
        const REALTIME = 1 << 3;
        /// It is taking contiguous memory, and must not begin that anew.
        const CONTIG = 1 << 4;
    }
}

/// What the allocator keeps of a task.
#[derive(Debug)]
pub struct Task {
    scopes: AtomicU32,
    seq: SeqCount,
    /// Its own nodes in the low half, those of the nearest wall around it in the high half.
    mems: AtomicU32,
}

const WALL_SHIFT: u32 = 16;
const ALL_MEMS: u32 = NodeSet::ALL.bits() | NodeSet::ALL.bits() << WALL_SHIFT;

/// Which nodes a task may use.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Mems {
    /// Its CPU set's.
    pub own: NodeSet,
    /// Those of the nearest enclosing CPU set with a hard wall: kernel allocations in trouble may have them.
    pub wall: NodeSet,
}

impl Mems {
    /// Every node.
    pub const ALL: Self = Self { own: NodeSet::ALL, wall: NodeSet::ALL };

    /// Whether a request may have memory of `node` (Linux: `__cpuset_node_allowed`).
    #[must_use]
    pub const fn allows(self, node: NodeId, gfp: GfpFlags) -> bool {
        self.own.contains(node) || (!gfp.contains(GfpFlags::HARDWALL) && self.wall.contains(node))
    }
}

impl Default for Task {
    fn default() -> Self {
        Self::new()
    }
}

impl Task {
    /// A task in no scope that may use every node.
    #[must_use]
    pub const fn new() -> Self {
        Self { scopes: AtomicU32::new(0), seq: SeqCount::new(), mems: AtomicU32::new(ALL_MEMS) }
    }

    /// The scopes that it is in.
    #[must_use]
    pub fn scopes(&self) -> Scopes {
        Scopes::from_bits_retain(self.scopes.load(Relaxed))
    }

    /// Enters `scopes` until the value is dropped. Scopes nest. Only the task itself enters, but for
    /// [`Scopes::OOM_VICTIM`] (Linux: `memalloc_noio_save` to `memalloc_noio_restore`).
    pub fn enter(&self, scopes: Scopes) -> TaskScope<'_> {
        let before = Scopes::from_bits_retain(self.scopes.fetch_or(scopes.bits(), Relaxed));
        TaskScope { task: self, entered: scopes - before, on_this_task: PhantomData }
    }

    /// Sets or clears scopes for good, from anywhere: `OOM_VICTIM`, `REALTIME`.
    pub fn set_scopes(&self, scopes: Scopes, on: bool) {
        if on {
            self.scopes.fetch_or(scopes.bits(), Relaxed);
        } else {
            self.scopes.fetch_and(!scopes.bits(), Relaxed);
        }
    }

    /// Its nodes, and when they were read.
    pub(super) fn mems(&self) -> (Mems, Snapshot) {
        let seen = self.seq.begin();
        let word = self.mems.load(Relaxed);
        (Mems { own: NodeSet::from_bits(word), wall: NodeSet::from_bits(word >> WALL_SHIFT) }, seen)
    }

    /// Whether its nodes were changed since then (Linux: `read_mems_allowed_retry`).
    pub(super) fn mems_changed(&self, seen: Snapshot) -> bool {
        self.seq.has_changed(seen)
    }

    pub(super) fn set_mems<I: IrqControl>(&self, mems: Mems) {
        let word = mems.own.bits() | mems.wall.bits() << WALL_SHIFT;
        self.seq.write::<I, _>(|| self.mems.store(word, Relaxed));
    }
}

/// A task is in the scopes that it entered until this is dropped.
#[derive(Debug)]
#[must_use = "the scope ends when this is dropped"]
pub struct TaskScope<'t> {
    task: &'t Task,
    entered: Scopes,
    /// Not `Send`: the task that entered leaves.
    on_this_task: PhantomData<*mut ()>,
}

impl Drop for TaskScope<'_> {
    fn drop(&mut self) {
        self.task.set_scopes(self.entered, false);
    }
}

/// Tells who asks. A machine with several CPUs or tasks that reclaims memory, takes contiguous memory or has scopes
/// must provide it: without it all of them are one task, which may sleep.
pub trait TaskContext: Sync {
    /// The task that runs on this CPU (Linux: `current`). In an interrupt handler it is one of the CPU's own that is in
    /// no scope: what holds for the interrupted task does not hold for the handler.
    fn current(&self) -> &Task;

    /// Whether the code that runs now can wait: not in an interrupt handler, no spin lock held, interrupts on
    /// (Linux: `in_atomic`).
    fn may_sleep(&self) -> bool;

    /// Called over and over while another task has to get on first: a kernel with tasks lets others run
    /// (Linux: `schedule_timeout_uninterruptible(1)`, `mutex_lock`).
    fn wait(&self) {
        core::hint::spin_loop();
    }
}

impl<'m, M: CurrentCpu, C: FreeCore<'m>> PageAllocator<'m, M, C> {
    /// Takes a lock whose holder may be another task of this CPU.
    pub(super) fn lock_as_task<'l, T>(&self, lock: &'l TaskLock<T>) -> TaskLockGuard<'l, T> {
        lock.wanted();
        loop {
            if let Some(guard) = lock.try_lock() {
                return guard;
            }
            match self.services().task {
                Some(task) => task.wait(),
                None => core::hint::spin_loop(),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scopes_nest_and_end_where_they_began() {
        let task = Task::new();
        let outer = task.enter(Scopes::NO_IO);
        {
            let _inner = task.enter(Scopes::NO_IO | Scopes::MEMALLOC);
            assert_eq!(task.scopes(), Scopes::NO_IO | Scopes::MEMALLOC);
        }
        assert_eq!(task.scopes(), Scopes::NO_IO);
        drop(outer);
        assert_eq!(task.scopes(), Scopes::empty());
    }

    #[test]
    fn a_new_task_may_use_every_node() {
        assert_eq!(Task::new().mems().0, Mems::ALL);
        assert_eq!(Task::default().mems().0, Mems::ALL);
    }

    #[test]
    fn a_hard_wall_keeps_to_the_own_nodes_and_others_to_the_walls() {
        let [zero, one, two] = [0, 1, 2].map(|raw| NodeId::new(raw).unwrap());
        let mems = Mems { own: NodeSet::of(zero), wall: NodeSet::of(zero).with(one) };
        let allowed = |gfp| [zero, one, two].map(|node| mems.allows(node, gfp));
        assert_eq!(allowed(GfpFlags::GFP_USER), [true, false, false]);
        assert_eq!(allowed(GfpFlags::GFP_KERNEL), [true, true, false]);
    }
}
