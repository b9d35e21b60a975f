//! The single tries, each by name, so that one can be made in a process of its own.
//!
//! A seccomp filter may answer a forbidden call by ending the caller. Where a filter is
//! installed, each try is therefore made by a child (`faultless __try NAME`), and a child that is
//! ended by SIGSYS is an answer too.

use std::io::{self, Write as _};
use std::process::{Command, Stdio};

use clap::ValueEnum;
use rustix::io::Errno;

use super::rights::Seccomp;
use super::tried::Tried;
use super::{rehearsal, routes, tools};
use crate::exit::{Exit, Failure};
use crate::output;

/// Everything that may be refused by a filter.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Probe {
    Device,
    Syscall,
    SyscallUserModeOnly,
    PidfdOpen,
    PidfdGetfd,
    ProcessVmReadv,
    PagemapScan,
    Attach,
    Snapshot,
}

/// Make a single try and print the answer, for doctor itself.
#[derive(clap::Args)]
pub(crate) struct TryArgs {
    /// What to try
    probe: Probe,
}

/// Answers for doctor, as its child.
pub(crate) fn run(args: &TryArgs) -> Result<Exit, Failure> {
    let tried = args.probe.make();
    output::bytes(|out| {
        let errno = tried.errno().map_or(0, Errno::raw_os_error);
        write!(out, "{}\n{errno}\n{}", tried.cell(), tried.words())
    })
}

impl Probe {
    /// Tries, in a child where a filter might end the caller.
    pub(super) fn attempt(self, seccomp: Seccomp) -> Tried {
        match seccomp {
            Seccomp::Off => self.make(),
            _ => self.delegate().unwrap_or_else(|error| {
                Tried::untried(format!("no child could be started to try it: {error}"))
            }),
        }
    }

    /// Tries in this process.
    fn make(self) -> Tried {
        match self {
            Probe::Device => routes::device(),
            Probe::Syscall => routes::syscall(),
            Probe::SyscallUserModeOnly => routes::syscall_user_mode_only(),
            Probe::PidfdOpen => tools::pidfd_open_self(),
            Probe::PidfdGetfd => tools::pidfd_getfd_self(),
            Probe::ProcessVmReadv => tools::process_vm_readv_self(),
            Probe::PagemapScan => tools::pagemap_scan_self(),
            Probe::Snapshot => rehearsal::snapshot_of_child(),
            Probe::Attach => tools::attach_to_child(),
        }
    }

    /// Has a child try.
    fn delegate(self) -> io::Result<Tried> {
        use std::os::unix::process::ExitStatusExt as _;
        let name = self.to_possible_value().expect("no probe is skipped");
        let child = Command::new(std::env::current_exe()?)
            .args(["__try", name.get_name()])
            .stdin(Stdio::null())
            .stderr(Stdio::null())
            .output()?;
        if child.status.signal().is_some() {
            return Ok(Tried::fails(
                Errno::NOSYS,
                "a seccomp filter ends whoever tries it (SIGSYS)",
            ));
        }
        Ok(answer(&String::from_utf8_lossy(&child.stdout)))
    }
}

/// Reads what a child printed.
fn answer(text: &str) -> Tried {
    let mut lines = text.splitn(3, '\n');
    let (cell, errno, words) = (lines.next(), lines.next(), lines.next().unwrap_or_default());
    let errno = errno.and_then(|number| number.parse().ok()).filter(|&number| number != 0);
    match (cell, errno) {
        (Some("yes"), _) => Tried::Works,
        (Some("no"), Some(errno)) => Tried::fails(Errno::from_raw_os_error(errno), words),
        (Some("no"), None) => Tried::Fails { errno: None, cause: words.to_owned() },
        _ => Tried::untried(match words {
            "" => "the child that tried it gave no answer",
            words => words,
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_survives_the_pipe() {
        assert_eq!(answer("yes\n0\nworks"), Tried::Works);
        let refused = answer("no\n1\nrefused: (EPERM)");
        assert_eq!(refused.errno(), Some(Errno::PERM));
        assert_eq!(refused.words(), "refused: (EPERM)");
        assert!(matches!(answer(""), Tried::Untried { .. }));
    }
}
