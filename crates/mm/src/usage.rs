//! How much of what a kernel hands out is in use: what must be nothing once every process is gone.

use crate::kernel::Kernel;

/// What is in use.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    /// Frames of memory.
    pub frames: usize,
    /// Slots of swap.
    pub slots: usize,
    /// Objects that can be mapped.
    pub objects: usize,
    /// Open files, userfaultfds among them.
    pub files: usize,
    /// Userfaultfds, those of children included that nobody has a descriptor of yet.
    pub userfaultfds: usize,
    /// Faults and events that wait in the queues of userfaultfds.
    pub waiting: usize,
    /// Processes.
    pub processes: usize,
    /// Their threads.
    pub threads: usize,
    /// Address spaces; that of a dead process stays for as long as a userfaultfd names it.
    pub spaces: usize,
    /// Families of private memory. Those without members may be counted for a while.
    pub families: usize,
}

impl Usage {
    /// Every count by name.
    #[must_use]
    pub fn counts(&self) -> [(&'static str, usize); 10] {
        [
            ("frames", self.frames),
            ("swap slots", self.slots),
            ("objects", self.objects),
            ("open files", self.files),
            ("userfaultfds", self.userfaultfds),
            ("waiting faults", self.waiting),
            ("processes", self.processes),
            ("threads", self.threads),
            ("address spaces", self.spaces),
            ("families", self.families),
        ]
    }
}

impl Kernel {
    /// Counts what is in use.
    #[must_use]
    pub fn usage(&self) -> Usage {
        let state = self.state();
        let waiting = state.contexts.iter().map(|(_, context)| {
            context.pending.len() + context.delivered.len() + context.events.len()
        });
        Usage {
            frames: state.machine.frames.in_use(),
            slots: state.machine.swap.in_use().count(),
            objects: state.machine.objects.iter().count(),
            files: state.files.iter().count(),
            userfaultfds: state.contexts.count(),
            waiting: waiting.sum(),
            processes: state.processes.count(),
            threads: state.threads.count(),
            spaces: state.spaces.count(),
            families: state.roots.count(),
        }
    }
}
