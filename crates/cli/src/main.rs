//! The program `faultless`: reads the command line, runs one command, turns its end into an
//! exit code.
//!
//! stdout carries the result and nothing else, stderr the story. Every command is a module with
//! `Args` (what was typed) and `run` (what is done about it); this file only dispatches.
//!
//! # Invariants
//! - Every way out of the program passes through [`exit::Exit`], panics and signals included;
//!   only puppets, which nobody but this program starts, end by themselves.
#![forbid(unsafe_code)]

mod bench;
mod cli;
mod conform;
mod docs;
mod doctor;
mod exit;
mod image;
mod inspect;
mod output;
mod progress;
mod serve;
mod signals;
mod size;
mod snapshot;
mod table;
mod units;
mod vm;

use std::panic::{self, AssertUnwindSafe};
use std::process::ExitCode;

use clap::Parser as _;

use cli::{Cli, Command};
use exit::{Exit, Failure};

fn main() -> ExitCode {
    // `conform` runs this program again for the processes it breaks.
    faultless_uffd::puppet::serve_if_asked();
    exit::report_panics();
    // The hook above has already told the story; only the code is left to choose.
    let end = panic::catch_unwind(AssertUnwindSafe(|| dispatch(Cli::parse().command)));
    end.unwrap_or(Ok(Exit::Bug)).unwrap_or_else(|failure| failure.report()).into()
}

/// Runs the command that was asked for.
fn dispatch(command: Command) -> Result<Exit, Failure> {
    match command {
        Command::Snapshot(args) => snapshot::run(&args),
        Command::Inspect(args) => inspect::run(&args),
        Command::Image(args) => image::run(&args),
        Command::Serve(args) => serve::run(&args),
        Command::Vm(args) => vm::run(&args),
        Command::ServeWorker(args) => serve::run_worker(&args),
        Command::Bench(args) => bench::run(&args),
        Command::Doctor(args) => doctor::run(&args),
        Command::Conform(args) => conform::run(&args),
        Command::Idle(_) => doctor::idle(),
        Command::Try(args) => doctor::try_one(&args),
        Command::Man(args) => docs::man(&args),
        Command::Completions(args) => docs::completions(&args),
    }
}
