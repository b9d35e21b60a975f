//! Messages of a userfaultfd, in the engine's words.

use std::collections::BTreeMap;
use std::os::fd::AsRawFd;
use std::sync::{Mutex, PoisonError};

use faultless_uffd::{self as uffd, Errno, Event, ForeignUffd, ForkedUffd, MessageBatch, Uffd};

use crate::port::{Fault, FaultKind, Message, ReadError};

/// Messages of a read; fewer means that there are no more.
const FULL: usize = 128;

/// Room for messages, and the userfaultfds of children nobody has taken over yet.
#[derive(Debug, Default)]
pub(super) struct Mailbox {
    batch: Mutex<MessageBatch>,
    children: Mutex<BTreeMap<u64, ForkedUffd>>,
}

impl Mailbox {
    /// Reads all messages there are.
    pub(super) fn read(&self, uffd: &Uffd, messages: &mut Vec<Message>) -> Result<(), ReadError> {
        let mut batch = self.batch.lock().unwrap_or_else(PoisonError::into_inner);
        loop {
            let read = match uffd.read_events(&mut batch) {
                Ok(read) => read,
                // What was read before counts.
                Err(Errno::INTR) if !messages.is_empty() => return Ok(()),
                Err(Errno::INTR) => return Err(ReadError::Interrupted),
                Err(Errno::MFILE | Errno::NFILE) => return Err(ReadError::NoDescriptor),
                Err(_) => return Err(ReadError::Unreadable),
            };
            messages.extend(batch.drain().filter_map(|event| self.message(event)));
            if read < FULL {
                return Ok(());
            }
        }
    }

    fn message(&self, event: Event) -> Option<Message> {
        Some(match event {
            Event::Fault(fault) => Message::Fault(Fault {
                at: fault.address,
                kind: kind(fault.kind),
                thread: fault.thread,
            }),
            Event::Remove(range) => Message::Remove(range),
            Event::Unmap(range) => Message::Unmap(range),
            Event::Remap { from, to, len } => Message::Remap { from, to, len },
            Event::Fork { uffd } => {
                let child = u64::from(uffd.as_raw_fd().cast_unsigned());
                let mut children = self.children.lock().unwrap_or_else(PoisonError::into_inner);
                children.insert(child, uffd);
                Message::Fork { child }
            }
            // A message of a feature nobody switched on.
            _ => return None,
        })
    }

    /// Takes a child's userfaultfd over. `None` if there is none, or `/proc` cannot be read.
    pub(super) fn child(&self, child: u64) -> Option<ForeignUffd> {
        let mut children = self.children.lock().unwrap_or_else(PoisonError::into_inner);
        children.remove(&child)?.adopt().ok()
    }
}

fn kind(kind: uffd::FaultKind) -> FaultKind {
    match kind {
        uffd::FaultKind::Missing => FaultKind::Missing,
        uffd::FaultKind::Minor => FaultKind::Minor,
        uffd::FaultKind::WriteProtect | uffd::FaultKind::ReadWriteProtect => FaultKind::Protected,
    }
}
