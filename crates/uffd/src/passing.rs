//! Descriptors sent from process to process over a Unix socket, as `SCM_RIGHTS`.
//!
//! This is how a program hands its userfaultfd, and the memory behind it, to the process that
//! serves its faults. [`send_fds`] and [`recv_fds`] make one system call each; the payload that
//! goes with the descriptors says what they are.
//!
//! # Invariants
//! - A descriptor received is owned from the moment the kernel has made it: on every error it
//!   is closed, none is leaked and none left out silently.
//! - Every descriptor received is closed on exec.

use std::io::{IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::cmsg_space;
use rustix::io::{Errno, retry_on_intr};
use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, ReturnFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, recvmsg, sendmsg,
};

/// How many descriptors one message takes (the kernel's `SCM_MAX_FD`).
pub const FDS_PER_MESSAGE: usize = 253;

/// Room for the descriptors of one message, and for the credentials that a socket with
/// `SO_PASSCRED` adds.
const CONTROL_BYTES: usize = cmsg_space!(ScmRights(FDS_PER_MESSAGE), ScmCredentials(1));

/// One message received.
#[derive(Debug)]
pub struct Received {
    /// How many bytes of payload were received.
    pub len: usize,
    /// The descriptors that came with them, in the order sent.
    pub fds: Vec<OwnedFd>,
}

/// Why descriptors were not passed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PassError {
    /// More descriptors than a message takes.
    #[error("cannot send {0} descriptors in one message: {FDS_PER_MESSAGE} at most; send several")]
    TooMany(usize),
    /// Descriptors travel with a byte of payload or not at all.
    #[error("cannot send descriptors without a payload; send a byte with them")]
    NoPayload,
    /// Some descriptors could not be received; those that were are closed again.
    #[error(
        "descriptors of a message were lost: no number was free for them, or a security policy \
         forbids them; raise the limit with ulimit -n"
    )]
    DescriptorsLost,
    /// The message was longer than the buffer; its descriptors are closed again.
    #[error("a message is longer than the {0} bytes there is room for")]
    PayloadTruncated(usize),
    /// The kernel refused to send.
    #[error("cannot send descriptors: {}", refusal(*.0))]
    Send(#[source] Errno),
    /// The kernel refused to receive.
    #[error("cannot receive descriptors: {}", refusal(*.0))]
    Receive(#[source] Errno),
}

/// Returns the words for an errno.
fn refusal(errno: Errno) -> String {
    let words = match errno {
        Errno::PIPE | Errno::CONNRESET => "the other side has closed the socket",
        Errno::TOOMANYREFS => {
            "too many descriptors are under way; let the other side receive, or raise the limit \
             with ulimit -n"
        }
        Errno::AGAIN => "the socket is not ready; poll it and try again",
        Errno::NOTSOCK | Errno::OPNOTSUPP | Errno::INVAL => "it is not a connected Unix socket",
        errno => return crate::errno::Described(errno).to_string(),
    };
    words.to_owned()
}

/// Sends `payload` with `fds` over a Unix socket, stream or seqpacket.
///
/// Returns how many bytes of the payload were sent. A non-blocking stream socket may take fewer
/// than all; the descriptors have gone with the first byte, so send the rest without them.
///
/// # Errors
/// | error | errno | meaning |
/// |---|---|---|
/// | [`PassError::TooMany`] | – | more than [`FDS_PER_MESSAGE`] |
/// | [`PassError::NoPayload`] | – | `payload` is empty |
/// | [`PassError::Send`] | `PIPE`, `CONNRESET` | the other side has closed |
/// | | `AGAIN` | a non-blocking socket has no room |
/// | | `TOOMANYREFS` | more descriptors under way than the sender may open |
/// | | `MSGSIZE` | longer than a seqpacket message may be |
///
/// # Kernel
/// `sendmsg(2)`, `unix(7)`. Never raises `SIGPIPE`.
pub fn send_fds(
    socket: impl AsFd,
    payload: &[u8],
    fds: &[BorrowedFd<'_>],
) -> Result<usize, PassError> {
    if payload.is_empty() {
        return Err(PassError::NoPayload);
    }
    if fds.len() > FDS_PER_MESSAGE {
        return Err(PassError::TooMany(fds.len()));
    }
    let mut space = [MaybeUninit::uninit(); CONTROL_BYTES];
    let mut control = SendAncillaryBuffer::new(&mut space);
    if !fds.is_empty() {
        let pushed = control.push(SendAncillaryMessage::ScmRights(fds));
        assert!(pushed, "there is room for every descriptor of a message");
    }
    let parts = [IoSlice::new(payload)];
    retry_on_intr(|| sendmsg(&socket, &parts, &mut control, SendFlags::NOSIGNAL))
        .map_err(PassError::Send)
}

/// Receives a payload into `payload`, with the descriptors that came along; `None` if the other
/// side has closed the socket.
///
/// From a stream, one call never returns bytes sent with different descriptors: it ends where
/// the next descriptors begin. A stream may deliver a payload in pieces, the descriptors with
/// the first.
///
/// # Errors
/// | error | errno | meaning |
/// |---|---|---|
/// | [`PassError::DescriptorsLost`] | – | `MSG_CTRUNC`: the limit on open files was reached |
/// | [`PassError::PayloadTruncated`] | – | `MSG_TRUNC`: a seqpacket message is longer |
/// | [`PassError::Receive`] | `AGAIN` | a non-blocking socket has nothing |
/// | | `CONNRESET` | the other side closed with bytes unread |
///
/// # Panics
/// If `payload` is empty: a message cannot be told from the end then.
///
/// # Kernel
/// `recvmsg(2)` with `MSG_CMSG_CLOEXEC`.
pub fn recv_fds(socket: impl AsFd, payload: &mut [u8]) -> Result<Option<Received>, PassError> {
    assert!(!payload.is_empty(), "no room for a payload");
    let room = payload.len();
    let mut space = [MaybeUninit::uninit(); CONTROL_BYTES];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let mut parts = [IoSliceMut::new(payload)];
    let answer =
        retry_on_intr(|| recvmsg(&socket, &mut parts, &mut control, RecvFlags::CMSG_CLOEXEC))
            .map_err(PassError::Receive)?;
    // Taken over before any error is returned, so that dropping them closes them.
    let fds = received(&mut control);
    if answer.flags.contains(ReturnFlags::CTRUNC) {
        return Err(PassError::DescriptorsLost);
    }
    if answer.flags.contains(ReturnFlags::TRUNC) {
        return Err(PassError::PayloadTruncated(room));
    }
    let ended = answer.bytes == 0 && fds.is_empty();
    Ok((!ended).then_some(Received { len: answer.bytes, fds }))
}

fn received(control: &mut RecvAncillaryBuffer<'_>) -> Vec<OwnedFd> {
    let mut fds = Vec::new();
    for message in control.drain() {
        if let RecvAncillaryMessage::ScmRights(rights) = message {
            fds.extend(rights);
        }
    }
    fds
}

#[cfg(test)]
mod tests;
