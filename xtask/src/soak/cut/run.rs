//! The soak itself: snapshot after snapshot of one stamper after the other, each core checked.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, ensure};

use super::core_file::Core;
use super::verdict::Verdict;
use crate::soak::artifacts::{self, Build, STAMPER};
use crate::soak::chance::Chance;
use crate::soak::figures::{Figures, time_ns};
use crate::soak::scratch::Scratch;
use crate::soak::snapshotter::Snapshotter;
use crate::soak::target::Target;

/// Snapshots of one stamper before the next one takes over, with other options.
const SNAPSHOTS_EACH: u32 = 20;

/// Huge pages a stamper takes where the host has reserved that many.
const HUGE_PAGES: u64 = 8;

/// Options of `cargo xtask soak cut`.
#[derive(clap::Args, Clone, Debug)]
pub(crate) struct Args {
    /// Snapshots to take
    #[arg(long, default_value_t = 200)]
    pub(crate) snapshots: u32,
    /// Memory the writers stamp, in MiB
    #[arg(long, default_value_t = 256)]
    pub(crate) size: u64,
    /// Writer threads
    #[arg(long, default_value_t = 4)]
    pub(crate) threads: u32,
    /// Repeats the run with this seed [default: a new one, printed]
    #[arg(long)]
    pub(crate) seed: Option<u64>,
    /// Use a faultless that un-protects before it saves, and expect to catch it
    #[arg(long)]
    pub(crate) broken: bool,
    /// Where cores are written, one at a time [default: the system's temporary directory]
    #[arg(long)]
    pub(crate) dir: Option<PathBuf>,
    /// Keep the first core that breaks a promise as this file
    #[arg(long)]
    pub(crate) keep: Option<PathBuf>,
    /// Arguments for `faultless snapshot`, such as `--exact`
    #[arg(last = true)]
    pub(crate) extra: Vec<String>,
}

/// Everything the soak counted.
#[derive(Default)]
pub(crate) struct Sum {
    snapshots: u32,
    bad: u32,
    verdict: Verdict,
    pause_ns: Figures,
    total_ns: Figures,
    faults: Figures,
    freed_pages: Figures,
}

impl Sum {
    /// Returns all broken promises.
    pub(crate) fn violations(&self) -> u64 {
        self.verdict.violations
    }

    /// Returns how many snapshots were checked.
    #[cfg(test)]
    pub(crate) fn snapshots(&self) -> u32 {
        self.snapshots
    }

    fn add(&mut self, verdict: &Verdict) {
        self.snapshots += 1;
        self.bad += u32::from(verdict.violations > 0);
        self.verdict.violations += verdict.violations;
        self.verdict.pages += verdict.pages;
        self.verdict.slot_pages += verdict.slot_pages;
        self.verdict.freed += verdict.freed;
        self.verdict.freed_holes += verdict.freed_holes;
    }

    fn print(&self) {
        let Verdict { violations, pages, slot_pages, freed, freed_holes, .. } = self.verdict;
        println!("snapshots         {:>12}", self.snapshots);
        println!("violations        {violations:>12}  in {} snapshots", self.bad);
        println!("stamped pages     {pages:>12}");
        println!(
            "slot pages        {slot_pages:>12}  of which freed {freed} (holes {freed_holes})"
        );
        let row = |name: &str, figures: &Figures, show: fn(u64) -> String| {
            let (p50, max) = (show(figures.p50()), show(figures.max()));
            println!("{name}  p50 {p50:>12}  max {max:>12}");
        };
        row("pause       ", &self.pause_ns, time_ns);
        row("total       ", &self.total_ns, time_ns);
        row("faults      ", &self.faults, |n| n.to_string());
        row("freed pages ", &self.freed_pages, |n| n.to_string());
    }
}

/// Runs the soak; `Ok(false)` if a promise was broken, or none was although it had to be.
pub(crate) fn run(args: &Args) -> Result<bool> {
    let build = if args.broken { Build::Broken } else { Build::Release };
    let program = artifacts::faultless(build)?;
    let sum = take_and_check(args, program)?;
    sum.print();
    if args.broken {
        let caught = sum.violations() > 0;
        println!("{}", if caught { "caught, as expected" } else { "NOT CAUGHT" });
        return Ok(caught);
    }
    Ok(sum.violations() == 0)
}

/// Takes and checks the snapshots with the `faultless` at `program`.
pub(crate) fn take_and_check(args: &Args, program: PathBuf) -> Result<Sum> {
    let mut session = Session {
        args,
        snapshotter: Snapshotter::new(program, &args.extra),
        stamper: artifacts::c_target(&STAMPER)?,
        scratch: Scratch::new(args.dir.as_deref())?,
        chance: Chance::start(args.seed),
        sum: Sum::default(),
    };
    while session.sum.snapshots < args.snapshots {
        session.one_stamper()?;
        println!("{} snapshots: {} violations", session.sum.snapshots, session.sum.violations());
    }
    Ok(session.sum)
}

