//! `cargo xtask soak kill`: whoever is killed, whenever, the other one gets through.
//!
//! [`faultless`] kills the snapshotter: the target must run on with its data intact, no thread
//! blocked and nothing left in it ([`traces`]). [`target`] kills the target: the snapshotter must
//! say so, return 4, leave no file, and not hang.

mod faultless;
mod target;
mod traces;

use std::path::PathBuf;

use anyhow::Result;

use super::artifacts::{self, Build};

/// Who is killed.
#[derive(clap::ValueEnum, Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Victim {
    /// The snapshotter.
    Faultless,
    /// The process it snapshots.
    Target,
}

/// Options of `cargo xtask soak kill`.
#[derive(clap::Args, Clone, Debug)]
pub(crate) struct Args {
    /// Runs, each with one kill
    #[arg(long, default_value_t = 200)]
    pub(crate) runs: u32,
    /// Who is killed
    #[arg(long, value_enum, default_value = "faultless")]
    pub(crate) victim: Victim,
    /// Memory the stamper stamps, in MiB
    #[arg(long, default_value_t = 64)]
    pub(crate) size: u64,
    /// Repeats the run with this seed [default: a new one, printed]
    #[arg(long)]
    pub(crate) seed: Option<u64>,
    /// Where cores are written [default: the system's temporary directory]
    #[arg(long)]
    pub(crate) dir: Option<PathBuf>,
    /// Arguments for `faultless snapshot`, such as `--exact`
    #[arg(last = true)]
    pub(crate) extra: Vec<String>,
}

/// Runs the soak with an optimised `faultless`.
pub(crate) fn run(args: &Args) -> Result<bool> {
    run_with(args, artifacts::faultless(Build::Release)?)
}

/// Runs the soak with the `faultless` at `program`; fails with what it found wrong.
pub(crate) fn run_with(args: &Args, program: PathBuf) -> Result<bool> {
    match args.victim {
        Victim::Faultless => faultless::run(args, program)?,
        Victim::Target => target::run(args, program)?,
    }
    Ok(true)
}
