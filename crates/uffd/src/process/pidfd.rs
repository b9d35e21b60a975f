//! A process by descriptor.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd, RawFd};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::Errno;
use rustix::process::{
    Pid, PidfdFlags, PidfdGetfdFlags, Signal, pidfd_getfd, pidfd_open, pidfd_send_signal,
};
use rustix::time::Timespec;

use super::{ProcessError, ProcessOp};

/// A descriptor of one process, which never comes to mean another one when the id is reused.
///
/// It becomes readable when the process ends, so it can sit in any poll set.
///
/// # Kernel
/// Linux 5.3 `pidfd_open(2)`; [`Pidfd::getfd`] needs 5.6.
#[derive(Debug)]
pub struct Pidfd {
    fd: OwnedFd,
    pid: Pid,
}

impl Pidfd {
    /// Opens the process whose leader is `pid`.
    ///
    /// The caller makes sure that `pid` still is the process it means: a child not yet waited
    /// for, or by checking its identity after this call.
    ///
    /// # Errors
    /// | errno | meaning |
    /// |---|---|
    /// | `SRCH` | no such process |
    /// | `INVAL`, `NOENT` | `pid` is a thread, not a leader |
    /// | `MFILE`, `NFILE` | no descriptor free |
    /// | `NOSYS` | kernel older than 5.3, or a seccomp filter |
    pub fn open(pid: Pid) -> Result<Pidfd, ProcessError> {
        match pidfd_open(pid, PidfdFlags::empty()) {
            Ok(fd) => Ok(Pidfd { fd, pid }),
            Err(errno) => Err(ProcessError { op: ProcessOp::Open, pid, errno }),
        }
    }

    /// Takes a pidfd that the kernel gave for the peer of a socket.
    pub(super) fn of_peer(fd: OwnedFd, pid: Pid) -> Pidfd {
        Pidfd { fd, pid }
    }

    /// Returns the id the process was opened by.
    #[must_use]
    pub fn pid(&self) -> Pid {
        self.pid
    }

    /// Duplicates descriptor `number` of the process into this one, with close-on-exec set.
    ///
    /// # Errors
    /// | errno | meaning |
    /// |---|---|
    /// | `BADF` | the process has no such descriptor |
    /// | `PERM` | no `PTRACE_MODE_ATTACH` right over it |
    /// | `SRCH` | it has ended |
    /// | `MFILE` | no descriptor free here |
    pub fn getfd(&self, number: RawFd) -> Result<OwnedFd, ProcessError> {
        pidfd_getfd(&self.fd, number, PidfdGetfdFlags::empty())
            .map_err(|errno| self.error(ProcessOp::GetFd, errno))
    }

    /// Sends a signal to the process.
    ///
    /// # Errors
    /// | errno | meaning |
    /// |---|---|
    /// | `SRCH` | it has ended and was waited for |
    /// | `PERM` | it belongs to somebody else |
    pub fn signal(&self, signal: Signal) -> Result<(), ProcessError> {
        pidfd_send_signal(&self.fd, signal).map_err(|errno| self.error(ProcessOp::Signal, errno))
    }

    /// Says whether every thread of the process has ended. It may still be a zombie.
    ///
    /// # Errors
    /// `NOMEM` only.
    pub fn exited(&self) -> Result<bool, ProcessError> {
        self.poll(Some(Duration::ZERO))
    }

    /// Waits until the process ends, or `timeout` has passed; `None` waits for as long as it
    /// takes. Returns whether it has ended.
    ///
    /// A signal to the caller does not cut the wait short.
    ///
    /// # Errors
    /// `NOMEM` only.
    pub fn poll(&self, timeout: Option<Duration>) -> Result<bool, ProcessError> {
        // A time beyond the clock is as good as forever.
        let deadline = timeout.and_then(|timeout| Instant::now().checked_add(timeout));
        loop {
            let left = deadline.map(|at| at.saturating_duration_since(Instant::now()));
            let left = left.and_then(|left| Timespec::try_from(left).ok());
            let mut fds = [PollFd::new(&self.fd, PollFlags::IN)];
            match poll(&mut fds, left.as_ref()) {
                Ok(ready) => return Ok(ready > 0),
                Err(Errno::INTR) => {}
                Err(errno) => return Err(self.error(ProcessOp::Wait, errno)),
            }
        }
    }

    fn error(&self, op: ProcessOp, errno: Errno) -> ProcessError {
        ProcessError { op, pid: self.pid, errno }
    }
}

impl AsFd for Pidfd {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Seek, SeekFrom, Write};
    use std::os::fd::AsRawFd;
    use std::process::{Command, Stdio};

    use super::*;

    #[test]
    fn a_process_that_was_killed_has_exited() {
        let mut child = Command::new("sleep").arg("100").spawn().unwrap();
        let pid = Pid::from_child(&child);
        let pidfd = Pidfd::open(pid).unwrap();
        assert_eq!(pidfd.pid(), pid);
        assert!(!pidfd.exited().unwrap());
        assert!(!pidfd.poll(Some(Duration::from_millis(1))).unwrap());

        pidfd.signal(Signal::KILL).unwrap();
        assert!(pidfd.poll(None).unwrap());
        assert!(pidfd.exited().unwrap());

        child.wait().unwrap();
        assert!(pidfd.exited().unwrap(), "the pidfd outlives the id");
        assert_eq!(pidfd.signal(Signal::KILL).unwrap_err().errno, Errno::SRCH);
        assert_eq!(Pidfd::open(pid).unwrap_err().errno, Errno::SRCH);
    }

    #[test]
    fn a_thread_is_not_a_process() {
        let tid = std::thread::spawn(|| {
            let tid = rustix::thread::gettid();
            Pidfd::open(tid).unwrap_err().errno
        });
        let errno = tid.join().unwrap();
        // ENOENT since 6.15, EINVAL before.
        assert!(matches!(errno, Errno::INVAL | Errno::NOENT), "{errno}");
    }

    #[test]
    fn a_fetched_descriptor_is_the_same_open_file_with_close_on_exec() {
        let mut file = tempfile();
        let mut child = Command::new("sleep")
            .arg("100")
            .stdin(Stdio::from(file.try_clone().unwrap()))
            .spawn()
            .unwrap();
        let pidfd = Pidfd::open(Pid::from_child(&child)).unwrap();
        let fetched = pidfd.getfd(0).unwrap();
        let missing = pidfd.getfd(900).unwrap_err();
        child.kill().unwrap();
        child.wait().unwrap();

        assert_eq!(missing.errno, Errno::BADF);
        assert_ne!(fetched.as_raw_fd(), 0);
        let flags = rustix::io::fcntl_getfd(&fetched).unwrap();
        assert!(flags.contains(rustix::io::FdFlags::CLOEXEC));
        std::fs::File::from(fetched).write_all(b"both").unwrap();
        let mut text = String::new();
        file.seek(SeekFrom::Start(0)).unwrap();
        file.read_to_string(&mut text).unwrap();
        assert_eq!(text, "both");
    }

    fn tempfile() -> std::fs::File {
        let flags = rustix::fs::MemfdFlags::CLOEXEC;
        rustix::fs::memfd_create("pidfd-test", flags).unwrap().into()
    }
}
