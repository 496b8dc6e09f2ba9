//! Which nodes the task that asks may use.
//!
//! Source.      Linux 4.1: `cpuset_zone_allowed`, `cpuset_mems_allowed`, `cpusets_enabled`.

use crate::buddy::FreeCore;
use crate::page_alloc::{Hooks, Mems, PageAllocator, Task};
use crate::sync::{CurrentCpu, Snapshot};

impl<'m, M: CurrentCpu, C: FreeCore<'m>> PageAllocator<'m, M, C> {
    /// The task that asks, as the allocator knows it (Linux: `current`).
    #[must_use]
    pub fn task(&self) -> &Task {
        match self.services().task {
            Some(context) => context.current(),
            None => &self.pressure.only_task,
        }
    }

    /// Sets the nodes that `task` may use from now on; its allocations that fail meanwhile are tried anew. The first
    /// call that takes a node from a task ends all hits for good: a pageset knows of no CPU sets; another CPU's hits
    /// end when its pagesets are drained next (Linux: `cpuset_change_task_nodemask`).
    pub fn set_mems_allowed(&self, task: &Task, mems: Mems) {
        if mems != Mems::ALL {
            self.set_hooks(Hooks::CPUSETS, true);
        }
        task.set_mems::<M>(mems);
    }

    /// The nodes that the task may use, and when they were read; the latter is `None` while no task has lost one.
    pub(in crate::page_alloc) fn mems_of(&self, task: &Task) -> (Mems, Option<Snapshot>) {
        if !self.hooks().contains(Hooks::CPUSETS) {
            return (Mems::ALL, None);
        }
        let (mems, seen) = task.mems();
        (mems, Some(seen))
    }
}
