//! The ways to a userfaultfd, each taken by itself.

use faultless_uffd::{Attempt, Described, OpenOptions, Route, Step, Uffd, probe};
use rustix::io::Errno;
use serde::Serialize;

use super::probe::Probe;
use super::rights::Seccomp;
use super::tried::Tried;

/// What came of each way.
#[derive(Debug, Serialize)]
pub(crate) struct Routes {
    pub(crate) device: Tried,
    pub(crate) syscall: Tried,
    pub(crate) syscall_user_mode_only: Tried,
}

impl Routes {
    /// Takes every way.
    pub(super) fn try_all(seccomp: Seccomp) -> Routes {
        Routes {
            device: Probe::Device.attempt(seccomp),
            syscall: Probe::Syscall.attempt(seccomp),
            syscall_user_mode_only: Probe::SyscallUserModeOnly.attempt(seccomp),
        }
    }

    /// Says whether any way leads to a userfaultfd. Where none does, taking one again might end
    /// the program: a filter may kill.
    pub(super) fn any(&self) -> bool {
        let ways = [&self.device, &self.syscall, &self.syscall_user_mode_only];
        ways.into_iter().any(Tried::works)
    }

    /// Asks the kernel for its features; `None` where it cannot be asked.
    pub(super) fn features(&self) -> Option<u64> {
        let capabilities = self.any().then(probe)?.ok()?;
        Some(capabilities.features.bits())
    }
}

pub(super) fn device() -> Tried {
    take(Route::Device)
}

pub(super) fn syscall() -> Tried {
    take(Route::Syscall)
}

pub(super) fn syscall_user_mode_only() -> Tried {
    take(Route::SyscallUserModeOnly)
}

fn take(route: Route) -> Tried {
    match Uffd::open_by(route, &OpenOptions::default()) {
        Ok(_) => Tried::Works,
        Err(attempt) => refused(attempt),
    }
}

/// Says which of the steps was refused where the route has more than one.
fn refused(attempt: Attempt) -> Tried {
    let answer = Described(attempt.errno);
    let cause = match (attempt.step, attempt.errno) {
        (Step::OpenDevice, Errno::NOENT) => format!("not there: {answer}"),
        (Step::NewOnDevice, _) => format!("it opens, but makes no userfaultfd: {answer}"),
        _ => answer.to_string(),
    };
    Tried::fails(attempt.errno, cause)
}
