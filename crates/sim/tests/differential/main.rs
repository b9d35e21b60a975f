//! Random programs on the running kernel and on the model of it, compared after each step.
//!
//! `--seconds N` says how long, `--seed S` where to begin, `--programs N` after how many to stop;
//! `--bug NAME` switches a historic bug of the model on or off, which must then be found.
//! `CONFORM_PATIENCE=N` stretches every limit of time N-fold, for emulated machines.

#![forbid(unsafe_code)]
#![expect(clippy::print_stdout, clippy::print_stderr, reason = "a test harness prints")]

mod options;
mod report;

use std::process::ExitCode;
use std::time::Instant;

use faultless_sim::conform::Worlds;
use faultless_sim::conform::kernel::{KernelWorlds, Machine};
use faultless_sim::conform::model::ModelWorlds;
use faultless_sim::conform::verdict::Verdict;
use faultless_sim::differential::hunt::{Catch, Hunt, model_of};
use rustix::thread::{CpuSet, sched_setaffinity};

use options::Options;
use report::{Report, tell_result};

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
    let mut machine = Machine::borrow_more(HUGE_PAGES);
    let report = hunt(&options, &machine);
    let restored = machine.give_back();
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

fn hunt(options: &Options, machine: &Machine) -> Verdict<Report> {
    println!("\nrunning 1 test");
    let patience = std::env::var("CONFORM_PATIENCE").ok().and_then(|text| text.parse().ok());
    let kernel = KernelWorlds::probe(patience.unwrap_or(1).max(1))?;
    if let Some(why) = lacks(&kernel) {
        return Ok(Report::skipped(why));
    }
    for note in machine.notes() {
        println!("note: {note}");
    }
    let mut profile = model_of(kernel.profile());
    if let Some(bug) = &options.bug {
        bug.toggle(&mut profile);
    }
    let model = ModelWorlds::probe(profile.clone())?;
    let mut hunt = Hunt::new(&kernel, &model);
    let begun = Instant::now();
    let mut report = Report::default();
    println!("{} against {}, from seed {}", kernel.title(), model.title(), options.seed);
    let everywhere = rustix::thread::sched_getaffinity(None).unwrap_or_default();
    for seed in options.seed.. {
        if begun.elapsed() >= options.time || report.programs() >= options.programs {
            break;
        }
        stay_on_one_processor(&everywhere);
        let mut caught = hunt.try_seed(seed)?;
        if options.races && seed.is_multiple_of(RACE_EVERY) && matches!(caught, Catch::Nothing(_)) {
            report.note(seed, caught);
            // What cannot be had shows as less chance.
            let _ = sched_setaffinity(None, &everywhere);
            caught = hunt.try_race(seed, &profile)?;
        }
        let found = matches!(caught, Catch::Found(_));
        report.note(seed, caught);
        if found && (options.bug.is_some() || report.is_full()) {
            break;
        }
    }
    report.finish(begun.elapsed(), hunt.coverage);
    Ok(report)
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
