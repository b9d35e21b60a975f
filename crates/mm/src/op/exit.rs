//! The end of a process, and of an address space.
//!
//! Memory goes first, descriptors after it. A call of another process that is at the memory keeps
//! it until it is done.

use alloc::boxed::Box;
use alloc::vec::Vec;

use faultless_pages::{Va, VaRange};

use crate::id::{FileId, ProcessId, SpaceId, ThreadId};
use crate::kernel::{Kernel, State};
use crate::process::TASK_END;
use crate::sched::{Lock, Mode};

impl Kernel {
    /// Tells every thread of a process to die; what waits and can be given up is. They are gone
    /// once their operations have ended; then [`Kernel::exit`] is to be called.
    pub fn kill(&self, process: ProcessId) {
        let threads: Vec<ThreadId> = {
            let mut state = self.state();
            let Some(dying) = state.processes.get(process) else { return };
            let threads = dying.threads.clone();
            for thread in &threads {
                state.threads[*thread].dying = true;
            }
            threads
        };
        for thread in threads {
            self.tasks().interrupt(thread, true);
        }
    }

    /// Ends a process none of whose threads is in an operation, but for this one. Its name, and
    /// those of its threads, stand for nothing from then on.
    pub async fn exit(&self, process: ProcessId) {
        let (space, files) = self.state().end_process(process);
        self.put_space(space).await;
        for file in files {
            self.put_file(file).await;
        }
        self.state().forget_process(process);
    }

    /// Drops one use of an address space; the last one tears it down.
    pub(crate) async fn put_space(&self, space: SpaceId) {
        let last = {
            let mut state = self.state();
            state.spaces[space].users -= 1;
            state.spaces[space].is_dead()
        };
        if last {
            Box::pin(self.tear_down(space)).await;
        }
    }

    async fn tear_down(&self, space: SpaceId) {
        let map = self.lock(Lock::Mmap(space), Mode::Exclusive).await;
        let whole = VaRange::new(Va(0), TASK_END);
        let guards = self.lock_areas(space, whole).await;
        self.zap_tables(space, whole).await;
        {
            let mut state = self.state();
            state.take_areas(space, whole);
            state.leave_families(space);
            state.spaces[space].gone = true;
            state.forget_space(space);
        }
        drop(guards);
        map.release().await;
    }
}

impl State {
    fn end_process(&mut self, id: ProcessId) -> (SpaceId, Vec<FileId>) {
        let process = &mut self.processes[id];
        process.dead = true;
        let map = core::mem::take(&mut process.descriptors.map);
        (process.space, map.values().map(|descriptor| descriptor.file).collect())
    }

    /// Forgets a process that has ended, and its threads.
    fn forget_process(&mut self, id: ProcessId) {
        let Some(process) = self.processes.remove(id) else { return };
        for thread in process.threads {
            self.threads.remove(thread);
        }
    }

    /// No family has members in a space that is gone.
    fn leave_families(&mut self, space: SpaceId) {
        for root in core::mem::take(&mut self.spaces[space].families) {
            self.leave_family(space, root);
        }
    }
}
