//! Processes, their threads, and their address spaces.
//!
//! | file | holds |
//! |---|---|
//! | `area`, `areas` | areas; finding, splitting, merging them |
//! | `entry`, `page_table`, `table` | entries and where they are kept |
//! | `space` | an address space, and how entries hold frames |
//! | `rmap` | from a frame to the entries that map it |
//! | `fds` | descriptors and open files |

mod area;
mod areas;
mod entry;
mod fds;
mod page_table;
mod rmap;
mod space;
mod table;

use alloc::vec::Vec;

pub use area::Protection;
pub(crate) use area::{Area, Backing, Registration, Traits};
pub(crate) use areas::TASK_END;
pub(crate) use entry::{Entry, Mapped, Marker};
pub(crate) use fds::{Descriptor, Descriptors, FileKind, OpenFile};
pub(crate) use space::{Root, Space};

use crate::id::{ProcessId, SpaceId, ThreadId};
use crate::kernel::{Kernel, State};

/// The number of the first thread; those of a running system are not small either.
const FIRST_NUMBER: u32 = 1000;

/// A process.
#[derive(Debug)]
pub(crate) struct Process {
    pub(crate) space: SpaceId,
    pub(crate) descriptors: Descriptors,
    pub(crate) threads: Vec<ThreadId>,
    pub(crate) dead: bool,
}

/// A thread.
#[derive(Debug)]
pub(crate) struct Thread {
    pub(crate) process: ProcessId,
    /// Has CAP_SYS_PTRACE.
    pub(crate) privileged: bool,
    /// A signal is pending whose handler does nothing.
    pub(crate) signalled: bool,
    /// It is to die, and gives up whatever it waits for.
    pub(crate) dying: bool,
}

impl State {
    /// Adds a process with one thread.
    pub(crate) fn add_process(
        &mut self,
        space: SpaceId,
        descriptors: Descriptors,
        privileged: bool,
    ) -> ThreadId {
        let threads = Vec::new();
        let process = self.processes.insert(Process { space, descriptors, threads, dead: false });
        self.add_thread(process, privileged)
    }

    pub(crate) fn add_thread(&mut self, process: ProcessId, privileged: bool) -> ThreadId {
        let thread = Thread { process, privileged, signalled: false, dying: false };
        let id = self.threads.insert(thread);
        self.processes[process].threads.push(id);
        id
    }
}

impl Kernel {
    /// Makes a process unrelated to the others, with privileges, and returns its first thread.
    #[must_use]
    pub fn spawn(&self) -> ThreadId {
        let mut state = self.state();
        let space = Space::new(state.profile.page_size);
        let space = state.spaces.insert(space);
        state.add_process(space, Descriptors::default(), true)
    }

    /// Adds a thread to the process of another.
    #[must_use]
    pub fn spawn_thread(&self, beside: ThreadId) -> ThreadId {
        let mut state = self.state();
        let Thread { process, privileged, .. } = state.threads[beside];
        state.add_thread(process, privileged)
    }

    /// The process of a thread.
    #[must_use]
    pub fn process_of(&self, thread: ThreadId) -> ProcessId {
        self.state().threads[thread].process
    }

    /// The number a fault message names a thread by.
    #[must_use]
    pub fn thread_number(&self, thread: ThreadId) -> u32 {
        number_of(thread)
    }

    /// Gives up a thread's privileges.
    pub fn drop_privileges(&self, thread: ThreadId) {
        self.state().threads[thread].privileged = false;
    }

    /// Delivers a signal whose handler does nothing: what waits and can be interrupted is. A thread
    /// that is gone takes none.
    pub fn interrupt(&self, thread: ThreadId) {
        let mut state = self.state();
        let Some(signalled) = state.threads.get_mut(thread) else { return };
        signalled.signalled = true;
        drop(state);
        self.tasks().interrupt(thread, false);
    }
}

/// The number a fault message names a thread by.
pub(crate) fn number_of(thread: ThreadId) -> u32 {
    FIRST_NUMBER + u32::try_from(thread.0).unwrap_or(u32::MAX - FIRST_NUMBER)
}
