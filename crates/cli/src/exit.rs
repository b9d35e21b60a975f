//! How the program ends: the exit codes, and errors that say what to do next.
//!
//! Callers: every command returns `Result<Exit, Failure>`; `main` turns it into a code.
//!
//! # Invariants
//! - A broken pipe on stdout ends the program silently, as it does for every other filter.
//! - Text on stderr is one line an error: `faultless: <thing>: <cause>; <next step>`.

use std::fmt::{self, Write as _};
use std::io::{self, Write as _};
use std::process::ExitCode;

/// What the program tells its caller, and nothing finer than a script can act on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Exit {
    /// 0: what was asked for is done, or the answer is yes.
    Done,
    /// 1: the question was understood and the answer is no.
    No,
    /// 2: the command line cannot be obeyed as it stands.
    Usage,
    /// 3: this host or this user lacks a capability that is needed.
    Host,
    /// 4: the other process, a file or a device is at fault.
    Peer,
    /// 5: a bug of faultless.
    Bug,
    /// 128 + n: ended by signal n.
    Signal(u8),
}

impl Exit {
    /// Returns the number the shell sees.
    pub(crate) const fn code(self) -> u8 {
        match self {
            Exit::Done => 0,
            Exit::No => 1,
            Exit::Usage => 2,
            Exit::Host => 3,
            Exit::Peer => 4,
            Exit::Bug => 5,
            Exit::Signal(number) => 128 + number,
        }
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> ExitCode {
        ExitCode::from(exit.code())
    }
}

/// The table of the codes, as help texts and the man page show it.
pub(crate) const CODES: &str = "\
Exit codes:
  0      done
  1      the answer is no (doctor: a snapshot would not work; inspect, image check: the
         file is damaged; conform: a behaviour diverges)
  2      the command line is wrong
  3      this host or this user lacks a capability
  4      the process, the file or the device is at fault
  5      a bug of faultless
  128+n  ended by signal n";

/// The number of SIGPIPE on every architecture Linux runs on.
const SIGPIPE: u8 = 13;

/// An error on its way to the user.
#[derive(Debug)]
pub(crate) struct Failure {
    exit: Exit,
    /// What was touched and why it did not work: `thing: cause`.
    message: String,
    /// What the user can do about it.
    next_step: Option<String>,
}

impl Failure {
    /// Makes an error out of what went wrong; `message` reads `thing: cause`.
    pub(crate) fn new(exit: Exit, message: impl fmt::Display) -> Failure {
        Failure { exit, message: message.to_string(), next_step: None }
    }

    /// Adds what the user can do about it.
    pub(crate) fn next(mut self, step: impl Into<String>) -> Failure {
        self.next_step = Some(step.into());
        self
    }

    /// Says how output to stdout failed.
    pub(crate) fn stdout(error: &io::Error) -> Failure {
        if error.kind() == io::ErrorKind::BrokenPipe {
            return Failure::new(Exit::Signal(SIGPIPE), "");
        }
        Failure::new(Exit::Peer, format_args!("standard output: {error}"))
    }

    /// Prints the error, unless there is nothing to say, and returns the code to end with.
    pub(crate) fn report(&self) -> Exit {
        if !self.message.is_empty() {
            // Where stderr is gone too there is nobody left to tell.
            let _ = writeln!(io::stderr(), "faultless: {self}");
        }
        self.exit
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)?;
        match &self.next_step {
            Some(step) => write!(f, "; {step}"),
            None => Ok(()),
        }
    }
}

impl std::error::Error for Failure {}

/// Takes an error nobody has classified for a lack of this host, unless a [`Failure`] is inside.
impl From<anyhow::Error> for Failure {
    fn from(error: anyhow::Error) -> Failure {
        error.downcast().unwrap_or_else(|error| Failure::new(Exit::Host, format_args!("{error:#}")))
    }
}

/// Makes a panic of any thread one readable line on stderr.
pub(crate) fn report_panics() {
    std::panic::set_hook(Box::new(|panic| {
        let mut line = String::from("faultless: internal error");
        if let Some(place) = panic.location() {
            let _ = write!(line, " at {}:{}", place.file(), place.line());
        }
        if let Some(cause) = panic.payload_as_str() {
            let _ = write!(line, ": {cause}");
        }
        let version = env!("CARGO_PKG_VERSION");
        let _ = writeln!(
            io::stderr(),
            "{line}; this is a bug of faultless {version}: please report it with this line"
        );
    }));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_names_the_thing_the_cause_and_the_next_step() {
        let failure = Failure::new(Exit::Host, "userfaultfd: refused").next("run as root");
        assert_eq!(failure.to_string(), "userfaultfd: refused; run as root");
        assert_eq!(failure.exit.code(), 3);
    }

    #[test]
    fn the_table_lists_every_code() {
        for exit in [Exit::Done, Exit::No, Exit::Usage, Exit::Host, Exit::Peer, Exit::Bug] {
            assert!(CODES.contains(&format!("\n  {}  ", exit.code())), "{exit:?}");
        }
        assert_eq!(Exit::Signal(2).code(), 130);
    }
}
