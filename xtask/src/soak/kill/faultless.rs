//! Kills the snapshotter at random moments; the target must not mind.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use rustix::process::Signal;

use super::{Args, traces};
use crate::soak::artifacts::{self, SLEEPER, STAMPER};
use crate::soak::chance::Chance;
use crate::soak::child::Collected;
use crate::soak::scratch::Scratch;
use crate::soak::snapshotter::{self, LIMIT, Snapshotter};
use crate::soak::target::Target;

/// Kills one target lives through before it is asked for its verdict.
const RUNS_EACH: u32 = 10;

/// What the kills met.
#[derive(Default)]
struct Sum {
    runs: u32,
    /// The snapshot had ended by itself before the kill.
    too_late: u32,
    /// The target was being traced when the kill came.
    traced: u32,
    /// Unfinished files the killed program could not remove.
    files_left: usize,
}

/// Runs `args.runs` kills; fails at the first target that is not as before.
pub(super) fn run(args: &Args, program: PathBuf) -> Result<()> {
    let mut session = Session {
        args,
        snapshotter: Snapshotter::new(program, &args.extra),
        stamper: artifacts::c_target(&STAMPER)?,
        sleeper: artifacts::c_target(&SLEEPER)?,
        scratch: Scratch::new(args.dir.as_deref())?,
        chance: Chance::start(args.seed),
        sum: Sum::default(),
    };
    while session.sum.runs < args.runs {
        session.one_target()?;
    }
    let Sum { runs, too_late, traced, files_left } = session.sum;
    println!("kills of faultless      {runs:>6}");
    println!("  while it was attached {traced:>6}");
    println!("  after it had ended    {too_late:>6}");
    println!("unfinished files left   {files_left:>6}");
    println!("every target ran on with its data intact, no thread blocked, nothing left in it");
    Ok(())
}

struct Session<'a> {
    args: &'a Args,
    snapshotter: Snapshotter,
    stamper: PathBuf,
    sleeper: PathBuf,
    scratch: Scratch,
    chance: Chance,
    sum: Sum,
}

/// How long a whole snapshot of the target takes.
struct Pace {
    pause: Duration,
    total: Duration,
}

impl Session<'_> {
    fn one_target(&mut self) -> Result<()> {
        let (mut target, name) = self.start_target()?;
        let pace = self.measure(&target).context(name.clone())?;
        let end = self.args.runs.min(self.sum.runs + RUNS_EACH);
        while self.sum.runs < end {
            let run = self.sum.runs;
            self.one_kill(&mut target, &pace).with_context(|| format!("run {run} on {name}"))?;
            self.sum.runs += 1;
        }
        let errors = target.finish()?;
        ensure!(errors == 0, "{name} found {errors} errors in itself");
        Ok(())
    }

    /// Two stampers for every sleeper; the sleeper's main thread, which is the likely one to be
    /// borrowed, sits in another system call every time.
    fn start_target(&mut self) -> Result<(Target, String)> {
        if self.chance.below(3) == 0 {
            let role = ["nanosleep", "poll", "futex", "read", "registers"];
            let role = self.chance.one_of(&role).to_owned();
            let options = ["--main".to_owned(), role.clone()];
            return Ok((Target::sleeper(&self.sleeper, &options)?, format!("sleeper ({role})")));
        }
        let seed = self.chance.below(1 << 30);
        let options = format!("--size {} --seed {seed} --beat-ms 20", self.args.size);
        let options: Vec<String> = options.split(' ').map(str::to_owned).collect();
        Ok((Target::stamper(&self.stamper, &options)?, format!("stamper (seed {seed})")))
    }

    fn measure(&mut self, target: &Target) -> Result<Pace> {
        let file = self.scratch.path().join("whole.core");
        let report = self.snapshotter.take(target.pid(), &file)?;
        self.scratch.empty()?;
        Ok(Pace {
            pause: Duration::from_nanos(report.pause_ns),
            total: Duration::from_nanos(report.total_ns),
        })
    }

    fn one_kill(&mut self, target: &mut Target, pace: &Pace) -> Result<()> {
        let file = self.scratch.path().join("killed.core");
        let mut snapshot = self.snapshotter.start(target.pid(), &file)?;
        self.wait_for_moment(target, &mut snapshot, pace)?;
        let traced = traces::tracer(target.pid())? != 0;
        let ended = snapshot.process().has_ended()?;
        snapshot.process().signal(Signal::KILL);
        let ended_as = snapshot.end_within(LIMIT)?;
        if ended {
            snapshotter::report(&ended_as)?;
        }
        self.sum.too_late += u32::from(ended);
        self.sum.traced += u32::from(traced);
        traces::wait_until_clean(target.pid())?;
        target.wait_for_progress()?;
        self.sum.files_left += self.scratch.empty()? - usize::from(ended);
        Ok(())
    }

    /// A third of the kills fall anywhere from start to end, a third around the pause, and a third
    /// into the first millisecond of being traced, when the target lends its registers.
    fn wait_for_moment(
        &mut self,
        target: &Target,
        snapshot: &mut Collected,
        pace: &Pace,
    ) -> Result<()> {
        let most = match self.chance.below(3) {
            0 => {
                std::thread::sleep(self.chance.moment(pace.total + pace.total / 10));
                return Ok(());
            }
            1 => pace.pause + pace.pause / 2 + Duration::from_millis(1),
            _ => Duration::from_millis(1),
        };
        let start = Instant::now();
        while traces::tracer(target.pid())? == 0 && start.elapsed() < pace.total * 2 {
            if snapshot.process().has_ended()? {
                return Ok(());
            }
        }
        spin(self.chance.moment(most));
        Ok(())
    }
}

/// Waits without sleeping: a sleep this short would be mostly the scheduler's choice.
fn spin(time: Duration) {
    let start = Instant::now();
    while start.elapsed() < time {
        std::hint::spin_loop();
    }
}
