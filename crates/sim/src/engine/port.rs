//! The engine's requests as requests of a userfaultfd, and their outcomes back.

use faultless_mm::errno::{EAGAIN, EBUSY, EEXIST, EFAULT, EHWPOISON, ENOENT, ENOMEM, ESRCH};
use faultless_mm::{Argument, Errno, Kernel, ThreadId};
use faultless_pages::{Bytes, Va, VaRange};
use faultless_paging::port::{Again, Fault, FaultKind, Message, Outcome, Request, Stop};
use faultless_uapi::event::{self, fault_flag};
use faultless_uapi::{
    UffdMsg, UffdioContinue, UffdioCopy, UffdioMove, UffdioPoison, UffdioRange, UffdioWriteprotect,
    UffdioZeropage, ioctl, mode,
};

/// Most messages of a read.
const BATCH: usize = 16;

/// A userfaultfd in the hands of a worker.
pub(super) struct Port {
    pub(super) kernel: Kernel,
    pub(super) who: ThreadId,
    pub(super) fd: u32,
}

fn raw(range: VaRange) -> UffdioRange {
    UffdioRange { start: range.start().0, len: range.len().0 }
}

fn bit(on: bool, bit: u64) -> u64 {
    if on { bit } else { 0 }
}

impl Port {
    /// Carries a request out; what it puts there lies at `from`.
    pub(super) async fn perform(&self, request: &Request, from: u64) -> Outcome {
        match *request {
            Request::Copy { range, protect, wake, .. } => {
                let mode = bit(!wake, mode::copy::DONTWAKE) | bit(protect, mode::copy::WP);
                let UffdioRange { start: dst, len } = raw(range);
                let argument = UffdioCopy { dst, src: from, len, mode, copy: 0 };
                self.partial(ioctl::UFFDIO_COPY, argument.to_bytes(), range).await
            }
            Request::Move { range, wake, .. } => {
                let mode = bit(!wake, mode::move_::DONTWAKE);
                let UffdioRange { start: dst, len } = raw(range);
                let argument = UffdioMove { dst, src: from, len, mode, move_: 0 };
                self.partial(ioctl::UFFDIO_MOVE, argument.to_bytes(), range).await
            }
            Request::Zero { range, wake } => {
                let mode = bit(!wake, mode::zeropage::DONTWAKE);
                let argument = UffdioZeropage { range: raw(range), mode, zeropage: 0 };
                self.partial(ioctl::UFFDIO_ZEROPAGE, argument.to_bytes(), range).await
            }
            Request::Continue { range, protect, wake, .. } => {
                let mode =
                    bit(!wake, mode::continue_::DONTWAKE) | bit(protect, mode::continue_::WP);
                let argument = UffdioContinue { range: raw(range), mode, mapped: 0 };
                self.partial(ioctl::UFFDIO_CONTINUE, argument.to_bytes(), range).await
            }
            Request::Poison { range, wake } => {
                let mode = bit(!wake, mode::poison::DONTWAKE);
                let argument = UffdioPoison { range: raw(range), mode, updated: 0 };
                self.partial(ioctl::UFFDIO_POISON, argument.to_bytes(), range).await
            }
            Request::Wake { range } => {
                self.whole(ioctl::UFFDIO_WAKE, raw(range).to_bytes(), range).await
            }
            Request::Unprotect { range } => {
                let argument = UffdioWriteprotect { range: raw(range), mode: 0 };
                self.whole(ioctl::UFFDIO_WRITEPROTECT, argument.to_bytes(), range).await
            }
            Request::Unregister { range } => {
                self.whole(ioctl::UFFDIO_UNREGISTER, raw(range).to_bytes(), range).await
            }
            Request::Evict { .. } => unreachable!("pages are dropped from inside"),
        }
    }

    /// A request with the bytes done at the end of its argument.
    async fn partial<const N: usize>(
        &self,
        request: u32,
        mut bytes: [u8; N],
        range: VaRange,
    ) -> Outcome {
        let argument = Argument::Bytes(&mut bytes);
        let result = self.kernel.ioctl(self.who, self.fd, request, argument).await;
        let done = bytes.last_chunk().map_or(0, |out| i64::from_ne_bytes(*out));
        outcome(result.map(drop), Bytes(u64::try_from(done).unwrap_or(0)), range)
    }

    async fn whole<const N: usize>(
        &self,
        request: u32,
        mut bytes: [u8; N],
        range: VaRange,
    ) -> Outcome {
        let argument = Argument::Bytes(&mut bytes);
        let result = self.kernel.ioctl(self.who, self.fd, request, argument).await;
        outcome(result.map(drop), Bytes::ZERO, range)
    }

    /// Reads the messages that are there.
    pub(super) async fn messages(&self) -> Vec<Message> {
        let mut messages = Vec::new();
        loop {
            let room = BATCH * size_of::<UffdMsg>();
            let Ok(bytes) = self.kernel.read(self.who, self.fd, room).await else { break };
            let (raw, _) = bytes.as_chunks();
            messages.extend(raw.iter().filter_map(|bytes| message(&UffdMsg::from_bytes(*bytes))));
            if raw.len() < BATCH {
                break;
            }
        }
        messages
    }
}

pub(super) fn outcome(result: Result<(), Errno>, done: Bytes, range: VaRange) -> Outcome {
    let stop = match result {
        Ok(()) => return Outcome::complete(range),
        Err(EEXIST) => Stop::Present,
        Err(ESRCH) => Stop::Gone,
        Err(ENOENT) => Stop::NotMapped,
        Err(EBUSY) => Stop::Busy,
        Err(EAGAIN) if done > Bytes::ZERO => Stop::Again(Again::Partial),
        Err(EAGAIN) => Stop::Again(Again::Pending),
        Err(EFAULT) => Stop::Nothing,
        Err(ENOMEM) => Stop::NoMemory,
        Err(EHWPOISON) => Stop::Broken,
        Err(_) => Stop::Refused,
    };
    Outcome { done, stopped: Some(stop) }
}

fn message(message: &UffdMsg) -> Option<Message> {
    let range = |message: &UffdMsg| {
        let arg = message.remove();
        VaRange::new(Va(arg.start), Va(arg.end))
    };
    Some(match message.event {
        event::PAGEFAULT => {
            let fault = message.pagefault();
            let kind = match fault.flags {
                flags if flags & fault_flag::WP != 0 => FaultKind::Protected,
                flags if flags & fault_flag::MINOR != 0 => FaultKind::Minor,
                _ => FaultKind::Missing,
            };
            Message::Fault(Fault { at: Va(fault.address), kind, thread: Some(fault.ptid) })
        }
        event::REMOVE => Message::Remove(range(message)),
        event::UNMAP => Message::Unmap(range(message)),
        event::REMAP => {
            let arg = message.remap();
            Message::Remap { from: Va(arg.from), to: Va(arg.to), len: Bytes(arg.len) }
        }
        event::FORK => Message::Fork { child: message.fork_ufd().into() },
        _ => return None,
    })
}
