//! `execve`: the address space is replaced.

use alloc::vec::Vec;

use crate::id::ThreadId;
use crate::kernel::{Kernel, State};
use crate::process::{Descriptor, Space};
use crate::sched::On;

impl Kernel {
    /// `execve(2)` of a program that goes on as the same process: one thread, an empty address
    /// space, descriptors that are not to be closed. Other threads are gone before it begins.
    pub async fn exec(&self, who: ThreadId) {
        let others = self.state().others(who);
        for other in others {
            self.tasks().interrupt(other, true);
            while self.tasks().is_busy(other) {
                self.wait(On::End(other)).await;
            }
            self.state().threads.remove(other);
        }
        let (old, closing) = self.state().replace_space(who);
        self.put_space(old).await;
        for descriptor in closing {
            self.put_file(descriptor.file).await;
        }
    }
}

impl State {
    /// The other threads of a thread's process, told to die.
    fn others(&mut self, who: ThreadId) -> Vec<ThreadId> {
        let threads = &self.processes[self.threads[who].process].threads;
        let others: Vec<ThreadId> = threads.iter().copied().filter(|id| *id != who).collect();
        for other in &others {
            self.threads[*other].dying = true;
        }
        others
    }

    fn replace_space(&mut self, who: ThreadId) -> (crate::id::SpaceId, Vec<Descriptor>) {
        let fresh = Space::new(self.profile.page_size);
        let fresh = self.spaces.insert(fresh);
        let id = self.threads[who].process;
        let process = &mut self.processes[id];
        let old = core::mem::replace(&mut process.space, fresh);
        process.threads.retain(|thread| *thread == who);
        let map = &mut process.descriptors.map;
        let closing = map.values().copied().filter(|d| d.close_on_exec).collect();
        map.retain(|_, descriptor| !descriptor.close_on_exec);
        (old, closing)
    }
}
