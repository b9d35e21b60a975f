//! The process that makes a target open a userfaultfd, and outlives whoever asked for it.
//!
//! While a thread runs on registers that are not its own, the death of its tracer would leave it
//! there: the kernel lets it go with the registers it has. The borrowing is therefore done by a
//! forked child that nobody has a reason to kill: in a session of its own, with all signals
//! blocked, under another name. If the caller dies at any moment, the guardian finds its end of
//! the channel closed, closes the descriptor in the target, puts the thread back and exits.
//!
//! # Invariants
//! - The child of a multi-threaded process may only do what a signal handler may: nothing in
//!   [`run`] allocates, locks, formats or unwinds.
//! - The thread is given back on every path that borrowed it.

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::time::Duration;

use rustix::io::Errno;

use super::inject::{self, Borrowed, InjectError, descriptor, open_flags};
use crate::ptrace::request::{self, TraceOptions};
use crate::ptrace::{self, Stop};
use crate::sys::last_errno;

/// What the guardian is to do.
pub(super) struct Errand<'a> {
    pub(super) tid: i32,
    /// Address of a system-call instruction in the target.
    pub(super) instruction: u64,
    pub(super) options: TraceOptions,
    /// How long to wait for the thread to stop.
    pub(super) patience: Duration,
    /// A descriptor for the target, to receive a device descriptor through.
    pub(super) pidfd: BorrowedFd<'a>,
    /// `/dev/userfaultfd`, for targets that may not make the system call.
    pub(super) device: Option<BorrowedFd<'a>>,
}

/// What the guardian reports, as fixed words on the channel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Report {
    /// The target holds the userfaultfd under this number; an answer lets it be closed there.
    Ready { number: i32, by_device: bool },
    /// The thread could not be seized.
    Unseizable(Errno),
    /// The thread did not stop in time.
    Unresponsive,
    /// The target ended.
    Ended,
    /// The target may not make the system call; `device` is how the device failed, if tried.
    Refused { syscall: Errno, device: Option<Errno> },
    /// A request about the thread failed.
    Broken(Errno),
    /// The thread was put back: the last report of a good run.
    Restored,
    /// The target has another program now, and the instruction to borrow is not in it.
    Replaced,
}

const REPORT_WORDS: usize = 3;

impl Report {
    fn to_words(self) -> [i32; REPORT_WORDS] {
        match self {
            Report::Ready { number, by_device } => [1, number, i32::from(by_device)],
            Report::Unseizable(errno) => [2, errno.raw_os_error(), 0],
            Report::Unresponsive => [3, 0, 0],
            Report::Ended => [4, 0, 0],
            Report::Refused { syscall, device } => {
                [5, syscall.raw_os_error(), device.map_or(0, Errno::raw_os_error)]
            }
            Report::Broken(errno) => [6, errno.raw_os_error(), 0],
            Report::Restored => [7, 0, 0],
            Report::Replaced => [8, 0, 0],
        }
    }

    fn from_words([kind, a, b]: [i32; REPORT_WORDS]) -> Option<Report> {
        let errno = Errno::from_raw_os_error;
        Some(match kind {
            1 => Report::Ready { number: a, by_device: b != 0 },
            2 => Report::Unseizable(errno(a)),
            3 => Report::Unresponsive,
            4 => Report::Ended,
            5 => Report::Refused { syscall: errno(a), device: (b != 0).then(|| errno(b)) },
            6 => Report::Broken(errno(a)),
            7 => Report::Restored,
            8 => Report::Replaced,
            _ => return None,
        })
    }
}

/// The caller's end of a running guardian.
pub(super) struct Guardian {
    channel: OwnedFd,
    pid: rustix::process::Pid,
}

