//! What a snapshot uses besides userfaultfd, each really tried: on this process, and attaching
//! on a child.

use std::os::fd::AsRawFd as _;

use faultless_uffd::attach;
use rustix::process::{PidfdFlags, PidfdGetfdFlags, getpid, pidfd_getfd, pidfd_open};
use serde::Serialize;

use super::child::Idler;
use super::probe::Probe;
use super::rights::Seccomp;
use super::tried::Tried;

/// What came of each try.
#[derive(Debug, Serialize)]
pub(crate) struct Tools {
    /// Opening a userfaultfd on another process.
    pub(crate) attach: Tried,
    pub(crate) pidfd_open: Tried,
    pub(crate) pidfd_getfd: Tried,
}

/// Tries everything.
pub(super) fn try_all(seccomp: Seccomp) -> Tools {
    Tools {
        attach: Probe::Attach.attempt(seccomp),
        pidfd_open: Probe::PidfdOpen.attempt(seccomp),
        pidfd_getfd: Probe::PidfdGetfd.attempt(seccomp),
    }
}

/// Opens a userfaultfd on a child.
pub(super) fn attach() -> Tried {
    let child = match Idler::start() {
        Ok(child) => child,
        Err(error) => return Tried::untried(format!("no child to try it on: {error}")),
    };
    match attach::attach(child.pid()) {
        Ok(_) => Tried::Works,
        Err(error) => Tried::Fails { errno: None, cause: error.to_string() },
    }
}

/// Opens a descriptor of this process.
pub(super) fn pidfd_open_self() -> Tried {
    Tried::from_errno(pidfd_open(getpid(), PidfdFlags::empty()).map(drop))
}

/// Fetches a descriptor through a descriptor of this process.
pub(super) fn pidfd_getfd_self() -> Tried {
    Tried::from_errno(pidfd_open(getpid(), PidfdFlags::empty()).and_then(|pidfd| {
        pidfd_getfd(&pidfd, pidfd.as_raw_fd(), PidfdGetfdFlags::empty()).map(drop)
    }))
}
