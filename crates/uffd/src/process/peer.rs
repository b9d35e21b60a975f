//! Who is at the other end of a Unix socket.

use std::mem::MaybeUninit;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};

use rustix::io::Errno;
use rustix::net::sockopt::socket_peercred;
use rustix::process::Pid;

use super::Pidfd;

/// `SO_PEERPIDFD`, of the same number on every architecture this crate knows.
const SO_PEERPIDFD: libc::c_int = 77;

/// The process that connected, as it was when it did.
#[derive(Debug)]
pub struct Peer {
    /// Its process, which no reuse of its number makes another.
    pub pidfd: Pidfd,
    /// The user it acted for.
    pub uid: u32,
    /// The group it acted for.
    pub gid: u32,
}

impl Peer {
    /// Asks the kernel who connected the socket.
    ///
    /// # Errors
    /// | errno | meaning |
    /// |---|---|
    /// | `SRCH` | it has ended and was waited for |
    /// | `NOTCONN`, `INVAL` | nobody connected, or who did is of another pid namespace |
    /// | `MFILE`, `NFILE` | no descriptor free |
    ///
    /// # Kernel
    /// `SO_PEERCRED`; `SO_PEERPIDFD` since 6.5. Before that the process is opened by number, which
    /// may have become another's since it connected.
    pub fn of(socket: impl AsFd) -> Result<Peer, Errno> {
        let socket = socket.as_fd();
        let credentials = socket_peercred(socket)?;
        let pid = credentials.pid;
        let pidfd = match peer_pidfd(socket) {
            Ok(fd) => Pidfd::of_peer(fd, pid),
            Err(Errno::NOPROTOOPT) => Pidfd::open(pid).map_err(|error| error.errno)?,
            Err(errno) => return Err(errno),
        };
        Ok(Peer { pidfd, uid: credentials.uid.as_raw(), gid: credentials.gid.as_raw() })
    }

    /// Returns the number of its process.
    #[must_use]
    pub fn pid(&self) -> Pid {
        self.pidfd.pid()
    }
}

fn peer_pidfd(socket: BorrowedFd<'_>) -> Result<OwnedFd, Errno> {
    let mut fd = MaybeUninit::<RawFd>::uninit();
    let mut len = libc::socklen_t::try_from(size_of::<RawFd>()).expect("four");
    // SAFETY: [K1] at most `len` bytes are written to `fd`, which has as many.
    let result = unsafe {
        libc::getsockopt(
            socket.as_raw_fd(),
            libc::SOL_SOCKET,
            SO_PEERPIDFD,
            fd.as_mut_ptr().cast(),
            &raw mut len,
        )
    };
    if result != 0 {
        let errno = std::io::Error::last_os_error().raw_os_error();
        return Err(Errno::from_raw_os_error(errno.unwrap_or(0)));
    }
    // SAFETY: the call has written the whole number.
    let fd = unsafe { fd.assume_init() };
    // SAFETY: [K2] the descriptor is open and ours alone.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixStream;

    use super::*;

    #[test]
    fn the_other_end_of_a_pair_is_this_process() {
        let (a, _b) = UnixStream::pair().unwrap();
        let peer = Peer::of(&a).unwrap();
        assert_eq!(peer.pid(), rustix::process::getpid());
        assert_eq!(peer.uid, rustix::process::getuid().as_raw());
        assert!(!peer.pidfd.exited().unwrap());
    }
}
