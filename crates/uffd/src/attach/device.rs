//! Opening a userfaultfd in a target that may not make the system call.
//!
//! An unprivileged process gets `EPERM` from `userfaultfd(2)` on most systems, and sandboxes refuse
//! the call. A descriptor of `/dev/userfaultfd` creates userfaultfds without a further check, for
//! the address space of the process that makes the ioctl. Ours is therefore passed into the target
//! through a socket pair made there, used once, and everything made on the way is undone.

use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

use faultless_uapi::ioctl::USERFAULTFD_IOC_NEW;

use super::inject::{Borrowed, InjectError, descriptor, open_flags};
use crate::sys::last_errno;

/// One page is mapped in the target for the arguments of its calls.
const SCRATCH_BYTES: u64 = 4096;
// Where in the scratch page each argument lies. The layouts are those of a 64-bit kernel.
const SOCKETS: u64 = 0;
const HEADER: u64 = 64;
const VECTOR: u64 = 128;
const PAYLOAD: u64 = 160;
const CONTROL: u64 = 192;
/// A control message with one descriptor: a 16-byte header, four bytes, padding.
const CONTROL_BYTES: u64 = 24;
const CONTROL_DESCRIPTOR: u64 = CONTROL + 16;

/// Opens a userfaultfd in the target by way of the device and returns its number there.
pub(super) fn open_through(
    borrowed: &Borrowed,
    pidfd: BorrowedFd<'_>,
    device: BorrowedFd<'_>,
) -> Result<i32, InjectError> {
    let protection = u64::from((libc::PROT_READ | libc::PROT_WRITE).cast_unsigned());
    let flags = u64::from((libc::MAP_PRIVATE | libc::MAP_ANONYMOUS).cast_unsigned());
    let scratch =
        borrowed.call(libc::SYS_mmap, [0, SCRATCH_BYTES, protection, flags, u64::MAX, 0])?;
    let opened = over_sockets(borrowed, scratch, pidfd, device);
    borrowed.call(libc::SYS_munmap, [scratch, SCRATCH_BYTES, 0, 0, 0, 0])?;
    opened
}

/// Makes a socket pair in the target, passes the device through it, closes the pair.
fn over_sockets(
    borrowed: &Borrowed,
    scratch: u64,
    pidfd: BorrowedFd<'_>,
    device: BorrowedFd<'_>,
) -> Result<i32, InjectError> {
    let kind = u64::from((libc::SOCK_SEQPACKET | libc::SOCK_CLOEXEC).cast_unsigned());
    let family = u64::from(libc::AF_UNIX.cast_unsigned());
    borrowed.call(libc::SYS_socketpair, [family, kind, 0, scratch + SOCKETS, 0, 0])?;
    let mut pair = [0u64];
    borrowed.peek(scratch + SOCKETS, &mut pair)?;
    let (far, near) = halves(pair[0]);
    let opened = send(pidfd, far, device).and_then(|()| receive(borrowed, scratch, near)).and_then(
        |number| {
            let opened = borrowed.call(
                libc::SYS_ioctl,
                [
                    u64::from(number.cast_unsigned()),
                    u64::from(USERFAULTFD_IOC_NEW),
                    open_flags(),
                    0,
                    0,
                    0,
                ],
            );
            borrowed.close(number)?;
            opened.map(descriptor)
        },
    );
    borrowed.close(far)?;
    borrowed.close(near)?;
    opened
}

/// Splits a word of two descriptors, lower address first.
fn halves(word: u64) -> (i32, i32) {
    let bytes = word.to_ne_bytes();
    let int =
        |at: usize| i32::from_ne_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]]);
    (int(0), int(4))
}

/// Sends `device` into the target through its socket `far`.
fn send(pidfd: BorrowedFd<'_>, far: i32, device: BorrowedFd<'_>) -> Result<(), InjectError> {
    // SAFETY: fetches a duplicate of the target's descriptor; no memory is involved.
    let socket = unsafe { libc::syscall(libc::SYS_pidfd_getfd, pidfd.as_raw_fd(), far, 0) };
    let Ok(socket) = i32::try_from(socket) else { return Err(last_errno().into()) };
    if socket < 0 {
        return Err(last_errno().into());
    }
    // SAFETY: the kernel just gave us this descriptor; nobody else owns it.
    let socket = unsafe { OwnedFd::from_raw_fd(socket) };
    let mut payload = 1u8;
    let mut vector = libc::iovec { iov_base: (&raw mut payload).cast(), iov_len: 1 };
    // The control message in the order of `cmsghdr`: length, level and type, descriptor.
    let mut control = [0u64; 3];
    control[0] = 20;
    control[1] = two(libc::SOL_SOCKET, libc::SCM_RIGHTS);
    control[2] = two(device.as_raw_fd(), 0);
    // SAFETY: all-zero bytes are a valid `msghdr`.
    let mut header: libc::msghdr = unsafe { core::mem::zeroed() };
    header.msg_iov = &raw mut vector;
    header.msg_iovlen = 1;
    header.msg_control = control.as_mut_ptr().cast();
    header.msg_controllen = size_of_val(&control);
    // SAFETY: the header points at `vector`, `payload` and `control`, all alive and sized as said.
    match unsafe { libc::sendmsg(socket.as_raw_fd(), &raw const header, libc::MSG_NOSIGNAL) } {
        -1 => Err(last_errno().into()),
        _ => Ok(()),
    }
}

/// Joins two ints into the word that holds them, lower address first.
fn two(low: i32, high: i32) -> u64 {
    let mut bytes = [0; 8];
    bytes[..4].copy_from_slice(&low.to_ne_bytes());
    bytes[4..].copy_from_slice(&high.to_ne_bytes());
    u64::from_ne_bytes(bytes)
}

/// Makes the target receive the device from its socket `near`, and returns its number there.
fn receive(borrowed: &Borrowed, scratch: u64, near: i32) -> Result<i32, InjectError> {
    // `msghdr`: name, name length, vector, vector length, control, control length, flags.
    let header = [0, 0, scratch + VECTOR, 1, scratch + CONTROL, CONTROL_BYTES, 0];
    borrowed.poke(scratch + HEADER, &header)?;
    borrowed.poke(scratch + VECTOR, &[scratch + PAYLOAD, 1])?;
    let flags = u64::from(libc::MSG_CMSG_CLOEXEC.cast_unsigned());
    let socket = u64::from(near.cast_unsigned());
    borrowed.call(libc::SYS_recvmsg, [socket, scratch + HEADER, flags, 0, 0, 0])?;
    let mut word = [0u64];
    borrowed.peek(scratch + CONTROL_DESCRIPTOR, &mut word)?;
    Ok(halves(word[0]).0)
}
