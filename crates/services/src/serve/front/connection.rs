//! A connection: who is at its other end, and what was said so far.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::Instant;

use faultless_pages::VaRange;
use faultless_uffd::{PassError, Peer, Pid, recv_fds};
use faultless_wire::native::{Loss, Reply};
use faultless_wire::{Conversation, Dialect, Refusal, Request};
use rustix::io::Errno;
use rustix::net::{SendFlags, send};

use super::Rejection;
use crate::serve::control::ClientId;

/// Received at a time: every handshake but the largest fits.
const PIECE: usize = 64 << 10;

/// A connection, by its number.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(super) struct ConnectionId(pub(super) u64);

/// Whether more may come.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Heard {
    Open,
    Closed,
}

/// An open connection.
#[derive(Debug)]
pub(super) struct Connection {
    stream: OwnedFd,
    peer: Peer,
    conversation: Conversation<OwnedFd>,
    /// By when memory is to be handed over; none once it is.
    deadline: Option<Instant>,
    client: Option<ClientId>,
}

impl Connection {
    /// Takes a connection on, if its user may connect.
    pub(super) fn of(
        stream: OwnedFd,
        deadline: Instant,
        users: Option<&[u32]>,
    ) -> Result<Connection, Rejection> {
        let peer = Peer::of(&stream).map_err(|errno| Rejection::Unknown(errno.to_string()))?;
        if users.is_some_and(|users| !users.contains(&peer.uid)) {
            return Err(Rejection::User(peer.uid));
        }
        let conversation = Conversation::new();
        let deadline = Some(deadline);
        Ok(Connection { stream, peer, conversation, deadline, client: None })
    }

    pub(super) fn pid(&self) -> i32 {
        self.peer.pid().as_raw_nonzero().get()
    }

    pub(super) fn process(&self) -> (Pid, std::io::Result<OwnedFd>) {
        (self.peer.pid(), self.peer.pidfd.as_fd().try_clone_to_owned())
    }

    pub(super) fn dialect(&self) -> Option<Dialect> {
        self.conversation.dialect()
    }

    pub(super) fn deadline(&self) -> Option<Instant> {
        self.deadline
    }

    /// The client whose memory was handed over last.
    pub(super) fn client(&self) -> Option<ClientId> {
        self.client
    }

    /// Takes note that memory was handed over.
    pub(super) fn attached(&mut self, client: ClientId) {
        self.client = Some(client);
        self.deadline = None;
    }

    /// Receives what is there and takes the requests out.
    pub(super) fn hear(&mut self, requests: &mut Vec<Request<OwnedFd>>) -> Result<Heard, Refusal> {
        let mut buffer = vec![0; PIECE];
        loop {
            match recv_fds(&self.stream, &mut buffer) {
                Ok(Some(received)) => {
                    self.conversation.receive(&buffer[..received.len], received.fds)?;
                    while let Some(request) = self.conversation.next_request()? {
                        requests.push(request);
                    }
                }
                Ok(None) => return self.conversation.end().map(|()| Heard::Closed),
                Err(PassError::Receive(Errno::AGAIN)) => return Ok(Heard::Open),
                // Whatever else happens to the socket, there is nobody at the other end any more.
                Err(_) => return Ok(Heard::Closed),
            }
        }
    }

    /// What is wrong with a peer whose time is over.
    pub(super) fn why_late(&self) -> Refusal {
        self.conversation.end().err().unwrap_or(Refusal::Silent)
    }

    /// Sends bytes. A peer that leaves its socket full gets no more: nobody waits for it.
    pub(super) fn answer(&self, bytes: &[u8]) {
        if !bytes.is_empty() {
            let _ = send(&self.stream, bytes, SendFlags::NOSIGNAL | SendFlags::DONTWAIT);
        }
    }

    /// Tells a peer why it is refused, if its protocol has words for it.
    pub(super) fn refuse(&self, why: &Rejection) {
        if self.dialect() == Some(Dialect::Native) {
            self.answer(&Reply::refused(why).encode());
        }
    }

    /// Tells a client of memory that is lost.
    pub(super) fn lost(&self, range: VaRange) {
        if self.dialect() == Some(Dialect::Native) {
            self.answer(&Reply::Lost(range, Loss::Unreadable).encode());
        }
    }
}

impl AsFd for Connection {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.stream.as_fd()
    }
}
