//! What a guest machine is asked to do, and the marks it puts around each job on its console.
//!
//! The host writes a [`Plan`] into the initramfs; [`super::guest`] carries it out and brackets
//! each job's output with marks; [`super::serial`] reads them back on the host.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// Where the plan lies in the initramfs.
pub(crate) const PLAN_PATH: &str = "/plan.json";

/// Starts every mark; nothing else a test prints begins like this.
const MARK: &str = "@@guest ";

/// The jobs of one boot, run one after the other.
#[derive(Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Plan {
    pub(crate) jobs: Vec<Job>,
    /// Environment of every job.
    pub(crate) env: BTreeMap<String, String>,
}

/// One command in the guest.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Job {
    /// One word, unique in its plan.
    pub(crate) name: String,
    pub(crate) argv: Vec<String>,
    /// Killed with everything it started after this long.
    pub(crate) timeout_s: u64,
}

/// A line the guest prints about the plan's progress.
#[derive(Debug, PartialEq)]
pub(crate) enum Mark {
    Begin {
        job: String,
    },
    End {
        job: String,
        outcome: Outcome,
    },
    /// All jobs have been run; the machine powers off next.
    Done,
}

/// How a job ended.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Outcome {
    Exit(i32),
    Signal(i32),
    TimedOut,
    /// The program could not be started.
    NotStarted,
}

impl std::fmt::Display for Mark {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Mark::Begin { job } => write!(f, "{MARK}begin {job}"),
            Mark::End { job, outcome } => write!(f, "{MARK}end {job} {outcome}"),
            Mark::Done => write!(f, "{MARK}done"),
        }
    }
}

impl std::fmt::Display for Outcome {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Outcome::Exit(code) => write!(f, "exit {code}"),
            Outcome::Signal(number) => write!(f, "signal {number}"),
            Outcome::TimedOut => write!(f, "timeout"),
            Outcome::NotStarted => write!(f, "not-started"),
        }
    }
}

impl Mark {
    /// Reads a mark from a console line; `None` for any other line.
    ///
    /// A mark may follow text on the same line: the job before it need not have ended its last one.
    pub(crate) fn parse(line: &str) -> Option<Mark> {
        let (_, text) = line.split_once(MARK)?;
        let words: Vec<&str> = text.split_whitespace().collect();
        match words[..] {
            ["begin", job] => Some(Mark::Begin { job: job.to_owned() }),
            ["end", job, ref outcome @ ..] => {
                Some(Mark::End { job: job.to_owned(), outcome: parse_outcome(outcome)? })
            }
            ["done"] => Some(Mark::Done),
            _ => None,
        }
    }
}

fn parse_outcome(words: &[&str]) -> Option<Outcome> {
    match *words {
        ["exit", code] => Some(Outcome::Exit(code.parse().ok()?)),
        ["signal", number] => Some(Outcome::Signal(number.parse().ok()?)),
        ["timeout"] => Some(Outcome::TimedOut),
        ["not-started"] => Some(Outcome::NotStarted),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_mark_reads_back_as_written() {
        let job = || "conformance".to_owned();
        for mark in [
            Mark::Begin { job: job() },
            Mark::End { job: job(), outcome: Outcome::Exit(101) },
            Mark::End { job: job(), outcome: Outcome::Signal(9) },
            Mark::End { job: job(), outcome: Outcome::TimedOut },
            Mark::End { job: job(), outcome: Outcome::NotStarted },
            Mark::Done,
        ] {
            assert_eq!(Mark::parse(&mark.to_string()), Some(mark));
        }
    }

    #[test]
    fn a_mark_is_found_behind_an_unfinished_line() {
        assert_eq!(Mark::parse("half a line@@guest done"), Some(Mark::Done));
    }

    #[test]
    fn other_lines_and_broken_marks_are_no_marks() {
        for line in ["", "test result: ok.", "@@guest", "@@guest end", "@@guest end a exit x"] {
            assert_eq!(Mark::parse(line), None, "{line:?}");
        }
    }
}
