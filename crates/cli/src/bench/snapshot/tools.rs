//! The tools under test, run as a user runs them: as programs, on a process id.
//!
//! [`Tool::dump`] takes one core of a process and says what the tool itself cost. Called by the
//! parent module between two marks of the target.

use std::collections::BTreeMap;
use std::env;
use std::fs;
use std::io::Read;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use serde::Deserialize;

use faultless_pages::Bytes;

use crate::exit::{Exit, Failure};

/// How often the memory of a running tool is read; its high-water mark is the kernel's, so only
/// growth in the last such moment of its life can be missed.
const WATCH: Duration = Duration::from_millis(10);
/// The unit `stat` counts room on a disk in, whatever the file system's own is.
const BLOCK: u64 = 512;

/// A program that writes core files of running processes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Tool {
    /// `faultless snapshot`, whose core is on the disk when it ends.
    Faultless,
    /// `faultless snapshot --no-sync`, which leaves its core to the page cache as gcore does.
    Cached,
    /// gdb's `gcore`.
    Gcore,
}

/// What a tool reported and cost.
#[derive(Debug)]
pub(super) struct Dump {
    /// From start to exit of the tool.
    pub(super) total: Duration,
    /// The core file.
    pub(super) core: PathBuf,
    /// Most memory resident in the tool at once; zero for gcore, whose work is done by a child.
    pub(super) peak_rss: Bytes,
    /// The tool's own figures, if it prints them.
    pub(super) own: Option<OwnReport>,
}

/// A core that was brought to the disk.
#[derive(Clone, Copy, Debug)]
pub(super) struct Settled {
    /// How long that took after the tool had ended.
    pub(super) sync: Duration,
    /// Length of the core, holes included.
    pub(super) length: Bytes,
    /// What of it takes room on the disk.
    pub(super) stored: Bytes,
}

/// The members of `faultless snapshot --json` that the bench reports.
#[derive(Clone, Debug, Deserialize)]
pub(super) struct OwnReport {
    /// The pause as the snapshot saw it.
    pub(super) pause_ns: u64,
    /// What the pause was spent on, in nanoseconds.
    pub(super) pause: BTreeMap<String, u64>,
    /// Writes that had to wait for their page to be saved.
    pub(super) faults: u64,
    /// Most bytes held ahead of the disk.
    pub(super) peak_buffer_bytes: u64,
}

impl Tool {
    /// Returns the name it has in the report.
    pub(super) const fn name(self) -> &'static str {
        match self {
            Tool::Faultless => "faultless",
            Tool::Cached => "--no-sync",
            Tool::Gcore => "gcore",
        }
    }

    /// Says whether the tool is installed.
    pub(super) fn is_installed(self) -> bool {
        match self {
            Tool::Faultless | Tool::Cached => true,
            Tool::Gcore => is_on_path(self.name(), &env::var_os("PATH").unwrap_or_default()),
        }
    }

    /// Takes a core of process `pid` into `folder`.
    ///
    /// # Errors
    /// [`Exit::Host`] if the tool cannot be started, [`Exit::Peer`] with its last words if it
    /// fails.
    pub(super) fn dump(self, pid: u32, folder: &Path, buffer: Bytes) -> Result<Dump, Failure> {
        let (mut command, core) = self.command(pid, folder, buffer)?;
        let begin = Instant::now();
        let mut child = command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .map_err(|error| Failure::new(Exit::Host, format_args!("{}: {error}", self.name())))?;
        let (status, peak_rss) = watch(&mut child)
            .map_err(|error| Failure::new(Exit::Host, format_args!("{}: {error}", self.name())))?;
        let total = begin.elapsed();
        self.check(status, &mut child)?;
        let is_ours = self != Tool::Gcore;
        Ok(Dump {
            total,
            core,
            peak_rss: if is_ours { peak_rss } else { Bytes::ZERO },
            own: if is_ours { Some(own_report(&mut child)?) } else { None },
        })
    }

    /// Returns the command line and the path of the core it will write.
    fn command(
        self,
        pid: u32,
        folder: &Path,
        buffer: Bytes,
    ) -> Result<(Command, PathBuf), Failure> {
        let pid = pid.to_string();
        let prefix = folder.join(self.name());
        let core = folder.join(format!("{}.{pid}", self.name()));
        let command = match self {
            Tool::Faultless | Tool::Cached => {
                let mut command = Command::new(super::this_program()?);
                command.args(["snapshot", &pid, "--json", "--force", "--buffer"]);
                command.arg(buffer.0.to_string()).arg("-o").arg(&core);
                if self == Tool::Cached {
                    command.arg("--no-sync");
                }
                command
            }
            Tool::Gcore => {
                let mut command = Command::new(self.name());
                command.arg("-o").arg(&prefix).arg(&pid);
                command
            }
        };
        Ok((command, core))
    }

    fn check(self, status: ExitStatus, child: &mut Child) -> Result<(), Failure> {
        if status.success() {
            return Ok(());
        }
        let mut story = String::new();
        if let Some(stderr) = child.stderr.as_mut() {
            // What cannot be read is simply not part of the message.
            let _ = stderr.read_to_string(&mut story);
        }
        let last_words = story.trim().lines().last().unwrap_or("no message").to_owned();
        Err(Failure::new(Exit::Peer, format_args!("{}: {status}: {last_words}", self.name())))
    }
}

