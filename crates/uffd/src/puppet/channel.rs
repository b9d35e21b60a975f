//! Frames between a driver and one thread of its puppet: nine words, a payload, maybe a
//! descriptor, in one `SOCK_SEQPACKET` message each.
//!
//! Both sides use [`Channel`]. The puppet's side must not allocate, so a payload always lands in
//! a buffer the caller owns.
//!
//! # Invariants
//! - A message is [`HEADER_LEN`] bytes of words in native order, then at most [`PAYLOAD_MAX`]
//!   bytes. Both ends run the same binary, so there is no version.

use std::io::{IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::io::Errno;
use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, SocketFlags, SocketType, recvmsg, sendmsg, socketpair,
};

/// Words of a header.
const WORDS: usize = 9;
/// Bytes of a header.
pub(super) const HEADER_LEN: usize = WORDS * 8;
/// Most payload bytes of one message, and the size of a puppet thread's scratch area.
pub(super) const PAYLOAD_MAX: usize = 64 << 10;

/// What every frame begins with: an operation or a kind of reply, and its numbers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Header(pub(super) [u64; WORDS]);

impl Header {
    fn to_bytes(self) -> [u8; HEADER_LEN] {
        let mut bytes = [0; HEADER_LEN];
        for (chunk, word) in bytes.as_chunks_mut::<8>().0.iter_mut().zip(self.0) {
            *chunk = word.to_ne_bytes();
        }
        bytes
    }

    fn from_bytes(bytes: &[u8; HEADER_LEN]) -> Header {
        let mut words = [0; WORDS];
        for (word, chunk) in words.iter_mut().zip(bytes.as_chunks::<8>().0) {
            *word = u64::from_ne_bytes(*chunk);
        }
        Header(words)
    }
}

/// A frame that arrived; its payload is in the buffer the receiver gave.
pub(super) struct Received {
    pub(super) header: Header,
    pub(super) payload_len: usize,
    pub(super) fd: Option<OwnedFd>,
}

/// One end of a conversation.
#[derive(Debug)]
pub(super) struct Channel(OwnedFd);

impl Channel {
    /// Makes two connected ends, both closed on exec.
    pub(super) fn pair() -> Result<(Channel, Channel), Errno> {
        let (a, b) =
            socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None)?;
        Ok((Channel(a), Channel(b)))
    }

    /// Takes a descriptor that is one end.
    pub(super) fn from_fd(fd: OwnedFd) -> Channel {
        Channel(fd)
    }

    /// Gives the descriptor up.
    pub(super) fn into_fd(self) -> OwnedFd {
        self.0
    }

    /// Sends one frame; a peer that is gone is `EPIPE`, never a signal.
    pub(super) fn send(
        &self,
        header: Header,
        payload: &[u8],
        fd: Option<BorrowedFd<'_>>,
    ) -> Result<(), Errno> {
        let words = header.to_bytes();
        let parts = [IoSlice::new(&words), IoSlice::new(payload)];
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
        let mut control = SendAncillaryBuffer::new(&mut space);
        let fds = fd.map(|fd| [fd]);
        if let Some(fds) = &fds {
            control.push(SendAncillaryMessage::ScmRights(fds));
        }
        rustix::io::retry_on_intr(|| sendmsg(&self.0, &parts, &mut control, SendFlags::NOSIGNAL))
            .map(|_| ())
    }

    /// Waits for one frame; `None` when the peer has closed its end.
    pub(super) fn receive(&self, payload: &mut [u8]) -> Result<Option<Received>, Errno> {
        let mut words = [0; HEADER_LEN];
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
        let mut control = RecvAncillaryBuffer::new(&mut space);
        let len = loop {
            let mut parts = [IoSliceMut::new(&mut words), IoSliceMut::new(payload)];
            match recvmsg(&self.0, &mut parts, &mut control, RecvFlags::CMSG_CLOEXEC) {
                Ok(message) => break message.bytes,
                // A test interrupts puppet threads on purpose.
                Err(Errno::INTR) => {}
                Err(errno) => return Err(errno),
            }
        };
        if len < HEADER_LEN {
            return Ok(None);
        }
        let fd = control.drain().find_map(|message| match message {
            RecvAncillaryMessage::ScmRights(mut fds) => fds.next(),
            _ => None,
        });
        let header = Header::from_bytes(&words);
        Ok(Some(Received { header, payload_len: len - HEADER_LEN, fd }))
    }
}

impl AsFd for Channel {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_frame_arrives_whole_with_its_descriptor() {
        let (a, b) = Channel::pair().unwrap();
        let header = Header([1, 2, 3, 4, 5, 6, 7, 8, u64::MAX]);
        a.send(header, b"payload", Some(a.as_fd())).unwrap();
        let mut buffer = [0; 64];
        let received = b.receive(&mut buffer).unwrap().unwrap();
        assert_eq!(received.header, header);
        assert_eq!(&buffer[..received.payload_len], b"payload");
        assert!(received.fd.is_some());
    }

    #[test]
    fn a_closed_peer_reads_as_the_end() {
        let (a, b) = Channel::pair().unwrap();
        drop(a);
        assert!(b.receive(&mut [0; 8]).unwrap().is_none());
    }
}
