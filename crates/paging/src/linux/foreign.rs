//! Memory of another process.

use std::os::fd::{AsFd, BorrowedFd};

use faultless_pages::{Va, VaRange};
use faultless_uffd::{
    ContinueMode, CopyMode, ForeignUffd, Mapping, PoisonMode, WpMode, ZeropageMode,
};

use super::messages::Mailbox;
use super::outcome::{outcome, whole};
use crate::port::{Kernel, Message, Outcome, ReadError, Request, Stop};

/// Shared memory of another process that is mapped here too, to be filled.
#[derive(Debug)]
struct Second {
    /// Where the other process has it.
    range: VaRange,
    mapping: Mapping,
}

/// The memory behind a userfaultfd of another process.
#[derive(Debug)]
pub struct ForeignMemory {
    uffd: ForeignUffd,
    mailbox: Mailbox,
    second: Vec<Second>,
}

impl ForeignMemory {
    /// Serves a userfaultfd of another process, which is to be non-blocking.
    #[must_use]
    pub fn new(uffd: ForeignUffd) -> ForeignMemory {
        ForeignMemory { uffd, mailbox: Mailbox::default(), second: Vec::new() }
    }

    /// Fills shared memory, which the other process has at `start`, through a mapping of our own.
    #[must_use]
    pub fn with_second(mut self, start: Va, mapping: Mapping) -> ForeignMemory {
        self.second.push(Second { range: VaRange::of(start, mapping.len()), mapping });
        self
    }

    /// Writes content to memory that the other process does not map yet.
    fn fill(&self, range: VaRange, bytes: &[u8]) -> Result<(), Stop> {
        let found = self.second.iter().find(|second| second.range.covers(range));
        let Second { range: whole, mapping } = found.ok_or(Stop::Refused)?;
        mapping.write(range.start().since(whole.start()), bytes);
        Ok(())
    }
}

impl AsFd for ForeignMemory {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.uffd.as_fd()
    }
}

impl Kernel for ForeignMemory {
    fn perform(&self, request: &Request, bytes: &[u8]) -> Outcome {
        let uffd = &self.uffd;
        match *request {
            Request::Copy { range, protect, wake, .. } => {
                let mode = CopyMode { wp: protect, dontwake: !wake };
                outcome(uffd.copy(range.start(), bytes, mode))
            }
            Request::Zero { range, wake } => {
                outcome(uffd.zeropage(range, ZeropageMode { dontwake: !wake }))
            }
            Request::Continue { range, fill, protect, wake } => {
                if fill.is_some()
                    && let Err(stop) = self.fill(range, bytes)
                {
                    return Outcome::stopped(stop);
                }
                outcome(uffd.continue_(range, ContinueMode { wp: protect, dontwake: !wake }))
            }
            Request::Poison { range, wake } => {
                outcome(uffd.poison(range, PoisonMode { dontwake: !wake }))
            }
            Request::Wake { range } => whole(uffd.wake(range), range),
            Request::Unprotect { range } => {
                outcome(uffd.write_protect(range, WpMode::Unprotect { dontwake: false }))
            }
            Request::Unregister { range } => whole(uffd.unregister(range), range),
            // The kernel moves and drops pages only for their own process.
            Request::Move { .. } | Request::Evict { .. } => Outcome::stopped(Stop::Refused),
        }
    }

    fn read(&self, messages: &mut Vec<Message>) -> Result<(), ReadError> {
        self.mailbox.read(self.uffd.as_uffd(), messages)
    }

    fn child(&self, child: u64) -> Option<Box<dyn Kernel>> {
        // Shared memory is the same in the child: what fills it fills both.
        Some(Box::new(ForeignMemory::new(self.mailbox.child(child)?)))
    }

    fn descriptor(&self) -> BorrowedFd<'_> {
        self.as_fd()
    }
}
