//! `cargo xtask soak engine`: the paging engine on the model, seed after seed.
//!
//! The work is done by the test `engine` of `crates/sim`; this builds it optimised, which makes it
//! several times as fast, and divides the seeds among processors.

use std::process::Command;

use anyhow::Result;

use super::child::Guarded;
use crate::test_program;

/// Options of `cargo xtask soak engine`.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// How many seeds
    #[arg(long, value_name = "N", default_value_t = 100_000)]
    seeds: u64,
    /// The first seed
    #[arg(long, value_name = "S", default_value_t = 0)]
    first: u64,
    /// How many processes share them
    #[arg(long, value_name = "N", default_value_t = 2)]
    jobs: u64,
}

/// Runs the seeds; `Ok(false)` if the engine broke a rule under one.
pub(crate) fn run(args: &Args) -> Result<bool> {
    let program = test_program::of_sim("engine")?;
    let share = args.seeds.div_ceil(args.jobs.max(1));
    let start = |job: u64| -> Result<Guarded> {
        let first = job * share;
        let seeds = share.min(args.seeds.saturating_sub(first));
        Guarded::start(
            Command::new(&program)
                .args(["--nocapture", "the_engine_keeps_every_rule"])
                .env("FIRST", (args.first + first).to_string())
                .env("SEEDS", seeds.to_string()),
        )
    };
    let running: Vec<Result<Guarded>> = (0..args.jobs.max(1)).map(start).collect();
    let mut kept = true;
    for child in running {
        kept &= child?.wait_passing_on()?.success();
    }
    Ok(kept)
}
