//! How much of what a kernel hands out is in use: what must be nothing once every process is gone.

use crate::kernel::Kernel;

/// What is in use.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    /// Frames of memory.
    pub frames: usize,
    /// Open files, userfaultfds among them.
    pub files: usize,
    /// Faults and events that wait in the queues of userfaultfds.
    pub waiting: usize,
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
            files: state.files.iter().count(),
            waiting: waiting.sum(),
        }
    }
}