impl Guardian {
    /// Forks a guardian on its errand.
    pub(super) fn send(errand: &Errand<'_>) -> io::Result<Guardian> {
        use rustix::net::{AddressFamily, SocketFlags, SocketType, socketpair};
        let (ours, theirs) =
            socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None)?;
        // SAFETY: the child calls only `run`, which keeps to what is async-signal-safe, and then
        // leaves by `_exit` without running destructors or handlers of the parent.
        let pid = unsafe { libc::fork() };
        match pid {
            -1 => Err(last_errno().into()),
            0 => {
                // The parent's end must not stay open here, or its death would go unnoticed.
                // SAFETY: the descriptor belongs to this child's copy of the table, and the
                // parent's `OwnedFd` is never dropped in the child.
                unsafe { libc::close(ours.as_raw_fd()) };
                run(errand, theirs.as_fd());
                // SAFETY: ends the child without touching the parent's state.
                unsafe { libc::_exit(0) }
            }
            child => {
                let pid = rustix::process::Pid::from_raw(child).expect("a child's id is positive");
                Ok(Guardian { channel: ours, pid })
            }
        }
    }

    /// Waits for the next report; `None` if the guardian is gone.
    pub(super) fn report(&self) -> Option<Report> {
        let mut bytes = [0u8; REPORT_WORDS * 4];
        let filled = rustix::io::retry_on_intr(|| rustix::io::read(&self.channel, &mut bytes));
        if filled != Ok(bytes.len()) {
            return None;
        }
        let mut words = [0; REPORT_WORDS];
        for (word, chunk) in words.iter_mut().zip(bytes.chunks_exact(4)) {
            *word = i32::from_ne_bytes(chunk.try_into().expect("chunks of four"));
        }
        Report::from_words(words)
    }

    /// Tells the guardian that the descriptor has been fetched.
    pub(super) fn acknowledge(&self) {
        // A failure means that the guardian is gone, which its next report tells.
        let _ = rustix::io::write(&self.channel, &[1]);
    }
}

impl Drop for Guardian {
    fn drop(&mut self) {
        // The closed channel sends the guardian home; it is reaped so that no zombie stays.
        let _ = rustix::net::shutdown(&self.channel, rustix::net::Shutdown::Both);
        let options = rustix::process::WaitOptions::empty();
        let _ = rustix::io::retry_on_intr(|| rustix::process::waitpid(Some(self.pid), options));
    }
}

/// The guardian's life, in the child.
fn run(errand: &Errand<'_>, channel: BorrowedFd<'_>) {
    step_aside();
    let last = match borrow(errand) {
        Ok(borrowed) => {
            let opened = open(&borrowed, errand, channel);
            match (opened, borrowed.give_back()) {
                (Err(report), Ok(())) => report,
                (Ok(()), Ok(())) => Report::Restored,
                (_, Err(error)) => lost(error),
            }
        }
        Err(report) => report,
    };
    tell(channel, last);
}

/// Leaves the caller's session, name and signals.
fn step_aside() {
    let all = u64::MAX;
    // SAFETY: starts a session; no memory is involved.
    unsafe { libc::setsid() };
    // SAFETY: the name is a static, terminated string.
    unsafe { libc::prctl(libc::PR_SET_NAME, c"uffd-attach".as_ptr()) };
    // SAFETY: the kernel reads eight bytes of `all`; blocking signals changes no memory.
    unsafe {
        libc::syscall(
            libc::SYS_rt_sigprocmask,
            libc::SIG_SETMASK,
            &raw const all,
            core::ptr::null_mut::<u64>(),
            8usize,
        )
    };
}

/// Seizes and stops the thread, and borrows it.
fn borrow(errand: &Errand<'_>) -> Result<Borrowed, Report> {
    request::seize(errand.tid, errand.options).map_err(Report::Unseizable)?;
    request::interrupt(errand.tid).map_err(Report::Broken)?;
    stopped_within(errand.tid, errand.patience)?;
    // The instruction was found while the target ran; an `execve` since then has moved it, and a
    // thread sent to where it was would fault there for ever.
    if !inject::is_syscall_instruction(errand.tid, errand.instruction) {
        return Err(Report::Replaced);
    }
    Borrowed::new(errand.tid, errand.instruction).map_err(lost)
}

