//! `faultless bench`: the measurements behind every claim, as a table, JSON and SVG.
//!
//! A bench answers one stated question. All of them share what is in this folder:
//!
//! | module | is |
//! |---|---|
//! | [`rounds`] | the measurement kernel: all variants side by side, order rotated each round |
//! | [`stats`] | summaries of samples, ratios of paired samples |
//! | [`report`] | the object every bench hands back |
//! | [`host`] | where it ran |
//! | [`grid`], [`plot`] | for people |
//! | [`ops`] | what does each operation cost on this host? |
//! | [`fault`] | how long does a thread wait for a missing page? |
//! | [`snapshot`] | how long does a snapshot stop a process, and how long does gcore? |
//!
//! *Invariant*: figures are compared only within one run; nothing here remembers a figure.

mod fault;
mod grid;
mod host;
mod ops;
mod plot;
mod report;
mod rounds;
mod snapshot;
mod stats;

use std::env;
use std::fs;
use std::path::PathBuf;

use serde::Serialize;

use crate::exit::{Exit, Failure};
use crate::output::{self, Format};

use grid::Grid;
use plot::Chart;
use report::Report;

/// Measure what faultless claims, on this host
#[derive(clap::Args)]
pub(crate) struct Args {
    /// What to measure.
    #[command(subcommand)]
    question: Question,
}

/// The benches.
#[derive(clap::Subcommand)]
enum Question {
    Ops(ops::Args),
    Fault(fault::Args),
    Snapshot(snapshot::Args),
    #[command(name = "__target", hide = true)]
    Target(snapshot::target::Args),
    #[command(name = "__faulter", hide = true)]
    Faulter(fault::faulter::Args),
}

/// Where the result goes.
#[derive(clap::Args)]
struct Output {
    #[command(flatten)]
    format: Format,
    /// Also draw the result into this file
    #[arg(long, value_name = "FILE")]
    svg: Option<PathBuf>,
}

/// Runs the bench that was asked for.
///
/// # Errors
/// What the bench needs and the host lacks, and what a tool under test died of.
pub(crate) fn run(args: &Args) -> Result<Exit, Failure> {
    match &args.question {
        Question::Ops(args) => ops::run(args),
        Question::Fault(args) => fault::run(args),
        Question::Snapshot(args) => snapshot::run(args),
        Question::Target(args) => snapshot::target::run(args),
        Question::Faulter(args) => fault::faulter::run(args),
    }
}

/// Returns the path of the running program: what is measured is the build that measures.
fn this_program() -> Result<PathBuf, Failure> {
    env::current_exe()
        .map_err(|error| Failure::new(Exit::Host, format_args!("path of this program: {error}")))
}

/// Prints a report and draws its chart, as asked.
fn print<R: Serialize>(
    output: &Output,
    report: &Report<R>,
    grids: &[Grid],
    chart: &Chart,
) -> Result<Exit, Failure> {
    if let Some(path) = &output.svg {
        fs::write(path, chart.svg()?).map_err(|error| {
            Failure::new(Exit::Peer, format_args!("{}: {error}", path.display()))
                .next("choose another --svg")
        })?;
    }
    output::report(&output.format, report, |report| report.text(grids))?;
    Ok(Exit::Done)
}
