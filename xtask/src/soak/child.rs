//! A process of ours: never left running, never waited for without end.

use std::io::Read;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use rustix::process::{Pid, Signal, kill_process};

use crate::interrupt;

/// A started process; killed and waited for on drop.
pub(crate) struct Guarded {
    child: Child,
    name: String,
}

/// How a process ended and what it printed.
pub(crate) struct Ended {
    /// Its status.
    pub(crate) status: ExitStatus,
    /// Its standard output.
    pub(crate) stdout: String,
    /// Its standard error.
    pub(crate) stderr: String,
}

impl Guarded {
    /// Starts the process with its standard input closed.
    pub(crate) fn start(command: &mut Command) -> Result<Guarded> {
        let name = command.get_program().to_string_lossy().into_owned();
        let child =
            command.stdin(Stdio::null()).spawn().with_context(|| format!("cannot start {name}"))?;
        Ok(Guarded { child, name })
    }

    /// Returns its process id.
    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    /// Gives the child to whoever reads its pipes.
    pub(crate) fn child(&mut self) -> &mut Child {
        &mut self.child
    }

    /// Sends it a signal; it may have ended already.
    pub(crate) fn signal(&self, signal: Signal) {
        // Until it is waited for, nobody else can have its id.
        let _ = kill_process(Pid::from_child(&self.child), signal);
    }

    /// Says whether it has ended.
    pub(crate) fn has_ended(&mut self) -> Result<bool> {
        Ok(self.child.try_wait()?.is_some())
    }

    /// Waits for its end and passes a signal to us on to it.
    pub(crate) fn wait_passing_on(&mut self) -> Result<ExitStatus> {
        let mut passed_on = false;
        loop {
            if let Some(status) = self.child.try_wait()? {
                interrupt::check()?;
                return Ok(status);
            }
            if interrupt::number().is_some() && !passed_on {
                self.signal(Signal::TERM);
                passed_on = true;
            }
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// Waits for its end, for at most `limit`.
    pub(crate) fn wait_within(&mut self, limit: Duration) -> Result<ExitStatus> {
        let start = Instant::now();
        loop {
            if let Some(status) = self.child.try_wait()? {
                return Ok(status);
            }
            interrupt::check()?;
            if start.elapsed() > limit {
                bail!("{} (pid {}) still runs after {limit:?}", self.name, self.id());
            }
            std::thread::sleep(Duration::from_millis(2));
        }
    }
}

impl Drop for Guarded {
    fn drop(&mut self) {
        if matches!(self.child.try_wait(), Ok(None)) {
            self.signal(Signal::KILL);
            let _ = self.child.wait();
        }
    }
}

/// A process whose output is collected while it runs.
pub(crate) struct Collected {
    guarded: Guarded,
    stdout: Option<JoinHandle<String>>,
    stderr: Option<JoinHandle<String>>,
}

impl Collected {
    /// Starts the process with both outputs on pipes.
    pub(crate) fn start(command: &mut Command) -> Result<Collected> {
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut guarded = Guarded::start(command)?;
        let stdout = guarded.child().stdout.take().map(collect);
        let stderr = guarded.child().stderr.take().map(collect);
        Ok(Collected { guarded, stdout, stderr })
    }

    /// Returns the process itself.
    pub(crate) fn process(&mut self) -> &mut Guarded {
        &mut self.guarded
    }

    /// Waits for its end, for at most `limit`.
    pub(crate) fn end_within(mut self, limit: Duration) -> Result<Ended> {
        let status = self.guarded.wait_within(limit)?;
        let text = |reader: Option<JoinHandle<String>>| {
            reader.and_then(|thread| thread.join().ok()).unwrap_or_default()
        };
        Ok(Ended { status, stdout: text(self.stdout.take()), stderr: text(self.stderr.take()) })
    }
}

fn collect(mut pipe: impl Read + Send + 'static) -> JoinHandle<String> {
    std::thread::spawn(move || {
        let mut bytes = Vec::new();
        // A read error ends the text early; the status still tells how the process ended.
        let _ = pipe.read_to_end(&mut bytes);
        String::from_utf8_lossy(&bytes).into_owned()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_process_prints_and_returns_is_collected() {
        let mut command = Command::new("sh");
        command.args(["-c", "echo out; echo err >&2; exit 4"]);
        let ended = Collected::start(&mut command).unwrap().end_within(Duration::from_secs(20));
        let ended = ended.unwrap();
        assert_eq!(ended.status.code(), Some(4));
        assert_eq!((&*ended.stdout, &*ended.stderr), ("out\n", "err\n"));
    }

    #[test]
    fn a_process_that_hangs_is_reported_and_ended() {
        let mut process = Guarded::start(Command::new("sleep").arg("1000")).unwrap();
        let pid = process.id();
        assert!(process.wait_within(Duration::from_millis(20)).is_err());
        drop(process);
        assert!(!std::path::Path::new(&format!("/proc/{pid}")).exists());
    }
}
