//! A child that waits to be tried on, with the rights of this process.

use std::io::{self, Read as _, Write as _};
use std::process::{Child, Command, Stdio};

use crate::exit::{Exit, Failure};
use crate::output;

/// Wait for the end of standard input, as the child doctor attaches to.
#[derive(clap::Args)]
pub(crate) struct IdleArgs {}

/// Says that it runs, then waits until the parent lets go.
pub(crate) fn idle() -> Result<Exit, Failure> {
    output::bytes(|out| out.write_all(b"."))?;
    io::stdin()
        .read_to_end(&mut Vec::new())
        .map(|_| Exit::Done)
        .map_err(|error| Failure::new(Exit::Peer, format_args!("standard input: {error}")))
}

/// A waiting child; it ends when this is dropped.
pub(super) struct Idler(Child);

impl Idler {
    /// Starts one and waits until it runs: `spawn` returns while the program is being replaced,
    /// and what is attached to then is neither the old one nor the new.
    pub(super) fn start() -> io::Result<Idler> {
        let mut idler = Command::new(std::env::current_exe()?)
            .arg("__idle")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .map(Idler)?;
        let stdout = idler.0.stdout.as_mut().expect("it is piped");
        stdout.read_exact(&mut [0])?;
        Ok(idler)
    }

    /// Returns its process id.
    pub(super) fn pid(&self) -> u32 {
        self.0.id()
    }
}

impl Drop for Idler {
    fn drop(&mut self) {
        // The end of its standard input would do as well; a child that was broken by the trial
        // must not keep doctor waiting.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
