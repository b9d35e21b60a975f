//! Random programs on the running kernel and on the model of it, compared after each step.
//!
//! `--seconds N` says how long, `--seed S` where to begin, `--programs N` after how many to stop;
//! `--bug NAME` switches a historic bug of the model on or off, which must then be found: a
//! difference counts as its only if it is gone without the bug. Races are run with `--seconds`.
//! `CONFORM_PATIENCE=N` stretches every limit of time N-fold, for emulated machines.

#![forbid(unsafe_code)]
#![expect(clippy::print_stdout, clippy::print_stderr, reason = "a test harness prints")]

mod options;
mod report;
mod watchdog;

use std::process::ExitCode;
use std::sync::Arc;
use std::time::Instant;

use faultless_mm::Profile;
use faultless_sim::conform::Worlds;
use faultless_sim::conform::kernel::{Custody, KernelWorlds, Machine};
use faultless_sim::conform::model::ModelWorlds;
use faultless_sim::conform::verdict::Verdict;
use faultless_sim::differential::bug::Bug;
use faultless_sim::differential::hunt::{Catch, Hunt, model_of};
use rustix::thread::{CpuSet, sched_setaffinity};

use options::Options;
use report::{Report, tell_result};
use watchdog::look_on;

/// More huge pages than a program can use: an empty pool would show how many others use.
const HUGE_PAGES: u64 = 48;
/// A race after so many programs: it takes as long as some of them.
const RACE_EVERY: u64 = 8;

fn main() -> ExitCode {
    faultless_uffd::puppet::serve_if_asked();
    let options = match Options::parse(std::env::args().skip(1)) {
        Ok(options) => options,
        Err(why) => {
            eprintln!("differential: {why}");
            return ExitCode::from(2);
        }
    };
    let custody = match Custody::take(|| Machine::borrow_more(HUGE_PAGES)) {
        Ok(custody) => custody,
        Err(error) => {
            eprintln!("differential: signals cannot be caught: {error}");
            return ExitCode::FAILURE;
        }
    };
    let report = hunt(&options, &custody);
    let restored = custody.give_back();
    for line in restored.as_ref().err().into_iter().flatten() {
        println!("left behind: {line}");
    }
    match report {
        Ok(report) if report.conclude(&options) && restored.is_ok() => ExitCode::SUCCESS,
        Ok(_) => ExitCode::FAILURE,
        Err(failure) => {
            println!("{failure}");
            tell_result("FAILED", 0, 1, 0);
            ExitCode::FAILURE
        }
    }
}

fn hunt(options: &Options, custody: &Custody) -> Verdict<Report> {
    println!("\nrunning 1 test");
    let patience = std::env::var("CONFORM_PATIENCE").ok().and_then(|text| text.parse().ok());
    let patience = patience.unwrap_or(1).max(1);
    let kernel = KernelWorlds::probe(patience)?;
    if let Some(why) = lacks(&kernel) {
        return Ok(Report::skipped(why));
    }
    for note in custody.notes() {
        println!("note: {note}");
    }
    let healthy = model_of(kernel.profile());
    let mut profile = healthy.clone();
    if let Some(bug) = &options.bug {
        bug.toggle(&mut profile);
    }
    let (model, control) = (ModelWorlds::probe(profile.clone())?, ModelWorlds::probe(healthy)?);
    let mut hunt = Hunt::new(&kernel, &model);
    look_on(Arc::clone(&hunt.watch), kernel.roster(), custody.clone(), patience);
    println!("{} against {}, from seed {}", kernel.title(), model.title(), options.seed);
    let mut report = Report::default();
    let begun = Instant::now();
    let is_over = |report: &Report| {
        begun.elapsed() >= options.time || report.programs() >= options.programs || report.is_full()
    };
    match options.bug {
        Some(bug) => {
            hunt.palette = hunt.palette.about(bug.theme);
            let proof = Proof { bug, control: Hunt::new(&kernel, &control), sick: profile };
            prove(&mut hunt, &proof, options.seed, &mut report, is_over)?;
        }
        None => compare(&mut hunt, &profile, options, &mut report, is_over),
    }
    report.finish(begun.elapsed(), hunt.coverage);
    Ok(report)
}

/// Runs programs, and races now and then, until the run is over.
fn compare(
    hunt: &mut Hunt<'_>,
    profile: &Profile,
    options: &Options,
    report: &mut Report,
    is_over: impl Fn(&Report) -> bool,
) {
    let everywhere = rustix::thread::sched_getaffinity(None).unwrap_or_default();
    for seed in options.seed.. {
        if is_over(report) {
            return;
        }
        stay_on_one_processor(&everywhere);
        report.note(seed, hunt.try_seed(seed));
        if options.races && seed.is_multiple_of(RACE_EVERY) {
            // What cannot be had shows as less chance.
            let _ = sched_setaffinity(None, &everywhere);
            report.note(seed, hunt.try_race(seed, profile));
        }
    }
}

/// What it takes to show that a difference is a bug's.
struct Proof<'w> {
    bug: Bug,
    /// Without the bug.
    control: Hunt<'w>,
    /// With it.
    sick: Profile,
}

/// Looks for a difference that is there with the bug and gone without it.
fn prove(
    hunt: &mut Hunt<'_>,
    proof: &Proof<'_>,
    first: u64,
    report: &mut Report,
    is_over: impl Fn(&Report) -> bool,
) -> Verdict {
    let healthy = &model_of(proof.control.left.profile());
    for seed in first.. {
        if report.is_proven() || is_over(report) {
            break;
        }
        let caught = if proof.bug.races {
            hunt.try_sick_race(seed, healthy, &proof.sick)?
        } else {
            hunt.try_seed(seed)
        };
        match caught {
            Catch::Found(found) if proof.bug.races || proof.control.agrees(&found.program) => {
                report.prove(&found);
            }
            other => report.note(seed, other),
        }
    }
    Ok(())
}

/// Why this machine cannot run programs as they are meant.
fn lacks(kernel: &KernelWorlds) -> Option<String> {
    let profile = kernel.profile();
    if let Some(why) = &profile.closed {
        return Some(why.clone());
    }
    (!profile.privileged).then(|| "faults of system calls need CAP_SYS_PTRACE; run as root".into())
}

/// Some of what the kernel does with a page hangs on lists it keeps for each processor.
fn stay_on_one_processor(allowed: &CpuSet) {
    let mut one = CpuSet::new();
    if let Some(last) = (0..CpuSet::MAX_CPU).rev().find(|cpu| allowed.is_set(*cpu)) {
        one.set(last);
        // Where that is refused, a difference of chance shows as unsteady.
        let _ = sched_setaffinity(None, &one);
    }
}
