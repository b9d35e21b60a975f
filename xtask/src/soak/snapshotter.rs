//! Runs `faultless snapshot` and reads its report.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use faultless_image::core::CoreFile;

use super::child::{Collected, Ended};

/// No snapshot takes this long; one that does hangs.
pub(crate) const LIMIT: Duration = Duration::from_secs(300);

/// What `faultless snapshot --json` says, as far as soaks look at it.
#[derive(Clone, Debug, serde::Deserialize)]
pub(crate) struct Report {
    /// How long the process stood still.
    pub(crate) pause_ns: u64,
    /// From start to end.
    pub(crate) total_ns: u64,
    /// Writes of the process that had to wait for their page.
    pub(crate) faults: u64,
    /// Pages freed by the process before they were saved.
    pub(crate) freed_pages: u64,
}

/// The program under test.
pub(crate) struct Snapshotter {
    program: PathBuf,
    extra: Vec<String>,
}

impl Snapshotter {
    /// Makes one of the program at `program`; `extra` arguments go to every snapshot.
    pub(crate) fn new(program: PathBuf, extra: &[String]) -> Snapshotter {
        Snapshotter { program, extra: extra.to_vec() }
    }

    /// Starts a snapshot and returns at once.
    pub(crate) fn start(&self, pid: u32, output: &Path) -> Result<Collected> {
        let mut command = Command::new(&self.program);
        command.args(["snapshot", "--json", &pid.to_string(), "-o"]).arg(output);
        Collected::start(command.args(&self.extra))
    }

    /// Takes a whole snapshot.
    pub(crate) fn take(&self, pid: u32, output: &Path) -> Result<Report> {
        let ended = self.start(pid, output)?.end_within(LIMIT)?;
        report(&ended)
    }
}

/// Reads the report of a snapshot that ended.
pub(crate) fn report(ended: &Ended) -> Result<Report> {
    let Ended { status, stdout, stderr } = ended;
    ensure!(status.success(), "the snapshot ended with {status}: {}", stderr.trim());
    serde_json::from_str(stdout).with_context(|| format!("the report is not readable: {stdout}"))
}

/// Opens a core and compares it with its own checksums; a core without any passes.
pub(crate) fn open_undamaged(file: &Path) -> Result<CoreFile> {
    let core = CoreFile::open(file)?;
    let problems: Vec<String> =
        core.verify(|_| {})?.problems.iter().map(ToString::to_string).collect();
    ensure!(problems.is_empty(), "{} is damaged: {}", file.display(), problems.join("; "));
    Ok(core)
}
