//! The driver's side of a process: starting it, ending it, what can go wrong.
//!
//! Everything here is safe: whatever a puppet is told to do, it does to itself.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::process::{Command, Stdio};
use std::time::Duration;

use rustix::io::Errno;
use rustix::process::{
    Pid, PidfdFlags, Signal, WaitId, WaitIdOptions, pidfd_open, pidfd_send_signal, waitid,
};
use thiserror::Error;

use super::access;
use super::channel::Channel;
use super::hand::{Hand, Newborn, readable};
use super::protocol::PUPPET_ARGUMENT;

/// How long a killed puppet may take to die; generous, for emulated machines.
const FAREWELL_PATIENCE: Duration = Duration::from_secs(60);

/// Why a puppet could not be driven.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum PuppetError {
    /// A resource of the driver was refused.
    #[error("cannot {what} for a puppet: {source}; check the limits on processes and files")]
    Setup {
        /// What was tried.
        what: &'static str,
        /// The kernel's answer.
        source: io::Error,
    },
    /// The puppet is gone or closed its channel.
    #[error("puppet thread {tid} is gone; a fault outside its access loop or a kill ended it")]
    Gone {
        /// The thread that was spoken to; 0 before it greeted.
        tid: u32,
    },
    /// A new puppet did not greet.
    #[error(
        "a puppet did not greet in time; call faultless_uffd::puppet::serve_if_asked() first \
         thing in main"
    )]
    NoGreeting,
    /// The thread has not answered the request before.
    #[error("puppet thread {tid} was asked again before it answered")]
    Busy {
        /// The thread.
        tid: u32,
    },
    /// No access loop exists for this processor.
    #[error("puppets have no access loop for this processor; x86-64 and aarch64 have one")]
    Unsupported,
}

impl PuppetError {
    pub(super) fn setup(what: &'static str, errno: Errno) -> PuppetError {
        PuppetError::Setup { what, source: errno.into() }
    }
}

/// A process that exists to be broken; it and all its threads end when this is dropped.
#[derive(Debug)]
pub struct Puppet {
    pid: u32,
    pidfd: OwnedFd,
}

impl Puppet {
    /// Starts a puppet with one thread and waits for its greeting.
    ///
    /// # Errors
    /// [`PuppetError::Setup`] when the process cannot be made, [`PuppetError::NoGreeting`] when
    /// `main` of this program does not call [`serve_if_asked`](super::serve_if_asked).
    pub fn spawn() -> Result<(Puppet, Hand), PuppetError> {
        if !access::SUPPORTED {
            return Err(PuppetError::Unsupported);
        }
        let (ours, theirs) =
            Channel::pair().map_err(|errno| PuppetError::setup("make a channel", errno))?;
        // A deleted or replaced program file does not matter: the link names the open one.
        let child = Command::new("/proc/self/exe")
            .arg(PUPPET_ARGUMENT)
            .stdin(Stdio::from(theirs.into_fd()))
            .stdout(Stdio::null())
            .spawn()
            .map_err(|source| PuppetError::Setup { what: "start a process", source })?;
        let puppet = Puppet::adopt(child.id())?;
        let hand = Newborn(ours).greet()?;
        Ok((puppet, hand))
    }

    /// Takes charge of a child process.
    pub(super) fn adopt(pid: u32) -> Result<Puppet, PuppetError> {
        let raw = i32::try_from(pid).ok().and_then(Pid::from_raw);
        let raw = raw.ok_or(PuppetError::Gone { tid: pid })?;
        let pidfd = pidfd_open(raw, PidfdFlags::empty())
            .map_err(|errno| PuppetError::setup("open a pidfd", errno))?;
        Ok(Puppet { pid, pidfd })
    }

    /// The process id.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.pid
    }

    /// Lets others end the process, too: whoever drives it may be stuck with it.
    ///
    /// # Errors
    /// [`PuppetError::Setup`] when there is no descriptor left.
    pub fn leash(&self) -> Result<Leash, PuppetError> {
        let pidfd = self.pidfd.try_clone();
        pidfd.map(Leash).map_err(|source| PuppetError::Setup { what: "copy a pidfd", source })
    }

    /// Says whether the process has ended.
    #[must_use]
    pub fn has_ended(&self) -> bool {
        readable(self.pidfd.as_fd(), Duration::ZERO)
    }

    /// Kills the process and waits until it is gone, its memory with it.
    ///
    /// A process the kernel cannot end is left behind after a while rather than waited for.
    pub fn kill(&mut self) {
        // ESRCH only: it was ended before.
        let _ = pidfd_send_signal(&self.pidfd, Signal::KILL);
        if readable(self.pidfd.as_fd(), FAREWELL_PATIENCE) {
            // ECHILD only: it was reaped before.
            let _ = waitid(WaitId::PidFd(self.pidfd.as_fd()), WaitIdOptions::EXITED);
        }
    }
}

/// Ends a puppet from elsewhere.
#[derive(Debug)]
pub struct Leash(OwnedFd);

impl Leash {
    /// Kills the process, and waits for nothing.
    pub fn pull(&self) {
        // ESRCH only: it was ended before.
        let _ = pidfd_send_signal(&self.0, Signal::KILL);
    }
}

impl Drop for Puppet {
    fn drop(&mut self) {
        self.kill();
    }
}