impl Dump {
    /// Brings the core to the disk, which a tool may leave to the kernel, and removes it.
    ///
    /// # Errors
    /// [`Exit::Peer`] if the tool has left no core, or the disk refuses it.
    pub(super) fn settle_and_remove(&self) -> Result<Settled, Failure> {
        let failed = |error: std::io::Error| {
            Failure::new(Exit::Peer, format_args!("{}: {error}", self.core.display()))
        };
        let file = fs::File::open(&self.core).map_err(failed)?;
        let begin = Instant::now();
        file.sync_all().map_err(failed)?;
        let sync = begin.elapsed();
        let found = file.metadata().map_err(failed)?;
        // The folder goes with the bench; what matters here is the room for the next core.
        let _ = fs::remove_file(&self.core);
        Ok(Settled { sync, length: Bytes(found.len()), stored: Bytes(found.blocks() * BLOCK) })
    }
}

/// Waits for a process; returns how it ended and its high-water mark.
///
/// Its output stays in the pipes until it has ended: both tools print far less than a pipe holds.
fn watch(child: &mut Child) -> std::io::Result<(ExitStatus, Bytes)> {
    let path = format!("/proc/{}/status", child.id());
    let mut peak = Bytes::ZERO;
    loop {
        if let Some(status) = child.try_wait()? {
            return Ok((status, peak));
        }
        peak = peak.max(high_water(&fs::read_to_string(&path).unwrap_or_default()));
        thread::sleep(WATCH);
    }
}

/// Reads `VmHWM` of a `/proc/PID/status`; zero once the memory is gone.
fn high_water(status: &str) -> Bytes {
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let kib = line.and_then(|value| value.trim().strip_suffix(" kB")?.parse().ok());
    Bytes::kib(kib.unwrap_or(0))
}

fn own_report(child: &mut Child) -> Result<OwnReport, Failure> {
    let mut text = String::new();
    if let Some(stdout) = child.stdout.as_mut() {
        stdout
            .read_to_string(&mut text)
            .map_err(|error| Failure::new(Exit::Peer, format_args!("report: {error}")))?;
    }
    serde_json::from_str(&text)
        .map_err(|error| Failure::new(Exit::Bug, format_args!("report of the snapshot: {error}")))
}

fn is_on_path(name: &str, path: &std::ffi::OsStr) -> bool {
    env::split_paths(path).any(|folder| folder.join(name).is_file())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_high_water_mark_is_in_kib() {
        assert_eq!(high_water("Name:\tx\nVmHWM:\t    1024 kB\nVmRSS:\t 1 kB\n"), Bytes::mib(1));
        assert_eq!(high_water("State:\tZ (zombie)\n"), Bytes::ZERO);
    }

    #[test]
    fn the_own_report_tolerates_members_it_does_not_need() {
        let text = r#"{"pid":1,"pause_ns":5,"pause":{"scan":3,"protect":2},"faults":2,
            "peak_buffer_bytes":4096,"file":"x"}"#;
        let own: OwnReport = serde_json::from_str(text).expect("a report");
        assert_eq!((own.pause_ns, own.faults, own.peak_buffer_bytes), (5, 2, 4096));
        assert_eq!(own.pause["scan"], 3);
    }

    #[test]
    fn a_program_is_looked_up_in_every_folder_of_the_path() {
        assert!(is_on_path("sh", "/nonexistent:/bin".as_ref()));
        assert!(!is_on_path("sh", "/nonexistent".as_ref()));
    }

    #[test]
    fn a_failed_tool_is_quoted() {
        let mut child = Command::new("sh")
            .args(["-c", "echo story >&2; echo 'no such process' >&2; exit 3"])
            .stderr(Stdio::piped())
            .spawn()
            .expect("a shell");
        let (status, _) = watch(&mut child).expect("a child of ours");
        let failure = Tool::Gcore.check(status, &mut child).expect_err("it failed");
        let text = failure.to_string();
        assert!(text.starts_with("gcore: exit status: 3: no such process"), "{text}");
    }
}
