//! Making a userfaultfd: flags and permission.

use faultless_uapi::UFFD_USER_MODE_ONLY;

use crate::errno::{EACCES, EINVAL, EPERM, Errno};
use crate::id::{ContextId, ProcessId, ThreadId};
use crate::kernel::{Kernel, State};
use crate::process::FileKind;
use crate::userfaultfd::Userfaultfd;

/// Flags of the system call, and of the device's request.
#[derive(Debug)]
pub struct OpenFlags;

impl OpenFlags {
    /// Reads return instead of waiting.
    pub const NONBLOCK: u32 = 0o4000;
    /// Closed by exec.
    pub const CLOEXEC: u32 = 0o2_000_000;
    const KNOWN: u32 = OpenFlags::NONBLOCK | OpenFlags::CLOEXEC | UFFD_USER_MODE_ONLY;
}

impl Kernel {
    /// `userfaultfd(2)`. Returns the descriptor.
    ///
    /// # Errors
    /// EPERM without the privilege, looked at before anything else; EINVAL for unknown flags.
    pub fn userfaultfd(&self, who: ThreadId, flags: u32) -> Result<u32, Errno> {
        let allowed = {
            let state = self.state();
            flags & UFFD_USER_MODE_ONLY != 0
                || state.threads[who].privileged
                || state.profile.unprivileged_allowed
        };
        if !allowed {
            return Err(EPERM);
        }
        let process = self.process_of(who);
        self.make_userfaultfd(process, flags)
    }

    /// Opens `/dev/userfaultfd`, which only its owner may. Returns the descriptor.
    ///
    /// # Errors
    /// EACCES without privileges.
    pub fn open_device(&self, who: ThreadId) -> Result<u32, Errno> {
        let process = self.process_of(who);
        let mut state = self.state();
        if !state.threads[who].privileged {
            return Err(EACCES);
        }
        state.install(process, FileKind::Device, false, true)
    }

    /// Makes a userfaultfd of a process's memory; who may was looked at before.
    pub(super) fn make_userfaultfd(&self, process: ProcessId, flags: u32) -> Result<u32, Errno> {
        if flags & !OpenFlags::KNOWN != 0 {
            return Err(EINVAL);
        }
        let mut state = self.state();
        state.has_free_number(process)?;
        let space = state.processes[process].space;
        let context = state.add_context(Userfaultfd::new(space, flags));
        state.install_userfaultfd(process, context)
    }
}

impl State {
    /// Adds a userfaultfd, which keeps its address space from being forgotten.
    pub(super) fn add_context(&mut self, context: Userfaultfd) -> ContextId {
        self.spaces[context.space].contexts += 1;
        self.contexts.insert(context)
    }

    /// Forgets a userfaultfd that is closed once no thread is in it any more.
    pub(super) fn forget_context(&mut self, id: ContextId) {
        let Userfaultfd { space, let_go, changing, faulting, .. } = self.contexts[id];
        if let_go && changing == 0 && faulting == 0 {
            self.contexts.remove(id);
            self.spaces[space].contexts -= 1;
            self.forget_space(space);
        }
    }

    /// Opens a descriptor of a userfaultfd that has none yet.
    pub(super) fn install_userfaultfd(
        &mut self,
        process: ProcessId,
        context: ContextId,
    ) -> Result<u32, Errno> {
        let flags = self.contexts[context].flags;
        let nonblocking = flags & OpenFlags::NONBLOCK != 0;
        let close_on_exec = flags & OpenFlags::CLOEXEC != 0;
        self.install(process, FileKind::Userfaultfd(context), nonblocking, close_on_exec)
    }
}
