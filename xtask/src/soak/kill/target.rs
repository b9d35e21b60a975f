//! Kills the target at random moments; the snapshotter must notice and say so.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result, ensure};

use super::Args;
use crate::soak::artifacts::{self, STAMPER};
use crate::soak::chance::Chance;
use crate::soak::child::Ended;
use crate::soak::scratch::Scratch;
use crate::soak::snapshotter::{self, LIMIT, Report, Snapshotter};
use crate::soak::target::Target;

/// The exit code for "the process is at fault".
const PEER_AT_FAULT: i32 = 4;

/// Runs `args.runs` kills; fails at the first snapshotter that hangs, lies or leaves a file.
pub(super) fn run(args: &Args, program: PathBuf) -> Result<()> {
    let snapshotter = Snapshotter::new(program, &args.extra);
    let stamper = artifacts::c_target(&STAMPER)?;
    let scratch = Scratch::new(args.dir.as_deref())?;
    let mut chance = Chance::start(args.seed);
    // How long a snapshot takes; known better after every one that is not cut short.
    let mut total = Duration::from_millis(200);
    let mut whole = 0;
    for run in 0..args.runs {
        let seed = chance.below(1 << 30);
        let options = format!("--size {} --seed {seed}", args.size);
        let options: Vec<String> = options.split(' ').map(str::to_owned).collect();
        let target = Target::stamper(&stamper, &options)?;
        let snapshot = snapshotter.start(target.pid(), &scratch.path().join("killed.core"))?;
        std::thread::sleep(chance.moment(total));
        target.kill();
        let ended = snapshot.end_within(LIMIT).context("after its target was killed")?;
        if let Some(report) = judge(&ended, &scratch).with_context(|| format!("run {run}"))? {
            whole += 1;
            total = (total + Duration::from_nanos(report.total_ns)) / 2;
        }
        scratch.empty()?;
    }
    println!("kills of the target     {:>6}", args.runs);
    println!("  after the snapshot    {whole:>6}");
    println!("every other snapshot said so, returned {PEER_AT_FAULT}, and left no file");
    Ok(())
}

/// Returns the report if the snapshot was whole before the kill; otherwise it must have failed
/// cleanly.
fn judge(ended: &Ended, scratch: &Scratch) -> Result<Option<Report>> {
    let names = scratch.names()?;
    if ended.status.success() {
        ensure!(names == ["killed.core"], "a whole snapshot left {names:?}");
        return snapshotter::report(ended).map(Some);
    }
    let said = ended.stderr.trim();
    let code = ended.status.code();
    ensure!(code == Some(PEER_AT_FAULT), "it ended with {}, saying: {said}", ended.status);
    ensure!(said.lines().any(|line| line.starts_with("faultless: ")), "it said only {said:?}");
    ensure!(names.is_empty(), "it left {names:?}");
    Ok(None)
}
