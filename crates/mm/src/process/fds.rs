//! Descriptors and open files.

use alloc::collections::BTreeMap;
use alloc::vec::Vec;

use crate::errno::{EBADF, EMFILE, Errno};
use crate::id::{ContextId, FileId, FrameId, ObjectId, ProcessId, ThreadId};
use crate::kernel::{Kernel, State};

/// The first number given: those below are for standard input and output.
const FIRST: u32 = 3;
/// How many numbers a process has unless it limits itself.
const LIMIT: u64 = 1024;

/// What an open file is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum FileKind {
    /// A userfaultfd.
    Userfaultfd(ContextId),
    /// `/dev/userfaultfd`.
    Device,
    /// Something that can be mapped.
    Object { object: ObjectId, writable: bool },
    /// Holds pages pinned for as long as it is open.
    Pins(Vec<FrameId>),
}

/// An open file, shared by the descriptors that were duplicated, inherited or passed.
#[derive(Clone, Debug)]
pub(crate) struct OpenFile {
    pub(crate) kind: FileKind,
    pub(crate) nonblocking: bool,
    /// Descriptors that name it, and calls that are at it.
    pub(crate) uses: u32,
}

/// A number of a process.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Descriptor {
    pub(crate) file: FileId,
    pub(crate) close_on_exec: bool,
}

/// The numbers of a process.
#[derive(Clone, Debug)]
pub(crate) struct Descriptors {
    pub(crate) map: BTreeMap<u32, Descriptor>,
    /// One more than the highest number allowed.
    pub(crate) limit: u64,
}

impl Default for Descriptors {
    fn default() -> Descriptors {
        Descriptors { map: BTreeMap::new(), limit: LIMIT }
    }
}

impl Descriptors {
    /// The lowest free number.
    fn free(&self) -> Result<u32, Errno> {
        let taken = |number: &u32| self.map.contains_key(number);
        let number = (FIRST..).find(|number| !taken(number)).ok_or(EMFILE)?;
        if u64::from(number) < self.limit { Ok(number) } else { Err(EMFILE) }
    }
}

impl State {
    /// Opens a file under a new number.
    pub(crate) fn install(
        &mut self,
        process: ProcessId,
        kind: FileKind,
        nonblocking: bool,
        close_on_exec: bool,
    ) -> Result<u32, Errno> {
        let number = self.processes[process].descriptors.free()?;
        let file = self.files.insert(OpenFile { kind, nonblocking, uses: 1 });
        self.processes[process].descriptors.map.insert(number, Descriptor { file, close_on_exec });
        Ok(number)
    }

    /// Says whether a process has a number left.
    pub(crate) fn has_free_number(&self, process: ProcessId) -> Result<(), Errno> {
        self.processes[process].descriptors.free().map(|_| ())
    }

    /// Gives an open file one more number.
    pub(crate) fn share(
        &mut self,
        process: ProcessId,
        file: FileId,
        close_on_exec: bool,
    ) -> Result<u32, Errno> {
        let number = self.processes[process].descriptors.free()?;
        self.files[file].uses += 1;
        self.processes[process].descriptors.map.insert(number, Descriptor { file, close_on_exec });
        Ok(number)
    }

    /// The open file of a number.
    pub(crate) fn file(&self, who: ThreadId, fd: u32) -> Result<FileId, Errno> {
        let process = self.threads[who].process;
        let descriptor = self.processes[process].descriptors.map.get(&fd);
        descriptor.map(|descriptor| descriptor.file).ok_or(EBADF)
    }

    /// The object of a number, and whether it may be written through it.
    pub(crate) fn object(&self, who: ThreadId, fd: u32) -> Result<(ObjectId, bool), Errno> {
        match self.files[self.file(who, fd)?].kind {
            FileKind::Object { object, writable } => Ok((object, writable)),
            _ => Err(EBADF),
        }
    }
}

impl Kernel {
    /// `dup(2)`. Returns the new descriptor.
    ///
    /// # Errors
    /// EBADF, EMFILE.
    pub fn duplicate(&self, who: ThreadId, fd: u32) -> Result<u32, Errno> {
        self.pass(who, fd, who)
    }

    /// Passes a descriptor to the process of another thread. Returns its number there.
    ///
    /// # Errors
    /// EBADF, EMFILE.
    pub fn pass(&self, from: ThreadId, fd: u32, to: ThreadId) -> Result<u32, Errno> {
        let mut state = self.state();
        let file = state.file(from, fd)?;
        let process = state.threads[to].process;
        state.share(process, file, false)
    }

    /// Lets a process have no descriptor numbered `count` or more.
    pub fn limit_descriptors(&self, who: ThreadId, count: u64) {
        let mut state = self.state();
        let process = state.threads[who].process;
        state.processes[process].descriptors.limit = count;
    }

    /// Checks a descriptor for `write(2)` and `lseek(2)`, which a userfaultfd hardly takes.
    ///
    /// # Errors
    /// EBADF where there is none, or for a write to what is only read.
    pub fn check_descriptor(&self, who: ThreadId, fd: u32, write: bool) -> Result<(), Errno> {
        let state = self.state();
        let file = state.file(who, fd)?;
        let read_only = matches!(state.files[file].kind, FileKind::Userfaultfd(_));
        if write && read_only { Err(EBADF) } else { Ok(()) }
    }
}
