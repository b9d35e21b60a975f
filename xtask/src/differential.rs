//! `cargo xtask differential`: random programs on the running kernel and on its model, compared
//! after each step.
//!
//! The work is done by the test program `differential` of `crates/sim`; this builds it optimised,
//! which makes it several times as fast, and passes the options on.

use anyhow::Result;

use crate::command::{cargo, run as run_command, workspace_root};

/// Options of `cargo xtask differential`.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// How long to go on
    #[arg(long, value_name = "N", default_value_t = 60)]
    seconds: u64,
    /// The seed of the first program [default: from the clock]
    #[arg(long, value_name = "S")]
    seed: Option<u64>,
    /// Switch a historic bug of the model over, which must then be found
    #[arg(long, value_name = "NAME")]
    bug: Option<String>,
}

/// Looks for differences; `Ok(false)` if there are any, or with a bug if there are none.
pub(crate) fn run(args: &Args) -> Result<bool> {
    let seed = args.seed.unwrap_or_else(seed_of_the_clock);
    let mut hunt = cargo();
    hunt.current_dir(workspace_root()?)
        .args(["test", "--release", "-p", "faultless-sim", "--test", "differential", "--"])
        .args(["--seconds", &args.seconds.to_string(), "--seed", &seed.to_string()]);
    if let Some(bug) = &args.bug {
        hunt.args(["--bug", bug]);
    }
    run_command(&mut hunt)
}

/// Seeds of two runs lie far apart: a run takes one after the other.
fn seed_of_the_clock() -> u64 {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    now.map_or(0, |since| since.as_secs() << 20)
}
