//! Stopping and inspecting the threads of another process.
//!
//! [`Tracee`] is a seized thread. A seized thread runs until it is
//! [interrupted](Tracee::interrupt); when the tracing thread or process dies, the kernel lets it go
//! and it runs on with the registers it has. Whoever only reads registers can therefore be killed
//! at any time without harm.
//!
//! # Invariants
//! - Every request about a thread comes from the OS thread that seized it (the kernel answers
//!   `ESRCH` otherwise); `Tracee` is therefore neither `Send` nor `Sync`.
//! - A dropped `Tracee` that is stopped is let go.

pub(crate) mod regs;
pub(crate) mod request;
pub mod sysno;

use core::marker::PhantomData;
use std::thread;
use std::time::Duration;

use rustix::io::Errno;

use crate::sys::last_errno;

pub use regs::{GeneralRegs, NT_PRSTATUS};
pub use request::{Resume, TraceOptions};

/// Why a thread stopped, or that it is no more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stop {
    /// Because it was [interrupted](Tracee::interrupt), or is new and traced from the start.
    Interrupted,
    /// Because its whole process is stopped by a job-control signal.
    Group(i32),
    /// Because a signal is about to be delivered.
    Signal(i32),
    /// At the entry to or the exit from a system call.
    Syscall,
    /// At an event asked for by [`TraceOptions`]: `PTRACE_EVENT_*`.
    Event(i32),
    /// The thread has ended; there is nothing left to trace.
    Ended,
}

/// Reads a wait status; `None` if it says nothing of interest.
pub(crate) fn decode(status: i32) -> Option<Stop> {
    if libc::WIFEXITED(status) || libc::WIFSIGNALED(status) {
        return Some(Stop::Ended);
    }
    if !libc::WIFSTOPPED(status) {
        return None;
    }
    let signal = libc::WSTOPSIG(status);
    Some(match status >> 16 {
        libc::PTRACE_EVENT_STOP if signal == libc::SIGTRAP => Stop::Interrupted,
        libc::PTRACE_EVENT_STOP => Stop::Group(signal),
        0 if signal == libc::SIGTRAP | 0x80 => Stop::Syscall,
        0 => Stop::Signal(signal),
        event => Stop::Event(event),
    })
}

/// Waits for a stop of thread `tid`; returns `None` if `block` is false and there is none.
///
/// # Errors
/// `ECHILD`: the thread is not traced by the caller, or gone for good.
pub(crate) fn wait(tid: i32, block: bool) -> Result<Option<Stop>, Errno> {
    let flags = libc::__WALL | if block { 0 } else { libc::WNOHANG };
    loop {
        let mut status = 0;
        // SAFETY: the kernel writes one int into `status`.
        match unsafe { libc::waitpid(tid, &raw mut status, flags) } {
            0 => return Ok(None),
            -1 => match last_errno() {
                Errno::INTR => {}
                errno => return Err(errno),
            },
            _ => {
                if let Some(stop) = decode(status) {
                    return Ok(Some(stop));
                }
            }
        }
    }
}

/// Takes a stop of any thread traced by the calling thread, and says whose it is.
///
/// Children of the calling thread that are not traced are waited for as well: call it from a
/// thread that has none.
///
/// # Errors
/// `ECHILD`: nothing is traced any more.
pub fn try_wait_any() -> Result<Option<(u32, Stop)>, Errno> {
    let flags = libc::__WALL | libc::__WNOTHREAD | libc::WNOHANG;
    loop {
        let mut status = 0;
        // SAFETY: the kernel writes one int into `status`.
        match unsafe { libc::waitpid(-1, &raw mut status, flags) } {
            0 => return Ok(None),
            -1 => match last_errno() {
                Errno::INTR => {}
                errno => return Err(errno),
            },
            tid => {
                if let Some(stop) = decode(status) {
                    return Ok(Some((tid.cast_unsigned(), stop)));
                }
            }
        }
    }
}

/// A seized thread of another process.
#[derive(Debug)]
pub struct Tracee {
    tid: i32,
    stopped: bool,
    /// ptrace is bound to the OS thread that seized.
    not_send: PhantomData<*const ()>,
}

impl Tracee {
    /// Seizes a thread without stopping it.
    ///
    /// # Errors
    /// | errno | meaning |
    /// |---|---|
    /// | `ESRCH` | there is no such thread |
    /// | `EPERM` | not permitted (owner, capabilities, Yama), already traced, or a kernel thread |
    /// | `EINVAL` | an option this kernel does not know |
    pub fn seize(tid: u32, options: TraceOptions) -> Result<Tracee, Errno> {
        let tid = i32::try_from(tid).map_err(|_| Errno::SRCH)?;
        request::seize(tid, options)?;
        Ok(Tracee { tid, stopped: false, not_send: PhantomData })
    }

    /// Adopts a thread that the kernel seized for us because its creator is traced.
    #[must_use]
    pub fn adopt(tid: u32) -> Option<Tracee> {
        let tid = i32::try_from(tid).ok()?;
        Some(Tracee { tid, stopped: false, not_send: PhantomData })
    }

    /// Returns the thread id.
    #[must_use]
    pub fn tid(&self) -> u32 {
        self.tid.cast_unsigned()
    }

    /// Asks the thread to stop; [`wait`](Self::wait) says when it has.
    ///
    /// # Errors
    /// `ESRCH`: the thread is gone.
    pub fn interrupt(&self) -> Result<(), Errno> {
        request::interrupt(self.tid)
    }

