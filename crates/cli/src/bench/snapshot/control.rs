//! The bench's handle on its target process.
//!
//! [`Target::start`] runs `target` as a child of this program; [`Target::mark`] asks it what has
//! happened since the last mark. Called by the parent module.
//!
//! *Invariant*: the child ends with the handle, whatever state a tool left it in.

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::mpsc::{self, Receiver};
use std::thread;
use std::time::Duration;

use faultless_pages::Bytes;

use crate::exit::{Exit, Failure};

use super::PageKind;
use super::target::Interval;

/// How long an answer may take. Filling a gigabyte takes seconds on a slow host; a target that is
/// silent for minutes has been left stopped.
const PATIENCE: Duration = Duration::from_secs(300);

/// A running target; killed on drop.
pub(super) struct Target {
    child: Child,
    requests: ChildStdin,
    answers: Receiver<Interval>,
}

impl Target {
    /// Starts a target and waits until its memory is full and its threads run.
    ///
    /// # Errors
    /// [`Exit::Host`] if the process cannot be started, [`Exit::Peer`] if it ends at once (its own
    /// words are on stderr then).
    pub(super) fn start(size: Bytes, pages: PageKind) -> Result<Target, Failure> {
        let mut child = Command::new(super::this_program()?)
            .args(["bench", "__target", "--size", &size.0.to_string()])
            .args(["--pages", pages.name()])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .map_err(|error| Failure::new(Exit::Host, format_args!("target process: {error}")))?;
        let (Some(requests), Some(stdout)) = (child.stdin.take(), child.stdout.take()) else {
            unreachable!("both were asked to be pipes");
        };
        let mut target = Target { child, requests, answers: listen(stdout) };
        target.mark()?;
        Ok(target)
    }

    /// Returns the target's process id.
    pub(super) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Returns what happened to the target since the last mark, as it saw it.
    ///
    /// # Errors
    /// [`Exit::Peer`] if the target is gone or does not answer.
    pub(super) fn mark(&mut self) -> Result<Interval, Failure> {
        // A target that is gone shows below: its answers end.
        let _ = self.requests.write_all(b"mark\n");
        self.answers.recv_timeout(PATIENCE).map_err(|error| {
            let pid = self.pid();
            Failure::new(Exit::Peer, format_args!("target process {pid}: no answer ({error})"))
        })
    }

    /// Returns the share of the target's anonymous memory that sits in huge pages, 0 to 1.
    pub(super) fn huge_share(&self) -> f64 {
        let path = format!("/proc/{}/smaps_rollup", self.pid());
        huge_share(&fs::read_to_string(path).unwrap_or_default())
    }
}

impl Drop for Target {
    fn drop(&mut self) {
        // Both fail only for a process that has already ended.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Collects answers on a thread of its own, so that waiting for one can end.
fn listen(stdout: ChildStdout) -> Receiver<Interval> {
    let (sender, receiver) = mpsc::channel();
    thread::spawn(move || {
        for line in BufReader::new(stdout).lines().map_while(Result::ok) {
            let Ok(interval) = serde_json::from_str(&line) else { break };
            if sender.send(interval).is_err() {
                break;
            }
        }
    });
    receiver
}

fn huge_share(rollup: &str) -> f64 {
    let kib = |key: &str| -> Option<f64> {
        let line = rollup.lines().find_map(|line| line.strip_prefix(key))?;
        line.trim().strip_suffix(" kB")?.parse().ok()
    };
    match (kib("AnonHugePages:"), kib("Anonymous:")) {
        (Some(huge), Some(all)) if all > 0.0 => huge / all,
        _ => 0.0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn huge_share_is_of_anonymous_memory() {
        let rollup = "Rss: 9000 kB\nAnonymous:          8192 kB\nAnonHugePages:      2048 kB\n";
        assert!((huge_share(rollup) - 0.25).abs() < 1e-9);
        assert!(huge_share("").abs() < 1e-9);
    }
}
