//! The front's end of a worker.

use std::collections::VecDeque;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::process::{Child, ExitStatus};

use rustix::fs::{OFlags, fcntl_getfl, fcntl_setfl};
use rustix::net::{AddressFamily, SocketFlags, SocketType, socketpair};

use super::Spawn;
use crate::serve::control::{self, ClientId, Order};

/// A packet that waits for room.
#[derive(Debug)]
pub(in crate::serve) struct Outgoing {
    packet: Vec<u8>,
    fds_of: Option<ClientId>,
}

impl Outgoing {
    /// Makes a packet, to which a client's descriptors are added when it is sent.
    pub(in crate::serve) fn new(order: &Order, fds_of: Option<ClientId>) -> Outgoing {
        Outgoing { packet: control::packet(order), fds_of }
    }
}

/// A worker.
#[derive(Debug)]
pub(in crate::serve) struct Link {
    socket: OwnedFd,
    child: Child,
    waiting: VecDeque<Outgoing>,
    /// It has opened the image.
    pub(in crate::serve) ready: bool,
}

impl Link {
    /// Starts a worker.
    pub(in crate::serve) fn start(spawn: &mut Spawn) -> io::Result<Link> {
        let kind = SocketType::SEQPACKET;
        let (ours, theirs) = socketpair(AddressFamily::UNIX, kind, SocketFlags::CLOEXEC, None)?;
        // Only this end: the worker waits for room, the front never does.
        fcntl_setfl(&ours, fcntl_getfl(&ours)? | OFlags::NONBLOCK)?;
        let child = spawn(theirs)?;
        Ok(Link { socket: ours, child, waiting: VecDeque::new(), ready: false })
    }

    pub(in crate::serve) fn pid(&self) -> u32 {
        self.child.id()
    }

    pub(in crate::serve) fn push(&mut self, outgoing: Outgoing) {
        self.waiting.push_back(outgoing);
    }

    /// Says whether something waits for room.
    pub(in crate::serve) fn is_behind(&self) -> bool {
        !self.waiting.is_empty()
    }

    /// Sends what fits; `false` if there is no worker any more.
    pub(in crate::serve) fn flush<'f>(
        &mut self,
        fds: impl Fn(ClientId) -> Option<[BorrowedFd<'f>; 2]>,
    ) -> bool {
        while let Some(next) = self.waiting.front() {
            let descriptors = match next.fds_of {
                None => Vec::new(),
                Some(client) => match fds(client) {
                    Some(descriptors) => descriptors.to_vec(),
                    // The client has gone in the meantime.
                    None => {
                        self.waiting.pop_front();
                        continue;
                    }
                },
            };
            match control::send(&self.socket, &next.packet, &descriptors) {
                Ok(true) => drop(self.waiting.pop_front()),
                Ok(false) => return true,
                Err(_) => return false,
            }
        }
        true
    }

    /// Ends the worker.
    pub(in crate::serve) fn kill(&mut self) {
        // It fails if the worker has ended, which is as well.
        let _ = self.child.kill();
    }

    /// Parts from a worker that has no client any more, and waits until it has ended by itself.
    pub(in crate::serve) fn part(mut self) -> io::Result<ExitStatus> {
        drop(self.socket);
        self.child.wait()
    }

    /// Ends the worker, if it has not ended, and waits for it.
    pub(in crate::serve) fn reap(mut self) -> io::Result<ExitStatus> {
        drop(self.socket);
        // A worker without its front serves on: only a dead one is replaced.
        if self.child.try_wait()?.is_none() {
            let _ = self.child.kill();
        }
        self.child.wait()
    }
}

impl AsFd for Link {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}
