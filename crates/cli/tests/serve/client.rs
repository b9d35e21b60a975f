//! Clients in the protocols that VMMs speak.

use std::io::Write as _;
use std::os::fd::{AsFd as _, BorrowedFd};
use std::os::unix::net::UnixStream;
use std::path::Path;

use faultless_pages::Bytes;
use faultless_uffd::{Features, Mapping, Missing, OpenOptions, Uffd, Wanted, send_fds};

use crate::image::PAGE;

/// Memory of a VMM, with its userfaultfd.
pub(crate) struct Guest {
    pub(crate) memory: Mapping,
    pub(crate) uffd: Uffd,
}

impl Guest {
    /// Maps and registers so many pages.
    pub(crate) fn new(pages: usize) -> Guest {
        let len = Bytes::from(pages * PAGE);
        let memory = Mapping::builder(len).huge_pages(false).anonymous().unwrap();
        let wanted = Wanted { required: Features::EVENT_REMOVE, ..Wanted::default() };
        let uffd = Uffd::open(&OpenOptions::default()).unwrap().handshake(wanted).unwrap();
        // Registered for as long as it lives, as a VMM does.
        std::mem::forget(uffd.register(&memory, Missing).unwrap());
        Guest { memory, uffd }
    }

    pub(crate) fn address(&self) -> u64 {
        self.memory.range().start().0
    }

    pub(crate) fn len(&self) -> u64 {
        self.memory.len().0
    }

    /// The region as Firecracker spells it, with `extra` fields.
    pub(crate) fn firecracker(&self, offset: u64, extra: &str) -> Vec<u8> {
        let (address, len) = (self.address(), self.len());
        let region =
            format!("\"base_host_virt_addr\":{address},\"size\":{len},\"offset\":{offset}{extra}");
        format!("[{{{region}}}]").into_bytes()
    }

    /// Sends a hand-over with the userfaultfd; returns the socket.
    pub(crate) fn hand_over(&self, socket: &Path, message: &[u8]) -> UnixStream {
        say(socket, message, &[self.uffd.as_fd()])
    }
}

/// Connects and sends a message with descriptors.
pub(crate) fn say(socket: &Path, message: &[u8], fds: &[BorrowedFd<'_>]) -> UnixStream {
    let mut stream = UnixStream::connect(socket).unwrap();
    if !message.is_empty() {
        let sent = send_fds(&stream, message, fds).unwrap();
        stream.write_all(&message[sent..]).unwrap();
    }
    stream
}
