//! A target program under observation: started, watched by its beats, asked for its verdict.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{ChildStdout, Command, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use rustix::process::Signal;

use super::child::Guarded;
use crate::interrupt;

/// How long a target may take to get ready, to go on, or to end. Generous: the machine may be busy
/// with other things; only a program that is stuck takes this long.
const PATIENCE: Duration = Duration::from_secs(60);

/// The counters of one beat, one for each thread that must progress.
type Beat = Vec<u64>;

#[derive(Default)]
struct Heard {
    beat: Option<Beat>,
    verdict: Option<u64>,
}

/// A running target program.
pub(crate) struct Target {
    process: Guarded,
    heard: Arc<Mutex<Heard>>,
    /// Words of a beat before the counters.
    skip: usize,
}

impl Target {
    /// Starts a stamper and waits until it is ready.
    pub(crate) fn stamper(program: &Path, args: &[String]) -> Result<Target> {
        // "beat MS ERRORS CHURN-OPS STAMPS…"
        Target::start(program, args, 2)
    }

    /// Starts a sleeper and waits until it is ready.
    pub(crate) fn sleeper(program: &Path, args: &[String]) -> Result<Target> {
        Target::start(program, args, 0)
    }

    fn start(program: &Path, args: &[String], skip: usize) -> Result<Target> {
        let mut process = Guarded::start(Command::new(program).args(args).stdout(Stdio::piped()))?;
        let pipe = process.child().stdout.take().context("the target has no standard output")?;
        let mut lines = BufReader::new(pipe);
        let mut first = String::new();
        lines.read_line(&mut first)?;
        ensure!(first == format!("ready {}\n", process.id()), "the target said {first:?}");
        let heard = Arc::new(Mutex::new(Heard::default()));
        let listener = Arc::clone(&heard);
        std::thread::spawn(move || listen(lines, &listener));
        Ok(Target { process, heard, skip })
    }

    /// Returns its process id.
    pub(crate) fn pid(&self) -> u32 {
        self.process.id()
    }

    /// Says whether it has ended.
    pub(crate) fn has_ended(&mut self) -> Result<bool> {
        self.process.has_ended()
    }

    /// Kills it.
    pub(crate) fn kill(&self) {
        self.process.signal(Signal::KILL);
    }

    /// Waits until every thread has made progress twice from now on.
    ///
    /// Twice: one step may have been finished already when the question was asked.
    pub(crate) fn wait_for_progress(&mut self) -> Result<()> {
        let start = Instant::now();
        let before = self.counters(start)?;
        loop {
            let now = self.counters(start)?;
            let stuck = before.iter().zip(&now).position(|(old, new)| new < &(old + 2));
            let Some(stuck) = stuck else { return Ok(()) };
            if start.elapsed() > PATIENCE {
                bail!("thread {stuck} of the target stands still: {before:?} before, {now:?} now");
            }
            ensure!(!self.has_ended()?, "the target has ended by itself");
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// Returns the counters last heard, waiting for the first.
    pub(crate) fn counters(&self, since: Instant) -> Result<Beat> {
        while since.elapsed() <= PATIENCE {
            interrupt::check()?;
            if let Some(beat) = &self.locked().beat {
                return Ok(beat.iter().skip(self.skip).copied().collect());
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        bail!("the target is silent")
    }

    /// Asks it to end and returns how many errors it found in itself.
    pub(crate) fn finish(mut self) -> Result<u64> {
        self.process.signal(Signal::TERM);
        let status = self.process.wait_within(PATIENCE)?;
        let start = Instant::now();
        while self.locked().verdict.is_none() && start.elapsed() < PATIENCE {
            std::thread::sleep(Duration::from_millis(1));
        }
        let Some(errors) = self.locked().verdict else { bail!("no verdict; it ended: {status}") };
        ensure!(
            status.code() == Some(i32::from(errors > 0)),
            "the target found {errors} errors and ended: {status}"
        );
        Ok(errors)
    }

    fn locked(&self) -> std::sync::MutexGuard<'_, Heard> {
        self.heard.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Reads the target's lines until it closes them.
fn listen(lines: BufReader<ChildStdout>, heard: &Mutex<Heard>) {
    for line in lines.lines().map_while(Result::ok) {
        let mut words = line.split(' ');
        let kind = words.next();
        let numbers: Vec<u64> = words.map_while(|word| word.parse().ok()).collect();
        let mut heard = heard.lock().unwrap_or_else(PoisonError::into_inner);
        match kind {
            Some("beat") => heard.beat = Some(numbers),
            Some("verdict") => heard.verdict = numbers.first().copied(),
            _ => eprintln!("target: {line}"),
        }
    }
}
