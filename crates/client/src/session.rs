//! The conversation with the server, from the client's side.

use std::collections::VecDeque;
use std::io::Write as _;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::path::Path;

use faultless_pages::VaRange;
use faultless_uffd::{PassError, Uffd, recv_fds, send_fds};
use faultless_wire::Layout;
use faultless_wire::native::{Call, Loss, Replies, Reply, Welcome};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;

use crate::ConnectError;

/// Memory that is lost.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Lost {
    /// Where: accesses raise `SIGBUS`.
    pub range: VaRange,
    /// Why.
    pub loss: Loss,
}

/// An open conversation.
#[derive(Debug)]
pub(crate) struct Session {
    stream: UnixStream,
    replies: Replies<OwnedFd>,
    lost: VecDeque<Lost>,
}

impl Session {
    /// Connects and is welcomed.
    pub(crate) fn open(socket: &Path) -> Result<(Session, Welcome), ConnectError> {
        let mut stream = UnixStream::connect(socket)?;
        stream.write_all(&Call::hello(false).encode())?;
        let mut session = Session { stream, replies: Replies::default(), lost: VecDeque::new() };
        match session.wait_for_reply()? {
            Reply::Welcome(welcome) => Ok((session, welcome)),
            other => Err(unexpected(other)),
        }
    }

    /// Hands memory over and waits until its faults are served.
    pub(crate) fn attach(&mut self, layout: Layout, uffd: &Uffd) -> Result<(), ConnectError> {
        let message = Call::Attach(layout).encode();
        let sent = send_fds(&self.stream, &message, &[uffd.as_fd()])?;
        self.stream.write_all(&message[sent..])?;
        match self.wait_for_reply()? {
            Reply::Ready => Ok(()),
            other => Err(unexpected(other)),
        }
    }

    pub(crate) fn prefetch(&mut self, range: VaRange) -> Result<(), ConnectError> {
        Ok(self.stream.write_all(&Call::Prefetch(range).encode())?)
    }

    /// Takes what is lost out of what the server has said.
    pub(crate) fn lost(&mut self) -> Result<Vec<Lost>, ConnectError> {
        while self.is_readable() {
            self.receive()?;
            while let Some((reply, _)) = self.replies.next_reply()? {
                self.note(reply)?;
            }
        }
        Ok(self.lost.drain(..).collect())
    }

    pub(crate) fn stream(&self) -> BorrowedFd<'_> {
        self.stream.as_fd()
    }

    /// Waits for a reply; what is lost in the meantime is kept.
    fn wait_for_reply(&mut self) -> Result<Reply, ConnectError> {
        loop {
            match self.replies.next_reply()? {
                Some((reply @ Reply::Lost(..), _)) => self.note(reply)?,
                Some((reply, _)) => return Ok(reply),
                None => self.receive()?,
            }
        }
    }

    fn note(&mut self, reply: Reply) -> Result<(), ConnectError> {
        match reply {
            Reply::Lost(range, loss) => {
                self.lost.push_back(Lost { range, loss });
                Ok(())
            }
            other => Err(unexpected(other)),
        }
    }

    fn receive(&mut self) -> Result<(), ConnectError> {
        let mut buffer = [0; 4096];
        match recv_fds(&self.stream, &mut buffer) {
            Ok(Some(received)) => {
                Ok(self.replies.receive(&buffer[..received.len], received.fds)?)
            }
            Ok(None) | Err(PassError::Receive(Errno::CONNRESET)) => Err(ConnectError::Closed),
            Err(error) => Err(error.into()),
        }
    }

    fn is_readable(&self) -> bool {
        let mut fds = [PollFd::new(&self.stream, PollFlags::IN)];
        let now = Timespec { tv_sec: 0, tv_nsec: 0 };
        poll(&mut fds, Some(&now)).is_ok_and(|ready| ready > 0)
    }
}

/// Says bye: the server closes its descriptors.
impl Drop for Session {
    fn drop(&mut self) {
        // A server that is gone has let go already.
        let _ = self.stream.write_all(&Call::Bye.encode());
    }
}

fn unexpected(reply: Reply) -> ConnectError {
    match reply {
        Reply::Refused(why) => ConnectError::Refused(why),
        other => ConnectError::Refused(format!("an answer that has no place here ({other:?})")),
    }
}
