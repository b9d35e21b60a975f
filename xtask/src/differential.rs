//! `cargo xtask differential`: random programs on the running kernel and on its model, compared
//! after each step.
//!
//! The work is done by the test program `differential` of `crates/sim`; this builds it optimised,
//! which makes it several times as fast, and passes the options on, and signals.

use std::process::Command;

use anyhow::Result;

use crate::soak::child::Guarded;
use crate::{interrupt, test_program};

/// Run random programs on the running kernel and on the model of it, and compare.
#[derive(clap::Args)]
#[command(long_about = "\
Run random programs on the running kernel and on the model of it, and compare everything that can be
seen after each step. Now and then two calls race, and what the kernel shows must be among the
outcomes the model allows. (The same programs run as a test, sixty of them and without races.)

A difference is made small and printed as a test. The end tells which operations met which kinds of
page table entries. Huge pages and swap are borrowed from the machine and given back, also when the
run is interrupted.")]
pub(crate) struct Args {
    /// How long to go on
    #[arg(long, value_name = "N", default_value_t = 60)]
    seconds: u64,
    /// The seed of the first program [default: from the clock]
    #[arg(long, value_name = "S")]
    seed: Option<u64>,
    /// Switch a historic bug of the model over, which must then be found: by a difference that is
    /// gone without it
    #[arg(long, value_name = "NAME")]
    bug: Option<String>,
}

/// Looks for differences; `Ok(false)` if there are any, or with a bug if there are none.
pub(crate) fn run(args: &Args) -> Result<bool> {
    let seed = args.seed.unwrap_or_else(seed_of_the_clock);
    let mut hunt = Command::new(test_program::of_sim("differential")?);
    hunt.args(["--seconds", &args.seconds.to_string(), "--seed", &seed.to_string()]);
    if let Some(bug) = &args.bug {
        hunt.args(["--bug", bug]);
    }
    interrupt::catch()?;
    Ok(Guarded::start(&mut hunt)?.wait_passing_on()?.success())
}

/// Seeds of two runs lie far apart: a run takes one after the other.
fn seed_of_the_clock() -> u64 {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    now.map_or(0, |since| since.as_secs() << 20)
}