/// Waits until the thread stops on request.
fn stopped_within(tid: i32, patience: Duration) -> Result<(), Report> {
    let nap = libc::timespec { tv_sec: 0, tv_nsec: 50_000 };
    let mut left = patience.as_micros() / 50;
    loop {
        match ptrace::wait(tid, false) {
            Ok(Some(Stop::Interrupted | Stop::Group(_))) => return Ok(()),
            Ok(Some(Stop::Ended)) => return Err(Report::Ended),
            // A signal that came first is delivered; the interrupt stop follows.
            Ok(Some(Stop::Signal(signal))) => {
                request::resume(tid, request::Resume::Continue, signal).map_err(Report::Broken)?;
            }
            Ok(Some(Stop::Syscall | Stop::Event(_))) => {
                request::resume(tid, request::Resume::Continue, 0).map_err(Report::Broken)?;
            }
            Ok(None) if left == 0 => return Err(Report::Unresponsive),
            Ok(None) => {
                left -= 1;
                // SAFETY: the kernel reads `nap` and writes nothing without a second argument.
                unsafe { libc::nanosleep(&raw const nap, core::ptr::null_mut()) };
            }
            Err(errno) => return Err(Report::Broken(errno)),
        }
    }
}

/// Opens the userfaultfd in the target, waits until it is fetched, closes it there.
fn open(borrowed: &Borrowed, errand: &Errand<'_>, channel: BorrowedFd<'_>) -> Result<(), Report> {
    let (number, by_device) = open_either_way(borrowed, errand)?;
    tell(channel, Report::Ready { number, by_device });
    // An answer or the caller's death: either way the descriptor must not stay in the target.
    let mut answer = [0u8; 1];
    let _ = rustix::io::retry_on_intr(|| rustix::io::read(channel, &mut answer));
    borrowed.close(number).map_err(lost)
}

/// Tries the system call, then the device.
fn open_either_way(borrowed: &Borrowed, errand: &Errand<'_>) -> Result<(i32, bool), Report> {
    let flags = open_flags();
    let syscall = match borrowed.call(libc::SYS_userfaultfd, [flags, 0, 0, 0, 0, 0]) {
        Ok(number) => return Ok((descriptor(number), false)),
        Err(InjectError::Call(errno)) => errno,
        Err(error) => return Err(lost(error)),
    };
    let Some(device) = errand.device else {
        return Err(Report::Refused { syscall, device: None });
    };
    match super::device::open_through(borrowed, errand.pidfd, device) {
        Ok(number) => Ok((number, true)),
        Err(InjectError::Call(errno)) => Err(Report::Refused { syscall, device: Some(errno) }),
        Err(error) => Err(lost(error)),
    }
}

/// Says how a borrowed thread was lost.
fn lost(error: InjectError) -> Report {
    match error {
        InjectError::Ended => Report::Ended,
        InjectError::Trace(Errno::SRCH | Errno::CHILD) => Report::Ended,
        InjectError::Trace(errno) | InjectError::Call(errno) => Report::Broken(errno),
    }
}

/// Sends a report; a caller that is gone needs none.
fn tell(channel: BorrowedFd<'_>, report: Report) {
    let mut bytes = [0u8; REPORT_WORDS * 4];
    for (chunk, word) in bytes.chunks_exact_mut(4).zip(report.to_words()) {
        chunk.copy_from_slice(&word.to_ne_bytes());
    }
    // SAFETY: `bytes` is readable for its length; MSG_NOSIGNAL keeps a dead caller from ending us.
    unsafe {
        libc::send(channel.as_raw_fd(), bytes.as_ptr().cast(), bytes.len(), libc::MSG_NOSIGNAL)
    };
}