struct Session<'a> {
    args: &'a Args,
    snapshotter: Snapshotter,
    stamper: PathBuf,
    scratch: Scratch,
    chance: Chance,
    sum: Sum,
}

impl Session<'_> {
    fn one_stamper(&mut self) -> Result<()> {
        let options = self.stamper_options();
        let mut target = Target::stamper(&self.stamper, &options)?;
        let end = self.args.snapshots.min(self.sum.snapshots + SNAPSHOTS_EACH);
        while self.sum.snapshots < end {
            std::thread::sleep(self.chance.moment(Duration::from_millis(50)));
            let number = self.sum.snapshots;
            self.one_snapshot(&target).with_context(|| {
                format!("snapshot {number} of a stamper with {}", options.join(" "))
            })?;
            ensure!(!target.has_ended()?, "the stamper has ended by itself");
        }
        target.wait_for_progress()?;
        let errors = target.finish()?;
        ensure!(errors == 0, "the stamper found {errors} errors in its own memory");
        Ok(())
    }

    /// Every stamper goes its own way; some fork, some start threads, some hardly rest, some have
    /// their shared memory mapped twice.
    fn stamper_options(&mut self) -> Vec<String> {
        let seed = self.chance.below(1 << 30);
        let churn_us = 20 << self.chance.below(5);
        let mut options = format!("--size {} --threads {}", self.args.size, self.args.threads);
        options += &format!(" --seed {seed} --churn-us {churn_us}");
        if self.chance.below(3) == 0 {
            options += " --alias 1";
        }
        if huge_pages_free() >= HUGE_PAGES {
            options += &format!(" --hugetlb {}", 2 * HUGE_PAGES);
        }
        for option in ["--fork-every", "--spawn-every"] {
            if self.chance.below(2) == 0 {
                options += &format!(" {option} {}", 10 + self.chance.below(200));
            }
        }
        options.split(' ').map(str::to_owned).collect()
    }

    fn one_snapshot(&mut self, target: &Target) -> Result<()> {
        let file = self.scratch.path().join("stamper.core");
        let report = self.snapshotter.take(target.pid(), &file)?;
        let verdict = check_file(&file)?;
        let exact = self.args.extra.iter().any(|word| word == "--exact");
        ensure!(!exact || verdict.freed == 0, "{} pages were lost with --exact", verdict.freed);
        if verdict.violations > 0 && self.sum.violations() == 0 {
            tell(&file, &verdict);
            if let Some(keep) = &self.args.keep {
                std::fs::copy(&file, keep)?;
            }
        }
        self.sum.add(&verdict);
        self.sum.pause_ns.add(report.pause_ns);
        self.sum.total_ns.add(report.total_ns);
        self.sum.faults.add(report.faults);
        self.sum.freed_pages.add(report.freed_pages);
        self.scratch.empty()?;
        Ok(())
    }
}

/// Checks one core of a stamper.
pub(crate) fn check_file(file: &Path) -> Result<Verdict> {
    super::check::check(&mut Core::open(file)?)
}

/// Returns how many huge pages the host has to give, as far as they are 2 MiB.
fn huge_pages_free() -> u64 {
    let meminfo = std::fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let value = |name: &str| {
        let line = meminfo.lines().find_map(|line| line.strip_prefix(name))?;
        line.split_whitespace().next()?.parse().ok()
    };
    if value("Hugepagesize:") == Some(2048) { value("HugePages_Free:").unwrap_or(0) } else { 0 }
}

fn tell(file: &Path, verdict: &Verdict) {
    println!("{}: {} broken promises, the first:", file.display(), verdict.violations);
    for violation in &verdict.told {
        println!("  {violation}");
    }
}

/// Options of `cargo xtask soak check-cut`.
#[derive(clap::Args)]
pub(crate) struct CheckArgs {
    /// Cores of a running stamper
    #[arg(required = true)]
    files: Vec<PathBuf>,
}

/// Checks cores taken elsewhere, such as in a virtual machine; `Ok(false)` if one is no cut.
pub(crate) fn check_files(args: &CheckArgs) -> Result<bool> {
    let mut good = true;
    for file in &args.files {
        let verdict = check_file(file).with_context(|| file.display().to_string())?;
        if verdict.violations > 0 {
            tell(file, &verdict);
            good = false;
        }
        let Verdict { violations, pages, slot_pages, freed, .. } = verdict;
        println!(
            "{}: {violations} violations, {pages} stamped pages, {slot_pages} slot pages, \
             {freed} of them freed",
            file.display()
        );
    }
    Ok(good)
}
