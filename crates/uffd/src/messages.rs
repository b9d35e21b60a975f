//! Reading messages: many in one call, as typed events.
//!
//! Order: the kernel delivers every waiting fault before any event, so a fault may be read
//! before the REMOVE that makes it moot. Deal with the other events of a batch before its faults.
//!
//! One access may send more than one message (a signal interrupted the wait) and one page has a
//! message for each waiting thread: answering must be idempotent.

use std::collections::VecDeque;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};

use faultless_pages::{Bytes, Va, VaRange};
use faultless_uapi::{RemoveArg, UffdMsg, event};
use rustix::io::Errno;

use crate::{Features, ForeignUffd, HandshakeError, Uffd, UnboundUffd};

/// 128 messages are one 4 KiB read, and hold one fault of each thread of most programs.
const ROOM: usize = 128;

const MESSAGE_LEN: usize = size_of::<UffdMsg>();

/// Something that happened in the address space. The thread that caused it waits: a faulting
/// one for the page, every other for its event to be read.
#[derive(Debug)]
#[non_exhaustive]
pub enum Event {
    /// A thread accessed a page that is missing or protected.
    Fault(Fault),
    /// The process forked.
    ///
    /// The C library's fork holds the locks of the allocator until this is read: a process that
    /// reads its own FORK events must do so without allocating, into a batch made before.
    Fork {
        /// The userfaultfd of the child, its handshake inherited.
        uffd: ForkedUffd,
    },
    /// A mapping moved. Comes after the move.
    Remap {
        /// Old address.
        from: Va,
        /// New address.
        to: Va,
        /// Old length.
        len: Bytes,
    },
    /// madvise is about to drop these pages. Comes *before* they are dropped.
    Remove(VaRange),
    /// A range was unmapped; it may be wider than the registered one. Comes afterwards.
    Unmap(VaRange),
    /// A message this version does not know.
    Unknown(u8),
}

/// The userfaultfd of a forked child, which is never the process that reads of it.
#[derive(Debug)]
pub struct ForkedUffd(OwnedFd);

impl ForkedUffd {
    /// Takes the descriptor out; see [`UnboundUffd::adopt`](crate::UnboundUffd::adopt).
    #[must_use]
    pub fn into_fd(self) -> OwnedFd {
        self.0
    }

    /// Makes it ready to serve the child.
    ///
    /// # Errors
    /// Those of [`UnboundUffd::adopt`](crate::UnboundUffd::adopt).
    pub fn adopt(self) -> Result<ForeignUffd, HandshakeError> {
        UnboundUffd::from_fd(self.0).adopt().map(ForeignUffd)
    }
}

impl AsRawFd for ForkedUffd {
    fn as_raw_fd(&self) -> RawFd {
        self.0.as_raw_fd()
    }
}

/// A fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fault {
    /// The address, rounded down to the page (a huge one on hugetlb memory), or exact with
    /// [`Features::EXACT_ADDRESS`].
    pub address: Va,
    /// What is wrong with the page.
    pub kind: FaultKind,
    /// The access was a write.
    pub write: bool,
    /// The faulting thread in its own pid namespace; only with [`Features::THREAD_ID`].
    pub thread: Option<u32>,
}

/// What is wrong with a page.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum FaultKind {
    /// There is none. COPY, ZEROPAGE, MOVE or POISON answers.
    Missing,
    /// It is write-protected. Unprotecting answers.
    WriteProtect,
    /// The page cache holds it. CONTINUE answers.
    Minor,
    /// It is protected against any access. Unprotecting answers.
    ReadWriteProtect,
}

/// Room for messages, and those read but not yet taken out.
///
/// Descriptors of FORK messages that nobody takes out are closed with the batch.
#[derive(Debug)]
pub struct MessageBatch {
    buffer: Box<[u8; ROOM * MESSAGE_LEN]>,
    events: VecDeque<Event>,
}

impl Default for MessageBatch {
    fn default() -> MessageBatch {
        MessageBatch::new()
    }
}

impl MessageBatch {
    /// Makes room for 128 messages.
    #[must_use]
    pub fn new() -> MessageBatch {
        MessageBatch {
            buffer: Box::new([0; ROOM * MESSAGE_LEN]),
            events: VecDeque::with_capacity(ROOM),
        }
    }

    /// Takes the events out, in the order the kernel delivered them. Those not iterated over stay.
    pub fn drain(&mut self) -> impl Iterator<Item = Event> + '_ {
        std::iter::from_fn(|| self.events.pop_front())
    }

    /// Returns how many events wait to be taken out.
    #[must_use]
    pub fn len(&self) -> usize {
        self.events.len()
    }

    /// Says whether no events wait to be taken out.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.events.is_empty()
    }
}

