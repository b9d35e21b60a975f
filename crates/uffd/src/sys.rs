//! What the calls that rustix does not wrap have in common.

use rustix::io::Errno;

/// Returns the errno of the system call that has just failed on this thread. Neither allocates
/// nor locks: forked children and signal handlers call it.
pub(crate) fn last_errno() -> Errno {
    let error = std::io::Error::last_os_error();
    Errno::from_io_error(&error).unwrap_or(Errno::IO)
}
