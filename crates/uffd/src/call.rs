//! The one place where a request enters the kernel.
//!
//! Every operation of the crate comes through [`request`]; it keeps the argument struct after a
//! failure, because the out fields of a failed request tell how far it came.

use std::os::fd::BorrowedFd;

use rustix::io::Errno;
use rustix::ioctl::{Opcode, Updater, ioctl};

/// Issues request `NUMBER` with `arg`, which holds the out fields afterwards, also on failure.
///
/// # Safety
/// - `T` is the argument struct of `NUMBER`, and addresses in it that the request reads are
///   readable for the lengths it states.
/// - The caller may do to the address space of the userfaultfd what the request does.
pub(crate) unsafe fn request<const NUMBER: Opcode, T>(
    fd: BorrowedFd<'_>,
    arg: &mut T,
) -> Result<(), Errno> {
    // SAFETY: the caller pairs the number with its struct.
    let request = unsafe { Updater::<NUMBER, T>::new(arg) };
    // SAFETY: [K1] at most the struct is written, which is borrowed exclusively; [K3] nothing
    // else of the caller's is touched, and [K4] nothing at all if the descriptor is another's;
    // the effect on the address space is the caller's to allow.
    unsafe { ioctl(fd, request) }
}