    /// Waits until the thread stops or ends.
    ///
    /// A thread in uninterruptible sleep stops only once that sleep is over.
    ///
    /// # Errors
    /// `ECHILD`: the thread is gone for good.
    pub fn wait(&mut self) -> Result<Stop, Errno> {
        loop {
            if let Some(stop) = wait(self.tid, true)? {
                self.stopped = stop != Stop::Ended;
                return Ok(stop);
            }
        }
    }

    /// Says whether the thread stands still, as far as its stops were taken.
    #[must_use]
    pub fn is_stopped(&self) -> bool {
        self.stopped
    }

    /// Notes a stop that [`try_wait_any`] reported.
    pub fn note(&mut self, stop: Stop) {
        self.stopped = stop != Stop::Ended;
    }

    /// Reads the number and arguments of the system call the stopped thread is about to make;
    /// `None` if it is at another stop.
    ///
    /// # Errors
    /// `ESRCH`: the thread is gone or not stopped. `EIO`: kernel older than 5.3.
    pub fn syscall_entry(&self) -> Result<Option<(u64, [u64; 6])>, Errno> {
        request::syscall_entry(self.tid)
    }

    /// Takes the thread's stop if there is one.
    ///
    /// # Errors
    /// `ECHILD`: the thread is gone for good.
    pub fn try_wait(&mut self) -> Result<Option<Stop>, Errno> {
        let stop = wait(self.tid, false)?;
        if let Some(stop) = stop {
            self.stopped = stop != Stop::Ended;
        }
        Ok(stop)
    }

    /// Waits for a stop, at most about `patience`.
    ///
    /// Polls, first without and then with short sleeps: a stop takes microseconds unless the
    /// thread sits in uninterruptible sleep.
    ///
    /// # Errors
    /// `ECHILD`: the thread is gone for good. `ETIMEDOUT`: it has not stopped in time.
    pub fn wait_within(&mut self, patience: Duration) -> Result<Stop, Errno> {
        const SPINS: u32 = 200;
        const NAP: Duration = Duration::from_micros(50);
        for _ in 0..SPINS {
            if let Some(stop) = self.try_wait()? {
                return Ok(stop);
            }
            thread::yield_now();
        }
        let naps = patience.as_micros() / NAP.as_micros();
        for _ in 0..naps {
            if let Some(stop) = self.try_wait()? {
                return Ok(stop);
            }
            thread::sleep(NAP);
        }
        Err(Errno::TIMEDOUT)
    }

    /// Lets the stopped thread go on, delivering `signal` first unless it is 0.
    ///
    /// # Errors
    /// `ESRCH`: the thread is gone or not stopped.
    pub fn resume(&mut self, how: Resume, signal: i32) -> Result<(), Errno> {
        self.stopped = false;
        request::resume(self.tid, how, signal)
    }

    /// Leaves the thread in its group stop, but hears when it ends.
    ///
    /// # Errors
    /// `ESRCH`: the thread is gone or not in a group stop.
    pub fn listen(&mut self) -> Result<(), Errno> {
        self.stopped = false;
        request::listen(self.tid)
    }

    /// Lets the stopped thread go for good, delivering `signal` first unless it is 0.
    ///
    /// # Errors
    /// `ESRCH`: the thread is gone or not stopped.
    pub fn detach(mut self, signal: i32) -> Result<(), Errno> {
        self.stopped = false;
        request::detach(self.tid, signal)
    }

    /// Reads the general registers of the stopped thread.
    ///
    /// # Errors
    /// `ESRCH`: the thread is gone or not stopped.
    pub fn general_regs(&self) -> Result<GeneralRegs, Errno> {
        request::general_regs(self.tid)
    }

    /// Reads any register set (`NT_*`) of the stopped thread.
    ///
    /// # Errors
    /// `EINVAL`, `ENODEV`: this machine has no such set. `ESRCH`: gone or not stopped.
    pub fn regset(&self, kind: u32) -> Result<Vec<u8>, Errno> {
        // 16 KiB holds every set of x86-64 (AMX included) and of aarch64 up to 512-byte SVE.
        let mut buffer = vec![0; 16 << 10];
        let filled = request::regset(self.tid, kind, &mut buffer)?;
        buffer.truncate(filled);
        Ok(buffer)
    }

    /// Reads the signal information of the current stop.
    ///
    /// # Errors
    /// `EINVAL`: the stop is a group stop. `ESRCH`: gone or not stopped.
    pub fn siginfo(&self) -> Result<[u8; 128], Errno> {
        request::siginfo(self.tid)
    }

    /// Reads the signal mask the thread runs with in user mode.
    ///
    /// # Errors
    /// `ESRCH`: the thread is gone or not stopped.
    pub fn signal_mask(&self) -> Result<u64, Errno> {
        request::signal_mask(self.tid)
    }

    /// Reads the value the current event carries: a new thread's id, an exit status.
    ///
    /// # Errors
    /// `ESRCH`: the thread is gone or not stopped.
    pub fn event_message(&self) -> Result<u64, Errno> {
        request::event_message(self.tid)
    }
}

impl Drop for Tracee {
    fn drop(&mut self) {
        if self.stopped {
            // A failure means that the thread is gone: there is nothing left to let go.
            let _ = request::detach(self.tid, 0);
        }
    }
}