impl Uffd {
    /// Reads the messages that wait, at most 128, behind those still in `batch`.
    ///
    /// Returns how many were read: 0 if none wait on a non-blocking descriptor. A blocking one
    /// waits for the first. Reading an event lets its thread go on; reading a fault does not.
    ///
    /// # Errors
    /// | errno | meaning | what happens |
    /// |---|---|---|
    /// | EAGAIN | nothing waits | 0 is returned |
    /// | EINTR | a signal arrived while waiting | returned; read again |
    /// | EMFILE, ENFILE | no room for the descriptor of a FORK | returned; the message stays |
    ///
    /// # Kernel
    /// Since 4.3; `read(2)` on a userfaultfd.
    pub fn read_events(&self, batch: &mut MessageBatch) -> Result<usize, Errno> {
        let len = match rustix::io::read(&self.fd, &mut batch.buffer[..]) {
            Ok(len) => len,
            Err(Errno::AGAIN) => 0,
            Err(errno) => return Err(errno),
        };
        let threads = self.features().contains(Features::THREAD_ID);
        let (messages, _) = batch.buffer[..len].as_chunks::<MESSAGE_LEN>();
        for bytes in messages {
            let message = UffdMsg::from_bytes(*bytes);
            // SAFETY: the message was just read from a userfaultfd and is decoded once.
            batch.events.push_back(unsafe { decode(&message, threads) });
        }
        Ok(messages.len())
    }
}

/// Makes an event of a message.
///
/// # Safety
/// The message was read from a userfaultfd by this process and is decoded only once: the
/// descriptor in a FORK message is taken over.
unsafe fn decode(message: &UffdMsg, threads: bool) -> Event {
    match message.event {
        event::PAGEFAULT => Event::Fault(fault(message, threads)),
        event::FORK => {
            let raw = RawFd::try_from(message.fork_ufd()).expect("a descriptor number");
            // SAFETY: [K2] the kernel opened it in this process for the reader of the message,
            // and the caller decodes the message once.
            Event::Fork { uffd: ForkedUffd(unsafe { OwnedFd::from_raw_fd(raw) }) }
        }
        event::REMAP => {
            let arg = message.remap();
            Event::Remap { from: Va(arg.from), to: Va(arg.to), len: Bytes(arg.len) }
        }
        event::REMOVE => Event::Remove(range(message.remove())),
        event::UNMAP => Event::Unmap(range(message.remove())),
        other => Event::Unknown(other),
    }
}

fn range(arg: RemoveArg) -> VaRange {
    VaRange::new(Va(arg.start), Va(arg.end))
}

fn fault(message: &UffdMsg, threads: bool) -> Fault {
    let arg = message.pagefault();
    let has = |flag| arg.flags & flag != 0;
    let kind = if has(event::fault_flag::WP) {
        FaultKind::WriteProtect
    } else if has(event::fault_flag::MINOR) {
        FaultKind::Minor
    } else if has(event::fault_flag::RWP) {
        FaultKind::ReadWriteProtect
    } else {
        FaultKind::Missing
    };
    Fault {
        address: Va(arg.address),
        kind,
        write: has(event::fault_flag::WRITE),
        thread: threads.then_some(arg.ptid),
    }
}

#[cfg(test)]
mod tests {
    use faultless_uapi::event::fault_flag;
    use faultless_uapi::{PagefaultArg, RemapArg};

    use super::*;

    fn event(message: &UffdMsg) -> Event {
        assert_ne!(message.event, event::FORK);
        // SAFETY: not a FORK message, so no descriptor is taken over.
        unsafe { decode(message, true) }
    }

    #[test]
    fn flags_tell_the_kind_of_fault() {
        for (flags, kind, write) in [
            (0, FaultKind::Missing, false),
            (fault_flag::WRITE, FaultKind::Missing, true),
            (fault_flag::WP | fault_flag::WRITE, FaultKind::WriteProtect, true),
            (fault_flag::MINOR, FaultKind::Minor, false),
            (fault_flag::RWP, FaultKind::ReadWriteProtect, false),
        ] {
            let arg = PagefaultArg { flags, address: 0x7000, ptid: 42 };
            let Event::Fault(fault) = event(&UffdMsg::from_pagefault(arg)) else {
                panic!("a fault message is a fault");
            };
            let expected = Fault { address: Va(0x7000), kind, write, thread: Some(42) };
            assert_eq!(fault, expected);
        }
    }

    #[test]
    fn threads_are_named_only_with_the_feature() {
        let message = UffdMsg::from_pagefault(PagefaultArg::default());
        assert_eq!(fault(&message, false).thread, None);
    }

    #[test]
    fn ranges_are_decoded_and_unknown_events_kept() {
        let arg = RemoveArg { start: 0x1000, end: 0x3000 };
        let removed = event(&UffdMsg::from_remove(event::REMOVE, arg));
        assert!(matches!(removed, Event::Remove(range) if range.len() == Bytes(0x2000)));
        let moved = event(&UffdMsg::from_remap(RemapArg { from: 1, to: 2, len: 3 }));
        assert!(matches!(moved, Event::Remap { from: Va(1), to: Va(2), len: Bytes(3) }));
        let message = UffdMsg { event: 0x77, ..UffdMsg::default() };
        assert!(matches!(event(&message), Event::Unknown(0x77)));
    }
}
