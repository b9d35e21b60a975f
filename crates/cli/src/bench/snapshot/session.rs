//! The order of things in a run: start a target, mark, wait, mark, dump, mark; the disk by itself.
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
use super::{Args, PageKind, disk};

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
        let tools = [Tool::Faultless, Tool::Cached, Tool::Gcore];
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

    /// Measures all tools on targets of one kind, and the disk beside them.
    fn measure(&self, size: Bytes, pages: PageKind) -> Result<Case, Failure> {
        let mut case = Case::new(size, pages);
        // The disk comes last in the first round: by then a snapshot has shown how much to write.
        let tools = self.tools.iter().copied().map(Turn::Tool);
        let mut turns: Vec<Turn> = tools.chain([Turn::Disk]).collect();
        let a_round = turns.len();
        let mut taken = 0;
        let mut target = None;
        interleave(&mut turns, 0, self.args.rounds.into(), |turn| {
            if self.cancel.load(Ordering::Relaxed) {
                return Err(Failure::new(Exit::Peer, "interrupted"));
            }
            if taken % a_round == 0 {
                // The old one goes first: two would need twice the memory.
                drop(target.take());
                target = Some(Target::start(size, pages)?);
            }
            taken += 1;
            let target = target.as_mut().expect("started in the first place of a round");
            self.take(*turn, target, &mut case)
        })?;
        Ok(case)
    }

    /// Takes one turn and adds what it showed to the case.
    fn take(&self, turn: Turn, target: &mut Target, case: &mut Case) -> Result<(), Failure> {
        match turn {
            Turn::Tool(tool) => case.add(tool, self.sample(tool, target)?),
            Turn::Disk => {
                let bytes = case.stored_by_snapshot().expect("the first turn is a snapshot");
                case.add_disk(disk::write(&self.folder.0, bytes, self.cancel)?);
            }
        }
        Ok(())
    }

    /// Watches the target undisturbed, then while the tool works.
    fn sample(&self, tool: Tool, target: &mut Target) -> Result<Sample, Failure> {
        let huge_share = target.huge_share();
        target.mark()?;
        thread::sleep(BASELINE);
        let before = target.mark()?;
        let dump = tool.dump(target.pid(), &self.folder.0, self.args.buffer)?;
        let during = target.mark()?;
        let core = dump.settle_and_remove()?;
        Ok(Sample { before, during, huge_share, dump, core })
    }
}

/// What is measured once a round.
#[derive(Clone, Copy)]
enum Turn {
    /// A tool dumps the target.
    Tool(Tool),
    /// The disk takes as much as a snapshot wrote to it.
    Disk,
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
