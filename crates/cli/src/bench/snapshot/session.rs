//! The order of things in a run: start a target, mark, wait, mark, dump, mark.
//!
//! [`Session`] measures all cases. Called by the parent module.
//!
//! *Invariant*: each round has a fresh target. A snapshot write-protects single pages, which
//! splits huge ones; the next round must not measure what the last one left.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use faultless_pages::Bytes;

use crate::bench::rounds::interleave;
use crate::exit::{Exit, Failure};

use super::control::Target;
use super::figures::{Case, Sample};
use super::tools::Tool;
use super::{Args, PageKind};

/// How long the undisturbed target is watched before a tool starts.
const BASELINE: Duration = Duration::from_millis(1000);

/// What lasts as long as the measurement.
pub(super) struct Session<'a> {
    args: &'a Args,
    tools: Vec<Tool>,
    folder: Folder,
    /// Set when the user wants the measurement to end.
    cancel: &'a AtomicBool,
}

impl<'a> Session<'a> {
    /// Finds the tools and makes the folder their cores go to.
    ///
    /// # Errors
    /// [`Exit::Peer`] if the folder cannot be made.
    pub(super) fn new(args: &'a Args, cancel: &'a AtomicBool) -> Result<Session<'a>, Failure> {
        let tools = [Tool::Faultless, Tool::Gcore];
        Ok(Session {
            args,
            tools: tools.into_iter().filter(|tool| tool.is_installed()).collect(),
            folder: Folder::create(&args.folder)?,
            cancel,
        })
    }

    /// Measures every size of every kind of page.
    ///
    /// # Errors
    /// The first of a tool or a target ends the session.
    pub(super) fn measure_all(&self) -> Result<Vec<Case>, Failure> {
        let mut cases = Vec::new();
        for &pages in &self.args.pages {
            for &size in &self.args.sizes {
                cases.push(self.measure(size, pages)?);
            }
        }
        Ok(cases)
    }

    /// Measures all tools on targets of one kind.
    fn measure(&self, size: Bytes, pages: PageKind) -> Result<Case, Failure> {
        let mut dumps = 0;
        let mut target = None;
        let rounds = self.args.rounds.into();
        let samples = interleave(&mut self.tools.clone(), 0, rounds, |tool| {
            if dumps % self.tools.len() == 0 {
                // The old one goes first: two would need twice the memory.
                drop(target.take());
                target = Some(Target::start(size, pages)?);
            }
            dumps += 1;
            self.sample(*tool, target.as_mut().expect("started in the first place of a round"))
        })?;
        Ok(Case { size, pages, samples: self.tools.iter().copied().zip(samples).collect() })
    }

    /// Watches the target undisturbed, then while the tool works.
    fn sample(&self, tool: Tool, target: &mut Target) -> Result<Sample, Failure> {
        if self.cancel.load(Ordering::Relaxed) {
            return Err(Failure::new(Exit::Peer, "interrupted"));
        }
        let huge_share = target.huge_share();
        target.mark()?;
        thread::sleep(BASELINE);
        let before = target.mark()?;
        let dump = tool.dump(target.pid(), &self.folder.0, self.args.buffer)?;
        let during = target.mark()?;
        let (sync, core) = dump.sync_and_remove()?;
        Ok(Sample { before, during, huge_share, dump, sync, core })
    }
}

/// A folder of our own for core files; removed on drop with all that is in it.
struct Folder(PathBuf);

impl Folder {
    fn create(parent: &Path) -> Result<Folder, Failure> {
        let path = parent.join(format!("faultless-bench.{}", std::process::id()));
        fs::create_dir(&path).map_err(|error| {
            Failure::new(Exit::Peer, format_args!("{}: {error}", path.display()))
                .next("choose another --folder")
        })?;
        Ok(Folder(path))
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        // What cannot be removed now could not be reported either.
        let _ = fs::remove_dir_all(&self.0);
    }
}
